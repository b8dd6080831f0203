"""Dropout masks that are a function of a seed and the step."""

import tensorflow as tf

from tfp_ar.internal.variables import random_states

_MASKS_A_STEP = 256  # may be drawn before they meet those of the next step
_SEEDS = 2**31  # what Keras takes a seed for, whatever the dtype of its state


class DropoutMasks:
    """Sets the states of the seed generators in Keras layers.

    Keras draws each mask from a counter, which it does not save: training that is resumed would
    have other masks.

    Args:
      layers: built Keras layers.
    """

    def __init__(self, layers):
        self._states = tuple(state for layer in layers for state in random_states(layer))

    def set(self, seed: int, step) -> None:
        """Makes the masks drawn next a function of `seed` and `step`, an integer tensor."""
        counter = tf.cast(step, tf.int64) * _MASKS_A_STEP % _SEEDS
        for i, state in enumerate(self._states):
            # A seed for each: blocks drop independently of each other.
            state.assign(tf.cast(tf.stack([(seed + i) % _SEEDS, counter]), state.dtype))
