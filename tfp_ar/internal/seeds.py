"""Stateless seeds for training: noise is a function of (seed, what it is for, step)."""

import enum
import numbers

import tensorflow as tf


class Stream(enum.IntEnum):
    """What random numbers are for. Streams never share a seed."""

    TRAINING = 0
    EVALUATION = 1


def stream_seed(seed: int, stream: Stream, index) -> tf.Tensor:
    """The stateless seed [2] of draw `index` (an int or an integer tensor) of a stream."""
    index = tf.cast(index, tf.int32)
    return tf.stack([tf.constant(seed, tf.int32), len(Stream) * index + int(stream)])


def check_seed(name: str, seed) -> int:
    """Returns a seed as an int.

    Raises:
      TypeError: if it is no integer.
      ValueError: if it is not in 0..2^31 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(f"{name}: expected an integer, got {seed!r}.")
    if not 0 <= seed < 2**31:
        raise ValueError(f"{name}: expected an integer in 0..2^31 - 1, got {seed!r}.")
    return int(seed)
