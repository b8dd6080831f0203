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
    """

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

    def __eq__(self, other):
        return self is other or super().__eq__(other)

    __hash__ = tfb.Bijector.__hash__
