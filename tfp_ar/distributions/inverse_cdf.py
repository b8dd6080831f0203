"""Samples of categories from uniform numbers."""

import tensorflow as tf


def categorical_index(probs, u):
    """The first category at which the cumulative probability reaches u: int32 [...].

    No category of probability 0 comes out, whatever is rounded: the sums, which XLA adds up in
    another order, may end below 1 or stand still.

    Args:
      probs: [..., K].
      u: [...], strictly between 0 and 1.
    """
    cumulative = tf.cumsum(probs, axis=-1)
    level = u[..., tf.newaxis] * tf.reduce_max(cumulative, axis=-1, keepdims=True)
    reached = (cumulative >= level) & (probs > 0)
    return tf.argmax(tf.cast(reached, tf.int32), axis=-1, output_type=tf.int32)
