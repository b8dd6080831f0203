"""Block passes for WaveNet: the steps of a block at once, the past in caches.

What a `block_passes` object has to offer is in `whole_event`.
"""

import tensorflow as tf

from tfp_ar.networks.conditioning import GLOBAL, LOCAL
from tfp_ar.networks.gated_stack import gate


class WaveNetBlocks:
    """Passes over `steps` steps of time; they cost those steps, however long the past is.

    The state holds what the convolutions read of the past: the last value, and of each gated block
    its last (kernel_size - 1) * dilation inputs, zeros before the first step, as in the parallel
    pass.

    Args:
      network: the WaveNet.
      steps: steps of time of a block, at most L.
      batch_size: B, an int or a scalar tensor.
      conditions: parts of the conditioning by kind, with leading shape [B].
    """

    def __init__(self, network, steps, batch_size, conditions):
        self.network, self.steps, self.batch_size = network, steps, batch_size
        self.dtype = tf.as_dtype(network.compute_dtype)
        self.num_blocks = -(-network.length // steps)
        self.block_variables = steps * network.channels
        self._conditions = {kind: self.cast(c) for kind, c in conditions.items()}
        positions = network.positions()
        self._positions = None if positions is None else self._in_blocks(self.cast(positions))
        if LOCAL in conditions:
            local = tf.transpose(self._conditions[LOCAL], [1, 0, 2])
            self._local = tf.transpose(self._in_blocks(local), [0, 2, 1, 3])  # [n, B, steps, k]

    def cast(self, value):
        """`value` in the network's compute dtype."""
        return tf.cast(tf.convert_to_tensor(value), self.dtype)

    def _in_blocks(self, value):
        """[L, ...] to [num_blocks, steps, ...], with zeros at the end."""
        missing = self.num_blocks * self.steps - self.network.length
        value = tf.pad(value, [[0, missing]] + [[0, 0]] * (value.shape.rank - 1))
        return tf.reshape(value, [self.num_blocks, self.steps, *tf.unstack(tf.shape(value))[1:]])

    def start(self):
        """The past of the first block: zeros."""
        network = self.network
        sizes = [(1, network.channels)]
        sizes += [(max(b.conv.delays), network.residual_channels) for b in network.blocks]
        return tuple(tf.zeros([self.batch_size, *size], self.dtype) for size in sizes)

    def block(self, k, state):
        """Block number k, given the state before it."""
        positions = None if self._positions is None else self._positions[k]
        return _Block(self, positions, [self._offset(b, k) for b in self.network.blocks], state)

    def _offset(self, block, k):
        """What enters a gate besides h: [2 F] or [B, steps or 1, 2 F]."""
        offset = self.cast(block.conv.bias)
        if GLOBAL in self._conditions:
            kernel = self.cast(block.global_projection.kernel)
            offset += tf.matmul(self._conditions[GLOBAL], kernel)[:, tf.newaxis]
        if LOCAL in self._conditions:
            offset += tf.matmul(self._local[k], self.cast(block.local_projection.kernel))
        return offset


class _Block:
    """One block of steps."""

    def __init__(self, passes, positions, offsets, state):
        self._passes, self._positions = passes, positions
        self._offsets, self._state = offsets, state

    def params(self, x):
        """Parameters [B, block_variables, num_params] for x [B, block_variables]."""
        network, x = self._passes.network, self._by_steps(x)
        features, _ = self._pass(x)
        params = tf.cast(network.head(features, x), network.variable_dtype)
        shape = [tf.shape(x)[0], self._passes.block_variables, network.num_params]
        return tf.reshape(params, shape)

    def end(self, x):
        """The state before the next block."""
        return self._pass(self._by_steps(x))[1]

    def _by_steps(self, x):
        passes = self._passes
        return passes.cast(tf.reshape(x, [-1, passes.steps, passes.network.channels]))

    def _pass(self, x):
        """relu(skip sum) [B, steps, S], and the state after the block."""
        network, cast, steps = self._passes.network, self._passes.cast, self._passes.steps
        x = tf.concat([self._state[0], x], axis=1)
        h = tf.matmul(x[:, :steps], cast(network.input_conv.kernel)[0])
        h += cast(network.input_conv.bias)
        if self._positions is not None:
            h += self._positions
        skips, state = 0.0, [x[:, steps:]]
        for block, past, offset in zip(network.blocks, self._state[1:], self._offsets, strict=True):
            longer, start = tf.concat([past, h], axis=1), past.shape[1]
            taps = [longer[:, start - d : start - d + steps] for d in block.conv.delays]
            kernel = tf.reshape(cast(block.conv.kernel), [-1, block.conv.filters])
            g = gate(tf.matmul(tf.concat(taps, axis=-1), kernel) + offset)
            skips += tf.matmul(g, cast(block.skip_projection.kernel))
            if block.residual_projection is not None:
                h += tf.matmul(g, cast(block.residual_projection.kernel))
            state.append(longer[:, steps:])
        return tf.nn.relu(skips), tuple(state)
