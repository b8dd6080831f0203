import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests.networks.examples import wavenet
from tests.toys import MaskedLinear
from tfp_ar import assert_autoregressive, receptive_field
from tfp_ar.layers import CausalConv1D, ChannelHead
from tfp_ar.networks import AutoregressiveNetwork, WaveNet

SIZE = 5


class Leaking(AutoregressiveNetwork):
    """A causal convolution, plus what a function of x and a variable of shape [] lets through."""

    def __init__(self, leak, event_shape=(SIZE,), **kwargs):
        super().__init__(event_shape, name="leaking", **kwargs)
        self.leak = leak
        self.conv = CausalConv1D(2, 2, exclusive=True, dtype=self.dtype_policy)

    def build(self, input_shape=None, **kwargs):
        self.conv.build((None, self.event_size, 1))
        self.weight = self.add_weight(shape=(), initializer="zeros")
        self.counter = self.add_weight(shape=(), dtype="int32", initializer="ones", trainable=False)
        self.built = True

    def call(self, x, conditional_input=None):
        c = 0.0 if conditional_input is None else conditional_input
        return self.conv(x[..., None]) + self.leak(x, ops.convert_to_tensor(self.weight), c)


def both(y):
    """The same for each of the two parameters."""
    return ops.stack([y, y], -1)


def only(x, output, source):
    """x[source] at `output`, zero elsewhere."""
    return x[..., source : source + 1] * ops.one_hot(output, x.shape[-1])


def no_leak(x, w, c):
    return 0.0


