"""The example from end to end, in separate processes, as its flags share names with the other's."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from absl import flags

from tests.examples.test_images import write
from tests.own_flags import parser_of

ROOT = pathlib.Path(__file__).parent.parent.parent
TINY = {
    "filters": 4, "num_layers": 2, "steps": 4, "eval_every": 2, "batch_size": 8,
    "num_samples": 6, "max_eval": 8,
}  # fmt: skip


def command(output, **values):
    flags = {**TINY, "output_dir": output, **values}
    listed = [f"--{name}={value}" for name, value in flags.items()]
    return [sys.executable, "-m", "examples.train_pixelcnn", *listed]


def run(output, **values):
    """Runs the example; returns its figures and what it prints."""
    done = subprocess.run(command(output, **values), cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((output / "figures.json").read_text()), done.stdout


def assert_is_png(path):
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 1000


@pytest.fixture(scope="module")
def parse():
    return parser_of("examples.train_pixelcnn")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--kernel_size=4"], "kernel_size=4: expected an odd number"),
        (["--dilations=2,1"], "dilations=.*, the first of them 1"),
        (["--dilations=1,0"], "dilations=.*expected positive integers, separated by commas"),
        (["--dilations="], "dilations=.*expected positive integers, separated by commas"),
        (["--dilations=1,2", "--num_layers=3"], "expected one of --dilations for each of"),
        (["--noise=variational"], "expected --transformer, .* with --head=flow only"),
        (["--head=bernoulli", "--num_flows=2"], "expected --transformer, .* with --head=flow only"),
    ],
)
def test_wrong_flags(parse, words, message):
    with pytest.raises(flags.IllegalFlagValueError, match=message):
        parse(*words)


def test_flags_that_agree(parse):
    assert parse("--dilations=1,2", "--num_layers=2", "--kernel_size=5").num_layers == 2
    assert parse("--num_layers=3").dilations is None
    assert parse("--head=flow", "--noise=variational", "--num_flows=2").transformer == "spline"
    assert parse("--dilations=1,2").num_layers is None


@pytest.mark.slow
def test_run_on_a_file_given_the_class(tmp_path):
    output = tmp_path / "new" / "folder"
    figures, said = run(
        output,
        data=write(tmp_path / "a.npz"),
        pool=2,
        conditional=True,
        head="logistic_mixture",
        num_layers=1,
    )
    assert figures["data"] == {
        "name": "images", "shape": [3, 2, 1], "levels": 256, "train": 22, "validation": 2, "test": 5
    }  # fmt: skip
    assert figures["loss_curve"]["step"] == [2, 4]
    test = figures["test"]["1"]
    assert test["nats"]["mean"] == pytest.approx(test["bits_per_dim"]["mean"] * 6 * 0.693147)
    assert 6 < test["bits_per_dim"]["mean"] < 12  # uniform noise has 8 bits
    assert f"{test['bits_per_dim']['mean']:.4f}" in said
    assert figures["samples_in_range"] == 1.0
    for name in ("samples.png", "completions.png", "loss.png"):
        assert_is_png(output / name)
    assert (output / "saved_model" / "saved_model.pb").exists()
    assert not (output / "checkpoints").exists()


@pytest.mark.slow  # half a minute each
@pytest.mark.parametrize(
    "values, levels",
    [
        ({"head": "categorical", "model": "pixelcnn", "mixed_precision": True}, 17),
        ({"head": "bernoulli", "conditional": True}, 2),
        ({"head": "flow"}, 17),
        ({"head": "flow", "noise": "variational", "num_flows": 2, "mixed_precision": True}, 17),
    ],
)
def test_heads_on_digits(tmp_path, values, levels):
    figures, _ = run(tmp_path, **values, steps=60, eval_every=30, learning_rate=3e-3)
    assert figures["data"]["levels"] == levels
    train = figures["loss_curve"]["train"]
    assert train[-1] < train[0]
    assert figures["samples_in_range"] == 1.0
    bounds = [figures["test"][k]["bits_per_dim"]["mean"] for k in figures["test"]]
    assert len(bounds) == (2 if values["head"] == "flow" else 1)
    assert bounds == sorted(bounds, reverse=True)  # more importance samples, tighter


@pytest.mark.slow  # trains three times
def test_a_killed_run_goes_on(tmp_path):
    values = {"steps": 300, "eval_every": 30, "dropout": 0.2}
    whole, _ = run(tmp_path / "whole", **values)
    output = tmp_path / "killed"
    process = subprocess.Popen(command(output, **values), cwd=ROOT, stdout=subprocess.DEVNULL)
    while not list((output / "checkpoints").glob("ckpt-2*")) and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    resumed, said = run(output, **values)
    assert "Resumed at step" in said
    assert resumed["loss_curve"] == whole["loss_curve"]
    assert resumed["test"] == whole["test"]


@pytest.mark.slow  # the messages are tested in test_images.py; TensorFlow takes long to start
def test_wrong_files_are_named_without_a_traceback(tmp_path):
    bad = write(tmp_path / "bad.npz", y_test=None)
    done = subprocess.run(command(tmp_path, data=bad), cwd=ROOT, text=True, capture_output=True)
    assert done.returncode != 0
    assert "data: expected the keys" in done.stderr and "Traceback" not in done.stderr
