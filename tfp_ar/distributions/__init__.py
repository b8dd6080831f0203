"""Distributions made of others by means of autoregressive networks and dequantization."""

from tfp_ar.distributions.dequantized import Dequantized

__all__ = ["Dequantized"]
