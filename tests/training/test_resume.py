"""Killed and resumed training equals training that was never killed."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.training.models import (
    Steps,
    StopAt,
    assert_equal,
    averaging,
    compiled,
    integer_model,
    integers,
    real_model,
    reals,
)

ROOT = pathlib.Path(__file__).parents[2]


def run(*runs):
    """Runs the script in a process of its own; returns the exit status."""
    arguments = [",".join(map(str, run)) for run in runs]
    command = [sys.executable, "-m", "tests.training.resumable", *arguments]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # exact on a CPU
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.slow  # two processes, three trainings
def test_a_killed_process(tmp_path):
    whole, killed, resumed = (tmp_path / name for name in ("whole", "killed", "resumed"))
    assert run((tmp_path / "backup", killed, 1, 2, 1)) == -signal.SIGKILL
    assert not killed.with_suffix(".npz").exists()
    # With other initial weights, in a new process; then what it is compared with.
    assert run((tmp_path / "backup", resumed, 2), (tmp_path / "other_backup", whole, 1)) == 0

    want, before, after = (
        path.with_suffix(".txt").read_text().splitlines() for path in (whole, killed, resumed)
    )
    # Four steps and a validation an epoch; the steps of the one it was killed in are repeated.
    assert [len(want), len(before), len(after)] == [20, 12, 10]
    assert before[:10] + after == want
    assert before[10:] == after[:2]
    with np.load(f"{whole}.npz") as first, np.load(f"{resumed}.npz") as second:
        assert len(first.files) > 4 * 11  # weights, two moments of Adam, averages
        assert_equal(list(first.values()), list(second.values()))


class StepByStep(keras.callbacks.Callback):
    """Keeps losses of single steps apart, where Keras reports their mean since an epoch began."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()


def test_backup_in_the_middle_of_an_epoch(tmp_path):
    # Keras begins the epoch anew, while data, noise and masks go on from the step.
    def fit(seed, *callbacks):
        model = compiled(integer_model(seed, dropout=0.5), averaging(), run_eagerly=True)
        steps = Steps()
        everything = [*callbacks, steps, StepByStep()]
        with contextlib.suppress(KeyboardInterrupt):
            model.fit(integers(), batch_size=8, epochs=3, callbacks=everything, verbose=0)
        return steps.losses

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2)

    whole = fit(1)
    fit(1, backup(), StopAt(1, 1))
    rest = fit(2, backup())
    start = rest[0][0]
    assert start == 5  # the backup was made after step 4
    assert rest[:5] == whole[start - 1 :]


@pytest.mark.slow
def test_a_damaged_backup_falls_back_to_the_one_before(tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path, double_checkpoint=True)

    def fit(seed, *callbacks):
        model = compiled(real_model(seed), averaging())
        model.fit(reals(), batch_size=8, epochs=3, callbacks=[*callbacks], verbose=0)
        return model

    whole, rest = Steps(), Steps()
    reference = fit(1, whole)
    with pytest.raises(KeyboardInterrupt):
        fit(1, backup(), StopAt(2, 1))
    latest = tmp_path / "latest.weights.h5"
    latest.write_bytes(latest.read_bytes()[:1000])
    model = fit(2, rest, backup())
    assert rest.losses == whole.losses[3:]  # from the end of the first epoch
    assert_equal(model.get_weights(), reference.get_weights())
