"""Solutions x of increasing equations c(x; theta) = u, and their derivatives.

A `curve` here is a function (x [...], *theta) -> (c [...], log dc/dx [...]), elementwise in x and
increasing in it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_ar.internal import tf_private

# The steps that may be Newton's. All later ones halve the bracket, which bounds their number.
NEWTON_STEPS = 24
# Halvings besides one per bit of the significand: enough for brackets 2^24 times the solution.
MORE_HALVINGS = 24
# The residual to reach, in units of rounding of max(1, |u|). The evaluation of a curve has an error
# of some 4 of these, so that a smaller residual would be a matter of luck.
RESIDUAL_IN_EPSILON = 8.0


def max_iterations(dtype: Any) -> int:
    """Returns the most evaluations of the curve that `solve_increasing` makes in a dtype."""
    return NEWTON_STEPS + np.finfo(tf.as_dtype(dtype).as_numpy_dtype).nmant + 1 + MORE_HALVINGS


def solve_increasing(
    curve: Callable, u: tf.Tensor, low: tf.Tensor, high: tf.Tensor, start: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Solves c(x) = u for x in [low, high], by Newton's method with bisection where it fails.

    Each iteration evaluates the curve once and moves an end of the bracket to that x. The next x is
    Newton's if it lies inside the bracket and its step is at most half the last one; otherwise it
    is the middle. An entry ends one step after its residual was at most

        8 eps max(1, |u|) + 2 eps |x| dc/dx

    (the second term is the effect on u of a unit of rounding of x; the additional step, if it is
    Newton's, costs an evaluation and removes most of the remaining error), or when no number is
    left inside its bracket. Its solution is the x of the least residual. The loop ends with its
    last entry. Where u or a value of the curve is NaN, the solution is NaN, at once.

    Args:
      curve: function x [...] -> (c, log dc/dx).
      u: [...].
      low: like u, at most the solution.
      high: like u, at least the solution.
      start: like u, the first x, in [low, high].

    Returns: x like u, and the number of iterations, an int32 scalar.
    """
    epsilon = np.finfo(u.dtype.as_numpy_dtype).eps
    most = max_iterations(u.dtype)
    tolerance = RESIDUAL_IN_EPSILON * epsilon * tf.maximum(tf.abs(u), 1.0)

    def improve(k, x, low, high, last, best, least, near, done):
        value, log_slope = curve(x)
        residual, slope = value - u, tf.exp(log_slope)
        above = residual > 0.0
        low, high = tf.where(above, low, x), tf.where(above, x, high)
        middle = 0.5 * low + 0.5 * high
        newton = x - residual / slope  # infinite on a plateau, and then not taken
        step = tf.abs(newton - x)
        taken = (newton > low) & (newton < high) & (step <= 0.5 * last) & (k < NEWTON_STEPS)
        new = tf.where(taken, newton, middle)
        # Negated comparisons, so that a NaN ends its entry and becomes its solution. (At infinite
        # u the residual is NaN although x is right.)
        better = ~done & ~(tf.abs(residual) > least)
        nan = tf.where(tf.math.is_inf(u), x, tf.constant(np.nan, u.dtype))
        best = tf.where(better, tf.where(tf.math.is_nan(residual), nan, x), best)
        least = tf.where(better, tf.abs(residual), least)
        solved = ~(tf.abs(residual) > tolerance + 2.0 * epsilon * slope * tf.abs(x))
        done = done | near | (solved & ~taken) | ~((low < middle) & (middle < high))
        last = tf.where(taken, step, high - low)
        state = (new, low, high, last, best, least, near | solved, done)
        return (k + 1, *(tf.ensure_shape(v, u.shape) for v in state))

    infinite, no = tf.fill(tf.shape(u), tf.constant(np.inf, u.dtype)), tf.zeros_like(u, tf.bool)
    count, *_, solution, _, _, _ = tf.while_loop(
        lambda k, *state: ~tf.reduce_all(state[-1]),
        improve,
        (tf.constant(0), start, low, high, infinite, start, infinite, no, no),
        shape_invariants=(tf.TensorShape([]), *[u.shape] * 8),
        maximum_iterations=most,
    )
    return solution, count


def with_closed_slope(curve: Callable, x: tf.Tensor, theta: Sequence[tf.Tensor]) -> tf.Tensor:
    """Computes c(x; theta); its derivative in x is the exp of the curve's own log slope.

    Autodiff of c may lose all digits of dc/dx where that is a small difference of large numbers.
    Derivatives in theta, and those of derivatives, are left to autodiff.

    Args:
      curve: function (x, *theta) -> (c, log dc/dx), differentiable.
      x: [...].
      theta: list of tensors.

    Cost: the gradient evaluates the curve once more.
    """

    @tf.custom_gradient
    def attach(x, *theta):
        def gradient(dc):
            with tf.GradientTape() as tape:
                tape.watch(theta)
                value, log_slope = curve(x, *theta)
            pulled = tape.gradient(
                value, theta, dc, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            return dc * tf.exp(log_slope), *pulled

        with tf_private.not_recording():  # `gradient` evaluates it once more
            value = curve(x, *theta)[0]
        return value, gradient

    return attach(x, *theta)


def with_implicit_gradient(
    curve: Callable, x: tf.Tensor, u: tf.Tensor, theta: Sequence[tf.Tensor]
) -> tf.Tensor:
    """Returns x, which must solve c(x; theta) = u, as a differentiable function of u and theta.

        dx = (du - sum_j dc/dtheta_j dtheta_j) / (dc/dx)

    All derivatives are right, higher ones too. They do not depend on how x was found and do not
    backpropagate through it: a loop that finds x may be inside compiled code, and stores nothing.

    Args:
      curve: function (x, *theta) -> (c, log dc/dx), differentiable.
      x: [...], the solution.
      u: like x.
      theta: list of tensors.
    """

    @tf.custom_gradient
    def attach(x, u, *theta):
        def gradient(dx):
            # Without this, a derivative of this gradient would miss that x depends on u.
            solution = attach(x, u, *theta)
            with tf.GradientTape() as tape:  # opened after that: `solution` is fixed for it
                tape.watch(theta)
                value, log_slope = curve(solution, *theta)
            du = dx * tf.exp(-log_slope)
            pulled = tape.gradient(
                value, theta, -du, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            return tf.zeros_like(x), du, *pulled

        return tf.identity(x), gradient

    return attach(tf.stop_gradient(x), u, *theta)
