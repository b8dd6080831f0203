"""The data of `DensityModel`: values, alone or with their conditioning."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.conditioning import forwarding
from tfp_ar.conditioning.spec import map_conditions
from tfp_ar.distributions import AutoregressiveDistribution, Dequantized
from tfp_ar.distributions.support import IntegerSupport
from tfp_ar.internal import checks, shapes

tfd = tfp.distributions

VALUE, CONDITION = "value", "conditional_input"
_FORMS = "value, (value, conditional_input) or a dict with these two keys"


def unpack(element: Any) -> tuple[Any, Any]:
    """Returns (value, conditional_input or None) from an element of a dataset.

    Raises:
      TypeError, ValueError: if the element does not have one of the known forms.
    """
    if isinstance(element, dict):
        if VALUE not in element or set(element) - {VALUE, CONDITION}:
            raise ValueError(f"x: expected {_FORMS}, got the keys {sorted(map(str, element))}.")
        return element[VALUE], element.get(CONDITION)
    if not isinstance(element, (tuple, list)):
        return element, None
    if len(element) == 3 and element[2] is None:  # from Keras' methods for single batches
        element = element[:2]
    if not 1 <= len(element) <= 2:
        raise ValueError(
            f"x: expected {_FORMS}, got a tuple of {len(element)}; weights of examples are not "
            "supported."
        )
    return element[0], element[1] if len(element) == 2 else None


def refuse_weights(method: str, kwargs: Iterable[str]) -> None:
    """Raises a TypeError for keyword arguments of a Keras method that weight examples."""
    refused = {"class_weight", "sample_weight"} & set(kwargs)
    if refused:
        raise TypeError(f"{method}: expected no weights of examples, got {sorted(refused)}.")


def is_stream(x: Any) -> bool:
    """Returns True if x is a dataset that yields batches itself, not an array."""
    return isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)) or hasattr(x, "__next__")


def pair(x: Any, y: Any, conditional_input: Any) -> tuple[Any, Any]:
    """Returns (x, conditioning); the latter may be passed as y, or with x in a tuple or dict.

    Raises:
      ValueError: if the conditioning is passed twice.
    """
    x, inside = unpack(x) if isinstance(x, (tuple, dict)) else (x, None)
    passed = [c for c in (inside, y, conditional_input) if c is not None]
    if len(passed) > 1:
        raise ValueError("conditional_input: expected it once, got it in another place too.")
    return x, passed[0] if passed else None


def split(x: Any, condition: Any, fraction: float) -> tuple[Any, Any, tuple[Any, Any]]:
    """Splits off the last rows of arrays; returns (x, condition, validation data).

    Raises:
      ValueError: if x is a dataset, or one side would have no rows.
    """
    if is_stream(x):
        raise ValueError("validation_split: expected 0 for a dataset, which you have to split.")
    rows = len(x) - round(len(x) * fraction)
    if not 0 < rows < len(x):
        raise ValueError(
            f"validation_split: expected a fraction that leaves rows on both sides, got {fraction}."
        )
    held_out = x[rows:], map_conditions(lambda part: part[rows:], condition)
    return x[:rows], map_conditions(lambda part: part[:rows], condition), held_out


def batches(
    distribution: tfd.Distribution,
    x: Any,
    condition: Any,
    batch_size: int | None,
    shuffle: bool,
    seed: int,
    position: Callable[[], int],
) -> Any:
    """Returns what Keras reads batches from: a dataset as it is, or `ArrayBatches`; both checked.

    Raises:
      TypeError, ValueError: if the data do not fit the distribution.
    """
    if not is_stream(x):
        return ArrayBatches(distribution, x, condition, batch_size, shuffle, seed, position)
    if condition is not None:
        raise ValueError(
            "conditional_input: expected it in the elements of the dataset, as (value, "
            "conditional_input), got a second argument."
        )
    check_stream(distribution, x)
    return x


def check_stream(distribution: tfd.Distribution, x: Any) -> None:
    """Checks the element spec of a dataset, before the first batch is read.

    Raises:
      TypeError, ValueError: if a shape is wrong, or conditioning is missing, invalid or not
        expected.
    """
    if isinstance(x, tf.data.Dataset):
        value, condition = unpack(x.element_spec)
        _check_batch(distribution, value.shape, condition)


def _check_batch(distribution, shape, condition):
    shape = None if getattr(shape, "rank", 0) is None else list(shape)
    event = list(distribution.event_shape)
    shapes.check_event_shape("x", shape, event)
    if shape is not None and len(shape) != 1 + len(event):
        wanted = ", ".join(["batch", *map(str, event)])
        raise ValueError(f"x: expected batches of shape [{wanted}], got {shape}.")
    forwarding.check_conditioning(distribution, condition)


class ArrayBatches(keras.utils.PyDataset):
    """Batches of arrays, whose order is a function of the seed and the step alone.

    Batch b of a training run is the same in every process, so that training resumes at the right
    place.

    Args:
      distribution: the distribution that the values are checked against.
      value: array [n, *event].
      condition: array [n, ...], a dict of such arrays, or None.
      batch_size: rows per batch; the last batch of an epoch has the rest. Default None: all rows in
        one batch.
      shuffle: whether each epoch has its own order. Default False.
      seed: seed of the orders. Default 0.
      position: function without arguments that returns the number of batches drawn before this
        epoch. Default: a function that returns 0.

    Attributes:
      skipped: batches to leave out before the first, so that an epoch begins with a new order.

    Raises:
      TypeError, ValueError: if values have the wrong shape, are NaN or infinite, or are not in the
        support; or if the conditioning is missing, invalid or not expected.
    """

    def __init__(
        self,
        distribution: tfd.Distribution,
        value: Any,
        condition: Any,
        batch_size: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        position: Callable[[], Any] = lambda: 0,
    ):
        super().__init__()
        value = _as_numbers("x", value)
        condition = map_conditions(lambda part: _as_numbers(CONDITION, part), condition)
        _check_batch(distribution, value.shape, condition)
        _check_rows(value, condition)
        _check_finite("x", value)
        if isinstance(distribution, (AutoregressiveDistribution, Dequantized)):
            distribution.support.check(value, "x")
        elif distribution.dtype.is_integer:  # the cast would cut off fractions
            IntegerSupport().check(value, "x")
        self._value, self._condition = value, condition
        self._dtype = distribution.dtype.as_numpy_dtype
        self._condition_dtype = forwarding.float_dtype(distribution).as_numpy_dtype
        self._batch_size = (
            len(value) if batch_size is None else checks.positive_int("batch_size", batch_size)
        )
        self._shuffle, self._seed, self._position = shuffle, seed, position
        self._before_epoch = self._first = self.skipped = 0
        self._order: tuple = (None, None)  # the epoch, and its order

    @property
    def num_batches(self) -> int:
        """The number of batches per epoch."""
        return -(-len(self._value) // self._batch_size)

    def __len__(self) -> int:
        return self.num_batches

    def on_epoch_begin(self) -> None:
        """Reads the position; Keras calls this in its own thread."""
        self._before_epoch = int(self._position()) + self.skipped

    def __getitem__(self, index: int) -> tuple:
        """Returns batch `index`, counted from the beginning of this pass over the data."""
        if index == 0:
            self._first = self._before_epoch
        epoch, number = divmod(self._first + index, self.num_batches)
        rows = slice(number * self._batch_size, (number + 1) * self._batch_size)
        if self._shuffle:
            if self._order[0] != epoch:
                generator = np.random.default_rng([self._seed, epoch])
                self._order = epoch, generator.permutation(len(self._value))
            rows = self._order[1][rows]

        value = self._value[rows].astype(self._dtype)
        if self._condition is None:
            return (value,)
        return value, map_conditions(
            lambda part: part[rows].astype(self._condition_dtype), self._condition
        )


def _as_numbers(name, value) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" and not tf.as_dtype(array.dtype).is_floating:
        raise TypeError(f"{name}: expected an array of numbers, got one of dtype {array.dtype}.")
    return array


def _check_rows(value, condition):
    if not len(value):
        raise ValueError(f"x: expected at least one example, got shape {list(value.shape)}.")
    for part in [] if condition is None else tf.nest.flatten(condition):
        if not part.ndim or len(part) != len(value):
            raise ValueError(
                f"{CONDITION}: expected {len(value)} rows, one for each of x, got shape "
                f"{list(part.shape)}."
            )
        _check_finite(CONDITION, part)


def _check_finite(name, array):
    finite = np.isfinite(array)
    if not finite.all():
        raise ValueError(f"{name}: expected finite numbers, got {array[~finite].ravel()[0]}.")
