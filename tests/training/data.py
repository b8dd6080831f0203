"""Training data: sequences from a known distribution."""

import numpy as np
import tensorflow as tf

COEFFICIENT, NOISE = 0.9, 0.2


def autoregressive(batch, length, dtype="float32", seed=0) -> tf.Tensor:
    """x [batch, length] with x[t] = 0.9 x[t-1] + 0.2 e[t], e standard normal, stationary."""
    noise = np.random.default_rng(seed).standard_normal([batch, length])
    x = np.empty_like(noise)
    x[:, 0] = noise[:, 0] * NOISE / np.sqrt(1 - COEFFICIENT**2)
    for t in range(1, length):
        x[:, t] = COEFFICIENT * x[:, t - 1] + NOISE * noise[:, t]
    return tf.constant(x, dtype)


def entropy(length) -> float:
    """Of one such x, in nats: the lowest mean of -log_prob that any model reaches."""
    first = np.log(NOISE**2 / (1 - COEFFICIENT**2))
    return 0.5 * (length * np.log(2 * np.pi * np.e) + first + (length - 1) * np.log(NOISE**2))
