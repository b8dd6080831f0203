import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import random_conditioning
from tests.networks.examples import WAVENETS, lively, wavenet
from tests.networks.generation import MODES, Emit, generator, reference, run
from tfp_ar.networks import WaveNet
from tfp_ar.networks.generation import taps
from tfp_ar.networks.generation.wavenet import WaveNetSteps

# Of the numbers that the two passes compute in another order; parameters are of order 1.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
REPRESENTATIVE = [
    "plain",
    "taps_1",
    "many_blocks",
    "gaps",
    "channels_3_taps_3",
    "both",
    "everything",
]


# Equality with the reference ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, dtype",
    [*((kind, "float64") for kind in WAVENETS), *((kind, "float32") for kind in REPRESENTATIVE)],
)
def test_parameters_of_the_cached_pass_are_those_of_the_parallel_one(kind, dtype):
    network = lively(wavenet(kind, dtype=dtype))
    batch = 3
    emit, c = Emit(network, batch), random_conditioning(network, batch)
    x = network.generate(emit, batch, c)
    assert x.dtype == dtype and x.shape == (batch, *network.event_shape)
    parallel = tf.reshape(network(x, c), [batch, network.event_size, network.num_params])
    # Rows differ wherever there is a past to differ in.
    assert (np.ptp(parallel, axis=0).max(axis=-1)[1:] > 1e-3).all()
    assert [int(i) for i, _ in emit.calls] == list(range(network.event_size))
    for i, params in emit.calls:
        assert i.dtype == tf.int32 and i.shape == () and params.dtype == dtype
        np.testing.assert_allclose(
            params, parallel[:, int(i)], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
        )
    np.testing.assert_allclose(
        x, emit.of_all(network(x, c)), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


@pytest.mark.parametrize("kind", REPRESENTATIVE)
def test_cached_equals_reference(kind):
    network = lively(wavenet(kind, dtype="float64"))
    emit, c = Emit(network, 2), random_conditioning(network, 2)
    expected = reference(network, emit, 2, c)
    np.testing.assert_allclose(network.generate(emit, 2, c), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", ["graph", "jit"])
@pytest.mark.parametrize("kind, batch", [("plain", 0), ("plain", 1), ("both_channels_2", 3)])
def test_compiled_with_a_static_batch(kind, mode, batch):
    network = lively(wavenet(kind, dtype="float64"))
    emit, c = Emit(network, batch), random_conditioning(network, batch)
    x = run(network, emit, batch, c, mode)
    assert x.shape == (batch, *network.event_shape)
    # By induction over i, only the reference's x equals what emit makes of its own parameters.
    np.testing.assert_allclose(x, emit.of_all(network(x, c)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["graph", pytest.param("jit", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "kind", [pytest.param("many_blocks", marks=pytest.mark.slow), "everything"]
)
def test_compiled_for_an_unknown_batch(kind, mode):
    network = lively(wavenet(kind, dtype="float64"))
    generate = generator(network, 2, random_conditioning(network, 2), mode, dynamic=True)
    for batch in (3, 1, 0):
        emit, c = Emit(network, batch), random_conditioning(network, batch)
        x = generate(emit.noise, c)
        assert x.shape == (batch, *network.event_shape)
        np.testing.assert_allclose(x, emit.of_all(network(x, c)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("kind", ["plain", "channels_2", "everything"])
def test_eager_with_few_rows(kind, batch):
    network = lively(wavenet(kind, dtype="float64"))
    emit, c = Emit(network, batch), random_conditioning(network, batch)
    x = network.generate(emit, batch, c)
    assert x.shape == (batch, *network.event_shape)
    np.testing.assert_allclose(x, reference(network, emit, batch, c), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_float32_in_every_mode(mode):
    network = lively(wavenet("everything"))
    emit, c = Emit(network, 3), random_conditioning(network, 3)
    x = run(network, emit, 3, c, mode)
    np.testing.assert_allclose(x, emit.of_all(network(x, c)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_mixed_precision_generates_what_the_parallel_pass_says(mode):
    network = lively(wavenet("everything", dtype="mixed_bfloat16"))
    emit, c = Emit(network, 3), random_conditioning(network, 3)
    x = run(network, emit, 3, c, mode)
    assert x.dtype == tf.float32
    # 8 bits in bfloat16, parameters of order 1.
    np.testing.assert_allclose(x, emit.of_all(network(x, c)), rtol=0, atol=0.1)


def test_rings_wrap_around_many_times():
    network = WaveNet(
        [60], residual_channels=4, kernel_size=3, dilations=[1, 3, 2], dtype="float64"
    )
    lively(network)
    emit = Emit(network, 2)
    x = run(network, emit, 2, None, "graph")
    np.testing.assert_allclose(x, emit.of_all(network(x)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_blocks_may_be_grouped_in_any_way(monkeypatch, size):
    monkeypatch.setattr(taps, "_BLOCKS_PER_GROUP_ON_CPU", size)  # a GPU has one group
    network = lively(wavenet("many_blocks", dtype="float64"))
    emit = Emit(network, 2)
    x = network.generate(emit, 2)
    np.testing.assert_allclose(x, emit.of_all(network(x)), rtol=1e-12, atol=1e-12)


def test_generate_is_without_dropout():
    network = lively(wavenet("dropout", dtype="float64"))
    emit = Emit(network, 2)
    x = network.generate(emit, 2)
    np.testing.assert_allclose(x, emit.of_all(network(x, training=False)), rtol=1e-12)
    np.testing.assert_array_equal(x, network.generate(emit, 2))


def levels(x):
    """What a network sees of a value; not zero at zero."""
    return 0.5 * tf.sin(2.0 * x) - 0.25


@pytest.mark.parametrize("kind", ["plain", "everything"])
def test_the_network_sees_transformed_values(kind):
    network = lively(wavenet(kind, dtype="float64"))
    emit, c = Emit(network, 2), random_conditioning(network, 2)
    x = network.generate(emit, 2, c, input_transform=levels)
    assert np.any(np.abs(x - network.generate(emit, 2, c)) > 1e-3)
    np.testing.assert_allclose(x, emit.of_all(network(levels(x), c)), rtol=1e-12, atol=1e-12)
    slow = reference(network, emit, 2, c, input_transform=levels)
    np.testing.assert_allclose(slow, x, rtol=1e-10, atol=1e-10)


# Weights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_weights_are_read_when_called(mode):
    network = lively(wavenet("everything", dtype="float64"), seed=1)
    emit, c = Emit(network, 2), random_conditioning(network, 2)

    def generate(c):
        return network.generate(emit, 2, c)

    compiled = generate if mode == "eager" else tf.function(generate, jit_compile=MODES[mode])
    before = compiled(c)
    lively(network, seed=2)
    after = compiled(c)
    assert np.any(np.abs(after - before) > 1e-3)
    np.testing.assert_allclose(after, emit.of_all(network(after, c)), rtol=1e-12, atol=1e-12)


def test_weights_of_a_stateless_scope_are_used():
    network, other = (lively(wavenet("everything"), seed=seed) for seed in (1, 2))
    emit, c = Emit(network, 2), random_conditioning(network, 2)
    mapping = [(v, w.value) for v, w in zip(network.variables, other.variables, strict=True)]
    with keras.StatelessScope(mapping):
        x = network.generate(emit, 2, c)
    np.testing.assert_allclose(x, other.generate(emit, 2, c), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["plain", "everything"])
def test_gradients_of_the_loop_are_those_of_the_reference(kind):
    network = lively(wavenet(kind, dtype="float64"))
    emit, c = Emit(network, 2), random_conditioning(network, 2)
    variables = [v.value for v in network.trainable_variables]

    def gradients(generate):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(generate(network, emit, 2, c) ** 2)
        return tape.gradient(loss, variables)

    cached, slow = gradients(type(network).generate), gradients(reference)
    for a, b, variable in zip(cached, slow, variables, strict=True):
        a, b = (tf.zeros_like(variable) if g is None else g for g in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# Cost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_size, dilations", [(1, [1, 2]), (2, [1, 2, 4]), (3, [5, 1, 5])])
def test_the_cache_is_linear_in_the_receptive_field_and_independent_of_the_length(
    kernel_size, dilations
):
    def rows(length):
        network = WaveNet([length], kernel_size=kernel_size, dilations=dilations, skip_channels=3)
        caches = tf.nest.flatten(WaveNetSteps(network, {}).initial_caches(7))
        assert {tuple(cache.shape[1:]) for cache in caches} == {(7, network.residual_channels)}
        return sum(len(cache) for cache in caches)

    # One row for each step of the past that a block needs: the receptive field but for the input.
    assert rows(4) == rows(1000) == (kernel_size - 1) * sum(dilations)


def loop_operations(event_shape, **kwargs):
    """Type and output shapes of every operation in the loop bodies, and the number of all nodes."""
    network = WaveNet(event_shape, residual_channels=4, dilations=[1, 2, 4], **kwargs)
    generate = tf.function(lambda: network.generate(lambda params, i: params[:, 0], 2))
    graph = generate.get_concrete_function().graph
    definition = graph.as_graph_def()
    nodes = len(definition.node) + sum(len(f.node_def) for f in definition.library.function)
    (loop,) = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
    body = graph._get_function(loop.get_attr("body").name).graph  # what the loop repeats
    operations = [
        (op.type, [str(output.shape) for output in op.outputs]) for op in body.get_operations()
    ]
    return operations, nodes


def test_a_step_costs_the_same_for_any_length():
    short, long = loop_operations([10]), loop_operations([200])
    assert len(short[0]) > 20
    assert short == long


@pytest.mark.parametrize("position_encoding", ["learned", "sinusoidal"])
def test_the_graph_does_not_grow_with_the_length(position_encoding):
    short = loop_operations([10], position_encoding=position_encoding)
    long = loop_operations([200], position_encoding=position_encoding)
    assert short[1] == long[1]


def test_the_graph_does_not_grow_with_the_channels():
    assert loop_operations([10, 2])[1] == loop_operations([10, 9])[1]


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, given, error, message",
    [
        ("global", None, ValueError, r"conditioned on shape \[3\], got None"),
        ("plain", [[1.0]], ValueError, "would ignore it"),
        ("global", [[1.0, 2.0]], ValueError, r"expected shape \[\.\.\., 3\], got \[1, 2\]"),
        ("both", [[1.0, 2.0, 3.0]], TypeError, "expected a dict of"),
    ],
)
def test_wrong_conditioning(kind, given, error, message):
    given = None if given is None else tf.constant(given)
    with pytest.raises(error, match=message):
        wavenet(kind).generate(lambda params, i: params[:, 0], 1, given)
