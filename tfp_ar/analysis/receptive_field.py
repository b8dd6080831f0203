"""The inputs that an output depends on."""

import inspect
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfp_ar.analysis.probes import (
    as_position,
    has_gradient,
    normal,
    random_arguments,
    random_weights,
)
from tfp_ar.internal import checks
from tfp_ar.networks import AutoregressiveNetwork
from tfp_ar.networks.layer_network import as_network, known_input_shape


def receptive_field(
    obj: keras.Layer,
    position: int | Sequence[int],
    input_shape: Sequence[int] | None = None,
    num_draws: int = 8,
    seed: int = 0,
) -> np.ndarray:
    """Finds the inputs that the output at a position depends on.

    Several times, it draws random x, random conditioning and random weights (all of them, including
    those that start at zero) and computes the gradient of the output at `position` with respect to
    x. An input counts if any draw shows it, as with ReLUs a single draw shows only part; a NaN
    gradient counts, too. A dependence without a gradient (rounding, signs, `stop_gradient`) is not
    seen; on future variables, `assert_autoregressive` finds it. The weights are restored exactly,
    also on failure.

    Args:
      obj: an AutoregressiveNetwork, whose outputs are the parameters of the variables; or any Keras
        layer or model. A layer whose call has several required arguments, such as
        `BlindSpotFreeConv2D`, gets the same x for each; optional arguments are left out. If a layer
        returns several tensors, the field is the union of theirs.
      position: an index, or a sequence of indices, into the first dimensions of the output without
        the batch; for a network, into `event_shape`. It may be a prefix, such as (row, column)
        where there are channels; the field is then the union over the dimensions that follow.
      input_shape: the shape of one x, without the batch. Default None: the network's event shape,
        or what the layer was built for, if that is known.
      num_draws: number of draws. Default 8.
      seed: seed of the draws. Default 0.

    Returns: the field, a bool NumPy array of the shape of one x.

    Raises:
      RuntimeError: if Keras runs on another backend than TensorFlow.
      TypeError: if `obj` is not a Keras layer or returns only integers, or another argument has the
        wrong type.
      ValueError: if `position` is too long or outside the output, the input's shape is unknown or
        not one that `obj` takes, or `num_draws` is not positive.

    Cost: num_draws gradients at batch size 1.

    >>> network = PixelCNN(event_shape=[4, 7, 1], filters=8, num_layers=4)
    >>> field = receptive_field(network, position=(3, 2))
    >>> print(field[:, :, 0].astype(int))  # blind to what is above on the right
    [[1 1 1 1 1 1 0]
     [1 1 1 1 1 0 0]
     [1 1 1 1 0 0 0]
     [1 1 0 0 0 0 0]]
    """
    checks.require_tensorflow_backend("receptive_field")
    checks.positive_int("num_draws", num_draws)
    if not isinstance(obj, keras.Layer):
        raise TypeError(
            f"obj: expected an AutoregressiveNetwork or another Keras layer, got {obj!r}."
        )
    probe = (_Network if isinstance(obj, AutoregressiveNetwork) else _Layer)(obj, input_shape)
    index: tuple[int, ...] = ()
    for shape in probe.output_shapes:
        index = (0, *as_position(position, shape))
    field = np.zeros(probe.input_shape, bool)
    for draw in range(num_draws):
        with random_weights(obj, (seed, draw)):
            generator = np.random.default_rng((seed, draw, 1))
            x, arguments = probe.arguments(generator)
            with tf.GradientTape() as tape:
                tape.watch(x)
                chosen = [output[index] for output in probe.outputs(x, arguments)]
                # A sum with random weights: without them, two outputs could cancel.
                sums = [tf.reduce_sum(y * normal(generator, y.shape, y.dtype)) for y in chosen]
            field |= has_gradient(tape, sums, x)[0]
    return field


class _Network:
    """A probe of a network, whose output is indexed by variable."""

    def __init__(self, network, input_shape):
        self.network = as_network(network)
        self.input_shape = network.event_shape
        if input_shape is not None and tuple(input_shape) != self.input_shape:
            raise ValueError(
                f"input_shape: expected None or the network's {list(self.input_shape)}, got "
                f"{input_shape!r}."
            )
        self.output_shapes = [self.input_shape]

    def arguments(self, generator):
        return random_arguments(self.network, generator, 1)

    def outputs(self, x, condition):
        return [self.network(x, condition)]


class _Layer:
    """A probe of any other layer, which a call builds if it is not built yet."""

    def __init__(self, layer, input_shape):
        self.layer = layer
        if input_shape is None:
            input_shape = known_input_shape("input_shape", layer)
        self.input_shape = checks.positive_ints("input_shape", input_shape)
        required = [
            p
            for p in inspect.signature(layer.call).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        self.num_inputs = max(len(required), 1)
        try:
            outputs = self.outputs(ops.zeros((1, *self.input_shape), layer.variable_dtype))
        except Exception as error:
            raise ValueError(
                f"input_shape: expected one that layer {layer.name!r} takes, got "
                f"{list(self.input_shape)}: {error}"
            ) from error
        if not outputs:
            raise TypeError(
                "obj: expected a layer whose outputs are floats, as nothing else has gradients, "
                f"got layer {layer.name!r}."
            )
        self.output_shapes = [output.shape[1:] for output in outputs]

    def arguments(self, generator):
        return normal(generator, (1, *self.input_shape), self.layer.variable_dtype), None

    def outputs(self, x, arguments=None):
        outputs = tf.nest.flatten(self.layer(*[x] * self.num_inputs))
        # Some layers return None for an output that nothing reads; integers have no gradient.
        return [y for y in outputs if y is not None and y.dtype.is_floating]
