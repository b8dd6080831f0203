"""Random numbers and seeds.

Numbers are made from integer bits, which are the same in eager mode, graphs and XLA; floats of
TensorFlow's own samplers are not. Seeds of training are a function of (seed, purpose, step).
"""

import enum
import numbers
from typing import Any

import tensorflow as tf

# Of u, by dtype: with the half that is added, i + 1/2 has as many bits as the dtype's significand.
_NUM_BITS = {tf.float32: 23, tf.float64: 52}


def random_bits(shape: Any, seed: Any, stream: int, dtype: tf.DType = tf.uint32) -> tf.Tensor:
    """Draws uniform integers over all of `dtype`, from TensorFlow's Philox generator.

    Args:
      shape: the shape, a list or a tensor.
      seed: stateless seed, an integer tensor [2].
      stream: mixed into the seed. One seed is often used for several things, and noise that is made
        of the same bits as something else would not be independent of it.
      dtype: tf.uint32 or tf.uint64.
    """
    seed = tf.bitwise.bitwise_xor(tf.cast(seed, tf.int32), tf.constant([0, stream], tf.int32))
    return tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=dtype, alg="philox"
    )


def unit_uniform(shape: Any, seed: Any, stream: int, dtype: tf.DType) -> tf.Tensor:
    """Draws uniform floats strictly between 0 and 1: u = (i + 1/2) / 2^k, i uniform in 0..2^k - 1.

    k is 23 in float32 and 52 in float64, so that each u is an exact float.

    Args:
      shape: the shape, a list or a tensor.
      seed: stateless seed, an integer tensor [2].
      stream: see `random_bits`.
      dtype: tf.float32 or tf.float64.
    """
    count = _NUM_BITS[dtype]
    unsigned, signed = (tf.uint32, tf.int32) if count < 32 else (tf.uint64, tf.int64)
    bits = random_bits(shape, seed, stream, unsigned)
    i = tf.bitwise.right_shift(bits, tf.constant(unsigned.size * 8 - count, unsigned))
    # By way of signed integers, which XLA converts to floats on every device, unsigned not on all.
    return (tf.cast(tf.cast(i, signed), dtype) + 0.5) * 2.0**-count


class Stream(enum.IntEnum):
    """Purposes of random numbers. Streams never share a seed."""

    TRAINING = 0
    EVALUATION = 1


def stream_seed(seed: int, stream: Stream, index: Any) -> tf.Tensor:
    """Returns the stateless seed [2] of draw `index` (an int or an integer tensor) of a stream."""
    index = tf.cast(index, tf.int32)
    return tf.stack([tf.constant(seed, tf.int32), len(Stream) * index + int(stream)])


def check_seed(name: str, seed: Any) -> int:
    """Returns a seed as an int.

    Raises:
      TypeError: if it is not an integer.
      ValueError: if it is not in 0..2^31 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(f"{name}: expected an integer, got {seed!r}.")
    if not 0 <= int(seed) < 2**31:
        raise ValueError(f"{name}: expected an integer in 0..2^31 - 1, got {seed!r}.")
    return int(seed)
