"""A plain training loop: raw GradientTape, Keras optimizers on raw tf.Variables, XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.training import data
from tests.training.step import make_step

tfb, tfd = tfp.bijectors, tfp.distributions
LENGTH, BATCH = 16, 64
OPTIMIZERS = {
    "adam_ema": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
    "adamw": lambda: keras.optimizers.AdamW(0.01),
    "lion": lambda: keras.optimizers.Lion(0.003),
}


def make_flow(seed=1, **kwargs):
    """A flow as in the README; further arguments are the bijector's."""
    helpers.set_seed(seed)
    network = tfp_ar.networks.WaveNet([LENGTH], residual_channels=8, dilations=[1, 2])
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [LENGTH])
    return tfd.TransformedDistribution(base, tfp_ar.ARFlowBijector(network, **kwargs)), network


def fit(flow, step, steps=150):
    """Runs steps; returns the mean of -log_prob of held-out data before and after."""
    held_out = data.autoregressive(256, LENGTH, seed=99)
    before = -tf.reduce_mean(flow.log_prob(held_out))
    for k in range(steps):
        step(data.autoregressive(BATCH, LENGTH, seed=k))
    return float(before), float(-tf.reduce_mean(flow.log_prob(held_out)))


# One pair; the others are for `make test-all`.
@pytest.mark.parametrize(
    "name, jit_compile",
    [
        ("adam_ema", True),
        pytest.param("adamw", False, marks=pytest.mark.slow),
        pytest.param("lion", False, marks=pytest.mark.slow),
        pytest.param("adam_ema", False, marks=pytest.mark.slow),
        pytest.param("adamw", True, marks=pytest.mark.slow),
        pytest.param("lion", True, marks=pytest.mark.slow),
    ],
)
def test_training_comes_near_the_entropy(name, jit_compile):
    flow, _ = make_flow()
    make_optimizer = OPTIMIZERS[name]
    before, after = fit(flow, make_step(flow, make_optimizer(), jit_compile))
    best = data.entropy(LENGTH)
    assert before > best + 10
    # Held-out means of 256 sequences have a standard error of 0.18 nats.
    assert best - 0.7 < after < best + 2.0


def test_a_step_is_the_same_under_xla():
    weights = []
    for jit_compile in (False, True):
        flow, network = make_flow()
        step = make_step(flow, keras.optimizers.Adam(0.01), jit_compile)
        for k in range(3):
            step(data.autoregressive(BATCH, LENGTH, seed=k))
        weights.append(network.get_weights())
    for graph, xla in zip(*weights, strict=True):
        # Adam divides by the gradient's size: its rounding shows in the sign of the smallest.
        np.testing.assert_allclose(graph, xla, rtol=0, atol=1e-4)


def test_the_average_of_the_weights_takes_effect():
    flow, _ = make_flow(jit_compile=False)
    optimizer = OPTIMIZERS["adam_ema"]()
    fit(flow, make_step(flow, optimizer, False), steps=20)
    x = data.autoregressive(4, LENGTH, seed=5)
    raw = flow.log_prob(x)
    optimizer.finalize_variable_values(flow.trainable_variables)
    averaged = flow.log_prob(x)
    assert np.all(raw != averaged)
    np.testing.assert_array_equal(averaged, flow.log_prob(tf.identity(x)))
    tfp_ar.assert_autoregressive(flow.bijector.network)


def test_freezing_empties_the_list_and_unfreezing_fills_it():
    flow, network = make_flow()
    number = len(flow.trainable_variables)
    assert number == len(network.trainable_variables) > 0
    network.trainable = False
    assert flow.trainable_variables == ()
    with tf.GradientTape() as tape:
        flow.log_prob(data.autoregressive(4, LENGTH))
    assert tape.watched_variables() == ()
    network.trainable = True
    assert len(flow.trainable_variables) == number


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_frozen_block_stays_as_it_is(jit_compile):
    flow, network = make_flow(jit_compile=jit_compile)
    block = network.blocks[0]
    block.trainable = False
    # Position, head and the other block: all that a step may change.
    frozen = [w.copy() for w in block.get_weights()]
    others = [v.numpy() for v in flow.trainable_variables]
    fit(flow, make_step(flow, keras.optimizers.Adam(0.01), jit_compile), steps=3)
    for now, then in zip(block.get_weights(), frozen, strict=True):
        np.testing.assert_array_equal(now, then)
    moved = [np.any(v != w) for v, w in zip(flow.trainable_variables, others, strict=True)]
    assert all(moved)


@pytest.mark.slow
def test_the_inverse_direction_trains_by_reparameterised_samples():
    # KL(flow || law of the data), by samples whose gradient goes through the sequential pass. XLA's
    # gradients, which take longer to compile than to train by, are compared in test_implicit.py.
    flow, _ = make_flow(jit_compile=False)
    law = tfd.MultivariateNormalTriL(
        scale_tril=np.linalg.cholesky(
            data.NOISE**2
            / (1 - data.COEFFICIENT**2)
            * data.COEFFICIENT ** np.abs(np.subtract.outer(range(LENGTH), range(LENGTH)))
        ).astype("float32")
    )
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(flow.trainable_variables)

    @tf.function(autograph=False)
    def step(noise):
        with tf.GradientTape() as tape:
            x = flow.bijector.forward(noise)
            loss = tf.reduce_mean(flow.log_prob(x) - law.log_prob(x))
        variables = flow.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    generator = np.random.default_rng(3)
    losses = [
        float(step(tf.constant(generator.standard_normal([BATCH, LENGTH]), "float32")))
        for _ in range(150)
    ]
    assert losses[0] > 50.0
    assert -0.5 < np.mean(losses[-10:]) < 3.0
