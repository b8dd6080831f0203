"""Learned noise in a model that is trained, saved and exported."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.dequantizers.examples import flow as small_flow
from tests.dequantizers.examples import layers, noise
from tests.training.models import LENGTH, LEVELS, assert_equal, averaging, integers, values_of
from tfp_ar.bijectors import Bounded, Chain

tfd = tfp.distributions
SEED = (1, 2)


def distribution(seed=1, k=1):
    """Levels 0..7, conditioned on two numbers, with learned noise."""
    inner = small_flow("float32", LENGTH, number=3, new=True)
    helpers.randomize(inner.network, 0.3, seed)
    base = tfd.Sample(tfd.Normal(tf.Variable(0.0), 1.0), [LENGTH])
    density = tfd.TransformedDistribution(base, Chain([Bounded(0, LEVELS), inner]))
    learned = noise("float32", LENGTH, high=LEVELS, seed=seed, new=True)
    return tfp_ar.Dequantized(density, learned, k)


def condition(rows=24):
    return helpers.normal([rows, 2], seed=5).numpy()


def trained(seed=1, epochs=2, **kwargs):
    model = tfp_ar.DensityModel(distribution(seed, **kwargs))
    model.compile(averaging(), jit_compile=False)
    if epochs:
        model.fit(integers(), condition(), epochs=epochs, batch_size=8, verbose=0)
    return model


def test_density_and_noise_are_trained_together(tmp_path):
    model = trained(epochs=0, k=4)
    dequantizer = model.distribution.dequantizer
    own = [v.value for layer in layers(dequantizer) for v in layer.trainable_variables]
    assert {id(v.value) for v in model.trainable_variables} == {
        id(v) for v in model.distribution.trainable_variables
    }
    assert {id(v) for v in own} <= {id(v) for v in model.distribution.trainable_variables}
    before, rest = values_of(own), values_of(model.distribution.distribution.trainable_variables)
    history = model.fit(integers(), condition(), epochs=10, batch_size=8, verbose=0)
    bits = history.history["bits_per_dim"]
    assert np.mean(bits[-3:]) < np.mean(bits[:3]) - 0.01
    after = values_of(own), values_of(model.distribution.distribution.trainable_variables)
    for old, new in zip((*before, *rest), (*after[0], *after[1]), strict=True):
        assert np.all(np.isfinite(new)) and np.any(old != new)

    # The weights of q are in the file of Keras and in the checkpoint of TensorFlow.
    model.save_weights(tmp_path / "m.weights.h5")
    tf.train.Checkpoint(distribution=model.distribution).save(tmp_path / "checkpoint")
    ask = {"seed": SEED, "conditional_input": condition()}
    want = model.distribution.log_prob(integers(), **ask)
    by_keras, by_tensorflow = trained(2, epochs=0, k=4), distribution(2, k=4)
    assert np.all(by_tensorflow.log_prob(integers(), **ask) != want)
    by_keras.load_weights(tmp_path / "m.weights.h5")
    checkpoint = tf.train.Checkpoint(distribution=by_tensorflow)
    path = tf.train.latest_checkpoint(tmp_path)
    checkpoint.restore(path).assert_consumed()
    for other in (by_keras.distribution, by_tensorflow):
        np.testing.assert_array_equal(other.log_prob(integers(), **ask), want)
        assert_equal(values_of(other.variables), values_of(model.distribution.variables))


@pytest.mark.slow
def test_training_that_was_killed_goes_on_as_it_would_have(tmp_path):
    want = trained(epochs=2)
    for epochs in (1, 2):
        model = trained(seed=epochs, epochs=0)  # the second starts from other weights
        backup = keras.callbacks.BackupAndRestore(
            tmp_path / "backup", delete_checkpoint=epochs == 2
        )
        model.fit(
            integers(), condition(), epochs=epochs, batch_size=8, verbose=0, callbacks=[backup]
        )
    assert_equal(values_of(model.variables), values_of(want.variables))


def test_a_step_under_xla():
    base = tfd.Sample(tfd.Logistic(tf.Variable(0.5), 0.5), [LENGTH])
    density = tfd.TransformedDistribution(base, Bounded(0, LEVELS))
    learned = noise("float32", LENGTH, high=LEVELS)
    model = tfp_ar.Dequantized(density, learned, num_importance_samples=2)
    optimizer = keras.optimizers.SGD(0.1)
    variables = model.trainable_variables
    optimizer.build(variables)
    x = tf.constant(integers(), tf.float32)

    @tf.function(jit_compile=True, autograph=False)
    def step(seed):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model.log_prob(x, seed=seed, training=True))
        gradients = tape.gradient(loss, variables)
        optimizer.apply(gradients, variables)
        return loss, gradients

    before = values_of(variables)
    loss, gradients = step(tf.constant(SEED))
    assert np.isfinite(loss)
    for old, gradient, new in zip(before, gradients, values_of(variables), strict=True):
        np.testing.assert_allclose(new, old - 0.1 * gradient, atol=1e-6)
        assert np.any(old != new)
