"""Bounds of integers under a continuous density, draw by draw, and figures computed from them."""

import numpy as np
import tensorflow as tf

import tfp_ar

QUADRATURE_NODES = 64  # on each side of a cell


def log_prob_draws(log_prob, split, seed, num_draws, batch_size) -> np.ndarray:
    """Returns one-sample bounds with noise k = 0, ..., num_draws - 1: [num_draws, n].

    Args:
      log_prob: function of x [batch_size, d], labels [batch_size, c] or None and a stateless seed
        that returns [batch_size].
      split: the examples.
      seed: stateless seed [2]; the noise is a function of it, of k and of the row of x.
      num_draws: the number of draws.
      batch_size: rows in each call of `log_prob`. The last batch is filled up, so that a compiled
        function sees only one shape.
    """
    n = len(split.x)
    rows = np.arange(-(-n // batch_size) * batch_size) % n
    draws = []
    for k in range(num_draws):
        parts = []
        for i in range(0, len(rows), batch_size):
            batch = rows[i : i + batch_size]
            labels = None if split.labels is None else tf.constant(split.labels[batch])
            # Streams are far apart in the second number, and draws differ in the first, so that
            # seeds never coincide.
            noise = tf.constant([seed[0] + k, seed[1] + i // batch_size], tf.int32)
            parts.append(log_prob(tf.constant(split.x[batch]), labels, noise))
        draws.append(np.concatenate(parts)[:n])
    return np.stack(draws).astype(np.float64)


def bound(draws: np.ndarray, num_importance_samples: int) -> np.ndarray:
    """Returns the bound of K importance samples, [n], from draws [m, n] of the bound of one.

    It is the mean of log (1/K sum_k exp(draws[k])) over as many groups of K draws as there are.
    """
    k = min(num_importance_samples, len(draws))
    groups = draws[: len(draws) // k * k].reshape([-1, k, draws.shape[1]])
    largest = groups.max(axis=1)
    return (largest + np.log(np.exp(groups - largest[:, np.newaxis]).mean(axis=1))).mean(axis=0)


def exact_log_prob(density, x) -> np.ndarray:
    """Returns the log mass of the cells [x, x + 1)^2 of a density, by Gauss-Legendre quadrature.

    Args:
      density: a tfd.Distribution of two real numbers.
      x: integers [n, 2].

    Returns: array [n].
    """
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
    nodes, weights = (nodes + 1.0) / 2.0, weights / 2.0
    u = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape([-1, 1, 2])
    log_weight = np.log(np.outer(weights, weights)).reshape([-1, 1])
    log_p = density.log_prob((x + u).astype(density.dtype.as_numpy_dtype)).numpy()
    return np.logaddexp.reduce(log_p + log_weight, axis=0)


def with_noise(log_prob):
    """Returns `log_prob`, a function of y = x + u, as a function of x and a seed.

    The result is for `log_prob_draws`.
    """

    def of_integers(x, _, seed):
        y, _ = tfp_ar.dequantizers.Uniform().dequantize(x, 1, seed)
        return log_prob(y[0].numpy())

    return of_integers


def sample_figures(samples, log_p_samples, log_p_test, low, high) -> dict:
    """Compares samples with the test split.

    Args:
      samples: integers [m, d].
      log_p_samples: the bound of each sample, [m], in nats; samples out of range count, too.
      log_p_test: the same bound of test examples, [n].
      low, high: the range, both inclusive.

    Returns: dict of means and standard errors of both, the fraction of samples with all values in
    range, and the number of NaNs among samples and bounds.
    """

    def summary(log_p):
        error = float(log_p.std(ddof=1) / np.sqrt(len(log_p))) if len(log_p) > 1 else None
        return {"mean": float(log_p.mean()), "standard_error": error}

    inside = ((samples >= low) & (samples <= high)).all(axis=1)
    return {
        "log_prob_of_samples": summary(log_p_samples),
        "log_prob_of_test": summary(log_p_test),
        "in_range": float(inside.mean()),
        "nan": int(sum(np.isnan(a).sum() for a in (samples, log_p_samples, log_p_test))),
    }
