"""The block that a gated PixelCNN repeats."""

from collections.abc import Sequence
from typing import Any

import keras

from tfp_ar.internal import checks
from tfp_ar.layers.blind_spot_free_conv import BlindSpotFreeConv2D
from tfp_ar.layers.conditioned_block import ConditionedBlock
from tfp_ar.layers.gated_residual_block import gated_activation
from tfp_ar.layers.masked_conv import MaskedConv2D


@keras.saving.register_keras_serializable(package="tfp_ar")
class GatedPixelBlock(ConditionedBlock):
    """Blind-spot-free convolution, gates, a residual and a skip connection.

        (v*, h*) = blind_spot_free_conv(v, h)
        v'   = gate(v* + c_global @ V_v + c_local @ W_v)
        g    = dropout(gate(h* + c_global @ V_h + c_local @ W_h))
        h'   = h + g @ W_residual            (type A: without h, which is the image and would leak)
        skip = g @ W_skip

    with gate([a, b]) = tanh(a) * sigmoid(b).

    Args:
      filters: channels of v' and h', and of each half of the gates.
      skip_filters: channels of the skip connection.
      kernel_size: an odd integer, or a pair of them. Default 3.
      mask_type: 'A' in the first block, 'B' after it. Default 'B'.
      channel_groups: number of groups of channels of h and of the skip connection; see
        BlindSpotFreeConv2D. The halves of a gate are paired inside each group. Default 1.
      dilation_rate: distance between taps. Default 1.
      residual: whether the block computes v' and h'; if not, it returns v and h as they are. The
        last block of a network does not compute them, as nothing reads them. Default True.
      dropout: fraction of g that is dropped in training, in [0, 1). Default 0.
      seed: seed of the dropout, an int. Default None.
      **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
      v, h: [B, H, W, channels] each; type B needs `filters` channels in h.
      global_condition: [B, k] or None; one vector per image.
      local_condition: [B, H, W, k] or None; one vector per pixel.
      training: whether to apply dropout.

    Returns: (v' [B, H, W, filters], h' [B, H, W, filters], skip [B, H, W, skip_filters]).

    Raises:
      TypeError, ValueError: as for BlindSpotFreeConv2D; also if `dropout` is not in [0, 1), `seed`
        is not an integer, or a call has other conditioning than the block was built for.

    References:
      A. van den Oord et al., Conditional image generation with PixelCNN decoders, arXiv:1606.05328,
        2016, figure 2.

    >>> block = GatedPixelBlock(filters=4, skip_filters=3, mask_type="A")
    >>> x = keras.ops.ones([1, 8, 8, 1])
    >>> [part.shape[-1] for part in block(x, x)]
    [4, 4, 3]
    """

    num_position_dims = 2

    def __init__(
        self,
        filters: int,
        skip_filters: int,
        kernel_size: int | Sequence[int] = 3,
        mask_type: str = "B",
        channel_groups: int = 1,
        dilation_rate: int = 1,
        residual: bool = True,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = checks.positive_int("filters", filters)
        self.skip_filters = checks.positive_int("skip_filters", skip_filters)
        self.channel_groups = checks.positive_int("channel_groups", channel_groups)
        checks.multiple("filters", self.filters, self.channel_groups, "channel_groups")
        checks.multiple("skip_filters", self.skip_filters, self.channel_groups, "channel_groups")
        self.residual = bool(residual)
        self.conv = BlindSpotFreeConv2D(
            2 * self.filters,
            kernel_size,
            mask_type,
            self.channel_groups,
            dilation_rate,
            dtype=self.dtype_policy,
            name="conv",
        )
        self.skip_projection = self._projection(self.skip_filters, "skip")
        self.residual_projection = self._projection(self.filters, "residual") if residual else None
        self._set_dropout(dropout, seed)

    def _projection(self, filters, name):
        """Returns a 1x1 convolution that keeps the order of the channel groups."""
        return MaskedConv2D(
            filters,
            1,
            "B",
            self.channel_groups,
            use_bias=False,
            data_format="channels_last",  # as promised, whatever Keras' default is
            dtype=self.dtype_policy,
            name=name,
        )

    @property
    def mask_type(self) -> str:
        """The mask type, 'A' or 'B'."""
        return self.conv.mask_type

    def build(
        self,
        v_shape: Sequence,
        h_shape: Sequence,
        global_condition_shape: Sequence | None = None,
        local_condition_shape: Sequence | None = None,
    ) -> None:
        """Makes the weights; projections only for the conditioning that there is."""
        if self.residual and self.mask_type == "B" and h_shape[-1] != self.filters:
            raise ValueError(
                f"h: expected {self.filters} channels, as the block adds to it, got {h_shape[-1]}."
            )
        gate_shape = (*h_shape[:-1], self.filters)
        self.conv.build(v_shape, h_shape)
        self.skip_projection.build(gate_shape)
        if self.residual_projection is not None:
            self.residual_projection.build(gate_shape)
        # Nothing reads v' of the last block: a projection for it would get no gradient.
        gated = ("vertical_", "horizontal_") if self.residual else ("horizontal_",)
        self._build_projections(
            2 * self.filters, global_condition_shape, local_condition_shape, gated
        )
        self.built = True

    def call(
        self,
        v: Any,
        h: Any,
        global_condition: Any = None,
        local_condition: Any = None,
        training: bool | None = None,
    ) -> tuple[Any, Any, Any]:
        """Returns (v', h', skip)."""
        v_in, h_in = self.conv(v, h)
        g = self._gate(h_in, "horizontal_", global_condition, local_condition)
        if self.dropout is not None:
            g = self.dropout(g, training=training)
        skip = self.skip_projection(g)
        if self.residual_projection is None:
            return v, h, skip
        v = self._gate(v_in, "vertical_", global_condition, local_condition)
        update = self.residual_projection(g)
        return v, update if self.mask_type == "A" else h + update, skip

    def _gate(self, z, prefix, global_condition, local_condition):
        z = self._conditioned(z, global_condition, local_condition, prefix)
        return gated_activation(z, self.channel_groups)

    def compute_output_shape(
        self,
        v_shape: Sequence,
        h_shape: Sequence,
        global_condition_shape: Sequence | None = None,
        local_condition_shape: Sequence | None = None,
    ) -> tuple[tuple, tuple, tuple]:
        """Returns the shapes of (v', h', skip)."""
        skip = (*h_shape[:-1], self.skip_filters)
        if not self.residual:
            return tuple(v_shape), tuple(h_shape), skip
        return (*v_shape[:-1], self.filters), (*h_shape[:-1], self.filters), skip

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "skip_filters": self.skip_filters,
            "kernel_size": self.conv.kernel_size,
            "mask_type": self.conv.mask_type,
            "channel_groups": self.channel_groups,
            "dilation_rate": self.conv.dilation_rate,
            "residual": self.residual,
        }
