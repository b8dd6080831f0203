"""The gated PixelCNN, without a blind spot, as an autoregressive network."""

from typing import Any

import keras

from tfp_ar.layers import GatedPixelBlock
from tfp_ar.networks.generation.blocks import block_passes
from tfp_ar.networks.generation.gated_pixel_cnn import GatedPixelCNNBlocks, GatedPixelCNNSteps
from tfp_ar.networks.generation.steps import BlockPasses
from tfp_ar.networks.pixel_network import PixelNetwork


@keras.saving.register_keras_serializable(package="tfp_ar")
class GatedPixelCNN(PixelNetwork):
    """Gated PixelCNN: a vertical and a horizontal stack that see all earlier pixels within reach.

        v, h = x, x
        for each layer:  v, h, skip = gated_pixel_block(v, h)          (the first is of type A)
        params[r, c, ch] = channel_head(relu(sum of skips)[r, c], x[r, c, 0..ch-1])

    The parameters at a pixel depend on the pixels before it in raster order that are within reach
    (`tfp_ar.receptive_field` shows them): v sees the rows above, on both sides; h sees v and the
    pixels to the left. The reach, in rows and in columns, is the sum of the dilations times
    (kernel_size - 1) / 2: 7 by default, and 12 with dilations 1, 2, 1, 4, 1, 2, 1, which leave no
    holes. If it is at least H - 1 and W - 1, the whole past is seen (docs/theory.md has the proof,
    and says which dilations leave holes). The weights of the last layer start at zero, so all
    parameters start at zero.

    `generate` is cached: the vertical stack advances row by row, the horizontal stack pixel by
    pixel, and the head channel by channel. All steps together do the arithmetic of one parallel
    pass.

    Args:
      event_shape: [H, W, C].
      num_params: parameters per variable. Default 2.
      filters: channels of v, of h and of the skip connections. Default 32.
      num_layers: number of blocks, the one of type A included. Default 7.
      kernel_size: side of the kernels, odd and at least 3. Default 3.
      conditional_shape: None, [k] (global: one vector per image, such as a class), [H, W, k]
        (local: a map) or {'global': [k], 'local': [H, W, k]}; both kinds enter every gate.
        Default None.
      dilations: distance between taps, per layer; the first is 1. Default: all 1.
      head_channels: hidden units of the head. Default: `filters`.
      dropout: fraction of each horizontal gate's output that is dropped in training. Default 0.
      seed: seed of the dropout, an int. Default None.
      **kwargs: `name`, `dtype`, `trainable`.

    Raises:
      TypeError, ValueError: if a size or shape is not positive or has the wrong type.

    References:
      A. van den Oord et al., Conditional image generation with PixelCNN decoders, arXiv:1606.05328,
        2016.
      P. Ramachandran et al., Fast generation for convolutional autoregressive models,
        arXiv:1704.06001, 2017 (the caches).

    >>> network = GatedPixelCNN(event_shape=[8, 8, 1], filters=8, num_layers=3)
    >>> network(keras.ops.ones([5, 8, 8, 1])).shape
    TensorShape([5, 8, 8, 1, 2])
    """

    _make_steps = GatedPixelCNNSteps

    def _make_block(self, index, **settings):
        residual = index < self.num_layers - 1  # the last block's maps are not read: no gradient
        return GatedPixelBlock(self.filters, self.filters, residual=residual, **settings)

    def _build_blocks(self, image, conditions):
        for i, block in enumerate(self.blocks):
            shape = (*image[:-1], self.filters) if i else image
            block.build(shape, shape, **conditions)
        return self.filters

    def _features(self, x, **kwargs):
        v, h, skips = x, x, 0.0
        for block in self.blocks:
            v, h, skip = block(v, h, **kwargs)
            skips = skips + skip
        return skips

    def block_passes(
        self, block_size: int | None, batch_size: Any, conditional_input: Any = None
    ) -> BlockPasses:
        """Returns passes over `block_size` rows; see `AutoregressiveNetwork.block_passes`.

        Cost: that of `block_size` rows, per pass.
        """
        return block_passes(GatedPixelCNNBlocks, self, block_size, batch_size, conditional_input)
