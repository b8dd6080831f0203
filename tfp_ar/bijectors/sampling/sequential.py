"""The forward map of a flow: one sequential pass, with gradients."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfp_ar.bijectors.sampling.implicit_gradient import implicit_vjp, substitution_vjp
from tfp_ar.internal import tf_private
from tfp_ar.internal.compiled_network import CompiledNetwork
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.generation.reference import is_reference, sequential_pass


class SequentialSampler:
    """Sampler of x = T(u; conditions, weights) for flat batches, differentiable in all three.

    XLA compiles the loop, in eager mode too. A compiled loop cannot be differentiated from outside,
    and cannot even run under a tape: hence the custom gradient, by implicit differentiation.

    Args:
      network: the AutoregressiveNetwork.
      transformer: function params [..., num_params] -> elementwise bijector; hashable.
      sampling: 'cached' (the network's own `generate`) or 'reference' (a parallel pass per
        variable).
      jit_compile: whether XLA compiles the passes.
    """

    def __init__(
        self,
        network: AutoregressiveNetwork,
        transformer: Callable,
        sampling: str,
        jit_compile: bool,
    ):
        self._compiled = CompiledNetwork.of(network)
        self._transformer, self._sampling = transformer, sampling
        self._jit_compile = jit_compile
        self._generate = GeneratePass(transformer, sampling)

    def __call__(self, u: tf.Tensor, *conditions: tf.Tensor) -> tf.Tensor:
        """Draws x [B, *event_shape] from noise u of the same shape.

        Args:
          u: [B, *event_shape].
          *conditions: [B, ...] each, in the order of the network's spec.
        """
        weights = self._compiled.weights()
        if tf.executing_eagerly() and not tf_private.tape_is_active():
            draw = self._draw(weights)
            return draw(u, *conditions)

        @tf.custom_gradient
        def sample(u, *conditions_and_weights):
            conditions, weights = _split(conditions_and_weights, num_conditions)
            x = self._draw(weights)(u, *conditions)

            def gradient(dx, variables=None):
                # `variables`: tf.Variables of a layer that Keras does not know of.
                others = list(variables or [])
                pulled = self._pull_back_once(others, weights, x, dx, u, *conditions)
                inputs = pulled[: len(pulled) - len(others)]
                return (inputs, pulled[len(inputs) :]) if others else inputs

            return x, gradient

        num_conditions = len(conditions)
        return sample(u, *conditions, *weights)

    def _draw(self, weights):
        """Returns a function (u, *conditions) -> x, which open tapes do not record."""
        return functools.partial(
            self._compiled.unrecorded(self._generate, self._jit_compile), weights
        )

    def _pull_back_once(self, others, weights, x, dx, u, *conditions):
        """Returns cotangents on u, conditions, weights and other variables for dx on x.

        It refuses to be differentiated, which would miss that x depends on u.
        """
        trained = tuple(
            i
            for i, variable in enumerate(self._compiled.variables)
            if variable.trainable and variable.dtype.is_floating
        )
        sources = Sources(trained, tuple(variable.ref() for variable in others))

        @tf.custom_gradient
        def pull_back(x, dx, u, *conditions_and_weights):
            conditions, weights = _split(conditions_and_weights, num_conditions)
            return tuple(self._pull_back(sources, weights, x, dx, u, *conditions)), _refuse

        num_conditions = len(conditions)
        # The weights are arguments only in order that a derivative in them is refused, too.
        pulled = list(pull_back(x, dx, u, *conditions, *weights))
        first, last = pulled[: 1 + num_conditions], pulled[1 + num_conditions + len(trained) :]
        of_weights = dict(zip(trained, pulled[1 + num_conditions :], strict=False))
        return [*first, *(of_weights.get(i) for i in range(len(weights))), *last]

    def _pull_back(self, sources, weights, x, dx, u, *conditions):
        """Returns cotangents on u, conditions and sources for dx on x."""
        arguments = (weights, x, dx, u, *conditions)
        run = functools.partial(self._compiled.unrecorded, jit_compile=self._jit_compile)
        fast = ImplicitPullBack(self._transformer, sources)
        exact = ExactPullBack(self._transformer, sources, self._sampling)
        *pulled, converged = run(fast)(*arguments)
        if not tf.executing_eagerly():
            # Traced before the branch, in which no tape records.
            self._compiled.function(exact, self._jit_compile).get_concrete_function(*arguments)
        return exact_unless(converged, pulled, lambda: run(exact)(*arguments))


@dataclasses.dataclass(frozen=True)
class Sources:
    """The variables that a sample is differentiated by, besides u and the conditions.

    Args:
      trained: indices of weights, among all variables of the network.
      others: references to tf.Variables that a layer reads without Keras knowing of them.
    """

    trained: tuple[int, ...]
    others: tuple[Any, ...]

    def theta(self, network: AutoregressiveNetwork, u: tf.Tensor, conditional_input: Any) -> list:
        """Returns what x is differentiated by: u, conditions, weights, other variables."""
        conditions = network.conditioning.parse(conditional_input).values()
        variables = network.variables
        # Within the scope of a compiled function this gives the very tensors that it got.
        weights = [tf.convert_to_tensor(variables[i]) for i in self.trained]
        return [u, *conditions, *weights, *(reference.deref() for reference in self.others)]


@dataclasses.dataclass(frozen=True)
class GeneratePass:
    """Sequential pass of a flow."""

    transformer: Callable
    sampling: str

    def __call__(
        self, network: AutoregressiveNetwork, u: tf.Tensor, conditional_input: Any
    ) -> tf.Tensor:
        """Returns x [B, *event_shape] for u of the same shape."""
        noise = tf.transpose(tf.reshape(u, [-1, network.event_size]))

        def emit(params, i):
            return self.transformer(params).forward(noise[i])

        generate = sequential_pass(network, self.sampling)
        size = tf.shape(u)[0] if u.shape[0] is None else u.shape[0]
        return tf.ensure_shape(generate(emit, size, conditional_input), u.shape)


@dataclasses.dataclass(frozen=True)
class ImplicitPullBack:
    """Cotangents of a sample by a few parallel passes, and whether these were enough."""

    transformer: Callable
    sources: Sources

    def __call__(
        self,
        network: AutoregressiveNetwork,
        x: tf.Tensor,
        dx: tf.Tensor,
        u: tf.Tensor,
        conditional_input: Any,
    ) -> tuple:
        """Returns cotangents on u, conditions and weights, and a bool scalar."""
        theta = self.sources.theta(network, u, conditional_input)
        pulled, converged = implicit_vjp(_fixed_point(network, self.transformer), x, theta, dx)
        return (*pulled, converged)


@dataclasses.dataclass(frozen=True)
class ExactPullBack:
    """Cotangents of a sample whatever the coupling, at the cost of a sequential pass."""

    transformer: Callable
    sources: Sources
    sampling: str

    def __call__(
        self,
        network: AutoregressiveNetwork,
        x: tf.Tensor,
        dx: tf.Tensor,
        u: tf.Tensor,
        conditional_input: Any,
    ) -> list:
        """Returns cotangents on u, conditions and weights."""
        theta = self.sources.theta(network, u, conditional_input)
        if is_reference(network, self.sampling):  # too costly to backpropagate through
            g = _fixed_point(network, self.transformer)
            return substitution_vjp(g, x, theta, dx, network.order)
        with tf.GradientTape() as tape:
            tape.watch(theta)
            x = GeneratePass(self.transformer, self.sampling)(network, u, conditional_input)
        return tape.gradient(x, theta, dx, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _fixed_point(network, transformer):
    """Returns the g of x = g(x, theta), which a sample x solves."""

    def g(x, theta):
        u, *others = theta
        conditions = others[: len(network.conditioning.shapes)]
        params = network(x, network.conditioning.join(conditions), training=False)
        return transformer(params).forward(u)

    return g


def exact_unless(converged: tf.Tensor, result: Any, exact: Callable[[], Any]) -> Any:
    """Returns `result` if the bool scalar `converged` is true, else exact().

    In eager mode, `exact` is not even traced unless it is needed.
    """
    if tf.executing_eagerly():
        return result if converged else exact()
    if not tf_private.tape_is_active():
        return tf.cond(converged, lambda: result, exact)
    with tf_private.not_recording():  # XLA cannot compile what a tape adds to a branch
        return tf.cond(converged, lambda: result, exact)


def _split(values, number) -> tuple[list, list]:
    return list(values[:number]), list(values[number:])


def _refuse(*_, variables=None):
    raise LookupError(
        "ARFlowBijector.forward: samples have first derivatives only, in reverse mode, got a "
        "request for a second one or for forward mode. The inverse has all derivatives."
    )
