import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import jacobian, normal, randomize
from tests.layers.reference import grouped_gate, groups_before
from tfp_ar.layers import GatedPixelBlock
from tfp_ar.layers.gated_residual_block import gated_activation

SHAPE, FILTERS, SKIP = (3, 4), 6, 3
KINDS = [(False, False), (True, False), (True, True)]  # with global, with local conditioning


def conditions(use_global, use_local, batch=2, dtype="float32"):
    """Keyword arguments of the block's call."""
    return {
        **({"global_condition": normal([batch, 5], dtype, 1)} if use_global else {}),
        **({"local_condition": normal([batch, *SHAPE, 2], dtype, 2)} if use_local else {}),
    }


def random_block(v, h, condition=None, **kwargs):
    """A block with random weights, built for v, h and the conditions."""
    block = GatedPixelBlock(FILTERS, SKIP, **kwargs)
    block(v, h, **(condition or {}))
    return randomize(block, 0.5)


def projected(layer, g, groups):
    """A 1x1 convolution in which a group sees itself and those before it."""
    kernel = layer.kernel.numpy()[0, 0]
    return g @ (kernel * groups_before(*kernel.shape, groups, itself=True))


def formula(block, v, h, global_condition=None, local_condition=None):
    """(v', h', skip); the convolution has tests of its own."""
    groups, outputs = block.channel_groups, {}
    for stack, z in zip(("vertical", "horizontal"), block.conv(v, h), strict=True):
        if stack == "vertical" and not block.residual:
            continue
        z = z.numpy()
        if global_condition is not None:
            kernel = getattr(block, f"{stack}_global_projection").kernel.numpy()
            z = z + (global_condition.numpy() @ kernel)[:, np.newaxis, np.newaxis]
        if local_condition is not None:
            kernel = getattr(block, f"{stack}_local_projection").kernel.numpy()
            z = z + local_condition.numpy() @ kernel
        outputs[stack] = grouped_gate(z, groups)
    g = outputs["horizontal"]
    skip = projected(block.skip_projection, g, groups)
    if not block.residual:
        return v, h, skip
    update = projected(block.residual_projection, g, groups)
    return outputs["vertical"], update if block.mask_type == "A" else h + update, skip


@pytest.mark.parametrize("use_global, use_local", KINDS)
@pytest.mark.parametrize(
    "mask_type, channel_groups, residual",
    [("A", 1, True), ("B", 1, True), ("A", 3, True), ("B", 3, True), ("B", 1, False)],
)
def test_equals_the_formula(use_global, use_local, mask_type, channel_groups, residual):
    v, h = normal([2, *SHAPE, FILTERS], "float64", 1), normal([2, *SHAPE, FILTERS], "float64", 2)
    given = conditions(use_global, use_local, dtype="float64")
    block = random_block(
        v,
        h,
        given,
        mask_type=mask_type,
        channel_groups=channel_groups,
        dilation_rate=2 if mask_type == "B" else 1,
        residual=residual,
        dropout=0.5,
        dtype="float64",
    )
    outputs = block(v, h, **given)
    for y, wanted in zip(outputs, formula(block, v, h, **given), strict=True):
        np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)


def test_halves_of_the_gate_are_paired_within_groups():
    z = normal([2, 3, 12], "float64").numpy()
    a, b = z[..., [0, 1, 4, 5, 8, 9]], z[..., [2, 3, 6, 7, 10, 11]]
    expected = np.tanh(a) / (1 + np.exp(-b))
    np.testing.assert_allclose(gated_activation(tf.constant(z), 3), expected, rtol=1e-12)
    np.testing.assert_allclose(grouped_gate(z, 3), expected, rtol=1e-12)
    one = np.tanh(z[..., :6]) / (1 + np.exp(-z[..., 6:]))
    np.testing.assert_allclose(gated_activation(tf.constant(z)), one, rtol=1e-12)


def test_without_residual_there_are_no_weights_for_it():
    h, given = normal([2, *SHAPE, FILTERS]), conditions(True, True)
    block = random_block(h, h, given, residual=False)
    v, new_h, skip = block(h, h, **given)
    np.testing.assert_array_equal(v, h)
    np.testing.assert_array_equal(new_h, h)
    assert skip.shape == (2, *SHAPE, SKIP)
    # The residual kernel and the projections of v's conditioning.
    assert len(random_block(h, h, given).variables) == len(block.variables) + 3


@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize("channel_groups", [1, 3])
def test_sees_exactly_the_pixels_before(mask_type, channel_groups):
    # Of an image as v and as h, with a kernel that spans it: v' the rows above (with type B this
    # one too, as v is one row late already), h' and skip what is before, and that by v.
    size = SHAPE[0] * SHAPE[1]
    x = normal([*SHAPE, FILTERS])
    block = random_block(
        x[tf.newaxis],
        x[tf.newaxis],
        kernel_size=(5, 7),
        mask_type=mask_type,
        channel_groups=channel_groups,
    )
    zero = tf.zeros([1, *SHAPE, FILTERS])

    def seen(output, of_v):
        def function(x):
            zeros = tf.repeat(zero, len(x), 0)
            return block(x, zeros)[output] if of_v else block(zeros, x)[output]

        return jacobian(function, x).reshape(size, -1, size, FILTERS) != 0

    rank = np.arange(size)
    row = rank // SHAPE[1]
    above = row <= row[:, np.newaxis] if mask_type == "B" else row < row[:, np.newaxis]
    for output in range(3):
        by_v = seen(output, of_v=True)
        np.testing.assert_array_equal(by_v.any(axis=(1, 3)), above)
    assert not seen(0, of_v=False).any()
    for output, channels in ((1, FILTERS), (2, SKIP)):
        by_h = seen(output, of_v=False)
        own = by_h[rank, :, rank, :].any(axis=0)
        allowed = groups_before(FILTERS, channels, channel_groups, mask_type == "B").T
        np.testing.assert_array_equal(own, allowed)
        pixels = by_h.any(axis=(1, 3))
        left = (row == row[:, np.newaxis]) & (rank < rank[:, np.newaxis])
        np.fill_diagonal(left, bool(allowed.any()))
        np.testing.assert_array_equal(pixels, left)


def dropping_block(rate, seed=7):
    """A block whose ways out are the gate itself."""
    block = GatedPixelBlock(FILTERS, FILTERS, dropout=rate, seed=seed)
    block.build(*[(None, None, None, FILTERS)] * 2)
    randomize(block)
    for layer in (block.skip_projection, block.residual_projection):
        layer.kernel.assign(np.eye(FILTERS)[np.newaxis, np.newaxis])
    return block


def test_dropout_in_training_drops_the_horizontal_gate_once_for_both_ways_out():
    rate, h = 0.3, normal([20, 20, 10, FILTERS])
    block = dropping_block(rate)
    v, _, g = block(h, h, training=False)
    new_v, new_h, dropped = block(h, h, training=True)
    np.testing.assert_array_equal(new_v, v)
    kept = dropped.numpy() != 0
    np.testing.assert_allclose(dropped.numpy()[kept], g.numpy()[kept] / (1 - rate), rtol=1e-5)
    # 24,000 independent entries: five standard deviations of the fraction dropped.
    assert abs((1 - kept.mean()) - rate) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
    np.testing.assert_allclose(new_h - h, dropped, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(block(h, h)[2], g)
