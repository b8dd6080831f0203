"""Small learned noise for tests, on shared networks, as tracing passes takes longest."""

import functools

import keras
import tensorflow_probability as tfp

from tests import helpers
from tests.toys import LazyReversed
from tfp_ar import ARFlowBijector
from tfp_ar.dequantizers import Variational

tfb = tfp.bijectors


def dense_encoder(features=2, dtype="float64"):
    """From a map to a vector: all of x."""
    hidden = keras.layers.Dense(features, activation="tanh", dtype=dtype)
    return keras.Sequential([keras.layers.Flatten(dtype=dtype), hidden])


def flow(dtype="float64", length=4, features=2, number=0, new=False):
    """A flow that wants a vector; of equal arguments, on one network unless it is to be `new`."""
    make = _network.__wrapped__ if new else _network
    network = make(dtype, length, features, number)
    network.trainable = True
    return ARFlowBijector(network, jit_compile=False, name=f"flow_{number}")


def noise(
    dtype="float64", length=4, features=2, scale=0.4, seed=1, low=0, high=17, flows=None, new=False
):
    """A `Variational` of random weights; of scale 0, the uniform law."""
    bijector = tfb.Invert(flow(dtype, length, features, new=new)) if flows is None else flows
    encoder = dense_encoder(features, dtype) if new else _encoder(features, dtype, length)
    encoder.trainable = True
    made = Variational(bijector, low, high, encoder)
    for i, layer in enumerate(layers(made)):
        helpers.randomize(layer, scale, (seed, i))
    return made


@functools.cache
def _encoder(features, dtype, length):
    return dense_encoder(features, dtype)  # to be built for that length


@functools.cache
def _network(dtype, length, features, number):
    network = LazyReversed([length], conditional_shape=[features], dtype=dtype)
    network.build((None, length))
    return network


def layers(dequantizer):
    """The Keras layers: networks, then the encoder."""
    found = dequantizer._flatten(predicate=lambda part: isinstance(part, keras.Layer))
    return sorted({id(layer): layer for layer in found}.values(), key=lambda layer: layer.name)
