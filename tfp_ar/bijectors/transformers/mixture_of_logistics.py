"""The transformer of Flow++: the CDF of a mixture of logistics."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.transformers.affine import LOG_SCALE_BOUND, Affine
from tfp_ar.bijectors.transformers.numerical_forward import NumericalForwardBijector
from tfp_ar.internal import checks, shapes

tfb = tfp.bijectors


@dataclasses.dataclass(frozen=True)
class MixtureOfLogistics:
    """Transformer whose conditionals may have several modes, a `bijector_fn` for ARFlowBijector.

        u = logit F(t),    t = (x - mu) / exp(alpha)
        F(t) = sum_k w[k] sigma((t - m[k]) / exp(s[k]))

    a mixture of K logistic distributions in units of the affine map around it, which moves and
    scales all of them together. The density direction, x to u, has a closed form. The sampling
    direction is solved by Newton's method inside a bracket, to a residual in u of 8 units of
    rounding of max(1, |u|), or as near as floats x come to it.

    From params [..., 3 K + 2], in this order:

        mu = params,  alpha = bound tanh(params / bound)          as in `Affine`
        w = softmax(params [K]),  m = offset + params [K],  s = bound tanh(params [K] / bound)

    with offset spread evenly over [-spread, spread], so that the components start apart: equal
    components have equal gradients and would never separate. Zero parameters give, for all u,

        |x - u| <= log mean(exp(offset)) <= spread^2 / 2,

    which is 0.07 by default, and du/dx from 0.96 to 1: nearly the identity. With one component the
    map is affine. If u has a logistic distribution, x has that of the mixture; if u is normal, x
    has the tails of a normal distribution.

    Args:
      num_components: K. Default 4.
      log_scale_bound: the bound on |alpha| and on |s|, above 0. Default 7: scales from 1/1100 to
        1100 for the whole mixture, and for each component in units of that scale.
      spread: how far apart components start, above 0, in units of their scale. Default 0.5.

    Cost per variable: x to u takes some 6 K exponentials and logarithms. u to x takes, in each step
    of a sampling loop, K times as many to begin with, then as many as x to u per iteration. There
    are 4 to 8 iterations until the last of a batch is done, up to 14 where components are far
    apart, and never more than 72 in float32, 101 in float64. docs/flows.md has measurements. A
    derivative of x costs x to u and its derivative once, whatever the number of iterations.

    Derivatives of x in u and params are those of implicit differentiation, of all orders. On the
    plateau between components D scales apart they are of the order of exp(D/2).

    Raises:
      TypeError, ValueError: if an argument is not a number above 0.

    References:
      J. Ho et al., Flow++: Improving flow-based generative models with variational dequantization
        and architecture design, arXiv:1902.00275, 2019.

    >>> transformer = MixtureOfLogistics(num_components=2)
    >>> raw = tf.constant([0.0, 0.0, 0.0, 0.0, -9.0, 9.0, 0.0, 0.0])  # modes at -9.5 and 9.5
    >>> print(transformer(raw).forward([-2.0, -1.0, 1.0, 2.0]).numpy().round(1))
    [-10.7  -9.3   9.3  10.7]
    """

    num_components: int = 4
    log_scale_bound: float = LOG_SCALE_BOUND
    spread: float = 0.5

    def __post_init__(self):
        checks.positive_int("num_components", self.num_components)
        checks.positive_float("log_scale_bound", self.log_scale_bound)
        checks.positive_float("spread", self.spread)

    @property
    def num_params(self) -> int:
        """The number of parameters per variable, 3 K + 2."""
        return 3 * self.num_components + 2

    @property
    def offsets(self) -> np.ndarray:
        """The locations of the components at zero parameters, float64 [K]."""
        if self.num_components == 1:
            return np.zeros([1])
        return np.linspace(-self.spread, self.spread, self.num_components)

    def __call__(self, params: Any) -> tfb.Bijector:
        """Returns the elementwise bijector on [...] for params [..., 3 K + 2].

        Raises:
          ValueError: if the last dimension of `params` is not 3 K + 2.
        """
        params = tf.convert_to_tensor(params)
        shapes.check_event_shape("params", params.shape.as_list(), [self.num_params])
        affine, logits, loc, raw = tf.split(params, [2, *[self.num_components] * 3], axis=-1)
        bound = tf.constant(self.log_scale_bound, params.dtype)
        mixture = LogisticMixtureQuantile(
            logits, loc + tf.constant(self.offsets, params.dtype), bound * tf.tanh(raw / bound)
        )
        return tfb.Chain([Affine(self.log_scale_bound)(affine), mixture])


class LogisticMixtureQuantile(NumericalForwardBijector):
    """Bijector with inverse u = logit F(x), F the CDF of a mixture of logistics; elementwise.

        F(x) = sum_k w[k] sigma(z[k]),    z[k] = (x - loc[k]) / exp(log_scale[k])
        inverse:  u = log F(x) - log(1 - F(x))
        forward:  x = F^-1(sigma(u)), by `solve_increasing`
        log du/dx = log sum_k w[k] sigma(z[k]) sigma(-z[k]) / exp(log_scale[k])
                    - log F - log(1 - F)

    with w = softmax(logits). log F and log(1 - F) are logsumexps of log w + log sigma(+-z), so that
    neither tail saturates. At infinite x, u is infinite and log du/dx is its limit.

    Args:
      logits: [..., K], unnormalised log weights.
      loc: [..., K], locations.
      log_scale: [..., K], log scales.
      name: name for the ops. Default 'logistic_mixture_quantile'.
    """

    def __init__(
        self,
        logits: tf.Tensor,
        loc: tf.Tensor,
        log_scale: tf.Tensor,
        name: str = "logistic_mixture_quantile",
    ):
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
        # Numbers of like size are subtracted first: far out they are large, and in another order
        # their rounding would spoil the slope.
        shares = (below - log_cdf[..., tf.newaxis]) + (above - log_survival[..., tf.newaxis])
        log_slope = tf.reduce_logsumexp(shares - log_weight - log_scale, axis=-1)
        # In the limit of infinite x, only the component of the largest scale counts.
        widest = -tf.reduce_max(log_scale, axis=-1)
        return (
            tf.where(infinite, ends, log_cdf - log_survival),
            tf.where(infinite, widest, log_slope),
        )

    def _bracket(self, u):
        # The components' own quantiles at u are a bracket: at the least of them no component has
        # more than sigma(u) below, hence neither does the mixture. Neighbours among them are a
        # narrower bracket, and the one whose u is nearest is near the solution unless components
        # overlap.
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
