"""Integer sequences in three splits: scikit-learn's digits, or speech from a folder."""

import collections
import dataclasses
import pathlib

import numpy as np
import tensorflow as tf
from absl import logging

DIGIT_SIDE = 8  # sklearn.datasets.load_digits: images of 8x8
DIGIT_HIGHEST = 16  # with 17 levels
VALIDATION_FRACTION = TEST_FRACTION = 0.15

PCM_LOWEST, PCM_HIGHEST = -(2**15), 2**15 - 1  # 16 bits
# The .wav files are sorted by path and counted from 0. Files 0, 10, 20, ... are for the test, and
# files 1, 11, 21, ... for validation.
FILE_CYCLE, TEST_FILE, VALIDATION_FILE = 10, 0, 1


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of one split.

    Attributes:
      x: integers as float32, [n, d].
      groups: [n]; examples of different groups are independent. A group is a digit or a recording.
      labels: the class of each example as one-hot float32 [n, num_classes], or None.
    """

    x: np.ndarray
    groups: np.ndarray
    labels: np.ndarray | None = None

    def thinned(self, most: int) -> "Split":
        """Returns at most `most` examples, evenly spaced."""
        if len(self.x) <= most:
            return self
        kept = np.linspace(0, len(self.x) - 1, most).astype(np.int64)
        return Split(*(None if a is None else a[kept] for a in dataclasses.astuple(self)))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Three splits and the meaning of their integers.

    Attributes:
      name: the name in titles and figures.
      train, validation, test: the splits.
      low, high: the range of the integers, both inclusive.
      stationary: True if all positions except the start have the same distribution (speech), False
        if each has its own (pixels).
      sample_rate: the rate in Hz, or None if the sequence is not sound.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    low: int
    high: int
    stationary: bool
    sample_rate: int | None = None

    @property
    def dims(self) -> int:
        """The length d of a sequence."""
        return self.train.x.shape[1]

    @property
    def num_classes(self) -> int:
        """The number of classes, 0 without labels."""
        return 0 if self.train.labels is None else self.train.labels.shape[1]

    def without_labels(self) -> "Dataset":
        """Returns the same examples without their classes."""
        parts = {name: getattr(self, name) for name in ("train", "validation", "test")}
        unlabelled = {n: dataclasses.replace(part, labels=None) for n, part in parts.items()}
        return dataclasses.replace(self, **unlabelled)


def load_digits(seed: int) -> Dataset:
    """Loads scikit-learn's 1797 handwritten digits, with rows joined to sequences of 64.

    The images are split at random, as a function of the seed.
    """
    import sklearn.datasets  # here, so that speech does not need it

    digits = sklearn.datasets.load_digits()
    x, labels = digits.data.astype(np.float32), np.eye(10, dtype=np.float32)[digits.target]
    order = np.random.default_rng(seed).permutation(len(x))
    cuts = np.round(len(x) * np.array([1 - VALIDATION_FRACTION - TEST_FRACTION, 1 - TEST_FRACTION]))
    splits = [Split(x[part], part, labels[part]) for part in np.split(order, cuts.astype(np.int64))]
    return Dataset("digits", *splits, low=0, high=DIGIT_HIGHEST, stationary=False)


def load_speech(wav_dir: str, window: int) -> Dataset:
    """Loads 16-bit PCM from all .wav files under a folder, cut into windows without overlap.

    Files that cannot be decoded or are shorter than a window are left out with a warning. If there
    are several channels, only the first is used.

    Args:
      wav_dir: the folder, searched with its subfolders.
      window: samples in each example.

    Raises:
      ValueError: if the folder does not exist, a split has no usable file, or sample rates differ.
    """
    folder = pathlib.Path(wav_dir)
    if not folder.is_dir():
        raise ValueError(f"wav_dir: {wav_dir!r} is not a folder.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".wav")
    if not paths:
        raise ValueError(f"wav_dir: no file in {wav_dir!r} ends in .wav.")
    windows = collections.defaultdict(list)
    groups = collections.defaultdict(list)
    rates, rejected = {}, []
    for position, path in enumerate(paths):
        try:
            samples, rate = read_pcm(path)
            if len(samples) < window:
                raise ValueError(f"{len(samples)} samples, fewer than a window of {window}")
        except ValueError as error:
            rejected.append(f"{path.name}: {error}")
            logging.warning("Leaving out %s", rejected[-1])
            continue
        index = position - len(rejected)  # among usable files, so that a bad one empties no split
        rates.setdefault(rate, path.name)
        place = {TEST_FILE: "test", VALIDATION_FILE: "validation"}.get(index % FILE_CYCLE, "train")
        cut = samples[: len(samples) // window * window].reshape([-1, window])
        windows[place].append(cut)
        groups[place].append(np.full(len(cut), index))
    missing = [place for place in ("train", "validation", "test") if place not in windows]
    if missing:
        raise ValueError(
            f"wav_dir: of {len(paths)} .wav files in {wav_dir!r}, {len(rejected)} cannot be used"
            f"{''.join(f' ({r})' for r in rejected[:1])}; none is left for {', '.join(missing)}. "
            f"Three usable files are the least: of every {FILE_CYCLE} of them in sorted order, one "
            "is for the test and one for validation."
        )
    if len(rates) > 1:
        listed = ", ".join(f"{rate} Hz ({name})" for rate, name in sorted(rates.items()))
        raise ValueError(f"wav_dir: expected one sample rate, got {listed}.")
    splits = {
        place: Split(np.concatenate(windows[place]), np.concatenate(groups[place]))
        for place in windows
    }
    return Dataset(
        "speech",
        **splits,
        low=PCM_LOWEST,
        high=PCM_HIGHEST,
        stationary=True,
        sample_rate=next(iter(rates)),
    )


def read_pcm(path) -> tuple[np.ndarray, int]:
    """Returns the first channel of a 16-bit PCM file as float32 integers [n], and the rate in Hz.

    Raises:
      ValueError: if the file cannot be decoded.
    """
    try:
        audio, rate = tf.audio.decode_wav(tf.io.read_file(str(path)))
    except tf.errors.OpError as error:
        reason = error.message.split("}} ")[-1]  # without the name of the op
        raise ValueError(f"no 16-bit PCM ({reason})") from None
    # decode_wav divides by 2^15, which float32 undoes exactly.
    return np.rint(audio.numpy()[:, 0] * 2.0**15).astype(np.float32), int(rate)
