"""Samples of scalar distributions as functions of uniform numbers."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.distributions.discretized_logistic_mixture import DiscretizedLogisticMixture
from tfp_ar.distributions.inverse_cdf import categorical_index

tfd = tfp.distributions


def sample_from_uniform(distribution, u, v):
    """One sample of each member of a batch of scalar distributions, from two uniform numbers.

    So noise can be drawn outside a compiled loop, once for all variables, and is the same there and
    in eager mode. By type:

        Categorical                 the first k with P(x <= k) >= u, of those with P(k) > 0
        Bernoulli                   u < p
        DiscretizedLogisticMixture  component by u, then the rounded quantile of a logistic at v
        Normal and other continuous ones with a `quantile` in closed form:    quantile(u)

    Where probabilities are NaN, a Categorical gives its number of categories, which is none of
    them, as tfd.Categorical itself does; a Bernoulli gives 0; all others give NaN.

    The resolution is that of u: in float32, probabilities below 2^-24 are not met exactly, and
    normal samples end at 5.3 standard deviations.

    Args:
      distribution: a tfd.Distribution of batch shape [...] that `takes_uniforms`.
      u: [...], strictly between 0 and 1.
      v: [...], strictly between 0 and 1, independent of u.

    Returns: [...] of the distribution's dtype.

    Raises:
      TypeError: if the type is not in the table.

    >>> from tfp_ar.distributions.sample_from_uniform import sample_from_uniform
    >>> print(sample_from_uniform(tfd.Categorical(probs=[0.2, 0.0, 0.8]), [0.1, 0.2, 0.3], 0.5))
    tf.Tensor([0 0 2], shape=(3,), dtype=int32)
    """
    if not takes_uniforms(distribution):
        raise TypeError(
            "distribution: expected one of "
            f"{', '.join(sorted(kind.__name__ for kind in _TABLE))}, got "
            f"{type(distribution).__name__}."
        )
    return _TABLE[type(distribution)](distribution, tf.convert_to_tensor(u), v)


def takes_uniforms(distribution) -> bool:
    """Whether `sample_from_uniform` knows the type; a subclass may mean something else."""
    return type(distribution) in _TABLE


def _categorical(distribution, u, _):
    return tf.cast(categorical_index(distribution.probs_parameter(), u), distribution.dtype)


def _bernoulli(distribution, u, _):
    return tf.cast(u < distribution.probs_parameter(), distribution.dtype)


def _by_quantile(distribution, u, _):
    return distribution.quantile(u)


# Not by whether there is a `quantile`: those of discrete distributions are wrong, and that of
# HalfNormal is infinite at 1 - 2^-24.
_TABLE = {
    tfd.Categorical: _categorical,
    tfd.Bernoulli: _bernoulli,
    DiscretizedLogisticMixture: DiscretizedLogisticMixture.sample_from_uniform,
    **dict.fromkeys(
        [
            tfd.Cauchy,
            tfd.Exponential,
            tfd.Gumbel,
            tfd.Laplace,
            tfd.Logistic,
            tfd.Normal,
            tfd.Uniform,
        ],
        _by_quantile,
    ),
}
