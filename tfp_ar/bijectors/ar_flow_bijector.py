"""The autoregressive flow as a TFP bijector."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors import bound_conditioning
from tfp_ar.bijectors.affine import LOG_SCALE_BOUND, Affine
from tfp_ar.bijectors.batch_runner import BatchRunner
from tfp_ar.bijectors.fixed_point_sampling import check_sampling, make_sampler
from tfp_ar.bijectors.flow_cache import FlowCache
from tfp_ar.bijectors.inverse_pass import inverse_pass, make_inverse_pass
from tfp_ar.bijectors.sampling import CACHED
from tfp_ar.bijectors.stateful_bijector import StatefulBijector
from tfp_ar.bijectors.transformer_check import check_transformer
from tfp_ar.internal import checks
from tfp_ar.internal.program import Program
from tfp_ar.internal.variables import StableTensors, random_states
from tfp_ar.networks.conditioning import static_shape
from tfp_ar.networks.layer_network import as_network


class ARFlowBijector(StatefulBijector):
    """Autoregressive flow: each variable transformed given the variables before it.

        forward (sampling):  x[i] = t(u[i]; params[i](x[j] for all j before i))
        inverse (density):   u[i] = t^-1(x[i]; params[i](...)), all i at once

    with t the affine map mu + exp(alpha) u by default. The Jacobian dx/du is triangular in the
    network's order, so that log|det| = sum_i log t'(u[i]): for the affine map, sum_i alpha[i].
    With standard normal u the law of x is prod_i N(x[i]; mu[i], exp(alpha[i])^2).

    `tfb.Invert(ARFlowBijector(network))` is the inverse autoregressive flow, fast to sample.

    Args:
      network: an AutoregressiveNetwork, or any Keras layer that maps [B, *event_shape] to
        [B, *event_shape, num_params] (then `event_shape` may be needed, and it is on you that the
        layer is autoregressive: `assert_autoregressive` tells). Built here if it is not.
      bijector_fn: function params [..., num_params] -> a scalar (elementwise) tfb.Bijector over
        [...], increasing or decreasing in u, without variables of its own. Default:
        `Affine(log_scale_bound)`.
      log_scale_bound: the bound on |alpha| of the default transformer. Default 7, scales from
        1/1100 to 1100; see `Affine`.
      sampling: 'cached', the network's own `generate`; 'fixed_point' or a `FixedPoint`, parallel
        passes until nothing moves, faster only where variables hardly depend on each other; or
        'reference', a parallel pass for each variable, to compare with. Default 'cached'.
      jit_compile: whether XLA compiles the sequential pass, and the parallel one when called
        eagerly. Default True.
      conditional_input: what the flow is conditioned on, [*batch, *conditional_shape], if that is
        fixed; otherwise pass `conditional_input` to the methods (in a TransformedDistribution by
        `bijector_kwargs`). `bind` sets this in a whole stack. Its leading shape is the bijector's
        batch shape.
      event_shape: the shape of one x, for a layer that does not know it itself. Default None.
      validate_args: whether to check at run time that inputs are finite. Default False.
      name: name for the ops. Default 'ar_flow'.

    The methods take two keyword arguments: `conditional_input`, and `training` (dropout of the
    network in the inverse pass and its log-det; sampling is without). A dropout mask belongs to a
    tensor: the same x, asked again while its answers are held, has the same mask, so that noise and
    log-det fit; `tf.identity(x)` draws another. If there is dropout, `forward_log_det_jacobian`
    with training=True of a u whose pass is not known any more raises a LookupError.

    In TFP's hash of a bijector the state of the weights and any open tape take part, so that no
    cache (`tfb.Chain`'s, say) answers for others: do not use one as a dictionary key across weight
    updates or under a tape.

    Cost: inverse, either log-det, or both together: one parallel pass. forward: one sequential pass
    (for cached networks, the arithmetic of one parallel pass), and one parallel pass more for its
    log-det; XLA compiles it once for each padded batch size. A gradient through forward: a few
    parallel passes.

    Derivatives: inverse and log-dets of given x have all. forward has first ones in reverse mode;
    second ones and forward mode raise a LookupError, and `tape.batch_jacobian` through it needs
    `experimental_use_pfor=False`.

    Raises:
      TypeError, ValueError: if an argument is of the wrong kind, `network` cannot be built, or
        `bijector_fn` does not take `network.num_params` parameters.
      RuntimeError: if Keras runs on another backend than TensorFlow.

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
        network,
        bijector_fn=None,
        log_scale_bound=LOG_SCALE_BOUND,
        sampling=CACHED,
        jit_compile=True,
        conditional_input=None,
        event_shape=None,
        validate_args=False,
        name="ar_flow",
    ):
        parameters = dict(locals())
        checks.require_tensorflow_backend("ARFlowBijector")
        network = parameters["network"] = as_network(network, event_shape)
        sampling = check_sampling(sampling, network)
        if bijector_fn is not None and log_scale_bound != LOG_SCALE_BOUND:
            raise ValueError(
                "log_scale_bound: expected none beside a bijector_fn, which it does not reach, got "
                f"{log_scale_bound!r}."
            )
        transformer = Affine(log_scale_bound) if bijector_fn is None else bijector_fn
        check_transformer(transformer, network)
        with tf.name_scope(name) as name:
            super().__init__(
                forward_min_event_ndims=len(network.event_shape),
                dtype=tf.as_dtype(network.variable_dtype),
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )
        self._network = network
        self._transformer = transformer
        self._stable = StableTensors(self.dtype)
        conditional_input = bound_conditioning.as_arrays(conditional_input)
        self._conditional_input = parameters["conditional_input"] = conditional_input
        if conditional_input is not None:
            network.conditioning.split(conditional_input)
        program = Program.of(network)
        self._variables = program.variables  # what tf.Module sees of the network
        self._change_counter = program.change_counter
        self._runner = BatchRunner(network, jit_compile)
        self._sampler = make_sampler(network, transformer, sampling, jit_compile)
        self._cache = FlowCache(self)

    @property
    def network(self) -> keras.Layer:
        """The autoregressive network."""
        return self._network

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one x."""
        return self._network.event_shape

    @property
    def conditional_shape(self):
        """The shape of one `conditional_input`: None, a tuple, or a dict of tuples."""
        return self._network.conditional_shape

    @property
    def conditional_input(self):
        """The conditioning that is bound, or None."""
        return self._conditional_input

    def change_counter(self):
        """A hashable value that is the same only while the weights are."""
        return self._change_counter()

    def _state(self):
        state = super()._state()
        if self._conditional_input is not None:
            state["condition"] = tuple(self._stable.key(part) for part in self._bound_parts)
        return state

    def __deepcopy__(self, memo):
        raise TypeError(
            f"{self.name}: a deep copy would share the network's weights. Make another network "
            "(network.from_config(network.get_config())) and a flow on it."
        )

    # Arguments -----------------------------------------------------------------------------------

    def _resolve(self, kwargs) -> dict:
        """Checks the methods' keyword arguments and puts in what is bound."""
        unknown = set(kwargs) - {"conditional_input", "training"}
        if unknown:
            raise TypeError(
                f"{self.name}: expected the keyword arguments conditional_input and training, got "
                f"{sorted(unknown)}."
            )
        condition = kwargs.get("conditional_input")
        if condition is None:
            condition = self._conditional_input
        self._network.conditioning.split(condition)
        resolved = {}
        if condition is not None:
            resolved["conditional_input"] = (
                {kind: self._stable(part) for kind, part in condition.items()}
                if isinstance(condition, dict)
                else self._stable(condition)
            )
        if kwargs.get("training"):
            resolved["training"] = kwargs["training"]
        return resolved

    def _call_forward(self, x, name, **kwargs):
        return super()._call_forward(x, name, **self._resolve(kwargs))

    def _call_inverse(self, y, name, **kwargs):
        return super()._call_inverse(y, name, **self._resolve(kwargs))

    def _call_forward_log_det_jacobian(self, x, event_ndims, name, **kwargs):
        return super()._call_forward_log_det_jacobian(x, event_ndims, name, **self._resolve(kwargs))

    def _call_inverse_log_det_jacobian(self, y, event_ndims, name, **kwargs):
        return super()._call_inverse_log_det_jacobian(y, event_ndims, name, **self._resolve(kwargs))

    def _checked(self, name, value, conditional_input):
        """The value, with run-time checks if wanted, and the parts of the conditioning."""
        checks.event_shape(name, static_shape(value), self.event_shape)
        parts = list(self._network.conditioning.split(conditional_input).values())
        if self.validate_args:  # outside compiled code, which would drop them silently
            value = tf.debugging.check_numerics(value, f"{name}: expected finite values")
            parts = [
                tf.debugging.check_numerics(c, "conditional_input: expected finite values")
                for c in parts
            ]
        return value, parts

    # The maps ------------------------------------------------------------------------------------

    def _augmented_forward(self, u, conditional_input=None, training=None):
        u, parts = self._checked("x", u, conditional_input)  # TFP calls forward's argument x
        return self._runner(lambda u, *parts: self._sampler(u, parts), u, parts), {}

    def _report(self, u, conditional_input):
        """What `sampling_report` gives, as a tuple."""
        conditional_input = self._resolve({"conditional_input": conditional_input})
        u, parts = self._checked("u", u, conditional_input.get("conditional_input"))
        return self._runner(lambda u, *parts: self._sampler.report(u, parts), u, parts)

    def _augmented_inverse(self, x, conditional_input=None, training=None):
        x, parts = self._checked("y", x, conditional_input)  # and inverse's argument y
        if training or not tf.executing_eagerly():
            u, ildj = inverse_pass(self._network, self._transformer, x, conditional_input, training)
        else:
            make = make_inverse_pass(self._transformer)
            run = self._runner.compiled(("inverse", self._transformer), make)
            u, ildj = self._runner(run, x, parts)
        return u, {"ildj": ildj}

    def _inverse_log_det_jacobian(self, y, **kwargs):
        # TFP puts the answer into these attributes: the cache must know when it is out of date.
        attributes = self._cache.inverse_attributes(y, **kwargs)
        if attributes.get("source") == "_augmented_forward":
            kwargs.pop("training", None)  # y was drawn, and drawn without dropout
        ildj = self._augmented_inverse(y, **kwargs)[1]["ildj"]
        attributes.update(source="_augmented_inverse", change=self.change_counter())
        return ildj

    def _forward_log_det_jacobian(self, x, **kwargs):
        is_known = "source" in self._cache.forward_attributes(x, **kwargs)
        if kwargs.get("training") and not is_known and random_states(self._network):
            # Sampling, which is without dropout, would not give the y that x came from.
            raise LookupError(
                f"{self.name}: expected, with training=True, the log-det at a tensor that "
                "`inverse` returned, it and its y still held, with the same weights and "
                "conditional_input and under the same tapes, got another one, whose dropout masks "
                "are not known."
            )
        # The pass at the result: the parameters that sampling used, to rounding.
        y = self._cache.forward(x, **kwargs)
        kwargs.pop("training", None)
        return -self._augmented_inverse(y, **kwargs)[1]["ildj"]

    @classmethod
    def _parameter_properties(cls, dtype):
        # For slices of the batch shape: d[0] of a distribution that is bound.
        def ndims(self, x_event_ndims):
            extra = x_event_ndims - len(self.event_shape)
            parts = [n + extra for n in self.network.conditioning.event_ndims]
            return self.network.conditioning.join(parts)

        return {"conditional_input": tfp.util.ParameterProperties(event_ndims=ndims)}

    # Shapes --------------------------------------------------------------------------------------

    def _forward_event_shape(self, input_shape):
        checks.event_shape("input_shape", _as_list(input_shape), self.event_shape)
        return input_shape

    def _inverse_event_shape(self, output_shape):
        checks.event_shape("output_shape", _as_list(output_shape), self.event_shape)
        return output_shape

    @property
    def _bound_parts(self):
        return self._network.conditioning.split(self._conditional_input).values()

    def _batch_shape(self, x_event_ndims):
        shape = bound_conditioning.batch_shape(self._network.conditioning, self._conditional_input)
        extra = x_event_ndims - len(self.event_shape)
        return shape[: max(shape.rank - extra, 0)]

    def _batch_shape_tensor(self, x_event_ndims):
        shape = bound_conditioning.batch_shape_tensor(
            self._network.conditioning, self._conditional_input, self._stable
        )
        extra = x_event_ndims - len(self.event_shape)
        return tf.convert_to_tensor(shape[: max(len(shape) - extra, 0)], tf.int32)


def _as_list(shape):
    return None if shape.rank is None else shape.as_list()
