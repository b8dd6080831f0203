import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import jacobian, normal, randomize
from tests.layers.reference import causal_convolution, gate
from tfp_ar.layers import GatedResidualBlock

LENGTH, FILTERS, SKIP = 6, 4, 3
KINDS = list(itertools.product([False, True], repeat=2))  # with global, with local conditioning


def conditions(use_global, use_local, batch=2, dtype="float32"):
    """Keyword arguments of the block's call."""
    return {
        **({"global_condition": normal([batch, 5], dtype, 1)} if use_global else {}),
        **({"local_condition": normal([batch, LENGTH, 2], dtype, 2)} if use_local else {}),
    }


def random_block(h, condition=None, scale=0.5, **kwargs):
    """A block with random weights, built for h and the conditions."""
    block = GatedResidualBlock(FILTERS, SKIP, **kwargs)
    block(h, **(condition or {}))
    return randomize(block, scale)


def formula(block, h, global_condition=None, local_condition=None):
    """The pair (h', skip) for h [L, filters], from the block's weights."""
    z = causal_convolution(
        h, block.conv.kernel.numpy(), block.conv.bias.numpy(), block.conv.dilation_rate
    )
    if global_condition is not None:
        z = z + global_condition @ block.global_projection.kernel.numpy()
    if local_condition is not None:
        z = z + local_condition @ block.local_projection.kernel.numpy()
    g = gate(z)
    skip = g @ block.skip_projection.kernel.numpy()
    if not block.residual:
        return h, skip
    return h + g @ block.residual_projection.kernel.numpy(), skip


