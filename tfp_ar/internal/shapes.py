"""Shapes: their checks; many batch dimensions into one and back; padding of that one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops


def static_shape(value: Any) -> list | None:
    """Returns the static shape of anything a tensor can be made of, None where unknown."""
    shape = getattr(value, "shape", None)
    if shape is None:
        shape = ops.convert_to_tensor(value).shape
    if getattr(shape, "rank", 0) is None:
        return None
    return list(shape)


def check_event_shape(name: str, shape: Sequence | None, expected: Sequence[int]) -> None:
    """Checks that a static shape ends in `expected`; unknown dimensions pass.

    Args:
      name: the argument's name, for the message.
      shape: the static shape, None for an unknown dimension or rank.
      expected: the trailing dimensions wanted.

    Raises:
      ValueError: if a known dimension differs or dimensions are missing.
    """
    if shape is None:
        return
    shape, expected = list(shape), list(expected)
    tail = shape[len(shape) - len(expected) :] if len(shape) >= len(expected) else None
    if tail == expected:
        return
    if tail is None or any(s is not None and s != e for s, e in zip(tail, expected, strict=True)):
        wanted = ", ".join(["...", *map(str, expected)])
        raise ValueError(f"{name}: expected shape [{wanted}], got {shape}.")


def leading(x: Any, event_ndims: int) -> tuple:
    """Returns the shape of x without its last `event_ndims` dimensions.

    Known dimensions are ints, others scalar tensors.
    """
    shape = ops.shape(x)
    return tuple(shape[: len(shape) - event_ndims])


def broadcast_leading(shapes: Sequence[Sequence]) -> tuple:
    """Broadcasts leading shapes (of ints and scalar tensors) against each other.

    Raises:
      ValueError: if known dimensions do not broadcast.
    """
    if len(shapes) == 1:
        return tuple(shapes[0])
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(_broadcast_dimension(sizes, shapes) for sizes in zip(*padded, strict=True))


def _broadcast_dimension(sizes, shapes):
    known = {size for size in sizes if isinstance(size, int)} - {1}
    unknown = [size for size in sizes if not isinstance(size, int)]
    if len(known) > 1:
        shown = " and ".join(str(list(shape)) for shape in shapes)
        raise ValueError(f"conditional_input: batch shapes {shown} do not broadcast.")
    if known:
        return known.pop()
    if not unknown:
        return 1
    size = unknown[0]
    for other in unknown[1:]:  # of two unknown sizes, one that is 1 gives way to the other
        size = ops.where(ops.equal(size, 1), other, size)
    return size


def flatten(values: Sequence, event_ndims: Sequence[int], shape: Sequence) -> list:
    """Broadcasts each value to leading shape `shape` and merges that into one dimension.

    Args:
      values: tensors.
      event_ndims: for each, how many trailing dimensions are no batch dimensions.
      shape: the leading shape, as `broadcast_leading` gives it.

    Returns: the tensors, [n, *trailing] each.
    """
    size = batch_size(shape)
    flat = []
    for value, ndims in zip(values, event_ndims, strict=True):
        before = leading(value, ndims)
        trailing = ops.shape(value)[len(before) :]
        if not same_shape(before, shape):
            value = ops.broadcast_to(value, (*shape, *trailing))
        if len(shape) != 1:
            value = ops.reshape(value, (size, *trailing))
        flat.append(value)
    return flat


def unflatten(value: Any, shape: Sequence) -> Any:
    """Undoes `flatten`: [n, *trailing] to [*shape, *trailing]."""
    if len(shape) == 1:
        return value
    return ops.reshape(value, (*shape, *ops.shape(value)[1:]))


def same_shape(a: Sequence, b: Sequence) -> bool:
    """Returns True if two leading shapes are known to be equal."""
    return len(a) == len(b) and all(
        x is y or (isinstance(x, int) and isinstance(y, int) and x == y)
        for x, y in zip(a, b, strict=True)
    )


def batch_size(shape: Sequence) -> Any:
    """Returns the number of elements of a leading shape: an int if all dimensions are known."""
    if all(isinstance(size, int) for size in shape):
        return int(np.prod(shape, dtype=np.int64))
    return ops.prod(ops.stack([ops.cast(size, "int32") for size in shape]))


def padded_size(size: int) -> int:
    """Returns the smallest of 1, 2, 3, 4, 6, 8, 12, 16, ... that is at least `size`.

    XLA compiles once for each batch size (seconds); two sizes an octave bound the number of
    compiles and waste at most a third of the arithmetic. An empty batch is computed as one of size
    1.
    """
    power = 1 << max(size - 1, 0).bit_length()
    return 3 * power // 4 if power >= 4 and size <= 3 * power // 4 else power


def pad(values: list, size: Any, padded: Any) -> list:
    """Appends copies of the first row to each tensor, from `size` to `padded` rows.

    Copies, not zeros: what is valid for a row of the batch is valid for its copy, so that no
    padding can bring a NaN into a gradient. Only an empty batch gets zeros.
    """
    if padded is size or (isinstance(size, int) and size == padded):
        return values
    return [_pad_rows(value, size, padded - size) for value in values]


def _pad_rows(value, size, missing):
    trailing = tuple(ops.shape(value)[1:])
    # An unknown size may be 0, when value[:1] has no row to copy: hence the row of zeros behind.
    zeros = ops.zeros((1, *trailing), value.dtype)
    row = ops.concatenate([value[:1], zeros], 0)[:1]
    return ops.concatenate([value, ops.broadcast_to(row, (missing, *trailing))], 0)


def padded_size_tensor(size: Any) -> Any:
    """Computes `padded_size` of a scalar tensor."""
    sizes = sorted({padded_size(n) for k in range(31) for n in (1 << k, (1 << k) + 1)})
    table = ops.convert_to_tensor(sizes, dtype="int32")
    return ops.take(table, ops.sum(ops.cast(table < size, "int32")))
