"""Caches of past inputs, and the products of past taps with them, for many layers at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Blocks per group. On a GPU one group has all blocks, so that there are few kernels to launch. On a
# CPU, XLA gives part of a larger gather or concatenation to another thread, and waking that thread
# takes longer than the work: with 20 blocks of 64 channels, groups of 5 took 82 us per step at
# batch 1 and 213 at batch 8, one group 119 and 246.
_BLOCKS_PER_GROUP_ON_CPU = 5


class PastTaps:
    """The past taps of n convolutions of equal shapes: one cache, one gather, one batched product.

    Tap j of convolution l looks back by delays[l, j] steps. The inputs of convolution l lie in a
    ring of rows of the cache [rows, m, F], as many as its longest delay: the input of step s is in
    row offset[l] + s mod size[l]. Rows start at zero, which is the padding of the parallel pass.

    Args:
      kernels: the past taps [n, taps, F, out], farthest first.
      delays: int array [n, taps], all above 0.
    """

    def __init__(self, kernels: tf.Tensor, delays: Any):
        self.delays = np.asarray(delays, np.int32)
        self.number, self.taps = self.delays.shape
        self.sizes = self.delays.max(axis=1) if self.taps else np.zeros([self.number], np.int32)
        self.offsets = (np.cumsum(self.sizes) - self.sizes).astype(np.int32)
        self.channels, self.out = kernels.shape[-2:]
        self.kernels = tf.reshape(kernels, [-1, self.channels, self.out])

    def empty(self, size: Any) -> tf.Tensor:
        """Returns the cache of a past of zeros, for `size` sequences: [rows, size, F]."""
        return tf.zeros([int(self.sizes.sum()), size, self.channels], self.kernels.dtype)

    def products(self, t: tf.Tensor, cache: tf.Tensor) -> tf.Tensor:
        """Computes the past taps' outputs at step t, [n, m, out]; `taps` must not be 0."""
        sizes = self.sizes[:, np.newaxis]
        rows = self.offsets[:, np.newaxis] + (t + sizes - self.delays) % sizes
        products = tf.matmul(tf.gather(cache, tf.reshape(rows, [-1])), self.kernels)
        if self.taps == 1:
            return products
        shape = [self.number, self.taps, tf.shape(cache)[1], self.out]
        return tf.reduce_sum(tf.reshape(products, shape), axis=1)

    def write(self, t: tf.Tensor, cache: tf.Tensor, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the cache with the inputs of step t, a list of n tensors [m, F]."""
        rows = self.offsets + t % self.sizes
        return tf.tensor_scatter_nd_update(cache, rows[:, tf.newaxis], tf.stack(inputs))


class GatedStack:
    """Consecutive gated blocks of equal sizes, advanced together.

    Per step and group of blocks: one gather of the blocks' past inputs, one batched product with
    their past taps, one product for their skip connections and one scatter; only what must be
    sequential, the newest tap and the residual of each block, is computed block by block.
    (The caches are those of Ramachandran et al., arXiv:1704.06001; batching over blocks makes a
    step cheap.)

    Args:
      kernels: for each block, the taps [taps, F, 2 F] along the loop, the newest (now) last.
      delays: for each block, the number of steps that each tap looks back, 0 last.
      residual_kernels: for each block [F, F], or None if it has no h' (the last block).
      skip_kernels: for each block [F, S].
    """

    def __init__(
        self,
        kernels: Sequence[tf.Tensor],
        delays: Sequence,
        residual_kernels: Sequence[tf.Tensor | None],
        skip_kernels: Sequence[tf.Tensor],
    ):
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        size = max(len(kernels), 1) if on_gpu else _BLOCKS_PER_GROUP_ON_CPU
        self._groups = []
        for i in range(0, len(kernels), size):
            part = slice(i, i + size)
            past = tf.stack([kernel[:-1] for kernel in kernels[part]])
            self._groups.append(
                _Group(
                    PastTaps(past, np.array([d[:-1] for d in delays[part]], np.int32)),
                    [kernel[-1] for kernel in kernels[part]],
                    residual_kernels[part],
                    tf.concat(skip_kernels[part], axis=0),
                    part,
                )
            )

    def initial_caches(self, size: Any) -> tuple[tf.Tensor, ...]:
        """Returns the caches before the first step, for `size` sequences: a tensor per group."""
        return tuple(group.past.empty(size) for group in self._groups)

    def step(
        self, t: tf.Tensor, h: tf.Tensor, caches: tuple, offsets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tuple]:
        """Advances all blocks by step t.

        Args:
          t: the step, an int32 scalar.
          h: input of the first block, [m, F].
          caches: the result of `initial_caches`, or of the step before.
          offsets: the terms added to the taps in the gates (bias, conditioning), [n, m, 2 F] or
            [n, 1, 2 F].

        Returns: the last block's output h [m, F], the blocks' skip sum [m, S] (0 without blocks),
        and the caches for t + 1.
        """
        skips, updated = 0.0, []
        for group, cache in zip(self._groups, caches, strict=True):
            h, skip, cache = group.step(t, h, cache, offsets[group.part])
            skips = skips + skip
            updated.append(cache)
        return h, skips, tuple(updated)


class _Group:
    """The blocks that share a cache."""

    def __init__(self, past, now_kernels, residual_kernels, skip_kernel, part):
        self.past, self.part = past, part
        self.now_kernels, self.residual_kernels = now_kernels, residual_kernels
        self.skip_kernel = skip_kernel

    def step(self, t, h, cache, offsets):
        if self.past.taps:
            offsets = offsets + self.past.products(t, cache)
        inputs, outputs = [], []
        kernels = zip(self.now_kernels, self.residual_kernels, strict=True)
        for i, (now_kernel, residual_kernel) in enumerate(kernels):
            inputs.append(h)
            g = gate(offsets[i] + tf.matmul(h, now_kernel))
            outputs.append(g)
            if residual_kernel is not None:
                h = h + tf.matmul(g, residual_kernel)
        if self.past.taps:
            cache = self.past.write(t, cache, inputs)
        return h, tf.matmul(tf.concat(outputs, axis=-1), self.skip_kernel), cache


def gate(z: tf.Tensor) -> tf.Tensor:
    """Returns tanh(a) * sigmoid(b) for the halves of z."""
    a, b = tf.split(z, 2, axis=-1)
    return tf.tanh(a) * tf.sigmoid(b)
