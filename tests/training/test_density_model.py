"""DensityModel: the results of fit, evaluate and predict, and the forms of data that they take."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.training.models import (
    BOTH,
    LENGTH,
    Steps,
    assert_equal,
    both_conditions,
    compiled,
    conditions,
    integer_model,
    integers,
    real_model,
    reals,
    values_of,
)

tfb, tfd = tfp.bijectors, tfp.distributions
CLOSE = {"rtol": 2e-5, "atol": 1e-6}


def bits(log_prob, size=LENGTH):
    """By the formula in the docstring."""
    return float(-np.mean(log_prob) / (size * np.log(2.0)))


def seeded_log_prob(model, x, batch_size, stream=1, **kwargs):
    """What evaluate takes the mean of: the noise of a batch depends on the rows before it."""
    parts = [
        model.distribution.log_prob(
            x[i : i + batch_size], seed=tf.constant([model.seed, 2 * i + stream]), **kwargs
        )
        for i in range(0, len(x), batch_size)
    ]
    return np.concatenate(parts)


class Batches(keras.utils.PyDataset):
    """Batches of 8, as users may write them."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays[0]) // 8

    def __getitem__(self, index):
        return tuple(array[8 * index : 8 * index + 8] for array in self.arrays)


# Loss ---------------------------------------------------------------------------------------------


def test_loss_of_a_continuous_distribution_is_its_log_prob():
    model, x = compiled(real_model()), reals(20)
    want = bits(model.distribution.log_prob(x))
    result = model.evaluate(x, batch_size=8, verbose=0, return_dict=True)  # the last has 4 rows
    assert sorted(result) == ["bits_per_dim", "loss"]
    np.testing.assert_allclose([result["loss"], result["bits_per_dim"]], want, **CLOSE)
    log_prob = model.predict(x, batch_size=8, verbose=0)
    np.testing.assert_allclose(log_prob, model.distribution.log_prob(x), **CLOSE)
    np.testing.assert_allclose(model(x), log_prob, **CLOSE)


def test_loss_of_integers_is_the_log_prob_with_the_noise_of_the_seed():
    model, x = compiled(integer_model(noise_seed=11)), integers(20)
    want = bits(seeded_log_prob(model, x, 8))
    got = model.evaluate(x, batch_size=8, verbose=0)
    np.testing.assert_allclose(got, [want, want], **CLOSE)
    alone = model.distribution.log_prob(x[8:16], seed=tf.constant([11, 1]))
    log_prob = model.predict(x, batch_size=8, verbose=0)
    assert log_prob.shape == (20,)
    np.testing.assert_allclose(log_prob[8:16], alone, **CLOSE)


def test_loss_in_training_has_other_noise_in_each_step():
    model, x = compiled(integer_model(noise_seed=3), keras.optimizers.SGD(0.0)), integers(8)
    want = []
    for step in range(3):
        want.append(bits(model.distribution.log_prob(x, seed=tf.constant([3, 2 * step]))))
    history = model.fit(x, epochs=3, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], want, **CLOSE)
    np.testing.assert_allclose(history["bits_per_dim"], want, **CLOSE)
    assert len(set(want)) == 3


def test_regularisers_are_in_the_loss_only():
    model, x = real_model(), reals(8)
    kernel = model.network_0.input_conv.kernel
    kernel.assign(tf.fill(kernel.shape, 0.5))
    kernel.regularizer = keras.regularizers.L2(0.1)
    compiled(model, keras.optimizers.SGD(0.0))
    want = bits(model.distribution.log_prob(x))
    history = model.fit(x, validation_data=x, verbose=0).history
    for prefix in ("", "val_"):
        np.testing.assert_allclose(history[f"{prefix}bits_per_dim"], want, **CLOSE)
        extra = 0.1 * 0.25 * np.size(kernel)
        np.testing.assert_allclose(history[f"{prefix}loss"], want + extra, **CLOSE)


