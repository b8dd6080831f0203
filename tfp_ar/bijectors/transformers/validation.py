"""Checks that a bijector_fn fits a network, so that constructors fail and not a compiled loop."""

from collections.abc import Callable

import tensorflow as tf

from tfp_ar.internal import checks
from tfp_ar.internal.compiled_network import CompiledNetwork
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork


def check_transformer(transformer: Callable, network: AutoregressiveNetwork) -> None:
    """Tries `transformer` on parameters of the network's shape, once per network.

    Raises:
      TypeError: if it is not callable, not hashable, or does not return a bijector.
      ValueError: if it fails on `network.num_params` parameters, is not elementwise, or reads
        variables.
    """
    checks.hashable_function("bijector_fn", transformer)

    def check(network):
        _try(transformer, network)
        _refuse_variables(transformer, network)

    CompiledNetwork.of(network).once(("bijector_fn", transformer), check)


def _refuse_variables(transformer, network):
    shape = [1, *network.event_shape]
    checks.reads_no_variables(
        "bijector_fn",
        lambda params, u: transformer(params).forward(u),
        tf.TensorSpec([*shape, network.num_params], network.variable_dtype),
        tf.TensorSpec(shape, network.variable_dtype),
        hint="Let the network have them, or chain another bijector.",
    )


def _try(transformer, network):
    shape = [1, *network.event_shape]
    params = tf.zeros([*shape, network.num_params], network.variable_dtype)
    checks.num_params(transformer, network.num_params)
    try:
        bijector = transformer(params)
        forward, log_det = bijector.forward, bijector.inverse_log_det_jacobian
    except AttributeError as error:
        raise TypeError(f"bijector_fn: expected it to return a tfb.Bijector: {error}.") from error
    except Exception as error:
        raise ValueError(
            f"bijector_fn: it fails on parameters of shape {params.shape.as_list()} "
            f"(network.num_params is {network.num_params}): {error}"
        ) from error
    if bijector.forward_min_event_ndims != 0 or bijector.inverse_min_event_ndims != 0:
        raise ValueError(
            "bijector_fn: expected an elementwise bijector (forward_min_event_ndims 0), got "
            f"{bijector.forward_min_event_ndims}."
        )
    try:
        result = forward(tf.zeros(shape, network.variable_dtype)).shape.as_list()
        log_det(tf.ones(shape, network.variable_dtype), event_ndims=0)
    except Exception as error:
        raise ValueError(
            f"bijector_fn: its bijector fails on values of shape {shape} with parameters of shape "
            f"{params.shape.as_list()} (network.num_params is {network.num_params}): {error}"
        ) from error
    if result != shape:
        raise ValueError(
            f"bijector_fn: expected a bijector that keeps shape {shape}, got {result} from "
            f"{network.num_params} parameters per variable."
        )
