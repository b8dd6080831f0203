"""DensityModel: single batches, no optimizer yet, callbacks that take weights themselves."""

import keras
import numpy as np
import pytest

from tests.training.models import (
    assert_equal,
    averaging,
    compiled,
    conditions,
    real_model,
    reals,
)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_one_step_on_a_batch(run_eagerly):
    x, first, second = reals(8), compiled(real_model()), compiled(real_model())
    compiled(second, run_eagerly=run_eagerly)
    want = first.fit(x, shuffle=False, verbose=0).history["loss"][0]
    assert second.train_on_batch(x)[0] == pytest.approx(want, rel=1e-6)
    for a, b in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_one_step_on_a_conditioned_batch():
    x, c = reals(8), conditions(8)
    first, second = (compiled(real_model(conditional_shape=[3])) for _ in range(2))
    first.fit(x, c, shuffle=False, verbose=0)
    second.train_on_batch(x, conditional_input=c)
    assert_equal(second.get_weights(), first.get_weights())


def test_predict_needs_no_optimizer():
    model, x = real_model(), reals()
    log_prob = model.predict(x, verbose=0)
    np.testing.assert_allclose(log_prob, model.distribution.log_prob(x), rtol=2e-5)


def test_evaluate_takes_no_weights_of_examples():
    with pytest.raises(TypeError, match="weight"):
        compiled(real_model(), run_eagerly=True).evaluate(reals(), sample_weight=np.ones(24))


@pytest.mark.parametrize("wrong", [None, 3])
def test_train_on_batch_of_no_array(wrong):
    with pytest.raises((TypeError, ValueError), match="x: expected"):
        compiled(real_model(), run_eagerly=True).train_on_batch(wrong)


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
