"""Checks that a distribution_fn and an input_transform fit a network."""

import dataclasses
import inspect
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.distributions.inversion import takes_uniforms
from tfp_ar.distributions.support import IntegerSupport, RealSupport, Support
from tfp_ar.internal import checks
from tfp_ar.internal.compiled_network import CompiledNetwork
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.generation.reference import CACHED

tfd = tfp.distributions

_NUM_PROBES = 9  # values that an input_transform is tried on


@dataclasses.dataclass(frozen=True)
class Conditional:
    """The properties of conditional distributions that do not depend on their parameters.

    Args:
      dtype: the dtype of their values.
      support: the values that they are over.
      takes_uniforms: whether `sample_from_uniform` samples them.
    """

    dtype: tf.DType
    support: Support
    takes_uniforms: bool


def check_distribution_fn(distribution_fn: Callable, network: AutoregressiveNetwork) -> Conditional:
    """Tries `distribution_fn` on parameters of the network's shape, once per network.

    Raises:
      TypeError: if it is not callable, not hashable, or does not return a distribution.
      ValueError: if it fails on `network.num_params` parameters, does not return one scalar
        distribution per variable, or reads variables.
    """
    checks.hashable_function("distribution_fn", distribution_fn)

    def check(network):
        checks.num_params(distribution_fn, network.num_params)
        with tf.init_scope():  # eager values, also when constructed inside a tf.function
            event = list(network.event_shape)
            distribution = _try(distribution_fn, network, [1, *event], ["...", *event])
            _try(distribution_fn, network, [1], ["..."])  # as the sequential pass calls it
            _refuse_variables(distribution_fn, network, distribution)
            support = IntegerSupport.of_conditional(distribution)
            return Conditional(
                distribution.dtype,
                RealSupport.of_conditional(distribution) if support is None else support,
                takes_uniforms(distribution),
            )

    return CompiledNetwork.of(network).once(("distribution_fn", distribution_fn), check)


def _try(distribution_fn, network, batch, shown):
    params = tf.zeros([*batch, network.num_params], network.variable_dtype)
    where = f"parameters of shape [{', '.join(map(str, [*shown, network.num_params]))}]"
    try:
        distribution = distribution_fn(params)
    except Exception as error:
        raise ValueError(f"distribution_fn: it fails on {where}: {error}") from error
    if not isinstance(distribution, tfd.Distribution):
        raise TypeError(
            f"distribution_fn: expected it to return a tfd.Distribution, got {distribution!r}."
        )
    if distribution.event_shape != []:
        raise ValueError(
            "distribution_fn: expected a distribution of scalars (event shape []), got event shape "
            f"{distribution.event_shape} for {where}."
        )
    if distribution.batch_shape != batch:
        raise ValueError(
            f"distribution_fn: expected batch shape [{', '.join(map(str, shown))}], one "
            f"distribution for each variable, got {distribution.batch_shape.as_list()} for "
            f"parameters of shape {params.shape.as_list()}."
        )
    if distribution.dtype.is_floating and distribution.dtype != network.variable_dtype:
        raise ValueError(
            f"distribution_fn: expected distributions of dtype {network.variable_dtype}, that of "
            f"the network, or of integers, got {distribution.dtype.name}."
        )
    return distribution


def _refuse_variables(distribution_fn, network, distribution):
    params = [1, *network.event_shape, network.num_params]
    checks.reads_no_variables(
        "distribution_fn",
        lambda params, value: distribution_fn(params).log_prob(value),
        tf.TensorSpec(params, network.variable_dtype),
        tf.TensorSpec(params[:-1], distribution.dtype),
        hint="Let the network have them.",
    )


def check_input_transform(
    input_transform: Callable | None,
    network: AutoregressiveNetwork,
    support: Support,
    sampling: str,
) -> None:
    """Tries `input_transform` on values of the support, once per network.

    Raises:
      TypeError: if it is not callable or not hashable.
      ValueError: if it does not keep shape and dtype, is not elementwise, or reads variables; or if
        the network's own `generate`, which 'cached' sampling calls, does not take the argument.
    """
    if input_transform is None:
        return
    checks.hashable_function("input_transform", input_transform)
    if sampling == CACHED:
        _check_generate(network)

    def check(network):
        with tf.init_scope():
            values = tf.constant(_probes(support), network.variable_dtype)
            together, alone = _transformed(input_transform, values), []
            for i in range(_NUM_PROBES):
                alone.append(_transformed(input_transform, values[i : i + 1, np.newaxis])[0, 0])
        if not np.allclose(together, alone, rtol=1e-5, atol=1e-5, equal_nan=True):
            raise ValueError(
                "input_transform: expected an elementwise function, got one whose result for a "
                "value depends on the values beside it."
            )
        checks.reads_no_variables(
            "input_transform",
            input_transform,
            tf.TensorSpec([1, *network.event_shape], network.variable_dtype),
            hint="Let the network have them.",
        )

    CompiledNetwork.of(network).once(("input_transform", input_transform, support), check)


def _check_generate(network):
    parameters = inspect.signature(network.generate).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if not takes_any and "input_transform" not in parameters:
        raise ValueError(
            f"network: expected {type(network).__name__}.generate to take input_transform, as one "
            f"is given, got generate({', '.join(parameters)}). Let it take it and show the network "
            "input_transform(x), or pass sampling='reference'."
        )


def _transformed(input_transform, values):
    try:
        result = tf.convert_to_tensor(input_transform(values))
    except Exception as error:
        raise ValueError(
            f"input_transform: it fails on {values.dtype.name} values of shape "
            f"{values.shape.as_list()}: {error}"
        ) from error
    if (result.dtype, result.shape) != (values.dtype, values.shape):
        raise ValueError(
            f"input_transform: expected it to keep dtype {values.dtype.name} and shape "
            f"{values.shape.as_list()}, got {result.dtype.name} and {result.shape.as_list()}."
        )
    return result


def _probes(support):
    low, high = getattr(support, "low", None), getattr(support, "high", None)
    if low is None:
        return support.legal + np.linspace(0.0, 2.0, _NUM_PROBES)
    return np.round(np.linspace(low, high, _NUM_PROBES))


def variables_in_rows(network: AutoregressiveNetwork, num_rows: int) -> int:
    """Returns the number of variables in the first rows, which must be the first to be drawn.

    Raises:
      TypeError: if `num_rows` is not an integer.
      ValueError: if it is out of range, or the network's order does not begin with these rows.
    """
    height, *row = network.event_shape
    num_rows = checks.int_between("num_rows", num_rows, 0, height)
    number = num_rows * int(np.prod(row))
    if set(network.order[:number]) != set(range(number)):
        raise ValueError(
            f"num_rows: expected 0 or {height}, as the network's order does not begin with whole "
            f"rows, got {num_rows}."
        )
    return number
