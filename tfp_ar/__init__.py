"""Autoregressive density models for TensorFlow Probability on Keras 3."""

from tfp_ar import (
    analysis,
    bijectors,
    dequantizers,
    distributions,
    layers,
    metrics,
    networks,
    training,
)
from tfp_ar.analysis import assert_autoregressive, receptive_field
from tfp_ar.bijectors import ARFlowBijector
from tfp_ar.conditioning import bind, log_prob
from tfp_ar.distributions import AutoregressiveDistribution, Dequantized
from tfp_ar.export import export_saved_model
from tfp_ar.metrics import bits_per_dim
from tfp_ar.training import DensityModel
from tfp_ar.version import __version__

__all__ = [
    "ARFlowBijector",
    "AutoregressiveDistribution",
    "DensityModel",
    "Dequantized",
    "__version__",
    "analysis",
    "assert_autoregressive",
    "bijectors",
    "bind",
    "bits_per_dim",
    "dequantizers",
    "distributions",
    "export_saved_model",
    "layers",
    "log_prob",
    "metrics",
    "networks",
    "receptive_field",
    "training",
]
