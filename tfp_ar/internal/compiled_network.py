"""A network's passes as compiled functions: one object per network, shared by all its consumers."""

import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from tfp_ar.internal import shapes, tf_private
from tfp_ar.internal.variables import RawVariables, random_states

_compiled: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class Pass(Hashable, Protocol):
    """A computation with a network; equal ones share compiled code.

    It must not hold the network: the registry would keep that alive.
    """

    def __call__(self, network: keras.Layer, *tensors: tf.Tensor, conditional_input: Any) -> Any:
        """Computes with the network, given tensors, and its conditioning in the network's form."""


class CompiledNetwork:
    """A network's passes, compiled and pure in the weights, for batches of any leading shape.

        results = compiled.batched(functools.partial(compiled.function(a_pass, True), weights),
                                   [x], conditions)

    One per network, got by `CompiledNetwork.of(network)`: copies of a bijector (TFP makes them
    freely, and so does `bind`) share compiled functions instead of compiling for seconds each. It
    holds the network weakly, lest the registry keep it alive.

    A compiled function takes the weights as its first argument, the values of all variables, which
    `keras.StatelessScope` puts in their places: gradients in the weights are gradients in an
    argument, and a function that was traced once serves whatever the tapes around it watch.

    Args:
      network: the AutoregressiveNetwork.
    """

    def __init__(self, network: keras.Layer):
        self._network = weakref.ref(network)
        self._functions: dict = {}
        self._known: dict = {}
        self._event_ndims = len(network.event_shape)
        self._conditioning = network.conditioning
        self.variables = RawVariables(network)

    @classmethod
    def of(cls, network: keras.Layer) -> "CompiledNetwork":
        """Returns the one of `network`."""
        if network not in _compiled:
            _compiled[network] = cls(network)
        return _compiled[network]

    def once(self, key: Hashable, find: Callable) -> Any:
        """Returns find(network), asked once for each key: copies of a bijector are made freely.

        Args:
          key: says all that the answer depends on, besides the network.
          find: function network -> the answer, which must not hold the network. What it raises, it
            raises again the next time.
        """
        if key not in self._known:
            self._known[key] = find(self._network())
        return self._known[key]

    @property
    def has_dropout(self) -> bool:
        """True if the network draws random numbers in training."""
        return self.once("has_dropout", lambda network: bool(random_states(network)))

    def weights(self) -> list[tf.Tensor]:
        """Reads all variables; open tapes take notice."""
        if tf.executing_eagerly() and not tf_private.tape_is_active():
            return tf_private.read(tf_private.raw_variables(self._network()))  # half the time
        # Through RawVariables, which tells tapes what is frozen.
        return [tf.convert_to_tensor(variable) for variable in self.variables]

    def function(self, network_pass: Pass, jit_compile: bool) -> Callable:
        """Returns a pass as a `tf.function`, made once for equal passes.

        Args:
          network_pass: what is computed.
          jit_compile: whether XLA compiles it.

        Returns: a function (weights, *tensors, *conditions): `weights` as `self.weights()` gives
          them; the tensors that the pass takes; the conditions in the order of the spec.
        """
        key = (network_pass, jit_compile)
        if key not in self._functions:
            network_ref, conditioning = self._network, self._conditioning

            def traced(weights, *tensors):
                network, count = network_ref(), len(tensors) - len(conditioning.shapes)
                values = list(zip(network.variables, weights, strict=True))
                with keras.StatelessScope(state_mapping=values):
                    return network_pass(
                        network,
                        *tensors[:count],
                        conditional_input=conditioning.join(tensors[count:]),
                    )

            self._functions[key] = tf.function(traced, jit_compile=jit_compile, autograph=False)
        return self._functions[key]

    def unrecorded(self, network_pass: Pass, jit_compile: bool) -> Callable:
        """Returns `function(network_pass, jit_compile)`, to be run with no tape looking.

        Under a tape that records, a compiled loop cannot even be run.
        """
        function = self.function(network_pass, jit_compile)
        if not tf_private.tape_is_active() or tf.config.functions_run_eagerly():
            return function  # eagerly there is no compiled loop, and tapes inside have to record

        def run(*arguments):
            # Traced before: tapes that are opened in a pass would record nothing in there, and
            # that trace would be kept for all.
            function.get_concrete_function(*arguments)
            with tf_private.not_recording():
                return function(*arguments)

        return run

    def batched(
        self,
        run: Callable,
        events: Sequence[tf.Tensor],
        conditions: Mapping[str, tf.Tensor],
        pad: bool = True,
    ) -> Any:
        """Calls run(*events, *conditions) on one flat batch, whatever the leading shapes.

        Args:
          run: function of tensors [B, ...] that gives a tensor or a structure of tensors [B, ...].
          events: tensors [..., *event_shape].
          conditions: the conditioning by kind; leading shapes broadcast with those of the events.
          pad: whether to pad the batch to one of a few sizes, so that compiled code is shared.

        Returns: what `run` gives, with the broadcast leading shape instead of B.
        """
        values = [*events, *conditions.values()]
        ndims = [self._event_ndims] * len(events) + self._conditioning.event_ndims
        leading = [shapes.leading(v, n) for v, n in zip(values, ndims, strict=True)]
        shape = shapes.broadcast_leading(leading)
        values = shapes.flatten(values, ndims, shape)
        size = shapes.batch_size(shape)
        padded = _padded_size(size) if pad else size
        results = run(*shapes.pad(values, size, padded))

        def restore(result):
            return shapes.unflatten(result[:size] if padded is not size else result, shape)

        return tf.nest.map_structure(restore, results)


def _padded_size(size):
    if isinstance(size, int) and tf.executing_eagerly():
        return shapes.padded_size(size)
    if tf_private.in_xla_context() or (isinstance(size, int) and size > 0):
        return size  # compiled for this size anyway
    return 1 if isinstance(size, int) else shapes.padded_size_tensor(size)
