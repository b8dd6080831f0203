"""An autoregressive network as a distribution."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.conditioning.bound import BoundConditioning
from tfp_ar.conditioning.forwarding import conditioned, kwargs_of_network
from tfp_ar.distributions.event_sampler import EventSampler
from tfp_ar.distributions.support import IntegerSupport, Support
from tfp_ar.distributions.validation import (
    check_distribution_fn,
    check_input_transform,
    variables_in_rows,
)
from tfp_ar.internal import checks, shapes
from tfp_ar.internal.compiled_network import CompiledNetwork
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.generation.reference import CACHED, SAMPLING
from tfp_ar.networks.layer_network import as_network

tfd = tfp.distributions


class AutoregressiveDistribution(tfd.Distribution):
    """Distribution in which each variable depends on the variables before it, through a network.

        log_prob(x) = sum_i log p_i(x[i]),
        p_i = distribution_fn(params[i](input_transform(x[j]) for all j before i))

    with `params` the network. With a Categorical, Bernoulli or discretized logistic mixture this is
    PixelCNN and its relatives: exact likelihoods of discrete data, without dequantization. With a
    Normal it is the distribution of the affine flow on the same network.

    Args:
      network: an AutoregressiveNetwork, or any Keras layer that `ARFlowBijector` takes. Its
        variables are float32 or float64. With dtype='mixed_bfloat16' it computes its parameters in
        bfloat16, to 8 bits; log_prob is computed from them in float32.
      distribution_fn: function params [..., num_params] -> a tfd.Distribution of scalars, of batch
        shape [...]: `lambda p: tfd.Categorical(logits=p)`,
        `lambda p: tfd.Bernoulli(logits=p[..., 0])`,
        `tfp_ar.distributions.LogisticMixtureHead(...)`. It must be hashable and have no variables
        of its own.
      input_transform: elementwise function from values, cast to the network's dtype, to the
        network's input, e.g. `lambda x: x / 127.5 - 1.0`. Default None: the network sees the values
        themselves.
      sampling: 'cached', the network's own `generate`; or 'reference', one parallel pass per
        variable, for comparison. Default 'cached'.
      jit_compile: whether XLA compiles the sequential pass, and the parallel one when called
        eagerly. Default True.
      conditional_input: the conditioning, [*batch, *conditional_shape], if it is fixed;
        `tfp_ar.bind` sets it. Its leading shape is the batch shape. Otherwise pass
        `conditional_input` to the methods. Default None.
      validate_args: whether to check at run time that values are in the support. A value outside
        raises a ValueError in eager mode and an InvalidArgumentError in a graph; under XLA it is
        not found. Default False.
      allow_nan_stats: passed on to TFP. Default True.
      name: name for the ops. Default 'autoregressive'.

    The dtype is that of the distributions that `distribution_fn` returns; values may be of any
    integer or float dtype. Values outside the support have log_prob -inf, with gradient 0. The
    support is known for Categorical, Bernoulli and `DiscretizedLogisticMixture`. For any other
    distribution it is taken to be all finite numbers, and the distribution itself decides about
    those. Real numbers near the end of the float range (in float32, from about 1e19 on) are in the
    support, but their squares overflow, in the distribution or in the network: log_prob may be -inf
    or NaN there, and gradients may not be finite.

    If training diverged and weights are NaN, log_prob is NaN, and so are samples. Samples of a
    Categorical are then its number of levels, which is not a level, and those of a Bernoulli are 0,
    as in TFP.

    All methods take `conditional_input`; `log_prob` and `prob` also take `training` (dropout).

    Samples are a function of the stateless seed, the same in eager mode, graphs and XLA (up to
    rounding, if they are real numbers), for the distributions that `sample_from_uniform` knows.
    Other distributions draw their own samples inside the loop, which XLA compiles for each batch
    size. No gradient flows through samples.

    Cost: log_prob takes one parallel pass. sample, complete and greedy take one sequential pass
    (for cached networks, the arithmetic of one parallel pass); XLA compiles it once for each padded
    batch size.

    Raises:
      TypeError, ValueError: if an argument is of the wrong kind, or a function does not fit the
        network.
      RuntimeError: if Keras runs on a backend other than TensorFlow.

    References:
      A. van den Oord et al., Pixel recurrent neural networks, arXiv:1601.06759, 2016.
      A. van den Oord et al., Conditional image generation with PixelCNN decoders,
        arXiv:1606.05328, 2016.

    >>> network = tfp_ar.networks.WaveNet(event_shape=[8], num_params=3)
    >>> levels = AutoregressiveDistribution(network, lambda p: tfd.Categorical(logits=p))
    >>> x = levels.sample(2, seed=[1, 2])
    >>> print(x.dtype.name, x.shape, levels.support)
    int32 (2, 8) integers in 0..2
    >>> print(bits_per_dim(levels.log_prob(x), [8]).numpy())  # a new network is uniform: log2(3)
    [1.5849625 1.5849625]
    """

    def __init__(
        self,
        network: keras.Layer,
        distribution_fn: Callable[[tf.Tensor], tfd.Distribution],
        input_transform: Callable[[tf.Tensor], tf.Tensor] | None = None,
        sampling: str = CACHED,
        jit_compile: bool = True,
        conditional_input: Any = None,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "autoregressive",
    ):
        parameters = dict(locals())
        checks.require_tensorflow_backend("AutoregressiveDistribution")
        network = parameters["network"] = as_network(network)
        float_dtype = tf.as_dtype(network.variable_dtype)
        if float_dtype not in (tf.float32, tf.float64):
            raise ValueError(
                f"network: expected variables of float32 or float64, got {float_dtype.name}. "
                "(dtype='mixed_bfloat16' computes in bfloat16.)"
            )
        checks.one_of("sampling", sampling, SAMPLING)
        conditional = check_distribution_fn(distribution_fn, network)
        check_input_transform(input_transform, network, conditional.support, sampling)
        as_tensor = functools.partial(_as_tensor, dtype=float_dtype)
        bound = BoundConditioning.of(network.conditioning, conditional_input, as_tensor)
        parameters["conditional_input"] = bound and bound.conditional_input
        with tf.name_scope(name) as name:
            super().__init__(
                dtype=conditional.dtype,
                reparameterization_type=tfd.NOT_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=name,
            )
        self._network, self._bound = network, bound
        self._conditional_input = parameters["conditional_input"]  # for tf.Module, if a variable
        self._distribution_fn = distribution_fn
        self._input_transform = input_transform
        self._support = conditional.support
        self._float_dtype = float_dtype
        self._jit_compile = jit_compile
        self._compiled = CompiledNetwork.of(network)
        self._variables = self._compiled.variables  # what tf.Module sees of the network
        self._density_pass = DensityPass(distribution_fn, input_transform)
        self._sampler = EventSampler(
            network,
            distribution_fn,
            input_transform,
            conditional.takes_uniforms,
            sampling,
            jit_compile,
        )

    @property
    def network(self) -> AutoregressiveNetwork:
        """The autoregressive network."""
        return self._network

    @property
    def conditional_input(self) -> Any:
        """The bound conditioning, or None."""
        return self._conditional_input

    @property
    def takes_kwargs(self) -> dict[str, bool]:
        """The keyword arguments of the methods: see `tfp_ar.conditioning`."""
        return kwargs_of_network(self._network)

    @property
    def distribution_fn(self) -> Callable:
        """The function from parameters to the distribution of a variable."""
        return self._distribution_fn

    @property
    def input_transform(self) -> Callable | None:
        """The function from values to the network's input, or None."""
        return self._input_transform

    @property
    def support(self) -> Support:
        """The values that each variable may take, as far as they are known."""
        return self._support

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        # Without these, TFP cannot slice a bound distribution by batch, as in d[0].
        def ndims(self):
            return self.network.conditioning.join(self.network.conditioning.event_ndims)

        return {"conditional_input": tfp.util.ParameterProperties(event_ndims=ndims)}

    def _default_event_space_bijector(self):
        if isinstance(self._support, IntegerSupport):
            return None  # no bijector maps the real line onto integers
        scalar = self._distribution_fn(tf.zeros([self._network.num_params], self._float_dtype))
        return scalar.experimental_default_event_space_bijector()

    def __deepcopy__(self, memo):
        raise TypeError(
            f"{self.name}: a deep copy would share the network's weights. Make another network "
            "(network.from_config(network.get_config())) and a distribution on it."
        )

    def _event_shape(self):
        return tf.TensorShape(self._network.event_shape)

    def _event_shape_tensor(self):
        return tf.constant(self._network.event_shape, tf.int32)

    def _batch_shape(self):
        return tf.TensorShape([]) if self._bound is None else self._bound.batch_shape()

    def _batch_shape_tensor(self):
        return tf.convert_to_tensor(self._leading(), tf.int32)

    def _leading(self) -> list:
        """Returns the batch shape, as ints and scalar tensors."""
        return [] if self._bound is None else self._bound.leading()

    def _conditions(self) -> dict:
        """Returns the bound conditions as tensors by kind, or raises if one is missing."""
        if self._bound is None:
            return self._network.conditioning.parse(None)
        return self._bound.tensors()

    # Densities -----------------------------------------------------------------------------------

    def _call_log_prob(self, value, name, **kwargs):
        return super()._call_log_prob(self._as_given(value), name, **kwargs)

    def _call_prob(self, value, name, **kwargs):
        return super()._call_prob(self._as_given(value), name, **kwargs)

    def _call_unnormalized_log_prob(self, value, name, **kwargs):
        return super()._call_unnormalized_log_prob(self._as_given(value), name, **kwargs)

    def _as_given(self, value):
        """Returns values in their own dtype: TFP would cast arrays to int32, and 0.5 to 0."""
        is_list = not isinstance(value, (np.ndarray, np.generic))
        hint = self.dtype if is_list and self.dtype.is_floating else None
        value = tf.convert_to_tensor(value, dtype_hint=hint, name="value")
        if not (value.dtype.is_floating or value.dtype.is_integer or value.dtype.is_bool):
            raise TypeError(f"value: expected real numbers, got {value.dtype.name}.")
        return value

    def _sample_control_dependencies(self, value, **_):
        return self._support.assertions(value) if self.validate_args else ()

    def _log_prob(self, value, conditional_input=None, training=None):
        shapes.check_event_shape("value", shapes.static_shape(value), self.event_shape)
        bound = conditioned(self, conditional_input)
        x = tf.cast(value, self._float_dtype)
        inside = self._support.contains(value) & self._support.contains(x)  # the cast may overflow
        # Legal values replace the others: a NaN would reach gradients even if masked afterwards.
        x = tf.where(inside, x, tf.constant(self._support.legal, self._float_dtype))
        log_prob = bound._log_prob_inside(x, training)
        inside = tf.reduce_all(inside, axis=list(range(-len(self.event_shape), 0)))
        return tf.where(inside, log_prob, tf.constant(-np.inf, log_prob.dtype))

    def _log_prob_inside(self, x, training):
        conditions = self._conditions()
        if training or not tf.executing_eagerly():
            conditional_input = self._network.conditioning.join(list(conditions.values()))
            return self._density_pass(self._network, x, conditional_input, training)
        function = self._compiled.function(self._density_pass, self._jit_compile)
        run = functools.partial(function, self._compiled.weights())
        return self._compiled.batched(run, [x], conditions, pad=self._jit_compile)

    # Samples -------------------------------------------------------------------------------------

    def _call_sample_n(self, sample_shape, seed, conditional_input=None):
        bound = conditioned(self, conditional_input)  # the bound copy knows the batch shape
        return super(AutoregressiveDistribution, bound)._call_sample_n(sample_shape, seed)

    def _sample_n(self, n, seed=None):
        static = tf.get_static_value(n)
        shape = [n if static is None else int(static), *self._leading()]
        x = self._sampler.sample(shape, tfp.random.sanitize_seed(seed), self._conditions())
        return tf.cast(x, self.dtype)

    def greedy(self, conditional_input: Any = None) -> tf.Tensor:
        """Takes for each variable the mode of its conditional, given the modes before it.

        This is not the mode of the joint distribution: the most probable x need not begin with the
        most probable first variables.

        Args:
          conditional_input: [*batch, *conditional_shape], if the distribution is conditioned.

        Returns: [*batch, *event_shape], of the distribution's dtype.

        Raises:
          TypeError, ValueError: if the conditioning is missing, invalid or not expected.
          NotImplementedError: if the conditionals have no `mode`.

        Cost: one sequential pass.
        """
        bound = conditioned(self, conditional_input)
        x = bound._sampler.greedy(bound._leading(), bound._conditions())
        return tf.cast(x, self.dtype)

    def complete(
        self, value: Any, num_rows: int, seed: Any = None, conditional_input: Any = None
    ) -> tf.Tensor:
        """Draws the rest of events whose first rows are given.

        Rows of `value` after the given ones are ignored. With `num_rows=0` the result is that of
        `sample` with the same seed.

        Args:
          value: [..., *batch, *event_shape], of any dtype that holds the support.
          num_rows: an int in 0..H, with H the first dimension of the event shape.
          seed: stateless seed, an int32 tensor [2]. Default None: drawn anew.
          conditional_input: [*batch, *conditional_shape], if the distribution is conditioned.

        Returns: a tensor like `value`, with its first rows unchanged.

        Raises:
          TypeError: if `num_rows` is not an integer, or `value` does not hold real numbers.
          ValueError: if `num_rows` is out of range, the network's order does not begin with these
            rows, `value` has the wrong shape, or a given variable is not in the support (in a
            graph, an InvalidArgumentError; under XLA nothing is checked).

        Cost: one sequential pass, however many rows are given.
        """
        value = self._as_given(value)
        shapes.check_event_shape("value", shapes.static_shape(value), self.event_shape)
        height, *row = self._network.event_shape
        num_given = variables_in_rows(self._network, num_rows)
        self._support.check_dtype("value", value.dtype)
        bound, axis = conditioned(self, conditional_input), -len(self.event_shape)
        given, rest = tf.split(value, [num_rows, height - num_rows], axis=axis)
        with tf.control_dependencies(self._support.assertions(given)):
            given = tf.identity(given)
        shape = list(
            shapes.broadcast_leading([shapes.leading(value, -axis), tuple(bound._leading())])
        )
        x = bound._sampler.complete(
            tf.cast(tf.concat([given, tf.zeros_like(rest)], axis), self._float_dtype),
            num_given,
            shape,
            tfp.random.sanitize_seed(seed),
            bound._conditions(),
        )
        drawn = tf.cast(tf.split(x, [num_rows, height - num_rows], axis=axis)[1], value.dtype)
        given = tf.broadcast_to(given, [*shape, num_rows, *row])
        return tf.concat([given, drawn], axis)


@dataclasses.dataclass(frozen=True)
class DensityPass:
    """The log-probability of values under their conditionals: one parallel pass.

    Args:
      distribution_fn: function params [..., num_params] -> a distribution of scalars; hashable.
      input_transform: elementwise function from x to the network's input, hashable; or None.
    """

    distribution_fn: Callable
    input_transform: Callable | None

    def __call__(
        self,
        network: AutoregressiveNetwork,
        x: tf.Tensor,
        conditional_input: Any = None,
        training: bool | None = False,
    ) -> tf.Tensor:
        """Returns log-probabilities [...], summed over the variables, of x [..., *event_shape]."""
        shown = x if self.input_transform is None else self.input_transform(x)
        params = network(shown, conditional_input, training=training)
        distribution = self.distribution_fn(params)
        log_prob = distribution.log_prob(tf.cast(x, distribution.dtype))
        return tf.reduce_sum(log_prob, axis=list(range(-len(network.event_shape), 0)))


def _as_tensor(value, dtype):
    return tf.cast(tf.convert_to_tensor(value), dtype)
