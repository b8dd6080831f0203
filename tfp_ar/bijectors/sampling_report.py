"""How fixed-point sampling went."""

from typing import NamedTuple

import tensorflow as tf

from tfp_ar.bijectors.fixed_point_sampling import FixedPointSampler
from tfp_ar.internal import tf_private


class SamplingReport(NamedTuple):
    """Samples, and how they came about; see `sampling_report`."""

    x: tf.Tensor
    passes: tf.Tensor
    fell_back: tf.Tensor


def sampling_report(bijector, u, conditional_input=None) -> SamplingReport:
    """Draws x = forward(u) by fixed-point iteration and tells how many passes it took.

    It works in a `tf.function`, too. Tapes do not see it: gradients are to be had from `forward`.

    Args:
      bijector: an ARFlowBijector with `sampling='fixed_point'` or a FixedPoint.
      u: noise [..., *event_shape].
      conditional_input: as the bijector takes it.

    Returns: a named tuple of
      x: [..., *event_shape], what `bijector.forward(u)` is.
      passes: int32 [..., blocks]; after how many passes over each block a sample had converged, the
        pass that found so included. A batch takes as many as the slowest of its samples. 0 for
        blocks that were not reached, as one before them had not converged.
      fell_back: bool [...], the same for all samples: whether the cached sampler had to draw them.

    Raises:
      TypeError: if `bijector` is no ARFlowBijector that samples by fixed points.
      ValueError: if a shape is wrong, or conditioning is missing or not wanted.

    >>> network = tfp_ar.networks.WaveNet([8], dilations=[1])  # new: its variables do not couple
    >>> report = sampling_report(ARFlowBijector(network, sampling="fixed_point"), tf.ones([2, 8]))
    >>> print(report.passes.numpy().tolist(), report.fell_back.numpy())
    [[2], [2]] [False False]
    """
    sampler = getattr(bijector, "_sampler", None)
    if not isinstance(sampler, FixedPointSampler):
        raise TypeError(
            "bijector: expected an ARFlowBijector with sampling='fixed_point' or a FixedPoint, got "
            f"{bijector!r}."
        )
    with tf_private.not_recording([]):  # no tape can go through a compiled loop
        return SamplingReport(*bijector._report(u, conditional_input))
