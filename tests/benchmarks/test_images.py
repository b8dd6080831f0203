"""The benchmark of images: invalid flags, and a run as small as possible."""

import json
import pathlib
import subprocess
import sys

import pytest
from absl import flags

from tests.own_flags import parser_of

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def parse():
    return parser_of("benchmarks.images")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--reference_rows=0"], "reference_rows"),
        (["--side=4", "--reference_rows=5"], "expected --reference_rows of at most --side"),
        (["--side=1"], "side"),
        (["--batches=4,0"], "batches.*expected positive integers"),
        (["--batches="], "batches.*expected positive integers"),
        (["--layers=0"], "layers"),
        (["--filters=0"], "filters"),
        (["--levels=1"], "levels"),
        (["--components=-1"], "components"),
        (["--rounds=0"], "rounds"),
        (["--dtype=int8"], "dtype"),
    ],
)
def test_wrong_flags(parse, words, message):
    with pytest.raises(flags.IllegalFlagValueError, match=message):
        parse(*words)


def test_flags_at_their_bounds(parse):
    values = parse(
        "--side=4", "--reference_rows=4", "--batches=1,2", "--components=0", "--rounds=1"
    )
    assert values.side == values.reference_rows == 4 and values.batches == ["1", "2"]
    assert (values.components, values.rounds) == (0, 1)


@pytest.mark.slow  # XLA compiles three functions of each network
def test_a_run(tmp_path):
    words = ["--side=4", "--batches=2", "--layers=2", "--filters=4", "--rounds=1", "--notfp"]
    words.append(f"--json={tmp_path / 'figures.json'}")
    command = [sys.executable, "-m", "benchmarks.images", *words]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"machine", "rows"}
    assert [row["network"] for row in figures["rows"]] == ["GatedPixelCNN", "PixelCNN"]
    for row in figures["rows"]:
        assert f"{row['network']}, batch 2: {row['parameters']} parameters" in done.stdout
        for key in ("seconds", "ratio_to_log_prob"):
            assert set(row[key]) == {"log_prob", "train step", "cached", "reference"}
            assert all(number > 0 for number in row[key].values())
        assert row["ratio_to_log_prob"]["log_prob"] == 1
        assert row["tfp_parameters"] is None and row["images_per_second_in_training"] > 0
        faster = row["seconds"]["reference"] / row["seconds"]["cached"]
        assert row["reference_by_cached"] == pytest.approx(faster)
