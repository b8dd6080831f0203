"""tfp_ar.bijectors.ActNorm alone; test_initialize.py tests several of them."""

import copy
import functools
import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tfp_ar.bijectors import ActNorm, Chain

tfb, tfd = tfp.bijectors, tfp.distributions
EXACT = {"rtol": 1e-12, "atol": 1e-12}
# By name: event shape, axis, the parameters' shape.
SHAPES = {
    "variables": ([4], -1, [4]),
    "channels": ([3, 2], -1, [1, 2]),
    "pixels": ([2, 3, 2], (0, 1), [2, 3, 1]),
    "one": ([2, 3], [], [1, 1]),
}
each_shape = pytest.mark.parametrize(["event", "axis", "shape"], SHAPES.values(), ids=SHAPES)
each_dtype = pytest.mark.parametrize(
    "dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)]
)


def random_norm(event=(3, 2), axis=-1, dtype="float64"):
    """With random parameters."""
    act_norm = ActNorm(event, axis, dtype=dtype)
    for i, variable in enumerate(act_norm.variables):
        variable.assign(helpers.normal(variable.shape, dtype, i))
    return act_norm


def data(event, dtype="float64", rows=500):
    """Of another mean and deviation at each place of the event."""
    generator = np.random.default_rng(1)
    scale, shift = np.exp(generator.normal(0, 1, event)), generator.normal(0, 5, event)
    return tf.constant(shift + scale * generator.standard_normal([rows, *event]), dtype)


@each_shape
def test_a_new_one_is_the_identity(event, axis, shape):
    act_norm, x = ActNorm(event, axis), data(event, "float32")
    np.testing.assert_array_equal(act_norm.forward(x), x)
    assert act_norm.shift.shape == act_norm.log_scale.shape == shape
    assert act_norm.dtype == tf.float32
    assert act_norm.event_shape == tuple(event)


@each_shape
@each_dtype
def test_the_map_and_its_log_dets(event, axis, shape, dtype):
    act_norm = random_norm(event, axis, dtype)
    u = helpers.normal([5, *event], dtype)
    x = act_norm.forward(u)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else EXACT
    np.testing.assert_allclose(
        x, np.exp(act_norm.log_scale) * u + np.asarray(act_norm.shift), **tolerance
    )
    np.testing.assert_allclose(act_norm.inverse(tf.identity(x)), u, **tolerance)
    ndims = len(event)
    _, want = np.linalg.slogdet(helpers.jacobian(act_norm.forward, u[0]))
    assert abs(want) > 0.01
    fldj = act_norm.forward_log_det_jacobian(u, ndims)
    np.testing.assert_allclose(fldj, np.full([5], want), **tolerance)
    ildj = act_norm.inverse_log_det_jacobian(x, ndims)
    np.testing.assert_allclose(ildj, np.full([5], -want), **tolerance)
    over_more = act_norm.forward_log_det_jacobian(u, ndims + 1)
    np.testing.assert_allclose(over_more, 5 * want, **tolerance)


def test_xla_and_unknown_batch():
    act_norm = random_norm()
    u = helpers.normal([5, 3, 2], "float64")

    def run(u):
        x = act_norm.forward(u)
        return x, act_norm.inverse(u), act_norm.forward_log_det_jacobian(u)

    signature = [tf.TensorSpec([None, 3, 2], "float64")]
    for mode in (tf.function(run, jit_compile=True), tf.function(run, input_signature=signature)):
        for got, want in zip(mode(u), run(u), strict=True):
            np.testing.assert_allclose(got, want, **EXACT)


# Data -------------------------------------------------------------------------------------------


@each_shape
@each_dtype
def test_initialize_gives_mean_0_and_deviation_1(event, axis, shape, dtype):
    act_norm, x = ActNorm(event, axis, dtype=dtype), data(event, dtype)
    before = [id(v) for v in act_norm.variables]
    act_norm.initialize(tf.reshape(x, [5, 100, *event]))  # any leading shape
    assert [id(v) for v in act_norm.variables] == before
    u = act_norm.inverse(x).numpy().astype("float64")
    reduced = tuple(i for i in range(u.ndim) if i == 0 or shape[i - 1] == 1)
    np.testing.assert_allclose(u.mean(reduced), 0.0, atol=1e-5)
    np.testing.assert_allclose(u.std(reduced), 1.0, atol=1e-5)
    assert np.abs(x - act_norm.inverse(x)).max() > 1.0


@each_dtype
def test_a_constant_channel_keeps_its_scale(dtype):
    # In float64, 0.1 and 1e6 / 3 seem to have a deviation: the rounding of their mean.
    columns = [tf.fill([500, 1], tf.constant(value, dtype)) for value in (0.0, 0.1, -1e6 / 3)]
    x = tf.concat([data([1], dtype), *columns], -1)
    act_norm = ActNorm([4], dtype=dtype)
    act_norm.initialize(x)
    np.testing.assert_array_equal(act_norm.log_scale[1:], 0.0)
    assert act_norm.log_scale[0] != 0.0
    np.testing.assert_allclose(act_norm.inverse(x)[:, 1:], 0.0, atol=1e-9)


