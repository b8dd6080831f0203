"""Invalid arguments of the layers' constructors and calls."""

import re

import keras
import pytest
import tensorflow as tf

from tests.compliance.layers.registry import CONDITIONED, each
from tfp_ar.layers import (
    BlindSpotFreeConv2D,
    CausalConv1D,
    ChannelHead,
    GatedPixelBlock,
    GatedResidualBlock,
    MaskedConv2D,
    MaskedPixelBlock,
)

# Arguments that are right.
RIGHT = {
    CausalConv1D: {"filters": 2, "kernel_size": 2},
    MaskedConv2D: {"filters": 6, "kernel_size": 3},
    BlindSpotFreeConv2D: {"filters": 6, "kernel_size": 3},
    ChannelHead: {"num_params": 2, "hidden_channels": 2},
    GatedResidualBlock: {"filters": 2, "skip_filters": 2},
    MaskedPixelBlock: {"filters": 4},
    GatedPixelBlock: {"filters": 6, "skip_filters": 4},
}
SIZES = [
    *((CausalConv1D, name) for name in ("filters", "kernel_size", "dilation_rate")),
    *((MaskedConv2D, name) for name in ("filters", "kernel_size", "channel_groups")),
    *((BlindSpotFreeConv2D, n) for n in ("filters", "kernel_size", "channel_groups")),
    (BlindSpotFreeConv2D, "dilation_rate"),
    *((ChannelHead, name) for name in ("num_params", "hidden_channels")),
    *((GatedResidualBlock, name) for name in ("filters", "skip_filters", "kernel_size")),
    (GatedResidualBlock, "dilation_rate"),
    *((MaskedPixelBlock, name) for name in ("filters", "kernel_size", "dilation_rate")),
    *((GatedPixelBlock, name) for name in ("filters", "skip_filters", "channel_groups")),
    *((GatedPixelBlock, name) for name in ("kernel_size", "dilation_rate")),
]
PIXEL_LAYERS = [MaskedConv2D, BlindSpotFreeConv2D, MaskedPixelBlock, GatedPixelBlock]
BLOCKS = [GatedResidualBlock, MaskedPixelBlock, GatedPixelBlock]

WRONG = [
    *(
        (layer, {name: 0}, ValueError, f"{name}: expected a positive .*, got 0")
        for layer, name in SIZES
    ),
    *(
        (layer, {name: value}, TypeError, f"{name}: expected a positive integer, got {value!r}")
        for layer, name in SIZES
        for value in (2.5, True, "2")
        if (name, value) != ("kernel_size", "2")
    ),
    *(
        (
            layer,
            {"kernel_size": k},
            ValueError,
            f"kernel_size: expected an odd .*{re.escape(str(k))}",
        )
        for layer in PIXEL_LAYERS
        for k in (2, (3, 4))
    ),
    *(
        (layer, {"mask_type": "C"}, ValueError, "mask_type: expected one of 'A', 'B', got 'C'")
        for layer in PIXEL_LAYERS
    ),
    *(
        (layer, {"channel_groups": 4}, ValueError, "filters: .*multiple of channel_groups=4, got 6")
        for layer in (MaskedConv2D, BlindSpotFreeConv2D, GatedPixelBlock)
    ),
    (  # The 12 halves of a gate would divide by 4.
        GatedPixelBlock,
        {"filters": 8, "skip_filters": 6, "channel_groups": 4},
        ValueError,
        "skip_filters: .*multiple of channel_groups=4, got 6",
    ),
    (MaskedConv2D, {"strides": (1, 2)}, ValueError, r"strides: expected 1, got \(1, 2\)"),
    (MaskedConv2D, {"strides": 2}, ValueError, "strides: expected 1, got 2"),
    (MaskedConv2D, {"groups": 2}, ValueError, "groups: expected 1, got 2"),
    *(
        (layer, {"dilation_rate": (1, 2)}, TypeError, r"dilation_rate: expected a .*got \(1, 2\)")
        for layer in (BlindSpotFreeConv2D, MaskedPixelBlock, GatedPixelBlock)
    ),
    *(
        (
            layer,
            {"mask_type": "A", "kernel_size": (3, 1)},
            ValueError,
            "at least 3 with mask_type 'A'",
        )
        for layer in (BlindSpotFreeConv2D, GatedPixelBlock)
    ),
    *(
        (layer, {"mask_type": "A", "dilation_rate": 2}, ValueError, "1 with mask_type 'A', .*got 2")
        for layer in (BlindSpotFreeConv2D, GatedPixelBlock)
    ),
    *(
        (block, {"dropout": rate}, error, r"dropout: expected a number in \[0, 1\), got")
        for block in BLOCKS
        for rate, error in [(1.0, ValueError), (-0.1, ValueError), (float("nan"), ValueError)]
        + [("a", TypeError)]
    ),
    *(
        (block, {"seed": seed}, TypeError, f"seed: expected an integer or None, got {seed!r}")
        for block in BLOCKS
        for seed in (1.5, "a", True)
    ),
]


