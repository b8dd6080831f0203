"""tfp_ar.analysis.dequantization_gap: two bounds from the same draws, and their difference."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.bijectors.examples import flow
from tfp_ar import Dequantized, bits_per_dim
from tfp_ar.analysis import dequantization_gap
from tfp_ar.bijectors import Bounded, Chain
from tfp_ar.dequantizers import Dequantizer

tfd = tfp.distributions
EXACT = np.log(1.0 / (1.0 + np.exp(-np.array([-1.0, 1.0]))))  # of a 0 and of a 1


def coins(**kwargs):
    """Three coins, in float64."""
    base = tfd.Sample(tfd.Logistic(np.float64(1.0), 1.0), [3])
    return Dequantized(tfd.TransformedDistribution(base, Bounded(0, 2)), **kwargs)


def tosses(n=7):
    """Integers [n, 3]."""
    return np.random.default_rng(0).integers(0, 2, [n, 3])


def draws(model, x, k, seed, batch_size, c=None):
    """One-sample bounds [k, n], by hand: noise of (seed[0] + draw, seed[1] + batch)."""
    found = []
    for draw in range(k):
        parts = []
        for i, start in enumerate(range(0, len(x), batch_size)):
            rows = np.arange(start, start + batch_size) % len(x)
            kwargs = {} if c is None else {"conditional_input": c[rows]}
            parts.append(model.log_prob(x[rows], seed=[seed[0] + draw, seed[1] + i], **kwargs))
        found.append(np.concatenate(parts)[: len(x)])
    return np.array(found)


@pytest.mark.parametrize("batch_size", [3, 100])
def test_it_is_made_of_one_sample_bounds(batch_size):
    x, model = tosses(), coins()
    got = dequantization_gap(model, x, 5, seed=(8, 9), batch_size=batch_size)
    log_w = draws(model, x, 5, (8, 9), min(batch_size, len(x)))
    one = bits_per_dim(log_w.mean(axis=0), [3])
    many = bits_per_dim(np.log(np.exp(log_w).mean(axis=0)), [3])
    np.testing.assert_allclose(got.one_sample, one.mean(), rtol=1e-10)
    np.testing.assert_allclose(got.importance_weighted, many.mean(), rtol=1e-10)
    np.testing.assert_allclose(got.gap, np.mean(one - many), rtol=1e-8)
    np.testing.assert_allclose(got.standard_error, np.std(one - many, ddof=1) / np.sqrt(7))
    assert got.num_importance_samples == 5 and got.gap > 0.01
    # The distribution's own number does not matter.
    assert dequantization_gap(coins(num_importance_samples=9), x, 5, (8, 9), batch_size) == got
    assert dequantization_gap(model, x, 5, (8, 10), batch_size) != got


def test_many_samples_find_the_exact_value():
    x = tosses(20)
    got = dequantization_gap(coins(), x, 500)
    exact = np.mean(bits_per_dim(EXACT[x].sum(axis=1), [3]))
    np.testing.assert_allclose(got.importance_weighted, exact, atol=0.01)
    np.testing.assert_allclose(got.gap, got.one_sample - exact, atol=0.01)


def test_the_best_noise_leaves_no_gap():
    class Best(Dequantizer):
        """q(u | x) = p(x + u) / P(x) of the coins: a logistic law between two quantiles."""

        def dequantize(self, x, num_samples, seed):
            law = tfd.Logistic(np.float64(1.0), 1.0)
            below = law.cdf(np.float64(0.0))
            v = tf.random.stateless_uniform([num_samples, *x.shape], seed, dtype=x.dtype)
            cdf = tf.where(x < 0.5, v * below, below + v * (1.0 - below))
            y = 2.0 * tf.sigmoid(law.quantile(cdf))
            density = tfd.TransformedDistribution(law, Bounded(0, 2))
            log_q = density.log_prob(y) - tf.math.log(tf.where(x < 0.5, below, 1.0 - below))
            return y, tf.reduce_sum(log_q, axis=-1)

    x = tosses(20)
    got = dequantization_gap(coins(dequantizer=Best()), x, 8)
    np.testing.assert_allclose(got.gap, 0.0, atol=1e-9)
    exact = np.mean(bits_per_dim(EXACT[x].sum(axis=1), [3]))
    np.testing.assert_allclose(got.one_sample, exact, rtol=1e-9)


def test_densities_too_small_for_a_number():
    narrow = tfp_ar.Dequantized(tfd.Sample(tfd.Normal(np.float64(0.0), 1e-3), [2]))
    found = dequantization_gap(narrow, np.full([3, 2], 10), 16)  # densities of exp(-1e8)
    assert 1e7 < found.importance_weighted < found.one_sample < 1e9


def test_no_draw_of_positive_density():
    away = tfp_ar.Dequantized(tfd.Sample(tfd.Uniform(np.float64(0.5), 3.0), [2]))
    found = dequantization_gap(away, np.full([3, 2], -4), 4)
    assert found.one_sample == found.importance_weighted == np.inf and np.isnan(found.gap)
    found = dequantization_gap(away, np.zeros([3, 2]), 64)  # a quarter of the draws
    assert found.one_sample == found.gap == np.inf > found.importance_weighted


def test_one_value_and_one_sample():
    got = dequantization_gap(coins(), tosses(1), 3)
    assert got.gap > 0.0 and np.isnan(got.standard_error)
    got = dequantization_gap(coins(), tosses(), 1)
    assert got.gap == 0.0 and got.standard_error == 0.0


def test_conditioning():
    density = helpers.image(Chain([Bounded(0, 17), flow()]))
    model = Dequantized(density)
    generator = np.random.default_rng(0)
    x, c = generator.integers(0, 17, [5, 4]), generator.standard_normal([5, 2])
    got = dequantization_gap(model, x, 2, batch_size=3, conditional_input=c)
    log_w = draws(model, x, 2, (0, 0), 3, c)
    np.testing.assert_allclose(got.one_sample, np.mean(bits_per_dim(log_w, [4])), rtol=1e-9)
    with pytest.raises(ValueError, match=r"conditioned on shape \[2\], got None"):
        dequantization_gap(model, x)
    with pytest.raises(ValueError, match=r"conditional_input: expected 5 rows, .* got \[4\]"):
        dequantization_gap(model, x, conditional_input=c[:4])
    with pytest.raises(ValueError, match="is not conditioned and would ignore it"):
        dequantization_gap(coins(), tosses(5), conditional_input=c)
    with pytest.raises(ValueError, match=r"distribution: expected a batch shape of \[\] and"):
        dequantization_gap(tfp_ar.bind(model, c), x)


WRONG = {
    "distribution": ({"distribution": tfd.Normal(0.0, 1.0)}, TypeError, "distribution: expected a"),
    "shape": ({"value": np.zeros([7, 2])}, ValueError, r"value: expected shape \[n, 3\], n "),
    "rank": ({"value": np.zeros([3])}, ValueError, r"value: expected shape .* got \[3\]"),
    "none": ({"value": np.zeros([0, 3])}, ValueError, r"value: expected shape .* got \[0, 3\]"),
    "samples": ({"num_importance_samples": 0}, ValueError, "num_importance_samples: expected a"),
    "batches": ({"batch_size": 1.5}, TypeError, "batch_size: expected a positive integer, got 1.5"),
    "seed": ({"seed": 3}, TypeError, "seed: expected a pair of integers, got 3"),
    "floats": ({"seed": (1.0, 2.0)}, TypeError, "seed: expected a pair of integers, got"),
}


@pytest.mark.parametrize(["wrong", "error", "text"], WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments(wrong, error, text):
    with pytest.raises(error, match=text):
        dequantization_gap(**{"distribution": coins(), "value": tosses(), **wrong})
