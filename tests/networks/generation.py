"""What tests of cached generation need: an emit that shows what it got, and modes to run in."""

import tensorflow as tf

from tests.helpers import normal
from tfp_ar.networks import AutoregressiveNetwork

MODES = {"eager": None, "graph": False, "jit": True}  # jit_compile


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
    return AutoregressiveNetwork.generate(network, emit, batch, condition, input_transform)


def generator(network, batch, condition, mode, dynamic=False):
    """A function (emit's noise [event_size, B], conditioning) -> `network.generate`, in a mode.

    Args:
      batch: B; with `dynamic`, the function takes any.
      condition: an example of the conditioning, or None.
    """
    emit = Emit(network, batch)

    def generate(noise, *parts):
        emit.noise = noise
        size = tf.shape(noise)[1] if dynamic else batch
        c = None if condition is None else tf.nest.pack_sequence_as(condition, parts)
        return network.generate(emit, size, c)

    if mode != "eager":
        rows = None if dynamic else batch
        parts = [] if condition is None else tf.nest.flatten(condition)
        signature = [tf.TensorSpec([network.event_size, rows], network.variable_dtype)]
        signature += [tf.TensorSpec([rows, *part.shape[1:]], part.dtype) for part in parts]
        generate = tf.function(generate, input_signature=signature, jit_compile=MODES[mode])
    return lambda noise, c: generate(noise, *([] if c is None else tf.nest.flatten(c)))


def run(network, emit, batch, condition, mode="eager"):
    """x by `network.generate` in a mode, its batch size static."""
    return generator(network, batch, condition, mode)(emit.noise, condition)
