"""Bits per dimension, as a function and as a Keras metric.

    bits/dim = -log p(x) / (d log 2)

for log p in nats and d variables in one x: the bits that a code made for p spends per variable
of integer x. For continuous x it depends on the unit: scaling x by 2 adds 1.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_ar.internal import checks

__all__ = ["BitsPerDim", "bits_per_dim"]

NATS_PER_BIT = float(np.log(2.0))  # log p is in nats everywhere


def bits_per_dim(log_prob: Any, event_shape: Sequence[int]) -> Any:
    """Computes bits per dimension from log-probabilities: -log_prob / (d log 2); fewer are better.

    Args:
      log_prob: in nats, a tensor, array or number of any shape.
      event_shape: the shape of one x, d = product of its sizes; [] for scalars.

    Returns: like `log_prob`, in bits per dimension.

    Raises:
      TypeError, ValueError: if `event_shape` is not a sequence of positive integers.

    >>> print(bits_per_dim(np.log(1 / 256) * 64, event_shape=[8, 8]))  # uniform over 256 levels
    8.0
    """
    return log_prob / -(event_size(event_shape) * NATS_PER_BIT)


def event_size(event_shape: Sequence[int]) -> int:
    """Returns the number of variables in an event; raises as `bits_per_dim` does."""
    if isinstance(event_shape, (list, tuple, tf.TensorShape)) and not len(event_shape):
        return 1
    return int(np.prod(checks.positive_ints("event_shape", event_shape)))


@keras.saving.register_keras_serializable(package="tfp_ar")
class BitsPerDim(keras.metrics.Mean):
    """Keras metric: the mean of `bits_per_dim` over all examples since the last reset.

    Args:
      event_shape: the shape of one x.
      name: name of the metric. Default 'bits_per_dim'.
      dtype: dtype of the sums. Default: Keras' floatx.

    `update_state(log_prob, sample_weight=None)` takes nats of any shape.

    Raises:
      TypeError, ValueError: if `event_shape` is not a sequence of positive integers.

    >>> metric = BitsPerDim(event_shape=[2])
    >>> metric.update_state(np.log([1 / 16, 1 / 64]))
    >>> print(f"{float(metric.result()):.3f}")  # of 2 and 3 bits
    2.500
    """

    def __init__(self, event_shape: Sequence[int], name: str = "bits_per_dim", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        event_size(event_shape)  # checks it
        self.event_shape = tuple(event_shape)

    def update_state(self, log_prob: Any, sample_weight: Any = None) -> None:
        """Counts log-probabilities in nats."""
        bits = bits_per_dim(keras.ops.cast(log_prob, self.dtype), self.event_shape)
        return super().update_state(bits, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "event_shape": self.event_shape}
