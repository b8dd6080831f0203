"""Parts of the examples' flows: transformers and noise by name, and the units of the data."""

import numpy as np
import tensorflow_probability as tfp

from tfp_ar.bijectors import (
    Affine,
    Bounded,
    Chain,
    MixtureOfLogistics,
    RationalQuadraticSpline,
    stack,
)
from tfp_ar.dequantizers import Dequantizer, Uniform, Variational

tfb, tfd = tfp.bijectors, tfp.distributions

LOG_SCALE_BOUND = 12.0  # silence in speech is near -9
# The conditional distribution of each variable. With "affine" it is Gaussian, in the units below.
TRANSFORMERS = {
    "affine": lambda bound: Affine(bound),
    "mixture": lambda bound: MixtureOfLogistics(4, bound),
    "spline": lambda bound: RationalQuadraticSpline(8, log_scale_bound=bound),
}
NOISES = {
    "uniform": lambda event_shape, low, high, width: Uniform(),
    "variational": Variational.from_event_shape,
}


def make_transformer(name: str, log_scale_bound=LOG_SCALE_BOUND):
    """Returns the `bijector_fn` of that name."""
    return TRANSFORMERS[name](log_scale_bound)


def data_units(data, bounded=True) -> list:
    """Returns bijectors between the data and numbers of mean 0 and standard deviation 1.

    A network sees these numbers. The outermost bijector comes first.

    Args:
      data: a Dataset, whose training split decides the units.
      bounded: whether the density has to be zero outside the data's levels.
    """
    y = data.train.x + np.float32(0.5)
    outermost = []
    if bounded:
        outermost = [Bounded(data.low, data.high + 1)]
        y = outermost[0].inverse(y).numpy()
    # Constant data, of standard deviation 0, stay as they are.
    return [*outermost, tfb.Shift(y.mean()), tfb.Scale(y.std() or np.float32(1.0))]


def make_density(make_network, data, transformer, num_flows=1, bounded=True):
    """Returns a density of flows in the data's units, each in another direction.

    Args:
      make_network: function k -> the network of flow k.
      data: a Dataset.
      transformer: the `bijector_fn` of all flows.
      num_flows: the number of flows.
      bounded: whether the density has to be zero outside the data's levels.

    Returns: a `tfd.TransformedDistribution` of a normal distribution.
    """
    outer = Chain(data_units(data, bounded))
    flows = stack(make_network, num_flows, bijector_fn=transformer, actnorm=False, outer=outer)
    base = tfd.Sample(tfd.Normal(0.0, 1.0), flows.bijectors[-1].event_shape)
    return tfd.TransformedDistribution(base, flows)


def make_noise(name: str, event_shape, low: int, high: int, width: int) -> Dequantizer:
    """Returns the dequantizer of that name, one of NOISES, for integers from `low` to `high`."""
    return NOISES[name](event_shape, low, high + 1, width)
