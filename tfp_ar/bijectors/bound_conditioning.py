"""The conditioning that a bijector or distribution holds, and the batch shape that it gives."""

import numpy as np
import tensorflow as tf

from tfp_ar.internal import batching
from tfp_ar.networks.conditioning import ConditioningSpec, static_shape


def as_arrays(value):
    """Lists and tuples as arrays, as TFP would take them for structures of many parameters."""
    if isinstance(value, dict):
        return {key: as_arrays(part) for key, part in value.items()}
    return np.asarray(value) if isinstance(value, (list, tuple)) else value


def batch_shape(spec: ConditioningSpec, conditional_input) -> tf.TensorShape:
    """The leading shape of what is bound, as far as it is known; [] of None."""
    shape = tf.TensorShape([])
    if conditional_input is None:
        return shape
    for part, ndims in _parts(spec, conditional_input):
        whole = tf.TensorShape(static_shape(part))
        shape = tf.broadcast_static_shape(shape, whole[: whole.rank - ndims])
    return shape


def batch_shape_tensor(spec: ConditioningSpec, conditional_input, convert) -> list:
    """The leading shape as ints and scalar tensors; `convert` makes tensors of the parts."""
    if conditional_input is None:
        return []
    return batching.broadcast_leading(
        [batching.leading(convert(c), ndims) for c, ndims in _parts(spec, conditional_input)]
    )


def _parts(spec, conditional_input):
    return zip(spec.split(conditional_input).values(), spec.event_ndims, strict=True)
