"""Noise that turns integers into real numbers, for `tfp_ar.Dequantized`."""

from tfp_ar.dequantizers.dequantizer import Dequantizer
from tfp_ar.dequantizers.uniform import Uniform
from tfp_ar.dequantizers.variational import Variational

__all__ = ["Dequantizer", "Uniform", "Variational"]
