"""Which integers a distribution is over, and whether values are among them."""

import dataclasses
import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors import Bounded
from tfp_ar.bijectors.routing import is_transformed
from tfp_ar.distributions.support import Support

tfb, tfd = tfp.bijectors, tfp.distributions


@dataclasses.dataclass(frozen=True)
class IntegerSupport(Support):
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

    @classmethod
    def of_conditional(cls, distribution) -> "IntegerSupport | None":
        """The integers of a scalar distribution; None of one that is not known to be over any."""
        if isinstance(distribution, tfd.Categorical):
            given = distribution.probs if distribution.logits is None else distribution.logits
            return cls(0, given.shape[-1] - 1)
        if isinstance(distribution, tfd.Bernoulli):
            return cls(0, 1)
        support = getattr(distribution, "support", None)  # of ours
        if support is None and distribution.dtype.is_integer:
            return cls()
        return support if isinstance(support, cls) else None

    @property
    def legal(self) -> int:
        """One of them."""
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
        """Elementwise; `library` is numpy or TensorFlow."""
        if tf.as_dtype(x.dtype).is_floating:
            finite = np.isfinite if library is np else tf.math.is_finite
            if x.dtype in ("float16", "bfloat16"):  # which would round the bounds
                x = x.astype(np.float32) if library is np else tf.cast(x, tf.float32)
            contained = finite(x) & library.equal(library.floor(x), x)
        else:  # in x's own dtype, bounds might wrap around
            x = x.astype(np.int64) if library is np else tf.cast(x, tf.int64)
            contained = library.equal(x, x)
        if self.low is not None:
            contained = contained & (x >= self.low) & (x <= self.high)
        return contained


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
