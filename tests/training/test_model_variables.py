"""Variables of a DensityModel: each is found once; training, freezing, saving and dtypes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.training.models import (
    LENGTH,
    assert_equal,
    averaging,
    compiled,
    flow,
    integer_model,
    integers,
    network,
    real_model,
    reals,
    values_of,
)

tfb, tfd = tfp.bijectors, tfp.distributions
WEIGHTS = 9  # of `network`


def raw_ids(variables):
    """Which tf.Variables they are."""
    raw = [v.value if isinstance(v, keras.Variable) else v for v in variables]
    return sorted(map(id, raw))


def shared_network_model():
    """One network in two flows, another in a third, and a frozen variable."""
    first, second = network(1), network(2)
    chain = [tfp_ar.ARFlowBijector(net, jit_compile=False) for net in (first, second, first)]
    shift = tfb.Shift(tf.Variable(tf.zeros([LENGTH]), trainable=False))
    base = tfd.Sample(tfd.Normal(tf.Variable(0.0), 1.0), [LENGTH])
    bijector = tfp_ar.bijectors.Chain([shift, *chain])
    return tfp_ar.DensityModel(tfd.TransformedDistribution(base, bijector))


MODELS = {
    "reals": (real_model, WEIGHTS + 2),
    "integers": (integer_model, WEIGHTS + 2),
    "shared": (shared_network_model, 2 * WEIGHTS + 1),
}


@pytest.mark.parametrize("make, number", MODELS.values(), ids=MODELS.keys())
def test_keras_sees_each_variable_once(make, number):
    model = make()
    assert raw_ids(model.trainable_variables) == raw_ids(model.distribution.trainable_variables)
    seen = raw_ids(model.variables)
    assert all(seen.count(i) == 1 for i in raw_ids(model.distribution.variables))
    assert len(model.trainable_variables) == len(model.distribution.trainable_variables) == number
    assert len({id(v) for v in model.weights}) == len(model.weights)


@pytest.mark.parametrize("make, number", MODELS.values(), ids=MODELS.keys())
def test_each_is_trained_and_the_distribution_with_it(make, number):
    model = compiled(make(), averaging(), run_eagerly=True)
    helpers.randomize(model.network_0)  # zeros at the end hide the rest from the gradient
    x = integers(8) if make is integer_model else reals(8)
    tracked = model.distribution.trainable_variables
    before = values_of(tracked)
    log_prob = model.predict(x, verbose=0)
    model.fit(x, epochs=2, verbose=0)
    assert all(np.any(a != b) for a, b in zip(before, values_of(tracked), strict=True))
    assert np.all(model.predict(x, verbose=0) != log_prob)


def test_a_frozen_variable_stays():
    model = compiled(shared_network_model(), run_eagerly=True)
    frozen = [v for v in model.distribution.variables if not v.trainable]
    assert len(frozen) == 1
    model.fit(reals(8), verbose=0)
    assert not frozen[0].numpy().any()
    assert model.count_params() == sum(np.size(v) for v in values_of(model.distribution.variables))


def test_frozen_layers_stay_until_they_are_unfrozen():
    model, x = real_model(), reals(8)
    helpers.randomize(model.network_0)
    model.network_0.blocks[0].trainable = False
    inside = model.network_0.blocks[0].weights
    for freeze in (True, False, True):
        model.network_0.blocks[0].trainable = not freeze
        compiled(model, run_eagerly=True)
        own = {id(v) for v in inside}
        outside = [v for v in model.weights if id(v) not in own]
        before = values_of(inside), values_of(outside)
        model.fit(x, verbose=0)
        moved = [
            [np.any(a != b) for a, b in zip(then, values_of(now), strict=True)]
            for then, now in zip(before, (inside, outside), strict=True)
        ]
        assert all(moved[1])
        assert not any(moved[0]) if freeze else all(moved[0])


def test_a_frozen_network_leaves_the_rest_to_train():
    model = real_model()
    model.network_0.trainable = False
    compiled(model, run_eagerly=True)
    assert len(model.trainable_variables) == 2
    before = model.network_0.get_weights()
    model.fit(reals(8), verbose=0)
    assert_equal(model.network_0.get_weights(), before)
    others = sorted(values_of(model.other_variables), key=np.sum)
    assert all(np.all(v != i) for v, i in zip(others, (0.0, 1.25), strict=True))


# Saving -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    """A model of integers with averages, all of whose variables have moved."""
    model = compiled(integer_model(), averaging())
    helpers.randomize(model.network_0)
    model.fit(integers(), batch_size=8, epochs=2, verbose=0)
    return model


def log_prob(model):
    return model.distribution.log_prob(integers(), seed=[1, 2])


def test_weights_file(trained, tmp_path):
    trained.save_weights(tmp_path / "model.weights.h5")
    for other in (integer_model(3), compiled(integer_model(4), averaging())):
        assert np.any(log_prob(other) != log_prob(trained))
        other.load_weights(tmp_path / "model.weights.h5")
        np.testing.assert_array_equal(log_prob(other), log_prob(trained))
    assert_equal(values_of(other.optimizer.variables), values_of(trained.optimizer.variables))


def test_checkpoint_of_the_model(trained, tmp_path):
    path = tf.train.Checkpoint(model=trained).save(tmp_path / "checkpoint")
    other = compiled(integer_model(5), averaging())
    tf.train.Checkpoint(model=other).restore(path).assert_consumed()
    np.testing.assert_array_equal(log_prob(other), log_prob(trained))
    assert_equal(values_of(other.optimizer.variables), values_of(trained.optimizer.variables))
    # Each variable of the distribution is there, and not twice but for the optimizer's copies.
    reader = tf.train.load_checkpoint(path)
    stored = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    for variable in values_of(trained.distribution.trainable_variables):
        found = [name for name, value in stored.items() if np.array_equal(value, variable)]
        assert found
        assert sum("optimizer" not in name for name in found) <= 1


def test_checkpoint_of_the_distribution(trained, tmp_path):
    path = tf.train.Checkpoint(flow=trained.distribution).save(tmp_path / "checkpoint")
    other = integer_model(5)
    tf.train.Checkpoint(flow=other.distribution).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(log_prob(other), log_prob(trained))


def test_keras_file_of_the_network(trained, tmp_path):
    net = trained.network_0
    keras.Sequential([keras.Input(net.event_shape), net]).save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras").layers[-1]
    assert_equal(loaded.get_weights(), net.get_weights())
    other, own = flow(loaded), {v.name: v for v in trained.distribution.variables}
    for variable in other.variables:
        if variable.name in ("loc:0", "scale:0"):
            variable.assign(own[variable.name])
    got = tfp_ar.Dequantized(other).log_prob(integers(), seed=[1, 2])
    np.testing.assert_array_equal(got, log_prob(trained))


def test_a_file_that_cannot_be_read(tmp_path):
    model, path = real_model(), tmp_path / "model.weights.h5"
    before = model.get_weights()
    path.write_bytes(b"no weights")
    for error in (ValueError, OSError):
        with pytest.raises(error, match="filepath: expected a file that save_weights wrote, got"):
            model.load_weights(path)
    assert_equal(model.get_weights(), before)
    larger = real_model(residual_channels=5)
    larger.save_weights(tmp_path / "larger.weights.h5")
    with pytest.raises(ValueError):  # Keras' own words
        model.load_weights(tmp_path / "larger.weights.h5")


# Dtypes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [pytest.param("network", marks=pytest.mark.slow), "global policy"])
def test_mixed_precision(by):
    if by == "global policy":
        keras.config.set_dtype_policy("mixed_bfloat16")
    kwargs = {"dtype": "mixed_bfloat16"} if by == "network" else {}
    model = integer_model(**kwargs)
    assert model.network_0.compute_dtype == "bfloat16"
    assert all(v.dtype == "float32" for v in model.trainable_variables)
    compiled(model, keras.optimizers.Adam(0.03))
    x = integers()
    log_prob = model.predict(x, verbose=0)
    assert log_prob.dtype == np.float32
    # Not rounded to bfloat16, whose 8 bits leave few values.
    assert np.any(tf.cast(tf.cast(log_prob, "bfloat16"), "float32") != log_prob)
    assert model.call(x, training=True, seed=[1, 2]).dtype == tf.float32
    losses = model.fit(x, batch_size=8, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.1
    assert float(tf.cast(losses[-1], "bfloat16")) != losses[-1]


def test_values_of_a_large_range_are_not_rounded_by_the_global_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    loc = tf.Variable(1001.0)
    model = compiled(tfp_ar.DensityModel(tfd.Normal(loc, 1.0)), run_eagerly=True)
    x = np.full([8], 1001.0, np.float32)  # 1000 in bfloat16
    want = 0.5 * np.log2(2 * np.pi)
    np.testing.assert_allclose(model.evaluate(x, verbose=0), want, rtol=1e-6)
    np.testing.assert_allclose(model(x), np.full([8], -want * np.log(2.0)), rtol=1e-6)


def test_float64():
    model = tfp_ar.DensityModel(flow(network(dtype="float64"), bounded=False, dtype="float64"))
    compiled(model, keras.optimizers.SGD(0.1))
    x = np.random.default_rng(0).standard_normal([8, LENGTH])
    log_prob = model.predict(x, verbose=0)
    assert log_prob.dtype == np.float64
    np.testing.assert_allclose(log_prob, model.distribution.log_prob(x), rtol=1e-13)
    losses = model.fit(x, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert all(v.dtype == "float64" for v in model.trainable_variables)
