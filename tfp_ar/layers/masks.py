"""Masks of autoregressive convolutions, all made by one rule on raster ranks.

An output may see an input that comes before it (type A), or that comes before it or is at it
(type B):

    mask[input, output] = rank(input) < rank(output)         'A'
    mask[input, output] = rank(input) <= rank(output)        'B'

Ranks follow raster order: rows, then columns, then groups of channels. Relative to a pixel, the
taps of a kernel have ranks below, at and above 0. All functions are pure: they take integers and
return NumPy arrays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfp_ar.internal import checks

__all__ = [
    "allowed",
    "causal_mask",
    "columns_before",
    "group_ranks",
    "rows_above",
    "tap_ranks",
]

MASK_TYPES = ("A", "B")


def tap_ranks(kernel_size: Sequence[int]) -> np.ndarray:
    """Returns raster ranks of a kernel's taps, int [kh, kw]: 0 at the centre, negative before.

    >>> print(tfp_ar.layers.masks.tap_ranks((3, 3)))
    [[-4 -3 -2]
     [-1  0  1]
     [ 2  3  4]]
    """
    height, width = kernel_size
    rows = np.arange(height) - height // 2
    columns = np.arange(width) - width // 2
    # No column is as far from the centre as `width`, so rows count first.
    return rows[:, np.newaxis] * width + columns[np.newaxis]


def group_ranks(channels: int, groups: int) -> np.ndarray:
    """Returns the group of each channel, int [channels]: `groups` contiguous ones of equal size.

    >>> print(tfp_ar.layers.masks.group_ranks(6, 3))
    [0 0 1 1 2 2]
    """
    return np.arange(channels) * groups // channels


def allowed(inputs: Any, outputs: Any, mask_type: str) -> np.ndarray:
    """Applies the rule to ranks that broadcast, `inputs` and `outputs`; returns a bool array.

    >>> print(tfp_ar.layers.masks.allowed(np.array([-1, 0, 1]), 0, "B"))
    [ True  True False]
    """
    checks.one_of("mask_type", mask_type, MASK_TYPES)
    return inputs < outputs if mask_type == "A" else inputs <= outputs


def causal_mask(
    kernel_size: Sequence[int],
    mask_type: str,
    in_channels: int = 1,
    out_channels: int = 1,
    channel_groups: int = 1,
) -> np.ndarray:
    """Returns the mask of a PixelCNN's kernel, bool [kh, kw, in_channels, out_channels].

    Args:
      kernel_size: the pair (kh, kw), both odd.
      mask_type: 'A' (the first layer, which does not see the pixel itself) or 'B'.
      in_channels: channels of the input, divisible by `channel_groups`.
      out_channels: channels of the output, likewise.
      channel_groups: number of groups of channels, in order; within a pixel a group sees the groups
        before it and, with type B, itself.

    References:
      A. van den Oord et al., Pixel recurrent neural networks, arXiv:1601.06759, 2016, section 3.4.

    >>> print(tfp_ar.layers.masks.causal_mask((5, 5), "A")[:, :, 0, 0].astype(int))
    [[1 1 1 1 1]
     [1 1 1 1 1]
     [1 1 0 0 0]
     [0 0 0 0 0]
     [0 0 0 0 0]]
    """
    taps = tap_ranks(kernel_size)[:, :, np.newaxis, np.newaxis]
    inputs = group_ranks(in_channels, channel_groups)[:, np.newaxis]
    outputs = group_ranks(out_channels, channel_groups)
    return allowed(taps * channel_groups + inputs, outputs, mask_type)


def rows_above(kernel_size: int, mask_type: str) -> np.ndarray:
    """Returns the offsets of the rows that a vertical stack sees: ..., -1 and, for type B, 0.

    >>> print(tfp_ar.layers.masks.rows_above(5, "A"))
    [-2 -1]
    """
    offsets = np.arange(kernel_size) - kernel_size // 2
    return offsets[allowed(offsets, 0, mask_type)]


def columns_before(kernel_size: int, mask_type: str) -> np.ndarray:
    """Returns the offsets of the columns that a horizontal stack sees, by the same rule.

    >>> print(tfp_ar.layers.masks.columns_before(5, "B"))
    [-2 -1  0]
    """
    return rows_above(kernel_size, mask_type)
