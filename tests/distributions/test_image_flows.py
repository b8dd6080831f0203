"""Flows on the pixel networks inside Dequantized: discrete distributions of images."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.networks.pixel_examples import NETWORKS, balanced_pixels
from tfp_ar.bijectors import Bounded, Chain

tfd = tfp.distributions
LEVELS, SEED = 4, (3, 4)


@pytest.mark.parametrize(
    "event_shape",
    [
        pytest.param((2, 2, 1), id="gray", marks=pytest.mark.slow),
        pytest.param((1, 2, 3), id="colour"),
    ],
)
@pytest.mark.parametrize("network", NETWORKS)
def test_dequantized_image_flow(network, event_shape):
    network = balanced_pixels(network, "plain", event_shape=event_shape, num_layers=2)
    flow = tfp_ar.ARFlowBijector(network, log_scale_bound=1.0, jit_compile=False)
    image = helpers.image(Chain([Bounded(0, LEVELS), flow]), event_shape, "float32")
    model = tfp_ar.Dequantized(image)
    assert model.event_shape == event_shape and model.dtype == tf.float32

    samples = model.sample(50, seed=SEED).numpy()
    assert samples.shape == (50, *event_shape) and set(np.unique(samples)) == set(range(LEVELS))

    x = samples[:3].copy()
    x[0].flat[-1] = LEVELS
    x[1].flat[0] = -1
    with tf.GradientTape() as tape:
        log_prob = model.log_prob(x, seed=SEED)
        inside = log_prob[2]
    np.testing.assert_array_equal(log_prob[:2], -np.inf)
    assert inside < 0 and np.isfinite(inside)
    np.testing.assert_array_equal(model.log_prob(x, seed=SEED), log_prob)
    gradients = tape.gradient(inside, model.trainable_variables)
    assert len(gradients) == len(network.trainable_variables)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    assert sum(bool(np.any(gradient)) for gradient in gradients) > len(gradients) / 2
