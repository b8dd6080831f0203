"""tfp_ar.bijectors.MixtureOfLogistics: the CDF of a mixture, its tails, and where it starts."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import helpers
from tfp_ar.bijectors import MixtureOfLogistics
from tfp_ar.bijectors.transformers.root_finding import max_iterations

tfb, tfd = tfp.bijectors, tfp.distributions
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def mixture(logits, loc, log_scale, mu=0.0, alpha=0.0, dtype="float64"):
    """The bijector of components [..., K] as they are, their offsets taken off."""
    logits, loc, log_scale = (np.asarray(v, np.float64) for v in (logits, loc, log_scale))
    transformer = MixtureOfLogistics(logits.shape[-1])
    raw = [7.0 * np.arctanh(np.asarray(v) / 7.0) for v in (alpha, log_scale)]
    affine = np.broadcast_to(np.stack([mu, raw[0]], -1), [*logits.shape[:-1], 2])
    params = np.concatenate([affine, logits, loc - transformer.offsets, raw[1]], -1)
    return transformer(tf.constant(params, dtype))


def components(kind, number=40, k=3, seed=4):
    """Arrays (logits, loc, log_scale), [number, k] each, within 50 scales."""
    draw = np.random.default_rng(seed)
    logits, log_scale = draw.normal(size=[number, k]), 0.5 * draw.normal(size=[number, k])
    loc = draw.normal(size=[number, k]) * 3.0
    if kind == "far apart":
        loc = draw.choice([-25.0, 0.0, 25.0], size=[number, k])
    if kind == "weights near 0":
        logits *= 40.0
    return logits, loc, np.maximum(log_scale, 0.0)


each_kind = pytest.mark.parametrize("kind", ["random", "far apart", "weights near 0"])


@each_kind
@each_dtype
def test_from_u_to_x_and_back(kind, dtype):
    # The residual is relative to max(1, |u|); no scale is below 1, so that x has digits enough.
    bijector = mixture(*components(kind), dtype=dtype)
    u = tf.constant(np.linspace(-50.0, 50.0, 101)[:, np.newaxis], dtype)
    x = tf.identity(bijector.forward(u))
    error = np.abs(bijector.inverse(x) - u) / np.maximum(np.abs(u), 1.0)
    assert error.max() <= TOLERANCE[dtype]


@each_kind
@each_dtype
def test_from_x_to_u_and_back(kind, dtype):
    # Relative to max(1, |x|), wherever du/dx is above 1e-3. A unit of rounding of u moves x by its
    # size over du/dx: at 1e-3 in float32 by more than 1e-5, which is added there.
    bijector = mixture(*components(kind), dtype=dtype)
    x = tf.constant(np.linspace(-50.0, 50.0, 101)[:, np.newaxis], dtype)
    u = tf.identity(bijector.inverse(x))
    slope = np.exp(bijector.inverse_log_det_jacobian(tf.identity(x), 0))
    error = np.abs(bijector.forward(u) - x)
    unit = 10.0 * np.finfo(dtype).eps * np.maximum(np.abs(u), 1.0) / slope
    allowed = TOLERANCE[dtype] * np.maximum(np.abs(x), 1.0) + (dtype == "float32") * unit
    asked = slope > 1e-3
    assert asked.mean() > 0.5
    assert np.all(error[asked] <= allowed[asked])


@each_dtype
def test_a_plateau_of_slope_6e_11(dtype):
    # Between two components 50 scales apart: x hardly matters, u has to be right.
    bijector = mixture([[0.0, 0.0]], [[-25.0, 25.0]], [[0.0, 0.0]], dtype=dtype)
    u = tf.constant([-1e-3, -1e-6, -1e-11, 0.0, 1e-11, 1e-6, 1e-3], dtype)
    x = tf.identity(bijector.forward(u))
    assert np.all(np.abs(x) < 25.0)
    np.testing.assert_allclose(bijector.inverse(x), u, atol=TOLERANCE[dtype] / 5)
    middle = bijector.inverse_log_det_jacobian(tf.zeros([1], dtype), 0)
    np.testing.assert_allclose(np.exp(middle), 2 * 2 * np.exp(-25.0), rtol=1e-5)


@each_dtype
def test_neither_tail_saturates(dtype):
    # Far out: u = (x - loc) / scale + log w of the widest component, on either side.
    bijector = mixture([[0.0, 1.0]], [[-2.0, 3.0]], [[0.0, 1.0]], dtype=dtype)
    x = tf.constant([-2000.0, -300.0, 300.0, 2000.0], dtype)
    want = (x - 3.0) / np.e + np.sign(x) * np.array(-np.log(1 / (1 + np.exp(-1.0))))
    np.testing.assert_allclose(bijector.inverse(x), want, rtol=1e-6)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(x, 0), [-1.0] * 4, rtol=1e-6)
    np.testing.assert_allclose(bijector.forward(tf.identity(bijector.inverse(x))), x, rtol=1e-6)


def test_of_logistic_noise_it_makes_the_mixture():
    logits, loc, log_scale = components("random", number=20)
    bijector = mixture(logits, loc, log_scale, mu=0.7, alpha=-0.4)
    flow = tfd.TransformedDistribution(tfd.Logistic(tf.zeros([], "float64"), 1.0), bijector)
    law = tfd.MixtureSameFamily(
        tfd.Categorical(logits=logits),
        tfd.Logistic(0.7 + np.exp(-0.4) * loc, np.exp(log_scale - 0.4)),
    )
    x = 5.0 * helpers.normal([30, 20], "float64")
    np.testing.assert_allclose(flow.log_prob(x), law.log_prob(x), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(flow.cdf(x), law.cdf(x), rtol=1e-9, atol=1e-12)


# Where it starts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(["k", "spread"], [(1, 0.5), (2, 0.5), (4, 0.5), (10, 1.5)])
def test_zero_parameters_are_nearly_the_identity(k, spread):
    transformer = MixtureOfLogistics(k, spread=spread)
    u = tf.linspace(tf.constant(-60.0, "float64"), 60.0, 601)
    x = transformer(tf.zeros([601, 3 * k + 2], "float64")).forward(u)
    bound = np.log(np.mean(np.exp(transformer.offsets)))
    assert bound <= spread**2 / 2
    assert np.abs(x - u).max() <= bound + 1e-13
    np.testing.assert_allclose(np.abs(x - u)[[0, -1]], bound, atol=1e-12)  # it is sharp


def test_by_default_within_7_hundredths_and_of_slope_96_hundredths_to_1():
    transformer = MixtureOfLogistics()
    x = tf.linspace(tf.constant(-60.0, "float64"), 60.0, 2401)
    bijector = transformer(tf.zeros([transformer.num_params], "float64"))
    assert np.abs(bijector.inverse(x) - x).max() < 0.07
    slope = np.exp(bijector.inverse_log_det_jacobian(x, 0))
    assert np.all((slope > 0.96) & (slope < 1.0 + 1e-12))


def test_components_do_not_stay_equal():
    # What a network's first step sees: the gradients of the components differ.
    transformer = MixtureOfLogistics(4)
    params = tf.zeros([50, transformer.num_params], "float64")
    x = helpers.normal([50], "float64") + np.where(np.arange(50) % 2, 3.0, -3.0)
    with tf.GradientTape() as tape:
        tape.watch(params)
        flow = tfd.TransformedDistribution(tfd.Normal(np.float64(0), 1.0), transformer(params))
        log_prob = tf.reduce_sum(flow.log_prob(x))
    gradients = tf.reduce_sum(tape.gradient(log_prob, params), 0)[2:].numpy().reshape(3, 4)
    apart = np.abs(np.diff(gradients, axis=1)) / np.abs(gradients).max(axis=1, keepdims=True)
    assert np.all(apart > 1e-3)


# The solver in it --------------------------------------------------------------------------------


@pytest.mark.parametrize(["kind", "most"], [("zero", 5), ("random", 8), ("far apart", 20)])
def test_few_iterations_do(kind, most):
    logits, loc, log_scale = components("random" if kind == "zero" else kind)
    if kind == "zero":
        logits, loc = 0.0 * logits, np.broadcast_to([-0.5, 0.0, 0.5], loc.shape)
        log_scale = 0.0 * log_scale
    for dtype in TOLERANCE:
        inner = mixture(logits, loc, log_scale, dtype=dtype).bijectors[1]
        u = 2.0 * helpers.normal([20, 40], dtype)
        assert inner.solve(u)[1] <= most < max_iterations(dtype)
