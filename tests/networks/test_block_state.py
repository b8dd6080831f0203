"""The state that a block pass returns: it serves later blocks of any size."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import random_conditioning, random_events, randomize
from tfp_ar.networks import Flipped, GatedPixelCNN, WaveNet

BATCH = 2
BOTH = {"global": [2], "local": [7, 2]}
NETWORKS = {
    "wavenet": lambda: WaveNet(
        [7, 2],
        residual_channels=4,
        dilations=[1, 2],
        conditional_shape=BOTH,
        position_encoding="learned",
        dtype="float64",
    ),
    "gated_pixel_cnn": lambda: GatedPixelCNN(
        [7, 3, 1],
        filters=4,
        num_layers=3,
        conditional_shape={"global": [2], "local": [7, 3, 2]},
        dtype="float64",
    ),
}


def setting(name):
    """Returns a network, x by entries of its first axis, and the parameters of one whole pass."""
    network = randomize(NETWORKS[name](), 0.5)
    x, c = random_events(network, BATCH), random_conditioning(network, BATCH)
    shape = [BATCH, network.event_shape[0], -1]
    params = tf.reshape(network(x, c), [*shape, network.num_params])
    return network, tf.reshape(x, shape), c, params


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stream_advances_by_one_entry_at_a_time(name):
    network, x, c, want = setting(name)
    stream = network.block_passes(1, BATCH, c)

    @tf.function
    def advance(state, entry, first):
        return stream.advance(state, entry, stream.prepare(first))

    state = stream.initial_state()
    for t in range(x.shape[1]):
        params, state = advance(state, x[:, t], tf.constant(t))
        np.testing.assert_allclose(params, want[:, t], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("given", [2, 5])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_known_beginning_fills_the_state_for_what_comes_after(name, given):
    network, x, c, want = setting(name)
    beginning, stream = (network.block_passes(size, BATCH, c) for size in (given, 1))
    known = tf.reshape(x[:, :given], [BATCH, -1])
    params, state = beginning.advance(beginning.initial_state(), known, beginning.prepare(0))
    np.testing.assert_allclose(
        tf.reshape(params, want[:, :given].shape), want[:, :given], rtol=1e-9, atol=1e-12
    )
    for t in range(given, x.shape[1]):
        params, state = stream.advance(state, x[:, t], stream.prepare(t))
        np.testing.assert_allclose(params, want[:, t], rtol=1e-9, atol=1e-12)


def test_blocks_may_begin_anywhere():
    network, x, c, want = setting("wavenet")
    one, three = (network.block_passes(size, BATCH, c) for size in (1, 3))
    state = one.initial_state()
    for t in range(2):  # no multiple of 3
        _, state = one.advance(state, x[:, t], one.prepare(t))
    block = tf.reshape(x[:, 2:5], [BATCH, -1])
    params, _ = three.advance(state, block, three.prepare(tf.constant(2)))
    np.testing.assert_allclose(
        tf.reshape(params, want[:, 2:5].shape), want[:, 2:5], rtol=1e-9, atol=1e-12
    )


def test_a_flipped_network_starts_at_the_other_end():
    network, _, c, _ = setting("wavenet")
    flipped = Flipped(network, [0, 1])
    stream = flipped.block_passes(1, BATCH, c)
    np.testing.assert_array_equal(stream.places, flipped.order)


def test_the_whole_event_is_one_block_of_any_network():
    network, x, c, want = setting("wavenet")
    whole = network.block_passes(None, BATCH, c)
    params, _ = whole.advance(whole.initial_state(), tf.reshape(x, [BATCH, -1]), whole.prepare(0))
    np.testing.assert_allclose(tf.reshape(params, want.shape), want, rtol=1e-12)
