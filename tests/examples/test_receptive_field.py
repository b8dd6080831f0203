"""The picture of the receptive fields of PixelCNNs."""

import re

import pytest
from absl import app, flags
from absl.testing import flagsaver

from examples import receptive_field


@pytest.fixture(autouse=True)
def parsed_flags():
    """absl's flags, which pytest does not parse."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["pytest"])


@pytest.mark.slow
def test_picture_and_numbers(tmp_path, capsys):
    """Corollary 3.4 of docs/theory.md, for one pixel."""
    path = tmp_path / "new" / "field.png"
    with flagsaver.flagsaver(output=str(path)):
        receptive_field.main(["receptive_field"])
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop() == f"The picture is {path}"
    found = [re.fullmatch(r"(\w+), (\d) layers?: sees (\d+) of the (\d+) .*", s) for s in lines]
    # A blind spot that goes to the right border: 8 pixels of the row above, then 6, 4 and 2.
    assert [(m[1], int(m[2]), int(m[3]), int(m[4])) for m in found] == [
        ("PixelCNN", 1, 12, 94),
        ("PixelCNN", 2, 38, 94),
        ("PixelCNN", 3, 64, 94),
        ("PixelCNN", 5, 94 - (8 + 6 + 4 + 2), 94),
        ("GatedPixelCNN", 5, 94, 94),
    ]


def test_arguments_that_are_no_flags():
    with pytest.raises(app.UsageError, match="Expected flags only"):
        receptive_field.main(["receptive_field", "output.png"])
