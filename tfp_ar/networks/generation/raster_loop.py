"""Generation of images: row by row, and within a row pixel by pixel."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_ar.conditioning.spec import GLOBAL, LOCAL
from tfp_ar.networks.generation.channels import ChannelLoop, non_empty
from tfp_ar.networks.generation.steps import RasterSteps


def generate(
    network: Any,
    make_steps: Callable[..., RasterSteps],
    emit: Callable,
    batch_size: Any,
    conditional_input: Any,
    input_transform: Callable | None,
) -> tf.Tensor:
    """Draws x [B, H, W, C]; see `AutoregressiveNetwork.generate`.

    Args:
      network: a PixelNetwork.
      make_steps: function of (network, batch_size, conditions).
      emit: (params [B, num_params], flat index) -> x_i [B].
      batch_size: B, an int or a scalar tensor.
      conditional_input: as the network takes it.
      input_transform: function from a value to the network's input, None for the value itself.
    """
    conditions = network.conditioning.parse_batch(conditional_input, batch_size)
    emit, rows, conditions = non_empty(emit, batch_size, conditions)
    steps = make_steps(network, rows, conditions)
    draw_channels = ChannelLoop(network, emit, rows, input_transform)
    height, width, channels = network.event_shape
    dtype = tf.as_dtype(network.variable_dtype)
    pixel = tf.TensorShape([rows if isinstance(rows, int) else None, channels])

    def row(r, state, image):
        known, state = steps.start_row(r, state)

        def advance(c, caches, values, shown, inputs):
            features, layer_inputs, caches = steps.features(c, known[c], caches)
            x, seen = draw_channels(features, r * width + c)
            x.set_shape(pixel)
            seen = tf.ensure_shape(tf.cast(seen, steps.dtype), pixel)
            caches = steps.end_pixel(c, seen, caches)
            inputs = tuple(a.write(c, v) for a, v in zip(inputs, layer_inputs, strict=True))
            return c + 1, caches, values.write(c, x), shown.write(c, seen), inputs

        values = tf.TensorArray(dtype, width, element_shape=pixel)
        shown = tf.TensorArray(steps.dtype, width, element_shape=pixel)
        inputs = tuple(tf.TensorArray(steps.dtype, width) for _ in range(steps.num_inputs))
        _, _, values, shown, inputs = tf.while_loop(
            lambda c, *_: c < width,
            advance,
            (tf.constant(0), steps.initial_caches(), values, shown, inputs),
            maximum_iterations=width,
        )
        state = steps.end_row(r, shown.stack(), [a.stack() for a in inputs], state)
        return r + 1, state, image.write(r, values.stack())

    image = tf.TensorArray(dtype, height, element_shape=[width, *pixel])
    *_, image = tf.while_loop(
        lambda r, *_: r < height,
        row,
        (tf.constant(0), steps.initial_state(), image),
        maximum_iterations=height,
    )
    x = tf.transpose(image.stack(), [2, 0, 1, 3])
    return x if rows is batch_size else x[:batch_size]


def windows(row: tf.Tensor, size: int, dilation: int) -> tf.Tensor:
    """Returns the neighbours of each pixel in its row: [B, W, F] to [B * W, size * F].

    They are in the order of a kernel's taps, with zeros beyond the ends.
    """
    side, width, channels = size // 2 * dilation, row.shape[1], row.shape[2]
    padded = tf.pad(row, [[0, 0], [side, side], [0, 0]])
    taps = [padded[:, j * dilation : j * dilation + width] for j in range(size)]
    return tf.reshape(tf.concat(taps, axis=-1), [-1, size * channels])


def unfolded(kernel: tf.Tensor) -> tf.Tensor:
    """Reshapes [rows, columns, F, out] to [rows, columns * F, out], for products with `windows`."""
    return tf.reshape(kernel, [kernel.shape[0], -1, kernel.shape[-1]])


def columns_first(value: tf.Tensor, width: int) -> tf.Tensor:
    """Reshapes [n, B * W, F] to [W, n, B, F]."""
    value = tf.reshape(value, [value.shape[0], -1, width, value.shape[-1]])
    return tf.transpose(value, [2, 0, 1, 3])


class Offsets:
    """The terms added to the taps of n layers: biases and conditioning, per row of an image.

    Args:
      biases: n tensors [F].
      projections: for each kind of conditioning that there is, n kernels [k, F].
      conditions: the conditions by kind: global [B, k] and local [B, H, W, k].
      width: W.
    """

    def __init__(
        self,
        biases: Sequence[tf.Tensor],
        projections: dict[str, list],
        conditions: dict[str, tf.Tensor],
        width: int,
    ):
        self._constant = tf.stack(biases)[:, tf.newaxis]
        self._local = None
        if GLOBAL in conditions:
            kernels = tf.stack(projections[GLOBAL])
            added = tf.einsum("bk,nkf->nbf", conditions[GLOBAL], kernels)
            self._constant += tf.repeat(added, width, axis=1)  # the rows are B * W pixels
        if LOCAL in conditions:
            self._local = tf.transpose(conditions[LOCAL], [1, 0, 2, 3])
            self._kernels = tf.stack(projections[LOCAL])
            self._shape = [len(biases), -1, self._kernels.shape[-1]]

    def row(self, r: tf.Tensor) -> tf.Tensor:
        """Returns the terms of row r: [n, B * W, F], or [n, 1, F] if all pixels have the same."""
        if self._local is None:
            return self._constant
        added = tf.einsum("bwk,nkf->nbwf", self._local[r], self._kernels)
        return self._constant + tf.reshape(added, self._shape)


def delays_of(offsets: Any) -> np.ndarray:
    """Returns how far back the taps at `offsets` (0 or negative) look, without the tap at 0."""
    delays = -np.asarray(offsets, np.int32)
    return delays[delays > 0]
