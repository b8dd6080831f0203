"""The transformer of neural spline flows."""

import dataclasses
import math
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.transformers.affine import LOG_SCALE_BOUND, Affine
from tfp_ar.bijectors.transformers.numerical_forward import NumericalForwardBijector
from tfp_ar.bijectors.transformers.root_finding import with_closed_slope
from tfp_ar.internal import checks, shapes

tfb = tfp.bijectors


@dataclasses.dataclass(frozen=True)
class RationalQuadraticSpline:
    """Transformer by a monotone spline, shifted and scaled, a `bijector_fn` for ARFlowBijector.

        u = s(t),    t = (x - mu) / exp(alpha)

    s maps [-bound, bound] onto itself, by K rational-quadratic pieces with widths, heights and
    slopes at the inner knots from the parameters. Outside, s is the identity, and its slope at the
    ends is 1. The affine map around it, that of `Affine`, brings x into its range. All tails are
    linear.

    From params [..., 3 K + 1], in this order:

        mu = params,  alpha as in `Affine`
        widths, heights = 2 bound (min_bin_size + (1 - K min_bin_size) softmax(params [K]))
        slopes = exp(b tanh(params [K - 1] / b)),    b = -log(min_slope)

    Zero parameters give the identity (equal bins of slope 1), up to rounding.

    Args:
      num_bins: K, at least 2. Default 8.
      bound: the end of the spline, above 0, in units of u. Default 4: a standard normal u is
        outside with probability 6e-5.
      log_scale_bound: the bound on |alpha|, above 0. Default 7: scales from 1/1100 to 1100.
      min_bin_size: the least width and height, as a fraction of 2 bound, above 0 and below
        1/num_bins. Default 1e-3.
      min_slope: the least slope at a knot, above 0 and below 1; 1 / min_slope is the greatest.
        Default 1e-3.

    Cost per variable: x to u and its log-det evaluate one spline each. u to x takes TFP's inverse
    and one or two splines more, since in float32 that inverse is NaN for some steep splines.
    docs/flows.md has measurements.

    Derivatives of x in u and params are those of implicit differentiation, of all orders.

    Inside `tf.vectorized_map` TFP 0.25's spline gives wrong values, and so does this one.

    Raises:
      TypeError, ValueError: if an argument is not a number or is out of its range.

    References:
      C. Durkan et al., Neural spline flows, arXiv:1906.04032, 2019.

    >>> transformer = RationalQuadraticSpline(num_bins=2, bound=2.0)
    >>> raw = tf.constant([0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0])  # half of u in the last 21st of x
    >>> print(transformer(raw).forward([-3.0, -2.0, 0.0, 1.0, 2.0, 3.0]).numpy().round(2))
    [-3.   -2.    1.81  1.9   2.    3.  ]
    """

    num_bins: int = 8
    bound: float = 4.0
    log_scale_bound: float = LOG_SCALE_BOUND
    min_bin_size: float = 1e-3
    min_slope: float = 1e-3

    def __post_init__(self):
        if checks.positive_int("num_bins", self.num_bins) < 2:
            raise ValueError(f"num_bins: expected at least 2, got {self.num_bins!r}.")
        for name in ("bound", "log_scale_bound", "min_bin_size", "min_slope"):
            checks.positive_float(name, getattr(self, name))
        if not self.min_bin_size < 1.0 / self.num_bins:
            raise ValueError(
                f"min_bin_size: expected a number below 1/num_bins ({1.0 / self.num_bins:g}), got "
                f"{self.min_bin_size!r}."
            )
        if not self.min_slope < 1.0:
            raise ValueError(f"min_slope: expected a number below 1, got {self.min_slope!r}.")

    @property
    def num_params(self) -> int:
        """The number of parameters per variable, 3 K + 1."""
        return 3 * self.num_bins + 1

    def __call__(self, params: Any) -> tfb.Bijector:
        """Returns the elementwise bijector on [...] for params [..., 3 K + 1].

        Raises:
          ValueError: if the last dimension of `params` is not 3 K + 1.
        """
        params = tf.convert_to_tensor(params)
        shapes.check_event_shape("params", params.shape.as_list(), [self.num_params])
        bins = self.num_bins
        affine, widths, heights, slopes = tf.split(params, [2, bins, bins, bins - 1], axis=-1)
        log_slope_bound = tf.constant(-math.log(self.min_slope), params.dtype)
        spline = SplineQuantile(
            self._bin_sizes(widths),
            self._bin_sizes(heights),
            tf.exp(log_slope_bound * tf.tanh(slopes / log_slope_bound)),
            bound=self.bound,
        )
        return tfb.Chain([Affine(self.log_scale_bound)(affine), spline])

    def _bin_sizes(self, raw):
        """Returns sizes [..., K], each at least the minimum, that add up to 2 bound."""
        free = 1.0 - self.min_bin_size * self.num_bins
        return 2.0 * self.bound * (self.min_bin_size + free * tf.nn.softmax(raw))