def test_rows_count_alike_in_batches_of_different_size():
    model, x = compiled(real_model(), keras.optimizers.SGD(0.0)), reals(20)
    x[16:] *= 3.0
    want = bits(model.distribution.log_prob(x))
    history = model.fit(x, batch_size=16, verbose=0, shuffle=False).history
    np.testing.assert_allclose([*history["loss"], *history["bits_per_dim"]], want, **CLOSE)


# Forms of data ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_arrays_of_any_kind():
    model, x = compiled(integer_model()), integers()
    want = model.evaluate(x, verbose=0)
    kinds = [x.astype(np.float64), x.astype(np.int64), tf.constant(x), tf.constant(x, tf.float16)]
    for kind in [*kinds, tf.constant(x, tf.bfloat16), x.tolist()]:
        assert model.evaluate(kind, verbose=0) == want
    assert np.isfinite(model.fit(tf.constant(x), epochs=2, verbose=0).history["loss"]).all()


def streams(x, c=None):
    """The same data as arrays and as each kind of dataset, in batches of 8."""
    slices = tf.data.Dataset.from_tensor_slices
    if c is None:
        return {
            "tf.data": slices(x).batch(8),
            "tf.data of tuples": slices((x,)).batch(8),
            "tf.data of dicts": slices({"value": x}).batch(8),
            "PyDataset": Batches(x),
        }
    return {
        "tf.data": slices((x, c)).batch(8),
        "tf.data of dicts": slices({"value": x, "conditional_input": c}).batch(8),
        "PyDataset": Batches(x, c),
    }


@pytest.mark.slow
def test_datasets_are_as_good_as_arrays():
    # One model for all, as its functions are compiled once for each form.
    model, x = compiled(real_model(), run_eagerly=True), reals(16)
    want = model.evaluate(x, batch_size=8, verbose=0)
    log_prob = model.predict(x, verbose=0)
    start = model.get_weights()
    model.fit(x, batch_size=8, shuffle=False, verbose=0)
    trained = model.get_weights()
    for name, stream in streams(x).items():
        compiled(model, run_eagerly=True).set_weights(start)
        np.testing.assert_allclose(model.evaluate(stream, verbose=0), want, err_msg=name, **CLOSE)
        np.testing.assert_allclose(model.predict(stream, verbose=0), log_prob, **CLOSE)
        history = model.fit(stream, validation_data=stream, verbose=0).history
        assert_equal(model.get_weights(), trained)
        want_after = model.evaluate(x, verbose=0)[0]
        np.testing.assert_allclose(history["val_loss"], want_after, **CLOSE)


def test_conditioning_in_every_place():
    model = compiled(real_model(conditional_shape=[3]), keras.optimizers.SGD(0.1))
    x, c = reals(), 3.0 * conditions()
    helpers.randomize(model.network_0, 0.5)
    bound = tfp_ar.bind(model.distribution, c)
    want = bits(bound.log_prob(x))
    assert abs(want - bits(tfp_ar.bind(model.distribution, c[::-1]).log_prob(x))) > 1e-3
    for args, kwargs in [((x, c), {}), ((x,), {"conditional_input": c})]:
        result = model.evaluate(*args, batch_size=8, verbose=0, **kwargs)
        np.testing.assert_allclose(result, [want, want], **CLOSE)
    for stream in streams(x, c).values():
        np.testing.assert_allclose(model.evaluate(stream, verbose=0), [want, want], **CLOSE)
    log_prob = model.predict(x, conditional_input=c, verbose=0)
    np.testing.assert_allclose(log_prob, bound.log_prob(x), **CLOSE)

    start, trained = model.get_weights(), []
    batches = {"tf.data": streams(x, c)["tf.data"], "PyDataset": Batches(x, c)}
    for kwargs in [
        {"x": x, "y": c, "batch_size": 8, "validation_data": (x, c)},
        {"x": x, "conditional_input": c, "batch_size": 8, "validation_data": batches["tf.data"]},
        {"x": batches["tf.data"], "validation_data": (x, c)},
        {"x": batches["PyDataset"], "validation_data": {"value": x, "conditional_input": c}},
    ]:
        model.set_weights(start)
        history = model.fit(**kwargs, shuffle=False, verbose=0).history
        trained.append(model.get_weights())
        assert_equal(trained[-1], trained[0])
        np.testing.assert_allclose(history["val_loss"], bits(bound.log_prob(x)), **CLOSE)
    assert any(np.any(a != b) for a, b in zip(start, trained[0], strict=True))


