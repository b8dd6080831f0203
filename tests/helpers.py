"""Helpers of several tests: random weights and inputs, and Jacobians of networks."""

import random

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


def set_seed(seed):
    """What initial weights and NumPy depend on.

    `keras.utils.set_random_seed` sets TensorFlow's own too, which empties its cache of kernels:
    a test then takes 70 ms more. No test may depend on that seed.
    """
    random.seed(seed)
    np.random.seed(seed)


def raw_variables(layer) -> list[tf.Variable]:
    """The tf.Variables of a Keras layer that hold floats, frozen ones included."""
    return [v.value for v in layer.variables if keras.backend.is_float_dtype(v.dtype)]


def randomize(layer, scale=0.3, seed=0):
    """Assigns normal numbers of standard deviation `scale` to all float variables; returns `layer`.

    It writes to the raw variables, past Keras' constraints and initializers: what a property of the
    network survives, it survives whatever an optimizer or a moving average does. Weights that start
    at zero, and hide what they multiply, become random too.
    """
    generator = np.random.default_rng(seed)
    for variable in raw_variables(layer):
        values = scale * generator.standard_normal(variable.shape)
        variable.assign(tf.constant(values, variable.dtype))
    return layer


def normal(shape, dtype="float32", seed=0) -> tf.Tensor:
    """A tensor of standard normal numbers."""
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), dtype)


def image(bijector, event_shape=(4,), dtype="float64"):
    """The distribution of a bijector's image of standard normal noise."""
    base = tfd.Sample(tfd.Normal(tf.zeros([], dtype), 1.0), event_shape)
    return tfd.TransformedDistribution(base, bijector)


def _leading(batch) -> tuple[int, ...]:
    return (batch,) if isinstance(batch, int) else tuple(batch)


def random_events(network, batch=1, seed=0) -> tf.Tensor:
    """x [*batch, *event_shape] of standard normal numbers; `batch` is an int or a shape."""
    return normal([*_leading(batch), *network.event_shape], network.variable_dtype, seed)


def conditioning(shape, batch, dtype="float32", seed=0):
    """A `conditional_input` for a `conditional_shape`: None, a tensor, or a dict of tensors."""
    if shape is None:
        return None
    if isinstance(shape, dict):
        kinds = enumerate(sorted(shape))
        return {k: normal([*_leading(batch), *shape[k]], dtype, (seed, i)) for i, k in kinds}
    return normal([*_leading(batch), *shape], dtype, seed)


def random_conditioning(network, batch=1, seed=0):
    """A `conditional_input` of leading shape `batch` (an int or a shape), or None."""
    return conditioning(network.conditional_shape, batch, network.variable_dtype, seed)


def jacobian(function, x, size=None) -> np.ndarray:
    """The Jacobian of a function of a batch at one x: [outputs, inputs], both flattened.

    Args:
      function: tensor [B, ...] -> tensor [B, ...], row by row. What leaks from row to row adds to
        the entries.
      x: one input, without the batch dimension.
      size: the number of outputs, if known; otherwise a call more finds out.
    """
    x = tf.convert_to_tensor(x)
    size = size or int(np.prod(function(x[tf.newaxis]).shape))
    copies = tf.repeat(x[tf.newaxis], size, axis=0)  # row k is there for the gradient of output k
    with tf.GradientTape() as tape:
        tape.watch(copies)
        chosen = tf.linalg.diag_part(tf.reshape(function(copies), [size, size]))
    gradient = tape.gradient(chosen, copies, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.reshape(gradient, [size, -1]).numpy()


def params_jacobian(network, x, conditional_input=None) -> np.ndarray:
    """d params[i, p] / d x[j] at one x [*event_shape]: [event_size, num_params, event_size]."""
    shape = network.event_size, network.num_params, network.event_size
    size = shape[0] * shape[1]
    return jacobian(lambda rows: network(rows, conditional_input), x, size).reshape(shape)


def seen_inputs(network, num_draws=8, scale=0.5) -> np.ndarray:
    """Which inputs the parameters of each variable depend on: bool [event_size, event_size].

    The union over draws of all weights, of x and of the conditioning: a zero gradient in a single
    draw proves nothing where there are ReLUs. The weights stay at the last draw.
    """
    seen = np.zeros([network.event_size] * 2, bool)
    for draw in range(num_draws):
        randomize(network, scale, (1, draw))
        x = random_events(network, (), (2, draw))
        matrix = params_jacobian(network, x, random_conditioning(network, 1, (3, draw)))
        seen |= (matrix != 0).any(axis=1)
    return seen


def allowed_inputs(network) -> np.ndarray:
    """Which inputs the parameters of each variable may depend on, by the network's `order`."""
    rank = np.argsort(network.order)
    return rank[np.newaxis, :] < rank[:, np.newaxis]
