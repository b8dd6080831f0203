"""What block passes have in common that split the first axis of an event: time, or rows.

What they offer to fixed-point sampling is said in `whole_event`.
"""

import tensorflow as tf

from tfp_ar.networks.conditioning import GLOBAL, LOCAL


class PositionBlocks:
    """Blocks of `size` consecutive entries of the first axis of the event.

    A subclass defines

    * `start()`: the state before the first block, a tuple of tensors;
    * `prepare(k)`: what passes over block k share, whatever x is;
    * `run(x, state, prepared)`: what the head takes [B, size, ..., S] for x [B, size, ..., C], and
      the state before the next block.

    Args:
      network: an AutoregressiveNetwork whose head is a ChannelHead.
      size: entries of the first axis in a block, fewer than there are.
      batch_size: B, an int or a scalar tensor.
      conditions: parts of the conditioning by kind, with leading shape [B].
    """

    places = None

    def __init__(self, network, size, batch_size, conditions):
        self.network, self.size, self.batch_size = network, size, batch_size
        self.dtype = tf.as_dtype(network.compute_dtype)
        first = network.event_shape[0]
        self.num_blocks = -(-first // size)
        self.block_variables = size * network.event_size // first
        conditions = {kind: self.cast(c) for kind, c in conditions.items()}
        self._global, self._local = conditions.get(GLOBAL), None
        if LOCAL in conditions:
            local = tf.stack(tf.split(self._padded(conditions[LOCAL], 1), self.num_blocks, axis=1))
            self._local = local  # [num_blocks, B, size, ..., k]

    def cast(self, value):
        """`value` in the network's compute dtype."""
        return tf.cast(tf.convert_to_tensor(value), self.dtype)

    def _padded(self, value, axis):
        """Zeros after the end of the axis, to whole blocks."""
        missing = self.num_blocks * self.size - self.network.event_shape[0]
        paddings = [[0, missing if i == axis else 0] for i in range(value.shape.rank)]
        return tf.pad(value, paddings)

    def in_blocks(self, value):
        """A tensor [first axis, ...] as [num_blocks, size, ...], with zeros after the end."""
        return tf.stack(tf.split(self._padded(value, 0), self.num_blocks))

    def zeros(self, entries, *shape):
        """So many entries of the first axis before the first: [B, entries, *shape]."""
        return tf.zeros([self.batch_size, entries, *shape], self.dtype)

    def conditioned(self, block, k, prefix=""):
        """What the conditioning adds to a gate of `block` in block k of positions; 0.0 for none."""
        added = 0.0
        if self._global is not None:
            kernel = self.cast(getattr(block, f"{prefix}global_projection").kernel)
            product = tf.matmul(self._global, kernel)
            ones = [1] * block.num_position_dims
            added += tf.reshape(product, [-1, *ones, product.shape[-1]])
        if self._local is not None:
            kernel = self.cast(getattr(block, f"{prefix}local_projection").kernel)
            added += tf.tensordot(self._local[k], kernel, 1)
        return added

    def block(self, k, state):
        """Block number k, given the state before it."""
        return _Block(self, state, self.prepare(k))


class _Block:
    """One block."""

    def __init__(self, passes, state, prepared):
        self._passes, self._state, self._prepared = passes, state, prepared

    def params(self, x):
        """Parameters [B, block_variables, num_params] for x [B, block_variables]."""
        network, x = self._passes.network, self._by_positions(x)
        features, _ = self._passes.run(x, self._state, self._prepared)
        params = tf.cast(network.head(features, x), network.variable_dtype)
        return tf.reshape(params, [-1, self._passes.block_variables, network.num_params])

    def end(self, x):
        """The state before the next block."""
        return self._passes.run(self._by_positions(x), self._state, self._prepared)[1]

    def _by_positions(self, x):
        passes, network = self._passes, self._passes.network
        between = network.event_shape[1:-1]  # an image's columns
        return passes.cast(tf.reshape(x, [-1, passes.size, *between, network.channels]))
