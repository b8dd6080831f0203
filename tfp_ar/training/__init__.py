"""Training of distributions with Keras."""

from tfp_ar.training.density_model import DensityModel

__all__ = ["DensityModel"]
