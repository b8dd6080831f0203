import importlib.util
import sys

import numpy as np
import pytest
from matplotlib import colors, pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfp_ar.analysis import plot_receptive_field

# The colours as one sees them.
S, P, B, F = "blue", "black", "orange", "gray"
LABELS = {"seen": S, "the position": P, "past, not seen": B, "future": F}


def name(rgb):
    """What one would call the colour."""
    hue, saturation, value = colors.rgb_to_hsv(rgb)
    if saturation < 0.15:
        return P if value < 0.3 else F
    return S if 0.5 < hue < 0.7 else B if 0.03 < hue < 0.15 else "another"


def drawn(axis, shape, aside=0.0):
    """The names of the colours in the middle of each pixel [H, W] of the picture, or beside it."""
    canvas = FigureCanvasAgg(axis.figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255  # rows from below
    names = []
    for row in range(shape[0]):
        points = axis.transData.transform([(column + aside, row) for column in range(shape[1])])
        names.append([name(picture[int(y), int(x)]) for x, y in points])
    return names


def new_axis():
    return Figure(figsize=(3, 3)).subplots()


FIELD = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
EXPECTED = [[S, S, B, B], [S, F, F, F], [F, F, F, F]]
FRAMED = [[S, S, B, B], [S, P, F, F], [F, F, F, F]]  # left and right of the middle


def test_an_image():
    axis = new_axis()
    assert plot_receptive_field(FIELD, (1, 1), axis) is axis
    assert drawn(axis, (3, 4)) == EXPECTED
    for aside in (-0.38, 0.38):
        assert drawn(axis, (3, 4), aside) == FRAMED
    (left, top), (right, bottom) = axis.transData.transform([(0, 0), (3, 2)])
    assert left < right and bottom < top  # y goes up in a picture


@pytest.mark.parametrize("position", [(1, 1), (1, 1, 0), (1, 1, 1)])
def test_any_channel_of_a_pixel(position):
    field = np.stack([FIELD, np.zeros_like(FIELD)], -1)
    field[0, 2, 1] = True
    field[1, 1, 0] = True  # an earlier channel of the pixel itself
    axis = plot_receptive_field(field, position, new_axis())
    assert drawn(axis, (3, 4), 0.38) == [[S, S, S, B], *FRAMED[1:]]
    assert drawn(axis, (3, 4)) == [[S, S, S, B], [S, S, F, F], EXPECTED[2]]


def test_a_position_that_is_seen():
    field = FIELD.copy()
    field[1, 1] = True
    axis = plot_receptive_field(field, (1, 1), new_axis())
    assert drawn(axis, (3, 4)) == [EXPECTED[0], [S, S, F, F], EXPECTED[2]]
    assert drawn(axis, (3, 4), 0.38) == FRAMED


@pytest.mark.parametrize("position", [3, (3,)])
def test_a_sequence(position):
    axis = plot_receptive_field(np.array([0, 1, 1, 0, 0, 0], bool), position, new_axis())
    assert drawn(axis, (1, 6), 0.38) == [[B, S, S, P, F, F]]


def test_a_future_that_is_seen():
    axis = plot_receptive_field(np.ones([2, 2], bool), (0, 1), new_axis())
    assert drawn(axis, (2, 2), 0.38) == [[S, P], [S, S]]


def test_a_large_image():
    field = np.zeros([70, 70], bool)
    field[:35] = True
    axis = plot_receptive_field(field, (35, 0), new_axis())
    names = drawn(axis, (70, 70))
    assert names[:35] == [[S] * 70] * 35 and names[36:] == [[F] * 70] * 34
    assert names[35][1:] == [F] * 69


def test_a_new_figure_where_no_axis_is_given():
    try:
        axis = plot_receptive_field(FIELD, (1, 1))
        assert axis.figure is pyplot.gcf()
    finally:
        pyplot.close("all")


def test_labels_explain_the_colours():
    handles, labels = plot_receptive_field(FIELD, (1, 1), new_axis()).get_legend_handles_labels()
    shown = [name(handle.get_edgecolor()[0, :3]) for handle in handles]
    assert dict(zip(labels, shown, strict=True)) == LABELS
    inside = [name(handle.get_facecolor()[0, :3]) for handle in handles]
    assert inside == [F if label == "the position" else LABELS[label] for label in labels]


def test_errors():
    with pytest.raises(ValueError, match=r"field: expected \[L\], \[H, W\] or \[H, W, C\], got"):
        plot_receptive_field(np.ones([1, 1, 1, 1]), (0, 0))
    with pytest.raises(ValueError, match=r"position: expected indices within shape \[3, 4\], got"):
        plot_receptive_field(FIELD, (3, 0))
    with pytest.raises(ValueError, match="position: expected at most 2 indices"):
        plot_receptive_field(FIELD, (1, 1, 0))
    with pytest.raises(ValueError, match=r"position: expected the index of a pixel of \[3, 4\]"):
        plot_receptive_field(FIELD, 1)


def test_without_matplotlib(monkeypatch):
    for module in [m for m in sys.modules if m.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    # A fresh copy of the module: importing it takes no Matplotlib.
    spec = importlib.util.find_spec("tfp_ar.analysis.plot_receptive_field")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ImportError, match="plot_receptive_field needs Matplotlib.*pip install"):
        module.plot_receptive_field(FIELD, (1, 1))
