import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src import testing

from tests.helpers import jacobian, normal, randomize
from tests.layers.reference import convolution_at, groups_before, seen_at
from tfp_ar.layers import BlindSpotFreeConv2D

SHAPE = (4, 5)
# mask_type, kernel_size, dilation_rate, channel_groups
GEOMETRIES = [
    ("A", (3, 3), 1, 1),
    ("A", (5, 3), 1, 3),
    ("A", (3, 5), 1, 1),
    ("B", (3, 3), 1, 1),
    ("B", (3, 5), 1, 3),
    ("B", (3, 3), 2, 1),
    ("B", (1, 1), 1, 3),
]


def random_conv(filters, kernel_size, channels=3, **kwargs):
    """A convolution with raw random weights, those behind the mask too."""
    conv = BlindSpotFreeConv2D(filters, kernel_size, **kwargs)
    conv.build((None, *SHAPE, channels), (None, *SHAPE, channels))
    return randomize(conv, 1.0)


def offsets(kernel_size, mask_type, dilation, groups):
    """Rows and columns of w_v, and columns of w_h, in pixels."""
    sides = [k // 2 for k in kernel_size]
    last_row = 0 if mask_type == "B" else -1
    last_column = 0 if mask_type == "B" or groups > 1 else -1
    rows = [dilation * r for r in range(-sides[0], last_row + 1)]
    across = [dilation * c for c in range(-sides[1], sides[1] + 1)]
    return rows, across, [dilation * c for c in range(-sides[1], last_column + 1)]


def formula(conv, v, h):
    """(v', h') for v and h [H, W, channels], tap by tap."""
    groups = conv.channel_groups
    rows, across, before = offsets(conv.kernel_size, conv.mask_type, conv.dilation_rate, groups)
    w_v, w_h = conv.vertical_kernel.numpy(), conv.horizontal_kernel.numpy()
    assert w_v.shape[:2] == (len(rows), len(across)) and w_h.shape[:2] == (1, len(before))
    if groups > 1:
        w_h[0, -1] *= groups_before(*w_h.shape[2:], groups, conv.mask_type == "B")
    bias_v, bias_h = (
        (conv.vertical_bias.numpy(), conv.horizontal_bias.numpy()) if conv.use_bias else (0.0, 0.0)
    )
    v = convolution_at(v, w_v, rows, across, bias_v)
    return v, convolution_at(h, w_h, [0], before, bias_h) + v @ conv.link_kernel.numpy()


@pytest.mark.parametrize("mask_type, kernel_size, dilation_rate, channel_groups", GEOMETRIES)
@pytest.mark.parametrize("use_bias", [True, False])
def test_equals_the_formula(mask_type, kernel_size, dilation_rate, channel_groups, use_bias):
    conv = random_conv(
        6,
        kernel_size,
        mask_type=mask_type,
        dilation_rate=dilation_rate,
        channel_groups=channel_groups,
        use_bias=use_bias,
        dtype="float64",
    )
    assert len(conv.variables) == (5 if use_bias else 3)
    v, h = normal([2, *SHAPE, 3], "float64", 1), normal([2, *SHAPE, 3], "float64", 2)
    outputs = conv(v, h)
    for row in range(2):
        expected = formula(conv, v[row].numpy(), h[row].numpy())
        for y, wanted in zip(outputs, expected, strict=True):
            assert y.shape == (2, *SHAPE, 6)
            np.testing.assert_allclose(y[row], wanted, rtol=1e-12, atol=1e-12)


def test_channels_of_v_and_h_may_differ():
    conv = BlindSpotFreeConv2D(4, 3, dtype="float64")
    v, h = normal([1, *SHAPE, 2], "float64", 1), normal([1, *SHAPE, 3], "float64", 2)
    conv(v, h)
    randomize(conv)
    for y, wanted in zip(conv(v, h), formula(conv, v[0].numpy(), h[0].numpy()), strict=True):
        np.testing.assert_allclose(y[0], wanted, rtol=1e-12, atol=1e-12)


def seen_by(function, channels=3):
    """Dependence of an output [H, W, F] on an input [H, W, channels]."""
    matrix = jacobian(function, normal([*SHAPE, channels]))
    return matrix.reshape(*SHAPE, -1, *SHAPE, channels) != 0


@pytest.mark.parametrize("mask_type, kernel_size, dilation_rate, channel_groups", GEOMETRIES)
def test_sees_exactly_its_taps(mask_type, kernel_size, dilation_rate, channel_groups):
    conv = random_conv(
        3,
        kernel_size,
        mask_type=mask_type,
        dilation_rate=dilation_rate,
        channel_groups=channel_groups,
    )
    rows, across, before = offsets(kernel_size, mask_type, dilation_rate, channel_groups)
    other = normal([1, *SHAPE, 3], seed=9)
    above = seen_at(SHAPE, rows, across)[:, :, np.newaxis, :, :, np.newaxis]
    above = np.broadcast_to(above, (*SHAPE, 3, *SHAPE, 3))
    np.testing.assert_array_equal(seen_by(lambda v: conv(v, tf.repeat(other, len(v), 0))[0]), above)
    np.testing.assert_array_equal(seen_by(lambda v: conv(v, tf.repeat(other, len(v), 0))[1]), above)
    assert not seen_by(lambda h: conv(tf.repeat(other, len(h), 0), h)[0]).any()
    left = np.array(seen_at(SHAPE, [0], before)[:, :, np.newaxis, :, :, np.newaxis])
    left = np.broadcast_to(left, (*SHAPE, 3, *SHAPE, 3)).copy()
    if channel_groups > 1:
        for r, c in np.ndindex(*SHAPE):
            left[r, c, :, r, c] = groups_before(3, 3, 3, mask_type == "B").T
    np.testing.assert_array_equal(seen_by(lambda h: conv(tf.repeat(other, len(h), 0), h)[1]), left)


@pytest.mark.parametrize("channel_groups", [1, 3])
def test_a_stack_sees_all_pixels_before_and_nothing_else(channel_groups):
    """Theorem 3.5 and Proposition 3.6 of docs/theory.md."""
    convs = [
        random_conv(3, 3, mask_type="B" if i else "A", channel_groups=channel_groups)
        for i in range(5)
    ]

    def stack(x):
        v = h = x
        for conv in convs:
            v, h = conv(v, h)
        return v, h

    rank = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    row = np.arange(SHAPE[0])[:, np.newaxis, np.newaxis, np.newaxis]
    rows_before = np.broadcast_to(
        np.arange(SHAPE[0])[:, np.newaxis] < row, (SHAPE[0], SHAPE[1], *SHAPE)
    )
    v, h = seen_by(lambda x: stack(x)[0]), seen_by(lambda x: stack(x)[1])
    np.testing.assert_array_equal(v.any(axis=(2, 5)), rows_before)
    pixels_before = rank < rank[:, :, np.newaxis, np.newaxis]
    for out, channel in np.ndindex(3, 3):
        expected = pixels_before.copy()
        if channel_groups > 1 and channel < out:
            expected |= rank == rank[:, :, np.newaxis, np.newaxis]
        np.testing.assert_array_equal(h[:, :, out, :, :, channel], expected)


@pytest.mark.parametrize("mask_type", ["A", "B"])
def test_what_is_behind_the_mask_has_no_effect(mask_type):
    conv = random_conv(3, 3, mask_type=mask_type, channel_groups=3)
    x = normal([1, *SHAPE, 3])
    expected = conv(x, x)
    kernel = conv.horizontal_kernel.value
    values = kernel.numpy()
    values[0, -1][~groups_before(3, 3, 3, mask_type == "B")] = np.nan
    kernel.assign(values)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = conv(x, x)
        loss = sum(tf.reduce_sum(y) for y in outputs)
    for y, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(y, wanted)
    assert all(np.all(np.isfinite(g)) for g in tape.gradient(loss, [x, kernel]))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_numbers_of_weights_as_documented(k):
    filters = 4
    conv = BlindSpotFreeConv2D(filters, k, use_bias=False)
    conv.build((None, *SHAPE, filters), (None, *SHAPE, filters))
    squares = {v.name: np.prod(v.shape) // filters**2 for v in conv.variables}
    assert squares == {
        "vertical_kernel": (k + 1) // 2 * k,
        "horizontal_kernel": (k + 1) // 2,
        "link_kernel": 1,
    }
    assert k != 3 or sum(squares.values()) == 9


def test_initializers_and_regularizer_are_used():
    conv = BlindSpotFreeConv2D(
        2,
        3,
        kernel_initializer=keras.initializers.RandomNormal(seed=1),
        bias_initializer="ones",
        kernel_regularizer=keras.regularizers.L1(0.5),
    )
    conv.build((None, *SHAPE, 2), (None, *SHAPE, 2))
    kernels = [conv.vertical_kernel, conv.horizontal_kernel, conv.link_kernel]
    np.testing.assert_allclose(conv.losses, [0.5 * np.abs(k).sum() for k in kernels], rtol=1e-6)
    np.testing.assert_array_equal(conv.vertical_bias, [1, 1])
    np.testing.assert_array_equal(conv.horizontal_bias, [1, 1])


INITIALIZERS = {
    "unseeded": lambda: "glorot_uniform",
    "seeded": lambda: keras.initializers.RandomNormal(seed=1),
    "negative_seed": lambda: keras.initializers.GlorotUniform(seed=-1),
    "generator": lambda: keras.initializers.RandomNormal(seed=keras.random.SeedGenerator(1)),
}


@pytest.mark.parametrize("initializer", INITIALIZERS.values(), ids=INITIALIZERS.keys())
def test_kernels_start_unequal(initializer):
    # Kernels of equal sizes; an initializer that is used twice repeats itself.
    conv = BlindSpotFreeConv2D(
        4, 1, kernel_initializer=initializer(), bias_initializer=initializer()
    )
    conv.build((None, *SHAPE, 4), (None, *SHAPE, 4))
    kernels = [conv.vertical_kernel, conv.horizontal_kernel, conv.link_kernel]
    for a, b in itertools.combinations(map(np.ravel, kernels), 2):
        assert np.mean(a != b) > 0.9
    assert np.all(conv.vertical_bias.numpy() != conv.horizontal_bias.numpy())


@pytest.mark.parametrize("kind", ["seeded", "negative_seed"])
def test_seeded_weights_are_those_of_the_config(kind):
    def kernels(conv):
        conv.build((None, *SHAPE, 4), (None, *SHAPE, 4))
        return [v.numpy() for v in conv.variables]

    conv = BlindSpotFreeConv2D(4, 3, kernel_initializer=INITIALIZERS[kind]())
    config = conv.get_config()
    weights = kernels(conv)
    for a, b in zip(weights, kernels(BlindSpotFreeConv2D.from_config(config)), strict=True):
        np.testing.assert_array_equal(a, b)
    # The first kernel is the initializer's own.
    np.testing.assert_array_equal(weights[0], INITIALIZERS[kind]()(weights[0].shape))


MAPS = [(2, *SHAPE, 3), (2, *SHAPE, 3)]
WRONG_MAPS = {
    "batch": (0, (1, *SHAPE, 3)),
    "height": (1, (2, 1, SHAPE[1], 3)),
    "width": (1, (2, SHAPE[0], 1, 3)),
    "no_batch": (0, (*SHAPE, 3)),
    "more": (1, (1, 2, *SHAPE, 3)),
}


@pytest.mark.parametrize("place, wrong", WRONG_MAPS.values(), ids=WRONG_MAPS.keys())
def test_maps_that_differ(place, wrong):
    shapes = list(MAPS)
    shapes[place] = wrong
    shown = " and ".join(str(list(shape)) for shape in shapes)
    message = "v, h: expected two maps of one batch, height and width [B, H, W, C], got " + shown
    built = random_conv(3, 3)
    for conv in (BlindSpotFreeConv2D(3, 3), built):
        with pytest.raises(ValueError, match=re.escape(message)):
            conv(*(tf.ones(shape) for shape in shapes))
    with pytest.raises(ValueError, match=re.escape(message)):
        built.compute_output_shape(*shapes)


def test_maps_that_differ_in_a_model():
    v, h = keras.Input([*SHAPE, 3]), keras.Input([SHAPE[0], 1, 3])
    message = r"v, h: expected .* got \[None, 4, 5, 3\] and \[None, 4, 1, 3\]"
    with pytest.raises(ValueError, match=message):
        BlindSpotFreeConv2D(3, 3)(v, h)


def test_unknown_batch_and_sizes_in_a_graph():
    conv = random_conv(2, 3, mask_type="A")
    spec = [tf.TensorSpec([None, None, None, 3])] * 2
    compiled = tf.function(lambda v, h: conv(v, h), input_signature=spec)
    for height, width in ((4, 5), (1, 1), (2, 1)):
        x = normal([2, height, width, 3])
        for y, wanted in zip(compiled(x, x), conv(x, x), strict=True):
            np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)


def test_mixed_precision_computes_in_the_compute_dtype_only():
    exact, mixed = (random_conv(4, 3, dtype=d) for d in ("float32", "mixed_bfloat16"))
    assert {v.dtype for v in mixed.variables} == {"float32"}
    x = normal([2, *SHAPE, 3])
    for y, wanted in zip(mixed(x, x), exact(x, x), strict=True):
        assert y.dtype == tf.bfloat16
        # bfloat16 has 8 bits: 0.4% of sums of some thirty products, of order 5.
        np.testing.assert_allclose(tf.cast(y, tf.float32), wanted, rtol=0.02, atol=0.3)


def test_run_layer_test():
    testing.TestCase().run_layer_test(
        BlindSpotFreeConv2D,
        {"filters": 3, "kernel_size": 3, "mask_type": "A", "channel_groups": 3},
        input_shape={"v_shape": (2, *SHAPE, 3), "h_shape": (2, *SHAPE, 3)},
        expected_output_shape=((2, *SHAPE, 3), (2, *SHAPE, 3)),
        expected_num_trainable_weights=5,
        expected_num_seed_generators=0,
        run_training_check=False,  # its model has one input
    )


def test_keras_file_round_trip(tmp_path):
    x = keras.Input([*SHAPE, 3])
    conv = BlindSpotFreeConv2D(3, 3, "B", channel_groups=3, dilation_rate=2, name="conv")
    model = keras.Model(x, conv(x, x))
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("conv")) is BlindSpotFreeConv2D
    x = normal([2, *SHAPE, 3])
    for y, wanted in zip(loaded(x), model(x), strict=True):
        np.testing.assert_array_equal(y, wanted)


