"""The examples of dequantization; whole runs are separate processes, as flags share names."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from examples.evaluation import exact_log_prob
from examples.report import variants_table

tfd = tfp.distributions
ROOT = pathlib.Path(__file__).parent.parent.parent


def run(example, output, **values):
    """Runs an example; returns its figures and what it prints."""
    listed = [f"--{name}={value}" for name, value in values.items()]
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{example}", f"--output_dir={output}", *listed],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((output / "figures.json").read_text()), done.stdout


def test_quadrature_gives_the_mass_of_cells():
    density = tfd.Independent(tfd.Normal(tf.constant([0.3, 1.6], tf.float64), 0.4), 1)
    x = np.array([[0, 1], [0, 2], [-1, 1], [1, 3]])
    cdf = density.distribution.cdf
    want = np.log(cdf(x + 1.0) - cdf(x.astype(float))).sum(axis=-1)
    np.testing.assert_allclose(exact_log_prob(density, x), want, rtol=1e-9)


def test_table_of_variants():
    def figures(mean):
        bits = {str(k): {"mean": mean - k / 1000, "standard_error": mean / 100} for k in (1, 8)}
        gap = {"mean": 0.007, "standard_error": 0.001}
        seconds = {"training": 12.3, "total": 15}
        return {"bits_per_dim": bits, "gap": gap, "parameters": 12345, "seconds": seconds}

    text = variants_table({"uniform-affine-1": figures(2.0), "variational-spline-2": figures(1.5)})
    assert text.splitlines() == [
        "| flows | conditionals | noise | parameters | K = 1 | K = 8 | gap | training |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| 1 | affine | uniform | 12,345 | 1.999 | 1.992 | 0.007 | 12 s |",
        "| 2 | spline | variational | 12,345 | 1.499 | 1.492 | 0.007 | 12 s |",
        "",
        "Standard errors: at most 0.020.",
    ]


@pytest.mark.slow  # trains four times
def test_bounds(tmp_path):
    figures, said = run(
        "dequantization_bounds", tmp_path, epochs=2, noise_epochs=4, most_samples=16, examples=200
    )
    small = {law: {k: f["mean"] for k, f in small.items()}
             for law, small in figures["two variables"].items()}  # fmt: skip
    exact = small["exact"]["16"]
    assert small["uniform"]["1"] > small["uniform"]["4"] > small["uniform"]["16"] > exact
    assert small["uniform"]["1"] > small["variational"]["1"] > exact
    # The mean of a bound over 200 values has a standard error of some 0.005.
    assert abs(small["variational"]["16"] - exact) < 0.03
    digits = figures["digits"]
    assert digits["variational"]["1"]["mean"] < digits["uniform"]["1"]["mean"]
    assert (tmp_path / "bounds.png").read_bytes().startswith(b"\x89PNG")
    assert f"{exact:.4f}" in said


@pytest.mark.slow  # trains twice
def test_variants(tmp_path):
    tiny = {"steps": 4, "eval_every": 2, "residual_channels": 4, "noise_width": 4}
    first, said = run("dequantization_variants", tmp_path, variant="uniform-affine-1", **tiny)
    assert list(first["variants"]) == ["uniform-affine-1"] and "uniform-affine-1\n" in said
    process = subprocess.run(
        [sys.executable, "-m", "examples.dequantization_variants", f"--output_dir={tmp_path}",
         *(f"--{k}={v}" for k, v in tiny.items()),
         "--variant=uniform-affine-1", "--variant=variational-mixture-2"],
        cwd=ROOT, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert "uniform-affine-1\n" not in process.stdout  # it was done
    second = json.loads((tmp_path / "figures.json").read_text())["variants"]
    assert second["uniform-affine-1"] == first["variants"]["uniform-affine-1"]
    figures = second["variational-mixture-2"]
    bounds = [f["mean"] for f in figures["bits_per_dim"].values()]
    assert figures["gap"]["mean"] == pytest.approx(bounds[0] - bounds[-1])
    assert bounds == sorted(bounds, reverse=True) and len(bounds) == 3
    assert (tmp_path / "table.md").read_text().count("\n| ") == 3