def test_small_and_large_deviations_are_no_constants():
    x = data([1], "float64") * np.array([1e-20, 1e20])
    act_norm = ActNorm([2], dtype="float64")
    act_norm.initialize(x)
    np.testing.assert_allclose(np.std(act_norm.inverse(x), 0), 1.0, rtol=1e-9)


def test_a_batch_of_one():
    x = data([3, 2], rows=1)
    for_channels, for_variables = ActNorm([3, 2], dtype="float64"), ActNorm([2], dtype="float64")
    for_channels.initialize(x)  # three positions a channel
    np.testing.assert_allclose(np.std(for_channels.inverse(x), (0, 1)), 1.0, rtol=1e-9)
    for_variables.initialize(x[:, 0])
    np.testing.assert_array_equal(for_variables.inverse(x[:, 0]), 0.0)
    np.testing.assert_array_equal(for_variables.log_scale, 0.0)


def test_data_of_other_kinds():
    act_norm = ActNorm([2])
    act_norm.initialize([[0, 1], [2, 5]])
    np.testing.assert_allclose(act_norm.shift, [1.0, 3.0])
    np.testing.assert_allclose(act_norm.log_scale, np.log([1.0, 2.0]), rtol=1e-6)


# Variables and TFP's caches ---------------------------------------------------------------------


def around(act_norm, chain=tfb.Chain):
    """A distribution that holds it in a composition."""
    base = tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), act_norm.event_shape)
    return tfd.TransformedDistribution(base, chain([tfb.Scale(np.float64(2.0)), act_norm]))


def test_variables_are_found_and_a_model_trains_them():
    act_norm = random_norm([4])
    model = around(act_norm)
    assert {id(v) for v in model.trainable_variables} == {id(v) for v in act_norm.variables}
    assert len(model.trainable_variables) == 2
    keras_model = tfp_ar.DensityModel(model)
    assert len(keras_model.trainable_variables) == 2
    keras_model.compile(keras.optimizers.SGD(0.1))
    before = act_norm.log_scale.numpy()
    keras_model.train_on_batch(data([4], rows=8).numpy())
    assert np.all(act_norm.log_scale != before)


@pytest.mark.parametrize("chain", [tfb.Chain, tfp_ar.bijectors.Chain])
def test_no_stale_answers(chain):
    act_norm = random_norm([4])
    model, x = around(act_norm, chain), data([4], rows=3)

    def log_prob():
        u = (x / 2 - act_norm.shift) * tf.exp(-act_norm.log_scale)
        normal = tfd.Normal(np.float64(0.0), 1.0)
        ldj = tf.reduce_sum(act_norm.log_scale) + 4 * np.log(2.0)
        return tf.reduce_sum(normal.log_prob(u), -1) - ldj

    np.testing.assert_allclose(model.log_prob(x), log_prob(), rtol=1e-10)
    # Held, as TFP's caches know only what is alive.
    held = model.bijector.inverse(x), act_norm.inverse(x)
    act_norm.log_scale.assign_add([0.1, 0.2, 0.3, 0.4])
    assert np.all(act_norm.inverse(x) != held[1])
    np.testing.assert_allclose(model.log_prob(x), log_prob(), rtol=1e-10)  # of the same tensor
    held = model.bijector.inverse(x)
    with tf.GradientTape() as tape:  # what was computed outside of it has no gradient
        got = model.log_prob(x)
    with tf.GradientTape() as reference:
        want = log_prob()
    assert held.shape == [3, 4]
    got = tape.gradient(got, [act_norm.shift, act_norm.log_scale])
    for g, w in zip(got, reference.gradient(want, act_norm.variables[::-1]), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-9)


@pytest.mark.parametrize("learned", ["shift", "log_scale"])
@pytest.mark.parametrize("other", ["frozen", "tensor"])
def test_a_pair_made_before_a_tape_has_no_gradient_under_it(learned, other):
    parameters = {"shift": helpers.normal([4], "float64", 1), "log_scale": tf.fill([4], 0.5)}
    parameters["log_scale"] = tf.cast(parameters["log_scale"], tf.float64)
    for name, value in parameters.items():
        if name == learned or other == "frozen":
            parameters[name] = tf.Variable(value, trainable=name == learned)
    act_norm, x = ActNorm([4], **parameters), data([4], rows=3)
    held = act_norm.inverse(x)
    with tf.GradientTape() as tape:
        u = act_norm.inverse(x)
    want = {"shift": tf.fill([4], -3.0 * np.exp(-0.5)), "log_scale": -tf.reduce_sum(held, 0)}
    np.testing.assert_allclose(tape.gradient(u, parameters[learned]), want[learned], rtol=1e-12)
    with tf.GradientTape() as tape:
        tape.watch(list(parameters.values()))
        u = act_norm.inverse(x)
    for name, gradient in tape.gradient(u, parameters).items():
        np.testing.assert_allclose(gradient, want[name], rtol=1e-12)


