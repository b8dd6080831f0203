"""Gradients of sampling by implicit differentiation: parallel passes, not the loop in reverse.

A sample solves x = g(x; theta) with g the transformer at the parameters of the parallel pass, and
dg/dx strictly triangular in the network's order. A cotangent v on x is pulled back by
    lambda = v + (dg/dx)^T lambda,        v_theta = (dg/dtheta)^T lambda.
The fixed-point iteration for lambda ends after at most `event_size` steps, as dg/dx is nilpotent,
and usually after far fewer.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# An iteration is one vector-Jacobian product, about two parallel passes. The alternative,
# backpropagation through the cached loop, keeps the memory of all steps.
MAX_ITERATIONS = 64
# Residual, relative to the largest entry of lambda in the same sample, in units of rounding.
TOLERANCE_IN_EPSILON = 16.0


def implicit_vjp(
    g: Callable, x: tf.Tensor, theta: list[tf.Tensor], cotangent: tf.Tensor
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Pulls `cotangent` on x = g(x, theta) back to theta.

    Args:
      g: differentiable function (x, theta) -> like x.
      x: the solution, [B, *event_shape].
      theta: list of float tensors.
      cotangent: like x.

    Returns: list of cotangents like `theta`, and a bool scalar: whether the iteration converged. If
      it did not (with strong coupling over a long range, where powers of dg/dx grow before they
      vanish), the cotangents must not be used.
    """
    pull_to_x, pull_to_theta = _linearized(g, x, theta)
    event_axes = list(range(1, x.shape.rank))
    tolerance = TOLERANCE_IN_EPSILON * np.finfo(x.dtype.as_numpy_dtype).eps

    def largest(v):
        return tf.reduce_max(tf.abs(v), axis=event_axes)

    def improve(k, lam, _):
        new = cotangent + pull_to_x(lam)
        change, scale = largest(new - lam), largest(new)
        return k + 1, new, tf.reduce_all(change <= tolerance * scale)

    _, lam, converged = tf.while_loop(
        lambda k, _, converged: (k < MAX_ITERATIONS) & ~converged,
        improve,
        (tf.constant(0), cotangent, tf.constant(False)),
        shape_invariants=(tf.TensorShape([]), cotangent.shape, tf.TensorShape([])),
        maximum_iterations=MAX_ITERATIONS,
    )
    return pull_to_theta(lam), converged


def substitution_vjp(
    g: Callable, x: tf.Tensor, theta: list[tf.Tensor], cotangent: tf.Tensor, order: np.ndarray
) -> list[tf.Tensor]:
    """Pulls `cotangent` on x = g(x, theta) back to theta, whatever the coupling.

    It finds lambda by back-substitution, from the last variable in `order` to the first.

    Args:
      g: differentiable function (x, theta) -> like x.
      x: the solution, [B, *event_shape].
      theta: list of float tensors.
      cotangent: like x.
      order: flat indices in the order in which g is causal, first variable first.

    Returns: list of cotangents like `theta`.

    Cost: one vector-Jacobian product of g per variable, with the memory of a single one.
    """
    pull_to_x, pull_to_theta = _linearized(g, x, theta)
    last_first = tf.constant(order[::-1].copy(), tf.int32)
    index = tf.reshape(tf.range(len(order)), x.shape[1:])

    def substitute(k, lam):
        # Entries not yet reached do not matter: this one depends on those of later variables only.
        return k + 1, tf.where(index == last_first[k], cotangent + pull_to_x(lam), lam)

    _, lam = tf.while_loop(
        lambda k, _: k < len(order),
        substitute,
        (tf.constant(0), tf.zeros_like(cotangent)),
        shape_invariants=(tf.TensorShape([]), cotangent.shape),
        maximum_iterations=len(order),
    )
    return pull_to_theta(lam)


def _linearized(g, x, theta):
    """Returns the functions lambda -> (dg/dx)^T lambda and lambda -> (dg/dtheta)^T lambda."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, *theta])
        y = g(x, theta)

    def pull_to(sources):
        return lambda lam: tape.gradient(
            y, sources, lam, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    return pull_to(x), pull_to(theta)
