"""tfp_ar.bijectors.Bounded: a rescaled logit that is safe at its ends."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import helpers
from tfp_ar.bijectors import Bounded

tfb, tfd = tfp.bijectors, tfp.distributions
INTERVALS = [(0, 1), (0, 17), (0, 256), (0, 65536), (-3, 5), (-0.1, 0.7)]
each_interval = pytest.mark.parametrize(["low", "high"], INTERVALS)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
each_run = pytest.mark.parametrize(
    "dtype, jit",
    [
        pytest.param(dtype, jit, marks=[pytest.mark.slow] * (jit and dtype != "float32"))
        for dtype in ("float16", "bfloat16", "float32", "float64")
        for jit in (False, True)
    ],
)


def run(function, jit, x):
    """The function, eagerly or by XLA."""
    return (tf.function(function, jit_compile=True) if jit else function)(x)


def as_given(high, dtype):
    """The end of an interval, or one that float16 has: 65536 is infinite in it."""
    return min(high, 256) if dtype in ("float16", "bfloat16") else high


def log_slope(z, low, high):
    """log dy/dz in float64, by its formula."""
    z = np.asarray(z, np.float64)
    return np.log(high - low) - np.logaddexp(0.0, z) - np.logaddexp(0.0, -z)


@each_interval
def test_the_map_and_its_inverse(low, high):
    z = tf.linspace(tf.constant(-9.0, tf.float64), 9.0, 37)
    bounded = Bounded(low, high)
    y = low + (high - low) / (1.0 + np.exp(-z.numpy()))
    np.testing.assert_allclose(bounded.forward(z), y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(bounded.inverse(tf.constant(y)), z, rtol=1e-10, atol=1e-10)
    assert (bounded.low, bounded.high) == (low, high)
    assert bounded.forward_min_event_ndims == bounded.inverse_min_event_ndims == 0
    assert np.all(np.diff(bounded.forward(z)) > 0.0)
    assert bounded._internal_is_increasing()


@each_interval
def test_log_dets_against_autodiff(low, high):
    z = tf.linspace(tf.constant(-6.0, tf.float64), 6.0, 25)
    bounded = Bounded(low, high)
    with tf.GradientTape() as tape:
        tape.watch(z)
        y = bounded.forward(z)
    want = np.log(tape.gradient(y, z))
    np.testing.assert_allclose(bounded.forward_log_det_jacobian(z, 0), want, rtol=1e-9, atol=1e-9)
    y = tf.constant(y.numpy())
    with tf.GradientTape() as tape:
        tape.watch(y)
        back = bounded.inverse(y)
    want = np.log(tape.gradient(back, y))
    np.testing.assert_allclose(bounded.inverse_log_det_jacobian(y, 0), want, rtol=1e-9, atol=1e-9)


@each_interval
@each_dtype
def test_log_dets_far_out(low, high, dtype):
    # Both ways: the log-det of a y that was made of z is the one at z, which y has no digits for.
    z = tf.constant([-80.0, -40.0, -17.5, -1.0, 0.0, 3.0, 17.5, 40.0, 80.0], dtype)
    want = log_slope(z, low, high)
    bounded = Bounded(low, high)
    np.testing.assert_allclose(bounded.forward_log_det_jacobian(z, 0), want, rtol=2e-6, atol=1e-6)
    got = bounded.inverse_log_det_jacobian(bounded.forward(z), 0)
    np.testing.assert_allclose(got, -want, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(bounded.inverse(bounded.forward(z)), z)


@pytest.mark.parametrize("event_ndims", [0, 1, 2])
def test_log_dets_add_up_over_the_event(event_ndims):
    z, bounded = helpers.normal([2, 3, 4], seed=1), Bounded(0, 256)
    want = log_slope(z, 0, 256).sum(axis=tuple(range(3 - event_ndims, 3)))
    np.testing.assert_allclose(bounded.forward_log_det_jacobian(z, event_ndims), want, rtol=1e-5)
    y = tf.identity(bounded.forward(z))
    np.testing.assert_allclose(bounded.inverse_log_det_jacobian(y, event_ndims), -want, rtol=1e-4)


def test_near_an_end_at_0_nothing_is_lost():
    # There y has digits enough for z, so that no cache is needed.
    z, bounded = tf.constant([-80.0, -60.0, -30.0]), Bounded(0, 256)
    y = tf.identity(bounded.forward(z))
    np.testing.assert_allclose(bounded.inverse(y), z, rtol=1e-6)
    want = -log_slope(z, 0, 256)
    np.testing.assert_allclose(bounded.inverse_log_det_jacobian(y, 0), want, rtol=1e-5)


FAR = [-np.inf, -1e30, -1e5, -100.0, -17.0, 0.0, 17.0, 30.0, 100.0, 1e5, 1e30, np.inf]


@each_interval
@each_run
def test_forward_stays_below_high(low, high, dtype, jit):
    high = as_given(high, dtype)
    y = run(Bounded(low, high).forward, jit, tf.cast(tf.constant(FAR, "float64"), dtype))
    assert y.dtype == dtype
    y = tf.cast(y, "float64").numpy()
    assert np.all((y >= tf.cast(tf.constant(low, dtype), "float64")) & (y < high))
    if isinstance(low, int):
        floors = np.floor(y)
        assert np.all((floors >= low) & (floors <= high - 1))
        assert (floors[0], floors[-1]) == (low, high - 1)


@each_interval
@each_run
def test_exact_ends_are_finite(low, high, dtype, jit):
    high = as_given(high, dtype)
    bounded = Bounded(low, high)

    def both(y):
        return bounded.inverse(y), bounded.inverse_log_det_jacobian(y, 0)

    z, log_det = run(both, jit, tf.constant([low, (low + high) / 2, high], dtype))
    assert z.dtype == log_det.dtype == dtype
    z, log_det = (tf.cast(value, "float64").numpy() for value in (z, log_det))
    assert np.isfinite(z).all() and np.isfinite(log_det).all()
    assert z[0] < -9.0 and z[2] > 9.0
    np.testing.assert_allclose(z[1], 0.0, atol=2e-2)
    np.testing.assert_allclose(-log_det, log_slope(z, low, high), rtol=1e-2, atol=2e-2)


def test_low_precision_in_the_middle():
    z = tf.constant([-2.0, -0.5, 0.0, 1.0, 3.0], "float16")
    bounded = Bounded(0, 16)
    y = tf.identity(bounded.forward(z))
    np.testing.assert_allclose(bounded.inverse(y), z, atol=2e-2)
    want = log_slope(z, 0, 16)
    np.testing.assert_allclose(bounded.forward_log_det_jacobian(z, 0), want, atol=5e-3)
    np.testing.assert_allclose(bounded.inverse_log_det_jacobian(y, 0), -want, atol=2e-2)


@each_dtype
@pytest.mark.parametrize("jit", [False, True])
def test_outside_the_density_is_zero(dtype, jit):
    bounded = Bounded(-3, 5)
    y = tf.constant([-np.inf, -1e30, -3.001, -3.0, 0.0, 5.0, 5.001, 1e30, np.inf, np.nan], dtype)

    def all_of(y):
        model = tfd.TransformedDistribution(tfd.Normal(tf.zeros([], dtype), 1.0), bounded)
        return (
            bounded.inverse(y),
            bounded.inverse_log_det_jacobian(y, 0),
            model.log_prob(y),
            model.prob(y),
        )

    z, log_det, log_prob, prob = run(all_of, jit, y)
    outside = np.array([1, 1, 1, 0, 0, 0, 1, 1, 1, 0], bool)
    np.testing.assert_array_equal(np.isneginf(log_det), outside)
    np.testing.assert_array_equal(np.isneginf(log_prob), outside)
    np.testing.assert_array_equal(np.asarray(prob)[outside], 0.0)
    assert np.isfinite(z[:-1]).all()
    for value in (z, log_det, log_prob, prob):
        np.testing.assert_array_equal(np.isnan(value), [False] * 9 + [True])


def test_outside_in_a_stack_too():
    inner = tfb.Chain([tfb.Shift(np.float32(1.0)), tfb.Scale(np.float32(2.0))])
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [2])
    y = tf.constant([[1.0, 2.0], [1.0, 5.5], [-4.0, 2.0]])
    for stack in (
        tfd.TransformedDistribution(base, tfb.Chain([Bounded(-3, 5), inner])),
        tfd.TransformedDistribution(tfd.TransformedDistribution(base, inner), Bounded(-3, 5)),
    ):
        np.testing.assert_array_equal(np.isneginf(stack.log_prob(y)), [False, True, True])
        assert np.isfinite(stack.log_prob(y)[0])


def test_the_density_has_mass_1():
    model = tfd.TransformedDistribution(tfd.Normal(np.float64(0.3), 1.2), Bounded(0, 17))
    y = (np.arange(170000) + 0.5) / 10000  # the middles of small cells
    np.testing.assert_allclose(np.sum(model.prob(y)) / 10000, 1.0, rtol=1e-6)


def test_gradients_are_finite():
    bounded = Bounded(0, 256)
    z = tf.constant([-80.0, 0.0, 80.0])
    y = tf.constant([0.0, 1e-6, 128.0, 255.99, 256.0, -1.0, 300.0])
    for function, at in (
        (bounded.forward, z),
        (lambda z: bounded.forward_log_det_jacobian(z, 0), z),
        (bounded.inverse, y),
        (lambda y: bounded.inverse_log_det_jacobian(y, 0), y),
    ):
        at = tf.identity(at)  # which no cache of TFP knows
        with tf.GradientTape() as tape:
            tape.watch(at)
            value = function(at)
        assert np.isfinite(tape.gradient(value, at)).all()


@pytest.mark.parametrize(
    "scale, num_draws, seeds",
    [
        (10.0, 10**6, 1),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((1e4, 10**6, 1), (1e38, 10**6, 1), (30.0, 10**7, 5), (1e6, 10**7, 5))
        ),
    ],
)
def test_all_floors_are_levels(scale, num_draws, seeds):
    """In chunks of `num_draws`, for z ~ scale N(0, 1)."""
    bounded = Bounded(0, 256)

    @tf.function(jit_compile=True)
    def ends(seed):
        y = bounded.forward(scale * tf.random.stateless_normal([num_draws], seed))
        level = tf.cast(tf.floor(y), tf.int32)
        fine = tf.reduce_all((level >= 0) & (level <= 255) & (y < 256.0))
        return tf.reduce_min(level), tf.reduce_max(level), fine

    for seed in range(seeds):
        least, most, fine = ends([seed, 1])
        assert bool(fine)
        assert (int(least), int(most)) == (0, 255)


def test_copies_and_dtype():
    bounded = Bounded(0, 4, dtype="float64", validate_args=True, name="levels")
    again = bounded.copy(high=8)
    assert (again.low, again.high, again.name, again.validate_args) == (0, 8, "levels", True)
    assert again.dtype == "float64"
    np.testing.assert_array_equal(again.forward([0.0]), [4.0])
    assert again.forward([0.0]).dtype == "float64"
    assert not bounded.variables
    assert Bounded(np.float32(0), np.int64(4)).high == 4.0


@pytest.mark.parametrize("end", ["low", "high"])
def test_ends_that_are_no_finite_numbers(end):
    for error, text, values in (
        (TypeError, "a number", (None, "1", True, [1.0], 1j, tf.constant(1.0))),
        (ValueError, "a finite number", (np.inf, -np.inf, np.nan, np.array([1.0, 2.0]))),
    ):
        for wrong in values:
            with pytest.raises(error, match=f"{end}: expected {text}, got"):
                Bounded(**{"low": 0, "high": 2, end: wrong})


@pytest.mark.parametrize(["low", "high"], [(0, 0), (1, 0), (0.5, 0.5)])
def test_ends_in_the_wrong_order(low, high):
    with pytest.raises(ValueError, match=rf"high: expected a number above low \({low}\), got"):
        Bounded(low, high)
