"""Files of earlier versions: those that 0.1.0 wrote before the present layout still load."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.compatibility import models

FILES = pathlib.Path(__file__).parent / "files_of_0_1_0"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def expected():
    return dict(np.load(FILES / "expected.npz"))


@pytest.mark.parametrize("name", ["wavenet", "pixel_cnn", "gated_pixel_cnn"])
def test_a_keras_file(name, expected):
    model = keras.models.load_model(FILES / f"{name}.keras")
    inputs = [expected[f"{name}/x"]]
    inputs += [expected[k] for k in (f"{name}/global", f"{name}/local") if k in expected]
    params = model(inputs)
    np.testing.assert_allclose(params, expected[f"{name}/params"], **CLOSE)


def shifted(model):
    """Returns a stack whose weights are others than those in the files."""
    for variable in model.variables:
        variable.assign(variable + tf.cast(1, variable.dtype))
    return model


def test_a_checkpoint(expected):
    model, seed = shifted(models.stack()), tf.constant([1, 2])
    arguments = {"seed": seed, "conditional_input": expected["stack/c"]}
    before = model.log_prob(expected["stack/x"], **arguments)
    assert np.all(np.abs(before - expected["stack/log_prob"]) > 1e-3)
    status = tf.train.Checkpoint(model=model).read(str(FILES / "checkpoint"))
    status.assert_existing_objects_matched()
    log_prob = model.log_prob(expected["stack/x"], **arguments)
    np.testing.assert_allclose(log_prob, expected["stack/log_prob"], **CLOSE)
    sample = model.sample(2, **arguments)
    np.testing.assert_array_equal(sample, expected["stack/sample"])


def test_a_weights_file_of_a_density_model(expected):
    model = models.density_model(shifted(models.stack()))
    model.load_weights(FILES / "density_model.weights.h5")
    assert int(model.optimizer.iterations) == 2
    predicted = model.predict(expected["stack/x"], conditional_input=expected["stack/c"], verbose=0)
    np.testing.assert_allclose(predicted, expected["density_model/predict"], **CLOSE)


def test_a_saved_model(expected):
    signatures = tf.saved_model.load(str(FILES / "saved_model")).signatures
    log_prob = signatures["log_prob"](value=tf.constant(expected["saved_model/y"]))["log_prob"]
    np.testing.assert_allclose(log_prob, expected["saved_model/log_prob"], **CLOSE)
    seed = tf.constant([1, 2])
    sample = signatures["sample"](n=tf.constant(2), seed=seed)["sample"]
    np.testing.assert_allclose(sample, expected["saved_model/sample"], **CLOSE)
