"""The benchmark of images: flags that it refuses."""

import pytest
from absl import flags

from tests.own_flags import parser_of


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
    parse("--side=4", "--reference_rows=4", "--batches=1,2", "--components=0", "--rounds=1")
