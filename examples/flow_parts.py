"""What the examples' flows are made of: transformers by name, and the data's units."""

import numpy as np
import tensorflow_probability as tfp

from tfp_ar.bijectors import Affine, Bounded, MixtureOfLogistics, RationalQuadraticSpline

tfb = tfp.bijectors

LOG_SCALE_BOUND = 12.0  # silence in speech is near -9
# What each variable is given those before it. Affine: Gaussian, in the units that follow.
TRANSFORMERS = {
    "affine": lambda bound: Affine(bound),
    "mixture": lambda bound: MixtureOfLogistics(4, bound),
    "spline": lambda bound: RationalQuadraticSpline(8, log_scale_bound=bound),
}


def make_transformer(name: str, log_scale_bound=LOG_SCALE_BOUND):
    """The `bijector_fn` of that name."""
    return TRANSFORMERS[name](log_scale_bound)


def data_units(data, bounded=True) -> list:
    """Bijectors to numbers of mean 0 and deviation 1, what a network sees, outermost first.

    Args:
      data: a Dataset, of which the training split decides.
      bounded: whether the density is to be zero outside the data's levels.
    """
    y = data.train.x + np.float32(0.5)
    outermost = []
    if bounded:
        outermost = [Bounded(data.low, data.high + 1)]
        y = outermost[0].inverse(y).numpy()
    # Constant data, of standard deviation 0, stay as they are.
    return [*outermost, tfb.Shift(y.mean()), tfb.Scale(y.std() or np.float32(1.0))]
