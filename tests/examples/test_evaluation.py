"""The bounds, the comparison and the figures of samples in the examples."""

import numpy as np
import pytest
import tensorflow_probability as tfp

import tfp_ar
from examples import report
from examples.data import Split
from examples.evaluation import bound, log_prob_draws, sample_figures, with_noise

tfd = tfp.distributions


def exponential_log_prob(y):
    """log of exp(-sum y), which is P(x) = exp(-sum x) (1 - 1/e)^d for integers x."""
    return -np.sum(y, axis=1)


def integers(n, d, labels=None):
    x = np.random.default_rng(0).integers(0, 5, [n, d]).astype(np.float32)
    return Split(x, np.arange(n), labels)


def test_bounds_on_a_known_distribution():
    split = integers(600, 3)
    draws = log_prob_draws(with_noise(exponential_log_prob), split, (0, 1), 50, batch_size=256)
    total = split.x.sum(axis=1)
    exact = -total + 3 * np.log(1 - np.exp(-1))
    # E log p(x + u) = -sum x - d / 2: the uniform bound is looser by 0.041 nats a dimension.
    np.testing.assert_allclose((bound(draws, 1) + total).mean(), -1.5, atol=0.01)
    assert bound(draws, 1).mean() < bound(draws, 8).mean() < bound(draws, 50).mean()
    np.testing.assert_allclose(bound(draws, 50).mean(), exact.mean(), atol=0.01)


@pytest.mark.slow
def test_the_bound_of_draws_is_that_of_dequantized():
    flat = tfp_ar.Dequantized(tfp_ar.bijectors.Bounded(0, 4)(tfd.Logistic(0.5, 0.7)))
    split = Split(np.array([[0.0], [3.0]], np.float32), np.arange(2))
    draws = log_prob_draws(
        lambda x, _, seed: flat.log_prob(x, seed=seed)[:, 0], split, (3, 4), 200, batch_size=2
    )
    many = tfp_ar.Dequantized(flat.distribution, num_importance_samples=10000)
    exact = many.log_prob(split.x, seed=[5, 6])[:, 0]
    # The density varies by some 50 % within a cell: a standard error of 0.03 for 200 draws.
    np.testing.assert_allclose(bound(draws, 200), exact, atol=0.1)


def test_groups_of_draws():
    draws = np.log(np.array([[1.0], [3.0], [5.0], [7.0], [100.0]]))
    np.testing.assert_allclose(bound(draws, 1), draws.mean(axis=0))
    np.testing.assert_allclose(bound(draws, 2), [(np.log(2.0) + np.log(6.0)) / 2])  # the fifth: no
    np.testing.assert_allclose(bound(draws[:1], 64), [0.0])  # exact: one draw will do


def test_bound_of_tiny_probabilities():
    draws = np.array([[-1000.0, 0.0], [-1000.0 + np.log(3.0), 0.0]])
    np.testing.assert_allclose(bound(draws, 2), [-1000.0 + np.log(2.0), 0.0])


def test_draws_do_not_depend_on_how_the_batch_is_filled_up():
    split = integers(7, 2, np.eye(7, dtype=np.float32))
    calls = []

    def log_prob(x, labels, seed):
        calls.append((len(x), tuple(seed.numpy())))
        y, _ = tfp_ar.dequantizers.Uniform().dequantize(x, 1, seed)
        return exponential_log_prob(y[0].numpy()) - 100 * labels.numpy().argmax(axis=1)

    draws = log_prob_draws(log_prob, split, (0, 1), 2, batch_size=4)
    assert draws.shape == (2, 7) and {size for size, _ in calls} == {4}
    assert len({seed for _, seed in calls}) == 4  # two draws of two batches
    rest = -draws - split.x.sum(axis=1) - 100 * np.arange(7)
    assert np.all(rest > 0) and np.all(rest < 2)


def test_standard_error_of_independent_and_grouped_values():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    alone = report.mean_and_standard_error(values, np.arange(4))
    assert alone["mean"] == 3.0
    np.testing.assert_allclose(alone["standard_error"], values.std(ddof=1) / 2.0)
    # Two recordings with sums of deviations -3 and 3: sqrt(18 * 2 / 1) / 4.
    grouped = report.mean_and_standard_error(values, np.array([5, 5, 9, 9]))
    np.testing.assert_allclose(grouped["standard_error"], 1.5)
    assert report.mean_and_standard_error(values, np.zeros(4))["standard_error"] is None


def test_compare_pairs_by_example():
    exact = np.log(np.array([[0.5, 0.25, 0.125]]))
    draws = np.repeat(exact + np.log(2.0), 4, axis=0)
    draws[1] = draws[3] = draws[0] - 1.0
    figures = report.compare(
        {report.FLOW: draws, report.GAUSSIAN: exact, report.HISTOGRAM: exact},
        np.arange(3),
        dims=1,
        curve=(1, 2),
    )
    assert set(figures["bits_per_dim"]["flow"]) == {"1", "2"}
    np.testing.assert_allclose(figures["bits_per_dim"]["histogram"]["1"]["mean"], 2.0)
    gain = (np.log(0.5 * (1 + np.exp(-1))) + 0.5) / np.log(2.0)
    np.testing.assert_allclose(figures["gained"]["2"]["mean"], gain)
    np.testing.assert_allclose(figures["gained"]["2"]["standard_error"], 0.0, atol=1e-12)
    below = 1.0 + np.log(0.5 * (1 + np.exp(-1))) / np.log(2.0)
    np.testing.assert_allclose(figures["below_histogram"]["mean"], below)
    text = report.table(figures, 3)
    assert f"The flow is {below:.4f} +- 0.0000 below the histogram (K = 2, paired)" in text
    assert f"K = 2 is {gain:.4f} +- 0.0000 below K = 1" in text


def test_figures_of_samples_count_what_is_wrong():
    samples = np.array([[0.0, 16.0], [1.0, 17.0], [-1.0, 3.0], [np.nan, 2.0]])
    figures = sample_figures(
        samples, np.array([-1.0, -3.0, np.nan, -2.0]), np.array([-4.0, -6.0]), low=0, high=16
    )
    assert figures["in_range"] == 0.25 and figures["nan"] == 2
    np.testing.assert_allclose(figures["log_prob_of_test"]["mean"], -5.0)
    np.testing.assert_allclose(figures["log_prob_of_test"]["standard_error"], 1.0)
    assert "Samples in range: 0.250. NaNs: 2." in report.sample_lines(figures)
