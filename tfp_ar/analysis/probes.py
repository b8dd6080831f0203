"""Probes of a network: positions, random inputs, random weights, and gradients that are not 0."""

import contextlib
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfp_ar.networks import AutoregressiveNetwork


def as_position(position: Any, shape: Sequence[int]) -> tuple[int, ...]:
    """Returns an index, or a sequence of indices, into the first dimensions of `shape` as a tuple.

    Raises:
      TypeError: if it is neither an integer nor a sequence of integers.
      ValueError: if it is longer than `shape` or not inside it.
    """
    try:
        given = [position] if np.ndim(position) == 0 else position
        indices = tuple(operator.index(i) for i in given)
    except TypeError:
        raise TypeError(
            f"position: expected an integer or a sequence of integers, got {position!r}."
        ) from None
    shape = list(shape)
    if len(indices) > len(shape):
        raise ValueError(
            f"position: expected at most {len(shape)} indices, into shape {shape}, got "
            f"{list(indices)}."
        )
    if not all(0 <= i < size for i, size in zip(indices, shape, strict=False)):
        raise ValueError(f"position: expected indices within shape {shape}, got {list(indices)}.")
    return indices


def normal(generator: np.random.Generator, shape: Sequence[int], dtype: Any) -> tf.Tensor:
    """Draws a tensor of standard normal numbers."""
    return tf.constant(generator.normal(size=shape), dtype)


def random_arguments(
    network: AutoregressiveNetwork, generator: np.random.Generator, *batch: int
) -> tuple[tf.Tensor, Any]:
    """Draws normal numbers for a network: x [*batch, *event_shape] and a `conditional_input`."""

    def value(shape):
        return normal(generator, shape, network.variable_dtype)

    return value([*batch, *network.event_shape]), network.example_conditioning(batch, value)


def has_gradient(tape: tf.GradientTape, targets: Any, x: tf.Tensor) -> np.ndarray:
    """Computes where the gradient of the targets' sum by x is not zero: bool, of x's shape.

    A NaN counts, as it is not zero.
    """
    gradient = tape.gradient(targets, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.convert_to_tensor(gradient).numpy() != 0


@contextlib.contextmanager
def random_weights(layer: keras.Layer, seed: int | Sequence[int]) -> Iterator[None]:
    """Replaces all float variables of a layer by random ones, and restores them on leaving.

    They are normal with standard deviation 1 / sqrt(fan-in), so that activations neither vanish nor
    saturate. Weights that start at zero, and hide what they multiply, become random too.

    Args:
      layer: a built Keras layer.
      seed: seed of the random numbers.
    """
    generator = np.random.default_rng(seed)
    variables = [v for v in layer.variables if keras.backend.is_float_dtype(v.dtype)]
    saved = [ops.copy(ops.convert_to_tensor(v)) for v in variables]
    try:
        for variable in variables:
            shape = tuple(variable.shape)
            fan_in = max(int(np.prod(shape[:-1])), 1)
            values = generator.normal(size=shape) / np.sqrt(fan_in)
            # A layer may keep variances and the like as variables, whose roots must not be NaN.
            variable.assign(values if variable.trainable else np.abs(values))
        yield
    finally:
        for variable, value in zip(variables, saved, strict=True):
            variable.assign(value)
