import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import jacobian, normal, randomize
from tests.layers.reference import channel_head
from tfp_ar.layers import ChannelHead

LENGTH, FEATURES, HIDDEN, PARAMS = 3, 5, 8, 2


def random_head(channels, scale=0.5, **kwargs):
    head = ChannelHead(PARAMS, HIDDEN, **kwargs)
    head.build((None, LENGTH, FEATURES), (None, LENGTH, channels))
    return randomize(head, scale)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-13)])
def test_equals_the_formula(channels, dtype, tolerance):
    f, x = normal([2, LENGTH, FEATURES], dtype, 1), normal([2, LENGTH, channels], dtype, 2)
    head = random_head(channels, dtype=dtype)
    params = head(f, x)
    assert params.dtype == dtype and params.shape == (2, LENGTH, channels, PARAMS)
    weights = [
        None if w is None else w.numpy()
        for w in (
            head.feature_kernel,
            head.feature_bias,
            head.channel_kernel,
            head.output_kernel,
            head.output_bias,
        )
    ]
    for row in range(2):
        expected = channel_head(f[row].numpy(), x[row].numpy(), *weights)
        np.testing.assert_allclose(params[row], expected, rtol=tolerance, atol=tolerance)


def test_a_channel_sees_exactly_the_channels_before_it_at_its_own_step():
    channels = 4
    seen_x = np.zeros([LENGTH, channels, LENGTH, channels], bool)
    seen_f = np.zeros([LENGTH, channels, LENGTH, FEATURES], bool)
    head = random_head(channels)
    for draw in range(8):
        randomize(head, scale=1.0, seed=draw)
        # The masked half is written to as well, and hard.
        head.channel_kernel.value.assign(100.0 * normal(head.channel_kernel.shape, seed=(draw, 1)))
        f = normal([LENGTH, FEATURES], seed=(draw, 2))
        x = normal([LENGTH, channels], seed=(draw, 3))
        by_x = jacobian(lambda x: head(tf.repeat(f[tf.newaxis], len(x), 0), x), x)  # noqa: B023
        by_f = jacobian(lambda f: head(f, tf.repeat(x[tf.newaxis], len(f), 0)), f)  # noqa: B023
        seen_x |= by_x.reshape(LENGTH, channels, PARAMS, LENGTH, channels).any(axis=2)
        seen_f |= by_f.reshape(LENGTH, channels, PARAMS, LENGTH, FEATURES).any(axis=2)
    now = np.eye(LENGTH, dtype=bool)
    before = np.tril(np.ones([channels, channels], bool), k=-1)
    np.testing.assert_array_equal(seen_x, now[:, None, :, None] & before[None, :, None, :])
    np.testing.assert_array_equal(seen_f, np.broadcast_to(now[:, None, :, None], seen_f.shape))


def test_the_mask_is_no_variable_and_the_weights_it_hides_get_no_gradient():
    head = random_head(3)
    assert len(head.variables) == len(head.trainable_variables) == 5
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(head(normal([4, LENGTH, FEATURES]), normal([4, LENGTH, 3])) ** 2)
    gradient = tape.gradient(y, head.channel_kernel.value).numpy()
    visible = np.triu(np.ones([3, 3], bool), k=1)
    assert (gradient[visible] != 0).any(axis=-1).all()
    assert (gradient[~visible] == 0).all()


def test_a_single_channel_has_no_channel_kernel():
    assert random_head(1).channel_kernel is None


@pytest.mark.parametrize("leading", [(), (0,), (2, 3)])
def test_leading_dimensions_are_a_batch(leading):
    head, batch = random_head(2), int(np.prod(leading))
    f, x = normal([batch, LENGTH, FEATURES]), normal([batch, LENGTH, 2])
    params = head(tf.reshape(f, [*leading, LENGTH, FEATURES]), tf.reshape(x, [*leading, LENGTH, 2]))
    shape = [*leading, LENGTH, 2, PARAMS]
    assert params.shape == shape
    assert head.compute_output_shape((), (*leading, LENGTH, 2)) == tuple(shape)
    np.testing.assert_allclose(params, tf.reshape(head(f, x), shape), rtol=1e-6, atol=1e-6)


def test_parameters_start_at_zero_unless_told_otherwise():
    f, x = normal([2, LENGTH, FEATURES]), normal([2, LENGTH, 3])
    assert not ChannelHead(PARAMS, HIDDEN)(f, x).numpy().any()
    assert ChannelHead(PARAMS, HIDDEN, output_initializer="ones")(f, x).numpy().any()


def test_mixed_precision_computes_in_the_compute_dtype_only():
    f, x = normal([2, LENGTH, FEATURES]), normal([2, LENGTH, 3])
    exact, mixed = random_head(3), random_head(3, dtype="mixed_bfloat16")
    assert {v.dtype for v in mixed.variables} == {"float32"}
    params = mixed(f, x)
    assert params.dtype == tf.bfloat16
    # bfloat16 has 8 bits; a dozen roundings of numbers of order 1.
    np.testing.assert_allclose(tf.cast(params, tf.float32), exact(f, x), rtol=0, atol=0.1)


@pytest.mark.parametrize("channels", [1, 3])
def test_keras_file_round_trip(tmp_path, channels):
    inputs = [keras.Input([LENGTH, FEATURES]), keras.Input([LENGTH, channels])]
    model = keras.Model(inputs, ChannelHead(PARAMS, HIDDEN, name="head")(*inputs))
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("head")) is ChannelHead
    values = [normal([2, LENGTH, FEATURES]), normal([2, LENGTH, channels])]
    np.testing.assert_array_equal(loaded(values), model(values))


def test_config_round_trip_keeps_every_argument():
    head = ChannelHead(
        num_params=3,
        hidden_channels=7,
        output_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=1),
        name="head",
        dtype="float64",
    )
    copy = ChannelHead.from_config(head.get_config())
    assert copy.get_config() == head.get_config()
    assert (copy.num_params, copy.hidden_channels, copy.name) == (3, 7, "head")
    assert copy.output_initializer.stddev == 0.1
    assert copy.variable_dtype == "float64"


@pytest.mark.parametrize("name", ["num_params", "hidden_channels"])
@pytest.mark.parametrize("value, error", [(0, ValueError), ("2", TypeError)])
def test_sizes_must_be_positive_integers(name, value, error):
    with pytest.raises(error, match=f"{name}: expected a positive integer, got {value!r}"):
        ChannelHead(**{"num_params": 2, "hidden_channels": 2, name: value})
