"""The caches of cached generation: what convolutions have seen, and what their taps make of it."""

import numpy as np
import tensorflow as tf


class PastTaps:
    """The past taps of n convolutions of equal shapes: one cache, one gather, one batched product.

    Convolution l looks back by delays[l, j] steps with tap j. Its inputs lie in a ring of as many
    rows of the cache [rows, m, F] as its longest delay: that of step s in row offset[l] + s mod
    size[l]. Rows start at zero, which is the padding of the parallel pass.

    Args:
      kernels: the past taps [n, taps, F, out], farthest first.
      delays: int array [n, taps], all above 0.
    """

    def __init__(self, kernels, delays):
        self.delays = np.asarray(delays, np.int32)
        self.number, self.taps = self.delays.shape
        self.sizes = self.delays.max(axis=1) if self.taps else np.zeros([self.number], np.int32)
        self.offsets = (np.cumsum(self.sizes) - self.sizes).astype(np.int32)
        self.channels, self.out = kernels.shape[-2:]
        self.kernels = tf.reshape(kernels, [-1, self.channels, self.out])

    def empty(self, size):
        """The cache of a past that is all zero, for `size` sequences: [rows, size, F]."""
        return tf.zeros([int(self.sizes.sum()), size, self.channels], self.kernels.dtype)

    def products(self, t, cache):
        """What the past taps give at step t: [n, m, out]. Only where there are taps."""
        sizes = self.sizes[:, np.newaxis]
        rows = self.offsets[:, np.newaxis] + (t + sizes - self.delays) % sizes
        products = tf.matmul(tf.gather(cache, tf.reshape(rows, [-1])), self.kernels)
        if self.taps == 1:
            return products
        shape = [self.number, self.taps, tf.shape(cache)[1], self.out]
        return tf.reduce_sum(tf.reshape(products, shape), axis=1)

    def write(self, t, cache, inputs):
        """The cache with the inputs of step t, a list of n tensors [m, F]."""
        rows = self.offsets + t % self.sizes
        return tf.tensor_scatter_nd_update(cache, rows[:, tf.newaxis], tf.stack(inputs))
