"""Helpers of tests of block passes: parameters block after block, beside those of one pass."""

import numpy as np
import tensorflow as tf

from tests.helpers import random_conditioning, random_events

BATCH = 2


def block_params(network, block_size, x, c):
    """The parameters [B, event_size, num_params], each block given the blocks before it."""
    passes = network.block_passes(block_size, len(x), c)
    number, size = passes.num_blocks, passes.block_variables
    x = tf.reshape(x, [len(x), network.event_size])
    # What is in the last block beyond the event must not matter.
    rest = np.full([len(x), number * size - network.event_size], 7.0)
    x = tf.concat([x, tf.constant(rest, x.dtype)], axis=1)
    state, found = passes.initial_state(), []
    for k in range(number):
        prepared = passes.prepare(tf.constant(k * passes.size))
        params, state = passes.advance(state, x[:, k * size : (k + 1) * size], prepared)
        found.append(params)
    return tf.concat(found, axis=1)[:, : network.event_size]


def assert_equal_to_parallel(network, block_size, tolerance):
    x, c = random_events(network, BATCH), random_conditioning(network, BATCH)
    wanted = tf.reshape(network(x, c), [BATCH, network.event_size, network.num_params])
    assert np.ptp(wanted, axis=1).max() > 1e-3
    found = block_params(network, block_size, x, c)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
