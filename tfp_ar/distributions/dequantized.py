"""A distribution of integers built from a continuous one."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.conditioning.forwarding import (
    check_conditioning,
    conditioned,
    forwarded_kwargs,
    given_kwargs,
    taken_kwargs,
)
from tfp_ar.dequantizers import Dequantizer, Uniform
from tfp_ar.distributions.support import IntegerSupport
from tfp_ar.internal import checks, shapes
from tfp_ar.internal.tfp_private import prefer_static as ps

tfd = tfp.distributions

_UNIFORM = Uniform()


class Dequantized(tfd.Distribution):
    """Distribution of integers x with the probability of the cell [x, x + 1)^d under a density p.

        P(x) = integral of p(x + u) over u in [0, 1)^d
        log_prob(x) = log (1/K sum_k p(x + u_k) / q(u_k | x)),    u_1, ..., u_K ~ q(u | x)

    `log_prob` is a stochastic lower bound: by Jensen's inequality its mean is at most log P(x), for
    every K; it grows with K and tends to log P(x) as K goes to infinity. Training usually takes
    K = 1, a reported figure a larger K. `prob`, its exponential, has the mean P(x) for every K.
    `sample` is exact: the floor of a sample of p.

    Over all integers, any density on R^d will do. Over the levels 0..n-1, p must have its support
    in [0, n): put `tfp_ar.bijectors.Bounded(0, n)` around the rest. Then every sample is a level,
    and other integers have log_prob -inf.

    Args:
      distribution: a tfd.Distribution over real numbers.
      dequantizer: the Dequantizer that draws the noise; the variables of a `Variational` one are
        among those of the distribution. Default `tfp_ar.dequantizers.Uniform()`.
      num_importance_samples: K, above 0. Default 1.
      validate_args: whether to check at run time that values are finite, whole and in range. Others
        raise a ValueError in eager mode and an InvalidArgumentError in a graph; under XLA they are
        not found. Default False.
      allow_nan_stats: passed on to TFP. Default True.
      name: name for the ops. Default 'dequantized'.

    The dtype is that of `distribution`; values may be of any integer or float dtype. All methods
    take `conditional_input`, one for the whole `distribution` (as `tfp_ar.bind` does), and pass
    other keyword arguments on to it. `log_prob` and `prob` also take:
      seed: stateless seed (an int32 tensor [2]), which gives the same noise in eager mode, graphs
        and XLA. Default None: the noise is drawn anew.
      training: whether dropout is on in the flows of `distribution` and in the dequantizer.
        Default None.

    Cost: log_prob is that of `distribution` for K times as many values, all at once in memory.

    Raises:
      TypeError: if an argument is of the wrong kind.
      ValueError: if `num_importance_samples` is not positive, or a value has the wrong shape.

    References:
      L. Theis et al., A note on the evaluation of generative models, arXiv:1511.01844, 2016.
      Y. Burda et al., Importance weighted autoencoders, arXiv:1509.00519, 2016 (K above 1).

    >>> flat = Dequantized(tfd.Sample(tfd.Uniform(0.0, 256.0), [4]))
    >>> log_prob = flat.log_prob([0, 1, 100, 255], seed=[1, 2])
    >>> print(bits_per_dim(log_prob, flat.event_shape).numpy())
    8.0
    >>> coin = tfd.TransformedDistribution(tfd.Logistic(1.0, 1.0), tfp_ar.bijectors.Bounded(0, 2))
    >>> many = Dequantized(coin, num_importance_samples=10000)
    >>> print(f"{many.prob(1, seed=[1, 2]):.2f}")  # sigmoid(1) is 0.73
    0.73
    """

    def __init__(
        self,
        distribution: tfd.Distribution,
        dequantizer: Dequantizer = _UNIFORM,
        num_importance_samples: int = 1,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "dequantized",
    ):
        parameters = dict(locals())
        if not isinstance(distribution, tfd.Distribution):
            raise TypeError(f"distribution: expected a tfd.Distribution, got {distribution!r}.")
        if not isinstance(distribution.dtype, tf.DType) or not distribution.dtype.is_floating:
            raise TypeError(
                "distribution: expected a distribution over real numbers, got one of dtype "
                f"{distribution.dtype}."
            )
        if not isinstance(dequantizer, Dequantizer):
            raise TypeError(
                "dequantizer: expected a Dequantizer such as tfp_ar.dequantizers.Uniform(), got "
                f"{dequantizer!r}."
            )
        checks.positive_int("num_importance_samples", num_importance_samples)
        with tf.name_scope(name) as name:
            super().__init__(
                dtype=distribution.dtype,
                reparameterization_type=tfd.NOT_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=name,
            )
        self._distribution = distribution
        self._dequantizer = dequantizer
        self._num_importance_samples = int(num_importance_samples)

    @property
    def distribution(self) -> tfd.Distribution:
        """The continuous distribution."""
        return self._distribution

    @property
    def dequantizer(self) -> Dequantizer:
        """The dequantizer, which draws the noise."""
        return self._dequantizer

    @property
    def num_importance_samples(self) -> int:
        """The number K of importance samples."""
        return self._num_importance_samples

    @property
    def takes_kwargs(self) -> dict[str, bool]:
        """The keyword arguments of `log_prob` and `prob`: see `tfp_ar.conditioning`."""
        inside = taken_kwargs([self._distribution])
        return {"training": False, **inside, **self._dequantizer.takes_kwargs, "seed": True}

    @property
    def support(self) -> IntegerSupport:
        """The integers that values may be, as far as they are known."""
        return IntegerSupport.of(self._distribution)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {"distribution": tfp.util.BatchedComponentProperties()}

    def _event_shape(self):
        return self._distribution.event_shape

    def _event_shape_tensor(self):
        return self._distribution.event_shape_tensor()

    def _default_event_space_bijector(self):
        return None  # no bijector maps the real line onto integers

    def _sample_control_dependencies(self, value, **_):
        return self.support.assertions(value) if self.validate_args else ()

    def _continuous(self, conditional_input, kwargs):
        """Returns the inner distribution, bound to the conditioning if there is any."""
        if conditional_input is None and kwargs:  # which may hold it in TFP's form
            return self._distribution
        return conditioned(self._distribution, conditional_input)

    def _log_prob(self, value, seed=None, conditional_input=None, **kwargs):
        shapes.check_event_shape("value", value.shape, self.event_shape)
        distribution = self._continuous(conditional_input, kwargs)
        # Arguments by their own names are forwarded; others are in TFP's form already.
        named = given_kwargs({k: kwargs.pop(k) for k in self.takes_kwargs if k in kwargs})
        kwargs = {**forwarded_kwargs(distribution, named), **kwargs}
        noise_kwargs = {k: v for k, v in named.items() if k in self._dequantizer.takes_kwargs}
        y, log_q = self._dequantizer.dequantize(
            _with_batch_dimensions(tf.cast(value, self.dtype), distribution),
            self._num_importance_samples,
            tfp.random.sanitize_seed(seed),
            **noise_kwargs,
        )
        log_weights = distribution.log_prob(y, **kwargs) - log_q
        return log_weights[0] if self._num_importance_samples == 1 else _log_mean_exp(log_weights)

    def _call_sample_n(self, sample_shape, seed, conditional_input=None, **kwargs):
        if conditional_input is None:
            if not kwargs:
                check_conditioning(self._distribution, None)
            return super()._call_sample_n(sample_shape, seed, **kwargs)
        # Only a conditioned copy knows the batch shape of the condition.
        return conditioned(self, conditional_input)._call_sample_n(sample_shape, seed, **kwargs)

    def _sample_n(self, n, seed=None, **kwargs):
        return tf.floor(self._distribution.sample(n, seed=seed, **kwargs))

    def _sample_and_log_prob(self, sample_shape, seed, **kwargs):
        of_sample, of_noise = tfp.random.split_seed(tfp.random.sanitize_seed(seed), n=2)
        value = self._call_sample_n(sample_shape, of_sample, **kwargs)
        return value, self._log_prob(value, seed=of_noise, **kwargs)


def _with_batch_dimensions(value, distribution):
    """Returns a value with dimensions of 1 for missing batch dimensions, so K can come before."""
    wanted = ps.size(distribution.batch_shape_tensor()) + ps.size(distribution.event_shape_tensor())
    missing = ps.maximum(wanted - ps.rank(value), 0)
    if tf.get_static_value(missing) == 0:
        return value
    return tf.reshape(value, ps.concat([ps.ones([missing], tf.int32), ps.shape(value)], axis=0))


def _log_mean_exp(log_weights):
    """Computes log mean exp over the first dimension: [K, ...] to [...].

    Where all weights are -inf, the result is -inf with gradient 0; tf.reduce_logsumexp has the
    gradient NaN there.
    """
    largest = tf.stop_gradient(tf.reduce_max(log_weights, axis=0))
    largest = tf.where(tf.math.is_finite(largest), largest, tf.zeros_like(largest))
    mean = tf.reduce_mean(tf.exp(log_weights - largest), axis=0)
    nothing = tf.equal(mean, 0.0)
    result = tf.math.log(tf.where(nothing, tf.ones_like(mean), mean)) + largest
    return tf.where(nothing, tf.constant(-np.inf, mean.dtype), result)
