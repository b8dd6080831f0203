"""MixtureOfLogistics and RationalQuadraticSpline as the bijector_fn of flows."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.bijectors.sampling.test_implicit_gradient import assert_gradients
from tests.toys import LazyReversed
from tfp_ar.bijectors import ARFlowBijector, Bounded, Chain, MixtureOfLogistics
from tfp_ar.bijectors import RationalQuadraticSpline as Spline
from tfp_ar.networks import WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions
TRANSFORMERS = {"mixture": MixtureOfLogistics(2), "spline": Spline(3)}
each_transformer = pytest.mark.parametrize("transformer", TRANSFORMERS.values(), ids=TRANSFORMERS)


def wavenet(transformer, length=3, scale=0.4, dtype="float64"):
    """A small WaveNet, of random weights unless `scale` is 0."""
    settings = {"residual_channels": 3, "skip_channels": 6, "dilations": [1], "dtype": dtype}
    network = WaveNet([length], transformer.num_params, **settings)
    return helpers.randomize(network, scale, seed=31) if scale else network


@pytest.mark.parametrize(
    ["name", "jit_compile"],
    [
        ("mixture", False),
        pytest.param("mixture", True, marks=pytest.mark.slow),
        pytest.param("spline", True, marks=pytest.mark.slow),
    ],
)
def test_cached_sampling_equals_the_reference(name, jit_compile):
    # A loop in a loop.
    transformer = TRANSFORMERS[name]
    network, u = wavenet(transformer), 2.0 * helpers.normal([2, 3], "float64")
    flow = ARFlowBijector(network, transformer, jit_compile=jit_compile)
    x = flow.forward(u)
    reference = ARFlowBijector(network, transformer, sampling="reference", jit_compile=False)
    np.testing.assert_allclose(x, reference.forward(tf.identity(u)), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(flow.inverse(tf.identity(x)), u, rtol=1e-10, atol=1e-10)
    assert np.abs(x - u).max() > 0.1


@pytest.mark.parametrize(
    ["name", "iterations"],
    [
        ("mixture", 64),
        pytest.param("spline", 64, marks=pytest.mark.slow),
        # The fall-back, backwards through the loop around the solver's.
        pytest.param("mixture", 1, marks=pytest.mark.slow),
        pytest.param("spline", 1, marks=pytest.mark.slow),
    ],
)
def test_gradients_of_samples_are_those_of_the_loop(name, iterations, monkeypatch):
    monkeypatch.setattr("tfp_ar.bijectors.sampling.implicit_gradient.MAX_ITERATIONS", iterations)
    transformer = TRANSFORMERS[name]
    network = LazyReversed([4], transformer.num_params, dtype="float64")
    network.build((None, 4))
    helpers.randomize(network, 0.4, seed=42)
    assert_gradients(ARFlowBijector(network, bijector_fn=transformer, jit_compile=False))


@pytest.mark.slow
@each_transformer
@pytest.mark.parametrize("mode", ["eager", "xla", "xla_unknown_batch"])
def test_compiled_gradients_of_samples(transformer, mode):
    assert_gradients(ARFlowBijector(wavenet(transformer), bijector_fn=transformer), mode)


@each_transformer
def test_num_params_of_another_network(transformer):
    with pytest.raises(ValueError, match="network.num_params: expected .*, which .*, got 2"):
        ARFlowBijector(WaveNet([4]), bijector_fn=transformer)


@pytest.mark.slow
@each_transformer
def test_levels_keras_training_and_a_saved_model(transformer, tmp_path):
    network = wavenet(transformer, 4, scale=0.0, dtype="float32")
    flow = ARFlowBijector(network, bijector_fn=transformer, jit_compile=False)
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [4])
    levels = tfp_ar.Dequantized(tfd.TransformedDistribution(base, Chain([Bounded(0, 256), flow])))
    model = tfp_ar.DensityModel(levels)
    model.compile(keras.optimizers.Adam(0.05), jit_compile=False)
    x = np.random.default_rng(6).choice([20, 200], size=[64, 4]).astype(np.uint8)
    history = model.fit(x, epochs=8, batch_size=32, verbose=0).history["bits_per_dim"]
    assert np.isfinite(history).all() and history[-1] < history[0] - 0.1
    sample = levels.sample(5, seed=[1, 2])
    assert np.all((sample >= 0) & (sample <= 255) & (sample == np.floor(sample)))
    tfp_ar.export_saved_model(levels, tmp_path)
    served = tf.saved_model.load(str(tmp_path)).signatures["sample"]
    got = served(n=tf.constant(5), seed=tf.constant([1, 2]))["sample"]
    np.testing.assert_allclose(got, sample)


def two_humps(number, seed):
    """Humps at -3 and 3; the second variable is about the first one, or about minus that."""
    draw = np.random.default_rng(seed)
    signs = draw.choice([-1.0, 1.0], size=[number, 2])
    first = 3.0 * signs[:, 0] + 0.5 * draw.normal(size=number)
    second = signs[:, 1] * first + 0.5 * draw.normal(size=number)
    return tf.constant(np.stack([first, second], -1), tf.float32)


def fitted_nats(transformer, steps=150):
    """Nats of held-out points after training on two humps."""
    keras.utils.set_random_seed(3)
    network = WaveNet([2], transformer.num_params, residual_channels=8, dilations=[1])
    flow = helpers.image(ARFlowBijector(network, transformer), [2], "float32")
    optimizer, x = keras.optimizers.Adam(0.03), two_humps(512, seed=1)
    variables = flow.trainable_variables

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(x))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    for _ in range(steps):
        step()
    return -float(tf.reduce_mean(flow.log_prob(two_humps(512, seed=2))))


@pytest.mark.slow
@each_transformer
def test_two_humps_are_fitted_where_an_affine_flow_fails(transformer):
    # Of each variable, given its past, two humps of standard deviation 0.5, some 6 apart: their
    # entropy is 2 (log 2 + log 0.5 + 1.42) = 2.84 nats, that of the best Gaussians 5 and more.
    affine, ours = fitted_nats(tfp_ar.bijectors.Affine()), fitted_nats(transformer)
    assert affine > 4.7
    assert 2.7 < ours < 3.6
