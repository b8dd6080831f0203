"""The transformer of Flow++: the CDF of a mixture of logistics."""

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.affine import LOG_SCALE_BOUND, Affine
from tfp_ar.bijectors.logistic_mixture_quantile import LogisticMixtureQuantile
from tfp_ar.internal import checks

tfb = tfp.bijectors


@dataclasses.dataclass(frozen=True)
class MixtureOfLogistics:
    """A `bijector_fn` for ARFlowBijector: conditionals with several humps.

        u = logit F(t),    t = (x - mu) / exp(alpha)
        F(t) = sum_k w[k] sigma((t - m[k]) / exp(s[k]))

    a mixture of K logistic laws in units of the affine map around it, by which a network moves and
    scales all of them together. The density direction, x to u, is a closed form. The other one is
    solved by Newton's method inside a bracket, to a residual in u of 8 units of rounding of
    max(1, |u|), or as near as floats x come to it.

    Of params [..., 3 K + 2], in this order:

        mu = params,  alpha = bound tanh(params / bound)          as `Affine` has them
        w = softmax(params [K]),  m = offset + params [K],  s = bound tanh(params [K] / bound)

    with offset spread evenly over [-spread, spread], so that components start apart and can be told
    from one another; from equal ones they would never part. Zero parameters give, for all u,

        |x - u| <= log mean(exp(offset)) <= spread^2 / 2,

    which is 0.07 by default, and du/dx from 0.96 to 1: nearly the identity. With one component the
    map is affine. If u has a logistic law, x has that of the mixture; if u is normal, its tails are
    those of a normal law.

    Args:
      num_components: K. Default 4.
      log_scale_bound: the bound on |alpha| and on |s|, above 0. Default 7, scales from 1/1100 to
        1100 of the whole, and of each component in units of that.
      spread: how far apart components start, above 0, in units of their scale. Default 0.5.

    Cost, for each variable: x to u, some 6 K exponentials and logarithms. u to x, in each step of a
    sampling loop, K times as many to begin with, then as many as x to u in each iteration: 4 to 8
    until the last of a batch is done, up to 14 where components are far apart, and never more than
    72 in float32, 101 in float64. docs/flows.md has measurements. A derivative of x: once x to u
    and its derivative, whatever the number of iterations.

    Derivatives of x in u and params are those of implicit differentiation, of all orders. On the
    plateau between components D scales apart they are of the order of exp(D/2).

    Raises:
      TypeError, ValueError: if an argument is no number, or none above 0.

    References:
      J. Ho et al., Flow++: Improving flow-based generative models with variational dequantization
        and architecture design, arXiv:1902.00275, 2019.

    >>> transformer = MixtureOfLogistics(num_components=2)
    >>> raw = tf.constant([0.0, 0.0, 0.0, 0.0, -9.0, 9.0, 0.0, 0.0])  # humps at -9.5 and 9.5
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
        """What it takes of each variable: 3 K + 2."""
        return 3 * self.num_components + 2

    @property
    def offsets(self) -> np.ndarray:
        """Where the components are at zero parameters, float64 [K]."""
        if self.num_components == 1:
            return np.zeros([1])
        return np.linspace(-self.spread, self.spread, self.num_components)

    def __call__(self, params):
        """The bijector for params [..., 3 K + 2]: acts elementwise on [...].

        Raises:
          ValueError: if the last dimension of `params` is another one.
        """
        params = tf.convert_to_tensor(params)
        checks.event_shape("params", params.shape.as_list(), [self.num_params])
        affine, logits, loc, raw = tf.split(params, [2, *[self.num_components] * 3], axis=-1)
        bound = tf.constant(self.log_scale_bound, params.dtype)
        mixture = LogisticMixtureQuantile(
            logits, loc + tf.constant(self.offsets, params.dtype), bound * tf.tanh(raw / bound)
        )
        return tfb.Chain([Affine(self.log_scale_bound)(affine), mixture])
