"""The example: its noise, bounds, baselines, loader and figures, and a tiny run from end to end."""

import json

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

import tfp_ar
from examples import data, dequantization, report, train_wavenet_flow
from examples.affine_spline import AffineSpline
from examples.baselines import PSEUDO_COUNTS, FullGaussian, Histogram
from examples.dequantization import Stream, log_mean_exp, log_prob_draws, noise_bits, noise_seed

# Noise ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low, high", [(0, 16), (0, 255), (-(2**15), 2**15 - 1)])
def test_noise_at_its_edges_stays_within_the_integer(low, high):
    bits = noise_bits(low, high)
    edges = (np.array([0, 2**bits - 1], np.float32) + np.float32(0.5)) / np.float32(2**bits)
    x = np.array([[low], [0], [high]], np.float32)
    y = x + edges
    assert y.dtype == np.float32
    np.testing.assert_array_equal(np.floor(y), np.repeat(x, 2, axis=1))
    np.testing.assert_array_equal(y - x, np.repeat(edges[np.newaxis], 3, axis=0))  # exact
    assert np.all(y > x)


def test_as_many_noise_bits_as_fit():
    assert noise_bits(0, 16) == 18
    # 15 bits of integer, 8 of noise and 1 for the half are float32's 24.
    assert noise_bits(-(2**15), 2**15 - 1) == 8
    with pytest.raises(ValueError, match="no room for noise"):
        noise_bits(0, 2**24)


def test_noise_is_uniform_and_a_function_of_its_seed():
    def draw(seed):
        return dequantization.uniform_noise([500, 40], seed, bits=8)

    seed = noise_seed(3, Stream.TRAINING, 7)
    u = draw(seed).numpy()
    assert u.min() == 0.5 / 256 and u.max() == 255.5 / 256
    np.testing.assert_allclose([u.mean(), u.var()], [1 / 2, 1 / 12], rtol=0.02)
    np.testing.assert_array_equal(u, tf.function(draw, jit_compile=True)(seed))
    assert np.any(u != draw(noise_seed(3, Stream.TRAINING, 8)))


def test_noise_seeds_never_meet():
    seeds = {tuple(noise_seed(0, stream, i).numpy()) for stream in Stream for i in range(9)}
    assert len(seeds) == 9 * len(Stream)


# Bounds -----------------------------------------------------------------------------------------


def exponential_log_prob(y):
    """log of exp(-sum y), which is P(x) = exp(-sum x) (1 - 1/e)^d for integers x."""
    return -np.sum(y, axis=1)


def test_bounds_on_a_known_distribution():
    x = np.random.default_rng(0).integers(0, 5, [600, 3]).astype(np.float32)
    draws = log_prob_draws(exponential_log_prob, x, 0, Stream.TEST, 18, 50, batch_size=256)
    exact = -x.sum(axis=1) + 3 * np.log(1 - np.exp(-1))
    # E log p(x + u) = -sum x - d / 2: the uniform bound is looser by 0.041 nats a dimension.
    np.testing.assert_allclose((draws.mean(axis=0) + x.sum(axis=1)).mean(), -1.5, atol=0.01)
    weighted = log_mean_exp(draws)
    assert draws.mean() < weighted.mean() < exact.mean() + 0.01
    np.testing.assert_allclose(weighted.mean(), exact.mean(), atol=0.01)


def test_bounds_meet_where_the_density_is_flat():
    x = np.zeros([5, 4], np.float32)
    flat = log_prob_draws(lambda y: np.full(len(y), -4 * np.log(16.0)), x, 0, Stream.TEST, 18, 8, 2)
    assert flat.shape == (8, 5)
    np.testing.assert_allclose(dequantization.bits_per_dim(log_mean_exp(flat), 4), 4.0)
    np.testing.assert_allclose(dequantization.bits_per_dim(flat.mean(axis=0), 4), 4.0)


def test_draws_do_not_depend_on_how_the_batch_is_filled_up():
    x = np.arange(14, dtype=np.float32).reshape([7, 2])
    rows = []

    def log_prob(y):
        rows.append(len(y))
        return exponential_log_prob(y)

    draws = log_prob_draws(log_prob, x, 0, Stream.TEST, 18, 2, batch_size=4)
    assert draws.shape == (2, 7) and set(rows) == {4}
    assert np.all(np.floor(-draws) >= x.sum(axis=1)) and np.all(-draws < x.sum(axis=1) + 2)


def test_log_mean_exp_of_tiny_probabilities():
    np.testing.assert_allclose(
        log_mean_exp(np.array([[-1000.0, 0.0], [-1000.0 + np.log(3.0), 0.0]])),
        [-1000.0 + np.log(2.0), 0.0],
    )


def test_standard_error_of_independent_and_grouped_values():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    alone = report.mean_and_standard_error(values, np.arange(4))
    assert alone["mean"] == 3.0
    np.testing.assert_allclose(alone["standard_error"], values.std(ddof=1) / 2.0)
    # Two recordings with sums of deviations -3 and 3: sqrt(18 * 2 / 1) / 4.
    grouped = report.mean_and_standard_error(values, np.array([5, 5, 9, 9]))
    np.testing.assert_allclose(grouped["standard_error"], 1.5)
    assert report.mean_and_standard_error(values, np.zeros(4))["standard_error"] is None


