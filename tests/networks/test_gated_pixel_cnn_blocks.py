"""Block passes over images: given the rows above, the parameters of the parallel pass."""

import pytest
import tensorflow as tf

from tests.networks.block_passes import BATCH, assert_equal_to_parallel
from tests.networks.pixel_examples import PIXELS, lively_pixels, pixel_network

REPRESENTATIVE = ["plain", "dilated_kernel_5", "both", "everything"]
OF_SEVERAL_ROWS = [kind for kind, given in PIXELS.items() if given["event_shape"][0] > 1]


@pytest.mark.parametrize(
    "kind, block_size",
    [
        *((kind, 1) for kind in REPRESENTATIVE),
        ("everything", 2),
        *(pytest.param(kind, 2, marks=pytest.mark.slow) for kind in OF_SEVERAL_ROWS),
    ],
)
def test_parameters_are_those_of_the_parallel_pass(kind, block_size):
    assert_equal_to_parallel(lively_pixels("gated", kind, dtype="float64"), block_size, 1e-12)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 0.2)])
def test_dtypes(dtype, tolerance):
    # 8 bits in bfloat16, parameters of order 1.
    assert_equal_to_parallel(lively_pixels("gated", "everything", dtype=dtype), 2, tolerance)


def test_a_pass_costs_its_rows_only():
    passes = pixel_network("gated", "dilated").block_passes(2, BATCH)  # of 5 rows
    assert passes.num_blocks == 3
    assert [s.shape[1] for s in passes.initial_state()] == [1, 2, 1]
    x = tf.zeros([BATCH, 2, 5, 1])
    features, state = passes.run(x, passes.initial_state(), passes.prepare(tf.constant(0)))
    assert features.shape[1:3] == [2, 5]
    assert [s.shape for s in state] == [s.shape for s in passes.initial_state()]


def test_wrong_conditioning():
    with pytest.raises(ValueError, match=r"conditioned on shape \[3\], got None"):
        pixel_network("gated", "global").block_passes(1, BATCH)


def test_the_classical_network_has_none():
    assert pixel_network("gated", "plain").has_block_passes
    assert not pixel_network("classical", "plain").has_block_passes
