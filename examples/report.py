"""The examples' figures: comparison on the test split, table, file, and environment."""

import importlib.metadata
import json
import os
import platform
import time

import numpy as np
import tensorflow as tf

import tfp_ar
from examples.evaluation import bound

FLOW, GAUSSIAN, HISTOGRAM = "flow", "gaussian", "histogram"
TITLES = {
    FLOW: "WaveNet flow",
    GAUSSIAN: "Gaussian, full covariance",
    HISTOGRAM: "Histogram (exact)",
}
PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")


def mean_and_standard_error(values, groups) -> dict:
    """Computes the mean of values [n], and its standard error.

    Only values of different groups [n], such as different recordings, count as independent:

        se^2 = 1 / n^2  sum_g (sum_{i in g} (value_i - mean))^2  *  G / (G - 1)

    For groups of one value this is standard deviation / sqrt(n); for a single group it is None.

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


def compare(log_p: dict, groups, dims: int, curve) -> dict:
    """Computes bits per dimension of each model, and how far the flow is below the baselines.

    Args:
      log_p: model -> nats of n examples: [m, n] for m draws of noise, or [1, n] if exact.
      groups: [n]; see `mean_and_standard_error`.
      dims: d.
      curve: numbers of importance samples, ascending.

    Returns: dict of
      bits_per_dim: model -> number of importance samples (as a string) -> mean and standard error;
      gained: that number -> how far the flow's bits per dimension are below those at the smallest
        number, paired by example;
      below_histogram, below_gaussian: how far the flow is below them at the largest number, paired
        by example.
    """
    bits = {
        model: {k: tfp_ar.bits_per_dim(bound(draws, k), [dims]) for k in curve}
        for model, draws in log_p.items()
    }
    figures = {
        "bits_per_dim": {
            model: {str(k): mean_and_standard_error(b, groups) for k, b in by_number.items()}
            for model, by_number in bits.items()
        },
        "gained": {
            str(k): mean_and_standard_error(bits[FLOW][curve[0]] - bits[FLOW][k], groups)
            for k in curve[1:]
        },
    }
    for model in (HISTOGRAM, GAUSSIAN):
        difference = bits[model][curve[-1]] - bits[FLOW][curve[-1]]
        figures[f"below_{model}"] = mean_and_standard_error(difference, groups)
    return figures


def table(figures: dict, num_examples: int) -> str:
    """Formats the result of `compare` in lines to print."""
    numbers = list(figures["bits_per_dim"][FLOW])
    titles = "".join(f"{f'K = {k}':22}" for k in numbers)
    lines = [
        f"Bits per dimension of {num_examples} test examples (lower is better), +- standard error, "
        "by the bound of K importance samples:",
        f"  {'':26}{titles.rstrip()}",
    ]
    for model, bounds in figures["bits_per_dim"].items():
        cells = "".join(f"{_with_error(bounds[k]):22}" for k in numbers)
        lines.append(f"  {TITLES[model]:26}{cells.rstrip()}")
    for k, gain in figures["gained"].items():
        lines.append(f"K = {k} is {_with_error(gain)} below K = {numbers[0]} (paired by example).")
    for model in (HISTOGRAM, GAUSSIAN):
        mean = figures[f"below_{model}"]["mean"]
        distance = _with_error(figures[f"below_{model}"] | {"mean": abs(mean)})
        side = "below" if mean > 0 else "above"
        lines.append(f"The flow is {distance} {side} the {model} (K = {numbers[-1]}, paired).")
    return "\n".join(lines)


def variants_table(by_variant: dict) -> str:
    """Returns a table of dequantized flows in Markdown.

    Args:
      by_variant: 'noise-transformer-number of flows' -> dict of
        bits_per_dim: number of importance samples (as a string) -> mean and standard error;
        gap: mean and standard error of the first minus the last of these;
        parameters, seconds (a dict with 'training').
    """
    numbers = list(next(iter(by_variant.values()))["bits_per_dim"])
    titles = ["flows", "conditionals", "noise", "parameters", *(f"K = {k}" for k in numbers)]
    rows = [[*titles, "gap", "training"], ["---"] * (len(titles) + 2)]
    for variant, figures in by_variant.items():
        noise, transformer, num_flows = variant.split("-")
        cells = [f"{figures['bits_per_dim'][k]['mean']:.3f}" for k in numbers]
        gap, seconds = figures["gap"]["mean"], figures["seconds"]["training"]
        first = [num_flows, transformer, noise, f"{figures['parameters']:,}"]
        rows.append([*first, *cells, f"{gap:.3f}", f"{seconds:.0f} s"])
    errors = [f["bits_per_dim"][numbers[-1]]["standard_error"] for f in by_variant.values()]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", f"Standard errors: at most {max(errors):.3f}."])


def sample_lines(figures: dict) -> str:
    """Formats the result of `evaluation.sample_figures` in lines to print."""
    samples, test = (_with_error(figures[f"log_prob_of_{kind}"]) for kind in ("samples", "test"))
    return (
        f"log_prob in nats: own samples {samples}, test examples {test}.\n"
        f"Samples in range: {figures['in_range']:.3f}. NaNs: {figures['nan']}."
    )


def _with_error(figure) -> str:
    mean, error = figure["mean"], figure["standard_error"]
    return f"{mean:.4f}" if error is None else f"{mean:.4f} +- {error:.4f}"


def environment() -> dict:
    """Returns the machine, its devices and the versions of packages."""
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


def write_figures(output, figures: dict, clock, settings: dict, curve) -> dict:
    """Writes figures.json at the end of a run, and prints a message.

    Args:
      output: the folder, a pathlib.Path.
      figures: dict of results.
      clock: the Clock of the run.
      settings: dict of the flags of the run.
      curve: the `training.Curve` of the run.

    Returns: the content of the file: `figures`, and how they were produced.
    """
    figures = {
        **figures,
        "seconds": clock.seconds,
        "environment": environment(),
        "flags": settings,
        "loss_curve": curve.points,
    }
    save_figures(output, figures)
    print(f"Seconds: {clock}. Figures, pictures and the SavedModel are in {output}/")
    return figures


def save_figures(output, figures: dict) -> None:
    """Writes figures.json into the folder `output`, a pathlib.Path."""
    (output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


class Clock:
    """The seconds of each phase, and of all phases under the key 'total'."""

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
