"""Passes over blocks of consecutive positions (time steps or rows), with the past in a state."""

import abc
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfp_ar.conditioning.spec import GLOBAL, LOCAL
from tfp_ar.networks.generation.reference import WholeEvent
from tfp_ar.networks.generation.steps import BlockPasses


def block_passes(
    make: Callable, network: Any, block_size: int | None, batch_size: Any, conditional_input: Any
) -> BlockPasses:
    """Returns make(network, block_size, batch_size, conditions), or the whole event as a block."""
    conditions = network.conditioning.parse_batch(conditional_input, batch_size)
    if block_size is None or block_size >= network.event_shape[0]:
        return WholeEvent(network, conditional_input)
    return make(network, block_size, batch_size, conditions)


class PositionBlocks(BlockPasses):
    """Blocks of `size` consecutive entries of the first axis of the event.

    A subclass defines `initial_state`, `prepare` and `run`.

    Args:
      network: an AutoregressiveNetwork whose head is a ChannelHead.
      size: number of entries of the first axis in a block, fewer than the event has.
      batch_size: B, an int or a scalar tensor.
      conditions: the conditions by kind, with leading shape [B].
    """

    def __init__(self, network: Any, size: int, batch_size: Any, conditions: dict):
        self.network, self.size, self.batch_size = network, size, batch_size
        self.dtype = tf.as_dtype(network.compute_dtype)
        first = network.event_shape[0]
        self.num_blocks = -(-first // size)
        self.block_variables = size * network.event_size // first
        conditions = {kind: self.cast(c) for kind, c in conditions.items()}
        self._global, self._local = conditions.get(GLOBAL), None
        if LOCAL in conditions:
            self._local = self.padded(conditions[LOCAL], 1)

    @abc.abstractmethod
    def run(self, x: tf.Tensor, state: Any, prepared: Any) -> tuple[tf.Tensor, Any]:
        """Returns the features that the head takes, and the state after the block.

        Args:
          x: [B, size, ..., C].
          state: the state after the positions before the block.
          prepared: the result of `prepare` for the block.

        Returns: features [B, size, ..., S], and the state.
        """

    def advance(self, state: Any, x: tf.Tensor, prepared: Any) -> tuple[tf.Tensor, Any]:
        """Passes over a block; see `BlockPasses`."""
        network = self.network
        between = network.event_shape[1:-1]  # an image's columns
        x = self.cast(tf.reshape(x, [-1, self.size, *between, network.channels]))
        features, state = self.run(x, state, prepared)
        params = tf.cast(network.head(features, x), network.variable_dtype)
        return tf.reshape(params, [-1, self.block_variables, network.num_params]), state

    def cast(self, value: Any) -> tf.Tensor:
        """Returns `value` in the network's compute dtype."""
        return tf.cast(tf.convert_to_tensor(value), self.dtype)

    def padded(self, value: tf.Tensor, axis: int) -> tf.Tensor:
        """Appends zeros to the axis of positions, for blocks that reach beyond the event."""
        paddings = [[0, self.size - 1 if i == axis else 0] for i in range(value.shape.rank)]
        return tf.pad(value, paddings)

    def block_of(self, value: tf.Tensor, axis: int, first: Any) -> tf.Tensor:
        """Cuts the block that begins at entry `first` out of a result of `padded`."""
        return tf.gather(value, first + tf.range(self.size), axis=axis)

    def zeros(self, entries: int, *shape: int) -> tf.Tensor:
        """Returns zeros for the entries before the first: [B, entries, *shape]."""
        return tf.zeros([self.batch_size, entries, *shape], self.dtype)

    def conditioned(self, block: Any, first: Any, prefix: str = "") -> Any:
        """Returns what the conditioning adds to a gate of a layer's block; 0.0 without any.

        Args:
          block: the gated block of the network.
          first: the block's first position.
          prefix: prefix of the projections' names.
        """
        added = 0.0
        if self._global is not None:
            kernel = self.cast(getattr(block, f"{prefix}global_projection").kernel)
            product = tf.matmul(self._global, kernel)
            ones = [1] * block.num_position_dims
            added += tf.reshape(product, [-1, *ones, product.shape[-1]])
        if self._local is not None:
            kernel = self.cast(getattr(block, f"{prefix}local_projection").kernel)
            added += tf.tensordot(self.block_of(self._local, 1, first), kernel, 1)
        return added
