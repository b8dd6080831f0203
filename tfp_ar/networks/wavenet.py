"""WaveNet as an autoregressive network."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfp_ar.conditioning.spec import GLOBAL, LOCAL
from tfp_ar.internal import checks
from tfp_ar.layers import CausalConv1D, ChannelHead, GatedResidualBlock
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.generation.blocks import block_passes
from tfp_ar.networks.generation.steps import BlockPasses
from tfp_ar.networks.generation.wavenet import WaveNetBlocks, generate

POSITION_ENCODINGS = (None, "learned", "sinusoidal")


def sinusoids(length: int, channels: int) -> np.ndarray:
    """Returns sines and cosines of time, [length, channels], whose periods grow geometrically.

    Periods run from 2 pi to 2 pi 10^4 steps (Vaswani et al., arXiv:1706.03762, section 3.5).
    """
    rates = 1e-4 ** (np.arange((channels + 1) // 2) / max((channels + 1) // 2, 1))
    angles = np.arange(length)[:, np.newaxis] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)[:, :channels]


@keras.saving.register_keras_serializable(package="tfp_ar")
class WaveNet(AutoregressiveNetwork):
    """Stack of dilated causal convolutions with gates, residual and skip connections.

        h = exclusive_causal_conv(x) + position[t]              (sees x[0..t-1])
        for each dilation:  h, skip = gated_residual_block(h)
        params[t, c] = channel_head(relu(sum of skips), x[t, 0..c-1])

    The parameters at time t depend on the `receptive_field` steps before t; those of channel c
    also on the channels before c of the same step. The weights of the last layer start at zero, so
    all parameters start at zero and an affine flow starts at the identity.

    `generate` is cached: each block keeps its last (kernel_size - 1) * dilation inputs. A step
    costs the same for any L, all steps together do the arithmetic of one parallel pass, and the
    caches take memory linear in the receptive field.

    Args:
      event_shape: [L], or [L, C] for C channels per step.
      num_params: parameters per variable. Default 2.
      residual_channels: channels of h. Default 32.
      skip_channels: channels of the skip connections, and of the head's hidden layer. Default:
        `residual_channels`.
      dilations: the dilation of each block, e.g. [1, 2, 4, 8, 1, 2, 4, 8]. Default: 1, 2, 4, ...
        until the receptive field covers the event, at most 512.
      kernel_size: taps of each block's convolution. Default 2.
      conditional_shape: None, [k] (global), [L, k] (local) or {'global': [k], 'local': [L, k]};
        both kinds enter every gate. Default None.
      position_encoding: None (the same distribution at every t, except near the start of the
        sequence); 'learned', one vector per step; or 'sinusoidal', fixed sines and cosines and a
        learned projection. Default None.
      dropout: fraction of each gate's output that is dropped in training. Default 0.
      seed: seed of the dropout, an int. Default None.
      **kwargs: `name`, `dtype`, `trainable`.

    Raises:
      TypeError, ValueError: if a size, dilation or shape is not positive or has the wrong type.

    References:
      A. van den Oord et al., WaveNet: a generative model for raw audio, arXiv:1609.03499, 2016.
      P. Ramachandran et al., Fast generation for convolutional autoregressive models,
        arXiv:1704.06001, 2017 (the caches).

    >>> network = WaveNet(event_shape=[16], residual_channels=8, dilations=[1, 2, 4])
    >>> network(keras.ops.ones([3, 16])).shape
    TensorShape([3, 16, 2])
    >>> network.receptive_field
    8
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        num_params: int = 2,
        residual_channels: int = 32,
        skip_channels: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_size: int = 2,
        conditional_shape: Any = None,
        position_encoding: str | None = None,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(event_shape, num_params, conditional_shape, **kwargs)
        if len(self.event_shape) > 2:
            raise ValueError(f"event_shape: expected [L] or [L, C], got {list(self.event_shape)}.")
        self.residual_channels = checks.positive_int("residual_channels", residual_channels)
        self.skip_channels = (
            self.residual_channels
            if skip_channels is None
            else checks.positive_int("skip_channels", skip_channels)
        )
        self.kernel_size = checks.positive_int("kernel_size", kernel_size)
        self.dilations = (
            default_dilations(self.length, self.kernel_size)
            if dilations is None
            else checks.positive_ints("dilations", dilations)
        )
        self.position_encoding = checks.one_of(
            "position_encoding", position_encoding, POSITION_ENCODINGS
        )
        self.dropout = checks.fraction("dropout", dropout)
        self.seed = checks.optional_int("seed", seed)
        self._make_layers()
        self.build((None, *self.event_shape))

    def _make_layers(self):
        dtype = self.dtype_policy
        self.input_conv = CausalConv1D(
            self.residual_channels, kernel_size=1, exclusive=True, dtype=dtype, name="input"
        )
        last = len(self.dilations) - 1
        self.blocks = [
            GatedResidualBlock(
                self.residual_channels,
                self.skip_channels,
                self.kernel_size,
                dilation,
                residual=i < last,
                dropout=self.dropout,
                # with one seed, all blocks would drop the same units
                seed=None if self.seed is None else self.seed + i,
                dtype=dtype,
                name=f"block_{i}",
            )
            for i, dilation in enumerate(self.dilations)
        ]
        self.head = ChannelHead(self.num_params, self.skip_channels, dtype=dtype, name="head")
        self.position_projection = None
        if self.position_encoding == "sinusoidal":
            self.position_projection = keras.layers.Dense(
                self.residual_channels, use_bias=False, dtype=dtype, name="position"
            )

    # The constructor calls it, so Keras never passes the shapes of conditioning.
    def build(self, input_shape: Any = None) -> None:  # type: ignore[override]
        """Makes all variables; the constructor calls it."""
        if self.built:
            return
        positions, hidden = (None, self.length), (None, self.length, self.residual_channels)
        self.input_conv.build((*positions, self.channels))
        shapes = self.conditioning.shapes
        conditions = {
            f"{kind}_condition_shape": (None, *shapes[kind])
            for kind in (GLOBAL, LOCAL)
            if kind in shapes
        }
        for block in self.blocks:
            block.build(hidden, **conditions)
        self.head.build((*positions, self.skip_channels), (*positions, self.channels))
        self.position_table = None
        if self.position_encoding == "learned":
            self.position_table = self.add_weight(
                name="position_table",
                shape=(self.length, self.residual_channels),
                initializer=keras.initializers.RandomNormal(stddev=0.05),
            )
        elif self.position_encoding == "sinusoidal":
            self.position_projection.build((self.length, self.residual_channels))
        self.built = True

    @property
    def length(self) -> int:
        """L, the number of time steps."""
        return self.event_shape[0]

    @property
    def channels(self) -> int:
        """C, the number of variables per step."""
        return self.event_shape[1] if len(self.event_shape) == 2 else 1

    @property
    def receptive_field(self) -> int:
        """The number of time steps before t that the parameters at t can depend on."""
        return 1 + (self.kernel_size - 1) * sum(self.dilations)

    def positions(self) -> Any:
        """Returns the vectors added to h, one per step: [L, residual_channels], or None."""
        if self.position_encoding == "learned":
            return ops.convert_to_tensor(self.position_table)
        if self.position_encoding == "sinusoidal":
            table = sinusoids(self.length, self.residual_channels)
            return self.position_projection(ops.cast(table, self.compute_dtype))
        return None

    def call(self, x: Any, conditional_input: Any = None, training: bool | None = None) -> Any:
        """Computes the parallel pass for x [B, *event_shape]."""
        conditions = self.conditioning.parse(conditional_input)
        x = ops.reshape(x, (-1, self.length, self.channels))
        h = self.input_conv(x)
        positions = self.positions()
        if positions is not None:
            h = h + positions
        skips = 0.0
        for block in self.blocks:
            h, skip = block(
                h,
                global_condition=conditions.get(GLOBAL),
                local_condition=conditions.get(LOCAL),
                training=training,
            )
            skips = skips + skip
        params = self.head(ops.relu(skips), x)
        return ops.reshape(params, (-1, *self.event_shape, self.num_params))

    def generate(
        self,
        emit: Callable,
        batch_size: Any,
        conditional_input: Any = None,
        input_transform: Callable | None = None,
    ) -> tf.Tensor:
        """Runs the cached sequential pass; see `AutoregressiveNetwork.generate` for the arguments.

        Cost: L steps, which together do the arithmetic of one parallel pass.
        """
        conditions = self.conditioning.parse_batch(conditional_input, batch_size)
        return generate(self, emit, batch_size, conditions, input_transform)

    def block_passes(
        self, block_size: int | None, batch_size: Any, conditional_input: Any = None
    ) -> BlockPasses:
        """Returns passes over `block_size` time steps; see `AutoregressiveNetwork.block_passes`.

        Cost: that of `block_size` steps, per pass; the caches are as long as the receptive field.
        """
        return block_passes(WaveNetBlocks, self, block_size, batch_size, conditional_input)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "residual_channels": self.residual_channels,
            "skip_channels": self.skip_channels,
            "dilations": self.dilations,
            "kernel_size": self.kernel_size,
            "position_encoding": self.position_encoding,
            "dropout": self.dropout,
            "seed": self.seed,
        }


def default_dilations(length: int, kernel_size: int) -> tuple[int, ...]:
    """Returns 1, 2, 4, ... until the reach covers `length` steps; 512 at most, as in the paper."""
    dilations = [1]
    while 1 + (kernel_size - 1) * sum(dilations) < length - 1 and dilations[-1] < 512:
        dilations.append(2 * dilations[-1])
    return tuple(dilations)
