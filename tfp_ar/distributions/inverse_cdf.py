"""Samples of categories from uniform numbers."""

import tensorflow as tf


def categorical_index(probs, u):
    """The first category at which the cumulative probability reaches u: int32 [...]; K of NaNs.

    No category of probability 0 comes out, whatever is rounded: the sums, which XLA adds up in
    another order, may end below 1 or stand still. Of probabilities that are NaN comes K, which is
    no category, as from TensorFlow's own sampler.

    Args:
      probs: [..., K].
      u: [...], strictly between 0 and 1.
    """
    cumulative = tf.cumsum(probs, axis=-1)
    level = u[..., tf.newaxis] * tf.reduce_max(cumulative, axis=-1, keepdims=True)
    reached = (cumulative >= level) & (probs > 0)
    index = tf.argmax(tf.cast(reached, tf.int32), axis=-1, output_type=tf.int32)
    return tf.where(level[..., 0] >= 0, index, tf.shape(probs)[-1])
