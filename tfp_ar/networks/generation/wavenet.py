"""Generation for WaveNet: the cached step, whose cost does not grow with time, and block passes."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfp_ar.conditioning.spec import GLOBAL, LOCAL
from tfp_ar.networks.generation.blocks import PositionBlocks
from tfp_ar.networks.generation.channels import ChannelLoop, non_empty
from tfp_ar.networks.generation.steps import SequenceSteps
from tfp_ar.networks.generation.taps import GatedStack, gate


def generate(
    network: Any,
    emit: Callable,
    batch_size: Any,
    conditions: dict,
    input_transform: Callable | None = None,
) -> tf.Tensor:
    """Draws x [B, *event_shape] step by step; see `WaveNet.generate`.

    Args:
      network: the WaveNet.
      emit: (params [B, num_params], flat index) -> x_i [B].
      batch_size: B, an int or a scalar tensor.
      conditions: the conditions by kind, with leading shape [B].
      input_transform: function from a value to the network's input, None for the value itself.
    """
    emit, rows, conditions = non_empty(emit, batch_size, conditions)
    steps = WaveNetSteps(network, conditions)
    draw_channels = ChannelLoop(network, emit, rows, input_transform)
    length, dtype = network.length, tf.as_dtype(network.variable_dtype)
    start = tf.zeros([rows, network.channels], dtype)  # the padding of the parallel pass

    def advance(t, shown_before, caches, written):
        features, caches = steps.features(t, shown_before, caches)
        x_t, shown = draw_channels(features, t)
        shown.set_shape(start.shape)
        return t + 1, shown, caches, written.write(t, x_t)

    written = tf.TensorArray(dtype, size=length, element_shape=start.shape)
    *_, written = tf.while_loop(
        lambda t, *_: t < length,
        advance,
        (tf.constant(0), start, steps.initial_caches(rows), written),
        maximum_iterations=length,
    )
    x = tf.transpose(written.stack(), [1, 0, 2])
    x = tf.reshape(x, [rows, *network.event_shape])
    return x if rows is batch_size else x[:batch_size]


class WaveNetSteps(SequenceSteps):
    """The weights of a WaveNet, stacked once before the loop, and one step of it.

    Args:
      network: the WaveNet.
      conditions: the conditions by kind, with leading shape [B].
    """

    def __init__(self, network: Any, conditions: dict):
        self.dtype = tf.as_dtype(network.compute_dtype)
        positions = network.positions()
        self.positions = None if positions is None else self._cast(positions)
        self.input_kernel = self._cast(network.input_conv.kernel)[0]
        self.input_bias = self._cast(network.input_conv.bias)
        blocks = network.blocks
        self.stack = GatedStack(
            [self._cast(block.conv.kernel) for block in blocks],
            [block.conv.delays for block in blocks],
            [
                None
                if block.residual_projection is None
                else self._cast(block.residual_projection.kernel)
                for block in blocks
            ],
            [self._cast(block.skip_projection.kernel) for block in blocks],
        )
        # The terms added to h in the gates, the same at all times: biases and global conditioning.
        self.gate_offsets = tf.stack([self._cast(block.conv.bias) for block in blocks])
        self.gate_offsets = self.gate_offsets[:, tf.newaxis]
        if GLOBAL in conditions:
            kernels = tf.stack([self._cast(block.global_projection.kernel) for block in blocks])
            c = self._cast(conditions[GLOBAL])
            self.gate_offsets += tf.einsum("bk,nkf->nbf", c, kernels)
        self.local_condition = None
        if LOCAL in conditions:
            self.local_condition = tf.transpose(self._cast(conditions[LOCAL]), [1, 0, 2])
            self.local_kernels = tf.stack(
                [self._cast(block.local_projection.kernel) for block in blocks]
            )

    def _cast(self, value):
        return tf.cast(tf.convert_to_tensor(value), self.dtype)

    def initial_caches(self, batch_size: Any) -> tuple:
        """Returns the caches before the first step, when the past is zero."""
        return self.stack.initial_caches(batch_size)

    def features(
        self, t: tf.Tensor, shown_before: tf.Tensor, caches: tuple
    ) -> tuple[tf.Tensor, tuple]:
        """Returns relu(skip sum) [B, S] at time t, and the caches for t + 1."""
        h = tf.matmul(tf.cast(shown_before, self.dtype), self.input_kernel) + self.input_bias
        if self.positions is not None:
            h = h + self.positions[t]
        offsets = self.gate_offsets
        if self.local_condition is not None:
            offsets += tf.einsum("bk,nkf->nbf", self.local_condition[t], self.local_kernels)
        _, skips, caches = self.stack.step(t, h, caches, offsets)
        return tf.nn.relu(skips), caches


class WaveNetBlocks(PositionBlocks):
    """Passes over a few time steps, which cost only these steps, however long the past is.

    The state holds the past that the convolutions read: the last value, and the last
    (kernel_size - 1) * dilation inputs of each gated block; zeros before the first step, as in the
    parallel pass. The arguments are those of PositionBlocks, with a WaveNet as the network.
    """

    def __init__(self, network: Any, size: int, batch_size: Any, conditions: dict):
        super().__init__(network, size, batch_size, conditions)
        positions = network.positions()
        self._positions = None if positions is None else self.padded(self.cast(positions), 0)

    def initial_state(self) -> tuple:
        """Returns the past of the first step, which is zero."""
        network = self.network
        pasts = [self.zeros(max(b.conv.delays), network.residual_channels) for b in network.blocks]
        return (self.zeros(1, network.channels), *pasts)

    def prepare(self, first: Any) -> tuple:
        """Returns the terms added to the first h and to the gate of each block."""
        added = self.cast(self.network.input_conv.bias)
        if self._positions is not None:
            added += self.block_of(self._positions, 0, first)
        blocks = self.network.blocks
        return added, [self.cast(b.conv.bias) + self.conditioned(b, first) for b in blocks]

    def run(self, x: tf.Tensor, state: tuple, prepared: tuple) -> tuple[tf.Tensor, tuple]:
        """Returns relu(skip sum) [B, size, S] for x [B, size, C], and the state after the block."""
        network, cast, size = self.network, self.cast, self.size
        (last, *pasts), (added, offsets) = state, prepared
        x = tf.concat([last, x], axis=1)
        h = tf.matmul(x[:, :size], cast(network.input_conv.kernel)[0]) + added
        skips, new_state = 0.0, [x[:, size:]]
        for block, past, offset in zip(network.blocks, pasts, offsets, strict=True):
            longer, start = tf.concat([past, h], axis=1), past.shape[1]
            taps = [longer[:, start - d : start - d + size] for d in block.conv.delays]
            kernel = tf.reshape(cast(block.conv.kernel), [-1, block.conv.filters])
            g = gate(tf.matmul(tf.concat(taps, axis=-1), kernel) + offset)
            skips += tf.matmul(g, cast(block.skip_projection.kernel))
            if block.residual_projection is not None:
                h += tf.matmul(g, cast(block.residual_projection.kernel))
            new_state.append(longer[:, size:])
        return tf.nn.relu(skips), tuple(new_state)
