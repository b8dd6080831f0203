"""Training of distributions the Keras way."""

from tfp_ar.training.density_model import DensityModel

__all__ = ["DensityModel"]
