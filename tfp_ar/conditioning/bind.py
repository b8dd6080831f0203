"""One conditioning argument for a whole stack."""

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.conditioning import walk
from tfp_ar.conditioning.spec import describe

tfb, tfd = tfp.bijectors, tfp.distributions


@tf.autograph.experimental.do_not_convert
def bind(distribution_or_bijector: Any, conditional_input: Any) -> Any:
    """Returns the same distribution or bijector, every conditioned network in it conditioned.

    Nothing is changed: what is returned shares all networks, hence weights and compiled code, with
    the original. Its batch shape is the leading shape of `conditional_input`, as if it had been
    built for these conditions: samples are [n, *batch, *event], and `log_prob` takes no further
    arguments.

    Args:
      distribution_or_bijector: a tfd.Distribution or tfb.Bijector that holds ARFlowBijectors or
        AutoregressiveDistributions at any depth (in TransformedDistribution, Independent, Sample,
        Chain, Invert, ...), or is one.
      conditional_input: [*batch, *conditional_shape], or a dict of such; anything a tensor can be
        made of. A tf.Variable is read at every use, so that it can be trained.

    Returns: an object of the type of `distribution_or_bijector`.

    Raises:
      TypeError: if `distribution_or_bijector` is neither.
      ValueError: if it holds no conditioned network, `conditional_input` is None, or its shape does
        not fit one of the networks.

    >>> network = tfp_ar.networks.WaveNet(event_shape=[8], conditional_shape=[3])
    >>> base = tfd.Sample(tfd.Normal(0.0, 1.0), [8])
    >>> flow = tfd.TransformedDistribution(base, ARFlowBijector(network))
    >>> classes = bind(flow, tf.eye(3))
    >>> classes.batch_shape
    TensorShape([3])
    >>> classes.sample(5, seed=[1, 2]).shape
    TensorShape([5, 3, 8])
    """
    if not isinstance(distribution_or_bijector, (tfd.Distribution, tfb.Bijector)):
        raise TypeError(
            "distribution_or_bijector: expected a tfd.Distribution or tfb.Bijector, got "
            f"{distribution_or_bijector!r}."
        )
    if conditional_input is None:
        raise ValueError(
            "conditional_input: expected what the networks are conditioned on, got None."
        )
    bound = _bind(distribution_or_bijector, conditional_input)
    if bound is distribution_or_bijector:
        raise ValueError(
            f"conditional_input: no network in {distribution_or_bijector.name!r} is conditioned; "
            f"{describe(conditional_input)} would be ignored."
        )
    return bound


def _bind(value, conditional_input):
    """Returns `value` with all conditioned networks bound; `value` itself if there are none."""
    if walk.holds_network(value):
        if not value.network.conditioning:
            return value
        return value.copy(conditional_input=conditional_input)
    if isinstance(value, (list, tuple)):
        bound = [_bind(v, conditional_input) for v in value]
        return value if _all_same(bound, value) else _like(value, bound)
    if isinstance(value, dict):
        bound = {k: _bind(v, conditional_input) for k, v in value.items()}
        return value if _all_same(bound.values(), value.values()) else bound
    if isinstance(value, (tfd.Distribution, tfb.Bijector)):
        parameters = value.parameters or {}
        bound = {name: _bind(p, conditional_input) for name, p in parameters.items()}
        changed = {name: b for name, b in bound.items() if b is not parameters[name]}
        return value.copy(**changed) if changed else value
    return value


def _all_same(a, b) -> bool:
    return all(x is y for x, y in zip(a, b, strict=True))


def _like(original, values):
    if hasattr(original, "_fields"):  # a named tuple
        return type(original)(*values)
    return tuple(values) if isinstance(original, tuple) else list(values)
