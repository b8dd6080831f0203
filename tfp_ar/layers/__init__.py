"""Keras layers that autoregressive networks are made of; they know nothing of TFP."""

from tfp_ar.layers.causal_conv import CausalConv1D
from tfp_ar.layers.channel_head import ChannelHead
from tfp_ar.layers.gated_residual_block import GatedResidualBlock

__all__ = ["CausalConv1D", "ChannelHead", "GatedResidualBlock"]
