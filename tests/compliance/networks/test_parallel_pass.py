"""What every autoregressive network must do; runs over `registry.NETWORKS`."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_ar
from tests import helpers
from tests.compliance import registry
from tfp_ar.networks import AutoregressiveNetwork

EXACT = {"rtol": 1e-10, "atol": 1e-10}
each_network = pytest.mark.parametrize(**registry.parametrized(registry.NETWORKS, False))
CONDITIONAL = [e for e in registry.NETWORKS if e.conditional]
each_conditional = pytest.mark.parametrize(**registry.parametrized(CONDITIONAL, False))
UNCONDITIONAL = [e for e in registry.NETWORKS if not e.conditional]


def built(network):
    """The network with all its variables."""
    if not network.built:  # ours are, when they are made
        network.build((None, *network.event_shape))
    return network


@functools.cache
def shared_network(entry, dtype="float64"):
    """A network with random weights: the same numbers for each dtype."""
    return helpers.randomize(built(entry.make(dtype)), 0.4, seed=11)


def inputs(entry, batch, dtype="float64", seed=0):
    """(x, kwargs) of leading shape `batch`."""
    x = helpers.normal([*batch, *entry.event_shape], dtype, (seed, 9))
    return x, entry.conditioning(batch, dtype, seed)


# The promise about the order --------------------------------------------------------------------


@each_network
def test_parameters_depend_on_the_past_only(entry):
    network = built(entry.make("float64"))
    allowed, seen = helpers.allowed_inputs(network), helpers.seen_inputs(network)
    assert not np.any(seen & ~allowed)
    if entry.sees_all:
        np.testing.assert_array_equal(seen, allowed)


@each_network
def test_assert_autoregressive_agrees(entry):
    network = built(entry.make("float32"))
    before = [v.numpy() for v in network.variables]
    tfp_ar.assert_autoregressive(network, num_draws=3)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@each_network
def test_order_is_a_permutation(entry):
    network = entry.make("float32")
    assert network.event_shape == entry.event_shape
    assert network.event_size == entry.event_size
    assert network.order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(network.order), np.arange(entry.event_size))


# The sequential pass ----------------------------------------------------------------------------


def affine(noise):
    """An `emit` that is the affine flow at noise [B, *event_shape]."""
    columns = tf.transpose(tf.reshape(noise, [tf.shape(noise)[0], -1]))

    def emit(params, i):
        return params[:, 0] + tf.exp(params[:, 1]) * columns[i]

    return emit


@each_network
def test_generate_is_the_reference(entry):
    network, batch = shared_network(entry), entry.event_size
    noise, kwargs = inputs(entry, [batch])
    want = AutoregressiveNetwork.generate(network, affine(noise), batch, **kwargs)
    assert np.abs(want - noise).max() > 1e-2
    np.testing.assert_allclose(network.generate(affine(noise), batch, **kwargs), want, **EXACT)

    @functools.partial(tf.function, autograph=False)
    def in_graph(noise, kwargs):
        return network.generate(affine(noise), tf.shape(noise)[0], **kwargs)

    np.testing.assert_allclose(in_graph(noise, kwargs), want, **EXACT)


@each_network
def test_generate_uses_the_parameters_of_the_parallel_pass(entry):
    network, batch = shared_network(entry), 2
    noise, kwargs = inputs(entry, [batch])
    used, indices = {}, []

    def emit(params, i):
        assert params.shape == [batch, network.num_params]
        assert params.dtype == tf.float64
        assert i.dtype == tf.int32
        indices.append(int(i))
        used[int(i)] = params.numpy()
        return affine(noise)(params, i)

    x = network.generate(emit, batch, **kwargs)
    np.testing.assert_array_equal(indices, network.order)  # each variable once, in order
    params = network(x, **kwargs).numpy().reshape([batch, entry.event_size, -1])
    np.testing.assert_allclose(np.stack([used[i] for i in sorted(used)], 1), params, **EXACT)


@each_network
@pytest.mark.parametrize("reference", [False, True])
def test_generate_for_an_empty_batch(entry, reference):
    network = shared_network(entry)
    noise, kwargs = inputs(entry, [0])
    method = AutoregressiveNetwork.generate if reference else type(network).generate
    assert method(network, affine(noise), 0, **kwargs).shape == [0, *entry.event_shape]


@each_network
def test_generate_gives_what_emit_gives(entry):
    network = shared_network(entry, "float32")
    _, kwargs = inputs(entry, [3], "float32")
    x = network.generate(lambda params, i: tf.fill([3], tf.cast(i, tf.float32)), 3, **kwargs)
    assert x.dtype == tf.float32
    flat = np.arange(entry.event_size, dtype=np.float32).reshape(entry.event_shape)
    np.testing.assert_array_equal(x, np.stack([flat] * 3))


# Shapes and dtypes ------------------------------------------------------------------------------


@each_network
def test_leading_shapes(entry):
    network = shared_network(entry)
    x, kwargs = inputs(entry, [6])
    want = network(x, **kwargs)
    assert want.shape == [6, *entry.event_shape, network.num_params]

    for shape in ([2, 3], [1, 6, 1], [6]):

        def change(v, shape=shape):
            return tf.reshape(v, [*shape, *v.shape[1:]])

        got = network(change(x), **tf.nest.map_structure(change, kwargs))
        np.testing.assert_allclose(got, change(want), **EXACT)
    for k in (0, 5):
        got = network(x[k], **tf.nest.map_structure(lambda c, k=k: c[k], kwargs))
        np.testing.assert_allclose(got, want[k], **EXACT)
    none = network(x[:0], **tf.nest.map_structure(lambda c: c[:0], kwargs))
    assert none.shape == [0, *entry.event_shape, network.num_params]


@each_network
def test_unknown_batch_shapes(entry):
    network = shared_network(entry)
    x, kwargs = inputs(entry, [2, 3])
    want = network(x, **kwargs)
    unknown = tf.nest.map_structure(
        lambda v: tf.TensorSpec([None, None, *v.shape[2:]], v.dtype), (x, kwargs)
    )
    run = tf.function(
        lambda x, kwargs: network(x, **kwargs), input_signature=unknown, autograph=False
    )
    np.testing.assert_allclose(run(x, kwargs), want, **EXACT)
    empty = run(*tf.nest.map_structure(lambda v: v[:, :0], (x, kwargs)))
    assert empty.shape == [2, 0, *entry.event_shape, network.num_params]


@each_network
def test_dtypes(entry):
    x, kwargs = inputs(entry, [3])
    want = shared_network(entry)(x, **kwargs)
    assert want.dtype == tf.float64
    rounded = tf.nest.map_structure(lambda v: tf.cast(v, tf.float32), (x, kwargs))
    got = shared_network(entry, "float32")(rounded[0], **rounded[1])
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    whole = tf.cast(tf.round(3 * x), tf.int32)  # integers are cast, not refused
    got = shared_network(entry)(whole, **kwargs)
    np.testing.assert_array_equal(got, shared_network(entry)(tf.cast(whole, tf.float64), **kwargs))


@each_network
def test_mixed_precision_gives_float32_parameters(entry):
    network = helpers.randomize(built(entry.make("mixed_bfloat16")), 0.4, seed=11)
    assert all(v.dtype != "bfloat16" for v in network.variables)
    x, kwargs = inputs(entry, [3], "float32")
    params = network(x, **kwargs)
    assert params.dtype == tf.float32
    exact = shared_network(entry, "float32")(x, **kwargs)
    # bfloat16 has 8 bits: 0.4% a rounding, of values of order 1, some 10 in a row.
    np.testing.assert_allclose(params, exact, atol=0.05)
    assert np.abs(params - exact).max() > 0.0, "nothing was computed in bfloat16"
    generated = network.generate(affine(x), 3, **kwargs)
    assert generated.dtype == tf.float32
    assert np.isfinite(generated).all()


# Conditioning -----------------------------------------------------------------------------------


@each_conditional
def test_parameters_depend_on_every_entry_of_the_conditioning(entry):
    network = shared_network(entry)
    x, kwargs = inputs(entry, [8])
    parts = tf.nest.flatten(kwargs)
    with tf.GradientTape() as tape:
        tape.watch(parts)
        y = tf.reduce_sum(tf.sin(network(x, **kwargs)))
    for gradient in tape.gradient(y, parts):
        assert np.all(np.any(gradient != 0.0, axis=0))


@each_conditional
def test_conditioning_broadcasts(entry):
    network = shared_network(entry)
    x, _ = inputs(entry, [2, 3])
    one = entry.conditioning([])
    repeated = tf.nest.map_structure(lambda c: tf.broadcast_to(c, [2, 3, *c.shape]), one)
    np.testing.assert_allclose(network(x, **one), network(x, **repeated), **EXACT)
    # One x, several conditions.
    row = entry.conditioning([3])
    copies = tf.repeat(x[:1, 0], 3, axis=0)
    np.testing.assert_allclose(network(x[0, 0], **row), network(copies, **row), **EXACT)
    with pytest.raises(ValueError, match=r"batch shapes .* do not broadcast"):
        network(x, **entry.conditioning([4]))


@each_conditional
def test_wrong_conditioning_is_an_error(entry):
    network = shared_network(entry)
    x, kwargs = inputs(entry, [3])

    def assert_error(kind, match, conditional_input):
        for call in (
            lambda c: network(x, c),
            lambda c: network.generate(affine(x), 3, c),
            lambda c: AutoregressiveNetwork.generate(network, affine(x), 3, c),
        ):
            with pytest.raises(kind, match=match):
                call(conditional_input)

    assert_error(ValueError, "conditional_input: this network is conditioned on", None)
    longer = tf.nest.map_structure(
        lambda c: tf.concat([c, c[..., :1]], -1), kwargs["conditional_input"]
    )
    assert_error(ValueError, r"conditional_input.*: expected shape \[.*\], got", longer)
    if isinstance(entry.conditional_shape, dict):
        some = {"global": kwargs["conditional_input"]["global"]}
        assert_error(ValueError, r"expected the keys \['global', 'local'\]", some)
        other = {**kwargs["conditional_input"], "locale": x}
        assert_error(ValueError, r"expected the keys \['global', 'local'\]", other)
        assert_error(TypeError, "conditional_input: expected a dict", some["global"])
    else:
        whole = {"global": kwargs["conditional_input"]}
        assert_error(TypeError, r"conditional_input: expected \[.*\], got a dict", whole)


@pytest.mark.parametrize(**registry.parametrized(UNCONDITIONAL, False))
def test_unwanted_conditioning_is_an_error(entry):
    network = shared_network(entry)
    x, _ = inputs(entry, [3])
    match = "conditional_shape=None and would ignore it"
    with pytest.raises(ValueError, match=match):
        network(x, tf.ones([3, 2]))
    with pytest.raises(ValueError, match=match):
        network.generate(affine(x), 3, tf.ones([3, 2]))


@each_network
def test_wrong_event_shapes_are_errors(entry):
    network = shared_network(entry)
    x, kwargs = inputs(entry, [3])
    with pytest.raises(ValueError, match=r"x: expected shape \[\.\.\., .*\], got"):
        network(tf.concat([x, x], -1), **kwargs)
    with pytest.raises(ValueError, match=r"x: expected shape \[\.\.\., .*\], got \[\]"):
        network(tf.zeros([]), **kwargs)


# A Keras layer ----------------------------------------------------------------------------------


@each_network
def test_keras_sees_the_variables(entry):
    network = built(entry.make("float32"))
    assert network.built
    assert network.trainable_variables
    assert len({v.path for v in network.variables}) == len(network.variables)
    network.trainable = False
    assert not network.trainable_variables
    network.trainable = True
    assert network.trainable_variables


@each_network
def test_dropout_acts_in_training_only(entry):
    network = shared_network(entry, "float32")
    x, kwargs = inputs(entry, [3], "float32")
    still = network(x, **kwargs)
    np.testing.assert_array_equal(network(x, training=False, **kwargs), still)
    moving = np.any(network(x, training=True, **kwargs) != still)
    assert moving == bool(getattr(network, "dropout", 0.0))


@each_network
def test_a_functional_keras_model_takes_it(entry):
    network = shared_network(entry)
    x, kwargs = inputs(entry, [3])
    symbols = tf.nest.map_structure(
        lambda v: keras.Input(v.shape[1:], dtype="float64"), (x, kwargs)
    )
    model = keras.Model(symbols, network(symbols[0], **symbols[1]))
    np.testing.assert_allclose(model((x, kwargs)), network(x, **kwargs), **EXACT)
