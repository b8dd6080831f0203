"""The parallel pass of every network: order, shapes, dtypes, conditioning, invalid arguments."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_ar
from tests import helpers
from tests.compliance.entries import parametrized
from tests.compliance.networks.registry import NETWORKS, OURS, built, inputs, shared_network
from tfp_ar.networks import AutoregressiveNetwork

EXACT = {"rtol": 1e-10, "atol": 1e-10}
each_network = pytest.mark.parametrize(**parametrized(NETWORKS))
each_conditional = pytest.mark.parametrize(**parametrized([e for e in NETWORKS if e.conditional]))


# The promise about the order --------------------------------------------------------------------


@each_network
def test_parameters_depend_on_the_past_only(entry):
    """Draws all raw weights anew several times."""
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


# Values at the start, gradients -----------------------------------------------------------------


@pytest.mark.parametrize(**parametrized(OURS))
def test_new_networks_give_zero(entry):
    x, kwargs = inputs(entry, [2], "float32")
    assert not np.any(entry.make("float32")(x, **kwargs))


# One variable alone has no past to weigh.
@pytest.mark.parametrize(**parametrized([e for e in NETWORKS if e.event_size > 1]))
def test_every_weight_gets_a_gradient(entry):
    network, used = shared_network(entry), 0
    for seed in range(3):  # ReLUs may be off
        x, kwargs = inputs(entry, [8], seed=seed)
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(network(x, training=False, **kwargs) ** 2)
        gradients = tape.gradient(y, [v.value for v in network.trainable_variables])
        used = np.maximum(used, [g is not None and np.any(g) for g in gradients])
    unused = [v.path for v, u in zip(network.trainable_variables, used, strict=True) if not u]
    assert not unused


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
    for given in ("float64", "bfloat16"):  # of the variables, whatever is given
        assert shared_network(entry, "float32")(tf.cast(x, given), **kwargs).dtype == tf.float32


@each_network
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_gives_float32_parameters(entry, policy):
    network = shared_network(entry, policy)
    assert all(v.dtype == "float32" for v in network.variables if "seed" not in v.path)
    x, kwargs = inputs(entry, [3], "float32")
    params, exact = network(x, **kwargs), shared_network(entry, "float32")(x, **kwargs)
    assert params.dtype == tf.float32
    # bfloat16 has 8 bits: 0.4% a rounding, of values of order 1, some 10 in a row.
    np.testing.assert_allclose(params, exact, atol=0.15)
    assert np.abs(params - exact).max() > 0.0, "nothing was computed in 16 bits"


# Conditioning -----------------------------------------------------------------------------------


@each_conditional
def test_every_parameter_depends_on_every_part_of_the_conditioning(entry):
    network = shared_network(entry)
    x, kwargs = inputs(entry, [8])
    parts = tf.nest.flatten(kwargs)
    with tf.GradientTape() as tape:
        tape.watch(parts)
        params = network(x, **kwargs)
        y = tf.reduce_sum(tf.sin(params))
    for gradient in tape.gradient(y, parts):
        assert np.all(np.any(gradient != 0.0, axis=0)), "an entry without an effect"
    for k, part in enumerate(parts):
        changed = [*parts[:k], part + 1.0, *parts[k + 1 :]]
        moved = network(x, **tf.nest.pack_sequence_as(kwargs, changed)) != params
        assert np.all(np.any(moved, axis=0)), "a parameter on which a part has no effect"


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
    with pytest.raises(ValueError, match=r"batch shapes \[2, 3\] and \[4\].* do not broadcast"):
        network(x, **entry.conditioning([4]))


@each_conditional
def test_wrong_conditioning_is_an_error(entry):
    network = shared_network(entry)
    x, kwargs = inputs(entry, [3])
    c = kwargs["conditional_input"]
    emit = lambda params, i: params[:, 0]  # noqa: E731
    generators = [
        functools.partial(network.generate, emit, 3),
        functools.partial(AutoregressiveNetwork.generate, network, emit, 3),
    ]
    parallel = functools.partial(network, x)
    unknown = functools.partial(network.generate, emit, tf.constant(3))

    def assert_error(kind, match, wrong, calls=(parallel, *generators)):
        for call in calls:
            with pytest.raises(kind, match=match):
                call(wrong)

    shape_error = r"conditional_input.*: expected shape \[.*\], got \["
    assert_error(
        ValueError, r"conditional_input: this network is conditioned on .*, got None", None
    )
    for axis in range(1, max(part.ndim for part in tf.nest.flatten(c))):  # channels, then positions
        wrong = tf.nest.map_structure(
            lambda v, k=axis: tf.concat([v, v], -k) if v.ndim > k else v, c
        )
        assert_error(ValueError, shape_error, wrong)
    for batch in ([], [1], [1, 3]):  # of a batch of 3, generation wants one row each
        wrong = entry.conditioning(batch)["conditional_input"]
        assert_error(ValueError, shape_error, wrong, [*generators, *[unknown] * (batch != [1])])
    if isinstance(entry.conditional_shape, dict):
        keys = r"expected the keys \['global', 'local'\], got \["
        assert_error(ValueError, keys, {"global": c["global"]})
        assert_error(ValueError, keys, {**c, "locale": x})
        assert_error(TypeError, "conditional_input: expected a dict of .*, got a", c["global"])
    else:
        message = r"conditional_input: expected \[.*\], got a dict of 'global'"
        assert_error(TypeError, message, {"global": c})


@pytest.mark.parametrize(**parametrized([e for e in NETWORKS if not e.conditional]))
def test_unwanted_conditioning_is_an_error(entry):
    network = shared_network(entry)
    x, _ = inputs(entry, [3])
    match = r"conditional_shape=None and would ignore it, got a value of shape \[3, 2\]"
    with pytest.raises(ValueError, match=match):
        network(x, tf.ones([3, 2]))
    with pytest.raises(ValueError, match=match):
        network.generate(lambda params, i: params[:, 0], 3, tf.ones([3, 2]))


@each_network
def test_wrong_event_shapes_are_errors(entry):
    network = shared_network(entry)
    x, kwargs = inputs(entry, [3])
    shape = list(x.shape[1:])
    longer = [*shape[:-1], 2 * shape[-1]]
    for given in (tf.zeros([3, *longer]), tf.zeros([]), keras.Input(longer)):
        with pytest.raises(ValueError, match=r"x: expected shape \[\.\.\., .*\], got \["):
            network(given, **kwargs)
