"""tfp_ar.bijectors.RationalQuadraticSpline: TFP's spline without its pitfalls."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import helpers
from tfp_ar.bijectors import RationalQuadraticSpline
from tfp_ar.bijectors.transformers.rational_quadratic_spline import SplineQuantile

tfb, tfd = tfp.bijectors, tfp.distributions
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def parameters(transformer, number=100, scale=1.0, dtype="float64", affine=0.0):
    """Random ones of the spline, those of the affine map around it `affine`."""
    params = scale * helpers.normal([number, transformer.num_params], "float64", seed=5)
    affine = tf.fill([number, 2], tf.constant(affine, "float64"))
    return tf.cast(tf.concat([affine, params[:, 2:]], -1), dtype)


@pytest.mark.parametrize(["bins", "dtype"], [(2, "float64"), (5, "float32"), (8, "float32")])
def test_zero_parameters_are_the_identity(bins, dtype):
    transformer = RationalQuadraticSpline(bins)
    bijector = transformer(tf.zeros([transformer.num_params], dtype))
    u = tf.constant(np.linspace(-6.0, 6.0, 241), dtype)
    rounding = {"rtol": 0, "atol": 8 * np.finfo(dtype).eps}  # of numbers to 6
    np.testing.assert_allclose(bijector.forward(u), u, **rounding)
    np.testing.assert_allclose(bijector.inverse(tf.identity(u)), u, **rounding)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(u, 0), 0.0 * u, **rounding)


@each_dtype
def test_outside_it_is_affine(dtype):
    transformer = RationalQuadraticSpline(5, bound=3.0)
    u = tf.constant([-1e30, -1e3, -3.5, -3.0, 3.0, 3.5, 1e3, 1e30], dtype)[:, tf.newaxis]
    bent = transformer(parameters(transformer, dtype=dtype))
    same = tf.broadcast_to(u, [8, 100])
    np.testing.assert_array_equal(bent.forward(u), same)
    np.testing.assert_array_equal(bent.inverse(tf.identity(u)), same)
    np.testing.assert_array_equal(bent.inverse_log_det_jacobian(tf.identity(u), 0), 0.0 * same)
    moved = transformer(parameters(transformer, dtype=dtype, affine=0.5))
    scale = np.exp(7.0 * np.tanh(0.5 / 7.0))
    np.testing.assert_allclose(moved.forward(u), 0.5 + scale * same, rtol=1e-6)


@pytest.mark.parametrize(
    ["dtype", "scale"],
    [("float32", 1.0), ("float32", 100.0), ("float64", 1.0), ("float64", 100.0)],
)
def test_round_trips(dtype, scale):
    # u is met to the tolerance where x has digits enough, du/dx up to some 40; the steepest
    # splines, of slopes to 2000, are met to the rounding of x. The way round from x: wherever du/dx
    # is above 1e-3, but in float32 u has too few digits there.
    transformer, epsilon = RationalQuadraticSpline(6), np.finfo(dtype).eps
    bijector = transformer(parameters(transformer, 60, scale, dtype))
    u = tf.constant(np.linspace(-5.0, 5.0, 41)[:, np.newaxis], dtype)
    x = tf.identity(bijector.forward(u))
    slope = np.exp(bijector.inverse_log_det_jacobian(x, 0))
    allowed = TOLERANCE[dtype] * np.maximum(np.abs(u), 1.0) + np.zeros(x.shape)
    if scale > 1.0:
        allowed += 3.0 * epsilon * np.abs(x) * slope
    assert np.all(np.abs(bijector.inverse(tf.identity(x)) - u) <= allowed)
    assert slope.max() > 3.0 and np.all(np.diff(x, axis=0) >= 0.0)

    x = tf.broadcast_to(u, x.shape)
    u = tf.identity(bijector.inverse(x))
    slope = np.exp(bijector.inverse_log_det_jacobian(tf.identity(x), 0))
    allowed = TOLERANCE[dtype] * np.maximum(np.abs(x), 1.0)
    if dtype == "float32":
        allowed = allowed + 40.0 * epsilon / slope
    error, asked = np.abs(bijector.forward(u) - x), slope > 1e-3
    assert asked.mean() > 0.3 and np.all(error[asked] <= allowed[asked])


def test_it_is_tfps_spline():
    transformer = RationalQuadraticSpline(4, bound=2.0)
    params = parameters(transformer, 50)
    widths, heights = (
        4.0 * (1e-3 + (1 - 4e-3) * tf.nn.softmax(p)) for p in (params[:, 2:6], params[:, 6:10])
    )
    bound = np.log(1e3)
    slopes = tf.exp(bound * tf.tanh(params[:, 10:] / bound))
    spline = tfb.RationalQuadraticSpline(widths, heights, slopes, range_min=-2.0)
    x = tf.linspace(tf.constant(-2.5, "float64"), 2.5, 201)[:, tf.newaxis]
    u = tf.identity(transformer(params).inverse(x))
    np.testing.assert_allclose(u, spline.forward(x), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        transformer(params).forward(u), tf.broadcast_to(x, [201, 50]), rtol=1e-12, atol=1e-12
    )
    want = spline.forward_log_det_jacobian(x, 0)
    got = transformer(params).inverse_log_det_jacobian(tf.identity(x), 0)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_the_ends_have_slope_1():
    transformer = RationalQuadraticSpline(5, bound=3.0)
    x = tf.constant([[-3.0 + 1e-9], [3.0 - 1e-9]], "float64")
    bijector = transformer(parameters(transformer))
    np.testing.assert_allclose(
        bijector.inverse_log_det_jacobian(x, 0), np.zeros([2, 100]), atol=1e-4
    )


def test_least_sizes_and_slopes():
    transformer = RationalQuadraticSpline(3, bound=2.0, min_bin_size=0.1, min_slope=0.25)
    spline = transformer(parameters(transformer, 50, scale=1e3)).bijectors[1]
    widths, heights, slopes = (spline.parameters[n] for n in ("widths", "heights", "slopes"))
    for sizes in (widths, heights):
        np.testing.assert_allclose(tf.reduce_sum(sizes, -1), [4.0] * 50, rtol=1e-12)
        np.testing.assert_allclose(tf.reduce_min(sizes), 0.4, rtol=1e-9)
    assert np.all((slopes >= 0.25 - 1e-12) & (slopes <= 4.0 + 1e-12))
    np.testing.assert_allclose([tf.reduce_min(slopes), tf.reduce_max(slopes)], [0.25, 4.0], 1e-2)


# TFP's traps, each of which TFP's own falls into ------------------------------------------------


def test_gradients_far_outside_are_those_of_the_identity():
    transformer = RationalQuadraticSpline(5, bound=3.0)
    params = parameters(transformer, 4, dtype="float32")
    x = tf.constant([-1e30, -4.0, 4.0, 1e30])

    def gradients(make):
        with tf.GradientTape() as tape:
            tape.watch([params, x])
            y = make(params)
        return tape.gradient(y, [params, x], unconnected_gradients="zero")

    def of_tfp(params):
        inner = transformer(params).bijectors[1].parameters
        sizes = [inner[name] for name in ("widths", "heights", "slopes")]
        return tfb.RationalQuadraticSpline(*sizes, range_min=-3.0).forward(x)

    for run in (
        lambda params: transformer(params).inverse(x),
        lambda params: transformer(params).forward(x),
    ):
        by_params, by_x = gradients(run)
        np.testing.assert_array_equal(by_x, np.ones(4))
        np.testing.assert_array_equal(by_params[:, 2:], np.zeros([4, 14]))
        assert np.isfinite(by_params).all()
    assert np.isnan(gradients(of_tfp)[0]).any(), "TFP's has been repaired: is ours still needed?"


def test_between_tfps_last_knot_and_the_bound():
    # In float32, sums of bins end above or below the bound; all floats around it are tried.
    transformer = RationalQuadraticSpline(7, bound=4.0)
    params = parameters(transformer, 100, dtype="float32")
    x = [np.float32(4.0)]
    for _ in range(60):
        x.append(np.nextafter(x[-1], np.float32(0.0)))
    x = tf.constant(np.array(x)[:, np.newaxis])
    with tf.GradientTape() as tape:
        tape.watch([params, x])
        u = transformer(params).inverse(x)
    assert np.abs(u - x).max() < 2e-5
    assert all(np.isfinite(g).all() for g in tape.gradient(u, [params, x]))
    x_again = transformer(params).forward(tf.identity(u))
    assert np.abs(x_again - x).max() < 4e-5


STEEP = ([0.008, 0.008, 7.984], [7.984, 0.008, 0.008], [0.00124, 0.0045])


def test_steep_pieces_in_float32():
    # Where the discriminant of TFP's inverse rounds below 0, on some processors at least: just
    # below a knot at which a slope of 2000 has fallen to 1e-3.
    parts = [tf.constant(v, tf.float32) for v in STEEP]
    u = [np.float32(3.984)]
    for _ in range(100):
        u.append(np.nextafter(u[-1], np.float32(0.0)))
    ours, u = SplineQuantile(*parts, bound=4.0), tf.constant(np.array(u))
    x = tf.identity(ours.forward(u))
    slope = np.exp(ours.inverse_log_det_jacobian(x, 0))
    assert np.all(np.abs(ours.inverse(x) - u) <= 1e-5 + 4e-7 * slope)


def test_where_tfps_inverse_is_no_number_the_solver_finds_it(monkeypatch):
    monkeypatch.setattr(tfb.RationalQuadraticSpline, "_inverse", lambda self, y: np.nan * y)
    transformer = RationalQuadraticSpline(6)
    bijector = transformer(parameters(transformer, 10, 2.0))
    u = tf.constant(np.linspace(-5.0, 5.0, 21)[:, np.newaxis])
    x = tf.identity(bijector.forward(u))
    np.testing.assert_allclose(bijector.inverse(x), np.broadcast_to(u, x.shape), atol=1e-10)


def test_few_iterations_do():
    # TFP's inverse is right nearly everywhere; one iteration is to find that out.
    transformer = RationalQuadraticSpline()
    u = 2.0 * helpers.normal([20, 100], "float32")
    for scale, most in ((0.0, 2), (1.0, 4)):
        params = parameters(transformer, 100, scale, "float32")
        assert transformer(params).bijectors[1].solve(u)[1] <= most
