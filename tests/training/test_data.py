"""Errors of DensityModel for data and arguments that do not fit, and the order of arrays."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests.training.models import (
    BOTH,
    LENGTH,
    both_conditions,
    compiled,
    conditions,
    integer_model,
    integers,
    real_model,
    reals,
)
from tfp_ar.training.data import ArrayBatches

tfb, tfd = tfp.bijectors, tfp.distributions


def make(kind):
    """One compiled model of each kind; nothing here takes a step with it."""
    models = {
        "reals": real_model,
        "integers": integer_model,
        "conditioned": lambda: integer_model(conditional_shape=[3]),
        "of_both": lambda: real_model(conditional_shape=BOTH),
    }
    return compiled(models[kind](), run_eagerly=True)


def calls(model, x, c=None):
    """fit, evaluate and predict on those data, and validation and one step."""
    shape, good = model.network_0.conditional_shape, [integers(4)]
    if shape is not None:
        good.append(both_conditions(4) if isinstance(shape, dict) else conditions(4))
    stream = hasattr(x, "element_spec")
    yield lambda: model.fit(x, c, verbose=0)
    yield lambda: model.evaluate(x, c, verbose=0)
    yield lambda: model.predict(x, conditional_input=c, verbose=0)
    yield lambda: model.fit(*good, validation_data=x if stream else (x, c), verbose=0)
    if not stream:
        yield lambda: model.train_on_batch(x, c)


def all_refuse(kind, x, c, error, message):
    """Every method raises before it takes a step."""
    model = make(kind)
    for call in calls(model, x, c):
        with pytest.raises(error, match=message):
            call()
    assert int(model.optimizer.iterations) == 0


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(4)


BAD_VALUES = {
    "not_whole": (lambda x: x + 0.5, r"x: expected integers in 0\.\.7, got [0-9]\.5"),
    "too_large": (lambda x: np.where(x == x.max(), 8, x), r"x: expected integers in 0\.\.7, got 8"),
    "negative": (lambda x: x.astype(int) - 8, r"x: expected integers in 0\.\.7, got -"),
    "nan": (lambda x: np.where(x == x.max(), np.nan, x), "x: expected finite numbers, got nan"),
    "infinite": (lambda x: np.where(x == x.max(), -np.inf, x), "x: expected finite.*got -inf"),
    "too_long": (lambda x: np.repeat(x, 2, 1), r"x: expected shape \[\.\.\., 4\], got \[24, 8\]"),
    "one_row": (lambda x: x[0], r"x: expected batches of shape \[batch, 4\], got \[4\]"),
    "rows_of_rows": (lambda x: x[None], r"x: expected batches of shape .*, got \[1, 24, 4\]"),
    "scalar": (lambda x: 3, r"x: expected shape \[\.\.\., 4\], got \[\]"),
    "empty": (lambda x: x[:0], r"x: expected at least one example, got shape \[0, 4\]"),
}


@pytest.mark.parametrize("change, message", BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_bad_values(change, message):
    all_refuse("integers", change(integers()), None, ValueError, message)


@pytest.mark.parametrize("wrong", [[["a"] * LENGTH], [[1j] * LENGTH], [[None] * LENGTH], [{}]])
def test_what_is_no_number(wrong):
    all_refuse("reals", wrong, None, (TypeError, ValueError), "x: expected")


def test_no_data():
    all_refuse("reals", None, None, (TypeError, ValueError), "x: expected")


BAD_CONDITIONS = {
    "missing": (None, "conditional_input.*got None"),
    "wrong_size": (conditions()[:, :2], r"conditional_input: expected shape \[\.\.\., 3\], got"),
    "too_few": (conditions()[:20], r"conditional_input: expected 24 rows.*shape \[20, 3\]"),
    "one_for_all": (conditions()[0], r"conditional_input: expected 24 rows.*shape \[3\]"),
    "nan": (conditions() * np.nan, "conditional_input: expected finite numbers, got nan"),
}


@pytest.mark.parametrize("c, message", BAD_CONDITIONS.values(), ids=BAD_CONDITIONS.keys())
def test_bad_conditioning(c, message):
    all_refuse("conditioned", integers(), c, ValueError, message)


def test_conditioning_of_another_kind():
    wrong = {"global": conditions()}
    all_refuse("conditioned", integers(), wrong, TypeError, "expected .*3.*, got a dict")
    message = r"expected the keys \['global', 'local'\]"
    all_refuse("of_both", reals(), wrong, ValueError, message)
    all_refuse("of_both", reals(), conditions(), (TypeError, ValueError), "conditional_input")
    short = {"global": conditions(), "local": np.zeros([9, LENGTH, 2])}
    all_refuse("of_both", reals(), short, ValueError, r"expected 24 rows.*shape \[9, 4, 2\]")


def test_conditioning_that_is_not_wanted():
    message = "conditional_input: .* is not conditioned and would ignore it, got"
    all_refuse("integers", integers(), conditions(), ValueError, message)


def test_conditioning_twice():
    model, x, c = make("conditioned"), integers(), conditions()
    for method in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match="expected it once, got it in another place"):
            method(x, c, conditional_input=c)
    for method in (model.fit, model.evaluate, model.predict):
        with pytest.raises(ValueError, match="conditional_input: expected it in the elements"):
            method(dataset(x, c), conditional_input=c)


BAD_DATASETS = {
    "missing": ("conditioned", (integers(),), "conditional_input.*got None"),
    "wrong_size": ("conditioned", (integers(), conditions()[:, :2]), r"expected shape \[.*3\]"),
    "not_wanted": ("integers", (integers(), conditions()), "is not conditioned"),
    "too_long": ("integers", (np.zeros([8, 5]),), r"x: expected shape \[\.\.\., 4\], got"),
    "weights": (
        "conditioned",
        (integers(), conditions(), np.ones(24)),
        "got a tuple of 3; weights",
    ),
    "keys": ("conditioned", ({"x": integers()},), r"x: expected value.*got the keys \['x'\]"),
    "key_too_many": (
        "conditioned",
        ({"value": integers(), "conditional_input": conditions(), "weight": np.ones(24)},),
        r"x: expected value.*got the keys \['conditional_input', 'value', 'weight'\]",
    ),
}


@pytest.mark.parametrize("kind, arrays, message", BAD_DATASETS.values(), ids=BAD_DATASETS.keys())
def test_bad_datasets(kind, arrays, message):
    all_refuse(kind, dataset(*arrays), None, ValueError, message)


def test_a_dataset_without_batches():
    unbatched = tf.data.Dataset.from_tensor_slices(integers())
    message = r"x: expected batches of shape \[batch, 4\], got \[4\]"
    all_refuse("integers", unbatched, None, ValueError, message)


def test_bad_validation_data():
    model, x, c = make("conditioned"), integers(), conditions()
    for wrong, message in [
        (x, "conditional_input.*got None"),
        ((x, c, np.ones(24)), "got a tuple of 3; weights of examples are not supported"),
        ((x, c[:5]), "conditional_input: expected 24 rows"),
        ((x + 0.5, c), "x: expected integers"),
        (dataset(x), "conditional_input.*got None"),
        ({"value": x}, "conditional_input.*got None"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(x, c, validation_data=wrong, verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_bad_validation_split():
    model, x = make("integers"), integers()
    for fraction in (1.0, 0.001, -0.5, 1.5):
        with pytest.raises(
            ValueError, match=f"validation_split: .* got {re.escape(str(fraction))}"
        ):
            model.fit(x, validation_split=fraction, verbose=0)
    with pytest.raises(ValueError, match="validation_split: expected 0 for a dataset"):
        model.fit(dataset(x), validation_split=0.2, verbose=0)


def test_weights_of_examples():
    model, x = make("integers"), integers()
    for name in ("sample_weight", "class_weight"):
        with pytest.raises(TypeError, match=rf"fit: expected no weights.*\['{name}'\]"):
            model.fit(x, **{name: np.ones(24)}, verbose=0)
    with pytest.raises(TypeError, match="weight"):
        model.evaluate(x, sample_weight=np.ones(24))


def test_bad_batch_size():
    model = make("integers")
    for method in (model.fit, model.evaluate, model.predict):
        for wrong in (0, -1):
            with pytest.raises(ValueError, match=f"batch_size: expected a positive.*got {wrong}"):
                method(integers(), batch_size=wrong, verbose=0)
        with pytest.raises(TypeError, match="batch_size: expected a positive integer, got 2.5"):
            method(integers(), batch_size=2.5, verbose=0)


# The model itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, tfb.Exp(), "normal", keras.layers.Dense(1)])
def test_not_a_distribution(wrong):
    with pytest.raises(TypeError, match="distribution: expected a tfd.Distribution, got"):
        tfp_ar.DensityModel(wrong)


def test_unknown_event_shape():
    unknown = tf.Variable(np.zeros(3, np.float32), shape=[None])
    with pytest.raises(ValueError, match="distribution: expected a known event shape, got"):
        tfp_ar.DensityModel(tfd.Independent(tfd.Normal(unknown, 1.0), 1))
    joint = tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0), tfd.Normal(0.0, 1.0)])
    with pytest.raises(ValueError, match="distribution: expected a known event shape, got"):
        tfp_ar.DensityModel(joint)


def test_batch_shape():
    message = r"distribution: expected a batch shape of \[\], got \(3,\).*instead of binding"
    with pytest.raises(ValueError, match=message):
        tfp_ar.DensityModel(tfd.Normal([0.0, 1.0, 2.0], 1.0))
    model = real_model(conditional_shape=[3])
    with pytest.raises(ValueError, match="expected a batch shape of"):
        tfp_ar.DensityModel(tfp_ar.bind(model.distribution, conditions(3)))


@pytest.mark.parametrize(
    "seed, error", [(-1, ValueError), (2**31, ValueError), (1.0, TypeError), (None, TypeError)]
)
def test_bad_seed(seed, error):
    with pytest.raises(error, match="seed: expected an integer"):
        tfp_ar.DensityModel(tfd.Normal(0.0, 1.0), seed)


def test_the_largest_seed():
    model = compiled(integer_model(noise_seed=2**31 - 1, dropout=0.5), run_eagerly=True)
    assert np.isfinite(model.fit(integers(), batch_size=8, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("name", ["loss", "metrics", "loss_weights", "weighted_metrics"])
def test_compile_takes_no_loss(name):
    message = (
        rf"compile: expected keyword arguments among .* as the loss is -log_prob.*\['{name}'\]"
    )
    with pytest.raises(TypeError, match=message):
        real_model().compile("adam", **{name: "mse"})


def test_before_compile():
    model = real_model()
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="compile"):
            method(reals())


def test_save_says_what_to_do_instead(tmp_path):
    model = make("reals")
    with pytest.raises(NotImplementedError, match="expected save_weights.*export_saved_model"):
        model.save(tmp_path / "model.keras")
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras"))
    with pytest.raises(NotImplementedError, match="save_weights_only=True"):
        model.fit(reals(), callbacks=[checkpoint], verbose=0)


def test_refused_callbacks():
    model = make("reals")
    message = "callbacks: expected no SwapEMAWeights"
    with pytest.raises(ValueError, match=message):
        model.fit(reals(), callbacks=[keras.callbacks.SwapEMAWeights()], verbose=0)
    with pytest.raises(ValueError, match=message):
        model.fit(reals(), callbacks=keras.callbacks.SwapEMAWeights(), verbose=0)
    with pytest.raises(TypeError, match="callbacks: expected a list of callbacks, got a"):
        model.fit(reals(), callbacks=keras.callbacks.CallbackList(model=model), verbose=0)
    callback = keras.callbacks.LambdaCallback(on_train_end=lambda logs: seen.append(1))
    seen = []
    model.fit(reals(), callbacks=callback, verbose=0)  # one alone will do
    assert seen == [1]


# The order of arrays ------------------------------------------------------------------------------


def drawn(batches, epochs, position=0):
    """The first column of the rows in the order in which they come, epoch by epoch."""
    orders = []
    for _ in range(epochs):
        batches.on_epoch_begin()
        rows = [batches[i][0][:, 0] for i in range(len(batches))]
        assert [len(r) for r in rows] == [4, 4, 2]
        orders.append(np.concatenate(rows))
    return orders


def numbered(shuffle=True, seed=0, position=lambda: 0):
    x = np.tile(np.arange(10)[:, np.newaxis], [1, LENGTH])
    distribution = tfd.Sample(tfd.Normal(0.0, 1.0), [LENGTH])
    return ArrayBatches(distribution, x, None, 4, shuffle, seed, position)


def test_order_without_shuffling():
    (rows,) = drawn(numbered(shuffle=False), 1)
    np.testing.assert_array_equal(rows, np.arange(10))
    assert rows.dtype == np.float32


def test_order_is_a_function_of_seed_and_step():
    orders = {}
    for seed in (0, 1):
        for epoch in range(3):
            (rows,) = drawn(numbered(seed=seed, position=lambda e=epoch: 3 * e), 1)
            np.testing.assert_array_equal(np.sort(rows), np.arange(10))
            orders[seed, epoch] = tuple(rows)
            (again,) = drawn(numbered(seed=seed, position=lambda e=epoch: 3 * e), 1)
            np.testing.assert_array_equal(again, rows)
    assert len(set(orders.values())) == 6


def test_order_from_the_middle_of_an_epoch():
    whole = np.concatenate(drawn(numbered(), 1) + drawn(numbered(position=lambda: 3), 1))
    resumed = numbered(position=lambda: 1)
    resumed.on_epoch_begin()
    rows = np.concatenate([resumed[i][0][:, 0] for i in range(3)])
    np.testing.assert_array_equal(rows, whole[4:14])  # two batches of one epoch, one of the next


def test_values_and_conditions_are_shuffled_together():
    x, c = integers(), conditions()
    c[:, 0] = x[:, 0]
    model = integer_model(conditional_shape=[3])
    batches = ArrayBatches(model.distribution, x, {"a": c}["a"], 7, shuffle=True)
    batches.on_epoch_begin()
    for i in range(len(batches)):
        value, condition = batches[i]
        np.testing.assert_array_equal(value[:, 0], condition[:, 0])
        assert value.dtype == condition.dtype == np.float32


def test_fit_shuffles_unless_told_not_to():
    losses, x = {}, reals(16) * np.arange(1, 17, dtype=np.float32)[:, np.newaxis]
    model = compiled(real_model(), keras.optimizers.SGD(0.0), run_eagerly=True)
    for shuffle in (True, False):
        first = []
        keep = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, first=first: first.append(logs["loss"])
        )
        model.fit(x, batch_size=4, epochs=2, shuffle=shuffle, callbacks=[keep], verbose=0)
        losses[shuffle] = first[:4], first[4:]
    assert losses[False][0] == losses[False][1]
    assert losses[True][0] != losses[True][1]
    assert losses[True][0] != losses[False][0]
