"""The support of a distribution that is not known to be over integers."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfp_ar.distributions.support import Support


@dataclasses.dataclass(frozen=True)
class RealSupport(Support):
    """All finite numbers, as far as is known.

    Args:
      legal: a number at which the density is positive. Default 0.

    >>> from tfp_ar.distributions.real_support import RealSupport
    >>> RealSupport().contains(tf.constant([0.5, np.nan, np.inf])).numpy()
    array([ True, False, False])
    """

    legal: float = 0.0

    @classmethod
    def of_conditional(cls, distribution) -> "RealSupport":
        """That of a scalar distribution, whose bijector from the real line knows a legal value."""
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
