"""The classical PixelCNN as an autoregressive network."""

import keras

from tfp_ar.layers import MaskedPixelBlock
from tfp_ar.networks.generation.pixel_cnn import PixelCNNSteps
from tfp_ar.networks.pixel_network import PixelNetwork


@keras.saving.register_keras_serializable(package="tfp_ar")
class PixelCNN(PixelNetwork):
    """Classical PixelCNN: a stack of masked convolutions over an image, with their blind spot.

        h = masked_conv(x), type A                                     (sees earlier pixels)
        for each further layer:  h = h + masked_conv(relu(h)), type B
        params[r, c, ch] = channel_head(relu(h)[r, c], x[r, c, 0..ch-1])

    The parameters at a pixel depend on a sawtooth-shaped part of the pixels before it: pixels above
    and to the right, beyond a diagonal, are not seen however many layers there are. This is the
    model of the paper; `GatedPixelCNN` sees all earlier pixels within reach, for about 2.5 times
    the weights and the time. `tfp_ar.receptive_field` shows the region of either. The weights of
    the last layer start at zero, so all parameters start at zero.

    `generate` is cached: the contribution of the rows above to all layers is computed row by row,
    the rest pixel by pixel, and the channels within the pixel one by one. All steps together do the
    arithmetic of one parallel pass.

    Args:
      event_shape: [H, W, C].
      num_params: parameters per variable. Default 2.
      filters: channels of h. Default 32.
      num_layers: number of masked convolutions, the one of type A included. Default 7.
      kernel_size: side of each kernel, odd and at least 3. Default 3.
      conditional_shape: None, [k] (global: one vector per image, such as a class), [H, W, k]
        (local: a map) or {'global': [k], 'local': [H, W, k]}. Default None.
      dilations: distance between taps, per layer; the first is 1. Default: all 1.
      head_channels: hidden units of the head. Default: `filters`.
      dropout: fraction of each layer's input that is dropped in training. Default 0.
      seed: seed of the dropout, an int. Default None.
      **kwargs: `name`, `dtype`, `trainable`.

    Raises:
      TypeError, ValueError: if a size or shape is not positive or has the wrong type.

    References:
      A. van den Oord et al., Pixel recurrent neural networks, arXiv:1601.06759, 2016.

    >>> network = PixelCNN(event_shape=[8, 8, 1], num_params=17, filters=16, num_layers=3)
    >>> network(keras.ops.ones([5, 8, 8, 1])).shape
    TensorShape([5, 8, 8, 1, 17])
    """

    _make_steps = PixelCNNSteps

    def _make_block(self, index, **settings):
        return MaskedPixelBlock(self.filters, **settings)

    def _build_blocks(self, image, conditions):
        for i, block in enumerate(self.blocks):
            block.build((*image[:-1], self.filters) if i else image, **conditions)
        return self.filters

    def _features(self, x, **kwargs):
        h = x
        for block in self.blocks:
            h = block(h, **kwargs)
        return h
