"""Autoregressive density models for TensorFlow Probability on Keras 3."""

from tfp_ar import analysis, bijectors, layers, networks
from tfp_ar.analysis import assert_autoregressive
from tfp_ar.bijectors import ARFlowBijector, bind
from tfp_ar.version import __version__

__all__ = [
    "ARFlowBijector",
    "__version__",
    "analysis",
    "assert_autoregressive",
    "bijectors",
    "bind",
    "layers",
    "networks",
]
