"""DensityModel: single batches, models without an optimizer, callbacks that read weights."""

import math

import keras
import numpy as np
import pytest
import tensorflow_probability as tfp

import tfp_ar
from tests.training.models import (
    assert_equal,
    averaging,
    compiled,
    conditions,
    integer_model,
    integers,
    real_model,
    reals,
)
from tfp_ar.training.data import ArrayBatches

tfd = tfp.distributions


# That both ways to run agree: test_density_model.py.
@pytest.mark.parametrize("run_eagerly", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_one_step_on_a_batch(run_eagerly):
    x = reals(8)
    first, second = (compiled(real_model(), run_eagerly=run_eagerly) for _ in range(2))
    want = first.fit(x, shuffle=False, verbose=0).history["loss"][0]
    assert second.train_on_batch(x)[0] == pytest.approx(want, rel=1e-6)
    for a, b in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_one_step_on_a_conditioned_batch():
    x, c = reals(8), conditions(8)
    first, second = (
        compiled(real_model(conditional_shape=[3]), run_eagerly=True) for _ in range(2)
    )
    first.fit(x, c, shuffle=False, verbose=0)
    second.train_on_batch(x, conditional_input=c)
    assert_equal(second.get_weights(), first.get_weights())


def test_predict_needs_no_optimizer():
    model, x = real_model(), reals()
    log_prob = model.predict(x, verbose=0)
    np.testing.assert_allclose(log_prob, model.distribution.log_prob(x), rtol=2e-5)


def saved_in_training(folder, **kwargs):
    x, model = reals(), compiled(real_model(), averaging(0.5))
    save = keras.callbacks.ModelCheckpoint(str(folder / "1.weights.h5"), save_weights_only=True)
    return (
        x,
        model,
        model.fit(
            x, batch_size=8, epochs=1, validation_data=x, callbacks=[save], verbose=0
        ).history["val_loss"][0],
    )


def test_a_model_without_optimizer_reads_averages(tmp_path):
    x, _, loss = saved_in_training(tmp_path)
    alone = real_model(seed=8)
    alone.load_weights(tmp_path / "1.weights.h5")
    assert compiled(alone).evaluate(x, verbose=0)[0] == pytest.approx(loss, rel=1e-6)


def test_early_stopping_restores_averages():
    x, model = reals(), compiled(real_model(), averaging(0.5))  # which diverges
    stop = keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True)
    history = model.fit(
        x, batch_size=8, epochs=20, validation_data=x, callbacks=[stop], verbose=0
    ).history
    assert len(history["val_loss"]) < 20
    assert model.evaluate(x, verbose=0)[0] == pytest.approx(min(history["val_loss"]), rel=1e-6)


# What comes after other training ----------------------------------------------------------------


def epochs_of(model, x, **kwargs):
    """The rows of each epoch that `fit` draws, by their first variable."""
    drawn, original = [], ArrayBatches.__getitem__

    def recorded(self, index):
        batch = original(self, index)
        drawn.append(batch[0][:, 0])
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArrayBatches, "__getitem__", recorded)
        model.fit(x, verbose=0, **kwargs)
    # Keras looks at the first batches to know their shape.
    batches = math.ceil(len(x) / kwargs["batch_size"]) * kwargs["epochs"]
    drawn = np.concatenate(drawn[-batches:])
    return np.reshape(drawn, [kwargs["epochs"], len(x)])


@pytest.mark.parametrize("accumulate", [pytest.param(None, marks=pytest.mark.slow), 2])
def test_each_epoch_has_each_row_once_whatever_came_before(accumulate):
    x = reals(10)
    optimizer = keras.optimizers.Adam(1e-3, gradient_accumulation_steps=accumulate)
    model = compiled(real_model(), optimizer, run_eagerly=True)
    model.fit(x[:3], batch_size=1, verbose=0)
    model.train_on_batch(x[:2])
    for epoch in epochs_of(model, x, batch_size=4, epochs=2):
        np.testing.assert_array_equal(np.sort(epoch), np.sort(x[:, 0]))


def test_steps_whose_gradients_accumulate_have_noise_of_their_own():
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=4)
    model = compiled(integer_model(), optimizer, run_eagerly=True)
    losses = [model.train_on_batch(integers(8))[0] for _ in range(3)]
    model.reset_metrics()
    assert len({round(float(loss), 6) for loss in losses}) == 3


def test_predictions_are_in_order_after_steps_that_fill_no_epoch():
    x, model = reals(10), compiled(real_model(), run_eagerly=True)
    model.train_on_batch(x)
    log_prob = model.predict(x, batch_size=3, verbose=0)
    np.testing.assert_allclose(log_prob, model.distribution.log_prob(x), rtol=2e-5)


def test_what_a_mixture_would_ignore_is_refused():
    parts = tfd.Categorical(probs=[0.5, 0.5])
    dequantized = tfp_ar.Dequantized(tfd.Independent(tfd.Normal([[0.0], [2.0]], 1.0), 1))
    mixture = tfp_ar.DensityModel(tfd.MixtureSameFamily(parts, dequantized))
    compiled(mixture, run_eagerly=True)
    with pytest.raises(ValueError, match="seed: .*MixtureSameFamily does not hand it down"):
        mixture.evaluate(np.ones([4, 1]), verbose=0)
    inside = tfd.MixtureSameFamily(parts, dequantized.distribution)
    whole = compiled(tfp_ar.DensityModel(tfp_ar.Dequantized(inside)), run_eagerly=True)
    assert np.isfinite(whole.evaluate(np.ones([4, 1]), verbose=0)[0])


def test_averages_for_whatever_is_done_with_them():
    x, model = reals(), compiled(real_model(), averaging(0.5), run_eagerly=True)
    for _ in range(3):
        model.train_on_batch(x)
    raw = model.distribution.log_prob(x)
    with model.averaged_weights():
        averaged = model.distribution.log_prob(x)
    assert np.abs(raw - averaged).max() > 1e-3
    np.testing.assert_allclose(model.predict_on_batch(x), averaged, rtol=1e-6)
    np.testing.assert_allclose(model.predict(x, verbose=0), averaged, rtol=2e-5)
    np.testing.assert_array_equal(model.distribution.log_prob(x), raw)


def test_value_and_condition_in_one_argument():
    x, c = reals(6), conditions(6)
    model = compiled(real_model(conditional_shape=[3]), run_eagerly=True)
    want = model.evaluate(x, c, verbose=0)
    assert model.evaluate((x, c), verbose=0) == want
    assert model.evaluate({"value": x, "conditional_input": c}, verbose=0) == want
    with pytest.raises(ValueError, match="expected it once, got it in another place too"):
        model.fit((x, c), c)
