"""The solver of fixed-point sampling, on linear systems whose solution is known."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import helpers
from tfp_ar.bijectors import Affine, FixedPoint
from tfp_ar.bijectors.sampling.jacobi_solver import solve

tfb = tfp.bijectors


class Linear:
    """Passes whose parameters are x @ A^T, A strictly lower triangular, in blocks of one row.

    Beyond the event they are NaN.
    """

    places = None

    def __init__(self, matrix, block_variables=None):
        self.size = self.block_variables = block_variables or len(matrix)
        self.num_blocks = -(-len(matrix) // self.block_variables)
        missing = self.num_blocks * self.block_variables - len(matrix)
        self.matrix = tf.constant(np.pad(matrix, [[0, missing], [0, 0]], constant_values=np.nan))

    def initial_state(self):
        return tf.zeros([1, len(self.matrix)], "float64")

    def prepare(self, first):
        return int(first)

    def advance(self, before, x, first):
        rows = self.matrix[first : first + x.shape[1]]
        ahead = len(self.matrix) - first - x.shape[1]
        state = before + tf.pad(x, [[0, 0], [first, ahead]])
        seen = state[:, : self.matrix.shape[1]]
        return tf.matmul(seen, rows, transpose_b=True)[..., tf.newaxis], state


class Parallel:
    """One block, whose parameters are a function of x."""

    num_blocks, places = 1, None

    def __init__(self, params, size):
        self.params, self.size, self.block_variables = params, size, size

    def initial_state(self):
        return ()

    def prepare(self, first):
        return None

    def advance(self, state, x, prepared):
        return self.params(x), state


def shift(params):
    return tfb.Shift(params[..., 0])


def triangular(size, scale, seed=0):
    return np.tril(scale * np.random.default_rng(seed).normal(size=[size, size]), -1)


def exact(matrix, noise):
    return np.linalg.solve(np.eye(len(matrix)) - matrix, noise.numpy().T).T


@pytest.mark.parametrize("scale", [0.0, 0.01, 1.0, 30.0])
def test_solves_the_system(scale):
    matrix, noise = triangular(7, scale), helpers.normal([3, 7], "float64")
    x, passes, converged = solve(Linear(matrix), shift, noise, FixedPoint())
    assert converged
    np.testing.assert_allclose(x, exact(matrix, noise), rtol=1e-9)
    assert passes.shape == [3, 1] and np.max(passes) <= 7
    if scale == 0.0:  # one pass to get there, one to see it
        np.testing.assert_array_equal(passes, [[2]] * 3)


def test_one_variable_takes_one_pass():
    x, passes, converged = solve(
        Linear(np.zeros([1, 1])), shift, tf.constant([[2.0]], "float64"), FixedPoint()
    )
    assert converged
    np.testing.assert_array_equal(x, [[2.0]])
    np.testing.assert_array_equal(passes, [[1]])


def chain(coupling, size=20):
    return coupling * np.eye(size, k=-1)


def test_weaker_coupling_takes_fewer_passes():
    noise, taken = helpers.normal([2, 20], "float64"), []
    for coupling in (1e-3, 0.05, 1.0):
        x, passes, converged = solve(Linear(chain(coupling)), shift, noise, FixedPoint())
        assert converged
        np.testing.assert_allclose(x, exact(chain(coupling), noise), rtol=1e-12)
        taken.append(int(np.max(passes)))
    assert taken == sorted(set(taken)) and taken[0] < 10 and taken[-1] == 20


def test_a_looser_tolerance_takes_fewer_passes():
    noise, matrix = helpers.normal([2, 20], "float64"), chain(0.1)
    loose, tight = (
        solve(Linear(matrix), shift, noise, FixedPoint(tolerance=tolerance))
        for tolerance in (1e-3, 1e-9)
    )
    assert np.max(loose[1]) + 4 < np.max(tight[1])
    # A chain of 1/10 adds no more than a ninth to the largest residual.
    wanted = exact(matrix, noise)
    np.testing.assert_allclose(loose[0], wanted, atol=2e-3 * np.abs(wanted).max())


def test_rows_are_counted_one_by_one_and_wait_for_each_other():
    matrix = np.eye(6, k=-1)
    noise = tf.constant(np.eye(6)[[5, 2]])  # what row k starts at variable k goes on to the last
    x, passes, converged = solve(Linear(matrix), shift, noise, FixedPoint())
    assert converged
    np.testing.assert_array_equal(passes, [[2], [5]])
    np.testing.assert_array_equal(x, np.triu(np.ones([6, 6]))[[5, 2]])
    assert not solve(Linear(matrix), shift, noise, FixedPoint(max_iterations=4))[2]


def test_blocks_one_after_the_other():
    # Seven variables in blocks of 3: the last block reaches beyond the event.
    matrix, noise = triangular(7, 1.0), helpers.normal([1, 7], "float64")
    x, passes, converged = solve(Linear(matrix, 3), shift, noise, FixedPoint())
    assert converged
    np.testing.assert_allclose(x, exact(matrix, noise), rtol=1e-12)
    assert passes.shape == [1, 3] and np.max(passes) <= 3


def test_what_is_beyond_the_event_keeps_no_block_going():
    passes = Linear(np.zeros([7, 7]), 4)  # in whose last block there is a NaN
    _, counts, converged = solve(passes, shift, helpers.normal([1, 7], "float64"), FixedPoint())
    assert converged
    np.testing.assert_array_equal(counts, [[2, 2]])


def test_blocks_after_one_that_has_not_converged_are_left():
    matrix, noise = np.eye(9, k=-1), tf.constant(np.eye(9)[3:4])
    _, passes, converged = solve(Linear(matrix, 3), shift, noise, FixedPoint(max_iterations=2))
    assert not converged
    np.testing.assert_array_equal(passes, [[1, 3, 0]])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 3])
def test_nan_and_infinity_are_no_convergence(wrong, place):
    noise = np.zeros([2, 4])
    noise[1, place] = wrong
    for matrix in (np.zeros([4, 4]), triangular(4, 0.1)):
        assert not solve(Linear(matrix), shift, tf.constant(noise), FixedPoint())[2]


def test_an_infinite_slope_is_no_convergence():
    # The root is infinitely steep at 0: no change would be too large for it.
    def root(params):
        return tfb.Chain([tfb.Shift(params[..., 0]), tfb.Invert(tfb.Square())])

    noise, options = tf.zeros([1, 4], "float64"), FixedPoint(max_iterations=3)
    assert not solve(Parallel(lambda x: x[..., tf.newaxis] + 1.0, 4), root, noise, options)[2]


@pytest.mark.parametrize("infinite, wanted", [(0, True), (1, False), (2, False), (3, False)])
def test_after_an_infinity_the_number_of_passes_proves_nothing(infinite, wanted):
    # An infinity gets through masks (0 * inf is NaN), so that after V passes x need not be exact.
    calls = []

    def params(x):
        calls.append(1)
        mu = np.inf if len(calls) == infinite else float(len(calls))
        return tf.fill([1, 3, 1], np.float64(mu))

    noise = tf.zeros([1, 3], "float64")
    assert solve(Parallel(params, 3), shift, noise, FixedPoint())[2] == wanted


def test_what_is_returned_is_what_was_measured():
    # x1 hears x0 by 1e-9, x2 hears x1 by 1e6: the last step moves x1 by less than the tolerance,
    # and x2, a step behind, would not fit it by a thousand times the tolerance.
    matrix = np.array([[0, 0, 0], [1e-9, 0, 0], [0, 1e6, 0]])
    noise = tf.constant([[1.0, 0.0, 1.0]], "float64")
    x, passes, converged = solve(Linear(matrix), shift, noise, FixedPoint(tolerance=1e-8))
    assert converged and np.max(passes) == 2
    np.testing.assert_allclose(x @ matrix.T + noise, x, rtol=0, atol=1e-8)


def test_the_tolerance_is_relative_to_what_noise_does():
    # A scale of 1e-6, as in silence: a tolerance of 1e-3 means a thousandth of that.
    def params(x):
        mu = 0.5 * tf.pad(x[:, :-1], [[0, 0], [1, 0]])
        return tf.stack([mu, tf.fill(tf.shape(x), np.float64(np.log(1e-6)))], axis=-1)

    noise = helpers.normal([2, 20], "float64")
    options = FixedPoint(tolerance=1e-3)
    x, passes, converged = solve(Parallel(params, 20), Affine(1e9), noise, options)
    assert converged and 5 < np.max(passes) < 20
    x = x.numpy() * 1e6
    residual = np.abs(x - 0.5 * np.pad(x[:, :-1], [[0, 0], [1, 0]]) - noise)
    assert np.all(residual <= 1.001e-3 * np.maximum(1.0, np.abs(x)))
