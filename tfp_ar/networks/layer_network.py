"""Any Keras layer as an autoregressive network."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfp_ar.internal import checks, shapes
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork


class LayerNetwork(AutoregressiveNetwork):
    """A Keras layer with the two calls of an AutoregressiveNetwork; it samples by the reference.

    Args:
      layer: a layer that maps [B, *event_shape] to [B, *event_shape, num_params].
      event_shape: the shape of one x. Default None: the shape that the layer was built for.

    Raises:
      TypeError: if `layer` is not a Keras layer.
      ValueError: if the shape is not known, the layer cannot be built for it, or the shape of the
        layer's output does not begin with it.
    """

    def __init__(self, layer: keras.Layer, event_shape: Sequence[int] | None = None):
        if not isinstance(layer, keras.Layer):
            raise TypeError(
                "network: expected an AutoregressiveNetwork or another Keras layer, got "
                f"{type(layer).__name__}."
            )
        if event_shape is None:
            event_shape = known_input_shape("event_shape", layer)
        event_shape = checks.positive_ints("event_shape", event_shape)
        try:
            params = layer(ops.zeros((1, *event_shape), layer.variable_dtype))
        except Exception as error:
            raise ValueError(
                f"network: {layer.name!r} could not be built for event_shape {list(event_shape)}: "
                f"{error}"
            ) from error
        shapes.check_event_shape(
            f"what network {layer.name!r} returns", params.shape[:-1], (1, *event_shape)
        )
        super().__init__(event_shape, params.shape[-1], dtype=layer.dtype_policy)
        self.layer = layer
        self.built = True

    # A network without conditioning may leave it out.
    def call(self, x: Any, training: bool | None = None) -> Any:  # type: ignore[override]
        """Calls the layer."""
        return self.layer(x, training=training)


def known_input_shape(name: str, layer: keras.Layer) -> tuple[int, ...]:
    """Returns the shape of one x that a Keras layer was built for, without the batch.

    Args:
      name: the argument that would give the shape, for the message.
      layer: the layer.

    Raises:
      ValueError: if the layer does not know it.
    """
    shape = getattr(layer, "input_shape", None) if isinstance(layer, keras.Model) else None
    if shape is None and layer.built:
        shape = (layer.get_build_config() or {}).get("input_shape")
    if shape is None or any(size is None for size in shape[1:]):
        raise ValueError(
            f"{name}: expected the shape of one x, as layer {layer.name!r} does not know it, got "
            "None."
        )
    return tuple(shape[1:])


def as_network(
    network: keras.Layer, event_shape: Sequence[int] | None = None
) -> AutoregressiveNetwork:
    """Returns `network`, built, if it is an AutoregressiveNetwork; else a LayerNetwork of it.

    Raises:
      TypeError, ValueError: as for LayerNetwork, or if `event_shape` is not the network's.
    """
    if not isinstance(network, AutoregressiveNetwork):
        return LayerNetwork(network, event_shape)
    if event_shape is not None and tuple(event_shape) != network.event_shape:
        raise ValueError(
            f"event_shape: expected None or the network's {list(network.event_shape)}, got "
            f"{list(event_shape)}."
        )
    if not network.built:
        try:
            zeros = ops.zeros((1, *network.event_shape), network.variable_dtype)
            network(zeros, network.example_conditioning())
        except Exception as error:
            raise ValueError(f"network: {network.name!r} could not be built: {error}") from error
    return network
