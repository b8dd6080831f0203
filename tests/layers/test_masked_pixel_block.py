import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import jacobian, normal, randomize
from tfp_ar.layers import MaskedPixelBlock

SHAPE, FILTERS = (3, 4), 4
KINDS = [(False, False), (True, False), (True, True)]  # with global, with local conditioning


def conditions(use_global, use_local, batch=2, dtype="float32"):
    """Keyword arguments of the block's call."""
    return {
        **({"global_condition": normal([batch, 5], dtype, 1)} if use_global else {}),
        **({"local_condition": normal([batch, *SHAPE, 2], dtype, 2)} if use_local else {}),
    }


def random_block(h, condition=None, **kwargs):
    """A block with random weights, built for h and the conditions."""
    block = MaskedPixelBlock(FILTERS, **kwargs)
    block(h, **(condition or {}))
    return randomize(block, 0.5)


def formula(block, h, global_condition=None, local_condition=None):
    """h' for h [B, H, W, channels]; the convolution has tests of its own."""
    first = block.conv.mask_type == "A"
    z = block.conv(h if first else np.maximum(h, 0)).numpy()
    if global_condition is not None:
        added = global_condition.numpy() @ block.global_projection.kernel.numpy()
        z = z + added[:, np.newaxis, np.newaxis]
    if local_condition is not None:
        z = z + local_condition.numpy() @ block.local_projection.kernel.numpy()
    return z if first else h + z


@pytest.mark.parametrize("use_global, use_local", KINDS)
@pytest.mark.parametrize("mask_type, channels", [("A", 3), ("A", FILTERS), ("B", FILTERS)])
def test_equals_the_formula(use_global, use_local, mask_type, channels):
    h = normal([2, *SHAPE, channels], "float64")
    given = conditions(use_global, use_local, dtype="float64")
    dilation = 2 if mask_type == "B" else 1
    block = random_block(
        h, given, mask_type=mask_type, dilation_rate=dilation, dropout=0.5, dtype="float64"
    )
    y = block(h, **given)
    assert y.shape == (2, *SHAPE, FILTERS)
    np.testing.assert_allclose(y, formula(block, h.numpy(), **given), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mask_type", ["A", "B"])
def test_type_a_does_not_leak_its_own_pixel_through_the_residual(mask_type):
    h = normal([*SHAPE, FILTERS])
    block = random_block(h[tf.newaxis], mask_type=mask_type, kernel_size=3)
    size = SHAPE[0] * SHAPE[1]
    matrix = jacobian(block, h).reshape(size, FILTERS, size, FILTERS)
    seen = matrix.any(axis=(1, 3))
    rank = np.arange(size)
    assert not seen[rank > rank[:, np.newaxis]].any()
    own = matrix[rank, :, rank, :]
    assert not own.any() if mask_type == "A" else own.any(axis=(1, 2)).all()
    # The neighbours: left, and the three above.
    assert seen[5, [0, 1, 2, 4]].all()


def test_dropout_drops_what_the_convolution_sees_not_the_residual():
    block = MaskedPixelBlock(FILTERS, dropout=0.4, seed=7)
    h = tf.abs(normal([40, 20, 20, FILTERS])) + 0.1
    block.build(h.shape)
    kernel = np.zeros(block.conv.kernel.shape)
    kernel[1, 1] = np.eye(FILTERS)
    block.conv.kernel.assign(kernel)
    dropped = (block(h, training=True) - h).numpy()
    kept = np.abs(dropped) > 1e-3
    np.testing.assert_allclose(dropped[kept], h.numpy()[kept] / 0.6, rtol=1e-4)
    # 64,000 independent entries: five standard deviations of the fraction dropped.
    assert abs(1 - kept.mean() - 0.4) < 5 * np.sqrt(0.4 * 0.6 / kept.size)
