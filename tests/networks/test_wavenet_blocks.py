"""Block passes: given the past, the parameters of the parallel pass, block after block."""

import pytest
import tensorflow as tf

from tests.networks.block_passes import BATCH, assert_equal_to_parallel
from tests.networks.examples import WAVENETS, lively, wavenet
from tests.toys import MaskedLinear
from tfp_ar.networks.generation.reference import WholeEvent
from tfp_ar.networks.generation.wavenet import WaveNetBlocks

REPRESENTATIVE = ["plain", "taps_1", "gaps", "both_channels_2", "sinusoidal", "everything"]


@pytest.mark.parametrize(
    "kind, block_size",
    [
        *((kind, 4) for kind in REPRESENTATIVE),
        ("plain", 1),
        ("gaps", 2),
        ("channels_3_taps_3", 1),
        ("everything", None),
        *(pytest.param(kind, 2, marks=pytest.mark.slow) for kind in WAVENETS if kind != "length_1"),
    ],
)
def test_parameters_are_those_of_the_parallel_pass(kind, block_size):
    assert_equal_to_parallel(lively(wavenet(kind, dtype="float64")), block_size, 1e-12)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 0.1)])
def test_dtypes(dtype, tolerance):
    # 8 bits in bfloat16, parameters of order 1.
    assert_equal_to_parallel(lively(wavenet("everything", dtype=dtype)), 4, tolerance)


@pytest.mark.parametrize(
    "block_size, number", [(1, 9), (4, 3), (8, 2), (9, 1), (100, 1), (None, 1)]
)
def test_number_of_blocks(block_size, number):
    network = wavenet("plain")  # of 9 steps
    passes = network.block_passes(block_size, BATCH)
    assert passes.num_blocks == number
    assert isinstance(passes, WholeEvent if number == 1 else WaveNetBlocks)


def test_a_pass_costs_its_steps_only():
    passes = wavenet("many_blocks").block_passes(2, BATCH)
    # The past a block reads is that of its taps, whatever the length of the event.
    assert [s.shape[1] for s in passes.initial_state()] == [1, 1, 2, 1, 1, 2, 1, 1]
    x = tf.zeros([BATCH, 2, 1])
    features, state = passes.run(x, passes.initial_state(), passes.prepare(tf.constant(0)))
    assert features.shape[1] == 2
    assert [s.shape for s in state] == [s.shape for s in passes.initial_state()]


def test_other_networks_have_the_whole_event():
    network = MaskedLinear([2, 3], order=[4, 0, 3, 5, 1, 2])
    assert not network.has_block_passes and wavenet("plain").has_block_passes
    assert_equal_to_parallel(network, None, 1e-6)


def test_wrong_conditioning():
    with pytest.raises(ValueError, match=r"conditioned on shape \[3\], got None"):
        wavenet("global").block_passes(2, BATCH)
    with pytest.raises(ValueError, match="would ignore it"):
        MaskedLinear([2], order=[0, 1]).block_passes(None, 1, tf.zeros([1, 2]))
