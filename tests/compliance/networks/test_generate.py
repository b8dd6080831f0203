"""The sequential pass of every network: it equals the reference in every mode."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.compliance.entries import parametrized
from tests.compliance.networks.registry import (
    NETWORKS,
    OPTIONS,
    OURS,
    built,
    inputs,
    named,
    shared_network,
)
from tests.networks.examples import lively
from tests.networks.generation import Emit, generator, reference, run
from tfp_ar.networks import AutoregressiveNetwork

# Two passes compute in another order. bfloat16 has 8 bits, and parameters are of order 1.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "mixed_bfloat16": 0.15}
each_network = pytest.mark.parametrize(**parametrized(NETWORKS))
each_of_ours = pytest.mark.parametrize(**parametrized(OURS))
each_compiled = pytest.mark.parametrize(
    **parametrized(
        named(
            *("wavenet", "gated_pixel_cnn", "pixel_cnn_both", "lazy_reversed"),
            *("wavenet_option_many_blocks", "wavenet_option_everything"),
            *("classical_option_dilated_kernel_5", "gated_option_dilated_kernel_5"),
        )
    )
)


def made(entry, batch, dtype="float64"):
    """A network of random weights, an emit, and the conditioning, or None."""
    network = shared_network(entry, dtype)
    _, kwargs = inputs(entry, [batch], network.variable_dtype)
    return network, Emit(network, batch), kwargs.get("conditional_input")


def assert_consistent(x, network, emit, c, dtype="float64"):
    """By induction over i, only the reference's x is what emit makes of its own parameters."""
    assert x.dtype == network.variable_dtype
    assert x.shape == [emit.noise.shape[1], *network.event_shape]
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(x, emit.of_all(network(x, c)), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(**parametrized(NETWORKS + OPTIONS))
def test_parameters_are_those_of_the_parallel_pass(entry, dtype):
    network, emit, c = made(entry, 3, dtype)
    x = network.generate(emit, 3, c)
    assert_consistent(x, network, emit, c, dtype)
    parallel = tf.reshape(network(x, c), [3, network.event_size, network.num_params]).numpy()
    later = network.order[1:]
    # Rows differ where there is a past to differ in, unless all ReLUs of the head are off.
    assert not later.size or np.mean(np.ptp(parallel, axis=0).max(axis=-1)[later] > 1e-3) > 0.7
    assert [int(i) for i, _ in emit.calls] == list(network.order)  # each variable once, in order
    for i, params in emit.calls:
        assert i.dtype == tf.int32 and i.shape == []
        assert params.dtype == dtype and params.shape == [3, network.num_params]
        np.testing.assert_allclose(
            params, parallel[:, int(i)], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
        )


@each_network
def test_it_is_the_reference(entry):
    network, emit, c = made(entry, 2)
    want = reference(network, emit, 2, c)
    np.testing.assert_allclose(network.generate(emit, 2, c), want, rtol=1e-10, atol=1e-10)


@each_of_ours
def test_it_is_cached(entry):
    assert entry.make("float32").has_cached_generate


@each_network
def test_the_network_sees_transformed_values(entry):
    def levels(x):
        return 0.5 * tf.sin(2.0 * x) - 0.25  # not zero at zero, as what lies outside of an image is

    network, emit, c = made(entry, 2)
    x = network.generate(emit, 2, c, input_transform=levels)
    assert np.any(np.abs(x - network.generate(emit, 2, c)) > 1e-3) or entry.event_size == 1
    np.testing.assert_allclose(x, emit.of_all(network(levels(x), c)), rtol=1e-12, atol=1e-12)
    slow = reference(network, emit, 2, c, levels)
    np.testing.assert_allclose(slow, x, rtol=1e-10, atol=1e-10)


@each_network
def test_few_rows(entry):
    for batch in (0, 1):
        network, emit, c = made(entry, batch)
        for size in (batch, tf.constant(batch)):
            assert_consistent(network.generate(emit, size, c), network, emit, c)
        assert_consistent(reference(network, emit, batch, c), network, emit, c)


@each_network
def test_it_gives_what_emit_gives(entry):
    network, _, c = made(entry, 3, "float32")
    x = network.generate(lambda params, i: tf.fill([3], tf.cast(i, tf.float32)), 3, c)
    assert x.dtype == tf.float32
    flat = np.arange(entry.event_size, dtype=np.float32).reshape(entry.event_shape)
    np.testing.assert_array_equal(x, np.stack([flat] * 3))


@each_network
def test_in_a_graph_of_known_batch(entry):
    for batch in (2, 0):
        network, emit, c = made(entry, batch)
        assert_consistent(run(network, emit, c, batch), network, emit, c)


@pytest.mark.parametrize(
    "jit_compile, dtype",
    [
        (True, "float32"),
        (False, "mixed_bfloat16"),
        *(
            pytest.param(*mode, marks=pytest.mark.slow)
            for mode in [(False, "float64"), (True, "mixed_bfloat16")]
        ),
    ],
)
@each_compiled
def test_compiled_for_an_unknown_batch(entry, jit_compile, dtype):
    generate = None
    for batch in (3, 0) if jit_compile else (3, 1, 0):  # XLA compiles for each
        network, emit, c = made(entry, batch, dtype)
        generate = generate or generator(network, c, None, jit_compile)
        assert_consistent(generate(emit.noise, c), network, emit, c, dtype)


# Weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(**parametrized(named("wavenet", "gated_pixel_cnn", "pixel_cnn")))
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_weights_are_read_when_called(entry, jit_compile):
    network = lively(entry.make("float64"), seed=1)
    _, emit, c = made(entry, 2)
    generate = generator(network, c, 2, jit_compile)
    before = generate(emit.noise, c)
    lively(network, seed=2)
    after = generate(emit.noise, c)
    assert np.any(np.abs(after - before) > 1e-3)
    assert_consistent(after, network, emit, c)


@each_of_ours
def test_weights_of_a_stateless_scope_are_used(entry):
    network, other = (lively(entry.make("float64"), seed=seed) for seed in (1, 2))
    _, emit, c = made(entry, 2)
    mapping = [(v, w.value) for v, w in zip(network.variables, other.variables, strict=True)]
    with keras.StatelessScope(mapping):
        x = network.generate(emit, 2, c)
    assert_consistent(x, other, emit, c)


@each_network
def test_gradients_are_those_of_the_reference(entry):
    network, emit, c = made(entry, 2)
    variables = [v.value for v in built(network).trainable_variables]

    def gradients(generate):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(generate(network, emit, 2, c) ** 2)
        return tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    got, want = gradients(type(network).generate), gradients(AutoregressiveNetwork.generate)
    assert np.mean([np.any(g) for g in want]) > 0.5 or entry.event_size == 1
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
