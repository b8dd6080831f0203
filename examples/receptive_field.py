"""Draws the receptive fields of PixelCNNs: the classical one has a blind spot, the gated one none.

    python -m examples.receptive_field --output=receptive_field.png

The fields do not come from a formula: `tfp_ar.receptive_field` finds them by gradients of networks
with random weights. The program prints how many of the pixels before the position are seen.
"""

import pathlib

import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

import tfp_ar
from tfp_ar.layers.masks import causal_mask
from tfp_ar.networks import GatedPixelCNN, PixelCNN

IMAGE = 9, 15  # rows and columns
POSITION = 6, 4
BEFORE = int(np.ravel_multi_index(POSITION, IMAGE))  # pixels before it, in raster order
KERNEL_SIZE = 5
DEPTHS = 1, 2, 3, 5  # layers of the classical network; the gated one has as many as the last
FILTERS = 8
NUM_DRAWS = 4  # of random weights
DPI = 110

_OUTPUT = flags.DEFINE_string("output", "receptive_field.png", "PNG to write.")


def field_of(network_class, num_layers) -> np.ndarray:
    """Returns the receptive field of POSITION for a number of layers: bool [H, W]."""
    network = network_class(
        event_shape=[*IMAGE, 1], filters=FILTERS, num_layers=num_layers, kernel_size=KERNEL_SIZE
    )
    return tfp_ar.receptive_field(network, POSITION, num_draws=NUM_DRAWS)[:, :, 0]


def find_fields() -> dict:
    """Returns the fields by title."""
    fields = {
        f"PixelCNN, {depth} {'layer' if depth == 1 else 'layers'}": field_of(PixelCNN, depth)
        for depth in DEPTHS
    }
    depth = DEPTHS[-1]
    return {**fields, f"GatedPixelCNN, {depth} layers": field_of(GatedPixelCNN, depth)}


def draw(path, fields):
    """Writes the picture of the mask and all fields."""
    figure = Figure(figsize=(9.6, 5.0), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    first, *others = figure.subplots(2, 3).flat
    plot = tfp_ar.analysis.plot_receptive_field
    centre = KERNEL_SIZE // 2
    plot(causal_mask((KERNEL_SIZE,) * 2, "A")[:, :, 0, 0], (centre, centre), first)
    first.set_title(f"Mask of type A, {KERNEL_SIZE}x{KERNEL_SIZE}", weight="bold")
    rows, columns = (size / 2 for size in IMAGE)  # the mask's pixels as large as the others'
    first.set(xlim=(centre - columns, centre + columns), ylim=(centre + rows, centre - rows))
    for axis, (title, field) in zip(others, fields.items(), strict=True):
        plot(field, POSITION, axis)
        axis.set_title(title, weight="bold")
        axis.set_xlabel(f"sees {field.sum()} of the {BEFORE} pixels before it")
    handles = first.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only, got {argv[1:]}.")
    fields = find_fields()
    for title, field in fields.items():
        print(f"{title}: sees {field.sum()} of the {BEFORE} pixels before it")
    path = pathlib.Path(_OUTPUT.value)
    draw(path, fields)
    print(f"The picture is {path}")


if __name__ == "__main__":
    app.run(main)
