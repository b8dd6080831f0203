import zipfile
import zlib

import numpy as np
import pytest

from examples import images
from examples.data import Split


def mnist_like(**changes):
    """The arrays of a tiny file like MNIST's."""
    generator = np.random.default_rng(0)
    arrays = {
        "x_train": generator.integers(0, 256, [24, 6, 4]).astype(np.uint8),
        "y_train": np.arange(24) % 3,
        "x_test": generator.integers(0, 256, [5, 6, 4]).astype(np.uint8),
        "y_test": np.arange(5) % 3,
    }
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}


def write(path, **changes):
    np.savez(path, **mnist_like(**changes))
    return str(path)


def test_digits_are_the_same_as_sequences_and_as_images():
    from examples.data import load_digits

    as_images, as_sequences = images.load_digit_images(3), load_digits(3)
    assert as_images.test.x.shape[1:] == (8, 8, 1)
    np.testing.assert_array_equal(as_images.test.x.reshape([-1, 64]), as_sequences.test.x)
    np.testing.assert_array_equal(as_images.test.labels, as_sequences.test.labels)


def test_a_file_like_that_of_mnist(tmp_path):
    data = images.load_npz(write(tmp_path / "a.npz"))
    arrays = mnist_like()
    assert (data.low, data.high, data.num_classes) == (0, 255, 3)
    # The last twelfth of 24 is for validation.
    np.testing.assert_array_equal(data.train.x[..., 0], arrays["x_train"][:22])
    np.testing.assert_array_equal(data.validation.x[..., 0], arrays["x_train"][22:])
    np.testing.assert_array_equal(data.test.x[..., 0], arrays["x_test"])
    np.testing.assert_array_equal(data.test.labels, np.eye(3)[[0, 1, 2, 0, 1]])
    assert data.train.x.dtype == np.float32


def test_fewer_training_images_leave_the_other_splits(tmp_path):
    path = write(tmp_path / "a.npz")
    few, whole = images.load_npz(path, max_train=7), images.load_npz(path)
    np.testing.assert_array_equal(few.train.x, whole.train.x[:7])
    np.testing.assert_array_equal(few.validation.x, whole.validation.x)


def test_fewer_digits_leave_the_other_splits():
    few, whole = images.load_digit_images(3, max_train=7), images.load_digit_images(3)
    for name in ("x", "groups", "labels"):
        got, want = (getattr(data.train, name) for data in (few, whole))
        np.testing.assert_array_equal(got, want[:7])
        np.testing.assert_array_equal(getattr(few.test, name), getattr(whole.test, name))
    assert len(whole.train.x) > 1000 and len(few.validation.x) == len(whole.validation.x)


def test_classes_are_those_of_all_training_labels(tmp_path):
    labels = np.arange(24) // 6  # of the first 7, only 0 and 1; the last ones validate
    path = write(tmp_path / "a.npz", y_train=labels, y_test=np.zeros(5, np.int64))
    data = images.load_npz(path, max_train=7)
    assert data.num_classes == 4
    np.testing.assert_array_equal(data.train.labels, np.eye(4)[labels[:7]])
    np.testing.assert_array_equal(data.test.labels, np.eye(4)[[0] * 5])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"y_train": None}, "expected the keys x_train, y_train, x_test, y_test in .*, got x_tr"),
        ({"x_train": np.zeros([24, 5], np.uint8)}, r"x_train of shape .*, got \[24, 5\]"),
        ({"x_test": np.zeros([5, 6, 4, 2], np.uint8)}, "x_test of 1 or 3 channels, got 2"),
        ({"x_test": np.zeros([5, 0, 4], np.uint8)}, r"x_test of images, got shape \[5, 0, 4\]"),
        ({"x_test": np.zeros([5, 6, 4])}, "x_test of dtype uint8, got float64"),
        ({"x_test": np.zeros([5, 6, 5], np.uint8)}, r"one shape, got \(6, 4, 1\) and \(6, 5, 1\)"),
        ({"y_test": np.arange(4)}, r"y_test of shape \[5\] and integers, got \[4\]"),
        ({"y_test": np.ones(5)}, r"integers, got \[5\], float64"),
        ({"y_test": np.arange(5) - 1}, "y_test of 0 or more, got -1"),
        ({"y_test": np.arange(5)}, r"y_test in 0\.\.2, as y_train is, got 4"),
        ({"y_train": np.arange(24) + 977}, r"y_train in 0\.\.999, as 1000 classes .*, got 1000"),
        ({"y_test": np.full(5, 2**63, np.uint64)}, r"y_test in 0\.\.999, .*, got 9223372036854"),
        (
            {"y_test": np.array(list("abcde"), object)},
            "expected an .npz file of numbers, got .*pickle",
        ),
    ],
)
def test_files_of_another_form(tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"data: .*{message}"):
        images.load_npz(write(tmp_path / "a.npz", **changes))


