"""The block that a classical PixelCNN repeats."""

import keras
from keras import ops

from tfp_ar.internal import checks
from tfp_ar.layers.conditioned_block import ConditionedBlock
from tfp_ar.layers.masked_conv import MaskedConv2D


@keras.saving.register_keras_serializable(package="tfp_ar")
class MaskedPixelBlock(ConditionedBlock):
    """One masked convolution, conditioning, residual.

        type A:  h' = masked_conv(x) + c_global @ V + c_local @ W
        type B:  h' = h + masked_conv(dropout(relu(h))) + c_global @ V + c_local @ W

    Args:
      filters: channels of h'.
      kernel_size: an odd integer, or a pair of them. Default 3.
      mask_type: 'A' in the first block, 'B' after it. Default 'B'.
      dilation_rate: distance of the taps, an integer. Default 1.
      dropout: fraction of relu(h) that is dropped in training, in [0, 1). Default 0.
      seed: seed of the dropout, an int. Default None.
      **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
      h: [B, H, W, channels]; type B needs `filters` channels.
      global_condition: [B, k] or None; one vector an image.
      local_condition: [B, H, W, k] or None; one vector a pixel.
      training: whether to apply dropout.

    Returns: h' [B, H, W, filters].

    Raises:
      TypeError, ValueError: as MaskedConv2D; or for dropout outside [0, 1), a seed that is no int,
        or a call with other conditioning than the block was built for.

    References:
      A. van den Oord et al., Pixel recurrent neural networks, arXiv:1601.06759, 2016, section 3.5.

    >>> block = MaskedPixelBlock(filters=4, mask_type="A")
    >>> block(keras.ops.ones([1, 8, 8, 1])).shape
    TensorShape([1, 8, 8, 4])
    """

    num_position_dims = 2

    def __init__(
        self,
        filters,
        kernel_size=3,
        mask_type="B",
        dilation_rate=1,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.conv = MaskedConv2D(
            filters,
            kernel_size,
            mask_type,
            dilation_rate=checks.positive_int("dilation_rate", dilation_rate),
            data_format="channels_last",  # whatever Keras' default is: [B, H, W, C] is promised
            dtype=self.dtype_policy,
            name="conv",
        )
        self._set_dropout(dropout, seed)

    def build(self, h_shape, global_condition_shape=None, local_condition_shape=None):
        """Makes the weights; the projections of conditioning only where there is some."""
        filters, channels = self.conv.filters, h_shape[-1]
        if self.conv.mask_type == "B" and channels != filters:
            raise ValueError(f"h: expected {filters} channels, to add to, got {channels}.")
        self.conv.build(h_shape)
        self._build_projections(filters, global_condition_shape, local_condition_shape)
        self.built = True

    def call(self, h, global_condition=None, local_condition=None, training=None):
        """Returns h'."""
        seen = h
        if self.conv.mask_type == "B":
            seen = ops.relu(h)
            if self.dropout is not None:
                seen = self.dropout(seen, training=training)
        z = self._conditioned(self.conv(seen), global_condition, local_condition)
        return z if self.conv.mask_type == "A" else h + z

    def compute_output_shape(
        self, h_shape, global_condition_shape=None, local_condition_shape=None
    ):
        """Shape of h'."""
        return (*h_shape[:-1], self.conv.filters)

    def get_config(self):
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.conv.filters,
            "kernel_size": self.conv.kernel_size,
            "mask_type": self.conv.mask_type,
            "dilation_rate": self.conv.dilation_rate[0],
        }
