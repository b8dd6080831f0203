"""Two baselines that need no network: histograms, and a Gaussian with full covariance."""

import dataclasses
import itertools

import numpy as np

# The values tried on the validation split.
PSEUDO_COUNTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Independent variables with the frequencies of their bins, uniform within each bin.

        P(x[t] = v) = (count[t, bin(v)] + pseudo_count * width)
                      / (n + pseudo_count * num_bins * width) / width

    with bins of `width` neighbouring integers from `low` on, counted over the n training examples.

    Attributes:
      low: the smallest integer.
      width: integers per bin.
      pseudo_count: the number added to the count of each integer.
      log_probs: log P of an integer in each bin, [d, num_bins]; or [1, num_bins] if all positions
        share one histogram.
    """

    low: int
    width: int
    pseudo_count: float
    log_probs: np.ndarray

    @classmethod
    def fit(cls, x, low, high, per_position, width, pseudo_count):
        """Fits a histogram to x, integers low..high of shape [n, d]."""
        num_bins = -(-(high + 1 - low) // width)
        rows = _bins(x, low, width)
        rows = rows.T if per_position else rows.reshape([1, -1])
        counts = np.stack([np.bincount(row, minlength=num_bins) for row in rows])
        weights = counts + pseudo_count * width
        log_probs = np.log(weights / weights.sum(axis=1, keepdims=True) / width)
        return cls(low, width, pseudo_count, log_probs)

    @classmethod
    def choose(cls, data, validation, widths):
        """Returns the training histogram with the width and pseudo-count best on validation.

        Args:
          data: the Dataset; a stationary one gets one histogram for all positions.
          validation: the integers [n, d] that decide.
          widths: the widths to try.
        """
        candidates = (
            cls.fit(data.train.x, data.low, data.high, not data.stationary, width, count)
            for width, count in itertools.product(widths, PSEUDO_COUNTS)
        )
        return max(candidates, key=lambda histogram: histogram.log_prob(validation).mean())

    def log_prob(self, x) -> np.ndarray:
        """Returns log P(x) [n] of integers x [n, d]."""
        positions = np.arange(x.shape[1]) % len(self.log_probs)
        return self.log_probs[positions, _bins(x, self.low, self.width)].sum(axis=1)


def _bins(x, low, width):
    return (x.astype(np.int64) - low) // width


class FullGaussian:
    """The normal density with the mean and full covariance of x + u, u uniform in [0, 1)^d.

    The noise enters the fit exactly, through its mean 1/2 and variance 1/12. This also makes the
    covariance positive definite.

    Args:
      x: integers [n, d].
    """

    def __init__(self, x):
        x = x.astype(np.float64)
        self.mean = x.mean(axis=0) + 0.5
        centred = x - x.mean(axis=0)
        covariance = centred.T @ centred / len(x) + np.eye(x.shape[1]) / 12.0
        self.cholesky = np.linalg.cholesky(covariance)

    def log_prob(self, y) -> np.ndarray:
        """Returns log p(y) [n] of y [n, d]."""
        centred = np.asarray(y, np.float64) - self.mean
        z = np.linalg.solve(self.cholesky, centred.T)
        log_det = np.log(np.diag(self.cholesky)).sum()
        return -0.5 * (z**2).sum(axis=0) - log_det - 0.5 * len(z) * np.log(2.0 * np.pi)
