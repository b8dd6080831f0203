"""tfp_ar.metrics: bits per dimension, as a function and as a Keras metric."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_ar
from tfp_ar.metrics import BitsPerDim, bits_per_dim, event_size


@pytest.mark.parametrize("shape", [[], [1], [6], [8, 8], (2, 3, 4), tf.TensorShape([5, 2])])
def test_a_code_of_equal_levels(shape):
    # log2(levels) bits for each variable, however many there are.
    size = int(np.prod(list(shape)))
    for levels in (2, 17, 256):
        got = bits_per_dim(-size * np.log(levels), shape)
        np.testing.assert_allclose(got, np.log2(levels), rtol=1e-14)
    assert event_size(shape) == size


def test_kinds_of_values():
    want = np.array([[1.0, 2.0, 3.0], [4.0, 0.5, 0.0]])
    log_prob = -want * 2 * np.log(2.0)
    for dtype in ("float32", "float64"):
        got = bits_per_dim(tf.constant(log_prob, dtype), [2])
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=1e-6)
        got = tf.function(lambda v: bits_per_dim(v, [2]), jit_compile=True)(
            tf.constant(log_prob, dtype)
        )
        np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(bits_per_dim(log_prob, np.array([2])), want, rtol=1e-14)
    assert bits_per_dim(-np.inf, [2]) == np.inf


def test_the_gradient_is_that_of_nats_in_other_units():
    log_prob = tf.Variable(-3.0)
    with tf.GradientTape() as tape:
        bits = bits_per_dim(log_prob, [4])
    np.testing.assert_allclose(tape.gradient(bits, log_prob), -1 / (4 * np.log(2)), rtol=1e-6)


def test_the_package_has_the_function():
    assert tfp_ar.bits_per_dim is bits_per_dim


WRONG = {
    "zero": ([0], ValueError, r"event_shape\[0\]: expected a positive integer, got 0"),
    "negative": ([3, -1], ValueError, r"event_shape\[1\]: expected a positive integer, got -1"),
    "float": ([2.0], TypeError, r"event_shape\[0\]: expected a positive integer, got 2.0"),
    "bool": ([True], TypeError, r"event_shape\[0\]: expected a positive integer, got True"),
    "text": ("ab", TypeError, "event_shape"),
    "none": (None, TypeError, "event_shape"),
    "unknown": (tf.TensorShape([None, 2]), TypeError, "event_shape"),
}
each_wrong = pytest.mark.parametrize(["shape", "error", "text"], WRONG.values(), ids=WRONG.keys())


@pytest.mark.parametrize("make", [lambda s: bits_per_dim(-1.0, s), BitsPerDim])
@each_wrong
def test_shapes_that_are_none(shape, error, text, make):
    with pytest.raises(error, match=text):
        make(shape)


def test_the_mean_is_over_examples_and_not_over_batches():
    metric = BitsPerDim([2, 3])
    log_prob = -np.random.default_rng(0).uniform(1.0, 30.0, [7])
    metric.update_state(log_prob[:5])
    metric.update_state(tf.constant(log_prob[5:], "float64"))
    want = np.mean(bits_per_dim(log_prob, [2, 3]))
    np.testing.assert_allclose(metric.result(), want, rtol=1e-6)


def test_weights_and_reset():
    metric = BitsPerDim([], dtype="float64")
    log_prob = -np.log(2.0) * np.array([1.0, 2.0, 6.0])
    metric.update_state(log_prob, sample_weight=[1.0, 0.0, 3.0])
    np.testing.assert_allclose(metric.result(), (1.0 + 3 * 6.0) / 4.0, rtol=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0.0
    metric.update_state(log_prob[1])
    np.testing.assert_allclose(metric.result(), 2.0, rtol=1e-6)


def test_calls_return_the_mean_in_functions_too():
    metric = BitsPerDim([2])
    step = tf.function(lambda v: metric(v))
    first, second = np.log([1 / 16]), np.log([1 / 64])
    np.testing.assert_allclose(step(tf.constant(first)), 2.0, rtol=1e-6)
    np.testing.assert_allclose(step(tf.constant(second)), 2.5, rtol=1e-6)


@pytest.mark.parametrize("shape", [[], [4], (2, 3), tf.TensorShape([2, 3]), np.array([2, 3])])
def test_a_config_makes_the_same_metric(shape):
    metric = BitsPerDim(shape, name="test_bits", dtype="float64")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is BitsPerDim
    assert (again.name, again.dtype) == ("test_bits", "float64")
    assert tuple(again.event_shape) == tuple(shape)
    for m in (metric, again, BitsPerDim.from_config(metric.get_config())):
        m.update_state([-3.0, -4.0])
        np.testing.assert_allclose(m.result(), bits_per_dim(-3.5, shape), rtol=1e-12)


def test_defaults():
    metric = BitsPerDim([3])
    assert (metric.name, metric.dtype) == ("bits_per_dim", keras.config.floatx())
