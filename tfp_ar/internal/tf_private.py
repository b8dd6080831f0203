"""Every use of a private API of TensorFlow or Keras: the place to look at after an upgrade."""

import itertools
import weakref

import keras
import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import record
from tensorflow.python.ops import control_flow_util

# The type of tensors whose values are known. TensorFlow exports it in its internal namespace only.
EagerTensor = tf.__internal__.EagerTensor

# Graphs by themselves have no unique name (a function's graph takes over the key of the one around
# it), and an id may come back.
_graph_numbers = weakref.WeakKeyDictionary()
_numbers = itertools.count()


def raw_variable(variable) -> tf.Variable:
    """The tf.Variable under a Keras variable, whatever scope (stateless, autocast) is active."""
    return variable._value


def set_trainable(variable: tf.Variable, trainable: bool) -> None:
    """Sets what tf.Module and tf.GradientTape read of a variable; TF has no public setter."""
    variable._trainable = trainable


def raw_variables(layer) -> list[tf.Variable]:
    """Returns the tf.Variables under all variables of a Keras layer."""
    return [variable._value for variable in layer.variables]


def read(variables) -> list[tf.Tensor]:
    """Returns the values of variables, of which no tape takes notice."""
    with record.stop_recording():
        return [tf.raw_ops.ReadVariableOp(resource=v.handle, dtype=v.dtype) for v in variables]


def layers_in_collections(layer) -> dict[str, keras.Layer]:
    """The layers in a layer's lists and dicts, by names such as 'blocks_0'."""
    found = {}
    for name in layer._tracked:
        members = getattr(layer, name)
        pairs = members.items() if isinstance(members, dict) else enumerate(members)
        found |= {f"{name}_{i}": m for i, m in pairs if isinstance(m, keras.Layer)}
    return found


def not_tracked(variables, trackables) -> list[tf.Variable]:
    """Those of a list of Keras variables that no object tracks, as raw variables."""
    reached, pending = set(), list(trackables)
    while pending:
        node = pending.pop()
        if id(node) not in reached:
            reached.add(id(node))
            pending += getattr(node, "_trackable_children", dict)().values()
    return [
        raw_variable(v)
        for v in variables
        if id(v) not in reached and id(raw_variable(v)) not in reached
    ]


def not_recording():
    """Returns a context that no tape records, whatever tapes are open."""
    return record.stop_recording()


def tape_is_active() -> bool:
    """Returns True if a gradient tape is open and recording."""
    return record.could_possibly_record()


def gradient_order(tensors, variables=()) -> int:
    """Returns how the open tapes watch: 0 none of these, 1 one of them, 2 several or at once."""
    for variable in [v for v in variables if v.trainable][:1]:
        # Tapes watch a variable when it is first read: read one, or a new tape looks like none.
        tf.convert_to_tensor(variable)
    handles = [variable.handle for variable in variables]
    return pywrap_tfe.TFE_Py_TapeSetPossibleGradientTypes([*tensors, *handles])


def graph_key(graph):
    """A number for `graph` that no other graph gets, or None if it is None."""
    if graph is None:
        return None
    if graph not in _graph_numbers:
        _graph_numbers[graph] = next(_numbers)
    return _graph_numbers[graph]


def in_xla_context() -> bool:
    """Whether the graph under construction will be compiled by XLA as a whole."""
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )


def count_writes(graph, variables) -> int:
    """How many ops of `graph` may have written to `variables` so far."""
    inner = {id(outer): placeholder for outer, placeholder in getattr(graph, "captures", ())}
    handles = [
        inner.get(id(v.handle), v.handle if _is_of(v.handle, graph) else None) for v in variables
    ]
    return sum(
        op.type != "ReadVariableOp" for h in handles if h is not None for op in h.consumers()
    )


def _is_of(tensor, graph) -> bool:
    return getattr(tensor, "graph", None) is graph


def averages(optimizer) -> list[tuple]:
    """Pairs (variable, its moving average) that a Keras optimizer keeps; none without use_ema."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    if not (optimizer.use_ema and optimizer.built):
        return []
    pairs = zip(
        optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
    )
    return [(variable, average) for variable, average in pairs if average is not None]


def steps_taken(optimizer) -> tf.Variable:
    """How often a Keras optimizer was applied, accumulation of gradients included."""
    return getattr(optimizer, "inner_optimizer", optimizer)._iterations


def keras_layers(module: tf.Module) -> list[keras.Layer]:
    """The outermost Keras layers that a tf.Module holds, at any depth, each once."""
    found = module._flatten(recursive=True, predicate=lambda part: isinstance(part, keras.Layer))
    return list({id(layer): layer for layer in found}.values())
