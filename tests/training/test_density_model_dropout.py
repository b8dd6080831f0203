"""Dropout masks in training: used only in fit, and functions of the seed and the step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.training.models import compiled, real_model, reals
from tfp_ar.training.density_model import DropoutMasks


def model_of(dropout, **kwargs):
    """With random weights, as those after a gate start at zero; it does not learn."""
    model = real_model(dropout=dropout, dilations=[1, 1], **kwargs)
    helpers.randomize(model.network_0, 0.7)
    return compiled(model, keras.optimizers.SGD(0.0))


def test_dropout_is_on_in_fit_alone():
    x = reals(8)
    histories = [
        model_of(dropout).fit(x, epochs=3, validation_data=x, verbose=0).history
        for dropout in (0.0, 0.5)
    ]
    (plain,) = set(histories[0]["loss"])
    assert set(histories[0]["val_loss"]) == set(histories[1]["val_loss"])
    assert histories[0]["val_loss"][0] == pytest.approx(plain, rel=1e-6)
    # Data and weights are the same in each step: what differs is the masks.
    assert len({plain, *histories[1]["loss"]}) == 4


def test_predict_is_without_dropout():
    model, x = model_of(0.5), reals(8)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), model.distribution.log_prob(x), rtol=2e-5
    )


def masks(network):
    """Which of 64 features each block keeps."""
    ones = tf.ones([1, 64])
    return [tuple((block.dropout(ones, training=True) != 0).numpy()[0]) for block in network.blocks]


def test_masks_are_a_function_of_seed_step_and_block():
    network, again = (model_of(0.5).network_0 for _ in range(2))
    seen = set()
    for seed in (0, 9):
        for step in (0, 1, 1000, 123456):
            found = []
            for layer in (network, again):
                DropoutMasks([layer]).set(seed, tf.constant(step, tf.int64))
                found.append(masks(layer))
                assert found[-1] == found[0]
                masks(layer)  # whatever was drawn before makes no difference
            seen |= set(found[0])
    assert len(seen) == 2 * 4 * 2


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_masks_of_a_model_are_those_of_its_step(jit_compile):
    x, ends, model = reals(8), [], model_of(0.5)
    compiled(model, keras.optimizers.SGD(0.1), jit_compile=jit_compile)
    start = model.get_weights()
    for restart in (False, True):
        model.set_weights(start)
        model.optimizer.iterations.assign(0)
        model.fit(x, epochs=1, verbose=0)
        if restart:  # the generators' states are nowhere saved
            masks(model.network_0)
        model.fit(x, epochs=1, verbose=0)
        ends.append(model.get_weights())
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(start, ends[0], strict=True))
