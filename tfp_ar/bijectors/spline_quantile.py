"""TFP's rational-quadratic spline, made safe outside its range and for steep pieces."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.monotone_bijector import MonotoneBijector
from tfp_ar.bijectors.safe_root import with_closed_slope

tfb = tfp.bijectors


class SplineQuantile(MonotoneBijector):
    """x = s^-1(u), s the spline of `tfb.RationalQuadraticSpline` on [-bound, bound]; elementwise.

    What TFP's own would do otherwise:

    * Far outside its range it computes the spline all the same, then chooses the identity: with
      0/0 in what is not chosen, gradients are NaN. Here only points inside reach it.
    * Its inverse takes the root of a discriminant that is positive, but rounds below 0 where a
      piece is steep and the slope at its end is not: NaN. Where pieces are steep it also has fewer
      digits than the spline itself. Here it is only where the solver starts.
    * Autodiff of it loses the digits of small slopes, which may even come out negative. Here the
      derivative in x is the slope of the log-det.

    Args:
      widths: [..., K], above 0, adding up to 2 bound.
      heights: the same.
      slopes: [..., K - 1], above 0, at the inner knots.
      bound: a number.
      name: default 'spline_quantile'.
    """

    def __init__(self, widths, heights, slopes, bound, name="spline_quantile"):
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
        y += tf.zeros_like(self._theta[0][..., 0])  # of the shape of the gradient
        return with_closed_slope(self._curve, y, self._theta)

    def _bracket(self, u):
        inside = tf.abs(u) < self._bound
        start = self._spline(*self._theta).inverse(tf.where(inside, u, tf.zeros_like(u)))
        start = tf.where(tf.math.is_finite(start), start, tf.zeros_like(start))
        start = tf.clip_by_value(start, -self._bound, self._bound)
        # Outside the solution is u, and so is the bracket.
        low = tf.where(inside, tf.constant(-self._bound, u.dtype), u)
        high = tf.where(inside, tf.constant(self._bound, u.dtype), u)
        return low, high, tf.where(inside, start, u)
