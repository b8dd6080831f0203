"""Integers as floats: uniform noise in [0, 1), and bounds on a discrete density from a continuous.

A density p of real y = x + u gives integers x the probability P(x) = integral of p(x + u) over u in
[0, 1)^d, of which, with u_1, ..., u_K uniform (Burda et al., arXiv:1509.00519, section 3; K = 1 is
the uniform bound of Theis et al., arXiv:1511.01844, section 3.1),

    E log (1/K sum_k p(x + u_k)) <= log P(x),

a bound that K tightens. In bits a dimension: -log P(x) / (d log 2).
"""

import enum

import numpy as np
import tensorflow as tf

FLOAT32_SIGNIFICANT_BITS = 24
MOST_NOISE_BITS = FLOAT32_SIGNIFICANT_BITS - 1  # one is for the half in uniform_noise


class Stream(enum.IntEnum):
    """What noise is for. Streams never share a seed."""

    TRAINING = 0
    VALIDATION = 1
    TEST = 2


def noise_seed(seed: int, stream: Stream, index: int) -> tf.Tensor:
    """The stateless seed of draw (or training step) `index` of a stream."""
    return tf.constant([seed, len(Stream) * index + stream], tf.int32)


def noise_bits(low: int, high: int) -> int:
    """How many bits of noise fit behind integers low..high in a float32.

    x + u then is exact: it never rounds up to the next integer, which has other neighbours and
    another probability.
    """
    largest = max(abs(low), high + 1) - 1  # the integer part of x + u, in absolute value, at most
    bits = MOST_NOISE_BITS - largest.bit_length()
    if bits < 1:
        raise ValueError(f"low, high: integers {low}..{high} leave float32 no room for noise.")
    return bits


def uniform_noise(shape, seed, bits: int) -> tf.Tensor:
    """u = (i + 1/2) / 2^bits for uniform integers i in 0..2^bits - 1: strictly inside (0, 1).

    Integers, unlike floats, come out of the Philox generator the same with XLA and without.
    """
    integers = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    integers = tf.bitwise.right_shift(integers, tf.constant(32 - bits, tf.uint32))
    # By way of int32: XLA converts it to float32 on every device, uint32 not on all.
    return (tf.cast(tf.cast(integers, tf.int32), tf.float32) + 0.5) / 2.0**bits


def log_prob_draws(log_prob, x, seed, stream, bits, num_draws, batch_size) -> np.ndarray:
    """log p(x + u_k) for noise k = 0, ..., num_draws - 1: [num_draws, n].

    Args:
      log_prob: function of y [batch_size, d] that returns [batch_size].
      x: integers as floats, [n, d].
      seed: the run's seed; noise is a function of it, of `stream`, of k and of the row of x.
      stream: what the noise is for.
      bits: see `noise_bits`.
      num_draws: K.
      batch_size: rows in each call of `log_prob`. The last batch is filled up, so that a compiled
        function sees one shape.
    """
    n = len(x)
    padded = x[np.arange(-(-n // batch_size) * batch_size) % n]
    draws = []
    for k in range(num_draws):
        y = padded + uniform_noise(padded.shape, noise_seed(seed, stream, k), bits)
        parts = [log_prob(y[i : i + batch_size]) for i in range(0, len(padded), batch_size)]
        draws.append(np.concatenate(parts)[:n])
    return np.stack(draws).astype(np.float64)


def log_mean_exp(log_p: np.ndarray) -> np.ndarray:
    """log (1/K sum_k exp(log_p[k])): [K, n] -> [n]."""
    largest = log_p.max(axis=0)
    return largest + np.log(np.mean(np.exp(log_p - largest), axis=0))


def bits_per_dim(log_p: np.ndarray, dims: int) -> np.ndarray:
    """Nats of log-probability as bits a dimension (fewer are better)."""
    return -log_p / (dims * np.log(2.0))
