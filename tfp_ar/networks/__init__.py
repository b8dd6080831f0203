"""Autoregressive networks: Keras layers from x to parameters of each variable given its past."""

from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.flipped import Flipped
from tfp_ar.networks.gated_pixel_cnn import GatedPixelCNN
from tfp_ar.networks.pixel_cnn import PixelCNN
from tfp_ar.networks.wavenet import WaveNet

__all__ = ["AutoregressiveNetwork", "Flipped", "GatedPixelCNN", "PixelCNN", "WaveNet"]
