import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src import testing

from tests.helpers import jacobian, normal, randomize
from tfp_ar.layers import MaskedPixelBlock

SHAPE, FILTERS = (3, 4), 4
KINDS = [(False, False), (True, False), (True, True)]  # with global, with local conditioning


def conditions(use_global, use_local, batch=2, dtype="float32"):
    """Keyword arguments of the block's call."""
    return {
        **({"global_condition": normal([batch, 5], dtype, 1)} if use_global else {}),
        **({"local_condition": normal([batch, *SHAPE, 2], dtype, 2)} if use_local else {}),
    }


def random_block(h, condition=None, **kwargs):
    """A block with random weights, built for h and the conditions."""
    block = MaskedPixelBlock(FILTERS, **kwargs)
    block(h, **(condition or {}))
    return randomize(block, 0.5)


def formula(block, h, global_condition=None, local_condition=None):
    """h' for h [B, H, W, channels]; the convolution has tests of its own."""
    first = block.conv.mask_type == "A"
    z = block.conv(h if first else np.maximum(h, 0)).numpy()
    if global_condition is not None:
        added = global_condition.numpy() @ block.global_projection.kernel.numpy()
        z = z + added[:, np.newaxis, np.newaxis]
    if local_condition is not None:
        z = z + local_condition.numpy() @ block.local_projection.kernel.numpy()
    return z if first else h + z


@pytest.mark.parametrize("use_global, use_local", KINDS)
@pytest.mark.parametrize("mask_type, channels", [("A", 3), ("A", FILTERS), ("B", FILTERS)])
def test_equals_the_formula(use_global, use_local, mask_type, channels):
    h = normal([2, *SHAPE, channels], "float64")
    given = conditions(use_global, use_local, dtype="float64")
    dilation = 2 if mask_type == "B" else 1
    block = random_block(
        h, given, mask_type=mask_type, dilation_rate=dilation, dropout=0.5, dtype="float64"
    )
    y = block(h, **given)
    assert y.shape == (2, *SHAPE, FILTERS)
    np.testing.assert_allclose(y, formula(block, h.numpy(), **given), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mask_type", ["A", "B"])
def test_type_a_does_not_leak_its_own_pixel_through_the_residual(mask_type):
    h = normal([*SHAPE, FILTERS])
    block = random_block(h[tf.newaxis], mask_type=mask_type, kernel_size=3)
    size = SHAPE[0] * SHAPE[1]
    matrix = jacobian(block, h).reshape(size, FILTERS, size, FILTERS)
    seen = matrix.any(axis=(1, 3))
    rank = np.arange(size)
    assert not seen[rank > rank[:, np.newaxis]].any()
    own = matrix[rank, :, rank, :]
    assert not own.any() if mask_type == "A" else own.any(axis=(1, 2)).all()
    # The neighbours: left, and the three above.
    assert seen[5, [0, 1, 2, 4]].all()


def test_dropout_only_in_training():
    h = normal([2, *SHAPE, FILTERS])
    block = random_block(h, dropout=0.5, seed=1)
    expected = formula(block, h.numpy())
    for training in (None, False):
        np.testing.assert_allclose(block(h, training=training), expected, rtol=1e-5, atol=1e-5)
    assert np.any(block(h, training=True) != block(h, training=True))


def test_dropout_drops_what_the_convolution_sees_not_the_residual():
    block = MaskedPixelBlock(FILTERS, dropout=0.4, seed=7)
    h = tf.abs(normal([40, 20, 20, FILTERS])) + 0.1
    block.build(h.shape)
    kernel = np.zeros(block.conv.kernel.shape)
    kernel[1, 1] = np.eye(FILTERS)
    block.conv.kernel.assign(kernel)
    dropped = (block(h, training=True) - h).numpy()
    kept = np.abs(dropped) > 1e-3
    np.testing.assert_allclose(dropped[kept], h.numpy()[kept] / 0.6, rtol=1e-4)
    # 64,000 independent entries: five standard deviations of the fraction dropped.
    assert abs(1 - kept.mean() - 0.4) < 5 * np.sqrt(0.4 * 0.6 / kept.size)


def test_mixed_precision_computes_in_the_compute_dtype_only():
    h, given = normal([2, *SHAPE, FILTERS]), conditions(True, True)
    exact, mixed = random_block(h, given), random_block(h, given, dtype="mixed_bfloat16")
    assert {v.dtype for v in mixed.variables} == {"float32"}
    y = mixed(h, **given)
    assert y.dtype == tf.bfloat16
    # bfloat16 has 8 bits: 0.4% of sums of some twenty products of order 1.
    np.testing.assert_allclose(tf.cast(y, tf.float32), exact(h, **given), rtol=0.02, atol=0.1)


def test_run_layer_test():
    testing.TestCase().run_layer_test(
        MaskedPixelBlock,
        {"filters": FILTERS, "mask_type": "B", "dropout": 0.1, "seed": 3},
        input_shape=(2, *SHAPE, FILTERS),
        expected_output_shape=(2, *SHAPE, FILTERS),
        expected_num_trainable_weights=2,
        expected_num_seed_generators=1,
    )


@pytest.mark.parametrize("mask_type", ["A", "B"])
def test_keras_file_round_trip(tmp_path, mask_type):
    values = {"h": normal([2, *SHAPE, FILTERS]), **conditions(True, True)}
    inputs = {name: keras.Input(value.shape[1:], name=name) for name, value in values.items()}
    block = MaskedPixelBlock(FILTERS, mask_type=mask_type, name="block")
    model = keras.Model(inputs, block(**inputs))
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("block")) is MaskedPixelBlock
    np.testing.assert_array_equal(loaded(values), model(values))


def test_config_round_trip_keeps_every_argument():
    block = MaskedPixelBlock(
        filters=4,
        kernel_size=(3, 5),
        mask_type="B",
        dilation_rate=2,
        dropout=0.25,
        seed=11,
        name="block",
        dtype="float64",
        trainable=False,
    )
    copy = MaskedPixelBlock.from_config(block.get_config())
    assert copy.get_config() == block.get_config()
    conv = copy.conv
    assert (conv.filters, conv.kernel_size, conv.mask_type) == (4, (3, 5), "B")
    assert conv.dilation_rate == (2, 2) and conv.variable_dtype == "float64"
    assert (copy.dropout.rate, copy.seed, copy.name, copy.trainable) == (0.25, 11, "block", False)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"filters": 0}, ValueError, "^filters: expected a positive integer, got 0"),
        ({"kernel_size": 2}, ValueError, "^kernel_size: expected an odd integer or a pair .*got 2"),
        ({"mask_type": "C"}, ValueError, "^mask_type: expected one of 'A', 'B', got 'C'"),
        ({"dropout": 1.0}, ValueError, r"^dropout: expected a number in \[0, 1\), got 1.0"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        MaskedPixelBlock(**{"filters": 4, **arguments})


def test_type_b_adds_to_what_it_gets():
    with pytest.raises(ValueError, match="^h: expected 4 channels, to add to, got 3"):
        MaskedPixelBlock(4).build((None, *SHAPE, 3))


def test_dilation_is_one_integer():
    with pytest.raises(
        TypeError, match=r"dilation_rate: expected a positive integer, got \(1, 2\)"
    ):
        MaskedPixelBlock(4, dilation_rate=(1, 2))
