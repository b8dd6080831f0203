"""The quantile function of a mixture of logistic laws, at the logistic function of u."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.monotone_bijector import MonotoneBijector


class LogisticMixtureQuantile(MonotoneBijector):
    """u = logit F(x), F the CDF of a mixture of logistics; elementwise.

        F(x) = sum_k w[k] sigma(z[k]),    z[k] = (x - loc[k]) / exp(log_scale[k])
        inverse:  u = log F(x) - log(1 - F(x))
        forward:  x = F^-1(sigma(u)), by `safe_root`
        log du/dx = log sum_k w[k] sigma(z[k]) sigma(-z[k]) / exp(log_scale[k])
                    - log F - log(1 - F)

    with w = softmax(logits). log F and log(1 - F) are logsumexps of log w + log sigma(+-z), so that
    neither tail saturates. At infinite x, u is infinite and log du/dx what it tends to.

    Args:
      logits: [..., K], unnormalised log weights.
      loc: [..., K].
      log_scale: [..., K].
      name: default 'logistic_mixture_quantile'.
    """

    def __init__(self, logits, loc, log_scale, name="logistic_mixture_quantile"):
        parameters = dict(locals())
        super().__init__([logits, loc, log_scale], parameters, name)

    @classmethod
    def _parameter_properties(cls, dtype):
        names = ("logits", "loc", "log_scale")
        return {name: tfp.util.ParameterProperties(event_ndims=1) for name in names}

    def _curve(self, x, logits, loc, log_scale):
        infinite = tf.math.is_inf(x)
        ends, x = x, tf.where(infinite, tf.zeros_like(x), x)
        z = (x[..., tf.newaxis] - loc) * tf.exp(-log_scale)
        log_weight = tf.nn.log_softmax(logits)
        below = log_weight + tf.math.log_sigmoid(z)
        above = log_weight + tf.math.log_sigmoid(-z)
        log_cdf = tf.reduce_logsumexp(below, axis=-1)
        log_survival = tf.reduce_logsumexp(above, axis=-1)
        # Differences of like numbers first: far out they are large, and their rounding would show.
        shares = (below - log_cdf[..., tf.newaxis]) + (above - log_survival[..., tf.newaxis])
        log_slope = tf.reduce_logsumexp(shares - log_weight - log_scale, axis=-1)
        # Far out the component of the largest scale is all there is.
        widest = -tf.reduce_max(log_scale, axis=-1)
        return (
            tf.where(infinite, ends, log_cdf - log_survival),
            tf.where(infinite, widest, log_slope),
        )

    def _bracket(self, u):
        # The components' own quantiles at u: at the least of them no component, hence not the
        # mixture either, has more than sigma(u) below. Neighbours among them are a narrower
        # bracket, and the one whose u is nearest is near the solution unless components overlap.
        logits, loc, log_scale = self._theta
        quantiles = loc + tf.exp(log_scale) * u[..., tf.newaxis]
        expanded = [t[..., tf.newaxis, :] for t in self._theta]
        residual = self._curve(quantiles, *expanded)[0] - u[..., tf.newaxis]
        least = tf.reduce_min(quantiles, axis=-1, keepdims=True)
        most = tf.reduce_max(quantiles, axis=-1, keepdims=True)
        low = tf.reduce_max(tf.where(residual <= 0.0, quantiles, least), axis=-1)
        high = tf.reduce_min(tf.where(residual >= 0.0, quantiles, most), axis=-1)
        distance = tf.abs(residual)
        nearest = distance <= tf.reduce_min(distance, axis=-1, keepdims=True)
        start = tf.reduce_min(tf.where(nearest, quantiles, most), axis=-1)
        return low, high, start
