"""Conversion to tensors that gives the same tensor for the same value."""

import weakref
from collections.abc import Hashable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_ar.bijectors.caching.weights_aware_cache import WeightsVersion
from tfp_ar.internal import tf_private


class TensorMemo:
    """Converter of values to tensors, the same tensor as long as the value stays the same.

    TFP's caches identify tensors by `is`. An array that is converted at every call, or a variable
    that is read at every call, would never be found in them: `log_prob` would sample. An array that
    was changed in place must give a new tensor, though.

    Args:
      dtype: the tensors' dtype.
    """

    _size = 4  # conversions remembered; a call uses one or two

    def __init__(self, dtype: Any):
        self._dtype = tf.as_dtype(dtype)
        self._entries: list = []  # (key, tensor), newest last

    def __call__(self, value: Any) -> tf.Tensor:
        """Returns `value` as a tensor."""
        value = _plain(value)
        is_tensor = tf.is_tensor(value) and not isinstance(value, tf.Variable)
        if is_tensor and value.dtype == self._dtype:
            return value
        return self._remembered(self.key(value), value)

    @staticmethod
    def key(value: Any) -> Hashable:
        """Returns a key that is equal, and has an equal hash, only for the same value."""
        value = _plain(value)
        if isinstance(value, tf.Variable):
            return ("variable", value.ref(), _version_of(value)())
        if tf.is_tensor(value):
            return ("tensor", _graph(), value.ref())
        return ("array", _graph(), value.shape, value.dtype.str, value.tobytes())

    def _remembered(self, key, value):
        for known, tensor in self._entries:
            if known == key and not _unwatched(value, tensor):
                return tensor
        tensor = tf.cast(tf.convert_to_tensor(value), self._dtype)
        self._entries = [*self._entries[1 - self._size :], (key, tensor)]
        return tensor


_versions: dict = {}  # by the variables' ids, as long as these live


def _version_of(variable) -> WeightsVersion:
    """Returns the one WeightsVersion of a variable."""
    number = id(variable)
    if number not in _versions:
        reference = weakref.ref(variable, lambda _: _versions.pop(number, None))
        _versions[number] = reference, WeightsVersion(lambda: [reference()])
    return _versions[number][1]


def _plain(value):
    """Returns the tf.Variable of a Keras variable, a tensor as it is, all else as an array."""
    if isinstance(value, keras.Variable):
        return tf_private.raw_variable(value)
    return value if tf.is_tensor(value) else np.asarray(value)


def _graph():
    """Returns a key of the graph under construction; None in eager execution."""
    if tf.executing_eagerly():
        return None
    return tf_private.graph_key(tf.compat.v1.get_default_graph())


def _unwatched(value, tensor) -> bool:
    """Returns True if a tape watches `value` that does not watch `tensor`, once made from it."""
    if isinstance(value, np.ndarray) or not tf_private.tape_is_active():
        return False
    source = ([], [value]) if isinstance(value, tf.Variable) else ([value], [])
    return tf_private.gradient_order([tensor]) != tf_private.gradient_order(*source)
