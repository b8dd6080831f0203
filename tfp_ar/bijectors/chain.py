"""A chain of bijectors with one conditioning argument for all of it."""

import copy

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.ar_flow_bijector import ARFlowBijector
from tfp_ar.bijectors.uncached import Uncached

tfb = tfp.bijectors


class Chain(tfb.Composition):
    """`tfb.Chain` whose `conditional_input` and `training` reach every flow in it.

        forward(x) = bijectors[0].forward(... bijectors[-1].forward(x))

    `tfb.Chain` wants a dict of keyword arguments for each bijector by name, and drops any others
    without a word. This one hands `conditional_input` to each bijector that is conditioned, and
    `training` to each flow; both also reach flows inside `tfb.Invert` and nested chains. Arguments
    by the names of bijectors work as in `tfb.Chain`.

    Args:
      bijectors: list of bijectors, the last one applied first in `forward`. An empty list is the
        identity.
      validate_args: passed on to TFP. Default False.
      name: name for the ops. Default: 'chain_of_' and the names of the bijectors.

    Raises:
      ValueError: by a method, if it is given a `conditional_input` that no bijector takes.

    >>> flows = [
    ...     ARFlowBijector(tfp_ar.networks.WaveNet([4], conditional_shape=[3])) for _ in range(2)
    ... ]
    >>> chain = Chain([flows[0], tfb.Permute([3, 2, 1, 0]), flows[1]])
    >>> chain.inverse(tf.ones([5, 4]), conditional_input=tf.ones([5, 3])).shape
    TensorShape([5, 4])
    """

    def __init__(self, bijectors, validate_args=False, name=None):
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
        # The bijectors have caches of their own, which know when an answer is stale.
        self._cache = Uncached(self)

    def __copy__(self):
        return self.copy()  # with a cache of its own

    def __deepcopy__(self, memo):
        return self.copy(bijectors=copy.deepcopy(list(self.bijectors), memo))

    def _walk_forward(self, step_fn, x, **kwargs):
        self._check(kwargs)
        for bijector in reversed(self.bijectors):
            x = step_fn(bijector, x, **self._kwargs_of(bijector, kwargs))
        return x

    def _walk_inverse(self, step_fn, y, **kwargs):
        self._check(kwargs)
        for bijector in self.bijectors:
            y = step_fn(bijector, y, **self._kwargs_of(bijector, kwargs))
        return y

    def _check(self, kwargs):
        if kwargs.get("conditional_input") is not None and not takes_conditioning(self):
            raise ValueError(
                f"conditional_input: no bijector of {self.name!r} is conditioned; it would be "
                "ignored."
            )
        names = {b.name for b in self.bijectors} | {"conditional_input", "training"}
        if set(kwargs) - names:
            raise TypeError(
                f"{self.name}: expected keyword arguments among {sorted(names)}, got "
                f"{sorted(set(kwargs) - names)}."
            )

    def _kwargs_of(self, bijector, kwargs):
        return {**condition_kwargs(bijector, kwargs), **kwargs.get(bijector.name, {})}

    def _is_increasing(self, **kwargs):
        signs = [b._internal_is_increasing(**self._kwargs_of(b, kwargs)) for b in self.bijectors]
        increasing = True
        for sign in signs:
            increasing = increasing == sign
        return increasing


def flows(bijector) -> list[ARFlowBijector]:
    """All flows in `bijector`: itself, or those in a composition or an inverse."""
    if isinstance(bijector, ARFlowBijector):
        return [bijector]
    return [flow for member in _members(bijector) for flow in flows(member)]


def takes_conditioning(bijector) -> bool:
    """Whether a flow in `bijector` is conditioned."""
    return any(flow.conditional_shape is not None for flow in flows(bijector))


def _members(bijector) -> list:
    if isinstance(bijector, tfb.Composition):
        return list(tf.nest.flatten(bijector.bijectors))
    inner = getattr(bijector, "bijector", None)  # tfb.Invert
    return [inner] if isinstance(inner, tfb.Bijector) else []


def condition_kwargs(bijector, kwargs) -> dict:
    """What `bijector` takes of `conditional_input` and `training` in `kwargs`, in its own form."""
    if not flows(bijector):
        return {}
    if isinstance(bijector, (ARFlowBijector, Chain)):
        wanted = ["training", "conditional_input"] if takes_conditioning(bijector) else ["training"]
        return {key: kwargs[key] for key in wanted if key in kwargs}
    if isinstance(bijector, tfb.Composition):  # TFP's own: by name
        by_name = {member.name: condition_kwargs(member, kwargs) for member in _members(bijector)}
        return {name: inner for name, inner in by_name.items() if inner}
    return condition_kwargs(_members(bijector)[0], kwargs)  # tfb.Invert passes all on
