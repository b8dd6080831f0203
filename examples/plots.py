"""The pictures of the examples."""

import matplotlib

matplotlib.use("Agg")  # draws to files, without a window

import matplotlib.pyplot as plt
import numpy as np

from examples.data import DIGIT_SIDE

DPI = 110
GRID = 8  # at most 8 rows and columns of digits, or one column per class
LINE = 0.2  # the gray of the lines between them
WAVES = 6


def plot_samples(path, data, test, samples):
    """Plots test examples beside samples, as images or as waves.

    Args:
      path: path of the PNG to write.
      data: the Dataset.
      test: integers [n, d]; for images with classes, in the order of classes 0, 1, ... in turn.
      samples: integers [m, d] drawn from the model, in the same order. The picture shows them
        clipped to the range of the data.
    """
    samples = np.clip(samples, data.low, data.high)
    count = min(len(test), len(samples))
    if data.sample_rate is not None:
        count = min(WAVES, count)
        spread = np.linspace(0, len(test) - 1, count).astype(int)  # from different files
        plot_waves(path, test[spread], samples[:count], data.sample_rate)
        return
    images = [-1, DIGIT_SIDE, DIGIT_SIDE, 1]
    plot_images(path, data, test.reshape(images), samples.reshape(images))


def by_class(split) -> np.ndarray:
    """Returns examples of class 0, 1, ... in turn, for whole rounds; without labels, all."""
    if split.labels is None:
        return split.x
    classes = split.labels.argmax(axis=1)
    members = [np.flatnonzero(classes == c) for c in range(split.labels.shape[1])]
    rounds = min(map(len, members))
    if not rounds:  # a class is missing, so it cannot have a column
        return split.x
    return split.x[np.stack([m[:rounds] for m in members], axis=1).ravel()]


def plot_images(path, data, test, samples):
    """Plots real images beside drawn ones, in two grids; with classes, one column per class.

    Args:
      path: path of the PNG to write.
      data: the Dataset.
      test: integers [n, H, W, C], where C is 1 or 3; with classes, in the order of classes 0, 1,
        ... in turn.
      samples: integers [m, H, W, C] drawn from the model, in the same order.
    """
    count = min(len(test), len(samples))
    columns = min(data.num_classes or GRID, max(int(np.sqrt(count)), 1))
    if data.num_classes and count >= data.num_classes:
        columns = data.num_classes
    rows = min(GRID, count // columns)
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.8), layout="constrained")
    for axis, images, title in zip(axes, (test, samples), ("Test data", "Samples"), strict=True):
        _show(axis, images[: rows * columns], columns, data.high)
        axis.set_title(title)
    _save(figure, path)


def plot_completions(path, data, originals, completions, num_rows):
    """Plots each original, its given rows and its completions in one row.

    Args:
      path: path of the PNG to write.
      data: the Dataset.
      originals: integers [n, H, W, C].
      completions: integers [n, m, H, W, C].
      num_rows: number of rows given.
    """
    number, times, height, width, _ = completions.shape
    given = originals.copy()
    given[:, num_rows:] = LINE * data.high  # not the level of any background
    rows = np.concatenate([originals[:, np.newaxis], given[:, np.newaxis], completions], axis=1)
    size = 0.75 * (times + 2), 0.75 * number * height / width + 0.25
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    _show(axis, rows.reshape([-1, *originals.shape[1:]]), times + 2, data.high)
    axis.set_title("Test image, the rows given, completions", fontsize=10)
    _save(figure, path)


def _show(axis, images, columns, highest):
    """Shows images [n, H, W, C], `columns` per row; n has to be a multiple of `columns`."""
    axis.imshow(_grid(images, columns, highest), cmap="gray_r", vmin=0, vmax=highest)
    axis.set_axis_off()


def _grid(images, columns, highest):
    """Returns images [n, H, W, C] as one picture, with gray lines around each."""
    line = LINE * highest
    rows, (_, height, width, channels) = len(images) // columns, images.shape
    right_and_below = [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0)]
    images = images.reshape([rows, columns, height, width, channels])
    images = np.pad(images, right_and_below, constant_values=line)
    picture = images.transpose([0, 2, 1, 3, 4])
    picture = picture.reshape([rows * (height + 1), columns * (width + 1), channels])
    picture = np.pad(picture, [(1, 0), (1, 0), (0, 0)], constant_values=line)
    return picture[..., 0] if channels == 1 else picture / highest


def plot_waves(path, data, samples, sample_rate):
    """Plots real waveforms [n, d] beside drawn ones, all on one scale."""
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
    """Plots bits per dimension in training and validation against the step.

    Args:
      path: path of the PNG to write.
      curve: dict of lists 'step', 'train' and 'validation'.
      baselines: dict of name -> bits per dimension, drawn as horizontal lines.
    """
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    axis.plot(curve["step"], curve["train"], label="training", color="tab:gray")
    axis.plot(curve["step"], curve["validation"], label="validation, averaged weights")
    for (name, bits), color in zip(baselines.items(), ("tab:red", "tab:orange"), strict=False):
        axis.axhline(bits, label=f"{name}, validation", color=color, linestyle="--")
    # The start of training is far above all other values and is left out.
    levels = [min(curve["validation"]), *(baselines.values() or [curve["validation"][0]])]
    margin = 0.3 * (max(levels) - min(levels)) + 1e-3
    axis.set_ylim(min(levels) - margin, max(levels) + margin)
    axis.set(xlabel="step", ylabel="bits/dim")
    axis.legend()
    _save(figure, path)


def plot_bounds(path, figures):
    """Plots bounds in bits per dimension against K importance samples, one panel per model.

    Args:
      path: path of the PNG to write.
      figures: dict of model -> name of the noise, or 'exact' -> K as a string -> dict of 'mean'.
    """
    figure, axes = plt.subplots(1, len(figures), figsize=(10, 4), layout="constrained")
    for axis, (model, laws) in zip(axes, figures.items(), strict=True):
        for law, by_number in laws.items():
            numbers, means = [int(k) for k in by_number], [f["mean"] for f in by_number.values()]
            if law == "exact":
                axis.axhline(means[0], color="black", linestyle="--", label=law)
            else:
                axis.plot(numbers, means, marker="o", label=f"{law} noise")
        axis.set_xscale("log", base=2)
        axis.set(title=model, xlabel="importance samples K", ylabel="bits/dim (an upper bound)")
        axis.legend()
    _save(figure, path)


def _save(figure, path):
    figure.savefig(path, dpi=DPI, bbox_inches="tight")  # grids leave room above and below
    plt.close(figure)
