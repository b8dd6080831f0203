"""Images of integers in three splits: scikit-learn's digits, or an .npz file such as MNIST's."""

import dataclasses
import zipfile
import zlib

import numpy as np

from examples.data import DIGIT_SIDE, Dataset, Split, load_digits

KEYS = ("x_train", "y_train", "x_test", "y_test")
HIGHEST = 255
# The last training images of a file, in its order, are for validation.
VALIDATION_FRACTION = 1 / 12  # 5000 of MNIST's 60000
MOST_CLASSES = 1000  # labels are one-hot: with 10^6 classes, those of MNIST would take 280 GB


def load_digit_images(seed: int, max_train: int | None = None) -> Dataset:
    """Loads the digits as images [n, 8, 8, 1], with only the first `max_train` for training."""
    data = load_digits(seed)
    train = data.train
    first = Split(train.x[:max_train], train.groups[:max_train], train.labels[:max_train])
    shape = [-1, DIGIT_SIDE, DIGIT_SIDE, 1]
    return _changed(dataclasses.replace(data, train=first), lambda x: x.reshape(shape))


def load_npz(path: str, max_train: int | None = None) -> Dataset:
    """Loads images of 256 levels and their classes from a file like that of `keras.datasets.mnist`.

    Args:
      path: path of the file, which holds x_train and x_test, uint8 [n, H, W] or [n, H, W, C], and
        y_train and y_test, integers 0..K-1 [n], with K classes in y_train, at most 1000. Nothing in
        it is unpickled.
      max_train: if given, only that many training images are used, from the first on. The classes
        are those of all images.

    Raises:
      ValueError: if the file cannot be read, a key is missing, or an array has another form.
    """
    arrays = _read(path)
    train, test = (_checked(arrays, part) for part in ("train", "test"))
    classes = 1 + int(train[1].max())
    if test[1].max() >= classes:
        raise ValueError(
            f"data: expected y_test in 0..{classes - 1}, as y_train is, got {test[1].max()}."
        )
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(
            f"data: expected images of one shape, got {train[0].shape[1:]} and {test[0].shape[1:]}."
        )
    held_out = max(round(VALIDATION_FRACTION * len(train[0])), 1)
    parts = {
        "train": tuple(a[:-held_out][:max_train] for a in train),
        "validation": tuple(a[-held_out:] for a in train),
        "test": test,
    }
    splits = {
        name: Split(x.astype(np.float32), np.arange(len(x)), np.eye(classes, dtype=np.float32)[y])
        for name, (x, y) in parts.items()
    }
    return Dataset("images", **splits, low=0, high=HIGHEST, stationary=False)


def _read(path) -> dict:
    """Returns the arrays of the file, or raises a ValueError that states what is wrong with it."""
    try:
        file = np.load(path, allow_pickle=False)
        names = getattr(file, "files", None)
        if names is None:
            raise ValueError("it holds a lone array")
        missing = [key for key in KEYS if key not in names]
        if not missing:
            return {key: file[key] for key in KEYS}  # a pickled array raises a ValueError
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"data: expected an .npz file of numbers, got {path!r}: {error}") from None
    raise ValueError(
        f"data: expected the keys {', '.join(KEYS)} in {path!r}, got {', '.join(names) or 'none'}."
    )


def _checked(arrays, part):
    """Returns images [n, H, W, C] and labels [n] of a part.

    Raises:
      ValueError: if they are invalid; the message states what is wrong.
    """
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if x.ndim not in (3, 4) or len(x) < 2:
        raise ValueError(
            f"data: expected x_{part} of shape [n, H, W] or [n, H, W, C], got {list(x.shape)}."
        )
    if x.ndim == 4 and x.shape[3] not in (1, 3):
        raise ValueError(f"data: expected x_{part} of 1 or 3 channels, got {x.shape[3]}.")
    if 0 in x.shape:
        raise ValueError(f"data: expected x_{part} of images, got shape {list(x.shape)}.")
    if x.dtype != np.uint8:
        raise ValueError(f"data: expected x_{part} of dtype uint8, got {x.dtype}.")
    if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(
            f"data: expected y_{part} of shape [{len(x)}] and integers, got {list(y.shape)}, "
            f"{y.dtype}."
        )
    if y.min() < 0:
        raise ValueError(f"data: expected y_{part} of 0 or more, got {y.min()}.")
    if y.max() >= MOST_CLASSES:
        raise ValueError(
            f"data: expected y_{part} in 0..{MOST_CLASSES - 1}, as {MOST_CLASSES} classes are the "
            f"most, got {y.max()}."
        )
    return x.reshape([*x.shape[:3], -1]), y.astype(np.int64)


def binarized(data: Dataset) -> Dataset:
    """Returns the same images with two levels: 1 where a pixel is above half of the range."""
    half = (data.low + data.high) / 2
    binary = _changed(data, lambda x: (x > half).astype(np.float32))
    return dataclasses.replace(binary, low=0, high=1)


def pooled(data: Dataset, size: int) -> Dataset:
    """Returns smaller images: means over `size` x `size` pixels, rounded.

    Raises:
      ValueError: if a side is not divisible by `size`.
    """
    height, width, channels = data.train.x.shape[1:]
    if height % size or width % size:
        raise ValueError(f"pool: expected a divisor of the sides {height} and {width}, got {size}.")
    blocks = [-1, height // size, size, width // size, size, channels]
    return _changed(data, lambda x: np.rint(x.reshape(blocks).mean(axis=(2, 4))))


def _changed(data: Dataset, change) -> Dataset:
    parts = {name: getattr(data, name) for name in ("train", "validation", "test")}
    return dataclasses.replace(
        data, **{n: dataclasses.replace(part, x=change(part.x)) for n, part in parts.items()}
    )
