import keras
import pytest

import tfp_ar
from tests.networks.examples import wavenet
from tfp_ar import receptive_field
from tfp_ar.layers import CausalConv1D, MaskedConv2D

IMAGE = (5, 7)


def test_it_is_exported():
    assert receptive_field is tfp_ar.analysis.receptive_field


def test_no_layer():
    with pytest.raises(TypeError, match="obj: expected an AutoregressiveNetwork or another Keras"):
        receptive_field(lambda x: x, 0)


class Integers(keras.layers.Layer):
    """Rounds."""

    def call(self, x):
        return keras.ops.cast(x, "int32")


def test_an_output_without_a_gradient():
    with pytest.raises(TypeError, match="obj: expected a layer whose outputs are floats.*rounding"):
        receptive_field(Integers(name="rounding"), 0, input_shape=[3])


def test_another_backend(monkeypatch):
    network = wavenet("plain")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="^receptive_field needs Keras' TensorFlow backend"):
        receptive_field(network, 0)
    with pytest.raises(RuntimeError, match="^assert_autoregressive needs Keras' TensorFlow back"):
        tfp_ar.assert_autoregressive(network)


@pytest.mark.parametrize(
    "position, message",
    [
        (9, r"expected indices within shape \[9\], got \[9\]"),
        (-1, r"expected indices within shape \[9\], got \[-1\]"),
        ((0, 0), r"expected at most 1 indices, into shape \[9\], got \[0, 0\]"),
    ],
)
def test_a_position_outside_the_event(position, message):
    with pytest.raises(ValueError, match="position: " + message):
        receptive_field(wavenet("plain"), position)


def test_a_position_outside_the_output():
    conv = MaskedConv2D(2, 3, padding="valid")
    assert receptive_field(conv, (2, 4, 1), [*IMAGE, 1]).any()
    for position in ((3, 4), (2, 5), (2, 4, 2)):
        with pytest.raises(
            ValueError, match=r"position: expected indices within shape \[3, 5, 2\]"
        ):
            receptive_field(conv, position, [*IMAGE, 1])
    with pytest.raises(ValueError, match="position: expected at most 3 indices"):
        receptive_field(conv, (0, 0, 0, 0), [*IMAGE, 1])


@pytest.mark.parametrize("position", [1.0, "a", None, (0, 1.5)])
def test_a_position_that_is_no_index(position):
    with pytest.raises(TypeError, match="position: expected an integer or a sequence of integers"):
        receptive_field(keras.layers.Dense(2), position, input_shape=[3, 4])


def test_an_unknown_shape():
    with pytest.raises(ValueError, match="input_shape: expected the shape of one x, as layer 'c'"):
        receptive_field(CausalConv1D(2, 2, name="c"), 0)


def test_a_shape_that_the_layer_does_not_take():
    conv = MaskedConv2D(2, 3, name="c")
    with pytest.raises(
        ValueError, match=r"input_shape: expected one that layer 'c' takes, got \[4"
    ):
        receptive_field(conv, 0, input_shape=[4])


def test_another_shape_than_the_networks():
    assert receptive_field(wavenet("plain"), 1, [9], num_draws=1).shape == (9,)
    with pytest.raises(ValueError, match=r"input_shape: expected None or the network's \[9\], got"):
        receptive_field(wavenet("plain"), 1, input_shape=[8])
