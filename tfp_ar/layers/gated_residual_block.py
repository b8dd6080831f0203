"""The block that WaveNet repeats."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfp_ar.internal import checks
from tfp_ar.layers.causal_conv import CausalConv1D
from tfp_ar.layers.conditioned_block import ConditionedBlock


def gated_activation(z: Any, channel_groups: int = 1) -> Any:
    """Returns tanh(a) * sigmoid(b) for the halves [a, b] of the channels of z, or of each group."""
    if channel_groups == 1:
        a, b = ops.split(z, 2, axis=-1)
        return ops.tanh(a) * ops.sigmoid(b)
    lead = tuple(ops.shape(z)[:-1])
    halves = ops.reshape(z, (*lead, channel_groups, -1))
    return ops.reshape(gated_activation(halves), (*lead, z.shape[-1] // 2))


@keras.saving.register_keras_serializable(package="tfp_ar")
class GatedResidualBlock(ConditionedBlock):
    """Dilated causal convolution, gate, a residual and a skip connection.

        [a, b] = causal_conv(h) + c_global @ V + c_local[t] @ W
        g      = dropout(tanh(a) * sigmoid(b))
        h'     = h + g @ W_residual
        skip   = g @ W_skip

    Args:
      filters: channels of h, and of each half of the gate.
      skip_filters: channels of the skip connection.
      kernel_size: taps of the convolution. Default 2.
      dilation_rate: time steps between taps. Default 1.
      residual: whether the block adds to h; if not, h' = h. The last block of a network does not,
        as nothing reads its h' and the weights would get no gradient. Default True.
      dropout: fraction of g that is dropped in training, in [0, 1). Default 0.
      seed: seed of the dropout, an int. Default None.
      **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
      h: [..., L, filters].
      global_condition: [..., k] or None; one vector per sequence.
      local_condition: [..., L, k] or None; one vector per time step.
      training: whether to apply dropout.

    Returns: the pair (h' [..., L, filters], skip [..., L, skip_filters]).

    Raises:
      TypeError, ValueError: if a size is not a positive integer, `dropout` is not in [0, 1), `seed`
        is not an integer, or a call has other conditioning than the block was built for.

    References:
      A. van den Oord et al., WaveNet, arXiv:1609.03499, 2016, sections 2.3 to 2.5.

    >>> block = GatedResidualBlock(filters=4, skip_filters=3, dilation_rate=2)
    >>> h, skip = block(keras.ops.ones([1, 8, 4]))
    >>> h.shape, skip.shape
    (TensorShape([1, 8, 4]), TensorShape([1, 8, 3]))
    """

    def __init__(
        self,
        filters: int,
        skip_filters: int,
        kernel_size: int = 2,
        dilation_rate: int = 1,
        residual: bool = True,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = checks.positive_int("filters", filters)
        self.skip_filters = checks.positive_int("skip_filters", skip_filters)
        self.residual = bool(residual)
        dtype = self.dtype_policy
        self.conv = CausalConv1D(
            2 * self.filters, kernel_size, dilation_rate, dtype=dtype, name="conv"
        )
        self.skip_projection = keras.layers.Dense(
            self.skip_filters, use_bias=False, dtype=dtype, name="skip"
        )
        self.residual_projection = (
            keras.layers.Dense(self.filters, use_bias=False, dtype=dtype, name="residual")
            if residual
            else None
        )
        self._set_dropout(dropout, seed)

    def build(
        self,
        h_shape: Sequence,
        global_condition_shape: Sequence | None = None,
        local_condition_shape: Sequence | None = None,
    ) -> None:
        """Makes the weights; projections only for the conditioning that there is."""
        gate_shape = (*h_shape[:-1], self.filters)
        self.conv.build(h_shape)
        self.skip_projection.build(gate_shape)
        if self.residual_projection is not None:
            self.residual_projection.build(gate_shape)
        self._build_projections(2 * self.filters, global_condition_shape, local_condition_shape)
        self.built = True

    def call(
        self,
        h: Any,
        global_condition: Any = None,
        local_condition: Any = None,
        training: bool | None = None,
    ) -> tuple[Any, Any]:
        """Returns (h', skip)."""
        g = gated_activation(self._conditioned(self.conv(h), global_condition, local_condition))
        if self.dropout is not None:
            g = self.dropout(g, training=training)
        skip = self.skip_projection(g)
        if self.residual_projection is None:
            return h, skip
        return h + self.residual_projection(g), skip

    def compute_output_shape(
        self,
        h_shape: Sequence,
        global_condition_shape: Sequence | None = None,
        local_condition_shape: Sequence | None = None,
    ) -> tuple[tuple, tuple]:
        """Returns the shapes of (h', skip)."""
        return tuple(h_shape), (*h_shape[:-1], self.skip_filters)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "skip_filters": self.skip_filters,
            "kernel_size": self.conv.kernel_size,
            "dilation_rate": self.conv.dilation_rate,
            "residual": self.residual,
        }
