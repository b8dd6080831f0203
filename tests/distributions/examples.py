"""Small autoregressive networks for tests, and distributions made from their parameters."""

import itertools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.toys import Raster
from tfp_ar.distributions import LogisticMixtureHead
from tfp_ar.networks import WaveNet

tfd = tfp.distributions
SEED = (3, 4)
EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64


def categorical(params):
    """As many levels as parameters."""
    return tfd.Categorical(logits=params)


def bernoulli(params):
    return tfd.Bernoulli(logits=params[..., 0])


def normal(params):
    return tfd.Normal(params[..., 0], tf.exp(params[..., 1]))


def mixture(params):
    """A distribution that is not in the table of `sample_from_uniform`."""
    parts = tfd.Normal(params[..., 2:], tf.ones([], params.dtype))
    return tfd.MixtureSameFamily(tfd.Categorical(logits=params[..., :2]), parts)


def centred(x):
    """An input_transform for levels 0, 1, 2."""
    return x - 1.0


LOGISTICS = LogisticMixtureHead(2, 0, 2)
# By name: distribution_fn, num_params, levels.
DISCRETE = {
    "categorical": (categorical, 3, 3),
    "bernoulli": (bernoulli, 1, 2),
    "logistics": (LOGISTICS, 6, 3),
}
HEADS = {**DISCRETE, "normal": (normal, 2, None), "mixture": (mixture, 4, None)}


def raster(event_shape=(2, 2, 1), num_params=3, dtype="float64", seed=1, scale=0.8, **kwargs):
    """A Raster of random weights."""
    network = Raster(event_shape, num_params, dtype=dtype, **kwargs)
    network.build()
    return helpers.randomize(network, scale, seed)


def wavenet(num_params=3, dtype="float64", seed=1, scale=0.5, length=4, **kwargs):
    """A WaveNet of random weights."""
    settings = {"residual_channels": 3, "dilations": [1, 2], **kwargs}
    network = WaveNet([length], num_params, dtype=dtype, **settings)
    return helpers.randomize(network, scale, seed)


def distribution(network=None, head="categorical", jit_compile=False, **kwargs):
    """Without XLA unless asked for."""
    function, num_params, levels = HEADS[head]
    if levels:
        kwargs = {"input_transform": centred, **kwargs}
    network = wavenet(num_params) if network is None else network
    return tfp_ar.AutoregressiveDistribution(network, function, jit_compile=jit_compile, **kwargs)


def all_images(levels, event_shape=(2, 2, 1)):
    """Every x of these levels: [levels ** size, *event_shape]."""
    rows = list(itertools.product(range(levels), repeat=int(np.prod(event_shape))))
    return np.array(rows, np.int32).reshape([-1, *event_shape])
