"""The layers are over [B, H, W, C], whatever Keras' default for images is."""

import keras
import numpy as np
import pytest

from tests import helpers
from tfp_ar.layers import GatedPixelBlock, MaskedPixelBlock

V = helpers.normal([1, 4, 4, 4], seed=1)
BLOCKS = {
    "masked": (MaskedPixelBlock, [4], lambda block, h: [block(h)]),
    "gated": (GatedPixelBlock, [4, 4], lambda block, h: block(V, h)[1:]),
}


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_do_not_follow_the_default(channels_first, name):
    make, sizes, call = BLOCKS[name]
    block, h = make(*sizes), helpers.normal([1, 4, 4, 4])
    call(block, h)
    helpers.randomize(block)
    changed = np.array(h)
    changed[0, 3, 3] += 1.0  # the last pixel: no other may hear of it
    for before, after in zip(call(block, h), call(block, changed), strict=True):
        moved = np.any(np.asarray(before != after), axis=(0, 3))
        assert moved[3, 3] and moved.sum() == 1
