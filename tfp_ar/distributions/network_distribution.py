"""What a distribution over the events of a network has whatever its law: shapes, conditioning."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors import bound_conditioning
from tfp_ar.networks import AutoregressiveNetwork

tfd = tfp.distributions


class NetworkDistribution(tfd.Distribution):
    """Base: the event shape is the network's, the batch shape that of the conditioning bound.

    A subclass sets `_network`, `_float_dtype` (that of the network's variables) and
    `_conditional_input` (anything that tensors can be made of, or None).
    """

    @property
    def network(self) -> AutoregressiveNetwork:
        """The autoregressive network."""
        return self._network

    @property
    def conditional_input(self):
        """The conditioning that is bound, or None."""
        return self._conditional_input

    def __deepcopy__(self, memo):
        raise TypeError(
            f"{self.name}: a deep copy would share the network's weights. Make another network "
            "(network.from_config(network.get_config())) and a distribution on it."
        )

    def _event_shape(self):
        return tf.TensorShape(self._network.event_shape)

    def _event_shape_tensor(self):
        return tf.constant(self._network.event_shape, tf.int32)

    def _batch_shape(self):
        return bound_conditioning.batch_shape(self._network.conditioning, self._conditional_input)

    def _batch_shape_tensor(self):
        return tf.convert_to_tensor(self._leading(), tf.int32)

    def _leading(self) -> list:
        """The batch shape, as ints and scalar tensors."""
        return list(
            bound_conditioning.batch_shape_tensor(
                self._network.conditioning, self._conditional_input, tf.convert_to_tensor
            )
        )

    def _parts(self) -> list:
        """The parts of the conditioning that is bound, as tensors."""
        parts = self._network.conditioning.split(self._conditional_input).values()
        return [tf.cast(tf.convert_to_tensor(part), self._float_dtype) for part in parts]
