"""The channels of one position, drawn in turn; and batches that may be empty."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def non_empty(emit: Callable, batch_size: Any, conditions: dict) -> tuple[Callable, Any, dict]:
    """Returns the three arguments for a batch of at least one row.

    TensorFlow's scatter refuses empty rows. A batch that is empty, or may be at run time, gets a
    row of zeros if it is, which the caller cuts off.

    Args:
      emit: (params [B, num_params], flat index) -> x_i [B].
      batch_size: B, an int or a scalar tensor.
      conditions: the conditions by kind, with leading shape [B].
    """
    if isinstance(batch_size, int) and batch_size > 0:
        return emit, batch_size, conditions
    rows = max(batch_size, 1) if isinstance(batch_size, int) else tf.maximum(batch_size, 1)
    missing = rows - batch_size

    def emit_rows(params, i):
        return _pad(emit(params[:batch_size], i), missing)

    return emit_rows, rows, {kind: _pad(c, missing) for kind, c in conditions.items()}


def _pad(value, missing):
    """Appends `missing` rows of zeros."""
    value = tf.convert_to_tensor(value)
    return tf.pad(value, [[0, missing]] + [[0, 0]] * (value.shape.rank - 1))


class ChannelLoop:
    """A loop that draws the channels of one position, each given those before, by the head.

    Args:
      network: a network whose `head` is a ChannelHead over C `channels`.
      emit: (params [B, num_params], flat index) -> x_i [B].
      batch_size: B, above 0, an int or a scalar tensor.
      input_transform: function from a value to the network's input, None for the value itself.
    """

    def __init__(
        self,
        network: Any,
        emit: Callable,
        batch_size: Any,
        input_transform: Callable | None,
    ):
        self._head, self._channels = network.head, network.channels
        self._emit, self._batch_size = emit, batch_size
        self._transform = input_transform or (lambda x: x)
        self._dtype = tf.as_dtype(network.compute_dtype)
        self._value_dtype = tf.as_dtype(network.variable_dtype)
        self._output_kernel = self._cast(network.head.output_kernel)
        self._output_bias = self._cast(network.head.output_bias)
        if self._channels > 1:
            self._channel_kernel = self._cast(network.head.masked_channel_kernel())

    def _cast(self, value):
        return tf.cast(tf.convert_to_tensor(value), self._dtype)

    def __call__(self, features: tf.Tensor, position: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws the channels at a position.

        Args:
          features: the head's input, [B, S].
          position: the index of the position in the event, an int32 scalar.

        Returns: values [B, C], and the same as the network sees them.
        """
        hidden, channels = self._cast(self._head.hidden(features)), self._channels
        if channels == 1:
            x = self._one(hidden[:, 0], 0, position)[:, tf.newaxis]
            return x, self._transform(x)

        def step(c, hidden, x):
            x_c = self._one(tf.gather(hidden, c, axis=1), c, position * channels + c)
            seen = tf.cast(self._transform(x_c), self._dtype)[:, tf.newaxis, tf.newaxis]
            chosen = tf.equal(tf.range(channels), c)
            x = tf.where(chosen, x_c[:, tf.newaxis], x)
            return c + 1, hidden + seen * self._channel_kernel[c], x

        x = tf.zeros([self._batch_size, channels], self._value_dtype)
        *_, x = tf.while_loop(
            lambda c, *_: c < channels,
            step,
            (tf.constant(0), hidden, x),
            shape_invariants=(tf.TensorShape([]), hidden.shape, x.shape),
            maximum_iterations=channels,
        )
        return x, self._transform(x)

    def _one(self, a, c, i):
        """Draws variable i, channel c, from its hidden units a [B, hidden]."""
        params = tf.matmul(tf.nn.relu(a), self._output_kernel[c]) + self._output_bias[c]
        return self._emit(tf.cast(params, self._value_dtype), i)
