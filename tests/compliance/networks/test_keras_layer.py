"""Every network as a Keras layer: variables, dropout, functional models, files, checkpoints."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.compliance.entries import parametrized
from tests.compliance.networks.registry import (
    NETWORKS,
    OPTIONS,
    OURS,
    built,
    inputs,
    named,
    shared_network,
)

EXACT = {"rtol": 1e-10, "atol": 1e-10}
each_network = pytest.mark.parametrize(**parametrized(NETWORKS))
each_of_ours = pytest.mark.parametrize(**parametrized(OURS))
each_serializable = pytest.mark.parametrize(**parametrized([*OURS, *named("lazy_reversed")]))


@each_network
def test_keras_sees_the_variables(entry):
    network = built(entry.make("float32"))
    assert network.built
    assert network.trainable_variables
    assert len({v.path for v in network.variables}) == len(network.variables)
    network.trainable = False
    assert not network.trainable_variables
    network.trainable = True
    assert network.trainable_variables


@each_of_ours
def test_all_variables_are_there_after_construction(entry):
    network = entry.make("float32")
    variables = list(network.variables)
    x, kwargs = inputs(entry, [1], "float32")
    network(x, training=True, **kwargs)
    network.generate(lambda params, i: params[:, 0], 1, **kwargs)
    assert network.built
    assert all(a is b for a, b in zip(network.variables, variables, strict=True))


@each_network
def test_dropout_acts_in_training_only(entry):
    network = shared_network(entry, "float32")
    x, kwargs = inputs(entry, [3], "float32")
    still, first, second = (network(x, training=t, **kwargs) for t in (False, True, True))
    np.testing.assert_array_equal(network(x, **kwargs), still)
    drops = bool(getattr(network, "dropout", 0.0))
    assert np.any(first != still) == np.any(second != first) == drops


@pytest.mark.parametrize(
    **parametrized(named("wavenet_local", "gated_pixel_cnn", "pixel_cnn_both"))
)
def test_blocks_drop_independently(entry):
    first, second, *_ = entry.make("float32").blocks
    ones = tf.ones([1, 64, 8])
    assert np.any(first.dropout(ones, training=True) != second.dropout(ones, training=True))


def functional(network, leading=()):
    """A Keras model of the list of x and all parts of the conditioning."""
    shapes = [(*leading, *network.event_shape)]
    shapes += [(*leading, *shape) for shape in network.conditioning.shapes.values()]
    symbols = [keras.Input(shape, dtype=network.variable_dtype) for shape in shapes]
    return keras.Model(symbols, network(symbols[0], network.conditioning.join(symbols[1:])))


@each_network
def test_a_functional_keras_model_takes_it(entry):
    network = shared_network(entry)
    for leading in ((), (2,)):
        x, kwargs = inputs(entry, [3, *leading])
        model = functional(network, leading)
        assert model.output_shape == (None, *leading, *entry.event_shape, network.num_params)
        got = model([x, *tf.nest.flatten(kwargs)])
        np.testing.assert_allclose(got, network(x, **kwargs), **EXACT)


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
@pytest.mark.parametrize(**parametrized([*OURS, *OPTIONS, *named("lazy_reversed")]))
def test_config_round_trip(entry, dtype):
    network = built(entry.make(dtype))
    network.trainable = False
    config = network.get_config()
    copy = built(type(network).from_config(config))
    assert copy.get_config() == config
    for name in {*config, "conditional_shape", "dtype_policy"} - {"network", "dtype"}:
        assert getattr(copy, name) == getattr(network, name), name
    assert not copy.trainable_variables
    assert not {id(v) for v in copy.variables} & {id(v) for v in network.variables}
    helpers.randomize(network)
    copy.set_weights(network.get_weights())
    x, kwargs = inputs(entry, [3])
    np.testing.assert_array_equal(copy(x, **kwargs), network(x, **kwargs))


@each_serializable
def test_file_round_trips(entry, tmp_path):
    model = functional(shared_network(entry, "float32"))
    x, kwargs = inputs(entry, [3], "float32")
    given = [x, *tf.nest.flatten(kwargs)]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is type(model.layers[-1])
    model.save_weights(tmp_path / "model.weights.h5")
    other = functional(built(entry.make("float32")))
    other.load_weights(tmp_path / "model.weights.h5")
    assert np.any(model(given))
    for copy in (loaded, other):
        assert len(copy.variables) == len(model.variables)
        np.testing.assert_array_equal(copy(given), model(given))


@each_network
def test_checkpoints(entry, tmp_path):
    saved, restored = shared_network(entry), built(entry.make("float64"))
    path = tf.train.Checkpoint(network=saved).write(str(tmp_path / "weights"))
    status = tf.train.Checkpoint(network=restored).read(path)
    status.assert_existing_objects_matched()
    x, kwargs = inputs(entry, [3])
    np.testing.assert_array_equal(restored(x, **kwargs), saved(x, **kwargs))
