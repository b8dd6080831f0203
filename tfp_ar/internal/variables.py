"""A Keras layer's variables as TensorFlow and TFP need to see them."""

import itertools
import weakref
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfp_ar.internal import tf_private


class RawVariables(Sequence):
    """The tf.Variables of a Keras layer, as a sequence that stays up to date.

    A Keras 3 layer is no tf.Module and its variables are no tf.Variables: a TFP object that only
    holds the layer has no trainable variables, silently, and neither has anything around it.
    tf.Module walks attributes and sequences in them: held in an attribute, this one makes the
    variables visible, right through Chain, Invert and TransformedDistribution. Each reading copies
    Keras' view of what is trainable to the raw variables, so that freezing a layer is honoured. It
    is no list, so that checkpoints (which follow the layer itself) do not store the variables
    twice.

    Args:
      layer: a Keras layer; whoever uses this sequence must keep it alive.
    """

    def __init__(self, layer):
        # Weakly, as the registry of programs holds one of these for each living network.
        self._layer_ref = weakref.ref(layer)

    @property
    def _layer(self):
        return self._layer_ref()

    def _synced(self) -> list[tf.Variable]:
        trainable = {id(tf_private.raw_variable(v)) for v in self._layer.trainable_variables}
        variables = self.raw()
        for variable in variables:
            tf_private.set_trainable(variable, id(variable) in trainable)
        return variables

    def raw(self) -> list[tf.Variable]:
        """The variables, without asking which of them are trainable."""
        return [tf_private.raw_variable(variable) for variable in self._layer.variables]

    def __len__(self):
        return len(self._layer.variables)

    def __getitem__(self, index):
        return self._synced()[index]

    def __iter__(self):
        return iter(self._synced())


class ChangeCounter:
    """Tells whether variables may have changed: `counter()` is equal only while they have not.

    Eagerly, it keeps the last values read: as long as they are held, any update must go to a new
    buffer, so that comparing addresses finds every change (and contents tell apart a change from a
    mere copy). While a graph is built, it counts the ops in it that may write to the variables.

    Args:
      variables: function without arguments that gives the list of tf.Variables.

    Cost of a call: one read of each variable, without copying (some 20 microseconds each).
    """

    def __init__(self, variables):
        self._variables = variables
        self._count = 0
        self._values = []

    def __call__(self):
        """A hashable value, equal to an earlier one only if no variable has changed since."""
        if not tf.executing_eagerly():
            graph = tf.compat.v1.get_default_graph()
            return (*_graph(), tf_private.count_writes(graph, self._variables()))
        values = tf_private.read(self._variables())
        if len(values) != len(self._values) or not all(map(_same, values, self._values)):
            self._count += 1
            self._values = values
        return (None, self._count)


def _same(a: tf.Tensor, b: tf.Tensor) -> bool:
    """Whether two eager tensors hold the same bits."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if "CPU" not in a.device or a.dtype == tf.bfloat16:  # of which there is no view of the memory
        return bool(tf.reduce_all(tf.equal(_bits(a), _bits(b))))
    a, b = np.asarray(memoryview(a)), np.asarray(memoryview(b))
    same_place = a.__array_interface__["data"] == b.__array_interface__["data"]
    return same_place or a.tobytes() == b.tobytes()


def _bits(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor's bytes: a NaN is not equal to itself, its bytes are."""
    return tensor if tensor.dtype == tf.bool else tf.bitcast(tensor, tf.uint8)


class StableTensors:
    """Turns values into tensors, the same tensor as long as the value stays the same.

    TFP's caches know tensors by identity. An array that is converted at every call, or a variable
    that is read, would never be found in them: `log_prob` would sample. And an array that is
    changed in place must not be taken for what it was.

    Args:
      dtype: the tensors' dtype.
    """

    _size = 4  # conversions remembered; a call uses one or two

    def __init__(self, dtype):
        self._dtype = tf.as_dtype(dtype)
        self._entries = []  # (key, tensor), newest last

    def __call__(self, value) -> tf.Tensor:
        """`value` as a tensor."""
        value = _plain(value)
        is_tensor = tf.is_tensor(value) and not isinstance(value, tf.Variable)
        if is_tensor and value.dtype == self._dtype:
            return value
        return self._remembered(self.key(value), value)

    @staticmethod
    def key(value):
        """What is equal, and of equal hash, only for the same value."""
        value = _plain(value)
        if isinstance(value, tf.Variable):
            return ("variable", value.ref(), _counter(value)())
        if tf.is_tensor(value):
            return ("tensor", *_graph(), value.ref())
        return ("array", *_graph(), value.shape, value.dtype.str, value.tobytes())

    def _remembered(self, key, value):
        for known, tensor in self._entries:
            if known == key and not _unwatched(value, tensor):
                return tensor
        tensor = tf.cast(tf.convert_to_tensor(value), self._dtype)
        self._entries = [*self._entries[1 - self._size :], (key, tensor)]
        return tensor


_counters = {}  # of variables by their id, as long as they live


def _counter(variable) -> ChangeCounter:
    """The one change counter of a variable."""
    number = id(variable)
    if number not in _counters:
        reference = weakref.ref(variable, lambda _: _counters.pop(number, None))
        _counters[number] = reference, ChangeCounter(lambda: [reference()])
    return _counters[number][1]


def _plain(value):
    """A Keras variable as its tf.Variable, and what is no tensor as an array."""
    if hasattr(value, "_value"):
        return tf_private.raw_variable(value)
    return value if tf.is_tensor(value) else np.asarray(value)


class OwnHash:
    """Equal to all of its kind, with a hash that no other has.

    In what a cache hashes, it makes every question a new one, and leaves equality as it is.
    """

    _numbers = itertools.count()

    def __init__(self):
        self._number = next(self._numbers)

    def __eq__(self, other):
        return isinstance(other, OwnHash)

    def __hash__(self):
        return hash(self._number)


def _graph() -> tuple:
    """What tells the graph under construction from others and from eager execution."""
    return (
        None if tf.executing_eagerly() else tf_private.graph_key(tf.compat.v1.get_default_graph()),
    )


def _unwatched(value, tensor) -> bool:
    """Whether a tape watches `value` that does not watch `tensor`, which was once made from it."""
    if isinstance(value, np.ndarray) or not tf_private.tape_is_active():
        return False
    is_variable = isinstance(value, tf.Variable)
    source = ([], [value]) if is_variable else ([value], [])
    return tf_private.gradient_order([tensor], []) != tf_private.gradient_order(*source)


def random_states(layer) -> list[tf.Variable]:
    """The states of a Keras layer's random generators, such as those of its dropout."""
    weights = {id(weight) for weight in layer.weights}
    states = [v for v in layer.variables if id(v) not in weights and "seed" in v.path]
    return [tf_private.raw_variable(state) for state in states]
