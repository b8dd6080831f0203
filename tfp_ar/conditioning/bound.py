"""The conditioning that a bijector or distribution holds, and the batch shape that it gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_ar.conditioning.spec import ConditioningSpec, map_conditions
from tfp_ar.internal import shapes


class BoundConditioning:
    """The conditioning of an object that holds a network, in the user's form and by kind.

    Args:
      spec: the network's.
      conditional_input: anything that tensors can be made of; a tf.Variable is read at every use.
      as_tensor: function from a condition to a tensor of the network's dtype.

    Attributes:
      conditional_input: as given, lists and tuples as arrays (TFP would take them for structures of
        many parameters).

    Raises:
      TypeError, ValueError: if `conditional_input` is not what the network takes.
    """

    def __init__(
        self, spec: ConditioningSpec, conditional_input: Any, as_tensor: Callable[..., tf.Tensor]
    ):
        self._spec, self._as_tensor = spec, as_tensor
        self.conditional_input = map_conditions(_as_array, conditional_input)
        self._conditions = spec.parse(self.conditional_input)

    @classmethod
    def of(
        cls, spec: ConditioningSpec, conditional_input: Any, as_tensor: Callable[..., tf.Tensor]
    ) -> "BoundConditioning | None":
        """Returns None where nothing is bound."""
        return None if conditional_input is None else cls(spec, conditional_input, as_tensor)

    def values(self) -> list:
        """Returns the conditions as they were given."""
        return list(self._conditions.values())

    def tensors(self) -> dict[str, tf.Tensor]:
        """Returns the conditions as tensors, by kind."""
        return {kind: self._as_tensor(value) for kind, value in self._conditions.items()}

    def batch_shape(self) -> tf.TensorShape:
        """Returns the leading shape, as far as it is known."""
        shape = tf.TensorShape([])
        for value, ndims in zip(self.values(), self._spec.event_ndims, strict=True):
            whole = tf.TensorShape(shapes.static_shape(value))
            shape = tf.broadcast_static_shape(shape, whole[: whole.rank - ndims])
        return shape

    def leading(self) -> list:
        """Returns the leading shape as ints and scalar tensors."""
        pairs = zip(self.tensors().values(), self._spec.event_ndims, strict=True)
        return list(
            shapes.broadcast_leading([shapes.leading(value, ndims) for value, ndims in pairs])
        )


def _as_array(value):
    return np.asarray(value) if isinstance(value, (list, tuple)) else value