@pytest.mark.parametrize("outer", [lambda a: a, lambda a: Chain([a])], ids=["alone", "chain"])
def test_copies_of_python(outer):
    bijector, x = outer(random_norm([4])), data([4], rows=3)
    held = bijector.inverse(x)
    shallow, deep = copy.copy(bijector), copy.deepcopy(bijector)
    for variable in bijector.variables:
        variable.assign_add(tf.ones_like(variable))
    now = bijector.inverse(x)
    assert np.all(now != held)
    np.testing.assert_array_equal(shallow.inverse(x), now)  # shares the variables
    np.testing.assert_array_equal(deep.inverse(x), held)  # has its own
    del bijector
    gc.collect()
    np.testing.assert_array_equal(shallow.inverse(tf.identity(x)), now)


def test_copies_share_variables():
    act_norm, other = random_norm(), random_norm()
    same = act_norm.copy()
    assert same == act_norm
    assert hash(same) == hash(act_norm)
    assert act_norm != other  # of the same values, but they need not stay so
    assert [v is w for v, w in zip(same.variables, act_norm.variables, strict=True)] == [True] * 2
    renamed = act_norm.copy(name="other")
    assert (renamed.name, renamed.axis, renamed.event_shape) == ("other", (1,), (3, 2))
    assert act_norm.experimental_batch_shape() == []
    fixed = ActNorm([2], shift=[1.0, 2.0], log_scale=tf.zeros([2]))
    assert not fixed.variables
    np.testing.assert_array_equal(fixed.forward(tf.ones([2])), [2.0, 3.0])
    assert ActNorm([2], shift=tf.zeros([2], "float64")).dtype == tf.float64


def test_checkpoints(tmp_path):
    saved, fresh = random_norm(), ActNorm([3, 2], dtype="float64")
    path = tf.train.Checkpoint(flow=around(saved)).write(str(tmp_path / "weights"))
    stored = [n for n, _ in tf.train.list_variables(path) if n.endswith("VARIABLE_VALUE")]
    assert len(stored) == 2
    tf.train.Checkpoint(flow=around(fresh)).read(path).assert_consumed()
    for old, new in zip(saved.variables, fresh.variables, strict=True):
        np.testing.assert_array_equal(old, new)


# Errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ["arguments", "error", "match"],
    [
        ({"event_shape": 3}, TypeError, "event_shape: expected a sequence of positive integers"),
        ({"axis": 2}, ValueError, r"axis: expected axes in -2\.\.1, got 2"),
        ({"axis": (0, -2)}, ValueError, r"axis: expected each axis once, got \(0, -2\)"),
        ({"axis": None}, TypeError, "axis: expected an axis or a sequence of axes, got None"),
        ({"shift": tf.zeros([2])}, ValueError, r"shift: expected shape \[1, 2\], got \[2\]"),
        (
            {"log_scale": np.zeros([3, 2])},
            ValueError,
            r"log_scale: expected shape \[1, 2\], got \[3, 2\]",
        ),
    ],
)
def test_bad_arguments(arguments, error, match):
    with pytest.raises(error, match=match):
        ActNorm(**{"event_shape": [3, 2], **arguments})


def test_bad_values():
    act_norm = ActNorm([3, 2])
    with pytest.raises(ValueError, match=r"x: expected shape \[\.\.\., 3, 2\], got \[5, 3\]"):
        act_norm.forward(tf.ones([5, 3]))
    with pytest.raises(ValueError, match=r"y: expected shape \[\.\.\., 3, 2\], got \[3, 1\]"):
        act_norm.inverse(tf.ones([3, 1]))
    with pytest.raises(ValueError, match=r"data: expected shape \[\.\.\., 3, 2\], got \[5, 2\]"):
        act_norm.initialize(tf.ones([5, 2]))
    with pytest.raises(ValueError, match=r"data: expected at least one row, got shape \[0, 3, 2\]"):
        act_norm.initialize(tf.ones([0, 3, 2]))
    with pytest.raises(ValueError, match="data: expected finite values at 'act_n"):
        act_norm.initialize(tf.fill([4, 3, 2], np.nan))
    with pytest.raises(RuntimeError, match="expected `initialize` to be called eagerly"):
        tf.function(act_norm.initialize)(tf.ones([4, 3, 2]))
    fixed = functools.partial(ActNorm, [3, 2], shift=tf.zeros([1, 2]))
    with pytest.raises(TypeError, match="shift: expected 'act_norm' to have a tf.Variable to set"):
        fixed().initialize(tf.ones([4, 3, 2]))
