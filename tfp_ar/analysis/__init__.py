"""What a network really depends on."""

from tfp_ar.analysis.assert_autoregressive import assert_autoregressive

__all__ = ["assert_autoregressive"]
