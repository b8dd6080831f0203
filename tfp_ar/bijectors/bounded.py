"""A bijector from the real line to an interval, safe at the ends."""

import math
import numbers
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.internal.tfp_private import cache_util

tfb = tfp.bijectors


class Bounded(tfb.Bijector):
    """Rescaled sigmoid from the real line onto [low, high), elementwise.

        forward: y = low + (high - low) sigmoid(z)
        inverse: z = logit((y - low) / (high - low)) = log(y - low) - log(high - y)
        log dy/dz = log(high - low) - softplus(z) - softplus(-z)

    A density of `tfp_ar.Dequantized` over the integers low..high-1 needs this support: clipping
    samples instead would change their distribution. `tfb.Sigmoid(low, high)` returns 17 for low=0,
    high=17, z=17 in float32; this bijector is safe at the ends:

    * forward(z) is in [low, high), strictly below `high`, for every z, including infinite ones;
      floor(forward(z)) is one of low..high-1.
    * inverse(y) is finite, for y = low and y = high too; both log-dets are finite for finite z.
    * outside [low, high] the density is zero: the inverse log-det is -inf, and hence `log_prob` is
      (not NaN, and no error is raised). NaN stays NaN.

    Args:
      low: the lower end, a finite number.
      high: the upper end, a finite number above `low`. For 256 levels 0..255: low=0, high=256.
      dtype: dtype of the tensors. Default None: the dtype of what the methods get.
      validate_args: passed on to TFP. Default False.
      name: name for the ops. Default 'bounded'.

    Raises:
      TypeError, ValueError: if `low` and `high` are not finite numbers with low < high.

    References:
      L. Dinh et al., Density estimation using Real NVP, arXiv:1605.08803, 2017, section 4.1.

    >>> bounded = Bounded(low=0, high=17)
    >>> print(tf.floor(bounded.forward([-1e3, 0.0, 1e3])).numpy())
    [ 0.  8. 16.]
    """

    # The cache keeps the log-det at z with each pair of tensors: near the ends, y does not have the
    # digits for it. A y outside keeps its -inf there, which its z, a finite number, cannot tell.
    _cache = cache_util.BijectorCacheWithGreedyAttrs("_augmented_forward", "_augmented_inverse")

    def __init__(
        self,
        low: float,
        high: float,
        dtype: Any = None,
        validate_args: bool = False,
        name: str = "bounded",
    ):
        parameters = dict(locals())
        for argument in ("low", "high"):
            value = parameters[argument]
            if isinstance(value, bool) or not isinstance(value, (numbers.Real, np.ndarray)):
                raise TypeError(f"{argument}: expected a number, got {value!r}.")
            if np.ndim(value) or not math.isfinite(value):  # type: ignore[arg-type]  # Real
                raise ValueError(f"{argument}: expected a finite number, got {value!r}.")
        if not low < high:
            raise ValueError(f"high: expected a number above low ({low!r}), got {high!r}.")
        self._low, self._high = float(low), float(high)
        with tf.name_scope(name) as name:
            super().__init__(
                forward_min_event_ndims=0,
                is_constant_jacobian=False,
                dtype=None if dtype is None else tf.as_dtype(dtype),
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    @property
    def low(self) -> float:
        """The lower end."""
        return self._low

    @property
    def high(self) -> float:
        """The upper end."""
        return self._high

    @classmethod
    def _is_increasing(cls, **_):
        return True

    def _ends(self, dtype):
        """Returns the least and the greatest number of `dtype` in [low, high)."""
        numpy_dtype = tf.as_dtype(dtype).as_numpy_dtype
        low = np.asarray(self._low, numpy_dtype)
        return low, np.nextafter(np.asarray(self._high, numpy_dtype), low)

    def _log_slope(self, z):
        width = tf.constant(math.log(self._high - self._low), z.dtype)
        return width - tf.nn.softplus(z) - tf.nn.softplus(-z)

    def _augmented_forward(self, z):
        y = self._low + (self._high - self._low) * tf.sigmoid(z)
        return tf.clip_by_value(y, *self._ends(z.dtype)), {"ildj": -self._log_slope(z)}

    def _augmented_inverse(self, y):
        low, high = (tf.constant(end, y.dtype) for end in (self._low, self._high))
        # A log of 0 would be infinite. The noise of dequantization is farther from the ends than
        # `least`, so that only exact ends are moved.
        # (NumPy does not know bfloat16, which has the exponents of float32.)
        known = np.float32 if y.dtype == tf.bfloat16 else y.dtype.as_numpy_dtype
        least = tf.constant(np.finfo(known).tiny, y.dtype)
        z = tf.math.log(tf.maximum(y - low, least)) - tf.math.log(tf.maximum(high - y, least))
        outside = (y < low) | (y > high)  # a NaN is neither
        z = tf.where(outside, tf.zeros_like(z), z)  # any finite number will do
        return z, {"ildj": tf.where(outside, tf.constant(-np.inf, y.dtype), -self._log_slope(z))}

    def _forward(self, x):
        return self._augmented_forward(x)[0]

    def _inverse(self, y):
        return self._augmented_inverse(y)[0]

    def _forward_log_det_jacobian(self, x):
        return self._log_slope(x)

    def _inverse_log_det_jacobian(self, y):
        return self._augmented_inverse(y)[1]["ildj"]

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}
