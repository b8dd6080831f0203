"""Uniform noise that never rounds an integer up to the next one."""

from typing import Any

import tensorflow as tf

from tfp_ar.dequantizers.dequantizer import Dequantizer
from tfp_ar.internal.random import random_bits

_MOST_BITS = 31  # of noise: its integers are int32
_EXPONENT_BIAS, _MANTISSA_BITS = 127, 23  # of float32
# Mixed into the seed: a sample x and its log_prob often get the same seed, and the noise would then
# depend on x.
_STREAM = 0x3D4D5155


class Uniform(Dequantizer):
    """Noise u uniform in (0, 1)^d: the uniform dequantization of Theis et al.

        y = x + u,    u = (i + 1/2) / 2^k,    i uniform in 0..2^k - 1

    with k the largest number of bits for which x + u is an exact float (at most 31): k = 23 - b in
    float32 and 52 - b in float64, with b the bits of the integer part. So u is never 0 or 1, and
    floor(x + u) is x. A plain random float added to 255 rounds up to 256 once in 10^5 draws; added
    to 65535 it rounds up once in 500. The bits are those of TensorFlow's Philox generator, the same
    in eager mode, graphs and XLA.

    Integers from 2^22 on in float32 (2^51 in float64) leave no bit for noise: u is 1/2, and x + u
    is rounded where it is not a float.

    References:
      L. Theis et al., A note on the evaluation of generative models, arXiv:1511.01844, 2016,
        section 3.1.

    >>> y, log_q = Uniform().dequantize(tf.constant([0.0, 255.0]), num_samples=1000, seed=[1, 2])
    >>> bool(tf.reduce_all(tf.floor(y) == [0.0, 255.0])), log_q
    (True, 0.0)
    """

    def dequantize(self, x: tf.Tensor, num_samples: int, seed: Any) -> tuple[tf.Tensor, Any]:
        """Draws x + u several times, as `Dequantizer.dequantize`; log q is 0."""
        return x + self.noise(x, num_samples, seed), 0.0

    def noise(self, x: tf.Tensor, num_samples: int, seed: Any) -> tf.Tensor:
        """Draws u [num_samples, *x.shape], with as many bits as fit behind the integers x."""
        bits = random_bits(tf.concat([[num_samples], tf.shape(x)], axis=0), seed, _STREAM)
        bits.set_shape([num_samples, *x.shape])
        count = num_noise_bits(x)
        shift = tf.cast(_MOST_BITS - count, tf.uint32)
        # Two shifts, as a single one by all 32 bits is undefined. The cast goes by way of int32, as
        # XLA does not convert uint32 to floats on every device.
        i = tf.bitwise.right_shift(tf.bitwise.right_shift(bits, tf.constant(1, tf.uint32)), shift)
        return (tf.cast(tf.cast(i, tf.int32), x.dtype) + 0.5) * _power_of_two(-count, x.dtype)


def num_noise_bits(x: tf.Tensor) -> tf.Tensor:
    """Returns k, the bits of noise that fit behind integers x in their dtype, int32 like x."""
    integer_part = tf.where(x < 0, -x - 1.0, x)  # of x + u, in absolute value
    # The cast may round up to a power of two, which costs a bit of noise and breaks nothing.
    pattern = tf.bitcast(tf.cast(integer_part, tf.float32), tf.int32)
    exponent = tf.bitwise.right_shift(pattern, tf.constant(_MANTISSA_BITS, tf.int32))
    integer_bits = tf.maximum(exponent - (_EXPONENT_BIAS - 1), 0)
    significant = {tf.float16: 11, tf.bfloat16: 8, tf.float32: 24, tf.float64: 53}[x.dtype]
    # One bit is for the 1/2 in u.
    return tf.clip_by_value(significant - 1 - integer_bits, 0, _MOST_BITS)


def keep_inside(u: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Clips u to the least and the greatest noise that `Uniform` draws for integers x.

    These are the middles of the first and the last of the 2^k cells, the outermost numbers for
    which the float x + u is strictly between x and x + 1.
    """
    least = _power_of_two(-1 - num_noise_bits(x), x.dtype)
    return tf.clip_by_value(u, least, 1.0 - least)


def _power_of_two(exponent, dtype):
    """Returns 2^exponent for small integers, exactly, which tf.pow under XLA does not promise."""
    shift = tf.constant(_MANTISSA_BITS, tf.int32)
    return tf.cast(
        tf.bitcast(tf.bitwise.left_shift(exponent + _EXPONENT_BIAS, shift), tf.float32), dtype
    )
