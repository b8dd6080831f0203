"""What the analyses share: positions, random inputs, and what a gradient shows."""

import operator

import numpy as np
import tensorflow as tf


def as_position(position, shape) -> tuple[int, ...]:
    """An index, or a sequence of them, into the first dimensions of `shape`, as a tuple.

    Raises:
      TypeError: if it is no integer and no sequence of integers.
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


def normal(generator, shape, dtype):
    """A tensor of standard normal numbers."""
    return tf.constant(generator.normal(size=shape), dtype)


def random_arguments(network, generator, *batch):
    """Normal numbers for a network: x [*batch, *event_shape] and a `conditional_input`."""

    def value(shape):
        return normal(generator, shape, network.variable_dtype)

    return value([*batch, *network.event_shape]), network.example_conditioning(batch, value)


def has_gradient(tape, targets, x) -> np.ndarray:
    """Where the gradient of all targets' sum by x is not zero: bool, of x's shape.

    A NaN is no zero: it counts.
    """
    gradient = tape.gradient(targets, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.convert_to_tensor(gradient).numpy() != 0
