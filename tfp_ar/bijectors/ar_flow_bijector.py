"""The autoregressive flow as a TFP bijector."""

import dataclasses
import functools
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.caching.cached_bijector import CachedBijector
from tfp_ar.bijectors.caching.tensor_memo import TensorMemo
from tfp_ar.bijectors.caching.weights_aware_cache import WeightsAwareCache, WeightsVersion
from tfp_ar.bijectors.sampling.choose import check_sampling, make_sampler
from tfp_ar.bijectors.sampling.fixed_point import FixedPoint
from tfp_ar.bijectors.transformers.affine import LOG_SCALE_BOUND, Affine
from tfp_ar.bijectors.transformers.validation import check_transformer
from tfp_ar.conditioning.bound import BoundConditioning
from tfp_ar.conditioning.forwarding import kwargs_of_network
from tfp_ar.internal import checks, shapes, tf_private
from tfp_ar.internal.compiled_network import CompiledNetwork
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.generation.reference import CACHED
from tfp_ar.networks.layer_network import as_network

tfb = tfp.bijectors


class ARFlowBijector(CachedBijector):
    """Autoregressive flow, which transforms each variable given the variables before it.

        forward (sampling):  x[i] = t(u[i]; params[i](x[j] for all j before i))
        inverse (density):   u[i] = t^-1(x[i]; params[i](...)), all i at once

    with t the affine map mu + exp(alpha) u by default. The Jacobian dx/du is triangular in the
    network's order, so that log|det| = sum_i log t'(u[i]): for the affine map, sum_i alpha[i].
    With standard normal u the density of x is prod_i N(x[i]; mu[i], exp(alpha[i])^2).

    `tfb.Invert(ARFlowBijector(network))` is the inverse autoregressive flow, fast to sample.

    Args:
      network: an AutoregressiveNetwork, or any Keras layer that maps [B, *event_shape] to
        [B, *event_shape, num_params]. For such a layer, `event_shape` may be needed, and you must
        make sure that it is autoregressive: `assert_autoregressive` checks that. Built here if it
        is not. A pass changes none of its
        variables.
      bijector_fn: function params [..., num_params] -> a scalar (elementwise) tfb.Bijector over
        [...], increasing or decreasing in u. It must be hashable and have no variables of its own.
        Default None: `Affine(log_scale_bound)`.
      log_scale_bound: the bound on |alpha| of the default transformer. Default 7, scales from
        1/1100 to 1100; see `Affine`.
      sampling: 'cached', the network's own `generate`; 'fixed_point' or a `FixedPoint`, parallel
        passes until nothing changes, faster only where variables hardly depend on each other; or
        'reference', one parallel pass per variable, for comparison. Default 'cached'.
      jit_compile: whether XLA compiles the sequential pass, and the parallel one when called
        eagerly. Default True.
      conditional_input: the conditioning, [*batch, *conditional_shape], if it is fixed; otherwise
        pass `conditional_input` to the methods (in a TransformedDistribution through
        `bijector_kwargs`). `bind` sets this in a whole stack. Its leading shape is the bijector's
        batch shape. Default None.
      event_shape: the shape of one x, for a layer that does not know it itself. Default None.
      validate_args: whether to check at run time that inputs are finite. Default False.
      name: name for the ops. Default 'ar_flow'.

    The methods take two keyword arguments: `conditional_input`, and `training` (dropout of the
    network in the inverse pass and its log-det; sampling has no dropout). A dropout mask belongs to
    a tensor: a second call with the same x, while the results of the first are held, has the same
    mask, so that noise and log-det fit; `tf.identity(x)` draws another. If there is dropout,
    `forward_log_det_jacobian` with training=True raises a LookupError for a u whose inverse pass is
    no longer known.

    TFP's hash of this bijector includes the version of the weights and any open tape, so that no
    cache (that of `tfb.Chain`, say) returns results of other weights. Do not use the bijector as a
    dictionary key across weight updates or under a tape.

    Cost: inverse, either log-det, or both together take one parallel pass. forward takes one
    sequential pass (for cached networks, the arithmetic of one parallel pass), and its log-det
    another parallel pass; XLA compiles it once for each padded batch size. A gradient through
    forward takes a few parallel passes.

    Derivatives: inverse and the log-dets at given x have derivatives of all orders. forward has
    first derivatives in reverse mode; second ones and forward mode raise a LookupError, and
    `tape.batch_jacobian` through it needs `experimental_use_pfor=False`.

    Raises:
      TypeError, ValueError: if an argument is of the wrong kind, `network` cannot be built, or
        `bijector_fn` does not take `network.num_params` parameters.
      RuntimeError: if Keras runs on a backend other than TensorFlow.

    References:
      D. P. Kingma et al., Improving variational inference with inverse autoregressive flow,
        arXiv:1606.04934, 2016.
      G. Papamakarios et al., Masked autoregressive flow for density estimation, arXiv:1705.07057,
      2017.

    >>> network = tfp_ar.networks.WaveNet(event_shape=[8], residual_channels=4)
    >>> base = tfd.Sample(tfd.Normal(0.0, 1.0), [8])
    >>> flow = tfd.TransformedDistribution(base, ARFlowBijector(network))
    >>> x = flow.sample(3, seed=[1, 2])
    >>> flow.log_prob(x).shape
    TensorShape([3])
    """

    def __init__(
        self,
        network: keras.Layer,
        bijector_fn: Callable[[tf.Tensor], tfb.Bijector] | None = None,
        log_scale_bound: float = LOG_SCALE_BOUND,
        sampling: str | FixedPoint = CACHED,
        jit_compile: bool = True,
        conditional_input: Any = None,
        event_shape: Sequence[int] | None = None,
        validate_args: bool = False,
        name: str = "ar_flow",
    ):
        parameters = dict(locals())
        checks.require_tensorflow_backend("ARFlowBijector")
        network = parameters["network"] = as_network(network, event_shape)
        sampling = check_sampling(sampling, network)
        if bijector_fn is not None and log_scale_bound != LOG_SCALE_BOUND:
            raise ValueError(
                "log_scale_bound: expected the default with a bijector_fn, which does not use it, "
                f"got {log_scale_bound!r}."
            )
        transformer = Affine(log_scale_bound) if bijector_fn is None else bijector_fn
        check_transformer(transformer, network)
        dtype = tf.as_dtype(network.variable_dtype)
        memo = TensorMemo(dtype)
        bound = BoundConditioning.of(network.conditioning, conditional_input, memo)
        parameters["conditional_input"] = bound and bound.conditional_input
        with tf.name_scope(name) as name:
            super().__init__(
                forward_min_event_ndims=len(network.event_shape),
                dtype=dtype,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )
        self._network = network
        self._memo, self._bound = memo, bound
        self._conditional_input = parameters["conditional_input"]  # for tf.Module, if a variable
        self._inverse_pass = InversePass(transformer)
        self._jit_compile = jit_compile
        self._compiled = CompiledNetwork.of(network)
        self._variables = self._compiled.variables  # what tf.Module sees of the network
        self._version = self._compiled.once(WeightsVersion, _weights_version)
        self._sampler = make_sampler(network, transformer, sampling, jit_compile)
        self._cache = WeightsAwareCache(self)

    @property
    def network(self) -> AutoregressiveNetwork:
        """The autoregressive network."""
        return self._network

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one x."""
        return self._network.event_shape

    @property
    def conditional_shape(self) -> Any:
        """The shape of one `conditional_input`: None, a tuple, or a dict of tuples."""
        return self._network.conditional_shape

    @property
    def conditional_input(self) -> Any:
        """The bound conditioning, or None."""
        return self._conditional_input

    @property
    def takes_kwargs(self) -> dict[str, bool]:
        """The keyword arguments of the methods: see `tfp_ar.conditioning`."""
        return kwargs_of_network(self._network)

    def weights_version(self) -> Hashable:
        """Returns a value that is the same only while the weights are."""
        return self._version()

    def _state(self):
        state = super()._state()
        if self._bound is not None:
            state["condition"] = tuple(map(self._memo.key, self._bound.values()))
        return state

    def __deepcopy__(self, memo):
        raise TypeError(
            f"{self.name}: a deep copy would share the network's weights. Make another network "
            "(network.from_config(network.get_config())) and a flow on it."
        )

    # Arguments -----------------------------------------------------------------------------------

    def _resolve(self, conditional_input=None, training=None, **unknown) -> dict:
        """Checks the methods' keyword arguments; returns the conditions by kind, and `training`."""
        if unknown:
            raise TypeError(
                f"{self.name}: expected the keyword arguments conditional_input and training, got "
                f"{sorted(unknown)}."
            )
        resolved = {}
        if conditional_input is None and self._bound is not None:
            resolved["conditions"] = self._bound.tensors()
        else:
            conditions = self._network.conditioning.parse(conditional_input)
            if conditions:
                resolved["conditions"] = {k: self._memo(c) for k, c in conditions.items()}
        if training:
            resolved["training"] = training
        return resolved

    def _call_forward(self, x, name, **kwargs):
        return super()._call_forward(x, name, **self._resolve(**kwargs))

    def _call_inverse(self, y, name, **kwargs):
        return super()._call_inverse(y, name, **self._resolve(**kwargs))

    def _call_forward_log_det_jacobian(self, x, event_ndims, name, **kwargs):
        kwargs = self._resolve(**kwargs)
        return super()._call_forward_log_det_jacobian(x, event_ndims, name, **kwargs)

    def _call_inverse_log_det_jacobian(self, y, event_ndims, name, **kwargs):
        kwargs = self._resolve(**kwargs)
        return super()._call_inverse_log_det_jacobian(y, event_ndims, name, **kwargs)

    def _checked(self, name, value, conditions):
        """Returns the value and the conditions, with run-time checks if validate_args is set."""
        shapes.check_event_shape(name, shapes.static_shape(value), self.event_shape)
        conditions = conditions or {}
        if self.validate_args:  # outside compiled code, which drops checks silently
            value = tf.debugging.check_numerics(value, f"{name}: expected finite values")
            message = "conditional_input: expected finite values"
            conditions = {k: tf.debugging.check_numerics(c, message) for k, c in conditions.items()}
        return value, conditions

    # The maps ------------------------------------------------------------------------------------

    def _augmented_forward(self, u, conditions=None, training=None):
        u, conditions = self._checked("x", u, conditions)  # TFP calls forward's argument x
        x = self._compiled.batched(self._sampler, [u], conditions, pad=self._jit_compile)
        return x, {}

    def _report(self, u, conditional_input):
        """Returns what `sampling_report` gives, as a tuple."""
        resolved = self._resolve(conditional_input=conditional_input)
        u, conditions = self._checked("u", u, resolved.get("conditions"))
        return self._compiled.batched(self._sampler.report, [u], conditions, pad=self._jit_compile)

    def _augmented_inverse(self, x, conditions=None, training=None):
        x, conditions = self._checked("y", x, conditions)  # TFP calls inverse's argument y
        if training or not tf.executing_eagerly():
            conditional_input = self._network.conditioning.join(list(conditions.values()))
            u, ildj = self._inverse_pass(self._network, x, conditional_input, training)
            return u, {"ildj": ildj}
        weights = self._compiled.weights()
        function = self._compiled.function(self._inverse_pass, self._jit_compile)
        run = functools.partial(function, weights)
        u, ildj = self._compiled.batched(run, [x], conditions, pad=self._jit_compile)
        return u, {"ildj": ildj, "version": self._version.of_values(weights)}

    def _inverse_log_det_jacobian(self, y, **kwargs):
        # TFP adds the result to these attributes: without the version, it would never expire.
        attributes = self._cache.inverse_attributes(y, **kwargs)
        if attributes.get("source") == "_augmented_forward":
            kwargs.pop("training", None)  # y is a sample, and samples have no dropout
        found = self._augmented_inverse(y, **kwargs)[1]
        version = found.get("version") or self.weights_version()
        attributes.update(source="_augmented_inverse", version=version)
        return found["ildj"]

    def _forward_log_det_jacobian(self, x, **kwargs):
        is_known = "source" in self._cache.forward_attributes(x, **kwargs)
        if kwargs.get("training") and not is_known and self._compiled.has_dropout:
            # Sampling has no dropout: it would not return the y that x came from.
            raise LookupError(
                f"{self.name}: expected, with training=True, the log-det at a tensor that "
                "`inverse` returned and that is still held together with its y, under the same "
                "weights, conditional_input and tapes, got another one, whose dropout masks are "
                "not known."
            )
        # A pass at the result gives the parameters that sampling used, up to rounding.
        y = self._cache.forward(x, **kwargs)
        kwargs.pop("training", None)
        return -self._augmented_inverse(y, **kwargs)[1]["ildj"]

    @classmethod
    def _parameter_properties(cls, dtype):
        # Without these, TFP cannot slice a bound distribution by batch, as in d[0].
        def ndims(self, x_event_ndims):
            extra = x_event_ndims - len(self.event_shape)
            conditioning = self.network.conditioning
            return conditioning.join([n + extra for n in conditioning.event_ndims])

        return {"conditional_input": tfp.util.ParameterProperties(event_ndims=ndims)}

    # Shapes --------------------------------------------------------------------------------------

    def _forward_event_shape(self, input_shape):
        shapes.check_event_shape("input_shape", _as_list(input_shape), self.event_shape)
        return input_shape

    def _inverse_event_shape(self, output_shape):
        shapes.check_event_shape("output_shape", _as_list(output_shape), self.event_shape)
        return output_shape

    def _batch_shape(self, x_event_ndims):
        if self._bound is None:
            return tf.TensorShape([])
        shape, extra = self._bound.batch_shape(), x_event_ndims - len(self.event_shape)
        return shape[: max(shape.rank - extra, 0)]

    def _batch_shape_tensor(self, x_event_ndims):
        shape = [] if self._bound is None else self._bound.leading()
        extra = x_event_ndims - len(self.event_shape)
        return tf.convert_to_tensor(shape[: max(len(shape) - extra, 0)], tf.int32)


@dataclasses.dataclass(frozen=True)
class InversePass:
    """Inverse map of a flow: one parallel pass, with its log-det.

    Args:
      transformer: function params [..., num_params] -> elementwise bijector; hashable.
    """

    transformer: Callable

    def __call__(
        self,
        network: AutoregressiveNetwork,
        x: tf.Tensor,
        conditional_input: Any = None,
        training: bool | None = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns u [..., *event_shape] and log|det du/dx| [...] for x [..., *event_shape]."""
        bijector = self.transformer(network(x, conditional_input, training=training))
        u = bijector.inverse(x)
        ildj = bijector.inverse_log_det_jacobian(x, event_ndims=0)
        ildj = tf.broadcast_to(ildj, tf.shape(u))  # a constant log-det comes as a scalar
        return u, tf.reduce_sum(ildj, axis=list(range(-len(network.event_shape), 0)))


def _weights_version(network) -> WeightsVersion:
    network_ref = weakref.ref(network)
    return WeightsVersion(lambda: tf_private.raw_variables(network_ref()))


def _as_list(shape):
    return None if shape.rank is None else shape.as_list()
