"""tfb.Invert(ARFlowBijector(...)): the inverse autoregressive flow, fast to sample."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import helpers
from tests.toys import LazyReversed
from tfp_ar import ARFlowBijector
from tfp_ar.networks import WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions


def flow_and_network(scale=0.4):
    """A distribution that samples by one parallel pass."""
    network = LazyReversed([4], dtype="float64")
    bijector = tfb.Invert(ARFlowBijector(network, jit_compile=False))
    helpers.randomize(network, scale, seed=3)
    base = tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), [4])
    return tfd.TransformedDistribution(base, bijector), network


def test_a_sample_is_the_inverse_of_the_flow():
    flow, network = flow_and_network()
    x = flow.sample(3, seed=[1, 2])
    u = tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), [4]).sample(3, seed=[1, 2])
    params = network(u)
    want = (u - params[..., 0]) * np.exp(-7.0 * np.tanh(params[..., 1] / 7.0))
    np.testing.assert_allclose(x, want, rtol=1e-12)


def test_log_prob_of_a_sample_needs_no_sequential_pass(monkeypatch):
    flow, _ = flow_and_network()
    x = flow.sample(3, seed=[1, 2])
    log_prob = flow.log_prob(tf.identity(x))
    monkeypatch.setattr(LazyReversed, "generate", None)  # any use of it would be an error
    x = flow.sample(3, seed=[1, 2])
    np.testing.assert_allclose(flow.log_prob(x), log_prob, rtol=1e-10)
    with pytest.raises(TypeError, match="not callable"):
        ARFlowBijector(LazyReversed([4]), jit_compile=False).forward(tf.zeros([1, 4]))


def test_variational_inference_fits_a_correlated_normal():
    # The evidence lower bound's maximum over all flows is log Z, here 0; of a network that can
    # represent the posterior, little is lost.
    network = WaveNet([4], residual_channels=8, dilations=[1, 2], position_encoding="learned")
    bijector = tfb.Invert(ARFlowBijector(network, jit_compile=False))
    flow = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), [4]), bijector)
    lower = np.array([[1, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 0.6, 0.8, 0], [0.5, 0, 0, 0.5]])
    target = tfd.MultivariateNormalTriL([1.0, -1.0, 0.0, 2.0], lower.astype("float32"))

    optimizer = keras.optimizers.Adam(0.03)
    optimizer.build(flow.trainable_variables)

    @tf.function(autograph=False)
    def step(seed):
        with tf.GradientTape() as tape:
            x, log_prob = flow.experimental_sample_and_log_prob(256, seed=seed)
            loss = tf.reduce_mean(log_prob - target.log_prob(x))
        variables = flow.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    losses = [float(step(tf.constant([k, 5]))) for k in range(300)]
    assert losses[0] > 1.0
    # A KL divergence, of 256 x 20 samples: never below 0 but by the error of the mean, about 0.02.
    assert -0.1 < np.mean(losses[-20:]) < 0.25
