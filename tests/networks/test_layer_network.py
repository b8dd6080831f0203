import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import normal
from tests.networks.examples import wavenet
from tests.toys import MaskedPairs
from tfp_ar.networks.layer_network import LayerNetwork, as_network


def functional(size=4):
    inputs = keras.Input([size])
    return keras.Model(inputs, MaskedPairs([4])(inputs))


LAYERS = {
    "layer": (lambda: MaskedPairs([4]), 4),
    "functional": (functional, None),
    "sequential": (lambda: keras.Sequential([keras.Input([4]), MaskedPairs([4])]), None),
    "sequential_without_input": (lambda: keras.Sequential([MaskedPairs([4])]), [4]),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_is_the_layer_with_the_calls_of_a_network(kind):
    make, event_shape = LAYERS[kind]
    layer = make()
    network = as_network(layer, [4] if event_shape == 4 else event_shape)
    assert isinstance(network, LayerNetwork) and network.layer is layer
    assert network.event_shape == (4,) and network.num_params == 2
    assert network.conditional_shape is None and network.built
    assert [id(v) for v in network.variables] == [id(v) for v in layer.variables]
    x = normal([3, 4])
    np.testing.assert_allclose(network(x), layer(x), rtol=1e-6)
    assert network(normal([2, 3, 4])).shape == (2, 3, 4, 2)
    x = network.generate(lambda params, i: params[:, 0] + 1.0, 2)
    np.testing.assert_allclose(x, network(x)[..., 0] + 1.0, rtol=1e-5)


def test_a_built_layer_knows_its_shape():
    layer = MaskedPairs([4])
    layer(tf.ones([1, 4]))
    assert as_network(layer).event_shape == (4,)


def test_training_is_passed_on():
    inputs = keras.Input([4])
    dropped = keras.layers.Dropout(0.5, seed=1)(MaskedPairs([4])(inputs))
    layer = keras.Model(inputs, dropped)
    network = as_network(layer)
    x = tf.ones([50, 4])
    np.testing.assert_array_equal(network(x), network(x, training=False))
    assert np.any(network(x, training=True) != network(x))


def test_dtype_is_the_layer_s():
    assert as_network(MaskedPairs([4], dtype="float64"), [4])(tf.ones([1, 4])).dtype == tf.float64
    mixed = as_network(MaskedPairs([4], dtype="mixed_bfloat16"), [4])
    assert mixed(tf.ones([1, 4])).dtype == tf.float32


def test_networks_are_returned_themselves():
    network = wavenet("plain")
    assert as_network(network) is network
    assert as_network(network, [9]) is network
    with pytest.raises(ValueError, match=r"event_shape: expected None or the network's \[9\], got"):
        as_network(network, [8])


def test_freezing_the_layer_freezes_the_network():
    layer = functional()
    network = as_network(layer)
    assert len(network.trainable_variables) == 3
    layer.trainable = False
    assert network.trainable_variables == []


@pytest.mark.parametrize("value", [None, "net", lambda x: x, tf.Module()])
def test_no_keras_layer(value):
    with pytest.raises(TypeError, match="network: expected an AutoregressiveNetwork or another"):
        as_network(value)


@pytest.mark.parametrize(
    "layer", [MaskedPairs([4], name="past"), keras.Sequential([MaskedPairs([4])], name="past")]
)
def test_unknown_shape(layer):
    with pytest.raises(ValueError, match="expected the shape of one x, as layer 'past' does not"):
        as_network(layer)


def test_a_shape_the_layer_cannot_be_built_for():
    with pytest.raises(ValueError, match=r"'net' could not be built for event_shape \[5\]"):
        as_network(keras.Sequential([keras.Input([4]), keras.layers.Dense(3)], name="net"), [5])


def test_a_layer_that_returns_something_else():
    with pytest.raises(ValueError, match=r"what network 'dense' returns: expected shape"):
        as_network(keras.layers.Dense(3, name="dense"), [4])


def test_bad_event_shape():
    with pytest.raises(ValueError, match=r"event_shape\[0\]: expected a positive integer, got 0"):
        as_network(MaskedPairs([4]), [0])
