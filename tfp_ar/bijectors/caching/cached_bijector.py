"""Bijectors that are safe in TFP's caches while their weights are trained."""

import abc
import itertools
from collections.abc import Hashable

import tensorflow_probability as tfp

from tfp_ar.internal import tf_private

tfb = tfp.bijectors


class CachedBijector(tfb.Bijector):
    """Bijector whose hash includes the version of its weights and any open tape.

    The caches of TFP's compositions (that of `tfb.Chain`, say) find a bijector's results by that
    hash. They must not return results of other weights, nor give a tape a result computed outside
    it.

    A subclass has a `WeightsAwareCache`, for which its maps return a tensor and attributes of the
    pair.
    """

    @abc.abstractmethod
    def _augmented_forward(self, x, **kwargs):
        """Returns y, and a dict of attributes of the pair: 'ildj' and 'version', if known."""

    @abc.abstractmethod
    def _augmented_inverse(self, y, **kwargs):
        """Returns x, and a dict of attributes of the pair: 'ildj' and 'version', if known."""

    @abc.abstractmethod
    def weights_version(self) -> Hashable:
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
    """Object equal to all of its class, with a hash that no other has.

    As part of a cache's key, it makes every request a new one, and leaves equality as it is.
    """

    _numbers = itertools.count()

    def __init__(self) -> None:
        self._number = next(self._numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UniqueHash)

    def __hash__(self) -> int:
        return hash(self._number)
