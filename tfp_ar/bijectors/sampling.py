"""The forward map of a flow: one sequential pass, with gradients."""

import functools

import tensorflow as tf

from tfp_ar.bijectors.implicit import implicit_vjp, substitution_vjp
from tfp_ar.internal import tf_private
from tfp_ar.internal.program import Program
from tfp_ar.networks import AutoregressiveNetwork

CACHED, REFERENCE = "cached", "reference"
SAMPLING = (CACHED, REFERENCE)


class Sampler:
    """x = T(u; conditioning, weights) for flat batches, differentiable in all three.

    The loop is compiled by XLA also when called eagerly. A compiled loop cannot be differentiated
    from outside, not even be run under a tape: hence the custom gradient, by implicit
    differentiation.

    Args:
      network: the AutoregressiveNetwork.
      transformer: params [..., num_params] -> elementwise bijector; hashable.
      sampling: 'cached' (the network's own `generate`) or 'reference' (a parallel pass a variable).
      jit_compile: whether XLA compiles the passes.
    """

    def __init__(self, network, transformer, sampling, jit_compile):
        self._program = Program.of(network)
        self._conditioning = network.conditioning
        self._transformer = transformer
        self._sampling = sampling
        self._jit_compile = jit_compile

    def __call__(self, u, parts):
        """Draws x [B, *event_shape] from noise u of the same shape.

        Args:
          u: [B, *event_shape].
          parts: list of the parts of the conditioning, [B, ...] each.
        """
        if tf.executing_eagerly() and not tf_private.tape_is_active():
            # The custom gradient would read all variables: milliseconds.
            return self._draw(u, parts)

        @tf.custom_gradient
        def sample(u, *parts):
            with tf_private.not_recording(self._program.variables):
                x = self._draw(u, parts)

            def gradient(dx, variables=None):
                variables = list(variables or [])
                pulled = self._pull_back_once(variables, x, dx, u, *parts)
                inputs, weights = pulled[: 1 + len(parts)], pulled[1 + len(parts) :]
                return (inputs, weights) if variables else inputs

            return x, gradient

        return sample(u, *parts)

    def _draw(self, u, parts):
        """x, without gradients where a tape is open."""
        return self._function("generate", self._make_generate)(u, *parts)

    def _function(self, kind, make, *more):
        key = (kind, self._transformer, self._sampling, *more)
        return self._program.function(key, make, self._jit_compile)

    def _make_generate(self, network):
        def generate(u, *parts):
            noise = tf.transpose(tf.reshape(u, [-1, network.event_size]))

            def emit(params, i):
                return self._transformer(params).forward(noise[i])

            run = network.generate
            if self._sampling == REFERENCE:
                run = functools.partial(AutoregressiveNetwork.generate, network)
            static_size = u.shape[0]
            size = tf.shape(u)[0] if static_size is None else static_size
            x = run(emit, size, self._conditioning.join(parts))
            return tf.ensure_shape(x, u.shape)

        return generate

    def _pull_back_once(self, variables, x, dx, u, *parts):
        """`_pull_back` that refuses to be differentiated, which would miss that x depends on u."""

        @tf.custom_gradient
        def pull_back(x, dx, u, *parts_and_weights):
            with tf_private.not_recording([]):
                pulled = self._pull_back(variables, x, dx, u, *parts_and_weights[: len(parts)])
            return tuple(pulled), _refuse

        # The weights are arguments only in order that a derivative in them is refused, too.
        return list(pull_back(x, dx, u, *parts, *(tf.identity(v) for v in variables)))

    def _pull_back(self, variables, x, dx, u, *parts):
        """Cotangents on u, parts and variables for the cotangent dx on x."""
        which = tuple(variable.ref() for variable in variables)
        fast = self._function(
            "implicit", lambda network: self._make_implicit(network, variables), which
        )
        exact = self._function("exact", lambda network: self._make_exact(network, variables), which)
        *pulled, converged = fast(x, dx, u, *parts)
        return exact_unless(converged, pulled, lambda: exact(x, dx, u, *parts))

    def _make_implicit(self, network, variables):
        def implicit(x, dx, u, *parts):
            theta = [u, *parts, *variables]
            pulled, converged = implicit_vjp(self._fixed_point(network, len(parts)), x, theta, dx)
            return (*pulled, converged)

        return implicit

    def _make_exact(self, network, variables):
        if self._is_reference(network):

            def exact(x, dx, u, *parts):
                g, theta = self._fixed_point(network, len(parts)), [u, *parts, *variables]
                return substitution_vjp(g, x, theta, dx, network.order)

            return exact

        generate = self._make_generate(network)

        def exact(_, dx, u, *parts):
            with tf.GradientTape() as tape:
                tape.watch([u, *parts])
                x = generate(u, *parts)
            return tape.gradient(
                x,
                [u, *parts, *variables],
                dx,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )

        return exact

    def _fixed_point(self, network, num_parts):
        """The g of x = g(x, [u, *parts, *variables]), which a sample x solves."""

        def g(x, theta):
            u, *parts = theta[: 1 + num_parts]
            params = network(x, self._conditioning.join(parts), training=False)
            return self._transformer(params).forward(u)

        return g

    def _is_reference(self, network):
        """Whether samples come from the loop of whole passes, costly to go through backwards."""
        return self._sampling == REFERENCE or not network.has_cached_generate


def exact_unless(converged, result, exact):
    """`result` if the bool scalar `converged` is true, else exact(): eagerly not even traced."""
    if tf_private.in_xla_context() or not tf.executing_eagerly():
        return tf.cond(converged, lambda: result, exact)
    return result if converged else exact()


def _refuse(*_, variables=None):
    raise LookupError(
        "ARFlowBijector.forward: samples have first derivatives only, in reverse mode, got a "
        "request for a second one or for forward mode. The inverse has all derivatives."
    )
