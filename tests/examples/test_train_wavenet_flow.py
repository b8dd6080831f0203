"""The example from end to end: tiny runs by both trainers, killed and resumed, and served."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from examples import serve_saved_model, train_wavenet_flow, training
from tests.examples.wavs import write_wav

TINY = {
    "residual_channels": 4,
    "skip_channels": 4,
    "dilations": ["1", "2"],
    "spline_bins": 4,
    "steps": 4,
    "eval_every": 2,
    "batch_size": 16,
    "importance_samples": ["1", "3"],
    "max_eval_examples": 16,
    "num_samples": 20,
}


@pytest.fixture(autouse=True)
def parsed_flags():
    """absl's flags, which pytest does not parse."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["pytest"])


def run_main(output, **values):
    """Runs the example in this process; returns its figures."""
    with flagsaver.flagsaver(output_dir=str(output), **(TINY | values)):
        train_wavenet_flow.main(["train_wavenet_flow"])
    return json.loads((output / "figures.json").read_text())


def assert_is_png(path):
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 2000


def test_run_on_digits(tmp_path, capsys):
    output = tmp_path / "new" / "folder"
    figures = run_main(output)
    assert figures["data"]["name"] == "digits" and figures["data"]["test"] == 16
    assert figures["loss_curve"]["step"] == [2, 4]
    assert set(figures["bits_per_dim"]) == {"flow", "gaussian", "histogram"}
    bounds = figures["bits_per_dim"]["flow"]
    assert 0 < bounds["3"]["mean"] < bounds["1"]["mean"] < 6
    assert 2 < figures["bits_per_dim"]["histogram"]["1"]["mean"] < 3
    assert figures["gained"]["3"]["mean"] > 0
    assert figures["below_histogram"]["standard_error"] > 0
    assert 0 <= figures["samples"]["in_range"] <= 1 and figures["samples"]["nan"] == 0
    assert figures["flags"]["steps"] == 4 and figures["seconds"]["total"] > 0
    for name in ("samples.png", "loss.png"):
        assert_is_png(output / name)
    assert not (output / "checkpoints").exists()
    assert "above the histogram" in capsys.readouterr().out  # after 4 steps


@pytest.mark.slow  # compiles for half a minute
def test_run_given_the_class_by_keras(tmp_path):
    figures = run_main(tmp_path, trainer="keras", conditional=True, steps=100)
    assert figures["loss_curve"]["step"] == [79, 158]  # epochs of 79 batches
    train = figures["loss_curve"]["train"]
    assert train[1] < train[0]
    assert figures["samples"]["in_range"] == 1.0 and figures["samples"]["nan"] == 0
    said = subprocess.run(
        [
            sys.executable, pathlib.Path(serve_saved_model.__file__), "--rows=2",
            f"--directory={tmp_path / 'saved_model'}", f"--output={tmp_path / 'served.png'}",
        ],
        check=True, text=True, stdout=subprocess.PIPE, cwd=tmp_path,
    ).stdout  # fmt: skip
    assert "20 samples in" in said and "imported: none." in said
    assert_is_png(tmp_path / "served.png")
    png = tf.io.decode_png((tmp_path / "served.png").read_bytes())
    assert png.shape == [2 * 10 * 4, 10 * 10 * 4, 1]  # a column a class