def test_config_round_trip_keeps_every_argument():
    conv = BlindSpotFreeConv2D(
        filters=4,
        kernel_size=(3, 5),
        mask_type="B",
        channel_groups=2,
        dilation_rate=2,
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=1),
        bias_initializer="ones",
        kernel_regularizer="l1",
        name="conv",
        dtype="float64",
        trainable=False,
    )
    copy = BlindSpotFreeConv2D.from_config(conv.get_config())
    assert copy.get_config() == conv.get_config()
    names = ["filters", "kernel_size", "mask_type", "channel_groups", "dilation_rate", "use_bias"]
    for name in [*names, "name", "trainable", "variable_dtype"]:
        assert getattr(copy, name) == getattr(conv, name), name
    assert copy.kernel_initializer.stddev == 0.1
    assert isinstance(copy.bias_initializer, keras.initializers.Ones)
    assert isinstance(copy.kernel_regularizer, keras.regularizers.L1)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"filters": 0}, ValueError, "^filters: expected a positive integer, got 0"),
        ({"kernel_size": 4}, ValueError, "^kernel_size: expected an odd integer or a pair .*got 4"),
        ({"mask_type": "C"}, ValueError, "^mask_type: expected one of 'A', 'B', got 'C'"),
        ({"channel_groups": 4}, ValueError, "^filters: .*multiple of channel_groups=4, got 6"),
        ({"dilation_rate": (2, 2)}, TypeError, "^dilation_rate: expected a positive integer"),
        (
            {"mask_type": "A", "kernel_size": (3, 1)},
            ValueError,
            r"^kernel_size: expected at least 3 with mask_type 'A', .*got \(3, 1\)",
        ),
        (
            {"mask_type": "A", "dilation_rate": 2},
            ValueError,
            "^dilation_rate: expected 1 with mask_type 'A', .*got 2",
        ),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        BlindSpotFreeConv2D(**{"filters": 6, "kernel_size": 3, **arguments})


def test_channels_of_h_must_divide():
    conv = BlindSpotFreeConv2D(6, 3, channel_groups=3)
    with pytest.raises(ValueError, match="^channels of h: .*multiple of channel_groups=3, got 4"):
        conv.build((None, *SHAPE, 3), (None, *SHAPE, 4))
