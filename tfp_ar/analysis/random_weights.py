"""Random weights for a while."""

import contextlib

import keras
import numpy as np
from keras import ops


@contextlib.contextmanager
def random_weights(layer, seed):
    """Replaces all float variables of a layer by random ones; puts them back on leaving.

    Normal, of standard deviation 1 / sqrt(fan-in), so that activations neither vanish nor saturate.
    What starts at zero, and hides what it multiplies, is random too.

    Args:
      layer: a built Keras layer.
      seed: of the random numbers.
    """
    generator = np.random.default_rng(seed)
    variables = [v for v in layer.variables if keras.backend.is_float_dtype(v.dtype)]
    saved = [ops.copy(ops.convert_to_tensor(v)) for v in variables]
    try:
        for variable in variables:
            shape = tuple(variable.shape)
            fan_in = max(int(np.prod(shape[:-1])), 1)
            values = generator.normal(size=shape) / np.sqrt(fan_in)
            # Statistics that a layer keeps, variances among them, have to stay positive.
            variable.assign(values if variable.trainable else np.abs(values))
        yield
    finally:
        for variable, value in zip(variables, saved, strict=True):
            variable.assign(value)
