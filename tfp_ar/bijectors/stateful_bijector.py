"""Bijectors that TFP's caches may rely on while their weights are trained."""

import abc

import tensorflow_probability as tfp

from tfp_ar.internal import tf_private
from tfp_ar.internal.variables import OwnHash

tfb = tfp.bijectors


class StatefulBijector(tfb.Bijector):
    """A bijector in whose hash the state of its weights and any open tape take part.

    The caches of TFP's compositions (`tfb.Chain`'s, say) find a bijector's answers by that hash:
    they must not answer for other weights, nor give a tape what was computed outside it.

    A subclass has a `FlowCache`, hence maps that give a tensor and what else is known of it.
    """

    @abc.abstractmethod
    def _augmented_forward(self, x, **kwargs):
        """y, and a dict of attributes of the pair: 'ildj', if known."""

    @abc.abstractmethod
    def _augmented_inverse(self, y, **kwargs):
        """x, and a dict of attributes of the pair: 'ildj', if known."""

    @abc.abstractmethod
    def change_counter(self):
        """A hashable value that is the same only while the weights are."""

    def _state(self) -> dict:
        """Hashable values that are the same only while the bijector is the same map."""
        return {"change": self.change_counter()}

    def _sources(self) -> tuple[list, list]:
        """The tensors, and the variables, that the map depends on besides its arguments."""
        return [], self.trainable_variables

    def _get_parameterization(self):
        state = self._state()
        if tf_private.tape_is_active():
            state["tape"] = OwnHash()
        return {**self.parameters, **state}

    def _forward(self, x, **kwargs):
        return self._augmented_forward(x, **kwargs)[0]

    def _inverse(self, y, **kwargs):
        return self._augmented_inverse(y, **kwargs)[0]

    def __copy__(self):
        return self.copy()  # with a cache of its own

    def __eq__(self, other):
        return self is other or super().__eq__(other)

    __hash__ = tfb.Bijector.__hash__
