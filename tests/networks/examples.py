"""Small WaveNets for tests, with every kind of option."""

from tests.helpers import randomize
from tfp_ar.networks import WaveNet

BOTH = {"global": [3], "local": [6, 2]}

# Every option of WaveNet alone, and all of them at once; small, as Jacobians are taken of them.
WAVENETS = {
    "plain": {"event_shape": [9], "dilations": [1, 2]},
    "length_1": {"event_shape": [1]},
    "default_dilations": {"event_shape": [7]},
    "one_block": {"event_shape": [5], "dilations": [2]},
    "taps_1": {"event_shape": [5], "kernel_size": 1, "dilations": [1, 2]},
    "taps_3": {"event_shape": [9], "kernel_size": 3, "dilations": [1, 2]},
    "repeated_dilations": {"event_shape": [9], "dilations": [1, 2, 1, 2]},
    "many_blocks": {"event_shape": [8], "dilations": [1, 2, 1, 1, 2, 1, 1]},
    "gaps": {"event_shape": [10], "kernel_size": 3, "dilations": [3, 1]},
    "dilation_beyond_the_end": {"event_shape": [5], "dilations": [1, 16]},
    "channels_1": {"event_shape": [5, 1], "dilations": [1, 2]},
    "channels_2": {"event_shape": [6, 2], "dilations": [1, 2]},
    "channels_3_taps_3": {"event_shape": [4, 3], "kernel_size": 3, "dilations": [1, 1]},
    "global": {"event_shape": [6], "conditional_shape": [3]},
    "local": {"event_shape": [6], "conditional_shape": [6, 2]},
    "both": {"event_shape": [6], "conditional_shape": BOTH},
    "both_channels_2": {"event_shape": [6, 2], "dilations": [2], "conditional_shape": BOTH},
    "global_in_a_dict": {"event_shape": [6], "conditional_shape": {"global": [3]}},
    "learned": {"event_shape": [6], "position_encoding": "learned"},
    "sinusoidal": {"event_shape": [6], "position_encoding": "sinusoidal"},
    "dropout": {"event_shape": [6], "dropout": 0.5, "seed": 3},
    "skip_channels": {"event_shape": [6], "skip_channels": 7},
    "params_1": {"event_shape": [6], "num_params": 1},
    "params_5": {"event_shape": [6], "num_params": 5},
    "everything": {
        "event_shape": [6, 2],
        "num_params": 3,
        "skip_channels": 5,
        "dilations": [1, 2, 1],
        "kernel_size": 3,
        "conditional_shape": BOTH,
        "position_encoding": "learned",
        "dropout": 0.2,
        "seed": 1,
    },
}


def wavenet(kind, **kwargs) -> WaveNet:
    """The WaveNet of that kind, its weights as a new network has them."""
    sizes = {"residual_channels": 4, "skip_channels": 8}
    return WaveNet(**{**sizes, **WAVENETS[kind], **kwargs})


def lively(network, seed=0):
    """The network with random weights at which its parameters move with x: most ReLUs are on."""
    randomize(network, 0.5, seed)
    head = getattr(getattr(network, "network", network), "head", None)
    if head is not None:
        head.feature_bias.assign(head.feature_bias + 1.0)
    return network
