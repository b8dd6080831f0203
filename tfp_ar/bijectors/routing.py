"""How one conditioning, `training` and a seed reach what is deep inside a distribution."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.bind import bind, holds_network, members
from tfp_ar.bijectors.chain import condition_kwargs
from tfp_ar.internal.variables import random_states
from tfp_ar.networks.conditioning import ConditioningSpec, describe

tfb, tfd = tfp.bijectors, tfp.distributions

# The attribute by which a distribution of ours says that its methods take `conditional_input`,
# `training` and, where its log_prob is random, `seed`.
ROUTES_KWARGS = "routes_kwargs"
RANDOM_LOG_PROB = "random_log_prob"


def has_random_log_prob(distribution) -> bool:
    """Whether `log_prob` draws noise, and so takes a seed."""
    return any(getattr(member, RANDOM_LOG_PROB, False) for member in members(distribution))


def open_conditioning(distribution) -> ConditioningSpec | None:
    """What `distribution` still has to be conditioned on, None if on nothing.

    Raises:
      ValueError: if its flows are conditioned on different shapes.
    """
    specs = [
        member.network.conditioning
        for member in members(distribution)
        if holds_network(member)
        and member.network.conditioning
        and member.conditional_input is None
    ]
    shapes = [spec.public for spec in specs]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            f"distribution: expected flows with one conditional_shape, got {shapes}. Bind the "
            "others with tfp_ar.bind."
        )
    return specs[0] if specs else None


def float_dtype(distribution) -> tf.DType:
    """The dtype of what is computed: that of the values, or of a network where these are integers.

    It is the dtype of densities and conditioning.
    """
    if distribution.dtype.is_floating:
        return distribution.dtype
    networks = [m.network for m in members(distribution) if holds_network(m)]
    return tf.as_dtype(networks[0].variable_dtype if networks else keras.config.floatx())


def check_conditioning(distribution, conditional_input) -> None:
    """Checks that `conditional_input` is there, and of the right shape, exactly if it is needed.

    Raises:
      TypeError, ValueError: if not.
    """
    spec = open_conditioning(distribution)
    if spec is not None:
        spec.split(conditional_input)
    elif conditional_input is not None:
        raise ValueError(
            f"conditional_input: {distribution.name!r} is not conditioned and would ignore it, got "
            f"{describe(conditional_input)}."
        )


def conditioned(distribution, conditional_input):
    """`bind` where there is something to bind; `distribution` itself where nothing is wanted.

    Raises:
      TypeError, ValueError: as `check_conditioning`.
    """
    check_conditioning(distribution, conditional_input)
    return distribution if conditional_input is None else bind(distribution, conditional_input)


def log_prob(distribution, value, conditional_input=None, seed=None, training=None):
    """`distribution.log_prob(value)`, with all that any distribution in it takes.

    Args:
      distribution: a tfd.Distribution, of ours or TFP's.
      value: [..., *batch, *event].
      conditional_input: as `bind` takes it, None if the distribution is not conditioned.
      seed: stateless seed of a random log_prob; others do without.
      training: whether dropout is on.

    Raises:
      TypeError, ValueError: as `check_conditioning`.
    """
    distribution = conditioned(distribution, conditional_input)
    kwargs = {"training": training} if training else {}
    if seed is not None and has_random_log_prob(distribution):
        kwargs["seed"] = seed
    return distribution.log_prob(value, **routed(distribution, kwargs))


def is_transformed(distribution) -> bool:
    """Whether it is a TransformedDistribution, of which class TFP makes several."""
    return isinstance(getattr(distribution, "bijector", None), tfb.Bijector)


def routed(distribution, kwargs) -> dict:
    """`seed` and `training` in the form in which methods of `distribution` hand them down.

    Raises:
      ValueError: if they do not, as those of mixtures, though something inside wants them.
    """
    if getattr(distribution, ROUTES_KWARGS, False):
        return kwargs
    inner = getattr(distribution, "distribution", None)
    if is_transformed(distribution):
        parts = {
            "bijector_kwargs": condition_kwargs(distribution.bijector, kwargs),
            "distribution_kwargs": routed(inner, kwargs),
        }
        return {name: part for name, part in parts.items() if part}
    if isinstance(inner, tfd.Distribution):
        return routed(inner, kwargs)
    out_of_reach = [name for name in kwargs if _is_for[name](distribution)]
    if out_of_reach:
        raise ValueError(
            f"{' and '.join(out_of_reach)}: {type(distribution).__name__} does not hand it down to "
            "what is inside, and it would be ignored. Put the mixture inside one "
            "tfp_ar.Dequantized, or do without dropout."
        )
    return {}


def _has_dropout(distribution) -> bool:
    return any(random_states(m.network) for m in members(distribution) if holds_network(m))


_is_for = {"seed": has_random_log_prob, "training": _has_dropout}
