"""Generation for GatedPixelCNN: the cached steps, and passes over blocks of rows."""

from typing import Any

import tensorflow as tf

from tfp_ar.conditioning.spec import GLOBAL, LOCAL
from tfp_ar.networks.generation.blocks import PositionBlocks
from tfp_ar.networks.generation.raster_loop import (
    Offsets,
    columns_first,
    delays_of,
    unfolded,
    windows,
)
from tfp_ar.networks.generation.steps import RasterSteps
from tfp_ar.networks.generation.taps import GatedStack, PastTaps, gate


class GatedPixelCNNSteps(RasterSteps):
    """Cached steps: the vertical stack advances row by row, the horizontal one pixel by pixel.

    Within a row, the horizontal stack is a WaveNet along the columns; its gates also take the
    output of the vertical stack.

    Args:
      network: the GatedPixelCNN.
      batch_size: B, above 0, an int or a scalar tensor.
      conditions: the conditions by kind, with leading shape [B].
    """

    num_inputs = 0  # the rows below do not read the horizontal stack

    def __init__(self, network: Any, batch_size: Any, conditions: dict):
        self.dtype = tf.as_dtype(network.compute_dtype)
        self._batch_size, self._width = batch_size, network.event_shape[1]
        self._size = network.kernel_size
        self._blocks = network.blocks
        self._conditions = {kind: self._cast(c) for kind, c in conditions.items()}
        self._take_vertical([block.conv for block in self._blocks])
        self._take_horizontal([block.conv for block in self._blocks])

    def _cast(self, value):
        return tf.cast(tf.convert_to_tensor(value), self.dtype)

    def _take_vertical(self, convs):
        kernels = [unfolded(self._cast(conv.vertical_kernel)) for conv in convs]
        self._image_rows = PastTaps(kernels[0][tf.newaxis], [delays_of(convs[0].rows)])
        self._past_rows = None
        if len(convs) > 1:
            past = tf.stack([kernel[:-1] for kernel in kernels[1:]])
            self._past_rows = PastTaps(past, [delays_of(conv.rows) for conv in convs[1:]])
        self._now = [kernel[-1] for kernel in kernels[1:]]
        self._links = tf.stack([self._cast(conv.link_kernel) for conv in convs])
        self._biases = [self._cast(conv.vertical_bias) for conv in convs]
        gated = self._blocks[:-1]  # nothing reads the last v
        self._vertical_offsets = None
        if gated and self._conditions:
            zeros = [tf.zeros_like(bias) for bias in self._biases[:-1]]
            self._vertical_offsets = self._offsets("vertical", gated, zeros)

    def _take_horizontal(self, convs):
        kernels = [self._cast(conv.masked_horizontal_kernel())[0] for conv in convs]
        self._image_pixels = PastTaps(kernels[0][tf.newaxis], [delays_of(convs[0].columns)])
        residuals = [
            None
            if block.residual_projection is None
            else self._cast(block.residual_projection.kernel)[0, 0]
            for block in self._blocks
        ]
        skips = [self._cast(block.skip_projection.kernel)[0, 0] for block in self._blocks]
        self._first_residual, self._first_skip = residuals[0], skips[0]
        delays = [-conv.columns for conv in convs]
        self._stack = GatedStack(kernels[1:], delays[1:], residuals[1:], skips[1:])
        biases = [self._cast(conv.horizontal_bias) for conv in convs]
        self._horizontal_offsets = self._offsets("horizontal", self._blocks, biases)

    def _offsets(self, stack, blocks, biases):
        def kernels(kind):
            layers = [getattr(block, f"{stack}_{kind}_projection") for block in blocks]
            return [self._cast(layer.kernel) for layer in layers]

        projections = {kind: kernels(kind) for kind in (GLOBAL, LOCAL) if kind in self._conditions}
        return Offsets(biases, projections, self._conditions, self._width)

    def initial_state(self) -> tuple:
        """Returns the rows before the first, which are zero."""
        size = self._batch_size * self._width
        past = () if self._past_rows is None else self._past_rows.empty(size)
        return self._image_rows.empty(size), past

    def start_row(self, r: tf.Tensor, state: tuple) -> tuple[tf.Tensor, tuple]:
        """Advances the vertical stack; returns what it adds to the horizontal gates."""
        image, cache = state
        z = self._image_rows.products(r, image)[0] + self._biases[0]
        sums, rows = [z], []
        if self._past_rows is not None:
            past = self._past_rows.products(r, cache)
            added = None if self._vertical_offsets is None else self._vertical_offsets.row(r)
        for i, now in enumerate(self._now):
            v = gate(z if added is None else z + added[i])
            v = tf.reshape(v, [self._batch_size, self._width, v.shape[-1]])
            rows.append(windows(v, self._size, self._blocks[i + 1].conv.dilation_rate))
            z = past[i] + tf.matmul(rows[-1], now) + self._biases[i + 1]
            sums.append(z)
        if rows:
            cache = self._past_rows.write(r, cache, rows)
        known = tf.matmul(tf.stack(sums), self._links) + self._horizontal_offsets.row(r)
        return columns_first(known, self._width), (image, cache)

    def initial_caches(self) -> tuple:
        """Returns the columns before the first, which are zero."""
        return (
            self._image_pixels.empty(self._batch_size),
            self._stack.initial_caches(self._batch_size),
        )

    def features(self, c: tf.Tensor, known: tf.Tensor, caches: tuple) -> tuple:
        """Advances the horizontal stack by a pixel."""
        image, stack = caches
        g = gate(self._image_pixels.products(c, image)[0] + known[0])
        skips = tf.matmul(g, self._first_skip)
        if self._first_residual is not None:
            h = tf.matmul(g, self._first_residual)
            _, more, stack = self._stack.step(c, h, stack, known[1:])
            skips = skips + more
        return tf.nn.relu(skips), (), (image, stack)

    def end_pixel(self, c: tf.Tensor, shown: tf.Tensor, caches: tuple) -> tuple:
        """Keeps the pixel in the caches."""
        image, stack = caches
        return self._image_pixels.write(c, image, [shown]), stack

    def end_row(self, r: tf.Tensor, shown: tf.Tensor, inputs: Any, state: tuple) -> tuple:
        """Keeps the row."""
        del inputs
        image, cache = state
        row = windows(tf.transpose(shown, [1, 0, 2]), self._size, 1)
        return self._image_rows.write(r, image, [row]), cache


