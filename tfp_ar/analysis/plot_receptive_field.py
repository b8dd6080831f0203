"""A plot of the inputs that an output depends on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfp_ar.analysis.probes import as_position

# Label and colour of each kind of pixel. The colours differ in lightness, for print in grey.
POSITION = "the position"
KINDS = {
    "seen": "#3a74b4",
    POSITION: "#1b1b1b",
    "past, not seen": "#f5a33c",
    "future": "#ececec",
}
SEEN, _, BLIND, FUTURE = range(len(KINDS))
_FRAME = 0.2  # width of the position's frame, in pixels
_MOST_WITH_LINES = 64  # with more pixels per side, the lines would hide much


def plot_receptive_field(field: Any, position: int | Sequence[int], axis: Any = None) -> Any:
    """Draws a receptive field: seen pixels, the position, and the past and future not seen.

    The past is what comes before the position in raster order. The position has a dark frame. If
    the position itself is seen, the inside of the frame has the colour of seen pixels: a leak,
    unless the position has several channels. Each colour has a label: `axis.legend()`, or
    `figure.legend(*axis.get_legend_handles_labels())`, explains the colours.

    Args:
      field: the result of `receptive_field`, [L], [H, W] or [H, W, C]; a pixel is drawn as seen if
        any of its channels is. A sequence is drawn as a row.
      position: the position of that field, an index or a sequence of indices; the channel is
        ignored.
      axis: a Matplotlib `Axes`. Default None: that of a new figure.

    Returns: the `Axes`.

    Raises:
      ImportError: if Matplotlib is not installed.
      TypeError, ValueError: if `field` has another number of dimensions, or `position` is not
        one of its pixels.

    >>> field = receptive_field(MaskedConv2D(1, 3, "A"), (2, 2), input_shape=[4, 5, 1])
    >>> axis = plot_receptive_field(field, (2, 2))
    >>> axis.get_legend_handles_labels()[1]
    ['seen', 'the position', 'past, not seen', 'future']
    """
    try:
        import matplotlib.colors
        import matplotlib.patches
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "plot_receptive_field needs Matplotlib, which tfp_ar does not install: pip install "
            "matplotlib"
        ) from error
    kinds, (row, column) = _kinds(field, position)
    if axis is None:
        axis = plt.subplots(layout="constrained")[1]
    for label, color in KINDS.items():  # without points: entries of a legend
        face = KINDS["future"] if label == POSITION else color
        axis.scatter(
            [], [], s=70, marker="s", facecolor=face, edgecolor=color, linewidth=2, label=label
        )
    height, width = kinds.shape
    axis.imshow(
        kinds,
        cmap=matplotlib.colors.ListedColormap(list(KINDS.values())),
        vmin=-0.5,
        vmax=len(KINDS) - 0.5,
        interpolation="nearest",
    )
    # The frame is two rectangles: a line would be too wide where pixels are small.
    inside = list(KINDS.values())[kinds[row, column]]
    for side, color in (1, KINDS[POSITION]), (1 - 2 * _FRAME, inside):
        corner = column - side / 2, row - side / 2
        axis.add_patch(matplotlib.patches.Rectangle(corner, side, side, color=color, linewidth=0))
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    if max(height, width) <= _MOST_WITH_LINES:
        axis.vlines(np.arange(width + 1) - 0.5, -0.5, height - 0.5, color="white", linewidth=1)
        axis.hlines(np.arange(height + 1) - 0.5, -0.5, width - 0.5, color="white", linewidth=1)
    return axis


def _kinds(field, position) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns the kind of each pixel, int [H, W], and the row and column of the position."""
    field = np.asarray(field, bool)
    if field.ndim not in (1, 2, 3):
        raise ValueError(f"field: expected [L], [H, W] or [H, W, C], got shape {[*field.shape]}.")
    position = as_position(position, field.shape)[:2]
    shape = [*field.shape]
    if field.ndim == 3:
        field = field.any(axis=-1)
    if len(position) < field.ndim:
        raise ValueError(
            f"position: expected the index of a pixel of {shape}, got {list(position)}."
        )
    rank = np.arange(field.size).reshape(field.shape)  # in raster order
    kinds = np.where(field, SEEN, np.where(rank < rank[position], BLIND, FUTURE))
    return np.atleast_2d(kinds), (0, *position)[-2:]
