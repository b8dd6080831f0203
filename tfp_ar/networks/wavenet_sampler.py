"""Cached generation for WaveNet: constant work a step, all layers' caches in one tensor.

Per step of time: one gather of every block's past inputs, one batched product with every block's
past taps, one product for the skip connections and one scatter; only what must be sequential, the
newest tap and the residual of each block, is computed block by block. (Ramachandran et al.,
arXiv:1704.06001, have the caches; batching them over the blocks is what makes a step cheap.)
"""

import numpy as np
import tensorflow as tf

from tfp_ar.networks.conditioning import GLOBAL, LOCAL


def generate(network, emit, batch_size, conditions):
    """Draws x [B, *event_shape] step by step; see `WaveNet.generate`.

    Args:
      network: the WaveNet.
      emit: (params [B, num_params], flat index) -> x_i [B].
      batch_size: B, an int or a scalar tensor.
      conditions: parts of the conditioning by kind, with leading shape [B].
    """
    step = _Step(network, batch_size, conditions)
    length, channels = network.length, network.channels
    dtype = tf.as_dtype(network.variable_dtype)
    static_batch = batch_size if isinstance(batch_size, int) else None

    def advance(t, x_before, cache, written):
        h = step.input(t, x_before)
        features, cache = step.blocks(t, h, cache)
        x_t = step.channels(t, features, emit)
        x_t.set_shape([static_batch, channels])
        return t + 1, x_t, cache, written.write(t, x_t)

    x_before = tf.zeros([batch_size, channels], dtype)
    written = tf.TensorArray(dtype, size=length, element_shape=[static_batch, channels])
    _, _, _, written = tf.while_loop(
        lambda t, *_: t < length,
        advance,
        (tf.constant(0), x_before, step.empty_cache(), written),
        maximum_iterations=length,
    )
    x = tf.transpose(written.stack(), [1, 0, 2])
    return tf.reshape(x, [batch_size, *network.event_shape])


class _Step:
    """The weights of a WaveNet, stacked once before the loop, and one step of it."""

    def __init__(self, network, batch_size, conditions):
        self.network, self.batch_size = network, batch_size
        self.dtype = tf.as_dtype(network.compute_dtype)
        self.taps = network.kernel_size - 1
        self.filters = network.residual_channels
        self._stack_weights()
        self._place_caches()
        self._project_conditions(conditions)

    def _cast(self, value):
        return tf.cast(tf.convert_to_tensor(value), self.dtype)

    def _stack_weights(self):
        network, blocks, cast = self.network, self.network.blocks, self._cast
        positions = network.positions()
        self.positions = None if positions is None else cast(positions)
        self.input_kernel = cast(network.input_conv.kernel)[0]
        self.input_bias = cast(network.input_conv.bias)
        kernels = tf.stack([cast(block.conv.kernel) for block in blocks])  # [n, taps + 1, R, 2 R]
        self.past_kernels = tf.reshape(
            kernels[:, : self.taps], [len(blocks) * self.taps, self.filters, 2 * self.filters]
        )
        self.now_kernels = [cast(block.conv.kernel)[-1] for block in blocks]
        self.biases = tf.stack([cast(block.conv.bias) for block in blocks])[:, tf.newaxis]
        self.residual_kernels = [cast(block.residual_projection.kernel) for block in blocks[:-1]]
        self.skip_kernel = tf.concat([cast(b.skip_projection.kernel) for b in blocks], axis=0)

    def _place_caches(self):
        # Block l keeps its last `taps * dilation` inputs in a ring: the input of time s lies in row
        # offset[l] + s mod size[l]. Rows start at zero: the padding of the parallel pass.
        sizes = self.taps * np.asarray(self.network.dilations, np.int32)
        self.sizes = sizes
        self.offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        # What the taps of the parallel pass look back, oldest first: delays without the newest.
        self.delays = np.array([block.conv.delays[:-1] for block in self.network.blocks], np.int32)

    def _project_conditions(self, conditions):
        self.gate_offset = self.biases
        self.local = None
        if GLOBAL in conditions:
            kernels = tf.stack(
                [self._cast(b.global_projection.kernel) for b in self.network.blocks]
            )
            self.gate_offset += tf.einsum("bk,nkf->nbf", self._cast(conditions[GLOBAL]), kernels)
        if LOCAL in conditions:
            self.local = tf.transpose(self._cast(conditions[LOCAL]), [1, 0, 2])
            self.local_kernels = tf.stack(
                [self._cast(b.local_projection.kernel) for b in self.network.blocks]
            )

    def empty_cache(self):
        rows = int(self.sizes.sum())
        return tf.zeros([rows, self.batch_size, self.filters], self.dtype)

    def input(self, t, x_before):
        """Input [B, R] of the first block at time t, from x at t - 1."""
        h = tf.matmul(tf.cast(x_before, self.dtype), self.input_kernel) + self.input_bias
        return h if self.positions is None else h + self.positions[t]

    def blocks(self, t, h, cache):
        """All blocks at time t: (relu(skip sum) [B, S], the cache with the blocks' inputs)."""
        gates_in = tf.unstack(self._gate_inputs_of_the_past(t, cache))
        inputs, outputs = [], []
        for i, kernel in enumerate(self.now_kernels):
            inputs.append(h)
            a, b = tf.split(gates_in[i] + tf.matmul(h, kernel), 2, axis=-1)
            g = tf.tanh(a) * tf.sigmoid(b)
            outputs.append(g)
            if i < len(self.residual_kernels):
                h = h + tf.matmul(g, self.residual_kernels[i])
        features = tf.nn.relu(tf.matmul(tf.concat(outputs, axis=-1), self.skip_kernel))
        if self.taps:
            rows = (self.offsets + t % self.sizes)[:, tf.newaxis]
            cache = tf.tensor_scatter_nd_update(cache, rows, tf.stack(inputs))
        return features, cache

    def _gate_inputs_of_the_past(self, t, cache):
        """Biases, conditioning and past taps of every gate at time t: [n, B, 2 R]."""
        z = self.gate_offset
        if self.local is not None:
            z += tf.einsum("bk,nkf->nbf", self.local[t], self.local_kernels)
        if self.taps:
            sizes = self.sizes[:, np.newaxis]
            rows = self.offsets[:, np.newaxis] + (t + sizes - self.delays) % sizes
            past = tf.gather(cache, tf.reshape(rows, [-1]))
            products = tf.matmul(past, self.past_kernels)
            z += tf.reduce_sum(
                tf.reshape(
                    products, [len(self.sizes), self.taps, self.batch_size, 2 * self.filters]
                ),
                axis=1,
            )
        return tf.broadcast_to(z, [len(self.sizes), self.batch_size, 2 * self.filters])

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