class GatedPixelCNNBlocks(PositionBlocks):
    """Passes over a few rows of the image, which cost only these rows.

    The state holds the rows above that the vertical stack reads, of the image and of each v. The
    horizontal stack stays in its row. The arguments are those of PositionBlocks, with a
    GatedPixelCNN as the network.
    """

    def initial_state(self) -> tuple:
        """Returns the rows above the first, which are zero."""
        network, width = self.network, self.network.event_shape[1]
        channels = [network.channels] + [network.filters] * (len(network.blocks) - 1)
        reach = [-int(block.conv.rows[0]) for block in network.blocks]
        return tuple(self.zeros(r, width, c) for r, c in zip(reach, channels, strict=True))

    def prepare(self, first: Any) -> tuple:
        """Returns what conditioning adds to the vertical and the horizontal gates."""
        blocks = self.network.blocks
        vertical = [self.conditioned(block, first, "vertical_") for block in blocks[:-1]]
        horizontal = [self.conditioned(block, first, "horizontal_") for block in blocks]
        return (*vertical, 0.0), horizontal

    def run(self, x: tf.Tensor, state: tuple, prepared: tuple) -> tuple[tf.Tensor, tuple]:
        """Returns relu(skip sum) [B, size, W, S] for x [B, size, W, C], and the state."""
        v = h = x
        skips, new_state = 0.0, []
        for block, above, *added in zip(self.network.blocks, state, *prepared, strict=True):
            v_in, h_in, rows = self._conv(block.conv, v, h, above)
            new_state.append(rows[:, self.size :])
            g = gate(h_in + added[1])
            skips += self._dense(g, block.skip_projection)
            if block.residual_projection is not None:
                v = gate(v_in + added[0])
                update = self._dense(g, block.residual_projection)
                h = update if block.mask_type == "A" else h + update
        return tf.nn.relu(skips), tuple(new_state)

    def _dense(self, g, projection):
        return tf.tensordot(g, self.cast(projection.kernel)[0, 0], 1)

    def _conv(self, conv, v, h, above):
        """Returns the two outputs of BlindSpotFreeConv2D, and v with the rows above it."""
        cast, side = self.cast, conv.kernel_size[1] // 2 * conv.dilation_rate
        rows = tf.concat([above, v], axis=1)
        columns = range(-side, side + 1, conv.dilation_rate)
        taps = [(above.shape[1] + int(r), c) for r in conv.rows for c in columns]
        v_out = self._product(rows, taps, conv.vertical_kernel) + cast(conv.vertical_bias)
        taps = [(0, int(c)) for c in conv.columns]
        h_out = self._product(h, taps, conv.masked_horizontal_kernel())
        h_out += tf.tensordot(v_out, cast(conv.link_kernel), 1) + cast(conv.horizontal_bias)
        return v_out, h_out, rows

    def _product(self, x, taps, kernel):
        """Convolves by one product of taps at (row, column), with zeros beyond the columns."""
        width, side = x.shape[2], max(abs(c) for _, c in taps)
        x = tf.pad(x, [[0, 0], [0, 0], [side, side], [0, 0]])
        parts = [x[:, r : r + self.size, side + c : side + c + width] for r, c in taps]
        kernel = tf.reshape(self.cast(kernel), [-1, kernel.shape[-1]])
        return tf.tensordot(tf.concat(parts, axis=-1), kernel, 1)
