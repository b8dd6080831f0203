"""Bijectors on autoregressive networks, with tools to stack, condition and initialize them."""

from tfp_ar.bijectors.act_norm import ActNorm
from tfp_ar.bijectors.ar_flow_bijector import ARFlowBijector
from tfp_ar.bijectors.bounded import Bounded
from tfp_ar.bijectors.chain import Chain
from tfp_ar.bijectors.initialize import initialize
from tfp_ar.bijectors.sampling.fixed_point import FixedPoint, sampling_report
from tfp_ar.bijectors.stack import stack
from tfp_ar.bijectors.transformers import Affine, MixtureOfLogistics, RationalQuadraticSpline
from tfp_ar.conditioning import bind

__all__ = [
    "ARFlowBijector",
    "ActNorm",
    "Affine",
    "Bounded",
    "Chain",
    "FixedPoint",
    "MixtureOfLogistics",
    "RationalQuadraticSpline",
    "bind",
    "initialize",
    "sampling_report",
    "stack",
]
