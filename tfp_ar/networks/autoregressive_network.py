"""The project's one idea: a network whose i-th output depends only on the variables before i."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfp_ar.conditioning.spec import ConditioningSpec
from tfp_ar.internal import checks, shapes, tf_private
from tfp_ar.networks.generation.reference import WholeEvent, generate_by_passes
from tfp_ar.networks.generation.steps import BlockPasses


@keras.saving.register_keras_serializable(package="tfp_ar")
class AutoregressiveNetwork(keras.layers.Layer):
    """A map from x to parameters; those of variable i depend only on the variables before i.

        params[i] = f_i(x[j] for all j before i in `order`)

    Bijectors and distributions know a network through two calls:

    * `network(x, conditional_input)`, the parallel pass: the parameters of all variables at once.
    * `network.generate(emit, batch_size, conditional_input)`, the sequential pass: one variable
      after the other, x[i] = emit(params[i], i). This class has the slow reference, a whole
      parallel pass per variable; a network overrides it with a cached version that does the
      arithmetic of one pass in all.

    A subclass writes `call(self, x, conditional_input=None, training=None)` for x [B,
    *event_shape]; it may leave out arguments that it does not use. `__call__` merges any leading
    dimensions into B, checks shapes, and returns parameters in the float dtype of the variables,
    whatever the compute dtype is. `tfp_ar.assert_autoregressive(network)` checks that the network
    keeps to its order.

    Args:
      event_shape: the shape of one x, e.g. [L].
      num_params: parameters per variable. Default 2, location and log scale.
      conditional_shape: the shape of one `conditional_input`: None; [k], one vector per event; [L,
        k] (or [H, W, k]), one per position; or a dict {'global': [k], 'local': [L, k]}. Default
        None.
      **kwargs: `name`, `dtype`, `trainable`.

    Raises:
      TypeError, ValueError: if a shape is not a sequence of positive integers, or `num_params` is
        not a positive integer.

    >>> class Running(AutoregressiveNetwork):  # location: the sum of the past; log scale 0
    ...     def call(self, x):
    ...         past = keras.ops.cumsum(x, -1) - x
    ...         return keras.ops.stack([past, keras.ops.zeros_like(past)], -1)
    >>> network = Running(event_shape=[4])
    >>> x = network.generate(lambda params, i: params[:, 0] + 1.0, batch_size=1)
    >>> print(x.numpy())
    [[1. 2. 4. 8.]]
    """

    built: bool  # a Keras attribute

    def __init__(
        self,
        event_shape: Sequence[int],
        num_params: int = 2,
        conditional_shape: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self._event_shape = checks.positive_ints("event_shape", event_shape)
        self._num_params = checks.positive_int("num_params", num_params)
        self._conditioning = ConditioningSpec(conditional_shape, self._event_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one x."""
        return self._event_shape

    @property
    def event_size(self) -> int:
        """The number of variables in one x."""
        return int(np.prod(self._event_shape))

    @property
    def num_params(self) -> int:
        """The number of parameters of each variable."""
        return self._num_params

    @property
    def conditional_shape(self) -> Any:
        """The shape of one `conditional_input`: None, a tuple, or a dict of tuples."""
        return self._conditioning.public

    @property
    def conditioning(self) -> ConditioningSpec:
        """The shapes of the conditioning, and their parser."""
        return self._conditioning

    @property
    def order(self) -> np.ndarray:
        """The order that the network is causal in: flat (raster) indices, first variable first.

        An int32 array [event_size], a permutation of 0..event_size-1. By default raster order.
        """
        return np.arange(self.event_size, dtype=np.int32)

    @property
    def has_cached_generate(self) -> bool:
        """True if the network overrides `generate`, whose reference takes a pass per variable."""
        return type(self).generate is not AutoregressiveNetwork.generate

    def call(self, x: Any, conditional_input: Any = None, training: bool | None = None) -> Any:
        """Computes the parallel pass: [B, *event_shape] to [B, *event_shape, num_params]."""
        raise NotImplementedError(f"{type(self).__name__} must define call(x, ...).")

    def __call__(self, x: Any, conditional_input: Any = None, training: bool | None = None) -> Any:
        """Computes the parallel pass: parameters of all variables, given x.

        Args:
          x: [..., *event_shape].
          conditional_input: [..., *conditional_shape], or a dict of arrays; its leading shape
            broadcasts with that of x. None if and only if `conditional_shape` is None.
          training: whether dropout is on. Default None: off, unless inside a Keras call in
            training.

        Returns: [..., *event_shape, num_params], of dtype `variable_dtype`.

        Raises:
          TypeError, ValueError: if a shape is wrong, or conditioning is missing or not expected.
        """
        x = x if isinstance(x, keras.KerasTensor) else self._as_input(x)
        shapes.check_event_shape("x", shapes.static_shape(x), self.event_shape)
        conditions = [
            c if isinstance(c, keras.KerasTensor) else self._as_input(c)
            for c in self._conditioning.parse(conditional_input).values()
        ]
        values = [x, *conditions]
        ndims = [len(self.event_shape), *self._conditioning.event_ndims]
        symbolic = any(isinstance(value, keras.KerasTensor) for value in values)
        if symbolic:  # a Keras functional graph, whose tensors have one batch dimension
            shape: tuple = (None,)
        else:
            shape = shapes.broadcast_leading(
                [shapes.leading(v, n) for v, n in zip(values, ndims, strict=True)]
            )
            values = shapes.flatten(values, ndims, shape)
        kwargs: dict[str, Any] = {}
        if conditions:
            kwargs["conditional_input"] = self._conditioning.join(values[1:])
        if training is not None and "training" in inspect.signature(self.call).parameters:
            kwargs["training"] = training
        params = super().__call__(values[0], **kwargs)
        if params.dtype != self.variable_dtype:
            params = ops.cast(params, self.variable_dtype)
        if symbolic:
            return params
        shapes.check_event_shape(
            f"the parameters that {type(self).__name__} returns",
            shapes.static_shape(params),
            (*self.event_shape, self.num_params),
        )
        return shapes.unflatten(params, shape)

    def _as_input(self, value):
        value = ops.convert_to_tensor(value)
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype)):
            return value
        return ops.cast(value, self.variable_dtype)

    def build(self, input_shape: Any = None, **kwargs: Any) -> None:
        """Makes all variables, by one call on zeros if the subclass leaves that to `call`."""
        if self.built:
            return
        self.built = True  # otherwise the call below would build again, without end
        try:
            self(
                ops.zeros((1, *self.event_shape), self.variable_dtype), self.example_conditioning()
            )
        except Exception:
            self.built = False
            raise

    def example_conditioning(
        self, batch_shape: Sequence[int] = (1,), value: Callable | None = None
    ) -> Any:
        """Returns a `conditional_input` with leading `batch_shape`: zeros, or `value(shape)`."""
        value = value or (lambda shape: ops.zeros(shape, self.variable_dtype))
        shapes = self._conditioning.shapes.values()
        return self._conditioning.join([value((*batch_shape, *shape)) for shape in shapes])

    def generate(
        self,
        emit: Callable,
        batch_size: Any,
        conditional_input: Any = None,
        input_transform: Callable | None = None,
    ) -> tf.Tensor:
        """Runs the sequential pass: draws one variable after the other.

        This is the reference: one parallel pass per variable. It is a `tf.while_loop`, which works
        eagerly, in a `tf.function`, and under XLA.

        Args:
          emit: pure function (params [B, num_params], i) -> x_i [B] of dtype `variable_dtype`; i,
            an int32 scalar, is the flat (raster) index of the variable.
          batch_size: B, an int or an int32 scalar tensor.
          conditional_input: [B, *conditional_shape], or a dict of arrays, or None.
          input_transform: elementwise function from x to the network's input, where that is not x
            itself (for example levels 0..255 rescaled to [-1, 1]). Default None.

        Returns: x [B, *event_shape].

        Raises:
          TypeError, ValueError: if the conditioning does not match `conditional_shape`.

        Cost: `event_size` parallel passes.
        """
        return generate_by_passes(self, emit, batch_size, conditional_input, input_transform)

    @property
    def has_block_passes(self) -> bool:
        """True if the network overrides `block_passes`, which then takes a `block_size`."""
        return type(self).block_passes is not AutoregressiveNetwork.block_passes

    def block_passes(
        self, block_size: int | None, batch_size: Any, conditional_input: Any = None
    ) -> BlockPasses:
        """Returns passes over one block of variables at a time, given what came before.

        Fixed-point sampling iterates on them. By default the whole event is the only block. A
        network that can pass over a few positions, given caches of what came before, overrides
        this.

        Args:
          block_size: number of entries of the first axis of the event in a block; None, the only
            value here, for the whole event.
          batch_size: B, an int or an int32 scalar tensor.
          conditional_input: [B, *conditional_shape], or a dict of arrays, or None.

        Returns: a `tfp_ar.networks.generation.steps.BlockPasses`.

        Raises:
          TypeError, ValueError: if the conditioning does not match `conditional_shape`.
        """
        del block_size
        self._conditioning.parse_batch(conditional_input, batch_size)
        return WholeEvent(self, conditional_input)

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        # tf.train.Checkpoint does not see layers in Keras' lists: without this it would leave out
        # their variables silently.
        children = super()._trackable_children(save_type, **kwargs)
        if save_type == "checkpoint":
            children.update(tf_private.layers_in_collections(self))
            missing = tf_private.not_tracked(self.variables, children.values())
            children.update({f"variable_{i}": variable for i, variable in enumerate(missing)})
        return children

    def compute_output_shape(self, input_shape: Any, **kwargs: Any) -> tuple:
        """Returns the shape of the parameters for x of shape `input_shape`."""
        return (*input_shape, self.num_params)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "event_shape": self._event_shape,
            "num_params": self._num_params,
            "conditional_shape": self.conditional_shape,
        }
