"""Samples of scalar distributions as functions of uniform numbers."""

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

_METHOD = "sample_from_uniform"  # a method that our own distributions define


def sample_from_uniform(distribution: tfd.Distribution, u: Any, v: Any) -> tf.Tensor:
    """Draws one sample of each scalar distribution in a batch, from two uniform numbers.

    The noise can then be drawn outside a compiled loop, once for all variables, so that it is the
    same there and in eager mode. Samples by type:

        Categorical                 the first k with P(x <= k) >= u, of those with P(k) > 0
        Bernoulli                   u < p
        DiscretizedLogisticMixture  component by u, then the rounded quantile of a logistic at v
        Normal and other continuous ones with a `quantile` in closed form:    quantile(u)

    Where probabilities are NaN, a Categorical gives its number of categories, which is not a
    category, as tfd.Categorical itself does; a Bernoulli gives 0; all others give NaN.

    The resolution is that of u: in float32, probabilities below 2^-24 are not reproduced exactly,
    and normal samples end at 5.3 standard deviations.

    Args:
      distribution: a tfd.Distribution of batch shape [...] that `takes_uniforms`.
      u: [...], strictly between 0 and 1.
      v: [...], strictly between 0 and 1, independent of u.

    Returns: [...] of the distribution's dtype.

    Raises:
      TypeError: if the type is not in the table.

    >>> from tfp_ar.distributions.inversion import sample_from_uniform
    >>> print(sample_from_uniform(tfd.Categorical(probs=[0.2, 0.0, 0.8]), [0.1, 0.2, 0.3], 0.5))
    tf.Tensor([0 0 2], shape=(3,), dtype=int32)
    """
    if not takes_uniforms(distribution):
        raise TypeError(
            "distribution: expected one of "
            f"{', '.join(sorted(kind.__name__ for kind in _TABLE))} or one that defines {_METHOD}, "
            f"got {type(distribution).__name__}."
        )
    u = tf.convert_to_tensor(u)
    if type(distribution) in _TABLE:
        return _TABLE[type(distribution)](distribution, u)
    return distribution.sample_from_uniform(u, v)


def takes_uniforms(distribution: tfd.Distribution) -> bool:
    """Returns True if `sample_from_uniform` can sample the distribution.

    It knows the types in its table, and types that define a method of that name. Subclasses of
    these do not count, as they may be other distributions.
    """
    return type(distribution) in _TABLE or _METHOD in vars(type(distribution))


def _categorical(distribution, u):
    return tf.cast(categorical_index(distribution.probs_parameter(), u), distribution.dtype)


def _bernoulli(distribution, u):
    return tf.cast(u < distribution.probs_parameter(), distribution.dtype)


def _by_quantile(distribution, u):
    return distribution.quantile(u)


# A list, not a test for a `quantile` method: those of discrete distributions are wrong, and that of
# HalfNormal is infinite at 1 - 2^-24.
_TABLE = {
    tfd.Categorical: _categorical,
    tfd.Bernoulli: _bernoulli,
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


def categorical_index(probs: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """Returns the first category at which the cumulative probability reaches u, int32 [...].

    It is never a category of probability 0, whatever the rounding: the sums, which XLA adds up in
    another order, may end below 1 or stand still. For NaN probabilities it is K, which is not a
    category, as from TensorFlow's own sampler.

    Args:
      probs: [..., K].
      u: [...], strictly between 0 and 1.
    """
    cumulative = tf.cumsum(probs, axis=-1)
    level = u[..., tf.newaxis] * tf.reduce_max(cumulative, axis=-1, keepdims=True)
    reached = (cumulative >= level) & (probs > 0)
    index = tf.argmax(tf.cast(reached, tf.int32), axis=-1, output_type=tf.int32)
    return tf.where(level[..., 0] >= 0, index, tf.shape(probs)[-1])
