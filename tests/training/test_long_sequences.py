"""The round trip u -> x -> u of long sequences, with a trained network."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests.training import data
from tests.training.step import make_step

tfd = tfp.distributions
LENGTH = 4096


@pytest.mark.slow  # two trainings of 20 seconds each
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-3), ("float64", 1e-9)])
def test_round_trip_after_training(dtype, tolerance):
    keras.utils.set_random_seed(4)
    network = tfp_ar.networks.WaveNet([LENGTH], dtype=dtype)  # all by default
    base = tfd.Sample(tfd.Normal(tf.zeros([], dtype), 1.0), [LENGTH])
    flow = tfd.TransformedDistribution(base, tfp_ar.ARFlowBijector(network))
    step = make_step(flow, keras.optimizers.Adam(2e-3), jit_compile=True)
    losses = [float(step(data.autoregressive(2, LENGTH, dtype, seed=k))) for k in range(100)]
    best = data.entropy(LENGTH)
    assert losses[-1] - best < 0.2 * (losses[0] - best), "it was to be a trained network"

    u = base.sample(2, seed=[1, 2])
    x = tf.identity(flow.bijector.forward(u))
    assert np.abs(x - u).max() > 0.5
    np.testing.assert_allclose(flow.bijector.inverse(x), u, rtol=0, atol=tolerance)
