"""Bijectors that consume autoregressive networks, and what stacks and conditions them."""

from tfp_ar.bijectors.affine import Affine
from tfp_ar.bijectors.ar_flow_bijector import ARFlowBijector
from tfp_ar.bijectors.bind import bind
from tfp_ar.bijectors.bounded import Bounded
from tfp_ar.bijectors.chain import Chain
from tfp_ar.bijectors.fixed_point import FixedPoint
from tfp_ar.bijectors.sampling_report import sampling_report

__all__ = [
    "ARFlowBijector",
    "Affine",
    "Bounded",
    "Chain",
    "FixedPoint",
    "bind",
    "sampling_report",
]
