"""Bijectors that TFP's caches may rely on while their weights are trained."""

import tensorflow_probability as tfp

from tfp_ar.internal import tf_private
from tfp_ar.internal.variables import OwnHash

tfb = tfp.bijectors


class StatefulBijector(tfb.Bijector):
    """A bijector in whose hash the state of its weights and any open tape take part.

    The caches of TFP's compositions (`tfb.Chain`'s, say) find a bijector's answers by that hash:
    they must not answer for other weights, nor give a tape what was computed outside it.
    """

    def _state(self) -> dict:
        """Hashable values that are the same only while the bijector is the same map."""
        raise NotImplementedError

    def _get_parameterization(self):
        state = self._state()
        if tf_private.tape_is_active():
            state["tape"] = OwnHash()
        return {**self.parameters, **state}

    def __eq__(self, other):
        return self is other or super().__eq__(other)

    __hash__ = tfb.Bijector.__hash__