@pytest.mark.slow  # the run on digits takes the same way, the data are tested in test_parts.py
def test_run_on_speech_stops_early(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abc":
        write_wav(tmp_path / f"{name}.wav", 100 * rng.normal(size=400).cumsum())
    figures = run_main(
        tmp_path, wav_dir=str(tmp_path), window=32, learning_rate=0.0, steps=50, eval_every=1,
        patience=2, transformer="affine", warmup_steps=0, ema_momentum=0.0, support="integers",
    )  # fmt: skip
    # Nothing is learned at rate 0: one validation sets the mark, two more make no progress.
    assert figures["loss_curve"]["step"] == [1, 2, 3]
    assert figures["validation"]["step"] == 1
    assert figures["data"] == {
        "name": "speech", "dims": 32, "levels": 2**16, "train": 12, "validation": 12, "test": 12,
    }  # fmt: skip
    assert figures["below_histogram"]["standard_error"] is None  # one test file
    assert_is_png(tmp_path / "samples.png")


def command(output, *more):
    """The example as a process of its own."""
    values = {
        **TINY, "steps": 400, "eval_every": 40, "patience": 100, "dropout": 0.2,
        "batch_size": 32, "learning_rate": 3e-3, "output_dir": output,
    }  # fmt: skip
    listed = {k: ",".join(v) if isinstance(v, list) else v for k, v in values.items()}
    return [
        sys.executable, "-m", "examples.train_wavenet_flow",
        *(f"--{name}={value}" for name, value in listed.items()), *more,
    ]  # fmt: skip


def curve_of(output):
    return json.loads((output / "figures.json").read_text())["loss_curve"]


@pytest.mark.slow  # three processes for each trainer
@pytest.mark.parametrize(
    "trainer, written", [("loop", "*.index"), ("keras", "backup/latest.weights.h5")]
)
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(trainer, written, tmp_path):
    quiet = {"env": {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, "stdout": subprocess.DEVNULL}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = [f"--trainer={trainer}", "--conditional"]
    subprocess.run(command(whole, *more), check=True, **quiet)

    process = subprocess.Popen(command(killed, *more), **quiet)
    while process.poll() is None and not list((killed / "checkpoints").glob(written)):
        time.sleep(0.02)
    time.sleep(0.2)  # some steps further
    assert process.poll() is None, "it was to be killed in the middle"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "figures.json").exists()

    done = subprocess.run(
        command(killed, *more), check=True, text=True, **{**quiet, "stdout": subprocess.PIPE}
    )
    assert "Resumed at step" in done.stdout
    assert curve_of(killed) == curve_of(whole)
    figures = [json.loads((o / "figures.json").read_text()) for o in (killed, whole)]
    assert figures[0]["bits_per_dim"] == figures[1]["bits_per_dim"]  # of the best weights


def test_checkpoints_of_other_flags_are_refused(tmp_path):
    training.CheckpointFolder(tmp_path / "checkpoints", {"steps": 5})
    training.CheckpointFolder(tmp_path / "checkpoints", {"steps": 5})
    with pytest.raises(SystemExit, match="checkpoints of a run with other flags"):
        run_main(tmp_path)


@pytest.mark.slow  # two runs
def test_a_corrupt_checkpoint_is_a_message_and_no_traceback(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(train_wavenet_flow, "compare", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_main(tmp_path)
    (shard,) = (tmp_path / "checkpoints").glob("*.data-*")
    shard.write_bytes(b"")
    with pytest.raises(SystemExit, match="the checkpoint cannot be read"):
        run_main(tmp_path)


def test_curve_knows_its_best():
    curve = training.Curve()
    for step, value in enumerate([3.0, 2.0, 2.5, 2.0]):
        curve.add(step, 1.0, value)
        assert curve.is_best == (step < 2)
    assert curve.waited == 2
    assert curve.up_to(1).points == {
        "step": [0, 1], "train": [1.0, 1.0], "validation": [3.0, 2.0],
    }  # fmt: skip
    with pytest.raises(SystemExit, match="Training diverged by step 9"):
        curve.add(9, 1.0, float("nan"))


def test_bad_folder_is_a_message_and_no_traceback(tmp_path):
    with pytest.raises(SystemExit, match="wav_dir: .* is not a folder"):
        run_main(tmp_path, wav_dir=str(tmp_path / "missing"))
    with pytest.raises(SystemExit, match="--conditional: the speech has no classes"):
        run_main(tmp_path, wav_dir=str(tmp_path), conditional=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="output_dir: "):
        run_main(tmp_path / "file" / "folder")


def test_serving_refuses_what_is_no_model_of_images(tmp_path):
    with pytest.raises(SystemExit, match="directory: no SavedModel in"):
        serve_saved_model.serve(str(tmp_path), tmp_path / "x.png")
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(SystemExit, match="has no signature .'log_prob', 'sample'"):
        serve_saved_model.serve(str(tmp_path / "other"), tmp_path / "x.png")
    with pytest.raises(SystemExit, match="expected a model of images, got one of shape"):
        serve_saved_model.image_shape([7])
    assert serve_saved_model.image_shape([64]) == (8, 8)
    assert serve_saved_model.image_shape([4, 6]) == (4, 6)
