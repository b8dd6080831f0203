"""Mixtures of logistic distributions, rounded to integers."""

import functools
import numbers
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.distributions.inversion import categorical_index
from tfp_ar.distributions.support import IntegerSupport
from tfp_ar.internal.random import unit_uniform
from tfp_ar.internal.tfp_private import assert_util, dtype_util, tensor_util
from tfp_ar.internal.tfp_private import prefer_static as ps

tfb, tfd = tfp.bijectors, tfp.distributions

_STREAM = 0x5F3A17C9  # of the noise of samples


class DiscretizedLogisticMixture(tfd.Distribution):
    """Mixture of logistic distributions, rounded to the integers low..high, with open ends.

        P(x) = sum_k w[k] (sigma(b[k]) - sigma(a[k]))
        a = (x - 1/2 - loc) / scale,    b = (x + 1/2 - loc) / scale

    with w = softmax(logits) and sigma(z) = 1 / (1 + exp(-z)), but a = -inf at x = low and b = inf
    at x = high, so that the sum over low..high is 1. Its logarithm has no cancellation,

        log(sigma(b) - sigma(a)) = log sigma(b) + log sigma(-a) + log(1 - exp(a - b)),

    with finite values and gradients however many scales away x is, as long as these gradients are
    numbers of the dtype: in float32, for scale^2 > (|x - loc| + 1) / 3e38, such as any scale above
    1e-18 at 256 levels.

    Args:
      logits: [..., K], unnormalised log weights.
      loc: [..., K], locations, in units of x.
      scale: [..., K], above 0, in units of x.
      low: the lowest level, an int.
      high: the highest level, an int above `low`.
      validate_args: whether to check at run time that values are levels, that scales are above 0,
        and that the parameters have one K. Default False.
      allow_nan_stats: passed on to TFP. Default True.
      name: name for the ops. Default 'discretized_logistic_mixture'.

    The dtype is the float dtype of the parameters; values may be of any integer or float dtype.
    Numbers other than the levels have log_prob -inf.

    Cost: log_prob computes K cells per value; `mode` and `mean` compute log_prob of all levels.

    Raises:
      TypeError, ValueError: if `low` and `high` are not integers in increasing order, the
        parameters are neither float32 nor float64, they differ in K, or their batch shapes do not
        broadcast.

    References:
      T. Salimans et al., PixelCNN++: Improving the PixelCNN with discretized logistic mixture
        likelihood and other modifications, arXiv:1701.05517, 2017.

    >>> mixture = DiscretizedLogisticMixture([0.0, 0.0], [1.0, 6.0], [0.3, 0.5], low=0, high=7)
    >>> print(mixture.prob(tf.range(8)).numpy().round(3))
    [0.079 0.341 0.076 0.006 0.02  0.111 0.231 0.134]
    """

    def __init__(
        self,
        logits: Any,
        loc: Any,
        scale: Any,
        low: int,
        high: int,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "discretized_logistic_mixture",
    ):
        parameters = dict(locals())
        self._levels = checked_levels(low, high)
        with tf.name_scope(name) as name:
            dtype = dtype_util.common_dtype([logits, loc, scale], dtype_hint=tf.float32)
            convert = functools.partial(tensor_util.convert_nonref_to_tensor, dtype=dtype)
            self._logits, self._loc, self._scale = map(convert, (logits, loc, scale))
            self._check_parameters(dtype)
            super().__init__(
                dtype=dtype,
                reparameterization_type=tfd.NOT_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=name,
            )

    def _check_parameters(self, dtype):
        if dtype not in (tf.float32, tf.float64):
            raise TypeError(f"logits: expected float32 or float64, got {dtype.name}.")
        shapes = {"logits": self._logits.shape, "loc": self._loc.shape, "scale": self._scale.shape}
        for name, shape in shapes.items():
            if shape.rank == 0:
                raise ValueError(f"{name}: expected shape [..., K], got [].")
        counts = {name: shape[-1] if shape.rank else None for name, shape in shapes.items()}
        known = {count for count in counts.values() if count is not None}
        if len(known) > 1:  # broadcasting one weight to K components gives a sum other than 1
            raise ValueError(f"logits, loc, scale: expected one K, got {counts}.")
        try:
            functools.reduce(tf.broadcast_static_shape, shapes.values())
        except ValueError:
            shown = {name: list(shape) for name, shape in shapes.items()}
            raise ValueError(
                f"logits, loc, scale: expected shapes that broadcast, got {shown}."
            ) from None

    @property
    def logits(self) -> tf.Tensor:
        """The unnormalised log weights of the components, [..., K]."""
        return self._logits

    @property
    def loc(self) -> tf.Tensor:
        """The locations of the components, [..., K]."""
        return self._loc

    @property
    def scale(self) -> tf.Tensor:
        """The scales of the components, [..., K]."""
        return self._scale

    @property
    def support(self) -> IntegerSupport:
        """The levels."""
        return self._levels

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {
            "logits": tfp.util.ParameterProperties(event_ndims=1),
            "loc": tfp.util.ParameterProperties(event_ndims=1),
            "scale": tfp.util.ParameterProperties(
                event_ndims=1, default_constraining_bijector_fn=tfb.Softplus
            ),
        }

    def _event_shape(self):
        return tf.TensorShape([])

    def _event_shape_tensor(self):
        return tf.constant([], tf.int32)

    def _default_event_space_bijector(self):
        return None  # no bijector maps the real line onto integers

    def _parameter_control_dependencies(self, is_init):
        assertions = []
        if not self.validate_args:
            return assertions
        if is_init:  # shapes that the static check in the constructor did not know
            count = ps.shape(self._logits)[-1]
            for name, parameter in (("loc", self._loc), ("scale", self._scale)):
                message = f"{name}: expected the K of logits."
                assertions.append(
                    assert_util.assert_equal(ps.shape(parameter)[-1], count, message=message)
                )
        # A variable may change, so it is checked at every use; a tensor is checked once.
        if is_init != tensor_util.is_ref(self._scale):
            message = "scale: expected positive numbers."
            assertions.append(assert_util.assert_positive(self._scale, message=message))
        return assertions

    def _sample_control_dependencies(self, value):
        return self.support.assertions(value) if self.validate_args else ()

    def _log_prob(self, value):
        inside = self.support.contains(value)
        legal = tf.cast(self.support.legal, self.dtype)
        x = tf.where(inside, tf.cast(value, self.dtype), legal)[..., tf.newaxis]
        scale = tf.convert_to_tensor(self._scale)
        centred = x - self._loc
        a, b = (centred - 0.5) / scale, (centred + 0.5) / scale
        first, last = x <= self.support.low, x >= self.support.high
        zero = tf.zeros([], self.dtype)
        cells = (
            tf.where(first, zero, tf.math.log_sigmoid(-a))
            + tf.where(last, zero, tf.math.log_sigmoid(b))
            # -1 / scale instead of a - b, where rounding loses the digits of a small 1 / scale.
            + tf.where(first | last, zero, tf.math.log(-tf.math.expm1(-1.0 / scale)))
        )
        log_prob = tf.reduce_logsumexp(tf.nn.log_softmax(self._logits) + cells, axis=-1)
        return tf.where(inside, log_prob, tf.constant(-np.inf, self.dtype))

    def sample_from_uniform(self, u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """Computes samples [...] from uniform u [...] for the component and v [...] within it."""
        loc, scale = self._loc, self._scale
        k = categorical_index(tf.nn.softmax(self._logits), u)
        chosen = tf.one_hot(k, ps.shape(self._logits)[-1], on_value=True, off_value=False)
        # A product with 0 and 1 would turn an infinity in another component into NaN.
        loc, scale = (
            tf.reduce_sum(tf.where(chosen, p, tf.zeros_like(p)), axis=-1) for p in (loc, scale)
        )
        x = tf.floor(loc + scale * (tf.math.log(v) - tf.math.log1p(-v)) + 0.5)
        low, high = self.support.low, self.support.high
        assert low is not None and high is not None  # `checked_levels` sets both
        x = tf.clip_by_value(x, float(low), float(high))
        # With NaN logits no component is chosen, and the sums above are 0.
        return tf.where(tf.reduce_any(chosen, axis=-1), x, tf.constant(np.nan, self.dtype))

    def _sample_n(self, n, seed=None):
        shape = ps.concat([[2, n], self.batch_shape_tensor()], axis=0)
        u, v = tf.unstack(
            unit_uniform(shape, tfp.random.sanitize_seed(seed), _STREAM, self.dtype), axis=0
        )
        return self.sample_from_uniform(u, v)

    def _of_levels(self):
        """Returns all levels, and their log_prob, in a new first dimension."""
        levels = np.arange(self.support.low, self.support.high + 1, dtype=self.dtype.name)
        ones = tf.ones(ps.size(self.batch_shape_tensor()), tf.int32)
        levels = tf.reshape(levels, tf.concat([[-1], ones], axis=0))
        return levels, self._log_prob(levels)

    def _mode(self):
        return self.support.low + tf.cast(tf.argmax(self._of_levels()[1], axis=0), self.dtype)

    def _mean(self):
        levels, log_prob = self._of_levels()
        return tf.reduce_sum(levels * tf.exp(log_prob), axis=0)


def checked_levels(low: Any, high: Any) -> IntegerSupport:
    """Returns the levels low..high.

    Raises:
      TypeError, ValueError: if they are not integers in increasing order.
    """
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name}: expected an integer, got {value!r}.")
    if low >= high:
        raise ValueError(f"high: expected an integer above low={low}, got {high}.")
    return IntegerSupport(int(low), int(high))
