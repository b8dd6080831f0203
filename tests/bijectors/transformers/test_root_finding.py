"""Solutions of increasing equations, and their derivatives."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_ar.bijectors.transformers.root_finding import (
    max_iterations,
    solve_increasing,
    with_implicit_gradient,
)


def sinh(x, a):
    """The curve a sinh(x)."""
    return a * tf.sinh(x), tf.math.log(a * tf.cosh(x))


def arctan(x):
    """A curve on which Newton's method from far away jumps ever farther."""
    return tf.atan(50.0 * x), tf.math.log(50.0 / (1.0 + (50.0 * x) ** 2))


def steps(x):
    """Twelve steep steps with plateaus between them, of slope 1e-3."""
    k = tf.round(x)
    z = 60.0 * (x - k)
    return k + 0.5 * tf.tanh(z) + 1e-3 * x, tf.math.log(30.0 / tf.cosh(z) ** 2 + 1e-3)


def solve(curve, u, low, high, start=None):
    """`solve_increasing` from the left end, or from `start`."""
    low, high = (tf.fill(u.shape, tf.cast(v, u.dtype)) for v in (low, high))
    start = low if start is None else tf.fill(u.shape, tf.cast(start, u.dtype))
    return solve_increasing(curve, u, low, high, start)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("curve", [arctan, steps])
def test_what_defeats_newton_is_solved(curve, dtype):
    low, high = -5.4, 6.3
    u = tf.linspace(*(curve(tf.constant(v, dtype))[0] for v in (-5.3, 6.2)), 301)
    x, count = solve(curve, u, low, high)
    value, log_slope = curve(x)
    epsilon = np.finfo(dtype).eps
    allowed = epsilon * (10 * np.maximum(np.abs(u), 1.0) + 3 * np.exp(log_slope) * np.abs(x))
    assert np.all(np.abs(value - u) <= allowed)
    assert np.all((x >= np.asarray(low, dtype)) & (x <= np.asarray(high, dtype)))
    assert 5 < count < max_iterations(dtype)


def test_where_newton_works_few_iterations_do():
    u = tf.linspace(tf.constant(-20.0, "float64"), 20.0, 101)
    x, count = solve(lambda x: (2.0 * x + 1.0, np.log(2.0) + 0.0 * x), u, -100.0, 100.0)
    np.testing.assert_allclose(x, (u - 1.0) / 2.0, rtol=1e-14, atol=1e-14)
    assert count <= 3
    _, count = solve(lambda x: sinh(x, 1.0), tf.sinh(u / 10.0), -3.0, 3.0)
    assert count <= 12


def test_an_end_that_is_the_solution():
    u = tf.constant([0.0, 0.0, 2.0])
    x, count = solve_increasing(lambda x: (x, tf.zeros_like(x)), u, u, u, u)
    np.testing.assert_array_equal(x, u)
    assert count == 1


def test_no_solution_in_the_bracket_gives_the_nearest_end():
    x, _ = solve(lambda x: sinh(x, 1.0), tf.constant([-1e6, 1e6]), -1.0, 1.0, start=0.0)
    np.testing.assert_allclose(x, [-1.0, 1.0], rtol=1e-6)


def test_nan_and_infinity_end_at_once():
    # One bad entry must not cost the others all iterations, let alone their values.
    u = tf.constant([np.nan, np.inf, -np.inf, 0.5])
    low = tf.constant([np.nan, np.inf, -np.inf, 0.0])
    high = tf.constant([np.nan, np.inf, -np.inf, 1.0])
    x, count = solve_increasing(lambda x: (x, tf.zeros_like(x)), u, low, high, low)
    np.testing.assert_array_equal(x, u)
    assert count <= 3


@pytest.mark.parametrize("factor", [1e-30, 0.3, 4.0])
def test_the_bracket_does_it_where_slopes_are_wrong(factor):
    # Newton's steps are far too long, or too long, or so short that they creep.
    u = tf.constant([-20.0, 1e-3, 0.3], "float64")

    def curve(x):
        return x**3, tf.math.log(factor * 3.0 * x**2 + 1e-30)

    x, count = solve(curve, u, -1e6, 1e6)
    np.testing.assert_allclose(curve(x)[0], u, rtol=0, atol=1e-13)
    assert count <= max_iterations("float64") == 24 + 53 + 24


def test_an_empty_batch():
    x, count = solve(lambda x: sinh(x, 1.0), tf.zeros([0, 3]), -1.0, 1.0)
    assert x.shape == [0, 3] and count == 0


# Derivatives: of x = asinh(u / a), to third order ------------------------------------------------


def third(function, arguments, which):
    """Derivatives of orders 0 to 3 of a function of scalars in the arguments of indices `which`."""
    with tf.GradientTape() as t3:
        t3.watch(arguments)
        with tf.GradientTape() as t2:
            t2.watch(arguments)
            with tf.GradientTape() as t1:
                t1.watch(arguments)
                y = function(*arguments)
            first = t1.gradient(y, arguments[which[0]])
        second = t2.gradient(first, arguments[which[1]])
    return y, first, second, t3.gradient(second, arguments[which[2]])


@pytest.mark.parametrize("which", [(0, 0, 0), (0, 1, 0), (1, 1, 1)])
@pytest.mark.parametrize("graph", [False, True])
def test_derivatives_of_all_orders(which, graph):
    def implicit(u, a):
        return with_implicit_gradient(sinh, tf.asinh(u / a), u, [a])

    def both(u, a):
        arguments = [u, a]
        return third(implicit, arguments, which), third(
            lambda u, a: tf.asinh(u / a), arguments, which
        )

    run = tf.function(both, autograph=False) if graph else both
    got, want = run(tf.constant(0.7, "float64"), tf.constant(1.9, "float64"))
    np.testing.assert_allclose(got, want, rtol=1e-10)
