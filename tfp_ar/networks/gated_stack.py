"""Gated residual blocks, one step at once, with a cache of their past inputs."""

import numpy as np
import tensorflow as tf

from tfp_ar.networks.past_taps import PastTaps

# Blocks a group. On a GPU all, for few kernels. On a CPU, XLA gives part of a larger gather or
# concatenation to another thread, and waking that takes longer than the work: with 20 blocks of 64
# channels, groups of 5 took 82 us a step at batch 1 and 213 at batch 8, one group 119 and 246.
_BLOCKS_A_GROUP_ON_CPU = 5


class GatedStack:
    """Consecutive gated blocks of equal sizes, advanced together.

    Per step and group of blocks: one gather of the blocks' past inputs, one batched product with
    their past taps, one product for their skip connections and one scatter; only what must be
    sequential, the newest tap and the residual of each block, is computed block by block.
    (Ramachandran et al., arXiv:1704.06001, have the caches; batching over blocks makes a step
    cheap.)

    Args:
      kernels: for each block, the taps [taps, F, 2 F] along the loop, the newest (of now) last.
      delays: for each block, the steps that its taps look back, 0 last.
      residual_kernels: for each block [F, F], or None if it makes no h' (the last one).
      skip_kernels: for each block [F, S].
    """

    def __init__(self, kernels, delays, residual_kernels, skip_kernels):
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        size = max(len(kernels), 1) if on_gpu else _BLOCKS_A_GROUP_ON_CPU
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

    def empty_caches(self, size):
        """The caches before the first step, for `size` sequences: a tensor a group."""
        return tuple(group.past.empty(size) for group in self._groups)

    def step(self, t, h, caches, offsets):
        """All blocks at step t.

        Args:
          t: the step, an int32 scalar.
          h: input of the first block, [m, F].
          caches: as `empty_caches` gives them.
          offsets: what goes into the gates besides the taps (bias, conditioning), [n, m, 2 F] or
            [n, 1, 2 F].

        Returns: the last block's output h [m, F], the blocks' skip sum [m, S] (0 of no blocks), and
        the caches for t + 1.
        """
        skips, updated = 0.0, []
        for group, cache in zip(self._groups, caches, strict=True):
            h, skip, cache = group.step(t, h, cache, offsets[group.part])
            skips = skips + skip
            updated.append(cache)
        return h, skips, tuple(updated)


class _Group:
    """Blocks that share a cache."""

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


def gate(z):
    """tanh(a) * sigmoid(b) for the halves of z."""
    a, b = tf.split(z, 2, axis=-1)
    return tf.tanh(a) * tf.sigmoid(b)
