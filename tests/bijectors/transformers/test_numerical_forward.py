"""Promises of both transformers with a solver: tfp_ar.bijectors.transformers.numerical_forward."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import helpers
from tfp_ar.bijectors import MixtureOfLogistics, RationalQuadraticSpline

tfb, tfd = tfp.bijectors, tfp.distributions
TRANSFORMERS = {
    "mixture": MixtureOfLogistics(3),
    "spline": RationalQuadraticSpline(4, bound=3.0),
}
each_transformer = pytest.mark.parametrize("transformer", TRANSFORMERS.values(), ids=TRANSFORMERS)
each_but_slow_ones = pytest.mark.parametrize(
    "transformer",
    [
        pytest.param(TRANSFORMERS["mixture"], id="mixture"),
        pytest.param(TRANSFORMERS["spline"], id="spline", marks=pytest.mark.slow),
    ],
)
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def parameters(transformer, batch=(30,), scale=1.5, dtype="float64", seed=1):
    """Random ones: of this scale the maps are anything but straight."""
    return scale * helpers.normal([*batch, transformer.num_params], dtype, seed)


def noise(batch=(30,), dtype="float64", seed=2):
    """Inside the spline and outside it."""
    return 2.0 * helpers.normal(batch, dtype, seed)


def finite_difference(function, at, step=1e-5):
    """The derivative of an elementwise function, by its values: error about step^2."""
    return (function(at + step) - function(at - step)) / (2.0 * step)


def all_four(transformer, params, u, x):
    """Both maps and log-dets, of tensors that no cache knows."""
    bijector = transformer(params)
    return (
        bijector.forward(tf.identity(u)),
        bijector.inverse(tf.identity(x)),
        bijector.forward_log_det_jacobian(tf.identity(u), 0),
        bijector.inverse_log_det_jacobian(tf.identity(x), 0),
    )


@each_transformer
def test_round_trips_increase(transformer):
    params = parameters(transformer, (40,))
    u = tf.sort(noise((25, 40)), axis=0)
    x = tf.identity(transformer(params).forward(u))
    assert np.all(np.diff(x, axis=0) > 0.0)
    np.testing.assert_allclose(transformer(params).inverse(x), u, **EXACT)
    assert transformer(params)._internal_is_increasing()
    assert np.abs(x - u).max() > 1.0, "the identity shows nothing"


@each_transformer
def test_log_dets_are_those_of_autodiff(transformer):
    params, u, x = parameters(transformer), noise(), noise(seed=3)
    _, _, fldj, ildj = all_four(transformer, params, u, x)
    for run, at, log_det in ((lambda t: t.forward, u, fldj), (lambda t: t.inverse, x, ildj)):
        with tf.GradientTape() as tape:
            tape.watch(at)
            y = run(transformer(params))(at)
        slope = tape.gradient(y, at)
        np.testing.assert_allclose(log_det, np.log(slope), **EXACT)
        differences = finite_difference(run(transformer(params)), at)
        np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-6)


@each_transformer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slopes_by_autodiff_are_those_of_the_log_det(transformer, dtype):
    # Also where a slope is small beside others: autodiff of TFP's spline has even negative ones.
    params, x = parameters(transformer, (4000,), 5.0, dtype), 0.5 * noise((4000,), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        u = transformer(params).inverse(x)
    log_slope = transformer(params).inverse_log_det_jacobian(tf.identity(x), 0)
    tolerance = 1e-3 if dtype == "float32" else 1e-10
    slope = np.exp(log_slope)
    np.testing.assert_allclose(tape.gradient(u, x), slope, rtol=tolerance, atol=1e-30)
    assert np.min(log_slope) < -5.0


@each_but_slow_ones
def test_second_derivatives_of_inverse(transformer):
    params, x = parameters(transformer), noise()

    def slopes(params, x):
        with tf.GradientTape() as tape:
            tape.watch([params, x])
            u = transformer(params).inverse(x)
        return tape.gradient(u, [params, x])

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([params, x])
        by_params, by_x = slopes(params, x)
    step = 1e-5 * helpers.normal(params.shape, "float64", seed=8)
    up, down = (slopes(params + sign * step, x) for sign in (1.0, -1.0))
    right, left = (slopes(params, x + 1e-5 * sign)[1] for sign in (1.0, -1.0))
    close = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(tape.gradient(by_x, x), (right - left) / 2e-5, **close)
    mixed = tf.reduce_sum(tape.gradient(by_x, params) * step, axis=-1)
    np.testing.assert_allclose(mixed, (up[1] - down[1]) / 2.0, rtol=1e-4, atol=1e-10)
    back = tape.gradient(by_params, x, output_gradients=step)
    np.testing.assert_allclose(back, mixed, rtol=1e-8, atol=1e-14)
    curved = tape.gradient(by_params, params, output_gradients=step)
    np.testing.assert_allclose(curved, (up[0] - down[0]) / 2.0, rtol=1e-4, atol=1e-9)
    for got, want in zip(tf.function(slopes)(params, x), slopes(params, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 5.0, 10.0])
def test_u_comes_back_in_float32(scale):
    transformer = TRANSFORMERS["mixture"]
    params = parameters(transformer, (20000,), scale, "float32")
    params *= np.float32(
        np.arange(transformer.num_params) >= 2
    )  # no affine map, in which x has its rounding
    x = 20.0 * helpers.normal([20000], "float32", seed=9)
    u = transformer(params).inverse(x)
    back = transformer(params).inverse(transformer(params).forward(tf.identity(u)))
    error = np.abs(back - u) / np.maximum(1.0, np.abs(u))
    assert np.max(error) < 5e-6 and np.mean(error) < 6e-8  # half a unit of rounding


@each_transformer
def test_infinite_values(transformer):
    params, x = parameters(transformer), tf.constant([[-np.inf], [np.inf]], tf.float64)
    x = tf.repeat(x, 30, axis=1)
    np.testing.assert_array_equal(transformer(params).inverse(x), x)
    log_slope = transformer(params).inverse_log_det_jacobian(tf.identity(x), 0)
    assert np.all(np.isfinite(log_slope))
    far = transformer(params).inverse_log_det_jacobian(tf.sign(x) * 1e9, 0)
    np.testing.assert_allclose(log_slope, far, rtol=1e-6)


@each_transformer
def test_gradients_of_forward_are_finite_differences(transformer):
    params, u = parameters(transformer), noise()
    weights = tf.sin(1.0 + tf.range(30, dtype=u.dtype))

    def loss(params, u):
        return weights * transformer(params).forward(u)

    with tf.GradientTape() as tape:
        tape.watch([params, u])
        y = loss(params, u)
    by_params, by_u = tape.gradient(y, [params, u])
    want = finite_difference(lambda u: loss(params, u), u)
    np.testing.assert_allclose(by_u, want, rtol=1e-6, atol=1e-6)
    one_each = np.eye(transformer.num_params)[:, np.newaxis]  # [P, 1, P], row k moves parameter k
    want = finite_difference(lambda step: loss(params + step * one_each, u), 0.0)
    np.testing.assert_allclose(by_params, tf.transpose(want), rtol=1e-6, atol=1e-6)
    assert np.all(np.any(by_params != 0.0, axis=0))


@each_but_slow_ones
def test_second_derivatives_of_forward(transformer):
    # Either right or refused, never silently wrong: they are right.
    params, u = parameters(transformer, scale=1.0), noise()

    def gradients(params, u):
        with tf.GradientTape() as tape:
            tape.watch([params, u])
            y = tf.reduce_sum(tf.sin(transformer(params).forward(u)))
        return tape.gradient(y, [params, u])

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([params, u])
        by_params, by_u = gradients(params, u)
        mixed = by_params[:, 3]
    step = 1e-5
    for at, second in ((0, tape.gradient(by_u, u)), (1, tape.gradient(mixed, u))):
        plus, minus = (gradients(params, u + s) for s in (step, -step))
        got = plus[1] - minus[1] if at == 0 else plus[0][:, 3] - minus[0][:, 3]
        np.testing.assert_allclose(second, got / (2 * step), rtol=1e-5, atol=1e-5)
    second = tape.gradient(by_u, params)[:, 3]
    np.testing.assert_allclose(second, tape.gradient(mixed, u), rtol=1e-9, atol=1e-9)


@pytest.mark.slow  # the compliance tests have the maps, if not their gradients
@each_transformer
def test_graphs_of_unknown_batch_and_xla_agree_with_eager(transformer):
    params, u, x = parameters(transformer), noise(), noise(seed=3)

    def run(params, u, x):
        with tf.GradientTape() as tape:
            tape.watch([params, u, x])
            values = all_four(transformer, params, u, x)
            y = tf.add_n([tf.reduce_sum(tf.sin(v)) for v in values])
        return *values, *tape.gradient(y, [params, u, x])

    want = run(params, u, x)
    unknown = [tf.TensorSpec([None, *v.shape[1:]], v.dtype) for v in (params, u, x)]
    graph = tf.function(run, input_signature=unknown, autograph=False)
    compiled = tf.function(run, jit_compile=True, autograph=False)
    for got in (graph(params, u, x), compiled(params, u, x)):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    for value in graph(params[:0], u[:0], x[:0]):
        assert value.shape[0] == 0


@each_but_slow_ones
def test_leading_shapes_broadcast(transformer):
    params, u = parameters(transformer, (2, 1)), noise((5, 1, 3))
    broadcast = tf.broadcast_to(params, [5, 2, 3, transformer.num_params])
    with tf.GradientTape() as tape:
        tape.watch([params, u])
        x = transformer(params).forward(u)
    by_params, by_u = tape.gradient(x, [params, u])
    assert x.shape == [5, 2, 3] and by_params.shape == params.shape and by_u.shape == u.shape
    want = transformer(broadcast).forward(tf.broadcast_to(u, [5, 2, 3]))
    np.testing.assert_allclose(x, want, **EXACT)
    for x in (0.3, [0.3, -1.0]):
        got = transformer(params).inverse(tf.constant(x, "float64"))
        assert got.shape == [2, np.size(x)]


@each_transformer
def test_the_density_has_mass_1(transformer):
    # 5 laws, by Simpson's rule over all that holds mass.
    params = parameters(transformer, (5,), scale=1.0)
    normal = tfd.Normal(tf.zeros([], "float64"), 1.0)
    ends = transformer(params).forward(tf.constant([[-9.0], [9.0]], "float64"))
    x = tf.linspace(ends[0], ends[1], 20001)
    flow = tfd.TransformedDistribution(normal, transformer(params))
    weights = np.tile([2.0, 4.0], 10001)[:-1]
    weights[[0, -1]] = 1.0
    mass = weights @ flow.prob(x).numpy() * (x[1] - x[0]) / 3.0
    np.testing.assert_allclose(mass, np.ones(5), atol=1e-6)


@each_transformer
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_never_nan_or_infinite(transformer, dtype):
    # |u| and |x| to 1e3, whatever the parameters: at last components lie 1e4 apart, weights are 0,
    # all scales are at their bounds. Of the density all derivatives are finite too; those of a
    # sample overflow where du/dx underflows, and are asked for at ordinary parameters.
    params = tf.concat([parameters(transformer, (60,), s, dtype) for s in (1.0, 30.0, 1e4)], 0)
    u = tf.tile(tf.linspace(tf.constant(-1e3, dtype), 1e3, 60), [3])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([params, u])
        forward, inverse, fldj, ildj = all_four(transformer, params, u, u)
    density = [tape.gradient(v, [params, u], unconnected_gradients="zero") for v in (inverse, ildj)]
    sample = [g[:60] for g in tape.gradient(forward, [params, u])]
    for value in (forward, inverse, fldj, ildj, *density[0], *density[1], *sample):
        assert value.dtype == dtype
        assert np.isfinite(value).all()


@each_but_slow_ones
def test_float32_is_float64_rounded(transformer):
    params, u, x = parameters(transformer, scale=0.5), noise(), noise(seed=3)
    want = all_four(transformer, params, u, x)
    got = all_four(transformer, *(tf.cast(v, "float32") for v in (params, u, x)))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == tf.float32
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@each_but_slow_ones
def test_nan_stays_and_harms_no_neighbour(transformer):
    params = parameters(transformer, (3,))
    u = tf.constant([0.5, np.nan, -0.5], "float64")
    want = transformer(params).forward(tf.constant([0.5, 0.0, -0.5], "float64"))
    forward, inverse, *log_dets = all_four(transformer, params, u, u)
    for value in (forward, inverse):
        np.testing.assert_array_equal(np.isnan(value), [False, True, False])
    assert all(np.isfinite(value[::2]).all() for value in log_dets)
    np.testing.assert_array_equal(forward[::2], want[::2])


@each_transformer
def test_nan_parameters_stay(transformer):
    u = tf.zeros([transformer.num_params], tf.float64)
    params = parameters(transformer, (transformer.num_params,))
    params = tf.where(tf.eye(transformer.num_params, dtype=tf.bool), np.float64(np.nan), params)
    inner = transformer(params).bijectors[1]  # without the affine map, whose two come first
    found = np.isnan([inner.forward(u), inner.inverse(u)])
    assert not np.any(found[:, :2])
    assert np.all(found[:, 2:10])  # all of a mixture but the last scale, all widths and heights


@each_but_slow_ones
def test_a_compiled_function_under_a_tape(transformer):
    # The solver's loop must not be asked for what a gradient needs of compiled loops.
    params, u = parameters(transformer), noise()
    run = tf.function(lambda p, u: transformer(p).forward(u), jit_compile=True, autograph=False)
    results = []
    for function in (run, lambda p, u: transformer(p).forward(u)):
        with tf.GradientTape() as tape:
            tape.watch([params, u])
            x = function(params, u)
        results.append(tape.gradient(x, [params, u]))
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, **EXACT)


@each_transformer
def test_shape_and_dtype_for_tfp(transformer):
    bijector = transformer(parameters(transformer, (2, 3)))
    assert bijector.forward_min_event_ndims == bijector.inverse_min_event_ndims == 0
    assert bijector.experimental_batch_shape() == [2, 3]
    assert not bijector.variables


@pytest.mark.slow
@each_transformer
def test_gradients_of_forward_are_implicit_differentiation(transformer):
    # x solves c(x; params) = u: dx/dparams = - (dc/dparams) / (dc/dx).
    params, u = parameters(transformer), noise()
    with tf.GradientTape() as tape:
        tape.watch([params, u])
        x = transformer(params).forward(u)
    by_params, by_u = tape.gradient(x, [params, u])
    x = tf.identity(x)
    with tf.GradientTape() as tape:
        tape.watch([params, x])
        c = transformer(params).inverse(x)
    c_by_params, c_by_x = tape.gradient(c, [params, x])
    np.testing.assert_allclose(by_u, 1.0 / c_by_x, **EXACT)
    np.testing.assert_allclose(by_params, -c_by_params / c_by_x[:, tf.newaxis], **EXACT)
