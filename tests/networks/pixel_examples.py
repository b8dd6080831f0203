"""Small pixel networks for tests, with every kind of option."""

import tensorflow as tf

from tests import helpers
from tests.networks.examples import lively
from tfp_ar.networks import GatedPixelCNN, PixelCNN

NETWORKS = {"classical": PixelCNN, "gated": GatedPixelCNN}

# Every option alone, and all of them at once.
PIXELS = {
    "plain": {"event_shape": [3, 4, 1], "num_layers": 3},
    "one_layer": {"event_shape": [3, 4, 1], "num_layers": 1},
    "one_layer_both": {
        "event_shape": [3, 3, 2],
        "num_layers": 1,
        "conditional_shape": {"global": [3], "local": [3, 3, 2]},
    },
    "two_layers": {"event_shape": [3, 4, 1], "num_layers": 2},
    "many_layers": {"event_shape": [2, 3, 1], "num_layers": 8},
    "channels_3": {"event_shape": [2, 3, 3], "num_layers": 2},
    "kernel_5": {"event_shape": [4, 4, 1], "num_layers": 2, "kernel_size": 5},
    "dilated": {"event_shape": [5, 5, 1], "num_layers": 3, "dilations": [1, 2, 1]},
    "dilated_kernel_5": {
        "event_shape": [4, 4, 2],
        "num_layers": 3,
        "kernel_size": 5,
        "dilations": [1, 1, 2],
    },
    "row": {"event_shape": [1, 4, 1], "num_layers": 2},
    "column": {"event_shape": [4, 1, 2], "num_layers": 2},
    "one_pixel": {"event_shape": [1, 1, 3], "num_layers": 2},
    "global": {"event_shape": [2, 3, 1], "num_layers": 2, "conditional_shape": [3]},
    "local": {"event_shape": [3, 3, 1], "num_layers": 2, "conditional_shape": [3, 3, 2]},
    "both": {
        "event_shape": [2, 3, 1],
        "num_layers": 3,
        "conditional_shape": {"global": [3], "local": [2, 3, 2]},
    },
    "everything": {
        "event_shape": [3, 3, 2],
        "num_params": 3,
        "num_layers": 3,
        "dilations": [1, 2, 1],
        "head_channels": 5,
        "conditional_shape": {"global": [3], "local": [3, 3, 2]},
        "dropout": 0.2,
        "seed": 1,
    },
}


def pixel_network(network, kind, **kwargs):
    """The network ("classical" or "gated") of that kind, its weights as a new one has them."""
    return NETWORKS[network](**{"filters": 8, **PIXELS[kind], **kwargs})


def lively_pixels(network, kind, **kwargs):
    """The same with random weights at which its parameters move with x."""
    return lively(pixel_network(network, kind, **kwargs))


def balanced_pixels(network, kind, **kwargs):
    """The same, the parameters 0 in the mean: else almost all samples would be of one level."""
    network = lively_pixels(network, kind, **kwargs)
    x, c = helpers.random_events(network, 50), helpers.random_conditioning(network, 50)
    network.head.output_bias.assign_sub(tf.reduce_mean(network(x, c), axis=[0, 1, 2]))
    return network
