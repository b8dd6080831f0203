"""tfp_ar.dequantizers: uniform noise that never rounds an integer up."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

from tfp_ar.bijectors import Bounded
from tfp_ar.dequantizers import Dequantizer, Uniform
from tfp_ar.dequantizers.uniform import keep_inside, num_noise_bits

tfd = tfp.distributions
SLOW = pytest.mark.slow
INTEGERS = [0, 1, 2, 255, 256, 65535, -1, -2, -255, -256, -257, -65536, 2**20, 2**22 - 1, -(2**22)]
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def drawn(x, count, dtype="float32", seed=(1, 2)):
    """u [count] for one integer, in float64."""
    return tf.cast(Uniform().noise(tf.constant(x, dtype), count, seed), tf.float64).numpy()


@each_dtype
@pytest.mark.parametrize("x", INTEGERS)
def test_the_sum_is_exact(x, dtype):
    y, log_q = Uniform().dequantize(tf.constant(x, dtype), 20000, [1, 2])
    u = drawn(x, 20000, dtype)
    assert np.all((u > 0.0) & (u < 1.0))
    np.testing.assert_array_equal(tf.cast(y, tf.float64).numpy() - x, u)
    np.testing.assert_array_equal(tf.floor(y), np.full([20000], x))
    assert log_q == 0.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_sum_is_exact_in_low_precision(dtype):
    most = {"float16": 512, "bfloat16": 64}[dtype]
    x = tf.cast(tf.range(-most, most), dtype)
    y, _ = Uniform().dequantize(x, 200, [1, 2])
    u = tf.cast(Uniform().noise(x, 200, [1, 2]), tf.float32).numpy()
    assert np.all((u > 0.0) & (u < 1.0))
    exact = tf.cast(x, tf.float32).numpy() + u
    np.testing.assert_array_equal(tf.cast(y, tf.float32), exact)
    np.testing.assert_array_equal(np.floor(exact) - tf.cast(x, tf.float32), 0.0 * exact)


def bits(x, dtype="float32"):
    """num_noise_bits as a list."""
    return num_noise_bits(tf.constant(x, dtype)).numpy().tolist()


def test_the_number_of_bits():
    assert bits([0.0, -0.0, -1.0]) == [23, 23, 23]
    assert bits([1, 2, 3, 4, 127, 128, 255, 256]) == [22, 21, 21, 20, 16, 15, 15, 14]
    assert bits([65535, 65536, 2**21, 2**22 - 1, 2**22, 2**23 - 1]) == [7, 6, 1, 1, 0, 0]
    assert bits([-2, -3, -4, -5, -256, -257, -65536, -65537]) == [22, 21, 21, 20, 15, 14, 7, 6]
    assert bits([2**24, 2.0**100, -(2.0**100)]) == [0, 0, 0]
    # All 31 that fit an int32, then 52 - b.
    assert bits([0, 255, 2**20, 2**21 - 1, 2**21, 2**30], "float64") == [31, 31, 31, 31, 30, 21]
    assert bits([2**50, 2**51, 2**60], "float64") == [1, 0, 0]
    assert bits([0, 1, 255, 512], "float16") == [10, 9, 2, 0]
    assert bits([0, 1, 63, 64, 128], "bfloat16") == [7, 6, 1, 0, 0]


@each_dtype
def test_noise_from_elsewhere_is_kept_inside(dtype):
    whole = tf.constant(INTEGERS, dtype)
    u = tf.constant([[-1.0], [0.0], [1e-30], [0.5], [1.0 - 1e-16], [1.0], [2.0]], dtype)
    u = tf.repeat(u, len(INTEGERS), axis=1)
    kept = keep_inside(u, whole)
    np.testing.assert_array_equal(tf.floor(whole + kept), np.tile(whole, [7, 1]))
    assert np.all((whole + kept > whole) & (whole + kept < whole + 1.0))
    least = 2.0 ** (-1 - num_noise_bits(whole).numpy())  # the least that Uniform draws
    np.testing.assert_array_equal(kept, np.clip(u, least, 1.0 - least))
    own = Uniform().noise(whole, 1000, [1, 2])
    np.testing.assert_array_equal(keep_inside(own, whole), own)


@pytest.mark.parametrize("x", [2**22, 2**22 + 1, 2**23 - 1])
def test_no_bits_left_is_the_middle(x):
    np.testing.assert_array_equal(drawn(x, 5), np.full([5], 0.5))


@pytest.mark.parametrize(["x", "k"], [(65535, 7), (-65536, 7), (8191, 10)])
def test_every_value_has_the_same_chance(x, k):
    draws = 2**k * 400
    i = drawn(x, draws) * 2**k - 0.5
    np.testing.assert_array_equal(i, np.round(i))
    counts = np.bincount(i.astype(int), minlength=2**k)
    assert len(counts) == 2**k
    assert counts.min() > 0
    assert 1e-3 < stats.chisquare(counts).pvalue < 1 - 1e-3


@each_dtype
@pytest.mark.parametrize("x", [0, 255, -3, 65535])
def test_the_law_is_uniform(x, dtype):
    u = drawn(x, 200000, dtype)
    np.testing.assert_allclose(u.mean(), 0.5, atol=4 / np.sqrt(12 * 200000))
    if abs(x) < 65535 or dtype == "float64":  # else too coarse for a test of continuous laws
        assert stats.kstest(u, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("count, seeds", [(10**6, 1), pytest.param(10**7, 10, marks=SLOW)])
@pytest.mark.parametrize("x", [0, pytest.param(255, marks=SLOW), 65535])
def test_draws_at_the_edges(x, count, seeds):
    """In chunks of `count`: x + u is inside (x, x + 1) and its logit finite."""
    bounded = Bounded(0, max(x + 1, 256))

    @tf.function(jit_compile=True)
    def check(seed):
        whole = tf.constant(x, tf.float32)
        y, _ = Uniform().dequantize(whole, count, seed)
        inside = tf.reduce_all((y > whole) & (y < whole + 1.0) & (tf.floor(y) == whole))
        finite = tf.math.is_finite(bounded.inverse(y))
        finite &= tf.math.is_finite(bounded.inverse_log_det_jacobian(y, 0))
        return inside, tf.reduce_all(finite), tf.reduce_min(y), tf.reduce_max(y)

    for seed in range(seeds):
        inside, finite, least, most = check(tf.constant([seed, 9]))
        assert bool(inside)
        assert bool(finite)
        # The noise goes all the way to both ends.
        assert least < x + 0.01
        assert most > x + 0.99


@each_dtype
def test_the_same_noise_in_eager_mode_graphs_and_xla(dtype):
    x = tf.constant([[0, 1, 255], [-1, -7, 65535]], dtype)

    def run(x, seed):
        return Uniform().noise(x, 3, seed)

    want = run(x, [3, 4])
    assert want.shape == [3, 2, 3]
    for jit in (False, True):
        np.testing.assert_array_equal(tf.function(run, jit_compile=jit)(x, [3, 4]), want)
        other = tf.function(run, jit_compile=jit)(x, [3, 5])
        assert np.all(other[..., :2] != want[..., :2])
    np.testing.assert_array_equal(run(x, tf.constant([3, 4], tf.int64)), want)
    assert len(np.unique(want[..., :2])) == 12  # each variable and each draw has its own


def test_unknown_shapes():
    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def run(x):
        u = Uniform().noise(x, 4, [1, 2])
        assert u.shape.as_list() == [4, None, 2]
        return u

    x = tf.zeros([5, 2])
    np.testing.assert_array_equal(run(x), Uniform().noise(x, 4, [1, 2]))
    assert run(tf.zeros([0, 2])).shape == [4, 0, 2]


def test_noise_is_independent_of_what_else_the_seed_makes():
    # A sample and its log_prob are often asked with one seed. With the same random bits in both,
    # some digits of the noise would be those of the sample.
    seed, count = tf.constant([5, 6]), 100000
    u = drawn(0.0, count, "float32", seed)
    plain = tf.random.stateless_uniform([1, count], seed, alg="philox")[0].numpy()
    bits = tf.random.stateless_uniform(
        [1, count], seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )[0]
    sample = tfd.Uniform(0.0, 1.0).sample(count, seed=seed).numpy()
    normal = tfd.Normal(0.0, 1.0).sample(count, seed=seed).numpy()
    for other in (plain, bits.numpy() / 2.0**32, sample, normal):
        for digits in range(0, 14):
            correlation = np.corrcoef(other, np.mod(u * 2.0**digits, 1.0))[0, 1]
            assert abs(correlation) < 5 / np.sqrt(count)


def test_a_dequantizer_has_to_define_its_noise():
    class Empty(Dequantizer):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define dequantize"):
        Empty().dequantize(tf.zeros([2]), 1, [1, 2])
    assert not Uniform().variables
