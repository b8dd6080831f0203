"""Every use of a private API of TensorFlow Probability: the place to look at after an upgrade.

`HOOKS` lists the private methods that classes of ours override, with the arguments that these rely
on; tests/internal/test_private_apis.py fails if TFP no longer has one.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

# TFP's own distributions are written with `assert_util`, `dtype_util` and `tensor_util`;
# `prefer_static` keeps static shapes static. Of `cache_util`, `BijectorCacheWithGreedyAttrs` lets a
# bijector return a log-det together with its value, which no public class does.
from tensorflow_probability.python.internal import (  # noqa: F401  # for others
    assert_util,
    cache_util,
    dtype_util,
    prefer_static,
    tensor_util,
)

tfb, tfd = tfp.bijectors, tfp.distributions

HOOKS: dict[Any, dict[str, list[str]]] = {
    # Keyword arguments are checked, and what is bound is put in, before TFP's caches see them.
    tfb.Bijector: {
        "_call_forward": ["x", "name", "kwargs"],
        "_call_inverse": ["y", "name", "kwargs"],
        "_call_forward_log_det_jacobian": ["x", "event_ndims", "name", "kwargs"],
        "_call_inverse_log_det_jacobian": ["y", "event_ndims", "name", "kwargs"],
        # The hash by which TFP's compositions find a bijector's answers.
        "_get_parameterization": [],
    },
    # Every member of a chain gets what it takes of the keyword arguments.
    tfb.Composition: {
        "_walk_forward": ["step_fn", "kwargs"],
        "_walk_inverse": ["step_fn", "kwargs"],
        "_call_walk_forward": ["step_fn", "args", "kwargs"],
        "_call_walk_inverse": ["step_fn", "args", "kwargs"],
    },
    tfd.Distribution: {
        # Values keep their own dtype until the support is checked: TFP would cast 0.5 to 0.
        "_call_log_prob": ["value", "name", "kwargs"],
        "_call_prob": ["value", "name", "kwargs"],
        "_call_unnormalized_log_prob": ["value", "name", "kwargs"],
        # A conditioned copy, which knows the batch shape, samples.
        "_call_sample_n": ["sample_shape", "seed", "kwargs"],
        "_sample_control_dependencies": ["value", "kwargs"],
    },
    # Pairs that no longer fit are forgotten, and each pair notes the version of the weights.
    cache_util.BijectorCache: {
        "_get_or_create_edge": ["input", "forward_name", "kwargs"],
        "_invoke": ["input", "fn_name", "kwargs", "attributes"],
    },
}


def walk_forward(composition: tfb.Composition, step: Callable, value: tf.Tensor) -> tf.Tensor:
    """Passes a value through the members of a composition, by step(member, value, **kwargs)."""
    return composition._call_walk_forward(step, value)


def walk_inverse(composition: tfb.Composition, step: Callable, value: tf.Tensor) -> tf.Tensor:
    """Passes a value through the members of a composition, from the outermost to the innermost."""
    return composition._call_walk_inverse(step, value)


def is_increasing(bijector: tfb.Bijector, **kwargs: Any) -> Any:
    """Returns TFP's answer to whether a bijector is increasing, None where it has none."""
    return bijector._internal_is_increasing(**kwargs)
