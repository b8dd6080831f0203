import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import jacobian, normal, randomize
from tests.layers.reference import causal_convolution
from tfp_ar.layers import CausalConv1D

# Dilation 9 is longer than any sequence here.
GEOMETRIES = list(itertools.product([1, 2, 3], [1, 2, 9], [False, True]))


def conv_and_weights(x, **kwargs):
    """A convolution with random weights, built for x, and the weights as NumPy arrays."""
    conv = CausalConv1D(**kwargs)
    conv.build(x.shape)
    randomize(conv, scale=1.0)
    return conv, conv.kernel.numpy(), 0.0 if conv.bias is None else conv.bias.numpy()


@pytest.mark.parametrize("kernel_size, dilation_rate, exclusive", GEOMETRIES)
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-13)])
def test_equals_the_formula(kernel_size, dilation_rate, exclusive, dtype, tolerance):
    x = normal([2, 7, 3], dtype)
    conv, kernel, bias = conv_and_weights(
        x,
        filters=4,
        kernel_size=kernel_size,
        dilation_rate=dilation_rate,
        exclusive=exclusive,
        dtype=dtype,
    )
    y = conv(x)
    assert y.dtype == dtype
    expected = [
        causal_convolution(row, kernel, bias, dilation_rate, exclusive) for row in x.numpy()
    ]
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kernel_size, dilation_rate, exclusive", GEOMETRIES)
def test_sees_exactly_its_taps(kernel_size, dilation_rate, exclusive):
    x = normal([7, 2])
    conv, _, _ = conv_and_weights(
        x[tf.newaxis],
        filters=2,
        kernel_size=kernel_size,
        dilation_rate=dilation_rate,
        exclusive=exclusive,
    )
    seen = jacobian(conv, x).reshape(7, 2, 7, 2).any(axis=(1, 3))
    expected = np.zeros([7, 7], bool)
    for t, j in itertools.product(range(7), range(kernel_size)):
        if t - j * dilation_rate - exclusive >= 0:
            expected[t, t - j * dilation_rate - exclusive] = True
    np.testing.assert_array_equal(seen, expected)


def test_delays_are_oldest_first_and_count_the_exclusive_step():
    assert CausalConv1D(1, 3, dilation_rate=4).delays == (8, 4, 0)
    assert CausalConv1D(1, 3, dilation_rate=4, exclusive=True).delays == (9, 5, 1)
    assert CausalConv1D(1, 1).delays == (0,)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_sequences_shorter_than_the_delays(length):
    x = normal([2, length, 3])
    conv, kernel, bias = conv_and_weights(x, filters=2, kernel_size=3, dilation_rate=2)
    expected = [causal_convolution(row, kernel, bias, 2) for row in x.numpy()]
    assert conv(x).shape == (2, length, 2)
    np.testing.assert_allclose(conv(x), expected, rtol=1e-5, atol=1e-5)


def test_without_bias():
    x = normal([2, 5, 3])
    conv, kernel, _ = conv_and_weights(x, filters=2, kernel_size=2, use_bias=False)
    assert [v.path.split("/")[-1] for v in conv.variables] == ["kernel"]
    expected = [causal_convolution(row, kernel, 0.0) for row in x.numpy()]
    np.testing.assert_allclose(conv(x), expected, rtol=1e-5, atol=1e-5)


def test_initializers_and_regularizer_are_used():
    conv = CausalConv1D(
        2,
        2,
        kernel_initializer=keras.initializers.Constant(2.0),
        bias_initializer=keras.initializers.Constant(3.0),
        kernel_regularizer=keras.regularizers.L2(0.5),
    )
    np.testing.assert_allclose(conv(tf.ones([1, 3, 1]))[0, :, 0], [5.0, 7.0, 7.0])
    np.testing.assert_allclose(conv.losses, [0.5 * 4 * 2.0**2])
