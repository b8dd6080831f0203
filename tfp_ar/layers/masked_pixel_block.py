"""The block that a classical PixelCNN repeats."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfp_ar.internal import checks
from tfp_ar.layers.conditioned_block import ConditionedBlock
from tfp_ar.layers.masked_conv import MaskedConv2D


@keras.saving.register_keras_serializable(package="tfp_ar")
class MaskedPixelBlock(ConditionedBlock):
    """Masked convolution with conditioning and a residual connection.

        type A:  h' = masked_conv(x) + c_global @ V + c_local @ W
        type B:  h' = h + masked_conv(dropout(relu(h))) + c_global @ V + c_local @ W

    Args:
      filters: channels of h'.
      kernel_size: an odd integer, or a pair of them. Default 3.
      mask_type: 'A' in the first block, 'B' after it. Default 'B'.
      dilation_rate: distance between taps, an integer. Default 1.
      dropout: fraction of relu(h) that is dropped in training, in [0, 1). Default 0.
      seed: seed of the dropout, an int. Default None.
      **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
      h: [B, H, W, channels]; type B needs `filters` channels.
      global_condition: [B, k] or None; one vector per image.
      local_condition: [B, H, W, k] or None; one vector per pixel.
      training: whether to apply dropout.

    Returns: h' [B, H, W, filters].

    Raises:
      TypeError, ValueError: as for MaskedConv2D; also if `dropout` is not in [0, 1), `seed` is not
        an integer, or a call has other conditioning than the block was built for.

    References:
      A. van den Oord et al., Pixel recurrent neural networks, arXiv:1601.06759, 2016, section 3.5.

    >>> block = MaskedPixelBlock(filters=4, mask_type="A")
    >>> block(keras.ops.ones([1, 8, 8, 1])).shape
    TensorShape([1, 8, 8, 4])
    """

    num_position_dims = 2

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int] = 3,
        mask_type: str = "B",
        dilation_rate: int = 1,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.conv = MaskedConv2D(
            filters,
            kernel_size,
            mask_type,
            dilation_rate=checks.positive_int("dilation_rate", dilation_rate),
            data_format="channels_last",  # as promised, whatever Keras' default is
            dtype=self.dtype_policy,
            name="conv",
        )
        self._set_dropout(dropout, seed)

    def build(
        self,
        h_shape: Sequence,
        global_condition_shape: Sequence | None = None,
        local_condition_shape: Sequence | None = None,
    ) -> None:
        """Makes the weights; projections only for the conditioning that there is."""
        filters, channels = self.conv.filters, h_shape[-1]
        if self.conv.mask_type == "B" and channels != filters:
            raise ValueError(
                f"h: expected {filters} channels, as the block adds to it, got {channels}."
            )
        self.conv.build(h_shape)
        self._build_projections(filters, global_condition_shape, local_condition_shape)
        self.built = True

    def call(
        self,
        h: Any,
        global_condition: Any = None,
        local_condition: Any = None,
        training: bool | None = None,
    ) -> Any:
        """Returns h'."""
        seen = h
        if self.conv.mask_type == "B":
            seen = ops.relu(h)
            if self.dropout is not None:
                seen = self.dropout(seen, training=training)
        z = self._conditioned(self.conv(seen), global_condition, local_condition)
        return z if self.conv.mask_type == "A" else h + z

    def compute_output_shape(
        self,
        h_shape: Sequence,
        global_condition_shape: Sequence | None = None,
        local_condition_shape: Sequence | None = None,
    ) -> tuple:
        """Returns the shape of h'."""
        return (*h_shape[:-1], self.conv.filters)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.conv.filters,
            "kernel_size": self.conv.kernel_size,
            "mask_type": self.conv.mask_type,
            "dilation_rate": self.conv.dilation_rate[0],
        }
