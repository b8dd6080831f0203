"""Averages of the weights (use_ema): the times when a model or a file holds them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.training.models import (
    LENGTH,
    StopAt,
    assert_equal,
    averaging,
    compiled,
    integer_model,
    integers,
    reals,
    values_of,
)

tfb, tfd = tfp.bijectors, tfp.distributions
MOMENTUM = 0.8  # of `averaging`


def normal_model(seed=1):
    """Two variables without a network, as that is quick and averages are averages."""
    loc = tf.Variable(helpers.normal([LENGTH], seed=seed))
    scale = tfp.util.TransformedVariable(tf.fill([LENGTH], 1.0 + seed), tfb.Exp())
    return tfp_ar.DensityModel(tfd.Independent(tfd.Normal(loc, scale), 1))


def make(model=None, optimizer=None, run_eagerly=False):
    """A model that averages."""
    optimizer = averaging() if optimizer is None else optimizer
    return compiled(model or normal_model(), optimizer, run_eagerly=run_eagerly)


def eager(model=None, optimizer=None):
    """One without graphs, which would cost more than a few steps do."""
    return make(model, optimizer, run_eagerly=True)


def averages(model):
    """The averages that the optimizer holds, or the raw weights where it holds those."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return values_of(optimizer._model_variables_moving_average)


class Raw(keras.callbacks.Callback):
    """Keeps the raw weights after each step."""

    def on_train_begin(self, logs=None):
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(values_of(self.model.trainable_variables))


