"""The gap between the bound that a model is trained on and the bound of many samples."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_ar.conditioning import forwarding
from tfp_ar.distributions import Dequantized
from tfp_ar.internal import checks
from tfp_ar.metrics import bits_per_dim

_SEEDS = 2**31  # a stateless seed has two numbers below it


@dataclasses.dataclass(frozen=True)
class DequantizationGap:
    """Two bounds of the same data, in bits per dimension, and their difference.

    Attributes:
      one_sample: the bound with one sample, averaged over all draws and values.
      importance_weighted: the bound with `num_importance_samples` samples, never larger.
      gap: one_sample - importance_weighted.
      standard_error: the standard error of `gap` over the values; NaN for a single value.
      num_importance_samples: K.

    >>> print(DequantizationGap(1.5, 1.25, 0.25, 0.01, 64))
    1.500 bits/dim by one sample, 1.250 by 64; gap 0.2500, standard error 0.0100
    """

    one_sample: float
    importance_weighted: float
    gap: float
    standard_error: float
    num_importance_samples: int

    def __str__(self):
        return (
            f"{self.one_sample:.3f} bits/dim by one sample, {self.importance_weighted:.3f} by "
            f"{self.num_importance_samples}; gap {self.gap:.4f}, standard error "
            f"{self.standard_error:.4f}"
        )


def dequantization_gap(
    distribution: Dequantized,
    value: Any,
    num_importance_samples: int = 64,
    seed: Sequence[int] = (0, 0),
    batch_size: int = 256,
    conditional_input: Any = None,
) -> DequantizationGap:
    """Computes by how much K importance samples tighten the bound of one sample.

        gap = mean over x of  log (1/K sum_k w_k) - 1/K sum_k log w_k,    w_k = p(x + u_k) / q(u_k)

    in bits per dimension. Both terms use the same draws, so the gap of each x is at least 0 and
    noise that is common to both terms cancels. The best noise, q(u | x) ~ p(x + u), would save this
    gap and also the rest up to log P(x), which K samples do not find; the rest is small for large K
    unless the weights vary a lot. The gap is infinite if the density is 0 at some draw, and NaN if
    it is 0 at all draws of one x.

    Args:
      distribution: a `tfp_ar.Dequantized` of known event shape and batch shape []; its own
        `num_importance_samples` does not matter.
      value: integers [n, *event], an array.
      num_importance_samples: K. Default 64.
      seed: a pair of integers. The noise of a value depends on it, on the value's index in `value`
        and on `batch_size`. Default (0, 0).
      batch_size: number of values per batch. Default 256.
      conditional_input: [n, ...], an array or a dict of arrays, if the distribution is conditioned.

    Returns: a `DequantizationGap`.

    Cost: K log_probs of `value`, one after the other, each in batches: the memory of one batch,
    and 24 bytes per value.

    Raises:
      TypeError: if an argument has the wrong type.
      ValueError: if an argument has the wrong shape or is out of range.

    References:
      Y. Burda et al., Importance weighted autoencoders, arXiv:1509.00519, 2016.

    >>> coin = tfd.TransformedDistribution(
    ...     tfd.Sample(tfd.Logistic(1.0, 1.0), [2]), tfp_ar.bijectors.Bounded(0, 2)
    ... )
    >>> x = np.random.default_rng(0).binomial(1, 0.73, [500, 2])
    >>> print(dequantization_gap(tfp_ar.Dequantized(coin), x))
    0.941 bits/dim by one sample, 0.867 by 64; gap 0.0736, standard error 0.0009
    """
    if not isinstance(distribution, Dequantized):
        raise TypeError(f"distribution: expected a tfp_ar.Dequantized, got {distribution!r}.")
    if distribution.batch_shape.rank != 0 or not distribution.event_shape.is_fully_defined():
        raise ValueError(
            "distribution: expected a batch shape of [] and a known event shape, got "
            f"{distribution.batch_shape} and {distribution.event_shape}."
        )
    k = checks.positive_int("num_importance_samples", num_importance_samples)
    batch_size = checks.positive_int("batch_size", batch_size)
    seed = _checked_seed(seed)
    value = np.asarray(value)
    event = distribution.event_shape.as_list()
    if value.ndim != 1 + len(event) or list(value.shape[1:]) != event or not len(value):
        shown = ", ".join(["n", *map(str, event)])
        raise ValueError(f"value: expected shape [{shown}], n above 0, got {list(value.shape)}.")
    forwarding.check_conditioning(distribution, conditional_input)
    conditions = [np.asarray(c) for c in tf.nest.flatten(conditional_input) if c is not None]
    if any(len(condition) != len(value) for condition in conditions):
        raise ValueError(
            f"conditional_input: expected {len(value)} rows, as in value, got "
            f"{[len(condition) for condition in conditions]}."
        )
    one_sample, weighted = _bounds(
        distribution.copy(num_importance_samples=1), value, conditional_input, k, seed, batch_size
    )
    with np.errstate(invalid="ignore"):  # inf - inf, if a bound is infinite
        gaps = bits_per_dim(one_sample - weighted, event)
        error = np.std(gaps, ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else np.nan
    return DequantizationGap(
        one_sample=float(np.mean(bits_per_dim(one_sample, event))),
        importance_weighted=float(np.mean(bits_per_dim(weighted, event))),
        gap=float(np.mean(gaps)),
        standard_error=float(error),
        num_importance_samples=k,
    )


def _bounds(distribution, value, conditional_input, k, seed, batch_size):
    """Computes per value, in nats: the mean of k one-sample bounds; the bound of k samples."""
    n = len(value)
    batch_size = min(batch_size, n)
    # The last batch is filled up: another shape would trace the function again.
    rows = (np.arange(-(-n // batch_size) * batch_size) % n).reshape([-1, batch_size])

    @tf.function(autograph=False)
    def log_weight(x, condition, noise):
        return forwarding.log_prob(distribution, x, condition, noise)

    total = np.zeros(rows.shape)
    log_sum = np.full(rows.shape, -np.inf)
    for i, batch in enumerate(rows):
        x = tf.constant(value[batch])
        condition = tf.nest.map_structure(
            lambda c: None if c is None else tf.constant(np.asarray(c)[batch]),  # noqa: B023
            conditional_input,
        )
        for draw in range(k):
            # The first number counts draws and the second one batches, so all seeds differ.
            noise = [(seed[0] + draw) % _SEEDS, (seed[1] + i) % _SEEDS]
            drawn = log_weight(x, condition, tf.constant(noise, tf.int32)).numpy()
            total[i] += drawn
            log_sum[i] = np.logaddexp(log_sum[i], drawn)
    return total.reshape([-1])[:n] / k, log_sum.reshape([-1])[:n] - np.log(k)


def _checked_seed(seed) -> list[int]:
    array = np.asarray(seed)
    if array.shape != (2,) or not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"seed: expected a pair of integers, got {seed!r}.")
    return [int(number) % _SEEDS for number in array]
