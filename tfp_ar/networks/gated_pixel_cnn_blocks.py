"""Block passes for GatedPixelCNN: the rows of a block at once, the rows above in caches."""

import tensorflow as tf

from tfp_ar.networks.gated_stack import gate
from tfp_ar.networks.position_blocks import PositionBlocks


class GatedPixelCNNBlocks(PositionBlocks):
    """Passes over a few rows of the image; they cost those rows.

    The state holds the rows above that the vertical stack reads: of the image, and of each v. The
    horizontal stack stays in its row. The arguments are those of PositionBlocks, with a
    GatedPixelCNN as the network.
    """

    def start(self):
        """The rows above the first: zeros."""
        network, width = self.network, self.network.event_shape[1]
        channels = [network.channels] + [network.filters] * (len(network.blocks) - 1)
        reach = [-int(block.conv.rows[0]) for block in network.blocks]
        return tuple(self.zeros(r, width, c) for r, c in zip(reach, channels, strict=True))

    def prepare(self, k):
        """What conditioning adds to the vertical and the horizontal gates."""
        blocks = self.network.blocks
        vertical = [self.conditioned(block, k, "vertical_") for block in blocks[:-1]]
        return (*vertical, 0.0), [self.conditioned(block, k, "horizontal_") for block in blocks]

    def run(self, x, state, prepared):
        """relu(skip sum) [B, size, W, S] for x [B, size, W, C], and the state after the block."""
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
        """What BlindSpotFreeConv2D gives, and v with the rows above it."""
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
        """A convolution as one product: taps at (first row, column), zeros beyond the columns."""
        width, side = x.shape[2], max(abs(c) for _, c in taps)
        x = tf.pad(x, [[0, 0], [0, 0], [side, side], [0, 0]])
        parts = [x[:, r : r + self.size, side + c : side + c + width] for r, c in taps]
        kernel = tf.reshape(self.cast(kernel), [-1, kernel.shape[-1]])
        return tf.tensordot(tf.concat(parts, axis=-1), kernel, 1)
