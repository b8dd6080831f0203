"""A network that goes through the variables from another corner of the event."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfp_ar.conditioning.spec import LOCAL
from tfp_ar.internal import checks
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.generation.steps import BlockPasses
from tfp_ar.networks.layer_network import as_network


@keras.saving.register_keras_serializable(package="tfp_ar")
class Flipped(AutoregressiveNetwork):
    """A network in another raster direction: it sees x flipped, and its output is flipped back.

        params(x; c) = flip(network(flip(x); flip(c)))

    where flip reverses some axes of the event. Local conditioning, one vector per position, is
    flipped along with x; global conditioning is not. The order is the network's, flipped: a WaveNet
    over [L] with axes=[0] begins at the last variable, a PixelCNN over [H, W, C] with axes=[1] at
    the right end of the first row.

    Outside, x, parameters and conditioning keep their places, so flows on networks of several
    directions stack without permutations between them and share one `conditional_input`.

    Args:
      network: an AutoregressiveNetwork, or a Keras layer as ARFlowBijector takes it. It has all
        the variables: this class adds none.
      axes: the axes of the event to reverse, an int or a sequence of ints; negative ones count from
        the last.
      event_shape: the shape of one x, for a layer that does not know it. Default None.
      **kwargs: `name`, `trainable`.

    Raises:
      TypeError, ValueError: if `network` is not a network, or `axes` are not distinct axes of the
        event.

    Cost: that of `network`, cached generation included.

    References:
      G. Papamakarios et al., Masked autoregressive flow for density estimation, arXiv:1705.07057,
        2017, section 3.1 (the order is reversed from one flow of a stack to the next).

    >>> backwards = Flipped(tfp_ar.networks.WaveNet([4]), axes=[0])
    >>> print(backwards.order)
    [3 2 1 0]
    >>> columns_mirrored = Flipped(tfp_ar.networks.PixelCNN([2, 3, 1]), axes=[1])
    >>> print(columns_mirrored.order)
    [2 1 0 5 4 3]
    """

    def __init__(
        self,
        network: keras.Layer,
        axes: int | Sequence[int],
        event_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        network = as_network(network, event_shape)
        super().__init__(
            network.event_shape,
            network.num_params,
            network.conditional_shape,
            **{"dtype": network.dtype_policy, **kwargs},
        )
        self.network = network
        self.axes = checks.axes("axes", axes, len(self.event_shape))
        flat = np.arange(self.event_size, dtype=np.int32).reshape(self.event_shape)
        # The flat index, in x, of each variable of the flipped x that the network sees.
        self._places = np.flip(flat, self.axes).reshape(-1)
        self.built = True

    @property
    def order(self) -> np.ndarray:
        """The network's order, flipped: flat indices of x, first variable first."""
        return self._places[self.network.order]

    @property
    def has_cached_generate(self) -> bool:
        """True if the network's `generate` is cached."""
        return self.network.has_cached_generate

    def call(self, x: Any, conditional_input: Any = None, training: bool | None = None) -> Any:
        """Computes the parallel pass: [B, *event_shape] to [B, *event_shape, num_params]."""
        condition = self._flip_conditioning(self.conditioning.parse(conditional_input))
        return _flip(self.network(_flip(x, self.axes), condition, training), self.axes)

    def generate(
        self,
        emit: Callable,
        batch_size: Any,
        conditional_input: Any = None,
        input_transform: Callable | None = None,
    ) -> tf.Tensor:
        """Runs the network's sequential pass; see `AutoregressiveNetwork.generate`."""
        conditions = self.conditioning.parse_batch(conditional_input, batch_size)
        places = tf.constant(self._places)
        x = self.network.generate(
            lambda params, i: emit(params, places[i]),
            batch_size,
            self._flip_conditioning(conditions),
            input_transform,
        )
        return _flip(x, self.axes)

    @property
    def has_block_passes(self) -> bool:
        """True if the network has passes over blocks of any size."""
        return self.network.has_block_passes

    def block_passes(
        self, block_size: int | None, batch_size: Any, conditional_input: Any = None
    ) -> BlockPasses:
        """Returns the network's passes, flipped; see `AutoregressiveNetwork.block_passes`."""
        conditions = self.conditioning.parse_batch(conditional_input, batch_size)
        condition = self._flip_conditioning(conditions)
        passes = self.network.block_passes(block_size, batch_size, condition)
        inner = slice(None) if passes.places is None else passes.places
        passes.places = self._places[inner]
        return passes

    def _flip_conditioning(self, conditions):
        """Returns the network's `conditional_input` for these conditions."""
        if LOCAL in conditions:
            num_positions = len(self.conditioning.shapes[LOCAL]) - 1
            axes = tuple(axis for axis in self.axes if axis < num_positions)
            conditions = {**conditions, LOCAL: _flip(conditions[LOCAL], axes)}
        return self.conditioning.join(list(conditions.values()))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config = keras.layers.Layer.get_config(self)
        del config["dtype"]  # the network has it
        network = keras.saving.serialize_keras_object(self.network)
        return {**config, "network": network, "axes": self.axes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Flipped":
        """Returns the layer of a `get_config`, with new weights."""
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**config, "network": network})


def _flip(value, axes):
    """Reverses axes, counted without the batch axis."""
    return ops.flip(value, [axis + 1 for axis in axes]) if axes else value
