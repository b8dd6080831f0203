import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import jacobian, normal, randomize
from tests.layers.reference import causal_convolution
from tfp_ar.layers import CausalConv1D

# Dilation 9 is longer than any sequence here.
GEOMETRIES = list(itertools.product([1, 2, 3], [1, 2, 9], [False, True]))


def conv_and_weights(x, **kwargs):
    """A convolution with random weights, built for x, and the weights as NumPy arrays."""
    conv = CausalConv1D(**kwargs)
    conv.build(x.shape)
    randomize(conv, scale=1.0)
    return conv, conv.kernel.numpy(), 0.0 if conv.bias is None else conv.bias.numpy()


@pytest.mark.parametrize("kernel_size, dilation_rate, exclusive", GEOMETRIES)
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-13)])
def test_equals_the_formula(kernel_size, dilation_rate, exclusive, dtype, tolerance):
    x = normal([2, 7, 3], dtype)
    conv, kernel, bias = conv_and_weights(
        x,
        filters=4,
        kernel_size=kernel_size,
        dilation_rate=dilation_rate,
        exclusive=exclusive,
        dtype=dtype,
    )
    y = conv(x)
    assert y.dtype == dtype
    expected = [
        causal_convolution(row, kernel, bias, dilation_rate, exclusive) for row in x.numpy()
    ]
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kernel_size, dilation_rate, exclusive", GEOMETRIES)
def test_sees_exactly_its_taps(kernel_size, dilation_rate, exclusive):
    x = normal([7, 2])
    conv, _, _ = conv_and_weights(
        x[tf.newaxis],
        filters=2,
        kernel_size=kernel_size,
        dilation_rate=dilation_rate,
        exclusive=exclusive,
    )
    seen = jacobian(conv, x).reshape(7, 2, 7, 2).any(axis=(1, 3))
    expected = np.zeros([7, 7], bool)
    for t, j in itertools.product(range(7), range(kernel_size)):
        if t - j * dilation_rate - exclusive >= 0:
            expected[t, t - j * dilation_rate - exclusive] = True
    np.testing.assert_array_equal(seen, expected)


def test_delays_are_oldest_first_and_count_the_exclusive_step():
    assert CausalConv1D(1, 3, dilation_rate=4).delays == (8, 4, 0)
    assert CausalConv1D(1, 3, dilation_rate=4, exclusive=True).delays == (9, 5, 1)
    assert CausalConv1D(1, 1).delays == (0,)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_sequences_shorter_than_the_delays(length):
    x = normal([2, length, 3])
    conv, kernel, bias = conv_and_weights(x, filters=2, kernel_size=3, dilation_rate=2)
    expected = [causal_convolution(row, kernel, bias, 2) for row in x.numpy()]
    assert conv(x).shape == (2, length, 2)
    np.testing.assert_allclose(conv(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("leading", [(), (1,), (0,), (2, 3), (2, 1, 3)])
def test_leading_dimensions_are_a_batch(leading):
    x = normal([*leading, 5, 3])
    conv, kernel, bias = conv_and_weights(x, filters=2, kernel_size=2, dilation_rate=2)
    rows = x.numpy().reshape([-1, 5, 3])
    expected = np.reshape([causal_convolution(r, kernel, bias, 2) for r in rows], [*leading, 5, 2])
    y = conv(x)
    assert y.shape == (*leading, 5, 2) == conv.compute_output_shape(tuple(x.shape))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_unknown_batch_and_length_in_a_graph(jit_compile):
    x = normal([2, 5, 3])
    conv, _, _ = conv_and_weights(x, filters=2, kernel_size=3, dilation_rate=2, exclusive=True)
    spec = [tf.TensorSpec([None, None, 3])]
    compiled = tf.function(conv, input_signature=spec, jit_compile=jit_compile)
    for length in (5, 2):
        y = compiled(x[:, :length])
        np.testing.assert_allclose(y, conv(x[:, :length]), rtol=1e-5, atol=1e-6)


def test_without_bias():
    x = normal([2, 5, 3])
    conv, kernel, _ = conv_and_weights(x, filters=2, kernel_size=2, use_bias=False)
    assert [v.path.split("/")[-1] for v in conv.variables] == ["kernel"]
    expected = [causal_convolution(row, kernel, 0.0) for row in x.numpy()]
    np.testing.assert_allclose(conv(x), expected, rtol=1e-5, atol=1e-5)


def test_initializers_and_regularizer_are_used():
    conv = CausalConv1D(
        2,
        2,
        kernel_initializer=keras.initializers.Constant(2.0),
        bias_initializer=keras.initializers.Constant(3.0),
        kernel_regularizer=keras.regularizers.L2(0.5),
    )
    np.testing.assert_allclose(conv(tf.ones([1, 3, 1]))[0, :, 0], [5.0, 7.0, 7.0])
    np.testing.assert_allclose(conv.losses, [0.5 * 4 * 2.0**2])


def test_mixed_precision_computes_in_the_compute_dtype_only():
    x = normal([2, 7, 3])
    exact, _, _ = conv_and_weights(x, filters=4, kernel_size=2, dilation_rate=2)
    mixed, _, _ = conv_and_weights(
        x, filters=4, kernel_size=2, dilation_rate=2, dtype="mixed_bfloat16"
    )
    assert {v.dtype for v in mixed.variables} == {"float32"}
    y = mixed(x)
    assert y.dtype == tf.bfloat16
    # bfloat16 has 8 bits: 0.4% of sums of six products of order 1.
    np.testing.assert_allclose(tf.cast(y, tf.float32), exact(x), rtol=0, atol=0.1)


def test_keras_file_round_trip(tmp_path):
    inputs = keras.Input([6, 3])
    conv = CausalConv1D(2, 3, dilation_rate=2, exclusive=True, name="past")
    model = keras.Model(inputs, conv(inputs))
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("past")) is CausalConv1D
    x = normal([2, 6, 3])
    np.testing.assert_array_equal(loaded(x), model(x))


def test_config_round_trip_keeps_every_argument():
    conv = CausalConv1D(
        filters=3,
        kernel_size=4,
        dilation_rate=5,
        exclusive=True,
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=1),
        bias_initializer="ones",
        kernel_regularizer="l1",
        name="conv",
        dtype="float64",
        trainable=False,
    )
    copy = CausalConv1D.from_config(conv.get_config())
    assert copy.get_config() == conv.get_config()
    for name in ("filters", "kernel_size", "dilation_rate", "exclusive", "use_bias", "name"):
        assert getattr(copy, name) == getattr(conv, name), name
    assert copy.variable_dtype == "float64" and not copy.trainable
    assert copy.kernel_initializer.stddev == 0.1
    assert isinstance(copy.bias_initializer, keras.initializers.Ones)
    assert isinstance(copy.kernel_regularizer, keras.regularizers.L1)


@pytest.mark.parametrize("name", ["filters", "kernel_size", "dilation_rate"])
@pytest.mark.parametrize(
    "value, error", [(0, ValueError), (-2, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_sizes_must_be_positive_integers(name, value, error):
    arguments = {"filters": 2, "kernel_size": 2, "dilation_rate": 2, name: value}
    with pytest.raises(error, match=f"{name}: expected a positive integer, got {value}"):
        CausalConv1D(**arguments)


@pytest.mark.parametrize("shape", [(3,), (2, 5, None)])
def test_build_needs_time_and_known_channels(shape):
    with pytest.raises(ValueError, match=r"x: expected shape \[..., L, channels\], got"):
        CausalConv1D(2, 2).build(shape)