def test_compare_pairs_by_example():
    exact = np.log(np.array([[0.5, 0.25, 0.125]]))
    draws = np.repeat(exact + np.log(2.0), 2, axis=0)
    figures = report.compare(
        {report.FLOW: draws, report.GAUSSIAN: exact, report.HISTOGRAM: exact}, np.arange(3), dims=1
    )
    np.testing.assert_allclose(figures["bits_per_dim"]["histogram"]["uniform"]["mean"], 2.0)
    np.testing.assert_allclose(figures["below_histogram"]["mean"], 1.0)
    np.testing.assert_allclose(figures["below_histogram"]["standard_error"], 0.0, atol=1e-12)
    assert "The flow is 1.0000 +- 0.0000 below the histogram" in report.table(figures, 3, 2)


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


# Transformer ------------------------------------------------------------------------------------


def test_affine_spline_starts_at_the_identity_and_inverts():
    transformer = AffineSpline(num_bins=5)
    u = tf.linspace(-6.0, 6.0, 25)
    start = transformer(tf.zeros([25, transformer.num_params]))
    np.testing.assert_allclose(start.forward(u), u, atol=1e-5)
    np.testing.assert_allclose(start.forward_log_det_jacobian(u), np.zeros(25), atol=1e-5)

    bent = transformer(tf.random.stateless_normal([25, transformer.num_params], [1, 2]))
    np.testing.assert_allclose(bent.inverse(tf.identity(bent.forward(u))), u, atol=1e-4)
    assert len(transformer.num_params * [0]) == 2 + 5 + 5 + 4


def test_affine_spline_in_a_flow_samples_what_it_scores():
    transformer = AffineSpline(num_bins=4)
    network = tfp_ar.networks.WaveNet([6], transformer.num_params, residual_channels=4)
    for variable in network.trainable_variables:
        variable.assign(0.3 * tf.random.stateless_normal(variable.shape, [3, 4]))
    flow = tfp_ar.ARFlowBijector(network, transformer)
    u = tf.random.stateless_normal([5, 6], [5, 6])
    x = flow.forward(u)
    assert np.max(np.abs(x - u)) > 0.1
    np.testing.assert_allclose(flow.inverse(tf.identity(x)), u, atol=1e-4)


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


def test_thinned_keeps_evenly_spaced_examples():
    split = data.Split(np.arange(10)[:, np.newaxis], np.arange(10))
    np.testing.assert_array_equal(split.thinned(4).groups, [0, 3, 6, 9])
    assert split.thinned(10) is split


def write_wav(path, samples, rate=8000):
    """Writes integers [n] or [n, channels] as 16-bit PCM."""
    audio = np.asarray(samples, np.float32).reshape([len(samples), -1]) / 2**15
    tf.io.write_file(str(path), tf.audio.encode_wav(audio, rate))


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


# End to end -------------------------------------------------------------------------------------

TINY = {
    "residual_channels": 4,
    "skip_channels": 4,
    "dilations": ["1", "2"],
    "spline_bins": 4,
    "steps": 4,
    "eval_every": 2,
    "batch_size": 16,
    "importance_samples": 2,
    "max_eval_examples": 16,
    "num_samples": 4,
}


@pytest.fixture(autouse=True)
def parsed_flags():
    """absl's flags, which pytest does not parse."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["pytest"])


def run_main(output, **values):
    """Runs the example in this process; returns its figures."""
    with flagsaver.flagsaver(output_dir=str(output), **(TINY | values)):
        train_wavenet_flow.main(["train_wavenet_flow"])
    return json.loads((output / "figures.json").read_text())


def assert_is_png(path):
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_run_on_digits(tmp_path, capsys):
    figures = run_main(tmp_path / "new" / "folder")
    assert figures["data"]["name"] == "digits" and figures["data"]["test"] == 16
    assert figures["loss_curve"]["step"] == [2, 4]
    assert set(figures["bits_per_dim"]) == {"flow", "gaussian", "histogram"}
    bounds = figures["bits_per_dim"]["flow"]
    assert 0 < bounds["importance_weighted"]["mean"] < bounds["uniform"]["mean"] < 6
    assert 2 < figures["bits_per_dim"]["histogram"]["uniform"]["mean"] < 3
    assert figures["below_histogram"]["standard_error"] > 0
    assert figures["flags"]["steps"] == 4 and figures["seconds"]["total"] > 0
    for name in ("samples.png", "loss.png"):
        assert_is_png(tmp_path / "new" / "folder" / name)
    assert "above the histogram" in capsys.readouterr().out  # after 4 steps


def test_run_on_speech_stops_early(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abc":
        write_wav(tmp_path / f"{name}.wav", 100 * rng.normal(size=400).cumsum())
    figures = run_main(
        tmp_path, wav_dir=str(tmp_path), window=32, learning_rate=0.0, steps=50, eval_every=1,
        patience=2, transformer="affine", warmup_steps=0, ema_momentum=0.0,
    )  # fmt: skip
    # Nothing is learned at rate 0: one validation sets the mark, two more make no progress.
    assert figures["loss_curve"]["step"] == [1, 2, 3]
    assert figures["validation"]["step"] == 1
    assert figures["data"] == {
        "name": "speech", "dims": 32, "levels": 2**16, "train": 12, "validation": 12, "test": 12,
    }  # fmt: skip
    assert figures["below_histogram"]["standard_error"] is None  # one test file
    assert_is_png(tmp_path / "samples.png")


def test_bad_folder_is_a_message_and_no_traceback(tmp_path):
    with pytest.raises(SystemExit, match="wav_dir: .* is not a folder"):
        run_main(tmp_path, wav_dir=str(tmp_path / "missing"))
