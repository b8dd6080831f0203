"""Distributions built from others with autoregressive networks and dequantization."""

from tfp_ar.distributions.autoregressive_distribution import AutoregressiveDistribution
from tfp_ar.distributions.dequantized import Dequantized
from tfp_ar.distributions.discretized_logistic_mixture import DiscretizedLogisticMixture
from tfp_ar.distributions.logistic_mixture_head import LogisticMixtureHead

__all__ = [
    "AutoregressiveDistribution",
    "Dequantized",
    "DiscretizedLogisticMixture",
    "LogisticMixtureHead",
]
