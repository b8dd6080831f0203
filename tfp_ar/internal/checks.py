"""Argument checks. Each raises before any tensor work and names argument, expectation, value."""

import numbers
import operator
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def positive_int(name: str, value: Any) -> int:
    """Returns `value` as an int of at least 1.

    Args:
      name: the argument's name, for the message.
      value: what the caller passed.

    Raises:
      TypeError: if `value` is not an integer.
      ValueError: if it is smaller than 1.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a positive integer, got {value!r}.") from None
    if number < 1:
        raise ValueError(f"{name}: expected a positive integer, got {value!r}.")
    return number


def positive_ints(name: str, value: Any) -> tuple[int, ...]:
    """Returns `value`, a non-empty sequence of positive integers, as a tuple.

    Raises:
      TypeError: if `value` is not a sequence of integers.
      ValueError: if it is empty or holds an entry smaller than 1.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        try:  # tf.TensorShape, numpy arrays and the like
            value = [operator.index(v) for v in list(value)]
        except TypeError:
            raise TypeError(
                f"{name}: expected a sequence of positive integers, got {value!r}."
            ) from None
    if not len(value):
        raise ValueError(f"{name}: expected at least one positive integer, got {value!r}.")
    return tuple(positive_int(f"{name}[{i}]", v) for i, v in enumerate(value))


def axes(name: str, value: Any, rank: int) -> tuple[int, ...]:
    """Returns an axis, or a sequence of different axes, of a tensor of `rank` as a sorted tuple.

    Args:
      name: the argument's name, for the message.
      value: an int or a sequence of ints; negative ones count from the last axis.
      rank: the number of axes.

    Raises:
      TypeError: if `value` is neither.
      ValueError: if an axis is out of range or comes twice.
    """
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        given = [operator.index(v) for v in ([value] if np.ndim(value) == 0 else value)]
    except TypeError:
        raise TypeError(f"{name}: expected an axis or a sequence of axes, got {value!r}.") from None
    if any(not -rank <= axis < rank for axis in given):
        raise ValueError(f"{name}: expected axes in {-rank}..{rank - 1}, got {value!r}.")
    axes = sorted(axis % rank for axis in given)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: expected each axis once, got {value!r}.")
    return tuple(axes)


def odd_pair(name: str, value: Any) -> tuple[int, int]:
    """Returns an odd positive integer, or a pair of them, as a pair.

    Raises:
      TypeError, ValueError: if it is neither.
    """
    pair = (value, value) if np.ndim(value) == 0 else value
    pair = tuple(positive_int(name, size) for size in pair)
    if len(pair) != 2 or any(size % 2 == 0 for size in pair):
        raise ValueError(f"{name}: expected an odd integer or a pair of them, got {value!r}.")
    return pair


def multiple(name: str, value: int, divisor: int, divisor_name: str) -> None:
    """Raises a ValueError unless `value` divides by `divisor`; messages have both names."""
    if value is None or value % divisor:
        raise ValueError(f"{name}: expected a multiple of {divisor_name}={divisor}, got {value}.")


def positive_float(name: str, value: Any) -> float:
    """Returns `value` as a finite float above 0, or raises as `positive_int` does."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a positive number, got {value!r}.")
    if not 0.0 < float(value) < float("inf"):
        raise ValueError(f"{name}: expected a positive finite number, got {value!r}.")
    return float(value)


def int_between(name: str, value: Any, low: int, high: int) -> int:
    """Returns `value` as an int in low..high, both inclusive.

    Raises:
      TypeError: if `value` is not an integer.
      ValueError: if it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected an integer in {low}..{high}, got {value!r}.")
    if not low <= int(value) <= high:
        raise ValueError(f"{name}: expected an integer in {low}..{high}, got {value!r}.")
    return int(value)


def optional_int(name: str, value: Any) -> int | None:
    """Returns `value`, an integer such as a seed, as an int; or None if it is None.

    Raises:
      TypeError: if it is neither.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: expected an integer or None, got {value!r}.")
    return int(value)


def fraction(name: str, value: Any) -> float:
    """Returns `value` as a float in [0, 1), or raises as `positive_int` does."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a number in [0, 1), got {value!r}.")
    if not 0.0 <= float(value) < 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1), got {value!r}.")
    return float(value)


def one_of(name: str, value: Any, options: Sequence) -> Any:
    """Returns `value` if it is among `options`, or raises a ValueError that lists them."""
    if value not in options:
        listed = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name}: expected one of {listed}, got {value!r}.")
    return value


def hashable_function(name: str, value: Any) -> None:
    """Raises a TypeError unless `value` is a function that can be a key of compiled code."""
    if not callable(value):
        raise TypeError(f"{name}: expected a function, got {value!r}.")
    try:
        hash(value)
    except TypeError:
        raise TypeError(f"{name}: expected a hashable function, got {value!r}.") from None


def num_params(function: Callable, given: int) -> None:
    """Checks the network's number of parameters where a function of them says what it takes.

    Raises:
      ValueError: if `function.num_params` is another than the network's, `given`.
    """
    wanted = getattr(function, "num_params", given)
    if wanted != given:
        raise ValueError(
            f"network.num_params: expected {wanted}, which {function!r} takes of each variable, "
            f"got {given}."
        )


def reads_no_variables(name: str, function: Callable, *specs: tf.TensorSpec, hint: str) -> None:
    """Checks that `function` depends on its arguments only: compiled code and gradients need that.

    Args:
      name: the argument's name, for the message.
      function: function of tensors.
      *specs: tf.TensorSpecs of its arguments.
      hint: the end of the message.

    Raises:
      ValueError: if it reads variables.
    """
    graph = tf.function(function, autograph=False).get_concrete_function(*specs)
    if graph.variables:
        raise ValueError(
            f"{name}: expected a function of its arguments only, got one that reads "
            f"{sorted({v.name for v in graph.variables})}. {hint}"
        )


def require_tensorflow_backend(what: str) -> None:
    """Raises a RuntimeError unless Keras runs on TensorFlow, the only backend TFP can use."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"{what} needs Keras' TensorFlow backend, as TensorFlow Probability does; Keras runs "
            f"on {keras.backend.backend()!r}. Set KERAS_BACKEND=tensorflow before importing keras."
        )
