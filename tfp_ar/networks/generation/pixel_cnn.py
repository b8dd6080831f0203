"""Generation for PixelCNN: the cached steps."""

from typing import Any

import tensorflow as tf

from tfp_ar.conditioning.spec import GLOBAL, LOCAL
from tfp_ar.networks.generation.raster_loop import Offsets, columns_first, unfolded, windows
from tfp_ar.networks.generation.steps import RasterSteps
from tfp_ar.networks.generation.taps import PastTaps


class PixelCNNSteps(RasterSteps):
    """Cached steps: the rows above contribute row by row, the rest is computed pixel by pixel.

    Args:
      network: the PixelCNN.
      batch_size: B, above 0, an int or a scalar tensor.
      conditions: the conditions by kind, with leading shape [B].
    """

    def __init__(self, network: Any, batch_size: Any, conditions: dict):
        self.dtype = tf.as_dtype(network.compute_dtype)
        self._batch_size, self._width = batch_size, network.event_shape[1]
        self._size, self._filters = network.kernel_size, network.filters
        self._blocks = network.blocks
        self.num_inputs = min(len(self._blocks) - 1, 1)
        kernels = [self._cast(block.conv.masked_kernel()) for block in self._blocks]
        dilations = [block.conv.dilation_rate[0] for block in self._blocks]
        self._dilations = dilations[1:]
        self._image_rows, self._image_pixels = self._taps(kernels[:1], dilations[:1])
        if self.num_inputs:
            self._past_rows, self._past_pixels = self._taps(kernels[1:], dilations[1:])
        side = self._size // 2
        self._now = [kernel[side, side] for kernel in kernels[1:]]
        conditions = {kind: self._cast(c) for kind, c in conditions.items()}
        projections = {
            kind: [
                self._cast(getattr(block, f"{kind}_projection").kernel) for block in self._blocks
            ]
            for kind in (GLOBAL, LOCAL)
            if kind in conditions
        }
        biases = [self._cast(block.conv.bias) for block in self._blocks]
        self._offsets = Offsets(biases, projections, conditions, self._width)

    def _cast(self, value):
        return tf.cast(tf.convert_to_tensor(value), self.dtype)

    def _taps(self, kernels, dilations):
        """Returns the taps of the rows above, and those of the columns before in the same row."""
        side = self._size // 2
        delays = [[j * dilation for j in range(side, 0, -1)] for dilation in dilations]
        above = tf.stack([unfolded(kernel[:side]) for kernel in kernels])
        before = tf.stack([kernel[side, :side] for kernel in kernels])
        return PastTaps(above, delays), PastTaps(before, delays)

    def initial_state(self) -> tuple:
        """Returns the rows before the first, which are zero."""
        size = self._batch_size * self._width
        return self._image_rows.empty(size), self._past_rows.empty(size) if self.num_inputs else ()

    def start_row(self, r: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
        """Returns what the rows above contribute to each layer."""
        image, cache = state
        known = self._image_rows.products(r, image)
        if self.num_inputs:
            known = tf.concat([known, self._past_rows.products(r, cache)], axis=0)
        return columns_first(known + self._offsets.row(r), self._width), state

    def initial_caches(self) -> tuple:
        """Returns the columns before the first, which are zero."""
        past = self._past_pixels.empty(self._batch_size) if self.num_inputs else ()
        return self._image_pixels.empty(self._batch_size), past

    def features(self, c: tf.Tensor, known: tf.Tensor, caches: tuple) -> tuple:
        """Advances all layers by a pixel."""
        image, cache = caches
        h = self._image_pixels.products(c, image)[0] + known[0]
        if not self.num_inputs:
            return tf.nn.relu(h), (), caches
        known = self._past_pixels.products(c, cache) + known[1:]
        inputs = []
        for i, now in enumerate(self._now):
            inputs.append(tf.nn.relu(h))
            h = h + known[i] + tf.matmul(inputs[-1], now)
        cache = self._past_pixels.write(c, cache, inputs)
        return tf.nn.relu(h), (tf.stack(inputs),), (image, cache)

    def end_pixel(self, c: tf.Tensor, shown: tf.Tensor, caches: tuple) -> tuple:
        """Keeps the pixel in the caches."""
        image, cache = caches
        return self._image_pixels.write(c, image, [shown]), cache

    def end_row(self, r: tf.Tensor, shown: tf.Tensor, inputs: Any, state: tuple) -> tuple:
        """Keeps the row and all layers' inputs in it."""
        image, cache = state
        row = windows(tf.transpose(shown, [1, 0, 2]), self._size, 1)
        image = self._image_rows.write(r, image, [row])
        if self.num_inputs:
            layers = tf.transpose(inputs[0], [1, 2, 0, 3])  # [n, B, W, F]
            layers.set_shape([len(self._now), None, self._width, self._filters])
            rows = [windows(layers[i], self._size, d) for i, d in enumerate(self._dilations)]
            cache = self._past_rows.write(r, cache, rows)
        return image, cache
