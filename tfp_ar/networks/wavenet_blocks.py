"""Some blocks of a WaveNet, one step of time at once, with a cache of their past inputs."""

import numpy as np
import tensorflow as tf


class CachedBlocks:
    """Consecutive blocks whose caches are one tensor and whose past taps are one batched product.

    Block l keeps its last (kernel_size - 1) * dilation inputs in a ring of rows of the cache
    [rows, B, R]: the input of time s lies in row offset[l] + s mod size[l]. Rows start at zero,
    which is the padding of the parallel pass.

    Args:
      blocks: list of built GatedResidualBlocks of equal sizes.
      batch_size: B, an int or a scalar tensor.
      dtype: what to compute in.
      global_condition: [B, k] or None.
      local_condition: [L, B, k] or None.
    """

    def __init__(self, blocks, batch_size, dtype, global_condition, local_condition):
        self.batch_size, self.dtype = batch_size, dtype
        self.filters = blocks[0].filters
        self.taps = blocks[0].conv.kernel_size - 1
        self._place_rings([block.conv for block in blocks])
        self._stack_weights(blocks)
        self.local_condition = local_condition
        if global_condition is not None:
            kernels = self._stack([block.global_projection for block in blocks])
            self.gate_offsets += tf.einsum("bk,nkf->nbf", global_condition, kernels)
        if local_condition is not None:
            self.local_kernels = self._stack([block.local_projection for block in blocks])

    def _cast(self, value):
        return tf.cast(tf.convert_to_tensor(value), self.dtype)

    def _stack(self, layers):
        return tf.stack([self._cast(layer.kernel) for layer in layers])

    def _place_rings(self, convs):
        dilations = np.array([conv.dilation_rate for conv in convs], np.int32)
        self.sizes = self.taps * dilations
        self.offsets = (np.cumsum(self.sizes) - self.sizes).astype(np.int32)
        # What the taps look back in the parallel pass, oldest first; the newest looks at now.
        self.delays = np.array([conv.delays[:-1] for conv in convs], np.int32)

    def _stack_weights(self, blocks):
        kernels = self._stack([block.conv for block in blocks])  # [n, taps + 1, R, 2 R]
        self.past_kernels = tf.reshape(
            kernels[:, : self.taps], [-1, self.filters, 2 * self.filters]
        )
        self.now_kernels = [self._cast(block.conv.kernel)[-1] for block in blocks]
        biases = [self._cast(block.conv.bias) for block in blocks]
        self.gate_offsets = tf.stack(biases)[:, tf.newaxis]
        self.residual_kernels = [
            None
            if block.residual_projection is None
            else self._cast(block.residual_projection.kernel)
            for block in blocks
        ]
        skips = [self._cast(block.skip_projection.kernel) for block in blocks]
        self.skip_kernel = tf.concat(skips, axis=0)

    def empty_cache(self):
        """The cache of a past that is all zero: [rows, B, R]."""
        return tf.zeros([int(self.sizes.sum()), self.batch_size, self.filters], self.dtype)

    def step(self, t, h, cache):
        """All blocks at time t.

        Args:
          t: the time, an int32 scalar.
          h: input of the first block, [B, R].
          cache: [rows, B, R].

        Returns: the last block's output h [B, R], the blocks' part of the skip sum [B, S], and the
        cache for t + 1.
        """
        gates_in = self._known_gate_inputs(t, cache)
        inputs, outputs = [], []
        kernels = zip(self.now_kernels, self.residual_kernels, strict=True)
        for i, (now_kernel, residual_kernel) in enumerate(kernels):
            inputs.append(h)
            a, b = tf.split(gates_in[i] + tf.matmul(h, now_kernel), 2, axis=-1)
            g = tf.tanh(a) * tf.sigmoid(b)
            outputs.append(g)
            if residual_kernel is not None:
                h = h + tf.matmul(g, residual_kernel)
        if self.taps:
            rows = self.offsets + t % self.sizes
            cache = tf.tensor_scatter_nd_update(cache, rows[:, tf.newaxis], tf.stack(inputs))
        return h, tf.matmul(tf.concat(outputs, axis=-1), self.skip_kernel), cache

    def _known_gate_inputs(self, t, cache):
        """What goes into the gates [n, B, 2 R] besides the present: past, bias, conditioning."""
        z = self.gate_offsets
        if self.local_condition is not None:
            z += tf.einsum("bk,nkf->nbf", self.local_condition[t], self.local_kernels)
        if self.taps:
            sizes = self.sizes[:, np.newaxis]
            rows = self.offsets[:, np.newaxis] + (t + sizes - self.delays) % sizes
            products = tf.matmul(tf.gather(cache, tf.reshape(rows, [-1])), self.past_kernels)
            shape = [len(self.sizes), self.taps, self.batch_size, 2 * self.filters]
            z += tf.reduce_sum(tf.reshape(products, shape), axis=1)
        return z
