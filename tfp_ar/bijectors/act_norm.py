"""A scale and a shift per channel, initialized from data."""

import copy
from collections.abc import Hashable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_ar.bijectors.caching.cached_bijector import CachedBijector
from tfp_ar.bijectors.caching.tensor_memo import TensorMemo
from tfp_ar.bijectors.caching.weights_aware_cache import PairCache
from tfp_ar.internal import checks, shapes


class ActNorm(CachedBijector):
    """Activation normalisation: a trainable scale and shift per channel.

        forward: x = exp(log_scale) u + shift
        inverse: u = (x - shift) exp(-log_scale)
        log|det dx/du| = sum of log_scale over all variables of the event

    A new ActNorm is the identity. `initialize(data)` sets it such that `inverse` gives each channel
    of the data mean 0 and standard deviation 1; after that, shift and log_scale are trained like
    any weights. Initialization is an explicit step before training: a state that the first call
    changes would be lost in a `tf.function` and in a SavedModel. `tfp_ar.bijectors.initialize`
    initializes all ActNorms of a stack.

    Args:
      event_shape: the shape of one x, e.g. [L], [L, C] or [H, W, C].
      axis: the axis or axes of the event along which each index has its own parameters; the
        other axes share them. Default -1: one pair per channel of [L, C] or [H, W, C], or per
        variable of [L]. [] is one pair for the whole event.
      shift: a tf.Variable or tensor of the event's rank, with size 1 along the axes that share.
        Default None: a new variable of zeros.
      log_scale: the same for the logarithm of the scale.
      dtype: the dtype of x. Default None: the dtype of `shift` or `log_scale` if one is given,
        otherwise Keras' `floatx`.
      validate_args: passed on to TFP. Default False.
      name: name for the ops. Default 'act_norm'.

    Raises:
      TypeError, ValueError: if `event_shape` or `axis` is invalid, or a parameter has the wrong
        shape.

    Cost: elementwise; the log-det is a sum of the parameters.

    References:
      D. P. Kingma and P. Dhariwal, Glow: Generative flow with invertible 1x1 convolutions,
        arXiv:1807.03039, 2018, section 3.1.

    >>> act_norm = ActNorm(event_shape=[3])
    >>> data = tf.constant([[0.0, 2.0, 5.0], [2.0, 6.0, 5.0]])
    >>> act_norm.initialize(data)
    >>> print(act_norm.inverse(data).numpy())
    [[-1. -1.  0.]
     [ 1.  1.  0.]]
    >>> [variable.name for variable in act_norm.trainable_variables]
    ['log_scale:0', 'shift:0']
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        axis: int | Sequence[int] = -1,
        shift: Any = None,
        log_scale: Any = None,
        dtype: Any = None,
        validate_args: bool = False,
        name: str = "act_norm",
    ):
        parameters = dict(locals())
        self._event_shape = checks.positive_ints("event_shape", event_shape)
        self._axes = checks.axes("axis", axis, len(self._event_shape))
        shape = [n if i in self._axes else 1 for i, n in enumerate(self._event_shape)]
        dtype = _dtype(dtype, shift, log_scale)
        self._shift = parameters["shift"] = _parameter("shift", shift, shape, dtype)
        self._log_scale = parameters["log_scale"] = _parameter("log_scale", log_scale, shape, dtype)
        with tf.name_scope(name) as name:
            super().__init__(
                forward_min_event_ndims=len(self._event_shape),
                is_constant_jacobian=True,
                dtype=dtype,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )
        # Without it, a flow behind this one would get a new tensor at each call, and its own cache
        # would not find the answer.
        self._cache = PairCache(self)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one x."""
        return self._event_shape

    @property
    def axis(self) -> tuple[int, ...]:
        """The axes along which each index has its own parameters, counted from 0."""
        return self._axes

    @property
    def shift(self) -> tf.Tensor | tf.Variable:
        """The shift, of the event's rank."""
        return self._shift

    @property
    def log_scale(self) -> tf.Tensor | tf.Variable:
        """The logarithm of the scale, of the event's rank."""
        return self._log_scale

    def initialize(self, data: Any) -> None:
        """Sets shift and log_scale to mean and log standard deviation of each channel of `data`.

        A channel that is constant in `data` (if there is a single row, say) gets scale 1. Call this
        eagerly.

        Args:
          data: [..., *event_shape], at least one row.

        Raises:
          TypeError: if shift and log_scale are not variables.
          ValueError: if `data` has the wrong shape, no rows, or values that are not finite.
          RuntimeError: if it is called inside a tf.function.
        """
        self.assign(*self.statistics(data))

    def statistics(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """Computes what `initialize` sets: the mean and log standard deviation of each channel."""
        if not tf.executing_eagerly():
            raise RuntimeError(
                f"{self.name}: expected `initialize` to be called eagerly, before training, got a "
                "call inside a tf.function."
            )
        data = np.asarray(data, np.float64)  # sums of many float32 values lose digits
        shapes.check_event_shape("data", data.shape, self._event_shape)
        if not data.size:
            raise ValueError(f"data: expected at least one row, got shape {list(data.shape)}.")
        if not np.isfinite(data).all():
            raise ValueError(f"data: expected finite values at {self.name!r}, got NaN or infinity.")
        rank = len(self._event_shape)
        kept = {data.ndim - rank + axis for axis in self._axes}
        reduced = tuple(set(range(data.ndim)) - kept)
        mean = data.mean(reduced, keepdims=True)
        deviation = data.std(reduced, keepdims=True)
        # A channel that differs by no more than rounding is constant: its deviation, which is the
        # rounding of the mean, would give a huge scale.
        limits = np.finfo(self.dtype.as_numpy_dtype)
        spread = np.ptp(data, reduced, keepdims=True)
        largest = np.abs(data).max(reduced, keepdims=True)
        constant = (spread <= limits.eps * largest) | (deviation < limits.tiny)
        log_scale = np.log(np.where(constant, 1.0, deviation))
        shape = self._log_scale.shape.as_list()
        return mean.reshape(shape), log_scale.reshape(shape)

    def assign(self, shift: Any, log_scale: Any) -> None:
        """Assigns values to the two variables.

        Raises:
          TypeError: if one of them is a tensor.
        """
        for name, parameter in (("shift", self._shift), ("log_scale", self._log_scale)):
            if not isinstance(parameter, tf.Variable):
                raise TypeError(
                    f"{name}: expected {self.name!r} to have a tf.Variable to set, got a tensor."
                )
        self._shift.assign(tf.cast(shift, self.dtype))
        self._log_scale.assign(tf.cast(log_scale, self.dtype))

    # The maps ------------------------------------------------------------------------------------

    def _augmented_forward(self, x):
        shapes.check_event_shape("x", shapes.static_shape(x), self._event_shape)
        return tf.exp(self._log_scale) * x + self._shift, {}

    def _augmented_inverse(self, y):
        shapes.check_event_shape("y", shapes.static_shape(y), self._event_shape)
        return (y - self._shift) * tf.exp(-self._log_scale), {}

    def _forward_log_det_jacobian(self, x):
        repeats = int(np.prod(self._event_shape)) // int(np.prod(self._log_scale.shape))
        log_det = repeats * tf.reduce_sum(self._log_scale)
        return tf.broadcast_to(log_det, shapes.leading(x, len(self._event_shape)))

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}  # neither parameter has a batch shape

    def __deepcopy__(self, memo):
        both = (copy.deepcopy(parameter, memo) for parameter in (self._shift, self._log_scale))
        return self.copy(**dict(zip(("shift", "log_scale"), both, strict=True)))

    def weights_version(self) -> Hashable:
        """Returns a value that is the same only while shift and log_scale are."""
        return tuple(TensorMemo.key(parameter) for parameter in (self._shift, self._log_scale))

    def _sources(self):
        tensors, variables = [], []
        for parameter in (self._shift, self._log_scale):
            (variables if isinstance(parameter, tf.Variable) else tensors).append(parameter)
        return tensors, variables


def _dtype(dtype, *parameters) -> tf.DType:
    """Returns the given dtype, or else that of the first parameter that has one."""
    known = [dtype, *(getattr(parameter, "dtype", None) for parameter in parameters)]
    known = [d for d in known if d is not None]
    return tf.as_dtype(known[0] if known else keras.config.floatx())


def _parameter(name, value, shape, dtype):
    """Returns `value` as a variable or tensor of `shape`; a new variable if it is None."""
    if value is None:
        return tf.Variable(tf.zeros(shape, dtype), name=name)
    if not isinstance(value, tf.Variable):
        value = tf.convert_to_tensor(value, dtype)
    if value.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {value.shape.as_list()}.")
    return value
