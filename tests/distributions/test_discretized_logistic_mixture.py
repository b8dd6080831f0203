"""DiscretizedLogisticMixture and LogisticMixtureHead: levels of rounded logistics."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

from tests import helpers
from tfp_ar.distributions import DiscretizedLogisticMixture, LogisticMixtureHead
from tfp_ar.distributions.support import IntegerSupport

tfd = tfp.distributions
LOW, HIGH = -2, 9
LEVELS = np.arange(LOW, HIGH + 1)


def parameters(batch=(), count=3, dtype="float64", seed=0):
    """Logits, locations and scales of some spread."""
    logits, loc, scale = (helpers.normal([*batch, count], dtype, (seed, i)) for i in range(3))
    return logits, 3.0 + 4.0 * loc, tf.exp(scale)


def law(batch=(), **kwargs):
    return DiscretizedLogisticMixture(*parameters(batch), LOW, HIGH, **kwargs)


def exact_log_prob(x, logits, loc, scale, low, high):
    """By differences of sigmoids, on the side where they do not cancel, in long double."""
    logits, loc, scale = (np.asarray(p, np.longdouble) for p in (logits, loc, scale))
    x = np.asarray(x, np.longdouble)[..., np.newaxis]
    a = np.where(x <= low, -np.inf, (x - 0.5 - loc) / scale)
    b = np.where(x >= high, np.inf, (x + 0.5 - loc) / scale)
    a, b = np.where(a + b > 0, -b, a), np.where(a + b > 0, -a, b)
    cells = 1 / (1 + np.exp(-b)) - 1 / (1 + np.exp(-a))
    weights = np.exp(logits - np.max(logits, -1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.log(np.sum(weights * cells, -1))


def test_probabilities_are_those_of_the_cells():
    logits, loc, scale = (p.numpy() for p in parameters([5]))
    edges = np.concatenate([[-np.inf], LEVELS[1:] - 0.5, [np.inf]])
    cdf = stats.logistic.cdf(edges[:, np.newaxis, np.newaxis], loc, scale)
    want = np.sum(special.softmax(logits, -1) * np.diff(cdf, axis=0), -1)
    got = law([5]).prob(LEVELS[:, np.newaxis])
    np.testing.assert_allclose(got, want, rtol=1e-9)
    np.testing.assert_allclose(np.sum(got, 0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("low, high", [(0, 1), (0, 255), (-3, 2)])
def test_mass_is_1(low, high):
    # Two levels have nothing but open ends.
    mixture = DiscretizedLogisticMixture(*parameters([4]), low, high)
    mass = np.sum(mixture.prob(np.arange(low, high + 1)[:, np.newaxis]), 0)
    np.testing.assert_allclose(mass, 1.0, rtol=1e-12)


@pytest.mark.parametrize("sign", [-1, 1])
def test_far_tails_in_float32(sign):
    # 100 to 2000 scales away: differences of sigmoids would be 0 there, or of no digits.
    x = np.array([100.0, 110.0, 130.0, 200.0], np.float32)
    values = [np.array([0.3, -0.2]), sign * np.array([-0.5, 0.25]), np.array([1.0, 0.1])]
    high = 255 if sign > 0 else 0
    args = [tf.constant(v, tf.float32) for v in values]
    with tf.GradientTape() as tape:
        tape.watch(args)
        copies = [tf.tile(v[tf.newaxis], [len(x), 1]) for v in args]
        log_prob = DiscretizedLogisticMixture(*copies, high - 255, high).log_prob(sign * x)
    gradients = tape.jacobian(log_prob, args)
    given = [np.asarray(v, np.float32).astype(np.longdouble) for v in values]

    def exact(*changed):
        return exact_log_prob(sign * x, *changed, high - 255, high)

    np.testing.assert_allclose(log_prob, exact(*given).astype(float), rtol=1e-5)
    assert np.all(log_prob < -90)
    step = np.longdouble(1e-7)
    for place, got in enumerate(gradients):
        for k in range(2):
            plus, minus = ([v.copy() for v in given] for _ in range(2))
            plus[place][k] += step
            minus[place][k] -= step
            want = ((exact(*plus) - exact(*minus)) / (2 * step)).astype(float)
            np.testing.assert_allclose(got[:, k], want, rtol=1e-3, atol=1e-4)


def test_a_sharp_component_and_a_flat_one_have_finite_gradients():
    scale = tf.constant([1e-3, 1e6])
    with tf.GradientTape() as tape:
        tape.watch(scale)
        log_prob = DiscretizedLogisticMixture([0.0, 0.0], [4.0, 4.0], scale, 0, 255).log_prob(
            [4, 5, 0, 255]
        )
    assert np.all(np.isfinite(log_prob))
    assert np.all(np.isfinite(tape.gradient(log_prob, scale)))


@pytest.mark.parametrize("loc, x", [(4.0, 4), (4.0, 5), (4.0, 0), (0.0, 251), (4.0, 255)])
def test_gradients_are_finite_at_the_smallest_scales(loc, x):
    """As the docstring says; half of that scale is too small for some."""
    scale = 1.01 * np.sqrt((abs(x - loc) + 1) / 3e38)
    args = [tf.constant(v, tf.float32) for v in ([0.0, 0.0], [loc, loc], [scale, 1.0])]
    with tf.GradientTape() as tape:
        tape.watch(args)
        log_prob = DiscretizedLogisticMixture(*args, 0, 255).log_prob(x)
    assert np.isfinite(log_prob)
    assert all(np.all(np.isfinite(gradient)) for gradient in tape.gradient(log_prob, args))


OUTSIDE = [LOW - 1, HIGH + 1, 0.5, np.nan, np.inf, -np.inf, 1e30]


@pytest.mark.parametrize("value", OUTSIDE)
def test_outside_it_is_minus_infinity_without_gradient(value):
    args = list(parameters())
    x = tf.constant([value, 1.0], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([x, *args])
        log_prob = DiscretizedLogisticMixture(*args, LOW, HIGH).log_prob(x)
        first = log_prob[0]
    assert first == -np.inf and np.isfinite(log_prob[1])
    for gradient in tape.gradient(first, [x, *args]):
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))
    with pytest.raises(ValueError, match=r"value: expected integers in -2\.\.9, got"):
        law(validate_args=True).log_prob(x)


def test_integer_values_of_other_dtypes():
    want = law().log_prob(np.float64([-2, 0, 9]))
    np.testing.assert_array_equal(law().log_prob(tf.constant([-2, 0, 9])), want)
    np.testing.assert_array_equal(law().log_prob(np.array([0, 9], np.uint8)), want[1:])
    assert law().log_prob(np.array([255], np.uint8)) == -np.inf


@pytest.mark.parametrize("place", range(3))
def test_nan_parameters_are_not_hidden(place):
    values = [[0.0, 0.0], [1.0, 2.0], [1.0, 1.0]]
    values[place] = [np.nan, np.nan]
    mixture = DiscretizedLogisticMixture(*values, 0, 3)
    assert np.isnan(mixture.log_prob(1)) and np.all(np.isnan(mixture.sample(9, seed=(1, 2))))


def test_samples():
    mixture, count = law([2]), 20000
    samples = mixture.sample(count, seed=(1, 2)).numpy()
    assert samples.dtype == np.float64
    prob = mixture.prob(LEVELS[:, np.newaxis]).numpy()
    for column in range(2):
        counts = np.bincount(samples[:, column].astype(int) - LOW, minlength=len(LEVELS))
        assert stats.chisquare(counts, count * prob[:, column]).pvalue > 1e-3
    assert not np.any(np.signbit(samples[samples == 0]))  # no -0.0
    np.testing.assert_array_equal(mixture.sample(5, seed=(1, 2)), mixture.sample(5, seed=(1, 2)))
    assert mixture.sample([2, 3], seed=(1, 2)).shape == (2, 3, 2)


def test_mode_is_the_most_probable_level():
    mixture = law([20])
    np.testing.assert_array_equal(
        mixture.mode(), LEVELS[np.argmax(mixture.prob(LEVELS[:, np.newaxis]), 0)]
    )


def test_what_it_is():
    mixture = law([4, 2])
    assert (mixture.batch_shape, mixture.event_shape) == ([4, 2], [])
    part, x = mixture[1:], mixture.sample(3, seed=(1, 2))
    assert part.batch_shape == [3, 2] and part.sample(5, seed=(1, 2)).shape == [5, 3, 2]
    np.testing.assert_allclose(part.log_prob(x[:, 1:]), mixture.log_prob(x)[:, 1:], rtol=1e-12)
    assert mixture.support == IntegerSupport(LOW, HIGH)
    assert mixture.experimental_default_event_space_bijector() is None
    scale = tf.Variable([1.0])
    held = DiscretizedLogisticMixture([0.0], [0.0], scale, 0, 3)
    assert len(held.trainable_variables) == 1
    before = held.log_prob(2)
    scale.assign([2.0])
    assert held.log_prob(2) != before


WRONG = {
    "order": ((3, 1), ValueError, r"high: expected an integer"),
    "float": ((0.0, 1), TypeError, r"low: expected an integer.*got 0\.0"),
    "high": ((0, "a"), TypeError, r"high: expected an integer.*got 'a'"),
    "bool": ((True, 3), TypeError, r"low: expected an integer.*got True"),
}


@pytest.mark.parametrize("levels, error, message", WRONG.values(), ids=WRONG.keys())
def test_wrong_levels(levels, error, message):
    with pytest.raises(error, match=message):
        DiscretizedLogisticMixture([0.0], [0.0], [1.0], *levels)
    with pytest.raises(error, match=message):
        LogisticMixtureHead(1, *levels)


def test_the_head_starts_with_distinct_components():
    head = LogisticMixtureHead(5, 0, 255)
    mixture = head(tf.zeros([2, 15]))
    assert (head.num_params, mixture.batch_shape) == (15, [2])
    np.testing.assert_allclose(mixture.loc[0], 255 * np.array([0.1, 0.3, 0.5, 0.7, 0.9]), rtol=1e-6)
    np.testing.assert_allclose(mixture.scale, 25.5, rtol=0.01)
    # About flat: no level is far from 1/256.
    assert np.ptp(np.log(mixture.prob(np.arange(1, 255)[:, np.newaxis]))) < 1.5


def test_the_head_is_finite_and_trainable_whatever_the_network_says():
    head = LogisticMixtureHead(2, 0, 255)
    for size in (30.0, 1e4):
        params = tf.constant(size * np.array([[1, -1, 1, -1, 1, -1]]), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(params)
            log_prob = head(params).log_prob([0, 7, 255])
        assert np.all(np.isfinite(log_prob))
        assert np.all(np.isfinite(tape.gradient(log_prob, params)))
    with tf.GradientTape() as tape:  # a scale at its bound is not stuck there
        tape.watch(small := tf.constant([[0.0, 0.0, 0.0, 0.0, -8.0, -8.0]]))
        loss = tf.reduce_sum(head(small).log_prob([60.0]))
    assert np.all(tape.gradient(loss, small)[0, 4] > 0)


def test_the_head_is_a_key_and_checks():
    assert LogisticMixtureHead(2, 0, 3) == LogisticMixtureHead(2, 0, 3)
    assert len({LogisticMixtureHead(2, 0, 3), LogisticMixtureHead(2, 0, 3)}) == 1
    with pytest.raises(ValueError, match=r"params: expected shape \[\.\.\., 6\], got \[2, 5\]"):
        LogisticMixtureHead(2, 0, 3)(tf.zeros([2, 5]))
    with pytest.raises(ValueError, match="num_components: expected a positive integer, got 0"):
        LogisticMixtureHead(0, 0, 3)


def test_parameters_of_different_numbers_of_components():
    with pytest.raises(ValueError, match="logits, loc, scale: expected one K, got .*1.* 2"):
        DiscretizedLogisticMixture([0.0], [1.0, 6.0], [0.3, 0.5], low=0, high=7)
    with pytest.raises(TypeError, match="logits: expected float32 or float64, got float16"):
        half = tf.zeros([2], tf.float16)
        DiscretizedLogisticMixture(half, half, half + 1, low=0, high=7)


def test_parameters_of_wrong_shapes():
    with pytest.raises(ValueError, match=r"scale: expected shape \[\.\.\., K\], got \[\]"):
        DiscretizedLogisticMixture([0.0], [1.0], 0.3, low=0, high=7)
    message = r"expected shapes that broadcast, got \{'logits': \[2, 1\], 'loc': \[3, 1\]"
    with pytest.raises(ValueError, match=message):
        DiscretizedLogisticMixture(np.ones([2, 1]), np.ones([3, 1]), [1.0], low=0, high=7)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)] * 2, autograph=False)
    def log_prob(loc, scale):
        return DiscretizedLogisticMixture([0.0, 0.0], loc, scale, 0, 7, True).log_prob(1)

    assert np.isfinite(log_prob([0.0, 1.0], [1.0, 1.0]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="loc: expected the K of logits"):
        log_prob([0.0], [1.0, 1.0])


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan])
def test_scales_that_are_not_positive(wrong):
    def mixture(scale):
        return DiscretizedLogisticMixture([0.0, 0.0], [1.0, 2.0], scale, 0, 7, validate_args=True)

    message = f"scale: expected positive numbers.*{wrong}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){message}"):
        mixture([0.5, wrong])
    with pytest.raises(tf.errors.InvalidArgumentError, match="scale: expected positive numbers"):
        tf.function(lambda scale: mixture(scale).log_prob(1))(tf.constant([0.5, wrong]))
    scale = tf.Variable([0.5, 1.0])
    held = mixture(scale)
    assert np.isfinite(held.log_prob(1))
    scale.assign([0.5, wrong])
    with pytest.raises(tf.errors.InvalidArgumentError, match="scale: expected positive numbers"):
        held.log_prob(1)


def test_many_levels_in_float32():
    # Flat components: a cell is 1e-4 of a scale, and a - b would have 4 digits less than 1 / scale.
    x = np.array([1.0, 20000.0, 32768.0, 65000.0])
    given = [np.array([0.3, -0.2]), np.array([32768.0, 60000.0]), np.array([1e4, 3e4])]
    mixture = DiscretizedLogisticMixture(*(tf.constant(p, tf.float32) for p in given), 0, 65535)
    exact = exact_log_prob(x, *given, 0, 65535).astype(float)
    np.testing.assert_allclose(mixture.log_prob(x), exact, atol=1e-4)


def test_the_head_takes_levels_of_any_integer_type():
    head = LogisticMixtureHead(np.int8(2), np.int16(-32768), np.int16(32767))
    assert head == LogisticMixtureHead(2, -32768, 32767)
    np.testing.assert_allclose(head(np.zeros(6, np.float32)).loc, [-16384.25, 16383.25])
