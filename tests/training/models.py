"""Small models that tests train, and data for them."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tfp_ar.bijectors import Bounded, Chain

tfb, tfd = tfp.bijectors, tfp.distributions

LENGTH, LEVELS = 4, 8
BOTH = {"global": [3], "local": [LENGTH, 2]}


def network(seed=1, **kwargs):
    """A WaveNet of one block, with weights of that seed."""
    helpers.set_seed(seed)
    settings = {"residual_channels": 4, "dilations": [1], **kwargs}
    return tfp_ar.networks.WaveNet([LENGTH], **settings)


def flow(net, bounded=True, dtype="float32"):
    """A flow whose base and whose scaling have a tf.Variable each."""
    loc = tf.Variable(tf.zeros([LENGTH], dtype), name="loc")
    base = tfd.Independent(tfd.Normal(loc, tf.ones([], dtype)), 1)
    scale = tf.Variable(tf.fill([LENGTH], tf.constant(1.25, dtype)), name="scale")
    inner = [tfb.Scale(scale), tfp_ar.ARFlowBijector(net, jit_compile=False)]
    return tfd.TransformedDistribution(base, Chain([Bounded(0, LEVELS)] * bounded + inner))


def integer_model(seed=1, noise_seed=0, **kwargs):
    """A model of integers 0..7, not compiled; further arguments are the network's."""
    dequantized = tfp_ar.Dequantized(flow(network(seed, **kwargs)))
    return tfp_ar.DensityModel(dequantized, noise_seed)


def real_model(seed=1, **kwargs):
    """A model of real numbers, not compiled; further arguments are the network's."""
    return tfp_ar.DensityModel(flow(network(seed, **kwargs), bounded=False))


def compiled(model, optimizer=None, **kwargs):
    """The model, compiled without XLA unless asked for."""
    optimizer = keras.optimizers.Adam(0.01) if optimizer is None else optimizer
    model.compile(optimizer, **{"jit_compile": False, **kwargs})
    return model


def averaging(learning_rate=0.01, **kwargs):
    """An optimizer that keeps averages."""
    return keras.optimizers.Adam(learning_rate, use_ema=True, ema_momentum=0.8, **kwargs)


def integers(rows=24, seed=0):
    """Values of `integer_model`, uint8."""
    values = np.random.default_rng(seed).binomial(LEVELS - 1, 0.3, [rows, LENGTH])
    return values.astype(np.uint8)


def reals(rows=24, seed=0):
    """Values of `real_model`, float32."""
    return np.random.default_rng(seed).standard_normal([rows, LENGTH]).astype(np.float32)


def conditions(rows=24, seed=5):
    """Global conditioning of 3 features, float32."""
    return np.random.default_rng(seed).standard_normal([rows, 3]).astype(np.float32)


def both_conditions(rows=24, seed=5):
    """Global and local conditioning."""
    local = np.random.default_rng((seed, 1)).standard_normal([rows, LENGTH, 2])
    return {"global": conditions(rows, seed), "local": local.astype(np.float32)}


def values_of(variables):
    """Copies of the values of variables."""
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def assert_equal(first, second):
    """Two lists of arrays are equal, bit for bit."""
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


class Steps(keras.callbacks.Callback):
    """Records the running mean of the loss after each step."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append((int(self.model.optimizer.iterations), float(logs["loss"])))


class StopAt(keras.callbacks.Callback):
    """Fails in the middle of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.stop_epoch, self.stop_batch = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (self.stop_epoch, self.stop_batch):
            raise KeyboardInterrupt
