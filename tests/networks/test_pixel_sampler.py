import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import random_conditioning
from tests.networks.generation import Emit, generator, reference, run
from tests.networks.pixel_examples import NETWORKS, PIXELS, lively_pixels

# Of the numbers that the two passes compute in another order; parameters are of order 1.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
each_network = pytest.mark.parametrize("network", NETWORKS)
# Of modes: the classical network's sampler is a part of the gated one's.
each_network_but_one_is_slow = pytest.mark.parametrize(
    "network", [pytest.param("classical", marks=pytest.mark.slow), "gated"]
)


def levels(x):
    """What a network sees of a value; not zero at zero, as what lies outside of the image is."""
    return 0.5 * tf.sin(2.0 * x) - 0.25


@each_network
@pytest.mark.parametrize(
    "kind, dtype",
    [*((kind, "float64") for kind in PIXELS), ("everything", "float32")],
)
def test_parameters_of_the_cached_pass_are_those_of_the_parallel_one(network, kind, dtype):
    network = lively_pixels(network, kind, dtype=dtype)
    batch = 3
    emit, c = Emit(network, batch), random_conditioning(network, batch)
    x = network.generate(emit, batch, c)
    assert x.dtype == dtype and x.shape == (batch, *network.event_shape)
    parallel = tf.reshape(network(x, c), [batch, network.event_size, network.num_params])
    # Rows differ where there is a past to differ in, unless all ReLUs of the head are off.
    assert np.mean(np.ptp(parallel, axis=0).max(axis=-1)[1:] > 1e-3) > 0.7
    assert [int(i) for i, _ in emit.calls] == list(range(network.event_size))
    for i, params in emit.calls:
        assert i.dtype == tf.int32 and i.shape == () and params.dtype == dtype
        np.testing.assert_allclose(
            params, parallel[:, int(i)], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
        )
    np.testing.assert_allclose(
        x, emit.of_all(network(x, c)), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


@each_network
@pytest.mark.parametrize("kind", ["channels_3"])
def test_cached_equals_reference(network, kind):
    network = lively_pixels(network, kind, dtype="float64")
    emit, c = Emit(network, 2), random_conditioning(network, 2)
    expected = reference(network, emit, 2, c)
    np.testing.assert_allclose(network.generate(emit, 2, c), expected, rtol=1e-10, atol=1e-10)


@each_network
@pytest.mark.parametrize("kind", ["one_layer", "channels_3"])
def test_the_network_sees_transformed_values(network, kind):
    network = lively_pixels(network, kind, dtype="float64")
    emit, c = Emit(network, 2), random_conditioning(network, 2)
    x = network.generate(emit, 2, c, input_transform=levels)
    assert np.any(np.abs(x - network.generate(emit, 2, c)) > 1e-3)
    # By induction over i, only the reference's x equals what emit makes of its own parameters.
    np.testing.assert_allclose(x, emit.of_all(network(levels(x), c)), rtol=1e-12, atol=1e-12)
    if kind == "one_layer":
        slow = reference(network, emit, 2, c, levels)
        np.testing.assert_allclose(slow, x, rtol=1e-10, atol=1e-10)


@each_network_but_one_is_slow
def test_in_a_graph_with_a_static_batch(network):
    network = lively_pixels(network, "plain", dtype="float64")
    for batch in (2, 0):
        emit, c = Emit(network, batch), random_conditioning(network, batch)
        x = run(network, emit, batch, c, "graph")
        assert x.shape == (batch, *network.event_shape)
        np.testing.assert_allclose(x, emit.of_all(network(x, c)), rtol=1e-12, atol=1e-12)


@each_network_but_one_is_slow
@pytest.mark.parametrize("kind", ["everything"])
def test_in_a_graph_for_an_unknown_batch(network, kind):
    network = lively_pixels(network, kind, dtype="float64")
    generate = generator(network, 2, random_conditioning(network, 2), "graph", dynamic=True)
    for batch in (3, 1, 0):
        emit, c = Emit(network, batch), random_conditioning(network, batch)
        x = generate(emit.noise, c)
        assert x.shape == (batch, *network.event_shape)
        np.testing.assert_allclose(x, emit.of_all(network(x, c)), rtol=1e-12, atol=1e-12)


@each_network_but_one_is_slow
@pytest.mark.parametrize(
    "kind, dynamic",
    [
        ("everything", True),
        pytest.param("plain", False, marks=pytest.mark.slow),
        pytest.param("dilated_kernel_5", True, marks=pytest.mark.slow),
    ],
)
def test_compiled(network, kind, dynamic):
    network = lively_pixels(network, kind, dtype="float64")
    generate = generator(network, 2, random_conditioning(network, 2), "jit", dynamic)
    for batch in (2, 0) if dynamic else (2,):
        emit, c = Emit(network, batch), random_conditioning(network, batch)
        x = generate(emit.noise, c)
        assert x.shape == (batch, *network.event_shape)
        np.testing.assert_allclose(x, emit.of_all(network(x, c)), rtol=1e-12, atol=1e-12)


@each_network
@pytest.mark.parametrize("batch", [0, 1])
def test_eager_with_few_rows(network, batch):
    network = lively_pixels(network, "one_layer_both", dtype="float64")
    emit, c = Emit(network, batch), random_conditioning(network, batch)
    for size in (batch, tf.constant(batch)):
        x = network.generate(emit, size, c)
        assert x.shape == (batch, *network.event_shape)
        np.testing.assert_allclose(x, emit.of_all(network(x, c)), rtol=1e-12, atol=1e-12)


@each_network
def test_mixed_precision_generates_what_the_parallel_pass_says(network):
    network = lively_pixels(network, "everything", dtype="mixed_bfloat16")
    emit, c = Emit(network, 3), random_conditioning(network, 3)
    x = run(network, emit, 3, c, "graph")
    assert x.dtype == tf.float32
    # 8 bits in bfloat16, parameters of order 1.
    np.testing.assert_allclose(x, emit.of_all(network(x, c)), rtol=0, atol=0.15)


@each_network
def test_generate_is_without_dropout(network):
    network = lively_pixels(network, "everything", dropout=0.5, dtype="float64")
    emit, c = Emit(network, 2), random_conditioning(network, 2)
    x = network.generate(emit, 2, c)
    np.testing.assert_allclose(x, emit.of_all(network(x, c, training=False)), rtol=1e-12)


@each_network
def test_weights_are_read_when_called(network):
    networks = [lively_pixels(network, "two_layers", dtype="float64") for _ in range(2)]
    for variable in networks[0].variables:
        variable.assign(1.1 * variable)
    emit = Emit(networks[0], 2)
    compiled = tf.function(lambda: networks[0].generate(emit, 2))
    before = compiled()
    for variable, other in zip(*(n.variables for n in networks), strict=True):
        variable.assign(other)
    after = compiled()
    assert np.any(np.abs(after - before) > 1e-3)
    np.testing.assert_allclose(after, emit.of_all(networks[1](after)), rtol=1e-12, atol=1e-12)


@each_network
def test_gradients_of_the_loop_are_those_of_the_reference(network):
    network = lively_pixels(
        network, "everything", event_shape=[2, 2, 2], conditional_shape=[3], dtype="float64"
    )
    emit, c = Emit(network, 2), random_conditioning(network, 2)
    variables = [v.value for v in network.trainable_variables]

    def gradients(generate):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(generate(network, emit, 2, c) ** 2)
        return tape.gradient(loss, variables)

    cached, slow = gradients(type(network).generate), gradients(reference)
    assert sum(g is not None and bool(np.any(g)) for g in slow) > len(variables) // 2
    for a, b, variable in zip(cached, slow, variables, strict=True):
        a, b = (tf.zeros_like(variable) if g is None else g for g in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# Cost ---------------------------------------------------------------------------------------------


def graph_size(network, **kwargs):
    """The number of nodes of a graph that generates."""
    network = lively_pixels(network, "dilated", **kwargs)
    generate = tf.function(lambda: network.generate(lambda params, i: params[:, 0], 2))
    definition = generate.get_concrete_function().graph.as_graph_def()
    return len(definition.node) + sum(len(f.node_def) for f in definition.library.function)


@each_network
def test_the_graph_does_not_grow_with_the_image(network):
    small, large = ([7, 8, 1], [40, 30, 1])
    assert graph_size(network, event_shape=small) == graph_size(network, event_shape=large)


# Errors -------------------------------------------------------------------------------------------


@each_network
@pytest.mark.parametrize(
    "kind, given, error, message",
    [
        ("global", None, ValueError, r"conditioned on shape \[3\], got None"),
        ("plain", [[1.0]], ValueError, "would ignore it"),
        ("global", [[1.0, 2.0]], ValueError, r"expected shape \[\.\.\., 3\], got \[1, 2\]"),
        ("global", [[1.0, 2.0, 3.0]] * 2, ValueError, r"expected shape \[1, 3\], got \[2, 3\]"),
        ("local", np.ones([1, 4, 3, 2]), ValueError, r"expected shape \[\.\.\., 3, 3, 2\], got"),
        ("both", [[1.0, 2.0, 3.0]], TypeError, "expected a dict of"),
    ],
)
def test_wrong_conditioning(network, kind, given, error, message):
    given = None if given is None else tf.constant(given)
    with pytest.raises(error, match=message):
        lively_pixels(network, kind).generate(lambda params, i: params[:, 0], 1, given)


@each_network
def test_one_layer_on_a_gpu(network, monkeypatch):
    # There the stack is one group, which is empty here.
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: [kind])
    network = lively_pixels(network, "one_layer", dtype="float64")
    emit = Emit(network, 2)
    x = network.generate(emit, 2)
    np.testing.assert_allclose(x, emit.of_all(network(x)), rtol=1e-12, atol=1e-12)
