"""Bijectors that consume autoregressive networks, and what stacks and conditions them."""

from tfp_ar.bijectors.act_norm import ActNorm
from tfp_ar.bijectors.affine import Affine
from tfp_ar.bijectors.ar_flow_bijector import ARFlowBijector
from tfp_ar.bijectors.bind import bind
from tfp_ar.bijectors.bounded import Bounded
from tfp_ar.bijectors.chain import Chain
from tfp_ar.bijectors.fixed_point import FixedPoint
from tfp_ar.bijectors.initialize import initialize
from tfp_ar.bijectors.mixture_of_logistics import MixtureOfLogistics
from tfp_ar.bijectors.rational_quadratic_spline import RationalQuadraticSpline
from tfp_ar.bijectors.sampling_report import sampling_report
from tfp_ar.bijectors.stack import stack

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
