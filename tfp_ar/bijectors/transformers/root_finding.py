"""Solutions x of increasing equations c(x; theta) = u, and their derivatives.

A `curve` here is a function (x [...], *theta) -> (c [...], log dc/dx [...]), elementwise in x and
increasing in it.
"""

import numpy as np
import tensorflow as tf

from tfp_ar.internal import tf_private

# Steps that may be Newton's; all after them halve the bracket, so that the number is bounded.
NEWTON_STEPS = 24
# Halvings, besides one for each bit of the significand: for brackets of 2^24 times the solution.
MORE_HALVINGS = 24
# The residual asked for, in units of rounding of max(1, |u|). Evaluating a curve has an error of
# some 4 of these; fewer would be asking for luck.
RESIDUAL_IN_EPSILON = 8.0


def max_iterations(dtype) -> int:
    """The most evaluations of the curve that `solve_increasing` makes in a dtype."""
    return NEWTON_STEPS + np.finfo(tf.as_dtype(dtype).as_numpy_dtype).nmant + 1 + MORE_HALVINGS


def solve_increasing(curve, u, low, high, start):
    """Solves c(x) = u for x in [low, high]: Newton's method that bisects where it would fail.

    Each iteration evaluates the curve once and moves an end of the bracket to where it did. The
    next x is Newton's if that lies inside the bracket and its step is at most half the last one,
    else the middle. An entry ends one step after its residual was at most

        8 eps max(1, |u|) + 2 eps |x| dc/dx

    (the second term is what a unit of rounding of x does to u; the step more, if there is one of
    Newton's, costs an evaluation and takes most of what error is left), or when no number is left
    inside its bracket. Its solution is the x of the least residual. The loop ends with its last
    entry. Where u, or what the curve makes of an x, is NaN, so is the solution, at once.

    Args:
      curve: function x [...] -> (c, log dc/dx).
      u: [...].
      low: like u, at most the solution.
      high: like u, at least the solution.
      start: like u, where to evaluate first, in [low, high].

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
        newton = x - residual / slope  # on a plateau infinite, and not taken
        step = tf.abs(newton - x)
        taken = (newton > low) & (newton < high) & (step <= 0.5 * last) & (k < NEWTON_STEPS)
        new = tf.where(taken, newton, middle)
        # Written so that a NaN is done, and NaN (at infinite u there is no residual, and no need).
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


def with_closed_slope(curve, x, theta):
    """c(x; theta), with exp of the log slope that the curve gives as its derivative in x.

    Autodiff of c may lose all digits of dc/dx where that is a small difference of large numbers.
    Its derivatives in theta, and those of derivatives, are left to autodiff.

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


def with_implicit_gradient(curve, x, u, theta):
    """x, known to solve c(x; theta) = u, as a differentiable function of u and theta.

        dx = (du - sum_j dc/dtheta_j dtheta_j) / (dc/dx)

    All derivatives are right, higher ones too. How x was found does not matter, nor is it gone
    through backwards: a loop may be inside compiled code, and keeps nothing.

    Args:
      curve: function (x, *theta) -> (c, log dc/dx), differentiable.
      x: [...], the solution.
      u: like x.
      theta: list of tensors.
    """

    @tf.custom_gradient
    def attach(x, u, *theta):
        def gradient(dx):
            # Attached again: a derivative of this gradient has to know that x depends on u.
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
