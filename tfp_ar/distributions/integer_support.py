"""Which integers a dequantized distribution is over, and whether values are among them."""

import dataclasses
import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors import Bounded
from tfp_ar.bijectors.routing import is_transformed

tfb, tfd = tfp.bijectors, tfp.distributions


@dataclasses.dataclass(frozen=True)
class IntegerSupport:
    """The integers low..high, both inclusive; None for no bound.

    >>> flow = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), tfp_ar.bijectors.Bounded(0, 256))
    >>> tfp_ar.Dequantized(flow).support
    IntegerSupport(low=0, high=255)
    """

    low: int | None = None
    high: int | None = None

    @classmethod
    def of(cls, distribution) -> "IntegerSupport":
        """What the outermost bijector says, if it is a `Bounded`; otherwise no bounds."""
        bounded = _outermost(distribution)
        if bounded is None:
            return cls()
        return cls(math.floor(bounded.low), math.ceil(bounded.high) - 1)

    def __str__(self):
        if self.low is None:
            return "integers"
        return f"integers in {self.low}..{self.high}"

    def check(self, values, name="value") -> None:
        """Raises unless all of an array are in the support.

        Raises:
          ValueError: naming the first that is not.
        """
        wrong = ~np.asarray(self._contains(np, np.asarray(values)))
        if wrong.any():
            raise ValueError(
                f"{name}: expected {self}, got {np.asarray(values)[wrong].ravel()[0]}."
            )

    def assertions(self, value) -> list:
        """For a tensor: `check` if its values are known, else an op that fails when it runs."""
        if isinstance(value, tf.__internal__.EagerTensor):
            self.check(value.numpy())
            return []
        inside = tf.reduce_all(self._contains(tf, value))
        return [tf.debugging.Assert(inside, [f"value: expected {self}, got", value])]

    def _contains(self, library, x):
        """Elementwise; `library` is numpy or TensorFlow."""
        finite = np.isfinite if library is np else tf.math.is_finite
        contained = library.equal(x, x)
        if not np.issubdtype(_numpy_dtype(x), np.integer):
            contained = finite(x) & library.equal(library.floor(x), x)
        elif (
            library is tf
        ):  # which would make the bounds of x's dtype, where they might wrap around
            x = tf.cast(x, tf.int64)
        if self.low is not None:
            contained = contained & (x >= self.low) & (x <= self.high)
        return contained


def _numpy_dtype(x):
    return x.dtype.as_numpy_dtype if tf.is_tensor(x) else x.dtype


def _outermost(distribution) -> Bounded | None:
    """The bijector applied last, if it is a `Bounded`."""
    while isinstance(distribution, tfd.Distribution):
        if is_transformed(distribution):
            bijector = distribution.bijector
            while isinstance(bijector, tfb.Composition) and len(bijector.bijectors):
                bijector = tf.nest.flatten(bijector.bijectors)[0]
            return bijector if isinstance(bijector, Bounded) else None
        distribution = getattr(distribution, "distribution", None)
    return None