class SplineQuantile(NumericalForwardBijector):
    """Bijector x = s^-1(u) with s a `tfb.RationalQuadraticSpline` on [-bound, bound]; elementwise.

    It avoids three faults of TFP's own spline:

    * Far outside its range, TFP evaluates the spline and then selects the identity. 0/0 in the
      spline makes gradients NaN there. Here only points inside the range reach the spline.
    * TFP's inverse takes the root of a discriminant that is positive, but rounds below 0 where a
      piece is steep and the slope at its end is not: NaN. Where pieces are steep it also has fewer
      digits than the spline itself. Here the inverse is only the starting point of the solver.
    * Autodiff of TFP's spline loses the digits of small slopes, which may even come out negative.
      Here the derivative in x is the slope of the log-det.

    Args:
      widths: [..., K], above 0, adding up to 2 bound.
      heights: [..., K], above 0, adding up to 2 bound.
      slopes: [..., K - 1], above 0, at the inner knots.
      bound: the end of the spline, above 0.
      name: name for the ops. Default 'spline_quantile'.
    """

    def __init__(
        self,
        widths: tf.Tensor,
        heights: tf.Tensor,
        slopes: tf.Tensor,
        bound: float,
        name: str = "spline_quantile",
    ):
        parameters = dict(locals())
        self._bound = float(bound)
        super().__init__([widths, heights, slopes], parameters, name)

    @classmethod
    def _parameter_properties(cls, dtype):
        names = ("widths", "heights", "slopes")
        return {name: tfp.util.ParameterProperties(event_ndims=1) for name in names}

    def _spline(self, widths, heights, slopes):
        return tfb.RationalQuadraticSpline(widths, heights, slopes, range_min=-self._bound)

    def _curve(self, x, widths, heights, slopes):
        inside = tf.abs(x) < self._bound
        safe = tf.where(inside, x, tf.zeros_like(x))
        spline = self._spline(widths, heights, slopes)
        u, log_slope = spline.forward(safe), spline.forward_log_det_jacobian(safe)
        return tf.where(inside, u, x), tf.where(inside, log_slope, tf.zeros_like(log_slope))

    def _inverse(self, y):
        y += tf.zeros_like(self._theta[0][..., 0])  # broadcast, as the gradient has this shape
        return with_closed_slope(self._curve, y, self._theta)

    def _bracket(self, u):
        inside = tf.abs(u) < self._bound
        start = self._spline(*self._theta).inverse(tf.where(inside, u, tf.zeros_like(u)))
        start = tf.where(tf.math.is_finite(start), start, tf.zeros_like(start))
        start = tf.clip_by_value(start, -self._bound, self._bound)
        # Outside, the solution is u itself, and the bracket is [u, u].
        low = tf.where(inside, tf.constant(-self._bound, u.dtype), u)
        high = tf.where(inside, tf.constant(self._bound, u.dtype), u)
        return low, high, tf.where(inside, start, u)