# What raises, and the variables that the message names, where they are known: output and input.
LEAKS = {
    "one_tap": (lambda x, w, c: both(x), 0, 0),
    "second_parameter": (lambda x, w, c: ops.stack([0.0 * x, x], -1), 0, 0),
    "opposite_in_two_parameters": (lambda x, w, c: ops.stack([x, -x], -1), 0, 0),
    "a_millionth": (lambda x, w, c: both(1e-6 * x), 0, 0),
    "first_sees_last": (lambda x, w, c: both(only(x, 0, SIZE - 1)), 0, SIZE - 1),
    "only_the_last": (lambda x, w, c: both(only(x, SIZE - 1, SIZE - 1)), SIZE - 1, SIZE - 1),
    "middle_sees_next": (lambda x, w, c: both(only(x, 2, 3)), 2, 3),
    "weight_that_starts_at_zero": (lambda x, w, c: both(w * x), 0, 0),
    "square_of_such_a_weight": (lambda x, w, c: both(w**2 * x), 0, 0),
    "only_for_large_x": (lambda x, w, c: both(ops.relu(x - 1.0)), None, None),
    "nan": (lambda x, w, c: both(ops.sqrt(-1.0 - x**2)), 0, 0),
    "stop_gradient": (lambda x, w, c: both(tf.stop_gradient(x)), 0, 0),
    "sign": (lambda x, w, c: both(tf.sign(x)), None, None),
    "round": (lambda x, w, c: both(tf.round(2.0 * x)), None, None),
    "stop_gradient_first_sees_last": (
        lambda x, w, c: both(tf.stop_gradient(only(x, 0, SIZE - 1))),
        0,
        SIZE - 1,
    ),
    "stop_gradient_times_zero_weight": (lambda x, w, c: both(w * tf.stop_gradient(x)), 0, 0),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_named(name):
    leak, output, source = LEAKS[name]
    message = r"leaking is not autoregressive: the parameters of variable \[\d\] depend on "
    if output is not None:
        message = message.replace(r"\d", str(output))
    message += rf"variable \[{'[0-9]' if source is None else source}\]"
    message += "(, without a gradient)?, which is not before it in the network's order"
    with pytest.raises(AssertionError, match=message):
        assert_autoregressive(Leaking(leak))


@pytest.mark.parametrize(
    "leak", [no_leak, lambda x, w, c: both(w), lambda x, w, c: both(0.0 * w * x)]
)
def test_the_same_network_without_a_leak_passes(leak):
    assert_autoregressive(Leaking(leak))


def test_a_leak_that_most_draws_do_not_show():
    # The weight is normal: above 0.5 in 31% of the draws.
    network = Leaking(lambda x, w, c: both(ops.relu(w - 0.5) * x))
    found = []
    for seed in range(12):
        try:
            assert_autoregressive(network, num_draws=1, seed=seed)
            found.append(False)
        except AssertionError:
            found.append(True)
    assert 1 <= sum(found) <= 8
    with pytest.raises(AssertionError, match=r"variable \[0\] depend on variable \[0\]"):
        assert_autoregressive(network, num_draws=16)


def test_a_leak_by_the_conditioning():
    network = Leaking(lambda x, w, c: both(c[..., :1] * x), conditional_shape=[3])
    with pytest.raises(AssertionError, match=r"variable \[0\] depend on variable \[0\]"):
        assert_autoregressive(network)
    assert_autoregressive(Leaking(lambda x, w, c: both(c[..., :1]), conditional_shape=[3]))


def test_a_leak_in_the_last_rows_of_a_large_event():
    size = 300  # more gradients than go into one batch
    leaky = Leaking(lambda x, w, c: both(only(x, size - 1, size - 1)), [size])
    with pytest.raises(AssertionError, match=r"variable \[299\] depend on variable \[299\]"):
        assert_autoregressive(leaky, num_draws=1)
    silent = Leaking(lambda x, w, c: both(tf.stop_gradient(only(x, 299, 299))), [size])
    with pytest.raises(AssertionError, match=r"depend on variable \[299\], without a gradient"):
        assert_autoregressive(silent, num_draws=1)
    assert_autoregressive(Leaking(no_leak, [size]), num_draws=1)


def test_a_leak_that_needs_two_variables():
    def leak(x, w, c):  # moves if both become positive, but for neither alone
        positive = tf.nn.relu(tf.sign(x))
        return both(positive[:, 1:2] * positive[:, 2:3] * ops.one_hot(0, SIZE))

    missing = {
        "depend on variable [1], without a gradient",
        "depend on later variables together, without",
    }
    network = Leaking(leak)
    for seed in range(60):  # one in 16 shows it
        try:
            assert_autoregressive(network, num_draws=1, seed=seed)
        except AssertionError as error:
            missing -= {message for message in missing if message in str(error)}
        if not missing:
            break
    assert not missing


# Our own networks, and what breaks them -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "channels_3_taps_3", "sinusoidal", "everything"])
def test_wavenets_pass(kind):
    assert_autoregressive(wavenet(kind), num_draws=3)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
@pytest.mark.parametrize("event_shape", [[4], [2, 2]])
def test_networks_of_any_order_pass(order, event_shape):
    assert_autoregressive(MaskedLinear(event_shape, order))


@pytest.mark.parametrize(
    "claimed, output, source",
    [([0, 1, 2, 3], r"\[0, 0\]", r"\[0, 1\]"), ([3, 2, 0, 1], r"\[0, 0\]", r"\[0, 1\]")],
)
def test_the_wrong_order(claimed, output, source):
    network = MaskedLinear([2, 2], order=[3, 2, 1, 0], claimed_order=claimed)
    message = f"parameters of variable {output} depend on variable {source}"
    with pytest.raises(AssertionError, match=message):
        assert_autoregressive(network)


def test_a_wavenet_whose_first_convolution_sees_the_present():
    network = WaveNet([6], residual_channels=4, name="net")
    network.input_conv.delays = (0,)
    with pytest.raises(AssertionError, match=r"net is not .* \[0\] depend on variable \[0\]"):
        assert_autoregressive(network)


def test_a_channel_that_sees_itself():
    class Head(ChannelHead):
        def masked_channel_kernel(self):
            return self.channel_kernel * np.triu(np.ones([2, 2], "float32"))[..., None]

    network = WaveNet([3, 2], residual_channels=4)
    head = Head(2, 4)
    head.build((None, 3, 4), (None, 3, 2))
    network._tracker.unlock()  # Keras keeps built layers from getting others
    network.head = head
    with pytest.raises(AssertionError, match=r"variable \[0, 0\] depend on variable \[0, [01]\]"):
        assert_autoregressive(network)


def test_any_layer_that_a_flow_takes():
    causal = keras.Sequential([keras.layers.Reshape([4, 1]), CausalConv1D(2, 2, exclusive=True)])
    assert_autoregressive(causal, event_shape=[4])
    dense = keras.Sequential(
        [keras.Input([4]), keras.layers.Dense(8), keras.layers.Reshape([4, 2])], name="dense"
    )
    with pytest.raises(AssertionError, match=r"variable \[0\] depend on variable \[0\]"):
        assert_autoregressive(dense)


# Weights ------------------------------------------------------------------------------------------


def bits(layer):
    return [np.asarray(v.value).tobytes() for v in layer.variables]


def with_odd_weights(network):
    """Built, with values that only an exact copy restores: NaN, infinity and minus zero."""
    network.build()
    network.conv.kernel.assign(tf.fill(network.conv.kernel.shape, tf.cast(-0.0, network.dtype)))
    network.conv.bias.assign(tf.constant([np.nan, np.inf], network.dtype))
    network.weight.assign(1 / 3)
    network.counter.assign(7)
    return network


def field(network, **kwargs):
    """The other function that draws weights, of a network that is not leaking."""
    assert np.flatnonzero(receptive_field(network, 3, **kwargs)).tolist() == [1, 2]


each_analysis = pytest.mark.parametrize("analysis", [assert_autoregressive, field])


@each_analysis
@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16", "bfloat16"])
def test_weights_are_restored_exactly_after_success(analysis, dtype):
    network = with_odd_weights(Leaking(no_leak, dtype=dtype))
    network.conv.trainable = False
    before = bits(network)
    analysis(network)
    assert bits(network) == before
    assert not network.conv.trainable_variables


def test_weights_are_restored_exactly_after_failure():
    network = with_odd_weights(Leaking(lambda x, w, c: both(x)))
    before = bits(network)
    with pytest.raises(AssertionError, match="not autoregressive"):
        assert_autoregressive(network)
    assert bits(network) == before


@each_analysis
@pytest.mark.parametrize("failing_call", [1, 2, 3, 5])
def test_weights_are_restored_exactly_after_an_exception_inside_call(analysis, failing_call):
    calls = []

    def leak(x, w, c):
        calls.append(float(w))
        if len(calls) == failing_call:
            raise KeyboardInterrupt
        return 0.0

    network = with_odd_weights(Leaking(leak))
    before = bits(network)
    with pytest.raises(KeyboardInterrupt):
        analysis(network)
    assert calls[-1] != pytest.approx(1 / 3)  # it had been replaced
    assert bits(network) == before


def test_the_draws_follow_from_the_seed():
    def weights(seed):
        seen = []
        network = Leaking(lambda x, w, c: seen.append(float(w)) or 0.0)
        assert_autoregressive(network, num_draws=3, seed=seed)
        return [w for w in dict.fromkeys(seen) if w]

    assert len(weights(0)) == 3
    assert weights(0) == weights(0) != weights(1)


# Errors -------------------------------------------------------------------------------------------


@each_analysis
@pytest.mark.parametrize("num_draws, error", [(0, ValueError), (-1, ValueError), (2.5, TypeError)])
def test_num_draws_must_be_a_positive_integer(analysis, num_draws, error):
    with pytest.raises(error, match="num_draws: expected a positive integer, got"):
        analysis(Leaking(no_leak), num_draws=num_draws)


def test_no_network():
    with pytest.raises(TypeError, match="network: expected an AutoregressiveNetwork or another"):
        assert_autoregressive(lambda x: x)


def test_a_layer_of_unknown_shape():
    with pytest.raises(ValueError, match="event_shape: expected the shape of one x"):
        assert_autoregressive(CausalConv1D(2, 2))


def test_statistics_of_layers_stay_positive():
    class Normalised(AutoregressiveNetwork):
        def __init__(self):
            super().__init__([SIZE])
            self.convs = [CausalConv1D(3, 2, exclusive=True), keras.layers.BatchNormalization()]
            self.out = keras.layers.Dense(2)

        def call(self, x, training=None):
            h = self.convs[1](self.convs[0](x[..., None]), training=False)
            return self.out(h)

    assert_autoregressive(Normalised())
