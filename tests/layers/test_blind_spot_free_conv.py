import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import jacobian, normal, randomize
from tests.layers.reference import convolution_at, groups_before, seen_at
from tfp_ar.layers import BlindSpotFreeConv2D

SHAPE = (4, 5)
# mask_type, kernel_size, dilation_rate, channel_groups
GEOMETRIES = [
    ("A", (3, 3), 1, 1),
    ("A", (5, 3), 1, 3),
    ("A", (3, 5), 1, 1),
    ("B", (3, 3), 1, 1),
    ("B", (3, 5), 1, 3),
    ("B", (3, 3), 2, 1),
    ("B", (1, 1), 1, 3),
]


def random_conv(filters, kernel_size, channels=3, **kwargs):
    """A convolution with raw random weights, those behind the mask too."""
    conv = BlindSpotFreeConv2D(filters, kernel_size, **kwargs)
    conv.build((None, *SHAPE, channels), (None, *SHAPE, channels))
    return randomize(conv, 1.0)


def offsets(kernel_size, mask_type, dilation, groups):
    """Rows and columns of w_v, and columns of w_h, in pixels."""
    sides = [k // 2 for k in kernel_size]
    last_row = 0 if mask_type == "B" else -1
    last_column = 0 if mask_type == "B" or groups > 1 else -1
    rows = [dilation * r for r in range(-sides[0], last_row + 1)]
    across = [dilation * c for c in range(-sides[1], sides[1] + 1)]
    return rows, across, [dilation * c for c in range(-sides[1], last_column + 1)]


def formula(conv, v, h):
    """(v', h') for v and h [H, W, channels], tap by tap."""
    groups = conv.channel_groups
    rows, across, before = offsets(conv.kernel_size, conv.mask_type, conv.dilation_rate, groups)
    w_v, w_h = conv.vertical_kernel.numpy(), conv.horizontal_kernel.numpy()
    assert w_v.shape[:2] == (len(rows), len(across)) and w_h.shape[:2] == (1, len(before))
    if groups > 1:
        w_h[0, -1] *= groups_before(*w_h.shape[2:], groups, conv.mask_type == "B")
    bias_v, bias_h = (
        (conv.vertical_bias.numpy(), conv.horizontal_bias.numpy()) if conv.use_bias else (0.0, 0.0)
    )
    v = convolution_at(v, w_v, rows, across, bias_v)
    return v, convolution_at(h, w_h, [0], before, bias_h) + v @ conv.link_kernel.numpy()


@pytest.mark.parametrize("mask_type, kernel_size, dilation_rate, channel_groups", GEOMETRIES)
@pytest.mark.parametrize("use_bias", [True, False])
def test_equals_the_formula(mask_type, kernel_size, dilation_rate, channel_groups, use_bias):
    conv = random_conv(
        6,
        kernel_size,
        mask_type=mask_type,
        dilation_rate=dilation_rate,
        channel_groups=channel_groups,
        use_bias=use_bias,
        dtype="float64",
    )
    assert len(conv.variables) == (5 if use_bias else 3)
    v, h = normal([2, *SHAPE, 3], "float64", 1), normal([2, *SHAPE, 3], "float64", 2)
    outputs = conv(v, h)
    for row in range(2):
        expected = formula(conv, v[row].numpy(), h[row].numpy())
        for y, wanted in zip(outputs, expected, strict=True):
            assert y.shape == (2, *SHAPE, 6)
            np.testing.assert_allclose(y[row], wanted, rtol=1e-12, atol=1e-12)


def test_channels_of_v_and_h_may_differ():
    conv = BlindSpotFreeConv2D(4, 3, dtype="float64")
    v, h = normal([1, *SHAPE, 2], "float64", 1), normal([1, *SHAPE, 3], "float64", 2)
    conv(v, h)
    randomize(conv)
    for y, wanted in zip(conv(v, h), formula(conv, v[0].numpy(), h[0].numpy()), strict=True):
        np.testing.assert_allclose(y[0], wanted, rtol=1e-12, atol=1e-12)


def seen_by(function, channels=3):
    """Dependence of an output [H, W, F] on an input [H, W, channels]."""
    matrix = jacobian(function, normal([*SHAPE, channels]))
    return matrix.reshape(*SHAPE, -1, *SHAPE, channels) != 0


@pytest.mark.parametrize("mask_type, kernel_size, dilation_rate, channel_groups", GEOMETRIES)
def test_sees_exactly_its_taps(mask_type, kernel_size, dilation_rate, channel_groups):
    conv = random_conv(
        3,
        kernel_size,
        mask_type=mask_type,
        dilation_rate=dilation_rate,
        channel_groups=channel_groups,
    )
    rows, across, before = offsets(kernel_size, mask_type, dilation_rate, channel_groups)
    other = normal([1, *SHAPE, 3], seed=9)
    above = seen_at(SHAPE, rows, across)[:, :, np.newaxis, :, :, np.newaxis]
    above = np.broadcast_to(above, (*SHAPE, 3, *SHAPE, 3))
    np.testing.assert_array_equal(seen_by(lambda v: conv(v, tf.repeat(other, len(v), 0))[0]), above)
    np.testing.assert_array_equal(seen_by(lambda v: conv(v, tf.repeat(other, len(v), 0))[1]), above)
    assert not seen_by(lambda h: conv(tf.repeat(other, len(h), 0), h)[0]).any()
    left = np.array(seen_at(SHAPE, [0], before)[:, :, np.newaxis, :, :, np.newaxis])
    left = np.broadcast_to(left, (*SHAPE, 3, *SHAPE, 3)).copy()
    if channel_groups > 1:
        for r, c in np.ndindex(*SHAPE):
            left[r, c, :, r, c] = groups_before(3, 3, 3, mask_type == "B").T
    np.testing.assert_array_equal(seen_by(lambda h: conv(tf.repeat(other, len(h), 0), h)[1]), left)


@pytest.mark.parametrize("channel_groups", [1, 3])
def test_a_stack_sees_all_pixels_before_and_nothing_else(channel_groups):
    """Theorem 3.5 and Proposition 3.6 of docs/theory.md."""
    convs = [
        random_conv(3, 3, mask_type="B" if i else "A", channel_groups=channel_groups)
        for i in range(5)
    ]

    def stack(x):
        v = h = x
        for conv in convs:
            v, h = conv(v, h)
        return v, h

    rank = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    row = np.arange(SHAPE[0])[:, np.newaxis, np.newaxis, np.newaxis]
    rows_before = np.broadcast_to(
        np.arange(SHAPE[0])[:, np.newaxis] < row, (SHAPE[0], SHAPE[1], *SHAPE)
    )
    v, h = seen_by(lambda x: stack(x)[0]), seen_by(lambda x: stack(x)[1])
    np.testing.assert_array_equal(v.any(axis=(2, 5)), rows_before)
    pixels_before = rank < rank[:, :, np.newaxis, np.newaxis]
    for out, channel in np.ndindex(3, 3):
        expected = pixels_before.copy()
        if channel_groups > 1 and channel < out:
            expected |= rank == rank[:, :, np.newaxis, np.newaxis]
        np.testing.assert_array_equal(h[:, :, out, :, :, channel], expected)


@pytest.mark.parametrize("mask_type", ["A", "B"])
def test_what_is_behind_the_mask_has_no_effect(mask_type):
    conv = random_conv(3, 3, mask_type=mask_type, channel_groups=3)
    x = normal([1, *SHAPE, 3])
    expected = conv(x, x)
    kernel = conv.horizontal_kernel.value
    values = kernel.numpy()
    values[0, -1][~groups_before(3, 3, 3, mask_type == "B")] = np.nan
    kernel.assign(values)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = conv(x, x)
        loss = sum(tf.reduce_sum(y) for y in outputs)
    for y, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(y, wanted)
    assert all(np.all(np.isfinite(g)) for g in tape.gradient(loss, [x, kernel]))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_numbers_of_weights_as_documented(k):
    filters = 4
    conv = BlindSpotFreeConv2D(filters, k, use_bias=False)
    conv.build((None, *SHAPE, filters), (None, *SHAPE, filters))
    squares = {v.name: np.prod(v.shape) // filters**2 for v in conv.variables}
    assert squares == {
        "vertical_kernel": (k + 1) // 2 * k,
        "horizontal_kernel": (k + 1) // 2,
        "link_kernel": 1,
    }
    assert k != 3 or sum(squares.values()) == 9


def test_initializers_and_regularizer_are_used():
    conv = BlindSpotFreeConv2D(
        2,
        3,
        kernel_initializer=keras.initializers.RandomNormal(seed=1),
        bias_initializer="ones",
        kernel_regularizer=keras.regularizers.L1(0.5),
    )
    conv.build((None, *SHAPE, 2), (None, *SHAPE, 2))
    kernels = [conv.vertical_kernel, conv.horizontal_kernel, conv.link_kernel]
    np.testing.assert_allclose(conv.losses, [0.5 * np.abs(k).sum() for k in kernels], rtol=1e-6)
    np.testing.assert_array_equal(conv.vertical_bias, [1, 1])
    np.testing.assert_array_equal(conv.horizontal_bias, [1, 1])


INITIALIZERS = {
    "unseeded": lambda: "glorot_uniform",
    "seeded": lambda: keras.initializers.RandomNormal(seed=1),
    "negative_seed": lambda: keras.initializers.GlorotUniform(seed=-1),
    "generator": lambda: keras.initializers.RandomNormal(seed=keras.random.SeedGenerator(1)),
}


@pytest.mark.parametrize("initializer", INITIALIZERS.values(), ids=INITIALIZERS.keys())
def test_kernels_start_unequal(initializer):
    # Kernels of equal sizes; an initializer that is used twice repeats itself.
    conv = BlindSpotFreeConv2D(
        4, 1, kernel_initializer=initializer(), bias_initializer=initializer()
    )
    conv.build((None, *SHAPE, 4), (None, *SHAPE, 4))
    kernels = [conv.vertical_kernel, conv.horizontal_kernel, conv.link_kernel]
    for a, b in itertools.combinations(map(np.ravel, kernels), 2):
        assert np.mean(a != b) > 0.9
    assert np.all(conv.vertical_bias.numpy() != conv.horizontal_bias.numpy())


@pytest.mark.parametrize("kind", ["seeded", "negative_seed"])
def test_seeded_weights_are_those_of_the_config(kind):
    def kernels(conv):
        conv.build((None, *SHAPE, 4), (None, *SHAPE, 4))
        return [v.numpy() for v in conv.variables]

    conv = BlindSpotFreeConv2D(4, 3, kernel_initializer=INITIALIZERS[kind]())
    config = conv.get_config()
    weights = kernels(conv)
    for a, b in zip(weights, kernels(BlindSpotFreeConv2D.from_config(config)), strict=True):
        np.testing.assert_array_equal(a, b)
    # The first kernel is the initializer's own.
    np.testing.assert_array_equal(weights[0], INITIALIZERS[kind]()(weights[0].shape))