@pytest.mark.parametrize("use_global, use_local", KINDS)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-13)])
def test_equals_the_formula(use_global, use_local, residual, dtype, tolerance):
    h = normal([2, LENGTH, FILTERS], dtype)
    given = conditions(use_global, use_local, dtype=dtype)
    block = random_block(h, given, kernel_size=3, dilation_rate=2, residual=residual, dtype=dtype)
    new_h, skip = block(h, **given)
    assert skip.dtype == dtype
    for row in range(2):
        rows = {name: value[row].numpy() for name, value in given.items()}
        expected_h, expected_skip = formula(block, h[row].numpy(), **rows)
        np.testing.assert_allclose(skip[row], expected_skip, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(new_h[row], expected_h, rtol=tolerance, atol=tolerance)


def test_without_residual_there_are_no_weights_for_it():
    h = normal([2, LENGTH, FILTERS])
    with_residual, without = random_block(h), random_block(h, residual=False)
    assert len(with_residual.variables) == len(without.variables) + 1


@pytest.mark.parametrize("output", [0, 1])
def test_sees_its_taps_and_no_later_step(output):
    h = normal([LENGTH, FILTERS])
    block = random_block(h[tf.newaxis], kernel_size=2, dilation_rate=2)
    matrix = jacobian(lambda h: block(h)[output], h)
    seen = matrix.reshape(LENGTH, -1, LENGTH, FILTERS).any(axis=(1, 3))
    expected = np.eye(LENGTH, dtype=bool) | np.eye(LENGTH, k=-2, dtype=bool)
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("leading", [(), (0,), (2, 3)])
def test_leading_dimensions_are_a_batch(leading):
    def reshaped(value, tail):
        return tf.reshape(value, [*leading, *tail])

    batch = int(np.prod(leading))
    h, given = normal([batch, LENGTH, FILTERS]), conditions(True, True, batch)
    block = random_block(h, given)
    expected_h, expected_skip = block(h, **given)
    new_h, skip = block(
        reshaped(h, [LENGTH, FILTERS]),
        reshaped(given["global_condition"], [5]),
        reshaped(given["local_condition"], [LENGTH, 2]),
    )
    np.testing.assert_allclose(new_h, reshaped(expected_h, [LENGTH, FILTERS]), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(skip, reshaped(expected_skip, [LENGTH, SKIP]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("training", [None, False])
def test_dropout_is_off_outside_training(training):
    h = normal([2, LENGTH, FILTERS])
    block = random_block(h, dropout=0.5)
    outputs = block(h, training=training)
    for row in range(2):
        for y, expected in zip(outputs, formula(block, h[row].numpy()), strict=True):
            np.testing.assert_allclose(y[row], expected, rtol=1e-5, atol=1e-5)


def dropping_block(rate, seed=7):
    """A block whose ways out are the gate itself."""
    block = GatedResidualBlock(FILTERS, FILTERS, dropout=rate, seed=seed)
    block.build((None, None, FILTERS))
    randomize(block)
    block.skip_projection.kernel.assign(np.eye(FILTERS))
    block.residual_projection.kernel.assign(np.eye(FILTERS))
    return block


def test_dropout_in_training_drops_the_gate_once_for_both_ways_out():
    rate, h = 0.3, normal([40, 125, FILTERS])
    block = dropping_block(rate)
    _, g = block(h, training=False)
    new_h, dropped = block(h, training=True)
    kept = dropped.numpy() != 0
    np.testing.assert_allclose(dropped.numpy()[kept], g.numpy()[kept] / (1 - rate), rtol=1e-5)
    # 20,000 independent entries: five standard deviations of the fraction dropped.
    assert abs((1 - kept.mean()) - rate) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
    np.testing.assert_allclose(new_h - h, dropped, rtol=1e-4, atol=1e-5)


def test_dropout_seed_fixes_what_is_dropped():
    h = normal([2, 50, FILTERS])

    def kept(seed):
        return dropping_block(0.5, seed)(h, training=True)[1].numpy() != 0

    np.testing.assert_array_equal(kept(1), kept(1))
    assert (kept(1) != kept(2)).any()


def test_mixed_precision_computes_in_the_compute_dtype_only():
    h, given = normal([2, LENGTH, FILTERS]), conditions(True, True)
    exact, mixed = random_block(h, given), random_block(h, given, dtype="mixed_bfloat16")
    assert {v.dtype for v in mixed.variables} == {"float32"}
    for y, expected in zip(mixed(h, **given), exact(h, **given), strict=True):
        assert y.dtype == tf.bfloat16
        # bfloat16 has 8 bits; some ten roundings of numbers of order 1.
        np.testing.assert_allclose(tf.cast(y, tf.float32), expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("use_global, use_local", KINDS)
@pytest.mark.parametrize("residual", [True, False])
def test_keras_file_round_trip(tmp_path, use_global, use_local, residual):
    given = conditions(use_global, use_local)
    values = {"h": normal([2, LENGTH, FILTERS]), **given}
    inputs = {name: keras.Input(value.shape[1:], name=name) for name, value in values.items()}
    block = GatedResidualBlock(FILTERS, SKIP, dilation_rate=2, residual=residual, name="block")
    model = keras.Model(inputs, block(**inputs))
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("block")) is GatedResidualBlock
    for y, expected in zip(loaded(values), model(values), strict=True):
        np.testing.assert_array_equal(y, expected)


def test_config_round_trip_keeps_every_argument():
    block = GatedResidualBlock(
        filters=4,
        skip_filters=3,
        kernel_size=3,
        dilation_rate=5,
        residual=False,
        dropout=0.25,
        seed=11,
        name="block",
        dtype="float64",
        trainable=False,
    )
    copy = GatedResidualBlock.from_config(block.get_config())
    assert copy.get_config() == block.get_config()
    for name in ("filters", "skip_filters", "residual", "seed", "name", "trainable"):
        assert getattr(copy, name) == getattr(block, name), name
    assert (copy.conv.kernel_size, copy.conv.dilation_rate) == (3, 5)
    assert copy.dropout.rate == 0.25
    assert copy.conv.variable_dtype == copy.variable_dtype == "float64"


@pytest.mark.parametrize("name", ["filters", "skip_filters", "kernel_size", "dilation_rate"])
@pytest.mark.parametrize("value, error", [(0, ValueError), (2.0, TypeError)])
def test_sizes_must_be_positive_integers(name, value, error):
    arguments = {"filters": 2, "skip_filters": 2, name: value}
    with pytest.raises(error, match=f"{name}: expected a positive integer, got {value}"):
        GatedResidualBlock(**arguments)


@pytest.mark.parametrize(
    "value, error",
    [(1.0, ValueError), (-0.1, ValueError), (float("nan"), ValueError), ("a", TypeError)],
)
def test_dropout_must_be_a_fraction(value, error):
    with pytest.raises(error, match=r"dropout: expected a number in \[0, 1\), got"):
        GatedResidualBlock(2, 2, dropout=value)
