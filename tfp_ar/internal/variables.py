"""A Keras layer's variables as TensorFlow and TFP need to see them."""

import weakref
from collections.abc import Iterator, Sequence

import keras
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

    def __init__(self, layer: keras.Layer):
        # Weakly: the registry of compiled networks holds one of these for each living network.
        self._layer_ref = weakref.ref(layer)

    @property
    def _layer(self) -> keras.Layer:
        layer = self._layer_ref()
        assert layer is not None, "the layer is gone"
        return layer

    def _synced(self) -> list[tf.Variable]:
        layer = self._layer
        trainable = {id(tf_private.raw_variable(v)) for v in layer.trainable_variables}
        variables = tf_private.raw_variables(layer)
        for variable in variables:
            tf_private.set_trainable(variable, id(variable) in trainable)
        return variables

    def __len__(self) -> int:
        return len(self._layer.variables)

    def __getitem__(self, index):
        return self._synced()[index]

    def __iter__(self) -> Iterator[tf.Variable]:
        return iter(self._synced())


def random_states(layer: keras.Layer) -> list[tf.Variable]:
    """Returns the states of a Keras layer's random generators, such as those of its dropout."""
    weights = {id(weight) for weight in layer.weights}
    states = [v for v in layer.variables if id(v) not in weights and "seed" in v.path]
    return [tf_private.raw_variable(state) for state in states]
