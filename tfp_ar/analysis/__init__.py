"""What a network really depends on."""

from tfp_ar.analysis.assert_autoregressive import assert_autoregressive
from tfp_ar.analysis.plot_receptive_field import plot_receptive_field
from tfp_ar.analysis.receptive_field import receptive_field

__all__ = ["assert_autoregressive", "plot_receptive_field", "receptive_field"]
