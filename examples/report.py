"""The example's figures: comparison on the test split, table, and where they were made."""

import importlib.metadata
import os
import platform
import time

import numpy as np
import tensorflow as tf

import tfp_ar
from examples.dequantization import bits_per_dim, log_mean_exp

FLOW, GAUSSIAN, HISTOGRAM = "flow", "gaussian", "histogram"
TITLES = {
    FLOW: "WaveNet flow",
    GAUSSIAN: "Gaussian, full covariance",
    HISTOGRAM: "Histogram (exact)",
}
PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")


def mean_and_standard_error(values, groups) -> dict:
    """The mean of values [n], and its standard error.

    Only values of different groups [n] count as independent, such as those of different recordings:

        se^2 = 1 / n^2  sum_g (sum_{i in g} (value_i - mean))^2  *  G / (G - 1)

    For groups of one this is standard deviation / sqrt(n); for a single group it is None.

    Returns: dict of 'mean' and 'standard_error'.
    """
    mean = values.mean()
    _, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, weights=values - mean)
    count = len(sums)
    error = None
    if count > 1:
        error = float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(values))
    return {"mean": float(mean), "standard_error": error}


def compare(log_p: dict, groups, dims: int) -> dict:
    """Bits a dimension of each model, and how far the flow is below the baselines.

    Args:
      log_p: model -> nats of n examples: [K, n] for K draws of noise, or [1, n] if exact.
      groups: [n]; see `mean_and_standard_error`.
      dims: d.

    Returns: dict of 'bits_per_dim', model -> bound -> mean and standard error; and of
      'below_histogram' and 'below_gaussian', the differences of the importance-weighted bounds,
      paired by example.
    """
    uniform = {model: bits_per_dim(draws.mean(axis=0), dims) for model, draws in log_p.items()}
    weighted = {model: bits_per_dim(log_mean_exp(draws), dims) for model, draws in log_p.items()}
    figures = {
        "bits_per_dim": {
            model: {
                "uniform": mean_and_standard_error(uniform[model], groups),
                "importance_weighted": mean_and_standard_error(weighted[model], groups),
            }
            for model in log_p
        }
    }
    for model in (HISTOGRAM, GAUSSIAN):
        difference = weighted[model] - weighted[FLOW]
        figures[f"below_{model}"] = mean_and_standard_error(difference, groups)
    return figures


def table(figures: dict, num_examples: int, num_draws: int) -> str:
    """What `compare` returned, in lines to print."""
    weighted_title = f"weighted, {num_draws} draws"
    lines = [
        f"Bits a dimension of {num_examples} test examples (fewer are better), +- standard error:",
        f"  {'':26}{'uniform bound':22}{weighted_title}",
    ]
    for model, bounds in figures["bits_per_dim"].items():
        cells = [_with_error(bounds[bound]) for bound in ("uniform", "importance_weighted")]
        lines.append(f"  {TITLES[model]:26}{cells[0]:22}{cells[1]}")
    for model in (HISTOGRAM, GAUSSIAN):
        mean = figures[f"below_{model}"]["mean"]
        distance = _with_error(figures[f"below_{model}"] | {"mean": abs(mean)})
        side = "below" if mean > 0 else "above"
        lines.append(f"The flow is {distance} {side} the {model} (weighted, paired by example).")
    return "\n".join(lines)


def _with_error(figure) -> str:
    mean, error = figure["mean"], figure["standard_error"]
    return f"{mean:.4f}" if error is None else f"{mean:.4f} +- {error:.4f}"


def environment() -> dict:
    """Machine, devices and versions."""
    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": [
            tf.config.experimental.get_device_details(d).get("device_name", d.device_type)
            for d in tf.config.list_physical_devices()
        ],
        "python": platform.python_version(),
        "tfp_ar": tfp_ar.__version__,
        **{package: importlib.metadata.version(package) for package in PACKAGES},
    }


class Clock:
    """Seconds by phase, in all by the key 'total'."""

    def __init__(self):
        self.seconds = {"total": 0.0}
        self._start = self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Counts the time since the last call, or since the start, as `phase`."""
        now = time.perf_counter()
        self.seconds[phase] = round(now - self._last, 1)
        self.seconds["total"] = round(now - self._start, 1)
        self._last = now

    def __str__(self):
        return ", ".join(f"{phase} {seconds:.0f}" for phase, seconds in self.seconds.items())
