"""The first part of docs/theory.md: bounds of the likelihood of integers.

The density q of the text is built by hand here. Exact values are differences of distribution
functions or Gauss-Legendre quadrature, which is exact to rounding for these densities.
"""

import itertools

import numpy as np
import pytest
import tensorflow_probability as tfp
from scipy import stats

from tests.distributions.test_dequantized import logistic_cells, logistic_levels
from tfp_ar import Dequantized

tfd = tfp.distributions

LOC, SCALE = 0.4, 0.4  # of a normal density whose mode is in the cell of 0
NORMAL = stats.norm(LOC, SCALE)
EXACT = np.log(np.diff(NORMAL.cdf([0, 1]))[0])  # log P(0)


def quadrature(d, count=40):
    """Nodes [count ** d, d] and weights of the Gauss-Legendre rule on [0, 1)^d."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    grid = np.stack(np.meshgrid(*[(nodes + 1) / 2] * d, indexing="ij"), -1).reshape([-1, d])
    parts = np.meshgrid(*[weights / 2] * d, indexing="ij")
    return grid, np.prod(parts, axis=0).reshape([-1])


def correlated():
    """A normal density in the plane, tilted."""
    return tfd.MultivariateNormalTriL(np.array([0.4, -0.3]), np.array([[0.6, 0.0], [0.5, 0.5]]))


def models():
    """By name: a density, x, and log P(x)."""
    u, weights = quadrature(2)
    corner = np.array([0.0, -1.0])
    tilted = np.log(weights @ correlated().prob(corner + u).numpy())
    return {
        "normal": (tfd.Normal(np.float64(LOC), SCALE), 0.0, EXACT),
        "levels": (logistic_levels(4), 2.0, np.log(logistic_cells(4)[2])),
        "plane": (correlated(), corner, tilted),
    }


each_model = pytest.mark.parametrize("name", models())


def mean_and_error(values):
    """Mean and standard error."""
    return np.mean(values), np.std(values) / np.sqrt(len(values))


def assert_grows(draws, exact):
    """That the means of these bounds grow from one to the next, and none is above `exact`.

    By 3 standard errors of each difference: 1 in 700 if they were equal.
    """
    means, errors = zip(*map(mean_and_error, draws), strict=True)
    for k in range(len(means) - 1):
        assert means[k + 1] - means[k] > 3 * np.hypot(errors[k], errors[k + 1])
    assert means[-1] < exact + 4 * errors[-1]
    assert errors[-1] < 0.1 * (exact - means[0])  # or the line above would say little


@each_model
def test_bounds_are_in_order(name):
    """Theorem 1.3 and Theorem 1.4: E[uniform] < E[IW_4] < E[IW_64] <= log P(x).

    The mean with K = 1 is also that of log p over the cell, by quadrature, to 4 standard errors.
    """
    density, x, exact = models()[name]
    rows = np.broadcast_to(x, [20000, *np.shape(x)])
    draws = [
        Dequantized(density, num_importance_samples=k).log_prob(rows, seed=(5, k)).numpy()
        for k in (1, 4, 64)
    ]
    assert_grows(draws, exact)
    u, weights = quadrature(max(np.ndim(x) and len(x), 1))
    points = x + (u if np.ndim(x) else u[:, 0])
    mean, error = mean_and_error(draws[0])
    assert abs(mean - weights @ density.log_prob(points).numpy()) < 4 * error


@pytest.mark.parametrize("q", [stats.uniform(), stats.beta(2, 3)], ids=["uniform", "beta"])
def test_few_samples_by_quadrature(q):
    """Theorem 1.4: L_1 < L_2 < L_3 < log P(x), by quadrature over all the draws; no noise.

    Margins: the differences are above 1e-3; the quadrature is exact to 1e-9 for uniform q, and to
    1e-5 for the Beta density, whose weights are infinite at the ends of the cell.
    """
    nodes, omega = quadrature(1, 100)
    nodes = nodes[:, 0]
    w, omega = NORMAL.pdf(nodes) / q.pdf(nodes), omega * q.pdf(nodes)
    np.testing.assert_allclose(np.log(omega @ w), EXACT, rtol=1e-10)
    two = (w[:, np.newaxis] + w) / 2
    three = (2 * two[..., np.newaxis] + w) / 3
    bounds = [
        omega @ np.log(w),
        omega @ np.log(two) @ omega,
        omega @ (np.log(three) @ omega) @ omega,
        EXACT,
    ]
    assert np.diff(bounds).min() > 1e-3


@pytest.mark.parametrize(["k", "m"], [(1, 5), (2, 5), (4, 5), (3, 6)])
def test_averages_over_subsets(k, m):
    """Theorem 1.4: averages of K out of M weights average to that of all, their logs to less.

    For each draw of the weights by itself, to rounding (1e-12).
    """
    w = np.random.default_rng(0).gamma(0.3, size=[500, m])  # of very unequal sizes
    subsets = np.array(list(itertools.combinations(range(m), k)))
    averages = w[:, subsets].mean(axis=-1)
    np.testing.assert_allclose(averages.mean(axis=1), w.mean(axis=1), rtol=1e-12)
    slack = np.log(w.mean(axis=1)) - np.log(averages).mean(axis=1)
    assert slack.min() > -1e-12
    assert slack.mean() > 0.01
    equal = np.full([3, m], 0.7)[:, subsets].mean(axis=-1)
    np.testing.assert_allclose(np.log(equal).mean(axis=1), np.log(0.7), rtol=1e-12)


def test_noise_that_misses_a_part_of_the_cell():
    """Theorem 1.4: without the support condition the limit is the part of the cell that q covers.

    q is uniform on the first 0.7 of the cell; a million weights, 4 standard errors.
    """
    u = 0.7 * np.random.default_rng(0).random(10**6)
    w = NORMAL.pdf(u) / (1 / 0.7)
    covered, whole = np.diff(NORMAL.cdf([0, 0.7]))[0], np.diff(NORMAL.cdf([0, 1]))[0]
    mean, error = mean_and_error(w)
    assert abs(mean - covered) < 4 * error
    assert error < 1e-3 < whole - covered
    assert np.mean(np.log(w)) < np.log(covered) < np.log(whole)


def test_a_density_that_vanishes_in_the_cell():
    """Proposition 1.5: IW_K = -inf with probability a^K; its exponential keeps the mean P(x).

    The density is 0 on a quarter of the cell. Frequencies and means to 4 standard errors.
    """
    density, count = tfd.Uniform(np.float64(0.25), 4.0), 40000
    exact = 0.75 / 3.75
    for k in (1, 2, 4):
        model = Dequantized(density, num_importance_samples=k)
        draws = model.log_prob(np.zeros(count), seed=(6, k)).numpy()
        a = 0.25**k
        assert abs(np.mean(np.isneginf(draws)) - a) < 4 * np.sqrt(a * (1 - a) / count)
        mean, error = mean_and_error(np.exp(draws))
        assert abs(mean - exact) < 4 * error
    many = Dequantized(density, num_importance_samples=10**5).log_prob(0, seed=(6, 0))
    assert abs(many - np.log(exact)) < 4 * np.sqrt(0.25 / 0.75 / 10**5)


# Clipping ---------------------------------------------------------------------------------------


def test_clipping_piles_up_what_is_outside():
    """Proposition 1.2: the law of clipped samples, and its distance from P.

    The distance to 1e-12; the law by chi-square, at the level 1e-3.
    """
    n, count = 4, 20000
    loc, scale = np.array([0.5, 3.2]), 1.5
    edges = np.arange(-20.0, 25.0)
    marginals = np.diff(stats.norm(loc, scale).cdf(edges[:, np.newaxis]), axis=0)
    P = marginals[:, 0, np.newaxis] * marginals[:, 1]
    levels = np.clip(edges[:-1], 0, n - 1).astype(int)
    Q = np.zeros([n, n])
    np.add.at(Q, np.ix_(levels, levels), P)
    inside = np.ix_(*[(edges[:-1] >= 0) & (edges[:-1] < n)] * 2)
    epsilon = 1 - np.prod(np.diff(stats.norm(loc, scale).cdf([[0.0], [n]]), axis=0))
    distance = (np.abs(Q - P[inside]).sum() + P.sum() - P[inside].sum()) / 2
    np.testing.assert_allclose(distance, epsilon, atol=1e-12)
    assert epsilon > 0.5

    density = tfd.Independent(tfd.Normal(loc, scale), 1)
    x = np.clip(Dequantized(density).sample(count, seed=(1, 2)), 0, n - 1).astype(int)
    counts = np.zeros([n, n])
    np.add.at(counts, tuple(x.T), 1)
    assert stats.chisquare(counts.ravel(), count * Q.ravel()).pvalue > 1e-3
    # Even of P, given that nothing is outside, it is another law.
    given = P[inside] / (1 - epsilon)
    assert stats.chisquare(counts.ravel(), count * given.ravel()).pvalue < 1e-9


# Learned noise ----------------------------------------------------------------------------------


def truncated(loc, scale):
    """A normal law given [0, 1)."""
    return stats.truncnorm(-loc / scale, (1 - loc) / scale, loc, scale)


NOISES = {
    "uniform": stats.uniform(),
    "beta": stats.beta(2, 3),
    "normal": truncated(0.1, 0.5),
    "far": truncated(-1.0, 0.5),
}
# The posterior of the noise under NORMAL in the cell of 0, by scipy, which normalises it itself.
POSTERIOR = truncated(LOC, SCALE)


def bound_of(q, nodes, omega):
    """E_q[log p - log q] in the cell of 0, by quadrature."""
    return np.sum(omega * q.pdf(nodes) * (NORMAL.logpdf(nodes) - q.logpdf(nodes)))


@pytest.mark.parametrize("noise", NOISES)
def test_the_gap_is_a_divergence(noise):
    """Theorem 1.7, and Theorem 1.3 for uniform noise: the bound is log P(x) - KL(q || posterior).

    By quadrature to 1e-6 (Beta has infinite log-densities at the ends), and a mean of draws of q to
    4 standard errors.
    """
    q, (nodes, omega) = NOISES[noise], quadrature(1, 100)
    nodes = nodes[:, 0]
    ratio = q.logpdf(nodes) - POSTERIOR.logpdf(nodes)
    divergence = np.sum(omega * q.pdf(nodes) * ratio)
    np.testing.assert_allclose(bound_of(q, nodes, omega), EXACT - divergence, atol=1e-6)
    assert divergence > 0.01
    u = q.rvs(100000, random_state=np.random.default_rng(1))
    mean, error = mean_and_error(NORMAL.logpdf(u) - q.logpdf(u))
    assert abs(mean - (EXACT - divergence)) < 4 * error


def test_the_posterior_leaves_no_gap():
    """Theorem 1.7: with the posterior all weights are P(x); a family is as good as its members.

    Weights to 1e-10. The family: Beta densities, the uniform one among them.
    """
    u = POSTERIOR.rvs([1000, 3], random_state=np.random.default_rng(2))
    w = NORMAL.pdf(u) / POSTERIOR.pdf(u)
    np.testing.assert_allclose(np.log(w), EXACT, atol=1e-10)
    np.testing.assert_allclose(np.log(w.mean(axis=1)), EXACT, atol=1e-10)
    nodes, omega = quadrature(1, 100)
    sizes = [1.0, 1.2, 1.4, 2.0]
    bounds = {
        (a, b): bound_of(stats.beta(a, b), nodes[:, 0], omega)
        for a, b in itertools.product(sizes, sizes)
    }
    assert bounds[1.0, 1.0] + 0.01 < max(bounds.values()) < EXACT


def test_more_samples_of_learned_noise():
    """Theorem 1.7 and Theorem 1.4: L_1 < L_4 < L_16 <= log P(x) for noise that is not uniform.

    20000 draws each, 3 standard errors; and closer to the posterior is better.
    """
    near, far = (
        [
            np.log(np.mean(NORMAL.pdf(u) / q.pdf(u), axis=1))
            for k in (1, 4, 16)
            for u in [q.rvs([20000, k], random_state=np.random.default_rng((3, k)))]
        ]
        for q in (NOISES["normal"], NOISES["far"])
    )
    assert_grows(near, EXACT)
    assert_grows(far, EXACT)
    assert near[0].mean() > far[0].mean() + 0.1
