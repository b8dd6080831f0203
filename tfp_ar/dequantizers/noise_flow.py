"""The networks of `Variational.from_event_shape`."""

import keras
import tensorflow_probability as tfp

from tfp_ar.bijectors import ARFlowBijector
from tfp_ar.networks import GatedPixelCNN, WaveNet
from tfp_ar.networks.wavenet import default_dilations

tfb = tfp.bijectors

# Noise depends on what is near: a short reach will do.
_NUM_LAYERS = 3  # of WaveNet, dilations 1, 2, 4: 8 steps; of GatedPixelCNN: 3 pixels to each side
_ENCODER_DILATIONS = (1, 2)  # 3 steps or pixels to each side


def make_noise_flow(event_shape, width, dropout=0.0, seed=None, dtype=None) -> tfb.Bijector:
    """An inverse autoregressive flow, conditioned on a map of `width` channels."""
    settings = {
        "conditional_shape": [*event_shape[: _num_positions(event_shape)], width],
        "dropout": dropout,
        "seed": seed,
        "dtype": dtype,
    }
    if len(event_shape) == 3:
        network = GatedPixelCNN(event_shape, filters=width, num_layers=_NUM_LAYERS, **settings)
    else:
        dilations = default_dilations(event_shape[0], kernel_size=2)[:_NUM_LAYERS]
        network = WaveNet(event_shape, residual_channels=width, dilations=dilations, **settings)
    return tfb.Invert(ARFlowBijector(network, name="noise_flow"))


def make_encoder(map_shape, width, dtype=None) -> keras.Layer:
    """Convolutions from a map of x, [*positions, C], to one of `width` channels."""
    convolution = keras.layers.Conv2D if len(map_shape) == 3 else keras.layers.Conv1D
    settings = {
        "filters": width,
        "padding": "same",
        "data_format": "channels_last",  # whatever Keras' default is
        "dtype": dtype,
    }
    layers = [
        convolution(kernel_size=3, dilation_rate=rate, activation="relu", **settings)
        for rate in _ENCODER_DILATIONS
    ]
    last = convolution(kernel_size=1, **settings)
    return keras.Sequential([*layers, last], name="encoder")


def _num_positions(event_shape) -> int:
    return max(len(event_shape) - 1, 1)
