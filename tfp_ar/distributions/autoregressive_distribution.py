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
    """Each variable has a distribution whose parameters depend on the variables before it.

        log_prob(x) = sum_i log p_i(x[i]),
        p_i = distribution_fn(params[i](input_transform(x[j]) for all j before i))

    with `params` the network. With a Categorical, Bernoulli or discretized logistic mixture this is
    PixelCNN and its kin: exact likelihoods of discrete data, no dequantization. With a Normal it is
    the law of the affine flow on the same network.

    Args:
      network: an AutoregressiveNetwork, or any Keras layer that `ARFlowBijector` takes. Its
        variables are float32 or float64. With dtype='mixed_bfloat16' it computes its parameters in
        bfloat16, to 8 bits; log_prob is computed of them in float32.
      distribution_fn: function params [..., num_params] -> a tfd.Distribution of scalars, of batch
        shape [...]: `lambda p: tfd.Categorical(logits=p)`,
        `lambda p: tfd.Bernoulli(logits=p[..., 0])`,
        `tfp_ar.distributions.LogisticMixtureHead(...)`. Hashable, without variables of its own.
      input_transform: elementwise function from values, cast to the network's dtype, to what the
        network sees of them, e.g. `lambda x: x / 127.5 - 1.0`. Default None: the values.
      sampling: 'cached', the network's own `generate`; or 'reference', one parallel pass for each
        variable, to compare with. Default 'cached'.
      jit_compile: whether XLA compiles the sequential pass, and the parallel one when called
        eagerly. Default True.
      conditional_input: what the distribution is conditioned on, [*batch, *conditional_shape], if
        that is fixed; `tfp_ar.bind` sets it. Its leading shape is the batch shape. Otherwise pass
        `conditional_input` to the methods.
      validate_args: whether to check at run time that values are in the support: eagerly a
        ValueError, in a graph an InvalidArgumentError, under XLA nothing. Default False.
      allow_nan_stats: as in TFP. Default True.
      name: default 'autoregressive'.

    The dtype is that of what `distribution_fn` gives; values may be of any integer or float dtype.
    Values outside the support have log_prob -inf, with gradient 0. The support is known of
    Categorical, Bernoulli and `DiscretizedLogisticMixture`; of any other it is taken for all finite
    numbers, and the distribution itself decides about those. Real numbers near the end of the float
    range (in float32, from about 1e19 on) are in the support, but squares of them overflow, in the
    law or in the network: log_prob may be -inf or NaN there, and gradients not finite.

    Weights that are NaN, of training that diverged, give a log_prob that is NaN; their samples are
    NaN or, of a Categorical, its number of levels, which is none of them. (Those of a Bernoulli are
    0, as in TFP.)

    All methods take `conditional_input`; `log_prob` and `prob` also take `training` (dropout).

    Samples are a function of the stateless seed, the same in eager mode, graphs and XLA (to
    rounding, if they are real numbers), for the distributions of `sample_from_uniform`. Others
    sample by themselves in the loop, which XLA compiles for each size of batch. No gradient goes
    through samples.

    Cost: log_prob, one parallel pass. sample, complete and greedy, one sequential pass (for cached
    networks, the arithmetic of one parallel pass); XLA compiles it once for each padded batch size.

    Raises:
      TypeError, ValueError: if an argument is of the wrong kind, or a function does not fit the
        network.
      RuntimeError: if Keras runs on another backend than TensorFlow.

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
        """The conditioning that is bound, or None."""
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
        """The function from values to what the network sees of them, or None."""
        return self._input_transform

    @property
    def support(self) -> Support:
        """The values that each variable may have, as far as it is known."""
        return self._support

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        # For slices of the batch shape: d[0] of a distribution that is bound.
        def ndims(self):
            return self.network.conditioning.join(self.network.conditioning.event_ndims)

        return {"conditional_input": tfp.util.ParameterProperties(event_ndims=ndims)}

    def _default_event_space_bijector(self):
        if isinstance(self._support, IntegerSupport):
            return None  # there is none onto integers
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
        """Returns the conditions that are bound, as tensors by kind; checks that none is missing."""
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
        """Values as a tensor of their own dtype: TFP would make int32 of an array, and 0 of 0.5."""
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
        inside = self._support.contains(value) & self._support.contains(x)  # it may be inf now
        # Legal values instead of the others: no NaN may arise, lest it come back in gradients.
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
        bound = conditioned(self, conditional_input)  # which knows the batch shape
        return super(AutoregressiveDistribution, bound)._call_sample_n(sample_shape, seed)

    def _sample_n(self, n, seed=None):
        static = tf.get_static_value(n)
        shape = [n if static is None else int(static), *self._leading()]
        x = self._sampler.sample(shape, tfp.random.sanitize_seed(seed), self._conditions())
        return tf.cast(x, self.dtype)

    def greedy(self, conditional_input: Any = None) -> tf.Tensor:
        """Takes for each variable the mode of its conditional, given the modes before it.

        That is not the mode of the joint law: the most probable beginning need not be that of the
        most probable x.

        Args:
          conditional_input: [*batch, *conditional_shape], if the distribution is conditioned.

        Returns: [*batch, *event_shape], of the distribution's dtype.

        Raises:
          TypeError, ValueError: if the conditioning is missing, wrong or not wanted.
          NotImplementedError: if the conditionals have no `mode`.

        Cost: one sequential pass.
        """
        bound = conditioned(self, conditional_input)
        x = bound._sampler.greedy(bound._leading(), bound._conditions())
        return tf.cast(x, self.dtype)

    def complete(
        self, value: Any, num_rows: int, seed: Any = None, conditional_input: Any = None
    ) -> tf.Tensor:
        """Draws the rest of events whose first rows are given: all after these is ignored.

        The same seed gives for `num_rows=0` what `sample` gives for it.

        Args:
          value: [..., *batch, *event_shape], of any dtype that holds the support.
          num_rows: an int in 0..H, with H the first dimension of the event shape.
          seed: stateless seed, an int32 tensor [2]. Default None: drawn anew.
          conditional_input: [*batch, *conditional_shape], if the distribution is conditioned.

        Returns: as `value`, its first rows unchanged.

        Raises:
          TypeError: if `num_rows` is no integer, or `value` has no real numbers.
          ValueError: if it is out of range, the network has another order than these rows first,
            `value` has the wrong shape, or what is given is not in the support (in a graph, an
            InvalidArgumentError; under XLA nothing is checked).

        Cost: one sequential pass, whatever is given.
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
      distribution_fn: params [..., num_params] -> a distribution of scalars; hashable.
      input_transform: elementwise, what the network sees of x; hashable; or None.
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