def test_weights_after_fit_are_the_averages():
    model, raw, x = eager(), Raw(), reals()
    model.fit(x, batch_size=8, epochs=2, callbacks=[raw], validation_data=x, verbose=0)
    assert len(raw.steps) == 6
    average = raw.steps[0]  # where Keras starts
    for step in raw.steps[1:]:
        average = [MOMENTUM * a + (1 - MOMENTUM) * w for a, w in zip(average, step, strict=True)]
    for got, want in zip(values_of(model.trainable_variables), average, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    assert all(np.any(a != b) for a, b in zip(average, raw.steps[-1], strict=True))


@pytest.mark.parametrize("scaled", [False, True])
def test_validation_uses_the_averages(scaled):
    optimizer = averaging(0.05)
    optimizer = keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer
    model, x, raw = make(optimizer=optimizer), reals(), Raw()
    validation = model.fit(
        x, batch_size=8, epochs=2, callbacks=[raw], validation_data=x, verbose=0
    ).history["val_loss"]
    assert model.evaluate(x, verbose=0)[0] == pytest.approx(validation[-1], rel=1e-6)
    for variable, value in zip(model.trainable_variables, raw.steps[-1], strict=True):
        variable.assign(value)
    assert abs(model.evaluate(x, verbose=0)[0] - validation[-1]) > 1e-3


def test_validation_does_not_change_training():
    ends, x = [], reals()
    for kwargs in ({}, {"validation_data": x}):
        model = make()
        model.fit(x, batch_size=8, epochs=2, verbose=0, **kwargs)
        ends.append(model.get_weights() + averages(model))
    assert_equal(*ends)


def test_training_goes_on_from_the_averages_after_fit():
    # What Keras does: `fit` ends with the averages in the weights.
    model, x, raw = eager(optimizer=keras.optimizers.SGD(0.1, use_ema=True)), reals(8), Raw()
    model.fit(x, epochs=2, verbose=0)
    start = values_of(model.trainable_variables)
    model.optimizer.learning_rate = 0.0
    model.fit(x, callbacks=[raw], verbose=0)
    assert_equal(raw.steps[0], start)


def epoch_files(folder, model, x, epochs=3):
    """Trains and returns a file, the validation loss, and the end of each epoch."""
    save = keras.callbacks.ModelCheckpoint(
        str(folder / "{epoch}.weights.h5"), save_weights_only=True
    )
    raw = Raw()
    history = model.fit(
        x, batch_size=8, epochs=epochs, validation_data=x, callbacks=[save, raw], verbose=0
    ).history
    return [folder / f"{i + 1}.weights.h5" for i in range(epochs)], history["val_loss"], raw.steps


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_files_hold_the_averages(tmp_path):
    x = integers(8)
    files, losses, _ = epoch_files(tmp_path, make(integer_model()), x, epochs=2)
    assert len(set(losses)) == 2
    for file, loss in zip(files, losses, strict=True):
        fresh = eager(integer_model(seed=7))
        fresh.load_weights(file)
        assert fresh.evaluate(x, batch_size=8, verbose=0)[0] == pytest.approx(loss, rel=1e-6)
        # As does whoever reads the weights alone.
        other = eager(integer_model(seed=8), keras.optimizers.SGD(0.1))
        other.load_weights(file)
        assert other.evaluate(x, batch_size=8, verbose=0)[0] == pytest.approx(loss, rel=1e-6)


def test_training_goes_on_from_the_raw_weights_of_a_file(tmp_path):
    x, model = reals(), make()
    files, losses, steps = epoch_files(tmp_path, model, x)
    for number, file in enumerate(files[:2], 1):
        resumed, raw = make(normal_model(seed=9)), Raw()
        resumed.load_weights(file)
        if number == 2:  # evaluating in between, or saving again, changes nothing
            resumed.evaluate(x, verbose=0)
            resumed.save_weights(tmp_path / "again.weights.h5")
            resumed = make(normal_model(seed=10))
            resumed.load_weights(tmp_path / "again.weights.h5")
        history = resumed.fit(
            x,
            batch_size=8,
            epochs=3,
            initial_epoch=number,
            validation_data=x,
            callbacks=[raw],
            verbose=0,
        ).history
        assert history["val_loss"] == losses[number:]
        for got, want in zip(raw.steps, steps[3 * number :], strict=True):
            assert_equal(got, want)
        assert_equal(resumed.get_weights(), model.get_weights())
        assert_equal(averages(resumed), averages(model))


def test_files_after_fit(tmp_path):
    x, model = reals(), make()
    want = model.fit(x, batch_size=8, epochs=2, validation_data=x, verbose=0).history["val_loss"][
        -1
    ]
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = eager(normal_model(seed=3))
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert_equal(fresh.get_weights(), model.get_weights())
    assert fresh.evaluate(x, verbose=0)[0] == pytest.approx(want, rel=1e-6)


def test_after_a_fit_that_was_interrupted():
    x, model = reals(), make()
    for stop in (StopAt(0, 1), StopAt(0, 0)):
        with pytest.raises(KeyboardInterrupt):
            model.fit(x, batch_size=8, epochs=2, callbacks=[stop], verbose=0)
    assert int(model.optimizer.iterations) == 3
    raw, average = values_of(model.trainable_variables), averages(model)
    got = model.evaluate(x, verbose=0)
    log_prob = model.predict(x, verbose=0)
    # The evaluation was of the averages, and left the raw weights where they were.
    assert_equal(values_of(model.trainable_variables), raw)
    assert_equal(averages(model), average)
    for variable, value in zip(model.trainable_variables, average, strict=True):
        variable.assign(value)
    np.testing.assert_allclose(log_prob, model.distribution.log_prob(x), rtol=2e-5)
    assert abs(got[0] - compiled(model).evaluate(x, verbose=0)[0]) < 1e-6


def test_an_interruption_leaves_no_trace_in_what_follows():
    x, whole, model = reals(), make(), make()
    whole.fit(x, batch_size=8, epochs=2, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, batch_size=8, epochs=2, callbacks=[StopAt(0, 2)], verbose=0)
    model.evaluate(x, verbose=0)
    model.fit(x, batch_size=8, epochs=2, initial_epoch=1, verbose=0)
    assert_equal(model.get_weights(), whole.get_weights())
    assert_equal(averages(model), averages(whole))


def test_an_evaluation_that_fails_puts_the_raw_weights_back():
    class Fail(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            raise RuntimeError("no")

    x, model = reals(), eager()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, batch_size=8, callbacks=[StopAt(0, 1)], verbose=0)
    raw = values_of(model.trainable_variables)
    with pytest.raises(RuntimeError, match="no"):
        model.evaluate(x, callbacks=[Fail()], verbose=0)
    assert_equal(values_of(model.trainable_variables), raw)


def test_before_the_first_step(tmp_path):
    # The averages are zeros then, and nobody wants them.
    x, model = reals(), eager()
    want = model.evaluate(x, verbose=0)

    class Fail(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, callbacks=[Fail()], verbose=0)
    assert model.evaluate(x, verbose=0) == want
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = eager(normal_model(seed=3))
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert fresh.evaluate(x, verbose=0) == want


def test_without_averages_nothing_is_swapped(tmp_path):
    x, model = reals(), eager(optimizer=keras.optimizers.Adam(0.05))
    files, losses, steps = epoch_files(tmp_path, model, x, epochs=2)
    assert_equal(values_of(model.trainable_variables), steps[-1])
    fresh = eager(normal_model(seed=2), keras.optimizers.Adam(0.05))
    fresh.load_weights(files[-1])
    assert_equal(fresh.get_weights(), model.get_weights())
    assert model.evaluate(x, verbose=0)[0] == pytest.approx(losses[-1], rel=1e-6)
