"""Cached generation for WaveNet: constant work a step, whatever the length."""

import tensorflow as tf

from tfp_ar.networks.cached_sampling import ChannelSampler, for_any_batch
from tfp_ar.networks.conditioning import GLOBAL, LOCAL
from tfp_ar.networks.gated_stack import GatedStack


def generate(network, emit, batch_size, conditions, input_transform=None):
    """Draws x [B, *event_shape] step by step; see `WaveNet.generate`.

    Args:
      network: the WaveNet.
      emit: (params [B, num_params], flat index) -> x_i [B].
      batch_size: B, an int or a scalar tensor.
      conditions: parts of the conditioning by kind, with leading shape [B].
      input_transform: what the network sees of a value, None for the value itself.
    """

    def run(emit, batch_size, conditions):
        return _generate(network, emit, batch_size, conditions, input_transform)

    return for_any_batch(run, network, emit, batch_size, conditions)


def _generate(network, emit, batch_size, conditions, input_transform):
    """`generate` for a batch that is not empty."""
    step = _Step(network, conditions)
    draw_channels = ChannelSampler(network, emit, batch_size, input_transform)
    length, channels = network.length, network.channels
    dtype = tf.as_dtype(network.variable_dtype)
    start = tf.zeros([batch_size, channels], dtype)  # as the parallel pass sees x before 0

    def advance(t, shown_before, caches, written):
        features, caches = step.features(t, shown_before, caches)
        x_t, shown = draw_channels(features, t)
        shown.set_shape(start.shape)
        return t + 1, shown, caches, written.write(t, x_t)

    written = tf.TensorArray(dtype, size=length, element_shape=start.shape)
    *_, written = tf.while_loop(
        lambda t, *_: t < length,
        advance,
        (tf.constant(0), start, step.empty_caches(batch_size), written),
        maximum_iterations=length,
    )
    x = tf.transpose(written.stack(), [1, 0, 2])
    return tf.reshape(x, [batch_size, *network.event_shape])


class _Step:
    """The weights of a WaveNet, stacked once before the loop, and one step of it."""

    def __init__(self, network, conditions):
        self.dtype = tf.as_dtype(network.compute_dtype)
        positions = network.positions()
        self.positions = None if positions is None else self._cast(positions)
        self.input_kernel = self._cast(network.input_conv.kernel)[0]
        self.input_bias = self._cast(network.input_conv.bias)
        blocks = network.blocks
        self.stack = GatedStack(
            [self._cast(block.conv.kernel) for block in blocks],
            [block.conv.delays for block in blocks],
            [
                None
                if block.residual_projection is None
                else self._cast(block.residual_projection.kernel)
                for block in blocks
            ],
            [self._cast(block.skip_projection.kernel) for block in blocks],
        )
        # What goes into the gates besides h: the same at all times, and what conditioning adds.
        self.gate_offsets = tf.stack([self._cast(block.conv.bias) for block in blocks])
        self.gate_offsets = self.gate_offsets[:, tf.newaxis]
        if GLOBAL in conditions:
            kernels = tf.stack([self._cast(block.global_projection.kernel) for block in blocks])
            c = self._cast(conditions[GLOBAL])
            self.gate_offsets += tf.einsum("bk,nkf->nbf", c, kernels)
        self.local_condition = None
        if LOCAL in conditions:
            self.local_condition = tf.transpose(self._cast(conditions[LOCAL]), [1, 0, 2])
            self.local_kernels = tf.stack(
                [self._cast(block.local_projection.kernel) for block in blocks]
            )

    def _cast(self, value):
        return tf.cast(tf.convert_to_tensor(value), self.dtype)

    def empty_caches(self, batch_size):
        """The caches before the first step, when the past is zero."""
        return self.stack.empty_caches(batch_size)

    def features(self, t, x_before, caches):
        """What the past gives at time t: relu(skip sum) [B, S]; and the caches for t + 1."""
        h = tf.matmul(tf.cast(x_before, self.dtype), self.input_kernel) + self.input_bias
        if self.positions is not None:
            h = h + self.positions[t]
        offsets = self.gate_offsets
        if self.local_condition is not None:
            offsets += tf.einsum("bk,nkf->nbf", self.local_condition[t], self.local_kernels)
        _, skips, caches = self.stack.step(t, h, caches, offsets)
        return tf.nn.relu(skips), caches
