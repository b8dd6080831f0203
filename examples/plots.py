"""The example's pictures."""

import matplotlib

matplotlib.use("Agg")  # no window: the pictures go to files

import matplotlib.pyplot as plt
import numpy as np

from examples.data import DIGIT_SIDE

DPI = 110
GRID = 8  # at most 8 rows and columns of digits, or a column a class
LINE = 0.2  # the gray of the lines between them
WAVES = 6


def plot_samples(path, data, test, samples):
    """Test examples beside samples, as images or as waves.

    Args:
      path: of the PNG to write.
      data: the Dataset.
      test: integers [n, d]; of images with classes, those of class 0, 1, ... in turn.
      samples: integers [m, d] drawn from the model, likewise. The picture shows them clipped to the
        data's range.
    """
    samples = np.clip(samples, data.low, data.high)
    count = min(len(test), len(samples))
    if data.sample_rate is not None:
        count = min(WAVES, count)
        spread = np.linspace(0, len(test) - 1, count).astype(int)  # of different files
        plot_waves(path, test[spread], samples[:count], data.sample_rate)
        return
    columns = data.num_classes or min(GRID, int(np.sqrt(count)))
    rows = min(GRID, count // columns)
    shown = rows * columns
    plot_digits(path, test[:shown], samples[:shown], columns, DIGIT_SIDE, data.high)


def plot_digits(path, data, samples, columns, side, highest):
    """Real images beside drawn ones, in two grids.

    Args:
      path: of the PNG to write.
      data: integers [n, side * side], n a multiple of `columns`.
      samples: likewise, drawn from the model.
      columns: images a row.
      side: height and width of an image.
      highest: the level that is drawn black.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.8), layout="constrained")
    for axis, images, title in zip(axes, (data, samples), ("Test data", "Samples"), strict=True):
        axis.imshow(
            _grid(images, columns, side, LINE * highest), cmap="gray_r", vmin=0, vmax=highest
        )
        axis.set_title(title)
        axis.set_axis_off()
    _save(figure, path)


def _grid(images, columns, side, line):
    """Images [n, side * side] as one picture, with lines of level `line` around each."""
    rows = len(images) // columns
    right_and_below = [(0, 0), (0, 0), (0, 1), (0, 1)]
    images = images.reshape([rows, columns, side, side])
    images = np.pad(images, right_and_below, constant_values=line)
    picture = images.transpose([0, 2, 1, 3]).reshape([rows * (side + 1), columns * (side + 1)])
    return np.pad(picture, [(1, 0), (1, 0)], constant_values=line)


def plot_waves(path, data, samples, sample_rate):
    """Real waveforms [n, d] beside drawn ones, all on one scale."""
    count = len(data)
    figure, axes = plt.subplots(
        count, 2, figsize=(9, 1.1 * count + 1), sharex=True, sharey=True, layout="constrained"
    )
    milliseconds = 1e3 * np.arange(data.shape[1]) / sample_rate
    for column, (waves, title) in enumerate(((data, "Test data"), (samples, "Samples"))):
        for axis, wave in zip(axes[:, column], waves, strict=True):
            axis.plot(milliseconds, wave, linewidth=0.7)
        axes[0, column].set_title(title)
        axes[-1, column].set_xlabel("milliseconds")
    _save(figure, path)


def plot_loss(path, curve, baselines):
    """Bits a dimension in training and validation against the step.

    Args:
      path: of the PNG to write.
      curve: dict of lists 'step', 'train' and 'validation'.
      baselines: dict of name -> bits a dimension, drawn as horizontal lines.
    """
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    axis.plot(curve["step"], curve["train"], label="training", color="tab:gray")
    axis.plot(curve["step"], curve["validation"], label="validation, averaged weights")
    for (name, bits), color in zip(baselines.items(), ("tab:red", "tab:orange"), strict=True):
        axis.axhline(bits, label=f"{name}, validation", color=color, linestyle="--")
    # The start of training, far above all that matters, is left out.
    levels = [min(curve["validation"]), *baselines.values()]
    margin = 0.3 * (max(levels) - min(levels))
    axis.set_ylim(min(levels) - margin, max(levels) + margin)
    axis.set(xlabel="step", ylabel="bits/dim (uniform bound)")
    axis.legend()
    _save(figure, path)


def _save(figure, path):
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
