"""Cached generation of images: row by row, and within a row pixel by pixel.

A sampler says what a row and a pixel take:

* `start()`: the state before the first row, a structure of tensors;
* `start_row(r, state)`: what the rows above give to row r, a tensor with the columns first, and the
  state;
* `start_pixels()`: the caches at the start of a row;
* `features(c, known, caches)`: the features of a pixel [B, F], the layers' inputs there, and the
  caches; `known` is the column's part of what `start_row` gave;
* `end_pixel(c, shown, caches)`: the caches, now that the pixel [B, C] is known;
* `end_row(r, shown, inputs, state)`: the state, now that the row [W, B, C] is.
"""

import numpy as np
import tensorflow as tf

from tfp_ar.networks.cached_sampling import ChannelSampler, for_any_batch
from tfp_ar.networks.conditioning import GLOBAL, LOCAL


def generate(network, sampler, emit, batch_size, conditional_input, input_transform):
    """Draws x [B, H, W, C]; see `AutoregressiveNetwork.generate`.

    Args:
      network: a PixelNetwork.
      sampler: class of (network, batch_size, conditions), as described above.
      emit: (params [B, num_params], flat index) -> x_i [B].
      batch_size: B, an int or a scalar tensor.
      conditional_input: as the network takes it.
      input_transform: what the network sees of a value, None for the value itself.
    """

    def run(emit, batch_size, conditions):
        steps = sampler(network, batch_size, conditions)
        channels = ChannelSampler(network, emit, batch_size, input_transform)
        return _generate(network, steps, channels, batch_size)

    conditions = network.conditioning.split_batch(conditional_input, batch_size)
    return for_any_batch(run, network, emit, batch_size, conditions)


def _generate(network, steps, draw_channels, batch_size):
    height, width, channels = network.event_shape
    dtype = tf.as_dtype(network.variable_dtype)
    pixel = tf.TensorShape([batch_size if isinstance(batch_size, int) else None, channels])

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
            (tf.constant(0), steps.start_pixels(), values, shown, inputs),
            maximum_iterations=width,
        )
        state = steps.end_row(r, shown.stack(), [a.stack() for a in inputs], state)
        return r + 1, state, image.write(r, values.stack())

    image = tf.TensorArray(dtype, height, element_shape=[width, *pixel])
    *_, image = tf.while_loop(
        lambda r, *_: r < height,
        row,
        (tf.constant(0), steps.start(), image),
        maximum_iterations=height,
    )
    return tf.transpose(image.stack(), [2, 0, 1, 3])


def windows(row, size: int, dilation: int):
    """The neighbours of each pixel of a row in that row: [B, W, F] to [B * W, size * F].

    In the order of a kernel's taps, with zeros beyond the ends.
    """
    side, width, channels = size // 2 * dilation, row.shape[1], row.shape[2]
    padded = tf.pad(row, [[0, 0], [side, side], [0, 0]])
    taps = [padded[:, j * dilation : j * dilation + width] for j in range(size)]
    return tf.reshape(tf.concat(taps, axis=-1), [-1, size * channels])


def unfolded(kernel):
    """A kernel [rows, columns, F, out] for rows that `windows` made: [rows, columns * F, out]."""
    return tf.reshape(kernel, [kernel.shape[0], -1, kernel.shape[-1]])


def columns_first(value, width: int):
    """[n, B * W, F] to [W, n, B, F]."""
    value = tf.reshape(value, [value.shape[0], -1, width, value.shape[-1]])
    return tf.transpose(value, [2, 0, 1, 3])


class Offsets:
    """What enters n layers besides their taps: biases and conditioning, for each row of an image.

    Args:
      biases: n tensors [F].
      projections: for each kind of conditioning there is, n kernels [k, F].
      conditions: the conditioning by kind: [B, k], and [B, H, W, k].
      width: W.
    """

    def __init__(self, biases, projections, conditions, width):
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

    def row(self, r):
        """Those of row r: [n, B * W, F], or [n, 1, F] if they are the same for all pixels."""
        if self._local is None:
            return self._constant
        added = tf.einsum("bwk,nkf->nbwf", self._local[r], self._kernels)
        return self._constant + tf.reshape(added, self._shape)


def delays_of(offsets) -> np.ndarray:
    """How far back taps at `offsets` (0 or negative) look, without those that look at now."""
    delays = -np.asarray(offsets, np.int32)
    return delays[delays > 0]
