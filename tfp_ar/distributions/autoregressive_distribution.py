"""An autoregressive network as a distribution."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors import bound_conditioning
from tfp_ar.bijectors.batch_runner import BatchRunner
from tfp_ar.bijectors.routing import conditioned
from tfp_ar.bijectors.sampling import CACHED, SAMPLING
from tfp_ar.distributions.conditional import (
    check_distribution_fn,
    check_input_transform,
    variables_in_rows,
)
from tfp_ar.distributions.conditional_sampler import ConditionalSampler
from tfp_ar.distributions.density_pass import density_pass, make_density_pass
from tfp_ar.distributions.integer_support import IntegerSupport
from tfp_ar.distributions.network_distribution import NetworkDistribution
from tfp_ar.distributions.support import Support
from tfp_ar.internal import batching, checks
from tfp_ar.internal.program import Program
from tfp_ar.networks.conditioning import static_shape
from tfp_ar.networks.layer_network import as_network

tfd = tfp.distributions


class AutoregressiveDistribution(NetworkDistribution):
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

    routes_kwargs = True  # see bijectors/routing.py

    def __init__(
        self,
        network,
        distribution_fn,
        input_transform=None,
        sampling=CACHED,
        jit_compile=True,
        conditional_input=None,
        validate_args=False,
        allow_nan_stats=True,
        name="autoregressive",
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
        conditional_input = bound_conditioning.as_arrays(conditional_input)
        if conditional_input is not None:
            network.conditioning.split(conditional_input)
        self._conditional_input = parameters["conditional_input"] = conditional_input
        with tf.name_scope(name) as name:
            super().__init__(
                dtype=conditional.dtype,
                reparameterization_type=tfd.NOT_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=name,
            )
        self._network = network
        self._distribution_fn = distribution_fn
        self._input_transform = input_transform
        self._support = conditional.support
        self._float_dtype = float_dtype
        self._variables = Program.of(network).variables  # what tf.Module sees of the network
        self._runner = BatchRunner(network, jit_compile)
        self._sampler = ConditionalSampler(
            network,
            distribution_fn,
            input_transform,
            conditional.takes_uniforms,
            sampling,
            jit_compile,
        )

    @property
    def distribution_fn(self):
        """The function from parameters to the distribution of a variable."""
        return self._distribution_fn

    @property
    def input_transform(self):
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
        checks.event_shape("value", static_shape(value), self.event_shape)
        bound = conditioned(self, conditional_input)
        x = tf.cast(value, self._float_dtype)
        inside = self._support.contains(value) & self._support.contains(x)  # it may be inf now
        # Legal values instead of the others: no NaN may arise, lest it come back in gradients.
        x = tf.where(inside, x, tf.constant(self._support.legal, self._float_dtype))
        log_prob = bound._log_prob_inside(x, training)
        inside = tf.reduce_all(inside, axis=list(range(-len(self.event_shape), 0)))
        return tf.where(inside, log_prob, tf.constant(-np.inf, log_prob.dtype))

    def _log_prob_inside(self, x, training):
        functions, parts = (self._distribution_fn, self._input_transform), self._parts()
        if training or not tf.executing_eagerly():
            condition = self._network.conditioning.join(parts)
            return density_pass(self._network, *functions, x, condition, training)
        run = self._runner.compiled(("log_prob", *functions), make_density_pass(*functions))
        return self._runner(run, x, parts)

    # Samples -------------------------------------------------------------------------------------

    def _call_sample_n(self, sample_shape, seed, conditional_input=None):
        bound = conditioned(self, conditional_input)  # which knows the batch shape
        return super(AutoregressiveDistribution, bound)._call_sample_n(sample_shape, seed)

    def _sample_n(self, n, seed=None):
        static = tf.get_static_value(n)
        shape = [n if static is None else int(static), *self._leading()]
        x = self._sampler.sample(shape, tfp.random.sanitize_seed(seed), self._parts())
        return tf.cast(x, self.dtype)

    def greedy(self, conditional_input=None):
        """Each variable the mode of its conditional, given the modes before it.

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
        x = bound._sampler.greedy(bound._leading(), bound._parts())
        return tf.cast(x, self.dtype)

    def complete(self, value, num_rows, seed=None, conditional_input=None):
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
        checks.event_shape("value", static_shape(value), self.event_shape)
        height, *row = self._network.event_shape
        num_given = variables_in_rows(self._network, num_rows)
        self._support.check_dtype("value", value.dtype)
        bound, axis = conditioned(self, conditional_input), -len(self.event_shape)
        given, rest = tf.split(value, [num_rows, height - num_rows], axis=axis)
        with tf.control_dependencies(self._support.assertions(given)):
            given = tf.identity(given)
        shape = list(
            batching.broadcast_leading([batching.leading(value, -axis), tuple(bound._leading())])
        )
        x = bound._sampler.complete(
            tf.cast(tf.concat([given, tf.zeros_like(rest)], axis), self._float_dtype),
            num_given,
            shape,
            tfp.random.sanitize_seed(seed),
            bound._parts(),
        )
        drawn = tf.cast(tf.split(x, [num_rows, height - num_rows], axis=axis)[1], value.dtype)
        given = tf.broadcast_to(given, [*shape, num_rows, *row])
        return tf.concat([given, drawn], axis)
