import keras
import numpy as np
import pytest
from keras import ops

from tests.analysis.test_assert_autoregressive import Leaking, both
from tests.networks.examples import wavenet
from tests.toys import MaskedLinear
from tfp_ar import receptive_field
from tfp_ar.layers import BlindSpotFreeConv2D, CausalConv1D, MaskedConv2D
from tfp_ar.networks import GatedPixelCNN, PixelCNN, WaveNet

IMAGE = (5, 7)
FEW = 3  # draws, enough where all that is seen goes many ways


def offsets(kernel_size, own):
    """Taps (row, column) of a masked kernel, seen from its centre, itself among them if `own`."""
    side = range(-(kernel_size // 2), kernel_size // 2 + 1)
    return {(r, c) for r in side for c in side if r < 0 or (r == 0 and (c < 0 or (own and c == 0)))}


def spread(pixels, taps, shape, dilation=1):
    """All pixels within an image that the taps reach from these."""
    reached = {(r + i * dilation, c + j * dilation) for r, c in pixels for i, j in taps}
    return {(r, c) for r, c in reached if 0 <= r < shape[0] and 0 <= c < shape[1]}


def sawtooth(position, kernel_size, dilations, shape):
    """The field of a stack of masked convolutions: type B from above, type A at the image."""
    pixels = {position}
    for dilation in reversed(dilations[1:]):
        pixels = spread(pixels, offsets(kernel_size, own=True), shape, dilation)
    return as_field(spread(pixels, offsets(kernel_size, own=False), shape), shape)


def as_field(pixels, shape):
    field = np.zeros(shape, bool)
    for pixel in pixels:
        field[pixel] = True
    return field


def past(position, shape):
    """All before a position in raster order."""
    rank = np.arange(np.prod(shape)).reshape(shape)
    return rank < rank[position]


# Layers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kernel_size, mask_type, dilation", [(3, "A", 1), (5, "B", 1), (3, "B", 2)]
)
def test_masked_convolution(kernel_size, mask_type, dilation):
    conv = MaskedConv2D(2, kernel_size, mask_type, dilation_rate=dilation)  # not built
    field = receptive_field(conv, (3, 4), input_shape=[*IMAGE, 2])
    taps = offsets(kernel_size, own=mask_type == "B")
    expected = as_field(spread({(3, 4)}, taps, IMAGE, dilation), IMAGE)
    assert field.dtype == bool and field.shape == (*IMAGE, 2)
    np.testing.assert_array_equal(field, np.repeat(expected[..., np.newaxis], 2, -1))


def test_groups_of_channels_of_a_masked_convolution():
    conv = MaskedConv2D(2, 3, "A", channel_groups=2)
    conv.build((None, 3, 3, 2))  # it knows the shape of x
    own = [receptive_field(conv, (1, 1, channel))[1, 1].tolist() for channel in range(2)]
    assert own == [[False, False], [True, False]]
    assert receptive_field(conv, (1, 1))[1, 1].tolist() == [True, False]  # of either channel


def test_causal_convolution():
    conv = CausalConv1D(3, kernel_size=2, dilation_rate=3, exclusive=True)
    field = receptive_field(conv, 5, input_shape=[8, 1])
    assert np.flatnonzero(field).tolist() == [1, 4]


def test_dense_sees_all_channels_of_its_own_position():
    field = receptive_field(keras.layers.Dense(3), (1, 2), input_shape=[2, 4, 5])
    assert np.argwhere(field).tolist() == [[1, 2, channel] for channel in range(5)]


def test_a_prefix_is_the_union_over_what_follows():
    dense = keras.layers.Dense(3)
    field = receptive_field(dense, 1, input_shape=[2, 4, 5])
    assert field[1].all() and not field[0].any()
    assert receptive_field(dense, (), input_shape=[2, 4, 5]).all()


def test_a_layer_of_several_tensors_gets_the_same_x_and_gives_the_union():
    conv = BlindSpotFreeConv2D(2, 3, "A")
    field = receptive_field(conv, (2, 2), input_shape=[*IMAGE, 1])[..., 0]
    above, left = {(1, 1), (1, 2), (1, 3)}, {(2, 1)}
    np.testing.assert_array_equal(field, as_field(above | left, IMAGE))


def test_a_model_knows_its_shape():
    model = keras.Sequential([keras.Input([6, 1]), CausalConv1D(4, 2), CausalConv1D(2, 2)])
    assert np.flatnonzero(receptive_field(model, 4)).tolist() == [2, 3, 4]


class Function(keras.layers.Layer):
    """A function of x and of a weight that starts at zero."""

    def __init__(self, function):
        super().__init__(name="some")
        self.function = function

    def build(self, input_shape):
        self.weight = self.add_weight(shape=(), initializer="zeros")

    def call(self, x):
        return self.function(x, ops.convert_to_tensor(self.weight))


@pytest.mark.parametrize(
    "function, expected",
    [
        (lambda x, w: ops.roll(x, 1, axis=1), [0]),
        (lambda x, w: ops.take(x, [0], axis=0), [1]),  # of the batch of 1: a sparse gradient
        (lambda x, w: w * x, [1]),
        (lambda x, w: 1e-6 * x, [1]),
        (lambda x, w: ops.stack([x, -x], -1), [1]),  # the sum of the outputs has no gradient
        (lambda x, w: ops.sqrt(-1.0 - x**2), [1]),  # a NaN
        (lambda x, w: (x, ops.flip(x, 1)), [1]),
        (lambda x, w: {"later": ops.roll(x, 1, axis=1), "none": None, "own": x}, [0, 1]),
        (lambda x, w: 0.0 * x + w, []),
        (lambda x, w: ops.zeros_like(x), []),  # no gradient at all
    ],
)
def test_what_counts_as_seen(function, expected):
    field = receptive_field(Function(function), 1, input_shape=[3])
    assert np.flatnonzero(field).tolist() == expected


def test_a_draw_that_lies():
    """Lemma 3.1 of docs/theory.md: why there are several draws."""
    unit = Function(lambda x, w: ops.relu(w - 0.5) * x)  # on in 31% of the draws
    single = [receptive_field(unit, 0, [1], num_draws=1, seed=seed).item() for seed in range(12)]
    assert 1 <= sum(single) <= 8
    assert receptive_field(unit, 0, [1], num_draws=16).all()


def test_the_draws_follow_from_the_seed():
    network = keras.Sequential([keras.Input([20]), keras.layers.Dense(1, activation="relu")])
    network.add(keras.layers.Dense(1))

    def draws(seed):
        return [receptive_field(network, 0, None, 1, seed + i).any() for i in range(8)]

    first = draws(0)
    assert first == draws(0)
    assert set(first) == {False, True}


# Networks -----------------------------------------------------------------------------------------


def test_wavenet():
    network = wavenet("plain")  # 9 steps: one back, then blocks that see 1 and 2 steps more
    for position, first in ((0, 0), (3, 0), (8, 8 - 1 - 1 - 2)):
        field = receptive_field(network, position, num_draws=FEW)
        assert np.flatnonzero(field).tolist() == list(range(first, position))


def test_channels_of_a_wavenet():
    network = WaveNet([4, 2], residual_channels=4)
    for position, last in (((2, 0), (2, 0)), ((2, 1), (2, 1)), (2, (2, 1))):
        field = receptive_field(network, position, num_draws=FEW)
        np.testing.assert_array_equal(field, past(last, (4, 2)))


@pytest.mark.parametrize("network_class", [PixelCNN, GatedPixelCNN])
def test_channels_of_a_pixel(network_class):
    network = network_class([2, 2, 3], filters=8, num_layers=2)
    for position in ((1, 0, 0), (1, 0, 2)):
        field = receptive_field(network, position, num_draws=FEW)
        np.testing.assert_array_equal(field, past(position, (2, 2, 3)))


@pytest.mark.parametrize(
    "kernel_size, dilations", [(3, (1,)), (3, (1, 1)), (5, (1, 1)), (3, (1, 1, 1, 1)), (3, (1, 2))]
)
def test_pixel_cnn_has_a_sawtooth(kernel_size, dilations):
    """Theorem 3.2 of docs/theory.md."""
    network = PixelCNN(
        [*IMAGE, 1],
        filters=8,
        num_layers=len(dilations),
        kernel_size=kernel_size,
        dilations=dilations,
    )
    expected = sawtooth((3, 2), kernel_size, dilations, IMAGE)
    field = receptive_field(network, (3, 2), num_draws=FEW)
    np.testing.assert_array_equal(field[..., 0], expected)
    assert not expected[past((3, 2), IMAGE)].all()


def test_gated_pixel_cnn_sees_all_of_the_past():
    shape = (4, 5)
    network = GatedPixelCNN([*shape, 1], filters=8, num_layers=4)
    for position in ((2, 1), (3, 0)):
        field = receptive_field(network, position, num_draws=2)[..., 0]
        np.testing.assert_array_equal(field, past(position, shape))


def test_a_network_of_another_order_that_is_built_by_its_first_call():
    field = receptive_field(MaskedLinear([4], order=[2, 0, 3, 1]), 3)
    assert np.flatnonzero(field).tolist() == [0, 2]


@pytest.mark.parametrize("kind", ["global", "local", "both"])
def test_a_conditioned_network(kind):
    field = receptive_field(wavenet(kind), 4, num_draws=FEW)
    assert field.tolist() == [True] * 4 + [False] * 2


def test_what_the_conditioning_multiplies():
    network = Leaking(lambda x, w, c: both(c[..., :1] * x), conditional_shape=[3])
    assert np.flatnonzero(receptive_field(network, 3)).tolist() == [1, 2, 3]
