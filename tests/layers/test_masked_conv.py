import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import jacobian, normal, randomize
from tests.layers.reference import convolution_at, groups_before, seen_at
from tfp_ar.layers import MaskedConv2D, masks

SHAPE = (4, 5)


def random_conv(filters, kernel_size, channels, scale=1.0, **kwargs):
    """A convolution with raw random weights, those behind the mask too."""
    conv = MaskedConv2D(filters, kernel_size, **kwargs)
    conv.build((None, *SHAPE, channels))
    return randomize(conv, scale)


def taps(kernel_size, mask_type, dilation=1):
    """The offsets of a masked kernel's taps from the centre's pixel."""
    sides = [range(-(k // 2), k // 2 + 1) for k in kernel_size]
    return [
        (r * dilation, c * dilation)
        for r, c in itertools.product(*sides)
        if r < 0 or (r == 0 and (c < 0 or (c == 0 and mask_type == "B")))
    ]


def formula(conv, x, kernel_size, dilation=1):
    """The layer for x [H, W, channels], tap by tap."""
    centre = tuple(k // 2 for k in kernel_size)
    kernel, groups = conv.kernel.numpy(), conv.channel_groups
    y = 0.0 if conv.bias is None else conv.bias.numpy()
    for r, c in taps(kernel_size, "A"):
        tap = kernel[centre[0] + r, centre[1] + c][np.newaxis, np.newaxis]
        y = y + convolution_at(x, tap, [r * dilation], [c * dilation])
    own = groups_before(*kernel.shape[2:], groups, conv.mask_type == "B")
    return y + convolution_at(x, (kernel[centre] * own)[np.newaxis, np.newaxis], [0], [0])


@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize(
    "kernel_size, dilation, groups",
    [((3, 3), 1, 1), ((5, 5), 1, 3), ((3, 3), 2, 1), ((3, 5), 1, 1), ((1, 1), 1, 3)],
)
def test_equals_the_formula(mask_type, kernel_size, dilation, groups):
    conv = random_conv(
        6,
        kernel_size,
        3,
        mask_type=mask_type,
        channel_groups=groups,
        dilation_rate=dilation,
        dtype="float64",
    )
    x = normal([2, *SHAPE, 3], "float64")
    y = conv(x)
    assert y.shape == (2, *SHAPE, 6) and y.dtype == tf.float64
    expected = [formula(conv, row, kernel_size, dilation) for row in x.numpy()]
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


def seen_by(conv, channels):
    """Dependence of y [H, W, filters] on x [H, W, channels]."""
    matrix = jacobian(conv, normal([*SHAPE, channels]))
    return matrix.reshape(*SHAPE, -1, *SHAPE, channels) != 0


@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize("kernel_size, dilation", [(3, 1), (5, 1), (3, 2), ((3, 5), 1)])
def test_sees_exactly_the_taps_before(mask_type, kernel_size, dilation):
    conv = random_conv(2, kernel_size, 2, mask_type=mask_type, dilation_rate=dilation)
    expected = np.zeros([*SHAPE, *SHAPE], bool)
    for r, c in taps(conv.kernel_size, mask_type, dilation):
        expected |= seen_at(SHAPE, [r], [c])
    seen = seen_by(conv, 2)
    np.testing.assert_array_equal(seen.all(axis=(2, 5)), expected)
    np.testing.assert_array_equal(seen.any(axis=(2, 5)), expected)


@pytest.mark.parametrize("mask_type", ["A", "B"])
def test_channels_see_those_before_them_in_their_pixel(mask_type):
    conv = random_conv(6, 3, 3, mask_type=mask_type, channel_groups=3)
    seen = seen_by(conv, 3)
    # At (1, 1): [filters, channels]. R sees nothing of its pixel (type A), G sees R, B both.
    own = {
        "A": [[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0]],
        "B": [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]],
    }
    for r, c in np.ndindex(*SHAPE):
        np.testing.assert_array_equal(seen[r, c, :, r, c], own[mask_type])
    assert seen[1, 1, :, 0, :3].all() and seen[1, 1, :, 1, 0].all()
    assert not seen[1, 1, :, 1, 2:].any() and not seen[1, 1, :, 2:].any()


def test_padding_valid_is_the_inside_of_padding_same():
    same = random_conv(2, 3, 2, mask_type="A")
    valid = random_conv(2, 3, 2, mask_type="A", padding="valid")
    x = normal([2, *SHAPE, 2])
    y = valid(x)
    assert y.shape == (2, 2, 3, 2)
    np.testing.assert_allclose(y, same(x)[:, 1:-1, 1:-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channel_groups", [1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_behind_the_mask_has_no_effect(value, channel_groups):
    conv = random_conv(2, 3, 2, mask_type="A", channel_groups=channel_groups)
    x = normal([1, *SHAPE, 2])
    expected = conv(x)
    kernel = conv.kernel.value
    kernel.assign(np.where(conv.mask(), kernel.numpy(), value))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = conv(x)
        loss = tf.reduce_sum(y**2)
    np.testing.assert_array_equal(y, expected)
    by_x, by_kernel = tape.gradient(loss, [x, kernel])
    assert np.all(np.isfinite(by_x))
    assert not by_kernel.numpy()[~conv.mask()].any() and np.all(by_kernel[0] != 0)


def test_without_bias_and_activation_as_in_keras():
    conv = random_conv(2, 3, 2, use_bias=False, activation="relu")
    assert [v.name for v in conv.variables] == ["kernel"]
    x = normal([*SHAPE, 2])
    expected = np.maximum(formula(conv, x.numpy(), (3, 3)), 0)
    np.testing.assert_allclose(conv(x[tf.newaxis])[0], expected, rtol=1e-5, atol=1e-5)


def test_initializers_and_regularizer_are_used():
    conv = MaskedConv2D(
        1,
        3,
        "A",
        kernel_initializer=keras.initializers.Constant(2.0),
        bias_initializer="ones",
        kernel_regularizer=keras.regularizers.L2(0.5),
    )
    y = conv(tf.ones([1, 2, 3, 1]))
    np.testing.assert_allclose(y[0, :, :, 0], [[1, 3, 3], [5, 9, 7]])
    np.testing.assert_allclose(conv.losses, [0.5 * 9 * 4.0])


def test_channels_first_counts_the_right_axis():
    conv = MaskedConv2D(6, 3, "A", channel_groups=3, data_format="channels_first")
    conv.build((None, 3, *SHAPE))  # TensorFlow computes that layout on GPUs only
    assert conv.mask().shape == (3, 3, 3, 6)


def test_the_mask_leaves_about_half_of_the_weights():
    # As the docstring of BlindSpotFreeConv2D counts them: (k^2 + 1) / 2 of each F^2, type B.
    for k in (1, 3, 5):
        assert masks.causal_mask((k, k), "B", 4, 4).sum() == (k**2 + 1) // 2 * 16