@pytest.mark.parametrize("layer, options, error, message", WRONG)
def test_constructors(layer, options, error, message):
    with pytest.raises(error, match=message):
        layer(**{**RIGHT[layer], **options})


IMAGE = (2, 3, 4)
WRONG_SHAPES = [
    (CausalConv1D, {}, [(3,)], r"x: expected shape \[..., L, channels\], got \[3\]"),
    (CausalConv1D, {}, [(2, 5, None)], r"x: expected shape \[..., L, channels\], got \[2, 5, None"),
    *(
        (MaskedConv2D, {"channel_groups": 3}, [(*IMAGE, c)], f"channels of x: .*groups=3, got {c}")
        for c in (4, None)
    ),
    (
        BlindSpotFreeConv2D,
        {"channel_groups": 3},
        [(*IMAGE, 3), (*IMAGE, 4)],
        "channels of h: .*multiple of channel_groups=3, got 4",
    ),
    (MaskedPixelBlock, {}, [(*IMAGE, 3)], "h: expected 4 channels, as the block adds to it, got 3"),
    (
        GatedPixelBlock,
        {},
        [(*IMAGE, 6), (*IMAGE, 3)],
        "h: expected 6 channels, as the block adds to it, got 3",
    ),
]


@pytest.mark.parametrize("layer, options, shapes, message", WRONG_SHAPES)
def test_shapes_to_build_for(layer, options, shapes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        layer(**{**RIGHT[layer], **options}).build(*shapes)


def test_a_block_without_residual_takes_maps_of_any_channels():
    GatedPixelBlock(4, 2, residual=False).build((*IMAGE, 4), (*IMAGE, 3))


@pytest.mark.parametrize(
    "place, wrong",
    [
        (0, (1, 3, 4, 3)),
        (1, (2, 1, 4, 3)),
        (1, (2, 3, 1, 3)),
        (0, (3, 4, 3)),
        (1, (1, 2, 3, 4, 3)),
    ],
)
def test_maps_that_differ(place, wrong):
    shapes = [(*IMAGE, 3), (*IMAGE, 3)]
    conv = BlindSpotFreeConv2D(3, 3)
    conv.build(*shapes)
    shapes[place] = wrong
    shown = " and ".join(str(list(shape)) for shape in shapes)
    message = "v, h: expected two maps of one batch, height and width [B, H, W, C], got " + shown
    for call in (conv, BlindSpotFreeConv2D(3, 3)):
        with pytest.raises(ValueError, match=re.escape(message)):
            call(*(tf.ones(shape) for shape in shapes))
    with pytest.raises(ValueError, match=re.escape(message)):
        conv.compute_output_shape(*shapes)


def test_maps_that_differ_in_a_model():
    with pytest.raises(
        ValueError, match=r"v, h: expected .* got \[None, 4, 5, 3\] and \[None, 4, 1"
    ):
        BlindSpotFreeConv2D(3, 3)(keras.Input([4, 5, 3]), keras.Input([4, 1, 3]))


@each(CONDITIONED)
def test_conditioning_that_the_block_was_not_built_for(entry):
    values = entry.values()
    given = {name: values.pop(name) for name in list(values) if "condition" in name}
    block = entry.make()
    block(**values)
    for name, value in given.items():
        shape = re.escape(str(list(value.shape)))
        message = f"{name}: expected None, as the block was built without it, got .*{shape}"
        with pytest.raises(ValueError, match=message):
            block(**values, **{name: value})


@each(CONDITIONED)
def test_conditioning_that_is_left_out(entry):
    values, block = entry.values(), entry.make()
    block(**values)
    for name in [name for name in values if "condition" in name]:
        size = values[name].shape[-1]
        rest = {other: value for other, value in values.items() if other != name}
        with pytest.raises(
            ValueError, match=rf"{name}: expected a tensor \[\.\.\., {size}\], .*None"
        ):
            block(**rest)
