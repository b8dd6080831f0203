"""Analysis of a network's real dependences, and of the gap that a bound leaves."""

from tfp_ar.analysis.assert_autoregressive import assert_autoregressive
from tfp_ar.analysis.dequantization_gap import DequantizationGap, dequantization_gap
from tfp_ar.analysis.plot_receptive_field import plot_receptive_field
from tfp_ar.analysis.receptive_field import receptive_field

__all__ = [
    "DequantizationGap",
    "assert_autoregressive",
    "dequantization_gap",
    "plot_receptive_field",
    "receptive_field",
]
