"""How far the bound that a model is trained by is from one of many samples."""

import dataclasses

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
      one_sample: of one sample, the mean over all draws and values.
      importance_weighted: of `num_importance_samples`, never larger.
      gap: one_sample - importance_weighted.
      standard_error: that of `gap`, over the values; NaN of a single one.
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
    distribution,
    value,
    num_importance_samples=64,
    seed=(0, 0),
    batch_size=256,
    conditional_input=None,
) -> DequantizationGap:
    """What the bound of K importance samples is better than that of one, on the same draws.

        gap = mean over x of  log (1/K sum_k w_k) - 1/K sum_k log w_k,    w_k = p(x + u_k) / q(u_k)

    in bits per dimension. Both terms are made of the same draws: the gap of each x is at least 0,
    and what is common to both does not blur it. The best noise, q(u | x) ~ p(x + u), would save
    that and the rest up to log P(x), which K samples do not find: little for large K, unless the
    weights vary much. The gap is infinite if the density is 0 at some draw, and NaN if it is at all
    draws of one x.

    Args:
      distribution: a `tfp_ar.Dequantized` of known event shape and batch shape []; its own
        `num_importance_samples` does not matter.
      value: integers [n, *event], an array.
      num_importance_samples: K. Default 64.
      seed: a pair of integers. The noise is a function of it and of the place in `value` and
        `batch_size`. Default (0, 0).
      batch_size: values at a time. Default 256.
      conditional_input: [n, ...], an array or a dict of such, if the distribution is conditioned.

    Returns: a `DequantizationGap`.

    Cost: K log_probs of `value`, one after the other, each in batches: memory is that of one batch,
    and of 24 bytes for each value.

    Raises:
      TypeError: if an argument is of the wrong kind.
      ValueError: if one has the wrong shape or is out of range.

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
    parts = [np.asarray(part) for part in tf.nest.flatten(conditional_input) if part is not None]
    if any(len(part) != len(value) for part in parts):
        raise ValueError(
            f"conditional_input: expected {len(value)} rows, as in value, got "
            f"{[len(part) for part in parts]}."
        )
    one_sample, weighted = _bounds(
        distribution.copy(num_importance_samples=1), value, conditional_input, k, seed, batch_size
    )
    with np.errstate(invalid="ignore"):  # where infinite
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
    """Per value, in nats: the mean of k bounds of one sample, and the bound of k samples."""
    n = len(value)
    batch_size = min(batch_size, n)
    # The last batch is filled up, so that the function is traced for one shape.
    rows = (np.arange(-(-n // batch_size) * batch_size) % n).reshape([-1, batch_size])

    @tf.function(autograph=False)
    def log_weight(x, condition, noise):
        return forwarding.log_prob(distribution, x, condition, noise)

    total = np.zeros(rows.shape)
    log_sum = np.full(rows.shape, -np.inf)
    for i, batch in enumerate(rows):
        x = tf.constant(value[batch])
        condition = tf.nest.map_structure(
            lambda part: None if part is None else tf.constant(np.asarray(part)[batch]),  # noqa: B023
            conditional_input,
        )
        for draw in range(k):
            # Draws in the first number, batches in the second: seeds never meet.
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
