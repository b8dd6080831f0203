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


def test_parameters_start_at_zero_unless_told_otherwise():
    f, x = normal([2, LENGTH, FEATURES]), normal([2, LENGTH, 3])
    assert not ChannelHead(PARAMS, HIDDEN)(f, x).numpy().any()
    assert ChannelHead(PARAMS, HIDDEN, output_initializer="ones")(f, x).numpy().any()


@pytest.mark.parametrize("weight", [np.inf, np.nan])
def test_no_weight_behind_the_mask_gets_through(weight):
    head, f, x = random_head(2), normal([1, LENGTH, FEATURES]), normal([1, LENGTH, 2])
    want = head(f, x)
    kernel = head.channel_kernel.numpy()
    kernel[[0, 1, 1], [0, 0, 1]] = weight  # of a channel to itself or to one before it
    head.channel_kernel.assign(kernel)
    np.testing.assert_array_equal(head(f, x), want)