@pytest.mark.slow  # one part: above; both, in the bijectors' and distributions' own tests
def test_conditioning_of_two_parts():
    model = compiled(real_model(conditional_shape=BOTH))
    x, c = reals(), both_conditions()
    model.fit(x, c, batch_size=8, verbose=0)
    compiled(model, run_eagerly=True)
    want = bits(tfp_ar.bind(model.distribution, c).log_prob(x))
    for args in [
        (x, c),
        *((stream,) for stream in streams(x, c).values() if hasattr(stream, "map")),
    ]:
        np.testing.assert_allclose(model.evaluate(*args, verbose=0)[0], want, **CLOSE)
    history = model.fit(x, conditional_input=c, validation_split=0.25, verbose=0).history
    held_out = tfp_ar.bind(model.distribution, {k: v[18:] for k, v in c.items()}).log_prob(x[18:])
    np.testing.assert_allclose(history["val_loss"], bits(held_out), **CLOSE)


def test_validation_split_takes_the_last_rows():
    model, x = compiled(real_model(), keras.optimizers.SGD(0.0)), reals(20)
    history = model.fit(x, validation_split=0.3, verbose=0).history
    np.testing.assert_allclose(history["loss"], bits(model.distribution.log_prob(x[:14])), **CLOSE)
    want = bits(model.distribution.log_prob(x[14:]))
    np.testing.assert_allclose(history["val_loss"], want, **CLOSE)
    # What is passed goes before what is split off, as in Keras.
    history = model.fit(x, validation_split=0.3, validation_data=x[:5], verbose=0).history
    want = bits(model.distribution.log_prob(x[:5]))
    np.testing.assert_allclose(history["val_loss"], want, **CLOSE)


def test_steps_of_an_endless_dataset():
    model, x = compiled(real_model(), keras.optimizers.SGD(0.0)), reals(16)
    endless = tf.data.Dataset.from_tensor_slices(x).batch(8).repeat()
    history = model.fit(
        endless, epochs=2, steps_per_epoch=2, validation_data=endless, validation_steps=1, verbose=0
    ).history
    np.testing.assert_allclose(history["loss"], bits(model.distribution.log_prob(x)), **CLOSE)
    want = bits(model.distribution.log_prob(x[:8]))
    np.testing.assert_allclose(history["val_loss"][0], want, **CLOSE)
    assert int(model.optimizer.iterations) == 4


# Ways to run --------------------------------------------------------------------------------------


def test_ways_to_run_agree():
    x, ends, losses = integers(8), [], []
    ways = [{}, {"run_eagerly": True}, {"steps_per_execution": 2}]  # XLA: test_train_step.py
    for way in ways:
        model = compiled(integer_model(), keras.optimizers.SGD(0.05), **way)
        losses.append(model.fit(x, batch_size=4, verbose=0).history["loss"])
        losses[-1] += model.evaluate(x, batch_size=4, verbose=0)
        ends.append(model.get_weights())
        assert int(model.optimizer.iterations) == 2
    for way, end, loss in zip(ways, ends, losses, strict=True):
        np.testing.assert_allclose(loss, losses[0], rtol=1e-5, err_msg=str(way))
        for got, want in zip(end, ends[0], strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5, err_msg=str(way))


OPTIMIZERS = {
    "adamw": lambda: keras.optimizers.AdamW(0.02),
    "lion": lambda: keras.optimizers.Lion(0.01),
    "by_name": lambda: "sgd",
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.02)),
    "muon": lambda: keras.optimizers.Muon(0.02),
    "accumulating": lambda: keras.optimizers.Adam(0.02, gradient_accumulation_steps=2),
    "clipping": lambda: keras.optimizers.Adam(0.02, global_clipnorm=1.0),
}
SLOW = ("adamw", "lion", "clipping", "accumulating", "muon", "loss_scale")


