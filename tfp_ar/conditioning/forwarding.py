"""Keyword arguments of `log_prob` and bijectors, handed down through any composition.

An object of ours names what its methods take in `takes_kwargs`; whatever stands around it, of TFP
or ours, `forwarded_kwargs` brings it there in the form that TFP wants. A new keyword takes no new
code here.
"""

from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.conditioning import walk
from tfp_ar.conditioning.bind import bind
from tfp_ar.conditioning.spec import ConditioningSpec, describe
from tfp_ar.internal.compiled_network import CompiledNetwork

tfb, tfd = tfp.bijectors, tfp.distributions


def log_prob(
    distribution: tfd.Distribution,
    value: Any,
    conditional_input: Any = None,
    seed: Any = None,
    training: bool | None = None,
) -> tf.Tensor:
    """Computes `distribution.log_prob(value)`, with all that any distribution in it takes.

    It works on any distribution: on plain ones of TFP it is their `log_prob`. For distributions
    that hold flows, at any depth, it hands each argument to what takes it, where TFP would want
    nested dicts of keyword arguments.

    Args:
      distribution: a tfd.Distribution, of ours or TFP's.
      value: [..., *batch, *event].
      conditional_input: [*batch, *conditional_shape], or a dict of such, as `tfp_ar.bind` takes it;
        None exactly if the distribution is not conditioned.
      seed: stateless seed [2] of a `Dequantized`, whose log_prob draws noise; others do without.
        Default None: noise drawn anew.
      training: whether dropout is on. Default None: off.

    Returns: log-probabilities in nats, [..., *batch].

    Raises:
      TypeError: if `distribution` is no distribution, or the conditioning has the wrong structure.
      ValueError: if conditioning is missing, not wanted or of the wrong shape; or if a distribution
        that does not hand arguments down, such as a mixture, stands around one that needs `seed` or
        has dropout.

    Cost: that of the distribution's `log_prob`.

    >>> network = tfp_ar.networks.WaveNet([8], conditional_shape=[3])
    >>> base = tfd.Sample(tfd.Normal(0.0, 1.0), [8])
    >>> flow = tfd.TransformedDistribution(base, tfp_ar.ARFlowBijector(network))
    >>> x, classes = tf.zeros([5, 8]), tf.one_hot([0, 1, 2, 0, 1], 3)
    >>> tfp_ar.log_prob(tfp_ar.Dequantized(flow), x, classes, seed=[1, 2]).shape
    TensorShape([5])
    """
    if not isinstance(distribution, tfd.Distribution):
        raise TypeError(f"distribution: expected a tfd.Distribution, got {distribution!r}.")
    distribution = conditioned(distribution, conditional_input)
    kwargs = given_kwargs({"seed": seed, "training": training})
    return distribution.log_prob(value, **forwarded_kwargs(distribution, kwargs))


def kwargs_of_network(network: Any) -> dict[str, bool]:
    """Returns `takes_kwargs` of an object over a network: what its methods hand to the network."""
    taken = {"training": CompiledNetwork.of(network).has_dropout}
    return {**taken, "conditional_input": True} if network.conditioning else taken


def given_kwargs(kwargs: dict) -> dict:
    """Returns the arguments but for None and False, which say no more than their absence."""
    return {name: value for name, value in kwargs.items() if not (value is None or value is False)}


def taken_kwargs(value: Any) -> dict[str, bool]:
    """Returns `takes_kwargs` of all members of `value`, in one."""
    taken: dict[str, bool] = {}
    for member in walk.members(value):
        for name, matters in getattr(member, "takes_kwargs", {}).items():
            taken[name] = taken.get(name, False) or matters
    return taken


def forwarded_kwargs(holder: Any, kwargs: dict) -> dict:
    """Returns what methods of `holder` are called with, so that `kwargs` reach who takes them.

    Args:
      holder: a distribution or bijector.
      kwargs: keyword arguments by the names in `takes_kwargs`.

    Raises:
      ValueError: if something inside takes one that `holder` does not hand down.
    """
    if not kwargs:
        return {}
    takes = getattr(holder, "takes_kwargs", None)
    if takes is not None:
        return {name: value for name, value in kwargs.items() if name in takes}
    if isinstance(holder, tfb.Composition):  # TFP's own, by name
        inside = {b.name: forwarded_kwargs(b, kwargs) for b in walk.inner_bijectors(holder)}
        return {name: inner for name, inner in inside.items() if inner}
    if isinstance(holder, tfb.Bijector):  # tfb.Invert passes all on
        for inner in walk.inner_bijectors(holder):
            return forwarded_kwargs(inner, kwargs)
    elif walk.is_transformed(holder):
        inside = {
            "bijector_kwargs": forwarded_kwargs(holder.bijector, kwargs),
            "distribution_kwargs": forwarded_kwargs(walk.inner_distribution(holder), kwargs),
        }
        return {name: inner for name, inner in inside.items() if inner}
    elif walk.inner_distribution(holder) is not None:  # tfd.Independent, Sample and the like
        return forwarded_kwargs(walk.inner_distribution(holder), kwargs)
    taken = taken_kwargs(holder)
    out_of_reach = [name for name in given_kwargs(kwargs) if taken.get(name)]
    if out_of_reach:
        hint = " Put the mixture inside one tfp_ar.Dequantized, or do without dropout."
        raise ValueError(
            f"{' and '.join(out_of_reach)}: {type(holder).__name__} does not hand it down to what "
            "is inside, and it would be ignored."
            + (hint if isinstance(holder, tfd.Distribution) else "")
        )
    return {}


def has_random_log_prob(distribution: tfd.Distribution) -> bool:
    """Returns True if `log_prob` draws noise, and so takes a seed."""
    return "seed" in taken_kwargs(distribution)


def open_conditioning(holder: Any) -> ConditioningSpec | None:
    """Returns what `holder` still has to be conditioned on, None if on nothing.

    Raises:
      ValueError: if its flows are conditioned on different shapes.
    """
    flows = [flow for flow in walk.flows(holder) if flow.network.conditioning]
    specs = [flow.network.conditioning for flow in flows if flow.conditional_input is None]
    shapes = [spec.public for spec in specs]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            f"distribution: expected flows with one conditional_shape, got {shapes}. Bind the "
            "others with tfp_ar.bind."
        )
    return specs[0] if specs else None


def check_conditioning(holder: Any, conditional_input: Any) -> None:
    """Checks that `conditional_input` is there, and of the right shape, exactly if it is needed.

    Raises:
      TypeError, ValueError: if not.
    """
    spec = open_conditioning(holder)
    if spec is not None:
        spec.parse(conditional_input)
    elif conditional_input is not None:
        raise ValueError(
            f"conditional_input: {holder.name!r} is not conditioned and would ignore it, got "
            f"{describe(conditional_input)}."
        )


def conditioned(holder: Any, conditional_input: Any) -> Any:
    """Returns `holder` bound to `conditional_input`; itself where nothing is wanted.

    Raises:
      TypeError, ValueError: as `check_conditioning`.
    """
    check_conditioning(holder, conditional_input)
    return holder if conditional_input is None else bind(holder, conditional_input)


def float_dtype(distribution: tfd.Distribution) -> tf.DType:
    """Returns the dtype of what is computed, of densities and conditioning.

    It is that of the values, or of a network where values are integers.
    """
    if distribution.dtype.is_floating:
        return distribution.dtype
    networks = [flow.network for flow in walk.flows(distribution)]
    return tf.as_dtype(networks[0].variable_dtype if networks else keras.config.floatx())