def test_no_npz_file(tmp_path):
    with pytest.raises(ValueError, match="data: expected an .npz file of numbers, got .*none.npz"):
        images.load_npz(str(tmp_path / "none.npz"))
    np.save(tmp_path / "lone.npy", np.zeros(3))
    with pytest.raises(ValueError, match="data: expected an .npz file of numbers, got .*lone.npy"):
        images.load_npz(str(tmp_path / "lone.npy"))
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="data: expected"):
        images.load_npz(str(tmp_path / "text.npz"))
    (tmp_path / "empty.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="data: expected an .npz file of numbers, got .*empty.npz"):
        images.load_npz(str(tmp_path / "empty.npz"))


@pytest.mark.parametrize(
    "save, place, error",  # where 0xff is written, after the name of the first array
    [(np.savez, 200, zipfile.BadZipFile), (np.savez_compressed, 20, zlib.error)],
    ids=["checksum", "deflate"],
)
def test_damaged_files(tmp_path, save, place, error):
    path = tmp_path / "a.npz"
    save(path, **mnist_like())
    damaged = bytearray(path.read_bytes())
    start = damaged.index(name := b"x_train.npy") + len(name) + place
    damaged[start : start + 8] = b"\xff" * 8
    path.write_bytes(damaged)
    with pytest.raises(error):
        np.load(path)["x_train"]
    with pytest.raises(ValueError, match="data: expected an .npz file of numbers, got .*a.npz"):
        images.load_npz(str(path))


def test_binarized_and_pooled(tmp_path):
    data = images.load_npz(write(tmp_path / "a.npz"))
    binary = images.binarized(data)
    assert (binary.low, binary.high) == (0, 1)
    np.testing.assert_array_equal(binary.test.x, data.test.x >= 128)
    small = images.pooled(data, 2)
    assert small.test.x.shape == (5, 3, 2, 1) and small.high == 255
    np.testing.assert_array_equal(
        small.test.x[0, 0, 0, 0], np.rint(data.test.x[0, :2, :2, 0].mean())
    )
    assert isinstance(small.train, Split) and small.train.labels is data.train.labels
    with pytest.raises(ValueError, match="pool: expected a divisor of the sides 6 and 4, got 4"):
        images.pooled(data, 4)


def test_pictures_of_few_images_and_of_colour(tmp_path):
    from examples import plots

    data = images.load_npz(write(tmp_path / "a.npz"))
    two = Split(data.test.x[:2], data.test.groups[:2], data.test.labels[:2])  # class 2 is missing
    np.testing.assert_array_equal(plots.by_class(two), two.x)
    plots.plot_images(tmp_path / "two.png", data, plots.by_class(two), data.test.x)
    assert (tmp_path / "two.png").stat().st_size > 1000
    colour = np.full([2, 6, 4, 3], 51.0)
    grid = plots._grid(colour, 2, 255)
    assert grid.shape == (8, 11, 3) and np.isclose(grid[1, 1], 0.2).all()  # not its own maximum
