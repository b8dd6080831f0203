"""The sets of values that distributions are over, and checks of given values against them."""

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors import Bounded
from tfp_ar.conditioning import walk
from tfp_ar.internal import tf_private

tfd = tfp.distributions


class Support:
    """A set of numbers.

    A subclass defines `_contains`, `__str__` for messages, and `legal`, a number in the set.

    >>> tfp_ar.distributions.Dequantized(tfd.Uniform(0.0, 4.0)).support.check(np.array([3, 4]))
    """

    def contains(self, value: tf.Tensor) -> tf.Tensor:
        """Checks each value of a tensor; returns True where it is in the support."""
        return self._contains(tf, value)

    def check(self, values: Any, name: str = "value") -> None:
        """Checks that all values of an array are in the support.

        Raises:
          ValueError: if one is not; the message shows the first of them.
        """
        values = np.asarray(values)
        wrong = ~np.asarray(self._contains(np, values))
        if wrong.any():
            raise ValueError(f"{name}: expected {self}, got {values[wrong].ravel()[0]}.")

    def assertions(self, value: tf.Tensor) -> list:
        """Checks a tensor of known values; for others, returns ops that check them when run."""
        if isinstance(value, tf_private.EagerTensor):
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
        """Checks each value; `library` is numpy or TensorFlow."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class IntegerSupport(Support):
    """The integers low..high, both inclusive; None means no bound.

    >>> flow = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), tfp_ar.bijectors.Bounded(0, 256))
    >>> tfp_ar.Dequantized(flow).support
    IntegerSupport(low=0, high=255)
    """

    low: int | None = None
    high: int | None = None

    @classmethod
    def of(cls, distribution: tfd.Distribution) -> "IntegerSupport":
        """Returns the integers in the range of an outermost `Bounded`; all integers without one."""
        bounded = walk.outermost(distribution)
        if not isinstance(bounded, Bounded):
            return cls()
        return cls(math.floor(bounded.low), math.ceil(bounded.high) - 1)

    @classmethod
    def of_conditional(cls, distribution: tfd.Distribution) -> "IntegerSupport | None":
        """Returns the integers of a scalar distribution, None if it is not known to have any."""
        if isinstance(distribution, tfd.Categorical):
            given = distribution.probs if distribution.logits is None else distribution.logits
            return cls(0, given.shape[-1] - 1)
        if isinstance(distribution, tfd.Bernoulli):
            return cls(0, 1)
        support = getattr(distribution, "support", None)  # only our own have it
        if support is None and distribution.dtype.is_integer:
            return cls()
        return support if isinstance(support, cls) else None

    @property
    def legal(self) -> int:
        """An integer in the support."""
        return self.low or 0

    def __str__(self):
        if self.low is None:
            return "integers"
        return f"integers in {self.low}..{self.high}"

    def _check_integer_dtype(self, name, dtype):
        least, most = (0, 1) if dtype.is_bool else (dtype.min, dtype.max)
        if self.low is not None and not least <= self.low <= self.high <= most:
            super()._check_integer_dtype(name, dtype)

    def _contains(self, library, x):
        """Checks each value; `library` is numpy or TensorFlow."""
        if tf.as_dtype(x.dtype).is_floating:
            finite = np.isfinite if library is np else tf.math.is_finite
            if x.dtype in ("float16", "bfloat16"):  # which would round the bounds in the comparison
                x = x.astype(np.float32) if library is np else tf.cast(x, tf.float32)
            contained = finite(x) & library.equal(library.floor(x), x)
        else:  # in x's own dtype, bounds might wrap around
            x = x.astype(np.int64) if library is np else tf.cast(x, tf.int64)
            contained = library.equal(x, x)
        if self.low is not None:
            contained = contained & (x >= self.low) & (x <= self.high)
        return contained


@dataclasses.dataclass(frozen=True)
class RealSupport(Support):
    """All finite numbers, the support where nothing else is known.

    Args:
      legal: a number at which the density is positive. Default 0.

    >>> from tfp_ar.distributions.support import RealSupport
    >>> RealSupport().contains(tf.constant([0.5, np.nan, np.inf])).numpy()
    array([ True, False, False])
    """

    legal: float = 0.0

    @classmethod
    def of_conditional(cls, distribution: tfd.Distribution) -> "RealSupport":
        """Returns the support of a scalar distribution, with a legal value from its bijector."""
        try:
            bijector = distribution.experimental_default_event_space_bijector()
            return cls(float(bijector.forward(tf.zeros([], distribution.dtype))))
        except (NotImplementedError, TypeError, AttributeError):
            return cls()

    def __str__(self):
        return "finite numbers"

    def _contains(self, library, x):
        if not tf.as_dtype(x.dtype).is_floating:
            return library.equal(x, x)
        return np.isfinite(x) if library is np else tf.math.is_finite(x)
