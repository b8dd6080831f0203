"""sample_from_uniform: samples of scalar distributions as functions of uniform numbers."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

from tfp_ar.distributions import DiscretizedLogisticMixture
from tfp_ar.distributions.inversion import categorical_index, sample_from_uniform, takes_uniforms
from tfp_ar.internal.random import unit_uniform

tfd = tfp.distributions
COUNT = 20000
SMALLEST, LARGEST = 2.0**-24, 1 - 2.0**-24  # of u in float32


def uniforms(count=COUNT, dtype="float64", seed=(1, 2)):
    return tf.unstack(unit_uniform([2, count], seed, 5, tf.as_dtype(dtype)))


CONTINUOUS = {
    "normal": lambda one: tfd.Normal(1.5 * one, 0.7),
    "logistic": lambda one: tfd.Logistic(1.5 * one, 0.7),
    "laplace": lambda one: tfd.Laplace(1.5 * one, 0.7),
    "cauchy": lambda one: tfd.Cauchy(1.5 * one, 0.7),
    "gumbel": lambda one: tfd.Gumbel(1.5 * one, 0.7),
    "exponential": lambda one: tfd.Exponential(1.5 * one),
    "uniform": lambda one: tfd.Uniform(-1.5 * one, 0.7),
}


@pytest.mark.parametrize("make", CONTINUOUS.values(), ids=CONTINUOUS.keys())
def test_continuous_laws(make):
    law = make(tf.ones([], tf.float64))
    assert takes_uniforms(law)
    samples = sample_from_uniform(law, *uniforms())
    assert stats.kstest(law.cdf(samples).numpy(), "uniform").pvalue > 1e-3
    for dtype, bits in (("float64", 53), ("float32", 24)):  # no infinity at the ends of u
        law, u = make(tf.ones([], dtype)), np.array([2.0**-bits, 1 - 2.0**-bits], dtype)
        extremes = sample_from_uniform(law, u, u)
        assert extremes.dtype == law.dtype and np.all(np.isfinite(extremes))


DISCRETE = {
    "categorical": tfd.Categorical(probs=[0.1, 0.25, 0.0, 0.6, 0.05]),
    "logits": tfd.Categorical(logits=tf.math.log([0.1, 0.25, 0.6, 0.05])),
    "int64": tfd.Categorical(probs=[0.3, 0.7], dtype=tf.int64),
    "bernoulli": tfd.Bernoulli(probs=0.3),
    "bernoulli_logits": tfd.Bernoulli(logits=1.0),
    "float_bernoulli": tfd.Bernoulli(probs=0.3, dtype=tf.float32),
    "logistics": DiscretizedLogisticMixture([0.0, 1.0], [0.0, 3.0], [0.5, 0.7], 0, 4),
}


@pytest.mark.parametrize("law", DISCRETE.values(), ids=DISCRETE.keys())
def test_frequencies_of_discrete_laws(law):
    samples = sample_from_uniform(law, *uniforms(dtype="float32"))
    assert samples.dtype == law.dtype
    num_levels = {"Bernoulli": 2, "DiscretizedLogisticMixture": 5}.get(type(law).__name__)
    num_levels = num_levels or law.probs_parameter().shape[-1]
    counts = np.bincount(samples.numpy().astype(int), minlength=num_levels)
    prob = np.array([law.prob(np.array(k, law.dtype.name)) for k in range(num_levels)], float)
    assert not np.any(counts[prob == 0])
    possible = prob > 0
    want = COUNT * prob[possible] / prob.sum()
    assert stats.chisquare(counts[possible], want).pvalue > 1e-3


@pytest.mark.parametrize("u", [SMALLEST, 0.5, LARGEST])
@pytest.mark.parametrize("position", range(4))
def test_a_class_of_probability_0_never_comes_out(u, position):
    # Also at the ends: u below the first step, or above a sum that rounding left below 1.
    for size in (4, 300):
        probs = np.full(size, 1 / (size - 1), np.float32)
        zero = [0, 1, size - 2, size - 1][position]
        probs[zero] = 0.0
        k = int(categorical_index(tf.constant(probs), tf.constant(u, tf.float32)))
        assert probs[k] > 0
        assert {SMALLEST: k <= 1, LARGEST: k >= size - 4}.get(u, True)


def test_not_even_where_the_level_to_reach_is_rounded_to_0():
    assert categorical_index(tf.constant([0.0, 2e-38]), tf.constant(SMALLEST, tf.float32)) == 1


def test_the_last_classes_come_out_though_sums_fall_short_of_1():
    probs = np.full(1000, 1e-3, np.float32)
    k = categorical_index(tf.constant(probs * np.float32(0.999)), tf.constant(LARGEST, tf.float32))
    assert k >= 997


def test_nan_gives_no_category():
    # As what tfd.Categorical itself samples: the number of categories.
    for name in ("probs", "logits"):
        law = tfd.Categorical(**{name: [[np.nan, 0.5], [0.5, 0.5]]})
        got = sample_from_uniform(law, [0.3, 0.3], 0.5)
        np.testing.assert_array_equal(got, [2, 0])


def test_steps_of_the_inverse_cdf():
    law = tfd.Categorical(probs=[0.25, 0.25, 0.0, 0.5])
    u = tf.constant([0.1, 0.25, 0.2501, 0.5, 0.5001, 0.9])
    np.testing.assert_array_equal(sample_from_uniform(law, u, u), [0, 0, 1, 1, 3, 3])
    coin = tfd.Bernoulli(probs=[0.0, 0.25, 0.25, 1.0])
    u = tf.constant([SMALLEST, 0.2, 0.3, LARGEST])
    np.testing.assert_array_equal(sample_from_uniform(coin, u, u), [0, 1, 0, 1])


def test_eager_graph_and_xla_agree():
    logits = np.random.default_rng(0).standard_normal([200, 30])

    def draw(u, v):
        return sample_from_uniform(tfd.Categorical(logits=logits), u, v)

    u, v = uniforms(200)
    for jit_compile in (False, True):
        np.testing.assert_array_equal(tf.function(draw, jit_compile=jit_compile)(u, v), draw(u, v))


class Shifted(tfd.Normal):
    """A law of its own."""


OTHERS = {
    "mixture": tfd.MixtureSameFamily(tfd.Categorical([0.0]), tfd.Normal([0.0], 1.0)),
    "quantized": tfd.QuantizedDistribution(tfd.Normal(0.0, 1.0)),
    "poisson": tfd.Poisson(1.0),
    "half_normal": tfd.HalfNormal(1.0),  # its quantile is infinite at the largest u
    "subclass": Shifted(0.0, 1.0),
}


@pytest.mark.parametrize("law", OTHERS.values(), ids=OTHERS.keys())
def test_others_are_refused(law):
    assert not takes_uniforms(law)
    with pytest.raises(TypeError, match=f"distribution: expected one of.*{type(law).__name__}"):
        sample_from_uniform(law, 0.5, 0.5)


@pytest.mark.parametrize("dtype, bits", [("float32", 23), ("float64", 52)])
def test_the_noise(dtype, bits):
    u = unit_uniform([100000], (1, 2), 5, tf.as_dtype(dtype)).numpy()
    assert u.dtype == dtype and u.min() > 0 and u.max() < 1
    i = u * 2.0**bits - 0.5  # whole, as u is exact
    np.testing.assert_array_equal(i, np.floor(i))
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    compiled = tf.function(unit_uniform, jit_compile=True)
    np.testing.assert_array_equal(compiled([100000], (1, 2), 5, tf.as_dtype(dtype)), u)
    assert np.mean(unit_uniform([1000], (1, 2), 6, tf.as_dtype(dtype)) == u[:1000]) < 0.1
