"""The benchmark of fixed points: invalid flags, and a small run."""

import json
import subprocess
import sys

import pytest
from absl import flags

from tests.own_flags import parser_of


@pytest.fixture(scope="module")
def parse():
    return parser_of("benchmarks.fixed_point")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--wav_dir=a", "--npz=b"], "expected one of --wav_dir and --npz at most"),
        (["--batches=1,0"], "batches.*expected positive integers"),
        (["--block_sizes=x"], "block_sizes.*expected positive integers"),
        (["--network=pixel_cnn"], "network"),
        (["--max_iterations=0"], "max_iterations"),
        (["--steps=0"], "steps"),
        (["--rounds=0"], "rounds"),
    ],
)
def test_wrong_flags(parse, words, message):
    with pytest.raises(flags.IllegalFlagValueError, match=message):
        parse(*words)


@pytest.mark.slow
def test_it_runs(tmp_path):
    path = tmp_path / "figures.json"
    words = "--steps=2 --batches=2 --block_sizes=16 --rounds=1 --channels=4 --transformer=affine"
    command = [sys.executable, "-m", "benchmarks.fixed_point", *words.split(), f"--json={path}"]
    subprocess.run(command, check=True)
    rows = json.loads(path.read_text())["rows"]
    assert [row["sampler"] for row in rows] == ["cached", "whole", "blocks of 16"]
    assert all(row["seconds"] > 0 and row["difference_in_u"] < 1e-3 for row in rows)
