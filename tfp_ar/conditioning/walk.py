"""The one walker over distributions and bijectors, of TFP and ours."""

from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

tfb, tfd = tfp.bijectors, tfp.distributions


def members(value: Any) -> Iterator[Any]:
    """Yields the distributions and bijectors in `value`: itself and all in its parameters."""
    inside: Iterable[Any] = ()
    if isinstance(value, (list, tuple)):
        inside = value
    elif isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, (tfd.Distribution, tfb.Bijector)):
        yield value
        inside = (value.parameters or {}).values()
    reached = set()
    for part in inside:
        for member in members(part):
            reached.add(id(member))
            yield member
    if isinstance(value, tfb.Bijector):  # a composition may make its members itself
        for bijector in inner_bijectors(value):
            if id(bijector) not in reached:
                yield from members(bijector)


def flows(value: Any) -> list:
    """Returns the members that hold a network which `bind` conditions, of whatever class."""
    return [member for member in members(value) if holds_network(member)]


def holds_network(value: Any) -> bool:
    """Returns True for a bijector or distribution over a network.

    It has a property `network`, and the constructor argument and property `conditional_input`.
    """
    return (
        isinstance(value, (tfd.Distribution, tfb.Bijector))
        and hasattr(getattr(value, "network", None), "conditioning")
        and "conditional_input" in value.parameters
    )


def inner_bijectors(bijector: tfb.Bijector) -> list:
    """Returns the bijectors that a composition or an inverse is made of, outermost first."""
    if isinstance(bijector, tfb.Composition):
        return list(tf.nest.flatten(bijector.bijectors))
    inner = getattr(bijector, "bijector", None)  # tfb.Invert
    return [inner] if isinstance(inner, tfb.Bijector) else []


def inner_distribution(distribution: tfd.Distribution) -> tfd.Distribution | None:
    """Returns the distribution that one is made of, None if there is none."""
    inner = getattr(distribution, "distribution", None)
    return inner if isinstance(inner, tfd.Distribution) else None


def is_transformed(distribution: tfd.Distribution) -> bool:
    """Returns True for a TransformedDistribution, of which class TFP makes several."""
    return isinstance(getattr(distribution, "bijector", None), tfb.Bijector)


def outermost(distribution: tfd.Distribution) -> tfb.Bijector | None:
    """Returns the bijector that is applied last in sampling, None if there is none."""
    while distribution is not None:
        if is_transformed(distribution):
            bijector = distribution.bijector
            while isinstance(bijector, tfb.Composition) and len(bijector.bijectors):
                bijector = inner_bijectors(bijector)[0]
            return bijector
        distribution = inner_distribution(distribution)
    return None
