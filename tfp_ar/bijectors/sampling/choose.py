"""The choice of a sampler, by ARFlowBijector's argument `sampling`."""

from collections.abc import Callable
from typing import Any

from tfp_ar.bijectors.sampling.fixed_point import FixedPoint, FixedPointSampler
from tfp_ar.bijectors.sampling.sequential import SequentialSampler
from tfp_ar.internal import checks
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.generation.reference import SAMPLING

FIXED_POINT = "fixed_point"


def check_sampling(sampling: Any, network: AutoregressiveNetwork) -> str | FixedPoint:
    """Returns ARFlowBijector's argument `sampling` as 'cached', 'reference' or a FixedPoint.

    Raises:
      ValueError: if it is not one of these, or asks for blocks of a network without block passes.
    """
    if sampling == FIXED_POINT:
        return FixedPoint()
    if not isinstance(sampling, FixedPoint):
        return checks.one_of("sampling", sampling, (*SAMPLING, FIXED_POINT))
    if sampling.block_size is not None and not network.has_block_passes:
        raise ValueError(
            f"sampling: expected block_size=None, as {type(network).__name__} has no passes over "
            f"blocks, got {sampling!r}."
        )
    return sampling


def make_sampler(
    network: AutoregressiveNetwork,
    transformer: Callable,
    sampling: str | FixedPoint,
    jit_compile: bool,
) -> SequentialSampler:
    """Returns the sampler for a result of `check_sampling`."""
    if isinstance(sampling, FixedPoint):
        return FixedPointSampler(network, transformer, sampling, jit_compile)
    return SequentialSampler(network, transformer, sampling, jit_compile)
