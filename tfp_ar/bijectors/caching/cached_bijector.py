"""Bijectors that TFP's caches may rely on while their weights are trained."""

import abc
import itertools

import tensorflow_probability as tfp

from tfp_ar.internal import tf_private

tfb = tfp.bijectors


class CachedBijector(tfb.Bijector):
    """A bijector in whose hash the version of its weights and any open tape take part.

    The caches of TFP's compositions (`tfb.Chain`'s, say) find a bijector's answers by that hash:
    they must not answer for other weights, nor give a tape what was computed outside it.

    A subclass has a `WeightsAwareCache`, hence maps that give a tensor and what else is known of
    the pair.
    """

    @abc.abstractmethod
    def _augmented_forward(self, x, **kwargs):
        """Returns y, and a dict of attributes of the pair: 'ildj' and 'version', if known."""

    @abc.abstractmethod
    def _augmented_inverse(self, y, **kwargs):
        """Returns x, and a dict of attributes of the pair: 'ildj' and 'version', if known."""

    @abc.abstractmethod
    def weights_version(self):
        """Returns a hashable value that is the same only while the weights are."""

    def _state(self) -> dict:
        """Returns hashable values that are the same only while the bijector is the same map."""
        return {"version": self.weights_version()}

    def _sources(self) -> tuple[list, list]:
        """Returns the tensors, and the variables, that the map depends on besides its arguments."""
        return [], self.trainable_variables

    def _get_parameterization(self):
        state = self._state()
        if tf_private.tape_is_active():
            state["tape"] = UniqueHash()
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


class UniqueHash:
    """Equal to all of its kind, with a hash that no other has.

    In what a cache hashes, it makes every question a new one, and leaves equality as it is.
    """

    _numbers = itertools.count()

    def __init__(self):
        self._number = next(self._numbers)

    def __eq__(self, other):
        return isinstance(other, UniqueHash)

    def __hash__(self):
        return hash(self._number)
