"""tfp_ar.networks.Flipped; the requirements of every network are in tests/compliance."""

import keras
import numpy as np
import pytest

from tests import helpers
from tests.toys import MaskedLinear, MaskedPairs
from tfp_ar.networks import Flipped

EXACT = {"rtol": 1e-12, "atol": 1e-12}
ORDER = [4, 0, 3, 5, 1, 2]
FLIPS = {  # local conditioning [3, k] has the first axis only, [3, 2, k] both
    "first": ([0], [0], [0]),
    "last": (-1, [], [1]),
    "both": ((1, 0), [0], [0, 1]),
    "none": ([], [], []),
}
each_flip = pytest.mark.parametrize(["axes", "flipped_3", "flipped_3_2"], FLIPS.values(), ids=FLIPS)
CONDITIONS = {
    "none": None,
    "global": [2],
    "local": [3, 2],
    "local_2d": [3, 2, 2],
    "both": {"global": [2], "local": [3, 2]},
}


def linear(conditional_shape=None):
    network = MaskedLinear([3, 2], ORDER, conditional_shape=conditional_shape, dtype="float64")
    network.build((None, 3, 2))
    return helpers.randomize(network)


def flip(value, axes):
    return np.flip(value, [axis + 1 for axis in axes])


@each_flip
@pytest.mark.parametrize("kind", CONDITIONS)
def test_it_is_the_network_between_two_flips(kind, axes, flipped_3, flipped_3_2):
    network = linear(CONDITIONS[kind])
    flipped = Flipped(network, axes)
    x, c = helpers.random_events(network, 4), helpers.random_conditioning(network, 4)
    positions = flipped_3_2 if kind == "local_2d" else flipped_3
    if isinstance(c, dict):
        inner = {"global": c["global"], "local": flip(c["local"], positions)}
    else:
        inner = flip(c, positions) if kind.startswith("local") else c
    want = flip(network(flip(x, flipped_3_2), inner), flipped_3_2)
    np.testing.assert_allclose(flipped(x, c), want, **EXACT)
    assert flipped.conditional_shape == network.conditional_shape
    assert flipped.num_params == network.num_params
    assert flipped.has_cached_generate is False


@each_flip
def test_order_is_the_one_it_sees(axes, flipped_3, flipped_3_2):
    flipped = Flipped(linear(), axes)
    np.testing.assert_array_equal(helpers.seen_inputs(flipped, 1), helpers.allowed_inputs(flipped))
    # By hand: flat indices of [3, 2] in rows (0 1), (2 3), (4 5).
    want = {(): ORDER, (0,): [0, 4, 3, 1, 5, 2], (1,): [5, 1, 2, 4, 0, 3]}
    want[0, 1] = [1, 5, 2, 0, 4, 3]
    np.testing.assert_array_equal(flipped.order, want[flipped.axes])
    assert flipped.order.dtype == np.int32


def test_twice_is_the_network():
    network = linear()
    twice, x = Flipped(Flipped(network, [0]), [0]), helpers.random_events(network, 3)
    np.testing.assert_array_equal(twice(x), network(x))
    np.testing.assert_array_equal(twice.order, network.order)


def test_variables_are_the_networks():
    network = linear()
    flipped = Flipped(network, [0], name="mirrored")
    assert flipped.name == "mirrored"
    assert [v is w for v, w in zip(flipped.variables, network.variables, strict=True)]
    assert flipped.dtype_policy == network.dtype_policy
    network.trainable = False
    assert flipped.trainable_variables == []


def test_a_layer_and_dropout():
    layer = keras.Sequential([MaskedPairs([3, 2]), keras.layers.Dropout(0.5, seed=1)])
    flipped = Flipped(layer, [0], event_shape=[3, 2])
    x = helpers.normal([4, 3, 2])
    np.testing.assert_array_equal(flipped(x), flipped(x, training=False))
    assert np.any(flipped(x, training=True) != flipped(x))


def test_errors():
    with pytest.raises(TypeError, match="network: expected an AutoregressiveNetwork or another"):
        Flipped(None, [0])
    with pytest.raises(ValueError, match=r"axes: expected axes in -2\.\.1, got \[2\]"):
        Flipped(linear(), [2])
    with pytest.raises(TypeError, match="axes: expected an axis or a sequence of axes, got None"):
        Flipped(linear(), None)
    with pytest.raises(ValueError, match=r"event_shape: expected None or the network's \[3, 2\]"):
        Flipped(linear(), [0], event_shape=[2, 3])
