"""Cached generation for WaveNet: constant work a step, whatever the length.

Per step of time and group of blocks: one gather of the blocks' past inputs, one batched product
with their past taps, one product for their skip connections and one scatter; only what must be
sequential, the newest tap and the residual of each block, is computed block by block.
(Ramachandran et al., arXiv:1704.06001, have the caches; batching over blocks makes a step cheap.)
"""

import tensorflow as tf

from tfp_ar.networks.conditioning import GLOBAL, LOCAL
from tfp_ar.networks.wavenet_blocks import CachedBlocks

# Blocks a group. On a GPU all, for few kernels. On a CPU, XLA gives part of a larger gather or
# concatenation to another thread, and waking that takes longer than the work: with 20 blocks of 64
# channels, groups of 5 took 82 us a step at batch 1 and 213 at batch 8, one group 119 and 246.
_BLOCKS_A_GROUP_ON_CPU = 5


def generate(network, emit, batch_size, conditions):
    """Draws x [B, *event_shape] step by step; see `WaveNet.generate`.

    Args:
      network: the WaveNet.
      emit: (params [B, num_params], flat index) -> x_i [B].
      batch_size: B, an int or a scalar tensor.
      conditions: parts of the conditioning by kind, with leading shape [B].
    """
    if isinstance(batch_size, int):
        if batch_size == 0:
            return tf.zeros([0, *network.event_shape], network.variable_dtype)
        return _generate(network, emit, batch_size, conditions)
    # TensorFlow's scatter refuses empty rows: a batch that may be empty gets one of zeros then.
    rows = tf.maximum(batch_size, 1)
    conditions = {kind: _pad(c, rows - batch_size) for kind, c in conditions.items()}

    def emit_rows(params, i):
        return _pad(emit(params[:batch_size], i), rows - batch_size)

    return _generate(network, emit_rows, rows, conditions)[:batch_size]


def _pad(value, missing):
    """Appends `missing` rows of zeros."""
    value = tf.convert_to_tensor(value)
    return tf.pad(value, [[0, missing]] + [[0, 0]] * (value.shape.rank - 1))


def _generate(network, emit, batch_size, conditions):
    """`generate` for a batch that is not empty."""
    step = _Step(network, batch_size, conditions)
    length, channels = network.length, network.channels
    dtype = tf.as_dtype(network.variable_dtype)
    start = tf.zeros([batch_size, channels], dtype)  # as the parallel pass sees x before 0

    def advance(t, x_before, caches, written):
        features, caches = step.features(t, x_before, caches)
        x_t = step.channels(t, features, emit)
        x_t.set_shape(start.shape)
        return t + 1, x_t, caches, written.write(t, x_t)

    written = tf.TensorArray(dtype, size=length, element_shape=start.shape)
    *_, written = tf.while_loop(
        lambda t, *_: t < length,
        advance,
        (tf.constant(0), start, step.empty_caches(), written),
        maximum_iterations=length,
    )
    x = tf.transpose(written.stack(), [1, 0, 2])
    return tf.reshape(x, [batch_size, *network.event_shape])


class _Step:
    """The weights of a WaveNet, stacked once before the loop, and one step of it."""

    def __init__(self, network, batch_size, conditions):
        self.network, self.batch_size = network, batch_size
        self.dtype = tf.as_dtype(network.compute_dtype)
        positions = network.positions()
        self.positions = None if positions is None else self._cast(positions)
        self.input_kernel = self._cast(network.input_conv.kernel)[0]
        self.input_bias = self._cast(network.input_conv.bias)
        conditions = {kind: self._cast(c) for kind, c in conditions.items()}
        if LOCAL in conditions:
            conditions[LOCAL] = tf.transpose(conditions[LOCAL], [1, 0, 2])  # time first
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        size = len(network.blocks) if on_gpu else _BLOCKS_A_GROUP_ON_CPU
        self.groups = [
            CachedBlocks(
                network.blocks[i : i + size],
                batch_size,
                self.dtype,
                conditions.get(GLOBAL),
                conditions.get(LOCAL),
            )
            for i in range(0, len(network.blocks), size)
        ]

    def _cast(self, value):
        return tf.cast(tf.convert_to_tensor(value), self.dtype)

    def empty_caches(self):
        """The caches before the first step, when the past is zero: a tensor a group."""
        return tuple(group.empty_cache() for group in self.groups)

    def features(self, t, x_before, caches):
        """What the past gives at time t: relu(skip sum) [B, S]; and the caches for t + 1."""
        h = tf.matmul(tf.cast(x_before, self.dtype), self.input_kernel) + self.input_bias
        if self.positions is not None:
            h = h + self.positions[t]
        skips, updated = 0.0, []
        for group, cache in zip(self.groups, caches, strict=True):
            h, skip, cache = group.step(t, h, cache)
            skips = skips + skip
            updated.append(cache)
        return tf.nn.relu(skips), tuple(updated)

    def channels(self, t, features, emit):
        """Values [B, C] at time t, channel after channel, each seeing those before it."""
        head, channels = self.network.head, self.network.channels
        hidden = self._cast(head.hidden(features))
        output_kernel, output_bias = self._cast(head.output_kernel), self._cast(head.output_bias)
        if channels > 1:
            channel_kernel = self._cast(head.masked_channel_kernel())

        def one(c, hidden, x):
            a = tf.nn.relu(tf.gather(hidden, c, axis=1))
            params = tf.matmul(a, output_kernel[c]) + output_bias[c]
            x_c = emit(tf.cast(params, self.network.variable_dtype), t * channels + c)
            if channels == 1:
                return c + 1, hidden, x_c[:, tf.newaxis]
            seen = tf.cast(x_c, self.dtype)[:, tf.newaxis, tf.newaxis] * channel_kernel[c]
            chosen = tf.equal(tf.range(channels), c)
            return c + 1, hidden + seen, tf.where(chosen, x_c[:, tf.newaxis], x)

        if channels == 1:
            return one(tf.constant(0), hidden, None)[2]
        x = tf.zeros([self.batch_size, channels], self.network.variable_dtype)
        return tf.while_loop(
            lambda c, *_: c < channels,
            one,
            (tf.constant(0), hidden, x),
            shape_invariants=(tf.TensorShape([]), hidden.shape, x.shape),
            maximum_iterations=channels,
        )[2]
