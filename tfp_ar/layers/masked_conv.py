"""The masked convolution of a PixelCNN."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfp_ar.internal import checks
from tfp_ar.layers import masks


@keras.saving.register_keras_serializable(package="tfp_ar")
class MaskedConv2D(keras.layers.Conv2D):
    """Convolution over an image whose outputs depend on earlier pixels only, in raster order.

        y = conv(x, kernel * mask) + bias

    The mask, `masks.causal_mask`, is a constant that is applied inside the call, so no optimizer,
    weight average or assignment can undo it. A network has type A once, in its first layer, and
    type B after it. A stack of these layers sees a sawtooth-shaped region: pixels above and to the
    right stay unseen however many layers there are (the blind spot, which `BlindSpotFreeConv2D`
    does not have).

    Args:
      filters: number of output channels.
      kernel_size: an odd integer, or a pair of them.
      mask_type: 'A' (the pixel itself is not seen) or 'B' (it is). Default 'B'. Type A with a
        kernel of 1 and one group sees nothing and is constant; with a `dilation_rate` above 1 it
        skips the nearest pixels, and no later layer brings them back.
      channel_groups: number of groups of channels of input and output, contiguous and in order.
        Within a pixel a group sees the groups before it and, with type B, itself. With 3 groups, in
        a network that begins with type A, R sees nothing of its pixel, G sees R, and B sees R and
        G. Default 1.
      padding: 'same' or 'valid'. Default 'same'.
      **kwargs: arguments of `keras.layers.Conv2D`: `dilation_rate`, `activation`, `use_bias`,
        `data_format`, initializers, regularizers, constraints, `name`, `dtype`, `trainable`.
        `strides` and `groups` must be 1.

    Input shape: [B, H, W, channels]. Output shape: [B, H, W, filters] (padding 'same').

    Raises:
      TypeError, ValueError: if a size is not a positive integer or not odd, `mask_type` is unknown,
        or the channels are not divisible by `channel_groups`.

    Cost: that of a full convolution; about half of the weights are masked.

    References:
      A. van den Oord et al., Pixel recurrent neural networks, arXiv:1601.06759, 2016.

    >>> conv = MaskedConv2D(1, kernel_size=3, mask_type="A", kernel_initializer="ones")
    >>> print(keras.ops.convert_to_numpy(conv(keras.ops.ones([1, 3, 4, 1])))[0, :, :, 0])
    [[0. 1. 1. 1.]
     [2. 4. 4. 3.]
     [2. 4. 4. 3.]]
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        mask_type: str = "B",
        channel_groups: int = 1,
        padding: str = "same",
        **kwargs: Any,
    ):
        checks.positive_int("filters", filters)
        kernel_size = checks.odd_pair("kernel_size", kernel_size)
        for name in ("strides", "groups"):
            if np.any(np.not_equal(kwargs.get(name, 1), 1)):
                raise ValueError(f"{name}: expected 1, got {kwargs[name]!r}.")
        super().__init__(filters, kernel_size, padding=padding, **kwargs)
        self.mask_type = checks.one_of("mask_type", mask_type, masks.MASK_TYPES)
        self.channel_groups = checks.positive_int("channel_groups", channel_groups)
        checks.multiple("filters", filters, self.channel_groups, "channel_groups")

    def build(self, input_shape: Sequence) -> None:
        """Makes the kernel and bias."""
        channels = input_shape[-1 if self.data_format == "channels_last" else 1]
        checks.multiple("channels of x", channels, self.channel_groups, "channel_groups")
        super().build(input_shape)

    def mask(self) -> np.ndarray:
        """Returns the mask, bool [kh, kw, channels, filters]."""
        channels = self.kernel.shape[-2]
        return masks.causal_mask(
            self.kernel_size, self.mask_type, channels, self.filters, self.channel_groups
        )

    def masked_kernel(self) -> Any:
        """Returns the kernel that the layer convolves with: zero where the mask is False."""
        kernel = ops.convert_to_tensor(self.kernel)
        # A choice, not a product: with an infinite weight behind the mask, a product gives NaN.
        return ops.where(self.mask(), kernel, ops.zeros_like(kernel))

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolves with the masked kernel in place of `kernel`, which Keras passes."""
        del kernel
        return super().convolution_op(inputs, self.masked_kernel())

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "mask_type": self.mask_type,
            "channel_groups": self.channel_groups,
        }
