"""Generation for any network by whole parallel passes; the choice between that and caches."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfp_ar.networks.generation.steps import BlockPasses

CACHED, REFERENCE = "cached", "reference"
SAMPLING = (CACHED, REFERENCE)


def sequential_pass(network: Any, sampling: str) -> Callable:
    """Returns the network's own `generate`, or `generate_by_passes` if `sampling` is REFERENCE."""
    if sampling == REFERENCE:
        return functools.partial(generate_by_passes, network)
    return network.generate


def is_reference(network: Any, sampling: str) -> bool:
    """Returns True if samples come from whole parallel passes."""
    return sampling == REFERENCE or not network.has_cached_generate


def generate_by_passes(
    network: Any,
    emit: Callable,
    batch_size: Any,
    conditional_input: Any = None,
    input_transform: Callable | None = None,
) -> tf.Tensor:
    """Draws x [B, *event_shape] by one parallel pass per variable.

    The arguments are those of `AutoregressiveNetwork.generate`.
    """
    # An error here is clearer than one in the loop.
    network.conditioning.parse_batch(conditional_input, batch_size)
    order = tf.constant(network.order)
    size, dtype = network.event_size, tf.as_dtype(network.variable_dtype)

    def step(k, x):
        i = order[k]
        shown = x if input_transform is None else input_transform(x)
        shown = tf.reshape(shown, [batch_size, *network.event_shape])
        params = network(shown, conditional_input, False)
        params = tf.reshape(params, [batch_size, size, network.num_params])
        x_i = emit(tf.gather(params, i, axis=1), i)
        chosen = tf.equal(tf.range(size), i)
        return k + 1, tf.where(chosen, x_i[:, tf.newaxis], x)

    x = tf.zeros([batch_size, size], dtype)
    _, x = tf.while_loop(
        lambda k, _: k < size,
        step,
        (tf.constant(0), x),
        shape_invariants=(tf.TensorShape([]), x.shape),
        maximum_iterations=size,
    )
    return tf.reshape(x, [batch_size, *network.event_shape])


class WholeEvent(BlockPasses):
    """The whole event as the only block; a pass over it is a parallel pass of the network.

    It serves any network. A network whose order is neither raster order nor its flip has no other
    blocks.

    Args:
      network: the AutoregressiveNetwork.
      conditional_input: the network's conditioning, with leading shape [B].
    """

    num_blocks = 1

    def __init__(self, network: Any, conditional_input: Any):
        self._network, self._conditional_input = network, conditional_input
        self.size, self.block_variables = network.event_shape[0], network.event_size

    def initial_state(self) -> tuple:
        """Returns an empty state, as no variable comes before the event."""
        return ()

    def prepare(self, first: Any) -> None:
        """Returns None, as passes share no work."""

    def advance(self, state: tuple, x: tf.Tensor, prepared: None) -> tuple[tf.Tensor, tuple]:
        """Returns parameters [B, event_size, num_params] for x [B, event_size]."""
        network = self._network
        x = tf.reshape(x, [tf.shape(x)[0], *network.event_shape])
        params = network(x, self._conditional_input, training=False)
        return tf.reshape(params, [tf.shape(x)[0], network.event_size, network.num_params]), state
