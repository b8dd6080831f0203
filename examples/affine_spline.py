"""A transformer for ARFlowBijector: a spline bends u, then an affine map shifts and scales it."""

import dataclasses
import math

import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar

tfb = tfp.bijectors

# Least width, height and slope, as in Durkan et al.'s experiments.
LEAST = 1e-3
SLOPE_OFFSET = math.log(math.expm1(1.0 - LEAST))  # a slope of 1 for a parameter of 0


@dataclasses.dataclass(frozen=True)
class AffineSpline:
    """A `bijector_fn`: x = mu + exp(alpha) s(u), s a monotone rational-quadratic spline.

    An affine flow's conditionals are Gaussian; those of ink are not: a pixel is empty, or full, or
    seldom something between. s is the identity outside [-bound, bound] and has `num_bins` bins
    inside, with widths, heights and slopes from the network. Zero parameters give the identity.

    Args:
      num_bins: bins of the spline. Default 8.
      bound: where the spline ends, in standard deviations of the base. Default 4.
      log_scale_bound: the bound on |alpha|. Default 7.

    References:
      C. Durkan et al., Neural spline flows, arXiv:1906.04032, 2019.
    """

    num_bins: int = 8
    bound: float = 4.0
    log_scale_bound: float = 7.0

    @property
    def num_params(self) -> int:
        """What it takes of each variable: 2 for the affine map, then widths, heights and slopes."""
        return 2 + 3 * self.num_bins - 1

    def __call__(self, params):
        """The bijector for params [..., num_params]: acts elementwise on [...]."""
        affine, widths, heights, slopes = tf.split(
            params, [2, self.num_bins, self.num_bins, self.num_bins - 1], axis=-1
        )
        spline = tfb.RationalQuadraticSpline(
            self._bin_sizes(widths),
            self._bin_sizes(heights),
            tf.nn.softplus(slopes + SLOPE_OFFSET) + LEAST,
            range_min=-self.bound,
        )
        return tfb.Chain([tfp_ar.bijectors.Affine(self.log_scale_bound)(affine), spline])

    def _bin_sizes(self, raw):
        """Positive sizes [..., num_bins] that add up to 2 bound."""
        total = 2.0 * self.bound
        return LEAST + (total - LEAST * self.num_bins) * tf.nn.softmax(raw)
