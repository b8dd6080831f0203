"""Every layer with several sets of options, by name; the tests of this folder run over `LAYERS`.

To test a new layer, append a line with its class, the arguments of its constructor, and the shape
of each input of its call. Its invalid arguments go to the tables of test_arguments.py.
"""

import dataclasses
import inspect

import keras
import pytest

from tests import helpers
from tfp_ar.layers import (
    BlindSpotFreeConv2D,
    CausalConv1D,
    ChannelHead,
    GatedPixelBlock,
    GatedResidualBlock,
    MaskedConv2D,
    MaskedPixelBlock,
)


@dataclasses.dataclass(frozen=True, eq=False)
class LayerEntry:
    """A layer to test.

    Attributes:
      layer: the class.
      options: what its constructor is given; values other than the defaults.
      inputs: the shapes of its inputs, the batch first, by the names of the call's arguments.
    """

    layer: type
    options: dict
    inputs: dict

    def make(self, **kwargs):
        """A new layer."""
        return self.layer(**{**self.options, **kwargs})

    @property
    def drops(self) -> bool:
        """Whether there is dropout."""
        return bool(self.options.get("dropout"))

    @property
    def position_dims(self) -> int:
        """The number of dimensions between batch and channels."""
        return len(next(iter(self.inputs.values()))) - 2

    def values(self, dtype="float32") -> dict:
        """Random inputs, by name."""
        return {n: helpers.normal(s, dtype, k) for k, (n, s) in enumerate(self.inputs.items())}

    def shapes(self, change=lambda shape: shape) -> dict:
        """The arguments of the methods that take shapes, each changed."""
        shapes = {f"{name}_shape": change(shape) for name, shape in self.inputs.items()}
        if "input_shape" in inspect.signature(self.layer.build).parameters:
            return dict(zip(["input_shape"], shapes.values(), strict=True))
        return shapes

    def built(self, **kwargs):
        """A new layer with its weights."""
        layer = self.make(**kwargs)
        layer.build(**self.shapes())
        return layer

    def random(self, scale=0.5, **kwargs):
        """A layer with random weights, the same numbers for each dtype."""
        return helpers.randomize(self.built(**kwargs), scale)

    def __str__(self):
        options = [f"{k}={v}" for k, v in self.options.items() if isinstance(v, (int, float, str))]
        return "-".join([self.layer.__name__, *options, *list(self.inputs)[1:]])


_IMAGE = (2, 3, 4)
_GLOBAL = {"global_condition": (2, 5)}
_STEPS = {"local_condition": (2, 6, 2)}
_PIXELS = {"local_condition": (*_IMAGE, 2)}
_DROPPING = {"dropout": 0.4, "seed": 3}
_INITIALIZERS = {
    "kernel_initializer": keras.initializers.RandomNormal(stddev=0.1, seed=1),
    "bias_initializer": keras.initializers.Ones(),
    "kernel_regularizer": keras.regularizers.L1(0.5),
}
_SEQUENCE = {"x": (2, 6, 3)}
_MAPS = {"v": (*_IMAGE, 6), "h": (*_IMAGE, 6)}
_RESIDUAL = {"filters": 4, "skip_filters": 3}
_PIXEL = {"filters": 6, "skip_filters": 3}

LAYERS = [
    LayerEntry(CausalConv1D, {"filters": 4, "kernel_size": 2}, _SEQUENCE),
    LayerEntry(
        CausalConv1D,
        {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "exclusive": True, "use_bias": False},
        _SEQUENCE,
    ),
    LayerEntry(CausalConv1D, {"filters": 4, "kernel_size": 2, **_INITIALIZERS}, _SEQUENCE),
    LayerEntry(
        MaskedConv2D,
        {"filters": 6, "kernel_size": (3, 5), "mask_type": "A", "channel_groups": 3},
        {"inputs": (*_IMAGE, 3)},
    ),
    LayerEntry(
        MaskedConv2D,
        {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "activation": "tanh"},
        {"inputs": (*_IMAGE, 2)},
    ),
    LayerEntry(
        MaskedConv2D,
        {
            "filters": 4,
            "kernel_size": 3,
            "padding": "valid",
            "kernel_constraint": keras.constraints.NonNeg(),
            **_INITIALIZERS,
        },
        {"inputs": (*_IMAGE, 2)},
    ),
    LayerEntry(
        BlindSpotFreeConv2D,
        {"filters": 3, "kernel_size": (3, 5), "mask_type": "A", "channel_groups": 3},
        {"v": (*_IMAGE, 2), "h": (*_IMAGE, 3)},
    ),
    LayerEntry(
        BlindSpotFreeConv2D,
        {"filters": 6, "kernel_size": 3, "dilation_rate": 2, "use_bias": False},
        _MAPS,
    ),
    LayerEntry(BlindSpotFreeConv2D, {"filters": 6, "kernel_size": 3, **_INITIALIZERS}, _MAPS),
    LayerEntry(
        ChannelHead,
        {"num_params": 2, "hidden_channels": 7},
        {"features": (2, 6, 4), "x": (2, 6, 1)},
    ),
    LayerEntry(
        ChannelHead,
        {
            "num_params": 3,
            "hidden_channels": 5,
            "output_initializer": _INITIALIZERS["kernel_initializer"],
        },
        {"features": (2, 6, 4), "x": (2, 6, 3)},
    ),
    LayerEntry(
        GatedResidualBlock,
        {**_RESIDUAL, "kernel_size": 3, "dilation_rate": 2, **_DROPPING},
        {"h": (2, 6, 4)},
    ),
    LayerEntry(GatedResidualBlock, _RESIDUAL, {"h": (2, 6, 4), **_GLOBAL}),
    LayerEntry(GatedResidualBlock, {**_RESIDUAL, "residual": False}, {"h": (2, 6, 4), **_STEPS}),
    LayerEntry(GatedResidualBlock, _RESIDUAL, {"h": (2, 6, 4), **_GLOBAL, **_STEPS}),
    LayerEntry(
        MaskedPixelBlock,
        {"filters": 4, "kernel_size": (3, 5), "mask_type": "A"},
        {"h": (*_IMAGE, 3)},
    ),
    LayerEntry(
        MaskedPixelBlock, {"filters": 4, "dilation_rate": 2, **_DROPPING}, {"h": (*_IMAGE, 4)}
    ),
    LayerEntry(MaskedPixelBlock, {"filters": 4}, {"h": (*_IMAGE, 4), **_GLOBAL, **_PIXELS}),
    LayerEntry(
        GatedPixelBlock, {**_PIXEL, "kernel_size": (3, 5), "mask_type": "A", **_DROPPING}, _MAPS
    ),
    LayerEntry(
        GatedPixelBlock,
        {**_PIXEL, "channel_groups": 3, "dilation_rate": 2},
        {**_MAPS, **_GLOBAL, **_PIXELS},
    ),
    LayerEntry(GatedPixelBlock, {**_PIXEL, "residual": False}, {**_MAPS, **_GLOBAL, **_PIXELS}),
]
CONDITIONED = [entry for entry in LAYERS if "global_condition" in entry.inputs]


def each(entries=LAYERS):
    """Parametrizes over entries."""
    return pytest.mark.parametrize("entry", entries, ids=str)


def parts(outputs) -> list:
    """What a layer gives, as a list."""
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
