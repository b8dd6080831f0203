"""Helpers of tests of cached generation: an emit that shows its inputs, and graphs to run in."""

import tensorflow as tf

from tests.helpers import normal
from tfp_ar.networks import AutoregressiveNetwork


class Emit:
    """x_i = tanh(params . mix) + noise[i]; bounded, and uses every parameter and the index."""

    def __init__(self, network, batch, seed=5):
        self.mix = normal([network.num_params], network.variable_dtype, (seed, 0))
        self.noise = normal([network.event_size, batch], network.variable_dtype, (seed, 1))
        self.calls = []

    def __call__(self, params, i):
        if tf.executing_eagerly():
            self.calls.append((i, params))
        return tf.tanh(tf.linalg.matvec(params, self.mix)) + self.noise[i]

    def of_all(self, params):
        """The same for the parameters of the parallel pass: x [B, *event_shape]."""
        x = tf.tanh(tf.linalg.matvec(params, self.mix))
        return x + tf.reshape(tf.transpose(self.noise), x.shape)


def reference(network, emit, batch, condition=None, input_transform=None):
    """The sequential pass of the base class."""
    return AutoregressiveNetwork.generate(network, emit, batch, condition, input_transform)


def generator(network, condition, batch, jit_compile=False):
    """A compiled function (noise [event_size, B], condition) -> x by `network.generate`.

    Args:
      condition: an example of the conditioning, or None.
      batch: B, or None for a function of any batch.
    """

    parts = [] if condition is None else tf.nest.flatten(condition)

    def generate(noise, *given):
        emit = Emit(network, 0)
        emit.noise = noise
        size = tf.shape(noise)[1] if batch is None else batch
        c = None if condition is None else tf.nest.pack_sequence_as(condition, given)
        return network.generate(emit, size, c)

    signature = [tf.TensorSpec([network.event_size, batch], network.variable_dtype)]
    signature += [tf.TensorSpec([batch, *part.shape[1:]], part.dtype) for part in parts]
    compiled = tf.function(generate, input_signature=signature, jit_compile=jit_compile)
    return lambda noise, c: compiled(noise, *([] if c is None else tf.nest.flatten(c)))


def run(network, emit, condition, batch, jit_compile=False):
    """x by `network.generate` in a graph of known batch."""
    return generator(network, condition, batch, jit_compile)(emit.noise, condition)
