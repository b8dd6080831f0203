"""The values that a distribution is over, and whether given ones are among them."""

import numpy as np
import tensorflow as tf


class Support:
    """A set of numbers. A subclass has `_contains`, `__str__` for messages, and `legal`, one of it.

    >>> tfp_ar.distributions.Dequantized(tfd.Uniform(0.0, 4.0)).support.check(np.array([3, 4]))
    """

    def contains(self, value) -> tf.Tensor:
        """Whether each value of a tensor is in the support."""
        return self._contains(tf, value)

    def check(self, values, name="value") -> None:
        """Raises unless all of an array are in the support.

        Raises:
          ValueError: naming the first that is not.
        """
        values = np.asarray(values)
        wrong = ~np.asarray(self._contains(np, values))
        if wrong.any():
            raise ValueError(f"{name}: expected {self}, got {values[wrong].ravel()[0]}.")

    def assertions(self, value) -> list:
        """For a tensor: `check` if its values are known, else an op that fails when it runs."""
        if isinstance(value, tf.__internal__.EagerTensor):
            self.check(value.numpy())
            return []
        inside = tf.reduce_all(self.contains(value))
        return [tf.debugging.Assert(inside, [f"value: expected {self}, got", value])]

    def check_dtype(self, name: str, dtype: tf.DType) -> None:
        """Raises a ValueError if a dtype cannot hold the values."""
        if not dtype.is_floating:
            self._check_integer_dtype(name, dtype)

    def _check_integer_dtype(self, name, dtype):
        raise ValueError(f"{name}: expected a dtype that holds {self}, got {dtype.name}.")

    def _contains(self, library, x):
        """Elementwise; `library` is numpy or TensorFlow."""
        raise NotImplementedError
