"""Every use of a private API of TensorFlow or Keras: the place to look at after an upgrade.

`HOOKS` lists the private methods that classes of ours override, with the arguments that these rely
on; tests/internal/test_private_apis.py tests each function here, and fails if a hook is gone.
"""

import contextlib
import itertools
import weakref
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import record
from tensorflow.python.ops import control_flow_util

HOOKS: dict[Any, dict[str, list[str]]] = {
    # tf.train.Checkpoint does not see what Keras keeps in lists.
    keras.layers.Layer: {"_trackable_children": ["save_type", "kwargs"]},
}

# The keyword argument by which Keras' fit calls evaluate for validation.
CACHED_EVALUATION = "_use_cached_eval_dataset"

# The type of tensors whose values are known. TensorFlow exports it in its internal namespace only.
EagerTensor = tf.__internal__.EagerTensor

# Graphs by themselves have no unique name (a function's graph takes over the key of the one around
# it), and an id may come back.
_graph_numbers: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_numbers = itertools.count()


def raw_variable(variable: keras.Variable) -> tf.Variable:
    """Returns the tf.Variable under a Keras variable.

    `variable.value` gives a cast or another tensor within an autocast or a stateless scope.
    """
    return variable._value


def raw_variables(layer: keras.Layer) -> list[tf.Variable]:
    """Returns the tf.Variables under all variables of a Keras layer."""
    return [variable._value for variable in layer.variables]


def set_trainable(variable: tf.Variable, trainable: bool) -> None:
    """Sets what tf.Module and tf.GradientTape read of a variable.

    TensorFlow has no public setter, and Keras' freezing does not reach the tf.Variable.
    """
    variable._trainable = trainable


def read(variables: Iterable[tf.Variable]) -> list[tf.Tensor]:
    """Returns the values of variables, of which no tape takes notice.

    A public read under a tape would be recorded each time that a cache asks for the version.
    """
    with record.stop_recording():
        return [tf.raw_ops.ReadVariableOp(resource=v.handle, dtype=v.dtype) for v in variables]


def layers_in_collections(layer: keras.Layer) -> dict[str, keras.Layer]:
    """Returns the layers in a layer's lists and dicts, by names such as 'blocks_0'.

    Keras offers no public list of the attributes that it tracks.
    """
    found: dict[str, keras.Layer] = {}
    for name in layer._tracked:
        members = getattr(layer, name)
        pairs = members.items() if isinstance(members, dict) else enumerate(members)
        found |= {f"{name}_{i}": m for i, m in pairs if isinstance(m, keras.Layer)}
    return found


def not_tracked(
    variables: Iterable[keras.Variable], trackables: Iterable[Any]
) -> list[tf.Variable]:
    """Returns those of a list of Keras variables that no object tracks, as raw variables.

    A checkpoint would leave them out without a word.
    """
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


def not_recording() -> contextlib.AbstractContextManager:
    """Returns a context that no tape records, whatever tapes are open.

    `tf.GradientTape.stop_recording` stops one tape, which would have to be known.
    """
    return record.stop_recording()


def tape_is_active() -> bool:
    """Returns True if a gradient tape is open and recording; no public function tells."""
    return record.could_possibly_record()


def gradient_order(tensors: Sequence[tf.Tensor], variables: Sequence[tf.Variable] = ()) -> int:
    """Returns the order of derivatives by any of these that open tapes could give: 0, 1 or 2.

    No public function tells what a tape watches.
    """
    for variable in [v for v in variables if v.trainable][:1]:
        # Tapes watch a variable when it is first read: read one, or a new tape looks like none.
        tf.convert_to_tensor(variable)
    handles = [variable.handle for variable in variables]
    return pywrap_tfe.TFE_Py_TapeSetPossibleGradientTypes([*tensors, *handles])


def graph_key(graph: tf.Graph) -> Hashable:
    """Returns a number for `graph` that no other graph gets."""
    if graph not in _graph_numbers:
        _graph_numbers[graph] = next(_numbers)
    return _graph_numbers[graph]


def in_xla_context() -> bool:
    """Returns True if the graph under construction will be compiled by XLA as a whole.

    Shapes are fixed there, so that padding a batch would be in vain.
    """
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )


def count_writes(graph: tf.Graph, variables: Iterable[tf.Variable]) -> int:
    """Counts the ops of `graph` that may have written to `variables` so far.

    Captures are no public attribute of all graphs.
    """
    inner = {id(outer): placeholder for outer, placeholder in getattr(graph, "captures", ())}
    handles = [
        inner.get(id(v.handle), v.handle if _is_of(v.handle, graph) else None) for v in variables
    ]
    return sum(
        op.type != "ReadVariableOp" for h in handles if h is not None for op in h.consumers()
    )


def _is_of(tensor, graph) -> bool:
    return getattr(tensor, "graph", None) is graph


def averages(optimizer: keras.optimizers.Optimizer) -> list[tuple]:
    """Returns the pairs (variable, its moving average) that a Keras optimizer keeps.

    There are none without use_ema. Keras has only a method that overwrites the variables.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    if not (optimizer.use_ema and optimizer.built):
        return []
    pairs = zip(
        optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
    )
    return [(variable, average) for variable, average in pairs if average is not None]


def steps_taken(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Returns how often a Keras optimizer was applied, accumulation of gradients included.

    The public `iterations` counts updates of the variables.
    """
    return getattr(optimizer, "inner_optimizer", optimizer)._iterations


def keras_layers(module: tf.Module) -> list[keras.Layer]:
    """Returns the outermost Keras layers that a tf.Module holds, at any depth, each once.

    The public `tf.Module.submodules` gives modules only, which Keras layers are not.
    """
    found = module._flatten(recursive=True, predicate=lambda part: isinstance(part, keras.Layer))
    return list({id(layer): layer for layer in found}.values())


def assert_compiled(model: keras.Model, method: str) -> None:
    """Raises Keras' own error if `method` is called before `compile`."""
    model._assert_compile_called(method)
