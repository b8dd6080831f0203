"""Keras layers that autoregressive networks are built from; they do not need TFP."""

from tfp_ar.layers import masks
from tfp_ar.layers.blind_spot_free_conv import BlindSpotFreeConv2D
from tfp_ar.layers.causal_conv import CausalConv1D
from tfp_ar.layers.channel_head import ChannelHead
from tfp_ar.layers.gated_pixel_block import GatedPixelBlock
from tfp_ar.layers.gated_residual_block import GatedResidualBlock
from tfp_ar.layers.masked_conv import MaskedConv2D
from tfp_ar.layers.masked_pixel_block import MaskedPixelBlock

__all__ = [
    "BlindSpotFreeConv2D",
    "CausalConv1D",
    "ChannelHead",
    "GatedPixelBlock",
    "GatedResidualBlock",
    "MaskedConv2D",
    "MaskedPixelBlock",
    "masks",
]
