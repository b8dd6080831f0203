import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import (
    allowed_inputs,
    random_conditioning,
    random_events,
    randomize,
    seen_inputs,
)
from tests.networks.examples import WAVENETS, lively, wavenet
from tfp_ar.networks import WaveNet
from tfp_ar.networks.wavenet import default_dilations, sinusoids


def delays(network) -> set[int]:
    """How many steps back the parameters depend on x: one, and any tap of each block."""
    taps = [[j * d for j in range(network.kernel_size)] for d in network.dilations]
    return {1 + sum(chosen) for chosen in itertools.product(*taps)}


def expected_inputs(network) -> np.ndarray:
    """What the parameters depend on, from the options alone: bool [event_size, event_size]."""
    length, channels = network.length, network.channels
    expected = np.zeros([length, channels, length, channels], bool)
    for t, delay in itertools.product(range(length), delays(network)):
        if t >= delay:
            expected[t, :, t - delay, :] = True
    for t, c in itertools.product(range(length), range(channels)):
        expected[t, c, t, :c] = True
    return expected.reshape([network.event_size] * 2)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] * (kind not in ("plain", "gaps", "everything")))
        for kind in WAVENETS
    ],
)
def test_sees_exactly_its_receptive_field_whatever_the_weights(kind):
    network = wavenet(kind)
    seen = seen_inputs(network)
    assert not (seen & ~allowed_inputs(network)).any()
    np.testing.assert_array_equal(seen, expected_inputs(network))
    assert network.receptive_field == max(delays(network))


def test_local_conditioning_acts_at_its_own_step_and_by_the_taps_of_later_blocks():
    network = lively(wavenet("local", dilations=[1, 2]))
    x, c = random_events(network), random_conditioning(network).numpy()
    changed = c.copy()
    changed[0, 3] += 1.0
    moved = np.not_equal(network(x, c), network(x, changed)).any(axis=(0, 2))
    np.testing.assert_array_equal(moved, [False, False, False, True, False, True])


@pytest.mark.parametrize("position_encoding", ["learned", "sinusoidal"])
def test_position_encodings_tell_steps_apart(position_encoding):
    network = lively(WaveNet([8], dilations=[1], position_encoding=position_encoding))
    params = network(tf.zeros([1, 8])).numpy()[0]
    assert len(np.unique(params[3:, 0])) == 5
    without = lively(WaveNet([8], dilations=[1]))(tf.zeros([1, 8])).numpy()[0]
    np.testing.assert_allclose(without[3:, 0], without[3, 0], rtol=1e-5)


def test_learned_positions_start_around_zero():
    # 512 x 32 numbers of standard deviation 0.05: a mean of 6 standard errors is 0.0023.
    network = WaveNet([512], dilations=[1], position_encoding="learned")
    table = network.position_table.numpy()
    assert 0.03 < table.std() < 0.07
    assert abs(table.mean()) < 6 * 0.05 / np.sqrt(table.size)


def test_sinusoids():
    table = sinusoids(length=6, channels=4)
    t = np.arange(6)[:, np.newaxis]
    expected = np.concatenate([np.sin(t), np.sin(t / 100), np.cos(t), np.cos(t / 100)], axis=1)
    np.testing.assert_allclose(table, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_sinusoids_of_odd_width(channels):
    table = sinusoids(5, channels)
    assert table.shape == (5, channels)
    assert np.linalg.matrix_rank(np.round(table, 12)) == min(channels, 5)


@pytest.mark.parametrize(
    "length, kernel_size, expected",
    [
        (1, 2, (1,)),
        (3, 2, (1,)),
        (4, 2, (1, 2)),
        (5, 2, (1, 2)),
        (6, 2, (1, 2, 4)),
        (16, 2, (1, 2, 4, 8)),
        (8, 3, (1, 2)),
        (9, 3, (1, 2, 4)),
        (100_000, 2, tuple(2**i for i in range(10))),
    ],
)
def test_default_dilations(length, kernel_size, expected):
    assert default_dilations(length, kernel_size) == expected
    assert WaveNet([length], kernel_size=kernel_size, residual_channels=1).dilations == expected


@pytest.mark.parametrize("length", range(1, 40))
def test_default_dilations_see_the_whole_past_and_no_block_less_does(length):
    dilations = default_dilations(length, 2)
    assert 1 + sum(dilations) >= length - 1
    assert len(dilations) == 1 or 1 + sum(dilations[:-1]) < length - 1


def test_default_dilations_with_one_tap_end():
    assert len(default_dilations(100, 1)) <= 10


# Variables ----------------------------------------------------------------------------------------


def test_trainable_is_passed_down():
    frozen = wavenet("everything", trainable=False)
    assert frozen.trainable_variables == []
    frozen.trainable = True
    count = len(frozen.trainable_variables)
    assert count == len(wavenet("everything").trainable_variables) > 20
    frozen.blocks[0].trainable = False
    assert 0 < len(frozen.trainable_variables) < count


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argument, value, error, message",
    [
        ("event_shape", [2, 3, 4], ValueError, r"event_shape: expected \[L\] or \[L, C\], got \[2"),
        ("event_shape", [0], ValueError, r"event_shape\[0\]: expected a positive integer, got 0"),
        ("num_params", 0, ValueError, "num_params: expected a positive integer, got 0"),
        ("residual_channels", 0, ValueError, "residual_channels: expected a positive integer"),
        ("residual_channels", 4.0, TypeError, "residual_channels: expected a positive integer"),
        ("skip_channels", -1, ValueError, "skip_channels: expected a positive integer, got -1"),
        ("kernel_size", 0, ValueError, "kernel_size: expected a positive integer, got 0"),
        ("kernel_size", "2", TypeError, "kernel_size: expected a positive integer, got '2'"),
        ("dilations", [1, 0], ValueError, r"dilations\[1\]: expected a positive integer, got 0"),
        ("dilations", [1, 1.5], TypeError, r"dilations\[1\]: expected a positive integer, got 1.5"),
        ("dilations", [], ValueError, "dilations: expected at least one positive integer"),
        ("dilations", 2, TypeError, "dilations: expected a sequence of positive integers, got 2"),
        ("conditional_shape", [5, 2], ValueError, r"positions of event_shape \[8\], got \[5, 2\]"),
        ("conditional_shape", "8", TypeError, "conditional_shape: expected a sequence"),
        ("position_encoding", "sine", ValueError, "None, 'learned', 'sinusoidal', got 'sine'"),
        ("dropout", 1.0, ValueError, r"dropout: expected a number in \[0, 1\), got 1.0"),
        ("dropout", "no", TypeError, r"dropout: expected a number in \[0, 1\), got 'no'"),
        ("seed", "a", TypeError, "^seed: expected an integer or None, got 'a'"),
    ],
)
def test_bad_arguments(argument, value, error, message):
    with pytest.raises(error, match=message):
        WaveNet(**{"event_shape": [8], argument: value})


def test_checkpoints_between_networks_that_differ_in_what_has_no_part_in_the_density(tmp_path):
    trained = randomize(WaveNet([8], residual_channels=8, dilations=[1, 2], dropout=0.1))
    path = tf.train.Checkpoint(network=trained).write(str(tmp_path / "weights"))
    names = [name for name, _ in tf.train.list_variables(path)]
    assert any(name.startswith("network/blocks_1/conv/") for name in names)
    served = WaveNet([8], residual_channels=8, dilations=[1, 2])
    tf.train.Checkpoint(network=served).read(path).assert_existing_objects_matched()
    x = random_events(served, 3)
    np.testing.assert_array_equal(served(x), trained(x))
