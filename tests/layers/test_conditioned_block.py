"""What the blocks of networks share: checks of the seed and of the conditioning."""

import numpy as np
import pytest

from tests.helpers import normal
from tfp_ar.layers import GatedPixelBlock, GatedResidualBlock, MaskedPixelBlock

H, IMAGE = normal([2, 3, 4]), normal([2, 3, 3, 4])
GLOBAL = normal([2, 5])
# A new block, its first arguments, and a local condition.
BLOCKS = {
    "residual": (lambda **kwargs: GatedResidualBlock(4, 2, **kwargs), [H], normal([2, 3, 6])),
    "masked": (lambda **kwargs: MaskedPixelBlock(4, **kwargs), [IMAGE], normal([2, 3, 3, 6])),
    "gated": (
        lambda **kwargs: GatedPixelBlock(4, 2, **kwargs),
        [IMAGE, IMAGE],
        normal([2, 3, 3, 6]),
    ),
}
each_block = pytest.mark.parametrize("make, inputs, local", BLOCKS.values(), ids=BLOCKS)


@each_block
def test_conditioning_that_the_block_was_not_built_for(make, inputs, local):
    block = make()
    block(*inputs)
    with pytest.raises(ValueError, match=r"global_condition: expected None, .*shape \[2, 5\]"):
        block(*inputs, global_condition=GLOBAL)
    with pytest.raises(ValueError, match="local_condition: expected None, as the block was built"):
        block(*inputs, local_condition=local)


@each_block
def test_conditioning_that_is_left_out(make, inputs, local):
    block = make()
    block(*inputs, global_condition=GLOBAL, local_condition=local)
    with pytest.raises(ValueError, match=r"global_condition: expected a tensor \[\.\.\., 5\], .*N"):
        block(*inputs, local_condition=local)
    with pytest.raises(ValueError, match=r"local_condition: expected a tensor \[\.\.\., 6\], .*N"):
        block(*inputs, global_condition=GLOBAL)


@each_block
@pytest.mark.parametrize("seed", [1.5, "a", True])
def test_a_seed_that_is_no_integer(make, inputs, local, seed):
    with pytest.raises(TypeError, match=f"^seed: expected an integer or None, got {seed!r}"):
        make(seed=seed)


@each_block
def test_a_seed_of_numpy(make, inputs, local):
    block = make(seed=np.int64(3), dropout=0.5)
    block(*inputs, training=True)
    assert block.get_config()["seed"] == 3 and type(block.seed) is int
