"""Transformers: functions from a variable's parameters to an elementwise bijector."""

from tfp_ar.bijectors.transformers.affine import Affine
from tfp_ar.bijectors.transformers.mixture_of_logistics import MixtureOfLogistics
from tfp_ar.bijectors.transformers.rational_quadratic_spline import RationalQuadraticSpline

__all__ = ["Affine", "MixtureOfLogistics", "RationalQuadraticSpline"]
