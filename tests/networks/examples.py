"""Small networks to test with: WaveNets of every kind of option, and one of any order."""

import keras
import numpy as np
from keras import ops

from tests.helpers import randomize
from tfp_ar.networks import AutoregressiveNetwork, WaveNet

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


def lively(network, seed=0) -> WaveNet:
    """The network with random weights at which its parameters move with x: most ReLUs are on."""
    randomize(network, 0.5, seed)
    network.head.feature_bias.assign(network.head.feature_bias + 1.0)
    return network


@keras.saving.register_keras_serializable(package="tests")
class MaskedLinear(AutoregressiveNetwork):
    """A masked matrix product of x, causal in any order, with conditioning added.

        params[i] = sum_{j before i} x[j] W[j, i] + c @ V

    with c all conditioning in one vector. Its weights are made by the first call.

    Args:
      order: the permutation of the flat indices.
      claimed_order: what `order` says, if that is to be a lie.
    """

    def __init__(self, event_shape, order, num_params=2, claimed_order=None, **kwargs):
        super().__init__(event_shape, num_params, **kwargs)
        self.true_order = np.asarray(order, np.int32)
        self.claimed_order = self.true_order if claimed_order is None else claimed_order

    @property
    def order(self):
        return np.asarray(self.claimed_order, np.int32)

    def build(self, input_shape=None, **kwargs):
        size, params = self.event_size, self.num_params
        self.kernel = self.add_weight(shape=[size, size, params], initializer="random_normal")
        given = sum(int(np.prod(shape)) for shape in self.conditioning.shapes.values())
        self.condition_kernel = self.add_weight(shape=[given, size, params]) if given else None
        self.built = True

    def call(self, x, conditional_input=None):
        rank = np.argsort(self.true_order)
        mask = (rank[:, np.newaxis] < rank[np.newaxis, :])[..., np.newaxis]
        x = ops.reshape(x, [-1, self.event_size])
        params = ops.einsum("bj,jip->bip", x, self.kernel * ops.cast(mask, self.compute_dtype))
        if self.condition_kernel is not None:
            parts = self.conditioning.parse(conditional_input).values()
            sizes = [int(np.prod(part.shape[1:])) for part in parts]
            flat = [ops.reshape(part, [-1, n]) for part, n in zip(parts, sizes, strict=True)]
            c = ops.concatenate(flat, -1)
            params = params + ops.einsum("bk,kip->bip", c, self.condition_kernel)
        return ops.reshape(params, [-1, *self.event_shape, self.num_params])


def masked_linear_params(network, x, i) -> np.ndarray:
    """Formula of MaskedLinear without conditioning: parameters [B, num_params] of variable i."""
    kernel = network.kernel.numpy().astype(np.float64)
    before = network.true_order[: list(network.true_order).index(i)]
    x = np.reshape(x, [len(x), -1])
    return sum((x[:, [j]] * kernel[j, i] for j in before), np.zeros([len(x), network.num_params]))
