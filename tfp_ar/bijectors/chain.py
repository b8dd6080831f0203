"""A chain of bijectors that forwards its conditioning to all flows."""

import copy
from collections.abc import Iterable

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.caching.weights_aware_cache import PassThroughCache
from tfp_ar.conditioning.forwarding import forwarded_kwargs, taken_kwargs
from tfp_ar.internal import tfp_private

tfb = tfp.bijectors

_KEYWORDS = ("conditional_input", "training")  # accepted even if no member takes them


class Chain(tfb.Composition):
    """Variant of `tfb.Chain` whose `conditional_input` and `training` reach every flow in it.

        forward(x) = bijectors[0].forward(... bijectors[-1].forward(x))

    `tfb.Chain` takes a dict of keyword arguments for each bijector by name, and silently drops any
    others. This chain forwards `conditional_input` to each bijector that is conditioned, and
    `training` to each flow; both also reach flows inside `tfb.Invert` and nested chains. Arguments
    by the names of bijectors work as in `tfb.Chain`.

    Args:
      bijectors: list of bijectors, the last one applied first in `forward`. An empty list is the
        identity.
      validate_args: passed on to TFP. Default False.
      name: name for the ops. Default: 'chain_of_' and the names of the bijectors.

    Raises:
      ValueError: if a method is given a `conditional_input` that no bijector takes.

    >>> flows = [
    ...     ARFlowBijector(tfp_ar.networks.WaveNet([4], conditional_shape=[3])) for _ in range(2)
    ... ]
    >>> chain = Chain([flows[0], tfb.Permute([3, 2, 1, 0]), flows[1]])
    >>> chain.inverse(tf.ones([5, 4]), conditional_input=tf.ones([5, 3])).shape
    TensorShape([5, 4])
    """

    def __init__(
        self,
        bijectors: Iterable[tfb.Bijector],
        validate_args: bool = False,
        name: str | None = None,
    ):
        parameters = dict(locals())
        bijectors = list(bijectors)
        name = name or "_of_".join(["chain", *(b.name for b in bijectors)]).replace("/", "")
        ndims = None if bijectors else 0  # None: inferred by the base class
        with tf.name_scope(name) as name:
            super().__init__(
                bijectors=bijectors,
                name=name,
                parameters=parameters,
                forward_min_event_ndims=ndims,
                inverse_min_event_ndims=ndims,
                validate_args=validate_args,
            )
        # A cache here would not know when a result is stale; those of the bijectors do.
        self._cache = PassThroughCache(self)

    @property
    def takes_kwargs(self) -> dict[str, bool]:
        """The keyword arguments that members take: see `tfp_ar.conditioning`."""
        return taken_kwargs(list(self.bijectors))

    def __copy__(self):
        return self.copy()  # with a cache of its own

    def __deepcopy__(self, memo):
        return self.copy(bijectors=copy.deepcopy(list(self.bijectors), memo))

    def _walk_forward(self, step_fn, x, **kwargs):
        for bijector, own in reversed(self._with_kwargs(kwargs)):
            x = step_fn(bijector, x, **own)
        return x

    def _walk_inverse(self, step_fn, y, **kwargs):
        for bijector, own in self._with_kwargs(kwargs):
            y = step_fn(bijector, y, **own)
        return y

    def _with_kwargs(self, kwargs) -> list:
        """Returns pairs of each bijector and what it takes of the keyword arguments."""
        if not kwargs:
            return [(bijector, {}) for bijector in self.bijectors]
        taken, names = self.takes_kwargs, {b.name for b in self.bijectors}
        if kwargs.get("conditional_input") is not None and "conditional_input" not in taken:
            raise ValueError(
                f"conditional_input: no bijector of {self.name!r} is conditioned; it would be "
                "ignored."
            )
        known = {*names, *taken, *_KEYWORDS}
        if set(kwargs) - known:
            raise TypeError(
                f"{self.name}: expected keyword arguments among {sorted(known)}, got "
                f"{sorted(set(kwargs) - known)}."
            )
        shared = {name: value for name, value in kwargs.items() if name in taken}
        return [
            (bijector, {**forwarded_kwargs(bijector, shared), **kwargs.get(bijector.name, {})})
            for bijector in self.bijectors
        ]

    def _is_increasing(self, **kwargs):
        increasing = True
        for bijector, own in self._with_kwargs(kwargs):
            increasing = increasing == tfp_private.is_increasing(bijector, **own)
        return increasing
