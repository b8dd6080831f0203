"""Bounds for a distribution with known probabilities: uniform noise, learned noise, exact."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfp_ar
from tests.dequantizers.examples import noise
from tfp_ar.analysis import dequantization_gap

tfd = tfp.distributions

LOC, LOWER = np.array([0.4, -0.3]), np.array([[0.7, 0.0], [0.4, 0.6]])
CELLS = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]), -1).reshape([9, 2])
DRAWS = 4000  # of each cell
SEED = (3, 4)
DENSITY = tfd.MultivariateNormalTriL(LOC, LOWER)


def exact() -> np.ndarray:
    """log P of each cell, to 1e-7 or so."""
    law = stats.multivariate_normal(LOC, LOWER @ LOWER.T)
    return np.log([law.cdf(x + 1.0, lower_limit=x) for x in CELLS])


def bounds(dequantizer, k, count=DRAWS):
    """Mean over the cells of `count` draws each, and its standard error; rows of one x differ."""
    model = tfp_ar.Dequantized(DENSITY, *dequantizer, num_importance_samples=k)
    x = np.repeat(CELLS[:, np.newaxis], count, axis=1)
    draws = tf.function(model.log_prob)(tf.constant(x), seed=tf.constant(SEED)).numpy()
    return draws.mean(), np.sqrt(np.mean(draws.var(axis=1)) / draws.size)


@pytest.fixture(scope="module")
def learned():
    """Noise trained for a density that stays as it is, by the bound of 4 samples, then of one."""
    dequantizer = noise(length=2, features=8, scale=0.3, low=-2, high=2)
    optimizer = keras.optimizers.Adam(0.02)
    variables = dequantizer.trainable_variables
    optimizer.build(variables)
    batch = tf.constant(np.repeat(CELLS, 16, axis=0))
    steps = []
    for k in (4, 1):

        @tf.function(autograph=False)
        def step(seed, k=k):
            with tf.GradientTape() as tape:
                model = tfp_ar.Dequantized(DENSITY, dequantizer, num_importance_samples=k)
                loss = -tf.reduce_mean(model.log_prob(batch, seed=seed))
            optimizer.apply(tape.gradient(loss, variables), variables)
            return loss

        steps.append([float(step(tf.constant([i, k]))) for i in range(150)])
    return dequantizer, steps


def test_both_objectives_train(learned):
    by_four, by_one = learned[1]
    assert np.isfinite((by_four, by_one)).all()
    # Before training the gaps are 0.18 and 0.64 nats.
    assert np.mean(by_four[-20:]) < np.mean(by_four[:5]) - 0.08
    assert np.mean(by_one[-20:]) < 0.2 - exact().mean()


def test_the_bounds_are_in_order(learned):
    """Theorem 1.7 of docs/theory.md."""
    log_p = exact().mean()
    uniform, learnt = bounds((), 1), bounds((learned[0],), 1)
    # Learned noise closes most of the gap, and is no less a bound.
    assert learnt[0] - uniform[0] > 5 * np.hypot(learnt[1], uniform[1])
    assert learnt[0] < log_p + 4 * learnt[1]
    assert log_p - learnt[0] < 0.3 * (log_p - uniform[0])


@pytest.mark.parametrize("kind", ["uniform", "learned"])
def test_more_samples_come_closer_and_never_above(kind, learned):
    """Theorem 1.7 of docs/theory.md."""
    dequantizer = () if kind == "uniform" else (learned[0],)
    means, errors = zip(*(bounds(dequantizer, k, 1000) for k in (1, 4, 64)), strict=True)
    for i in (0, 1):
        assert means[i + 1] - means[i] > 4 * np.hypot(errors[i + 1], errors[i])
    log_p = exact().mean()
    assert means[2] < log_p + 4 * errors[2]
    np.testing.assert_allclose(means[2], log_p, atol=0.02)


def test_prob_has_the_right_mean(learned):
    # The weights p / q have the mean P(x), which a wrong log q would spoil.
    model = tfp_ar.Dequantized(DENSITY, learned[0])
    prob = model.prob(np.repeat(CELLS[:, np.newaxis], DRAWS, axis=1), seed=SEED).numpy()
    errors = prob.std(axis=1) / np.sqrt(DRAWS)
    want = np.exp(exact())
    assert np.all(np.abs(prob.mean(axis=1) - want) < 4 * errors)
    assert np.median(errors / want) < 0.01  # or the line above would say little


def test_the_gap_as_a_figure(learned):
    x = np.repeat(CELLS, 50, axis=0)
    uniform = dequantization_gap(tfp_ar.Dequantized(DENSITY), x, 64)
    learnt = dequantization_gap(tfp_ar.Dequantized(DENSITY, learned[0]), x, 64)
    log_p = exact().mean()
    for gap in (uniform, learnt):
        bits = tfp_ar.bits_per_dim(log_p, [2])
        np.testing.assert_allclose(gap.importance_weighted, bits, atol=0.02)
    assert learnt.gap < 0.3 * uniform.gap
    np.testing.assert_allclose(
        uniform.gap, tfp_ar.bits_per_dim(bounds((), 1)[0] - log_p, [2]), atol=0.05
    )
