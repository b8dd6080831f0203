import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import (
    allowed_inputs,
    normal,
    random_conditioning,
    random_events,
    randomize,
    seen_inputs,
)
from tests.networks.examples import WAVENETS, lively, wavenet
from tfp_ar.networks import WaveNet
from tfp_ar.networks.wavenet import default_dilations, sinusoids

# Those that have weights or inputs that the others have not.
STRUCTURES = ["plain", "taps_3", "channels_2", "global", "local", "both", "global_in_a_dict"]
STRUCTURES += ["learned", "sinusoidal", "dropout", "everything"]


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


@pytest.mark.parametrize("kind", WAVENETS)
def test_sees_exactly_its_receptive_field_whatever_the_weights(kind):
    network = wavenet(kind)
    seen = seen_inputs(network)
    assert not (seen & ~allowed_inputs(network)).any()
    np.testing.assert_array_equal(seen, expected_inputs(network))
    assert network.receptive_field == max(delays(network))


def test_a_masked_weight_that_is_huge_lets_nothing_through():
    network = randomize(wavenet("channels_2"))
    kernel = network.head.channel_kernel.value
    kernel.assign(1e6 * normal(kernel.shape))
    x = random_events(network, ()).numpy()
    changed = x.copy()
    changed[-1, -1] += 1e3
    np.testing.assert_array_equal(network(x), network(changed))


@pytest.mark.parametrize("kind", ["global", "local", "both", "both_channels_2", "everything"])
def test_conditioning_reaches_all_parameters(kind):
    network = lively(wavenet(kind))
    x, c = random_events(network), random_conditioning(network)
    for part, value in enumerate(tf.nest.flatten(c)):
        changed = tf.nest.flatten(c)
        changed[part] = value + normal(value.shape, seed=9)
        moved = network(x, c) != network(x, tf.nest.pack_sequence_as(c, changed))
        assert np.all(moved)


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


@pytest.mark.parametrize("kind", STRUCTURES)
def test_new_networks_give_zero(kind):
    network = wavenet(kind)
    x, c = random_events(network, 2), random_conditioning(network, 2)
    assert not network(x, c).numpy().any()


@pytest.mark.parametrize("kind", STRUCTURES)
def test_every_weight_gets_a_gradient(kind):
    network, used = wavenet(kind), []
    x, c = random_events(network, 8), random_conditioning(network, 8)
    for seed in range(3):
        lively(network, seed)
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(network(x, c, training=False) ** 2)
        gradients = tape.gradient(y, [v.value for v in network.trainable_variables])
        used.append([g is not None and bool(np.any(g)) for g in gradients])
    unused = [
        v.path for v, u in zip(network.trainable_variables, np.any(used, 0), strict=True) if not u
    ]
    assert not unused


def test_dropout_only_in_training():
    network = randomize(wavenet("dropout"))
    x = random_events(network)
    quiet = network(x, training=False)
    np.testing.assert_array_equal(network(x), quiet)
    assert np.any(network(x, training=True) != quiet)
    assert np.any(network(x, training=True) != network(x, training=True))


def test_blocks_drop_independently():
    network = WaveNet([64], residual_channels=8, dilations=[1, 1], dropout=0.5, seed=5)
    ones = tf.ones([1, 64, 8])
    first, second = (block.dropout(ones, training=True).numpy() for block in network.blocks)
    assert np.any(first != second)


@pytest.mark.parametrize("kind", ["plain", "everything"])
def test_float64_differs_from_float32_by_rounding_only(kind):
    single, double = (randomize(wavenet(kind, dtype=d)) for d in ("float32", "float64"))
    x, c = random_events(double, 3), random_conditioning(double, 3)
    params = double(x, c)
    assert params.dtype == tf.float64
    np.testing.assert_allclose(single(x, c), params, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", ["plain", "everything"])
def test_mixed_precision(kind, policy):
    exact, mixed = randomize(wavenet(kind)), randomize(wavenet(kind, dtype=policy))
    assert {v.dtype for v in mixed.variables if "seed" not in v.path} == {"float32"}
    assert mixed.blocks[0].conv.compute_dtype == policy.removeprefix("mixed_")
    x, c = random_events(exact, 3), random_conditioning(exact, 3)
    params = mixed(x, c)
    assert params.dtype == tf.float32
    assert np.any(params != exact(x, c))
    # 8 bits in bfloat16; parameters are of order 1.
    np.testing.assert_allclose(params, exact(x, c), rtol=0, atol=0.1)


# Serialization ------------------------------------------------------------------------------------


def functional_model(network) -> keras.Model:
    """A Keras model of x, and the conditioning as further inputs."""
    x = keras.Input(network.event_shape, name="x")
    c = network.conditional_shape
    if c is None:
        return keras.Model(x, network(x))
    c = (
        {kind: keras.Input(shape, name=kind) for kind, shape in c.items()}
        if isinstance(c, dict)
        else keras.Input(c, name="c")
    )
    return keras.Model([x, *tf.nest.flatten(c)], network(x, c))


def model_inputs(network, batch):
    x, c = random_events(network, batch), random_conditioning(network, batch)
    return x if c is None else [x, *tf.nest.flatten(c)]


@pytest.mark.parametrize("kind", STRUCTURES)
def test_keras_file_round_trip(tmp_path, kind):
    network = randomize(wavenet(kind, name="net"))
    model = functional_model(network)
    assert model.output_shape == (None, *network.event_shape, network.num_params)
    inputs = model_inputs(network, 3)
    expected = network(random_events(network, 3), random_conditioning(network, 3))
    np.testing.assert_allclose(model(inputs), expected, rtol=1e-6, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("net")) is WaveNet
    assert len(loaded.variables) == len(network.variables)
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


@pytest.mark.parametrize("kind", ["plain", "everything"])
def test_weights_file_round_trip(tmp_path, kind):
    model = functional_model(randomize(wavenet(kind)))
    model.save_weights(tmp_path / "model.weights.h5")
    other = functional_model(wavenet(kind))
    other.load_weights(tmp_path / "model.weights.h5")
    inputs = model_inputs(wavenet(kind), 3)
    assert np.any(model(inputs))
    np.testing.assert_array_equal(other(inputs), model(inputs))


@pytest.mark.parametrize(
    "kind, dtype",
    [*((kind, "float32") for kind in WAVENETS), ("everything", "mixed_bfloat16")],
)
def test_config_round_trip(kind, dtype):
    network = wavenet(kind, dtype=dtype, trainable=False)
    copy = WaveNet.from_config(network.get_config())
    assert copy.get_config() == network.get_config()
    for name, value in WAVENETS[kind].items():
        assert tf.nest.flatten(getattr(copy, name)) == tf.nest.flatten(value), name
    assert not copy.trainable and copy.compute_dtype == network.compute_dtype
    assert [v.shape for v in copy.variables] == [v.shape for v in network.variables]


def test_in_a_functional_model_with_further_leading_dimensions():
    network = randomize(wavenet("plain"))
    inputs = keras.Input([3, 9])
    model = keras.Model(inputs, network(inputs))
    x = random_events(network, (2, 3))
    assert model.output_shape == (None, 3, 9, 2)
    np.testing.assert_allclose(model(x), network(x), rtol=1e-6, atol=1e-6)


# Variables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STRUCTURES)
def test_all_variables_are_there_after_construction(kind):
    network = wavenet(kind)
    variables = list(network.variables)
    assert variables
    network(random_events(network), random_conditioning(network), training=True)
    network.generate(lambda params, i: params[:, 0], 1, random_conditioning(network))
    assert all(a is b for a, b in zip(network.variables, variables, strict=True))


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
