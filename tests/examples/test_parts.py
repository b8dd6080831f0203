"""The baselines, parts of flows and loader of the examples."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from examples import data, flow_parts
from examples.baselines import PSEUDO_COUNTS, FullGaussian, Histogram
from tests.examples.wavs import write_wav
from tests.helpers import jacobian

tfb, tfd = tfp.bijectors, tfp.distributions

# Baselines --------------------------------------------------------------------------------------


def test_histogram_for_each_position():
    x = np.array([[0, 2], [0, 1], [1, 2]], np.float32)
    histogram = Histogram.fit(x, low=0, high=2, per_position=True, width=1, pseudo_count=1.0)
    # Counts 2 1 0 and 0 1 2, and 1 more for each: sixths.
    np.testing.assert_allclose(
        histogram.log_prob(np.array([[0, 0], [2, 2]])), np.log([3 / 6 * 1 / 6, 1 / 6 * 3 / 6])
    )


def test_histogram_for_all_positions_with_wide_bins():
    x = np.array([[-4, -3, 1, 3]], np.float32)
    histogram = Histogram.fit(x, low=-4, high=3, per_position=False, width=2, pseudo_count=0.5)
    # Counts 2 0 1 1 and 1 more for each: eighths, halved among the two values of a bin.
    every = np.exp(histogram.log_prob(np.arange(-4, 4)[:, np.newaxis]))
    np.testing.assert_allclose(every, np.array([3, 3, 1, 1, 2, 2, 2, 2]) / 16)


def test_histogram_is_chosen_by_validation():
    def dataset(x):
        split = data.Split(x, np.arange(len(x)))
        return data.Dataset("some", split, split, split, low=0, high=63, stationary=True)

    x = np.arange(64, dtype=np.float32).reshape([-1, 2])
    train, validation = dataset(x[::2]), x[1::2]  # 0, 1, 4, 5, ... and 2, 3, 6, 7, ...
    assert Histogram.choose(train, validation, widths=(1, 4)).width == 4
    assert Histogram.choose(train, validation, widths=(1,)).pseudo_count == max(PSEUDO_COUNTS)
    same = Histogram.choose(train, x[::2], widths=(1, 4))
    assert same.width == 1 and same.pseudo_count == min(PSEUDO_COUNTS)


def test_gaussian_fits_training_data_and_noise():
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=[500, 3]) @ np.array([[3.0, 2, 1], [0, 2, 1], [0, 0, 2]]))
    gaussian = FullGaussian(x.astype(np.float32))
    y = rng.normal(size=[4, 3])
    covariance = np.cov(x.T, bias=True) + np.eye(3) / 12
    centred = y - x.mean(axis=0) - 0.5
    expected = -0.5 * (
        np.sum(centred @ np.linalg.inv(covariance) * centred, axis=1)
        + np.log(np.linalg.det(2 * np.pi * covariance))
    )
    np.testing.assert_allclose(gaussian.log_prob(y), expected)


def test_gaussian_of_constant_positions_has_the_noise_alone():
    gaussian = FullGaussian(np.full([4, 2], 7.0, np.float32))
    expected = -np.log(2 * np.pi / 12)  # of two variables, at the mean
    np.testing.assert_allclose(gaussian.log_prob([[7.5, 7.5]]), [expected])


# Parts of flows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bounded", [pytest.param(True, marks=pytest.mark.slow), False])
def test_units_have_mean_0_and_deviation_1(bounded):
    x = np.random.default_rng(0).integers(2, 9, [400, 3]).astype(np.float32)
    split, other = data.Split(x, np.arange(400)), data.Split(x[:9] + 3.0, np.arange(9))
    digits = data.Dataset("some", split, other, other, low=2, high=8, stationary=False)
    units = flow_parts.data_units(digits, bounded)
    y = x + np.float32(0.5)
    for bijector in units:
        y = bijector.inverse(y)
    assert len(units) == 2 + bounded
    assert abs(np.mean(y)) < 1e-4 and abs(np.std(y) - 1.0) < 1e-4


def test_units_of_constant_data():
    split = data.Split(np.full([5, 2], 3.0, np.float32), np.arange(5))
    constant = data.Dataset("same", split, split, split, low=3, high=3, stationary=False)
    assert np.all(np.isfinite(flow_parts.data_units(constant, False)[1].inverse(split.x)))


@pytest.mark.parametrize("bounded", [pytest.param(True, marks=pytest.mark.slow), False])
def test_untrained_flows_are_a_normal_law_in_the_units(bounded):
    x = np.random.default_rng(1).integers(0, 5, [100, 6]).astype(np.float32)
    split = data.Split(x, np.arange(100))
    some = data.Dataset("some", split, split, split, low=0, high=4, stationary=False)
    networks = []

    def make_network(k):
        networks.append(tfp_ar.networks.WaveNet([6], residual_channels=4, dilations=[1, 2]))
        return networks[-1]

    transformer = flow_parts.make_transformer("affine")
    density = flow_parts.make_density(make_network, some, transformer, 2, bounded)
    units = tfb.Chain(flow_parts.data_units(some, bounded))
    normal = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), [6]), units)
    log_prob = tf.function(density.log_prob, autograph=False)  # which compiles nothing by XLA
    np.testing.assert_allclose(log_prob(x + 0.5), normal.log_prob(x + 0.5), rtol=1e-5)
    outside = log_prob(np.full([1, 6], 5.5, np.float32))
    assert (outside == -np.inf) == bounded
    assert len(networks) == 2
    for network in networks:
        network.head.output_kernel.assign(tf.fill([1, 4, 2], 0.1))
    of_one = jacobian(tf.function(density.bijector.inverse, autograph=False), x[0] + 0.5)
    assert np.any(np.triu(of_one, 1)) and np.any(np.tril(of_one, -1))  # two directions


def test_noise_by_name():
    uniform, learned = (flow_parts.make_noise(name, [6], -3, 4, 8) for name in flow_parts.NOISES)
    assert isinstance(uniform, tfp_ar.dequantizers.Uniform)
    assert isinstance(learned, tfp_ar.dequantizers.Variational)
    x = np.full([1, 6], -3.0, np.float32)
    assert np.all(learned.condition(tf.constant(x)).shape == [1, 6, 8])
    assert (learned._range.low, learned._range.high) == (-3.0, 5.0)  # the ends of the cells


# Data -------------------------------------------------------------------------------------------


def test_digits_are_split_by_the_seed():
    digits = data.load_digits(seed=4)
    splits = (digits.train, digits.validation, digits.test)
    assert [len(split.x) for split in splits] == [1258, 269, 270]
    assert sorted(np.concatenate([split.groups for split in splits])) == list(range(1797))
    assert digits.dims == 64 and digits.train.x.dtype == np.float32
    assert digits.low == min(split.x.min() for split in splits)
    assert digits.high == max(split.x.max() for split in splits)
    np.testing.assert_array_equal(digits.test.x, data.load_digits(seed=4).test.x)
    assert np.any(digits.test.groups != data.load_digits(seed=5).test.groups)


def test_digits_have_their_classes():
    import sklearn.datasets

    digits = data.load_digits(seed=4)
    assert digits.num_classes == 10
    for split in (digits.train, digits.validation, digits.test):
        targets = sklearn.datasets.load_digits().target[split.groups]
        np.testing.assert_array_equal(split.labels, np.eye(10, dtype=np.float32)[targets])
    unlabelled = digits.without_labels()
    assert unlabelled.num_classes == 0 and unlabelled.test.labels is None
    np.testing.assert_array_equal(unlabelled.test.x, digits.test.x)


def test_thinned_keeps_evenly_spaced_examples():
    split = data.Split(np.arange(10)[:, np.newaxis], np.arange(10))
    np.testing.assert_array_equal(split.thinned(4).groups, [0, 3, 6, 9])
    assert split.thinned(10) is split
    labelled = data.Split(split.x, split.groups, np.eye(10))
    np.testing.assert_array_equal(labelled.thinned(4).labels, np.eye(10)[[0, 3, 6, 9]])


def test_wavs_give_windows_and_splits_by_sorted_file(tmp_path):
    for index in range(12):
        folder = tmp_path / "sub" if index == 5 else tmp_path
        folder.mkdir(exist_ok=True)
        write_wav(folder / f"{chr(ord('a') + index)}.wav", np.full(10, index))
    (tmp_path / "notes.txt").write_text("no sound")
    # Sorted by path, f.wav is the last: it lies in the folder sub.
    speech = data.load_speech(str(tmp_path), window=4)
    assert speech.dims == 4 and speech.sample_rate == 8000 and speech.stationary
    files = {"test": [0, 11], "validation": [1, 5], "train": [2, 3, 4, 6, 7, 8, 9, 10]}
    for place, expected in files.items():
        split = getattr(speech, place)
        # Two windows of 4 from each 10 samples.
        np.testing.assert_array_equal(split.x, np.repeat(expected, 8).reshape([-1, 4]))
        assert len(np.unique(split.groups)) == len(expected)


def test_wavs_are_read_exactly(tmp_path):
    samples = np.array([-(2**15), -1, 0, 1, 2**15 - 1])
    write_wav(tmp_path / "edges.wav", samples)
    x, rate = data.read_pcm(tmp_path / "edges.wav")
    np.testing.assert_array_equal(x, samples)
    assert rate == 8000 and x.dtype == np.float32
    write_wav(tmp_path / "stereo.wav", np.stack([samples, samples[::-1]], axis=1))
    np.testing.assert_array_equal(data.read_pcm(tmp_path / "stereo.wav")[0], samples)


def test_wavs_that_cannot_be_used_are_left_out(tmp_path):
    for name in ("a", "b", "d", "e"):
        write_wav(tmp_path / f"{name}.wav", np.arange(8))
    (tmp_path / "c.wav").write_bytes(b"RIFF, or rather not")
    write_wav(tmp_path / "f.wav", np.arange(3))
    (tmp_path / "0.wav").write_bytes(b"")  # the first, which would be the only one for the test
    speech = data.load_speech(str(tmp_path), window=8)
    assert [len(s.x) for s in (speech.train, speech.validation, speech.test)] == [2, 1, 1]


def test_errors_for_wavs(tmp_path):
    with pytest.raises(ValueError, match="wav_dir: .*missing' is not a folder"):
        data.load_speech(str(tmp_path / "missing"), window=4)
    with pytest.raises(ValueError, match=r"wav_dir: no file in .* ends in \.wav"):
        data.load_speech(str(tmp_path), window=4)
    for name in "abc":
        write_wav(tmp_path / f"{name}.wav", np.arange(8))
    with pytest.raises(ValueError, match="3 cannot be used .*8 samples, fewer than a window of 9"):
        data.load_speech(str(tmp_path), window=9)
    write_wav(tmp_path / "d.wav", np.arange(8), rate=16000)
    with pytest.raises(ValueError, match=r"one sample rate, got 8000 Hz \(a.wav\), 16000 Hz"):
        data.load_speech(str(tmp_path), window=8)
    for name in "abcd":
        (tmp_path / f"{name}.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="4 cannot be used .*no 16-bit PCM .[^{]*none is left for"):
        data.load_speech(str(tmp_path), window=8)


def test_error_for_a_split_without_files(tmp_path):
    for name in "ab":
        write_wav(tmp_path / f"{name}.wav", np.arange(8))
    with pytest.raises(ValueError, match="none is left for train. Three usable files"):
        data.load_speech(str(tmp_path), window=8)
