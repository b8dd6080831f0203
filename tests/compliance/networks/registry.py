"""Small networks of every kind, by name; the tests of this folder run over `NETWORKS`.

To test a new network, append a line: `small(name, network, event_shape, ...)` to `OURS`, or
for any other class an `Entry` to `TOYS`. The affine flow on it is then tested automatically: see
tests/compliance/bijectors/registry.py.
"""

import functools

from tests import helpers
from tests.compliance.entries import Entry
from tests.networks.examples import WAVENETS, lively, wavenet
from tests.networks.pixel_examples import NETWORKS as PIXEL_NETWORKS
from tests.networks.pixel_examples import PIXELS, pixel_network
from tests.toys import LazyReversed, MaskedPairs, Shuffled
from tfp_ar.networks import Flipped, GatedPixelCNN, PixelCNN, WaveNet
from tfp_ar.networks.layer_network import as_network

SIZES = {
    WaveNet: {"residual_channels": 3, "skip_channels": 6, "dilations": [2, 1]},
    PixelCNN: {"filters": 4, "num_layers": 2},
    GatedPixelCNN: {"filters": 4, "num_layers": 2},
}


def small(
    name,
    network,
    event_shape,
    conditional_shape=None,
    sees_all=True,
    slow=True,
    flip=None,
    **kwargs,
):
    """The entry of a network of the library, with `flip` in another direction."""

    def make(dtype):
        settings = {**SIZES[network], "conditional_shape": conditional_shape, **kwargs}
        made = network(event_shape, dtype=dtype, **settings)
        return made if flip is None else Flipped(made, flip)

    return Entry(name, make, event_shape, conditional_shape, sees_all, slow)


_STEPS = {"global": (2,), "local": (3, 2)}
_PIXELS = {"global": (2,), "local": (2, 2, 2)}
_DROPPING = {"dropout": 0.5, "seed": 3}
_LEARNED = {"position_encoding": "learned"}

# What the library is about, in all its parts; flows on them are in the quick tier as well.
FLAGSHIPS = [
    small("wavenet", WaveNet, (3, 2), _STEPS, slow=False, dilations=[1], **_LEARNED, **_DROPPING),
    # In an image of one row or column a kernel of its layers would see nothing.
    small("gated_pixel_cnn", GatedPixelCNN, (2, 2, 2), _PIXELS, slow=False, **_DROPPING),
]
OURS = [
    *FLAGSHIPS,
    small("wavenet_plain", WaveNet, (5,), dilations=None),
    small("wavenet_short_reach", WaveNet, (6,), sees_all=False, dilations=[1]),
    small("wavenet_one_step", WaveNet, (1,), slow=False, dilations=[1]),
    small("wavenet_kernel_1", WaveNet, (3, 2), sees_all=False, dilations=[1], kernel_size=1),
    small("wavenet_kernel_3", WaveNet, (6,), kernel_size=3, **_LEARNED),
    small("wavenet_global", WaveNet, (4,), (2,), position_encoding="sinusoidal"),
    small("wavenet_local", WaveNet, (3,), (3, 2), **_DROPPING),
    small("pixel_cnn", PixelCNN, (2, 3, 1), sees_all=False, slow=False),
    small("pixel_cnn_channels", PixelCNN, (1, 2, 3), num_layers=1),
    small("pixel_cnn_both", PixelCNN, (2, 2, 1), _PIXELS, **_DROPPING),
    small("gated_pixel_cnn_plain", GatedPixelCNN, (2, 3, 1), num_layers=3),
    small("flipped_wavenet", WaveNet, (3, 2), _STEPS, flip=[0, 1], dilations=[1]),
    small("flipped_gated_pixel_cnn", GatedPixelCNN, (2, 2, 1), _PIXELS, flip=[1]),
]


def lazy(event_shape=(4,), **kwargs):
    """A function dtype -> LazyReversed, not yet built; quicker to trace than ours."""
    return lambda dtype: LazyReversed(event_shape, dtype=dtype, **kwargs)


TOYS = [
    Entry("lazy_reversed", lazy(conditional_shape=[2]), (4,), (2,), slow=True),
    Entry("shuffled", lambda dtype: Shuffled(dtype=dtype), (2, 3), slow=True),
    Entry("keras_layer", lambda dtype: as_network(MaskedPairs([5], dtype=dtype), [5]), (5,)),
]
NETWORKS = OURS + TOYS


def _option(name, make, kwargs):
    shape = kwargs["event_shape"], kwargs.get("conditional_shape")
    return Entry(name, lambda dtype: make(dtype=dtype), *shape, slow=True)


# Every option of ours, alone and with others; larger than what is above, for tests of generation.
OPTIONS = [
    _option(f"wavenet_option_{kind}", functools.partial(wavenet, kind), kwargs)
    for kind, kwargs in WAVENETS.items()
] + [
    _option(f"{network}_option_{kind}", functools.partial(pixel_network, network, kind), kwargs)
    for network in PIXEL_NETWORKS
    for kind, kwargs in PIXELS.items()
]


def named(*names):
    """The entries of these names."""
    entries = {entry.name: entry for entry in NETWORKS + OPTIONS}
    return [entries[name] for name in names]


def built(network):
    """The network with all its variables: ours have them when they are made."""
    if not network.built:
        network.build((None, *network.event_shape))
    return network


@functools.cache
def shared_network(entry, dtype="float64"):
    """A network with random weights: the same numbers for each dtype."""
    return lively(built(entry.make(dtype)), seed=11)


def inputs(entry, batch, dtype="float64", seed=0):
    """(x, kwargs) of leading shape `batch`."""
    x = helpers.normal([*batch, *entry.event_shape], dtype, (seed, 9))
    return x, entry.conditioning(batch, dtype, seed)
