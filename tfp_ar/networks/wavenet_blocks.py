"""Block passes for WaveNet: the steps of a block at once, the past in caches."""

import tensorflow as tf

from tfp_ar.networks.gated_stack import gate
from tfp_ar.networks.position_blocks import PositionBlocks


class WaveNetBlocks(PositionBlocks):
    """Passes over a few steps of time; they cost those steps, however long the past is.

    The state holds what the convolutions read of the past: the last value, and of each gated block
    its last (kernel_size - 1) * dilation inputs, zeros before the first step, as in the parallel
    pass. The arguments are those of PositionBlocks, with a WaveNet as the network.
    """

    def __init__(self, network, size, batch_size, conditions):
        super().__init__(network, size, batch_size, conditions)
        positions = network.positions()
        self._positions = None if positions is None else self.in_blocks(self.cast(positions))

    def start(self):
        """The past of the first block: zeros."""
        network = self.network
        pasts = [self.zeros(max(b.conv.delays), network.residual_channels) for b in network.blocks]
        return (self.zeros(1, network.channels), *pasts)

    def prepare(self, k):
        """What is added to the first h, and to the gate of each block."""
        first = self.cast(self.network.input_conv.bias)
        if self._positions is not None:
            first += self._positions[k]
        blocks = self.network.blocks
        return first, [self.cast(b.conv.bias) + self.conditioned(b, k) for b in blocks]

    def run(self, x, state, prepared):
        """relu(skip sum) [B, size, S] for x [B, size, C], and the state after the block."""
        network, cast, size = self.network, self.cast, self.size
        (last, *pasts), (first, offsets) = state, prepared
        x = tf.concat([last, x], axis=1)
        h = tf.matmul(x[:, :size], cast(network.input_conv.kernel)[0]) + first
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