# AdamW and Lion train in test_train_step.py too; how gradients are clipped or gathered is Keras'
# affair.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in OPTIMIZERS],
)
def test_optimizers(name):
    model, x = compiled(real_model(), OPTIMIZERS[name]()), 2.0 + 0.5 * reals(32)
    before = values_of(model.trainable_variables)
    losses = model.fit(x, batch_size=8, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.1
    moved = [
        np.any(a != b) for a, b in zip(before, values_of(model.trainable_variables), strict=True)
    ]
    assert all(moved)


def test_a_scaled_loss_is_reported_as_it_is():
    model, x = real_model(), reals(8)
    want = bits(model.distribution.log_prob(x))
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=1024.0)
    weights = []
    for optimizer in (scaled, keras.optimizers.SGD(0.1)):
        model = compiled(real_model(), optimizer)
        losses = model.fit(x, verbose=0).history["loss"]
        np.testing.assert_allclose(losses, want, **CLOSE)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


# Learning -----------------------------------------------------------------------------------------


def test_a_normal_without_networks_comes_to_the_moments_of_the_data():
    loc = tf.Variable(0.0)
    scale = tfp.util.TransformedVariable(3.0, tfb.Exp())
    model = compiled(tfp_ar.DensityModel(tfd.Normal(loc, scale)), keras.optimizers.Adam(0.1))
    assert len(model.trainable_variables) == 2
    x = 1.5 + 0.5 * np.random.default_rng(0).standard_normal([64])
    model.fit(tf.data.Dataset.from_tensors(x.astype("float32")).repeat(250), verbose=0)
    learned = [loc.numpy(), scale.numpy()]
    np.testing.assert_allclose(learned, [x.mean(), x.std()], rtol=0.01)
    entropy = 0.5 * np.log2(2 * np.pi * np.e * x.var())
    np.testing.assert_allclose(model.evaluate(x, verbose=0)[0], entropy, atol=1e-3)


def test_integers_of_a_known_law():
    # A coin, thrice told: one bit for four digits.
    first = np.random.default_rng(0).integers(0, 2, [128, 1])
    x = np.concatenate([first, first, 1 - first, np.zeros_like(first)], axis=1).astype(np.uint8) * 7
    model = compiled(integer_model(residual_channels=8), keras.optimizers.Adam(0.03))
    before, _ = model.evaluate(x, verbose=0)
    model.fit(tf.data.Dataset.from_tensors(x).repeat(300), verbose=0)
    after, _ = model.evaluate(x, verbose=0)
    assert before > 3.0
    assert 0.25 <= after < 1.0  # the entropy is a quarter
    samples = model.distribution.sample(64, seed=[1, 2]).numpy()
    assert set(np.unique(samples)) <= set(range(8))


# Reproducibility ----------------------------------------------------------------------------------


def test_the_seed_decides():
    x, curves = integers(), []
    for noise_seed, global_seed in ((0, 1), (0, 2), (1, 1)):
        model = compiled(integer_model(noise_seed=noise_seed), run_eagerly=True)
        keras.utils.set_random_seed(global_seed)
        steps = Steps()
        model.fit(x, batch_size=8, callbacks=[steps], verbose=0)
        curves.append(steps.losses)
        first, second = (model.evaluate(x, verbose=0) for _ in range(2))
        assert first == second
    assert curves[0] == curves[1]
    assert all(a != b for a, b in zip(curves[0], curves[2], strict=True))


def test_evaluation_between_does_not_change_training():
    x, ends = integers(8), []
    for with_evaluation in (False, True):
        model = compiled(integer_model(dropout=0.3), run_eagerly=True)
        validation = {"validation_data": x} if with_evaluation else {}
        for _ in range(2):
            model.fit(x, verbose=0, **validation)
            if with_evaluation:
                model.evaluate(x, batch_size=5, verbose=0)
                model.predict(x, verbose=0)
        ends.append(model.get_weights())
    assert_equal(*ends)
