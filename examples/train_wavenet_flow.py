"""Trains a WaveNet autoregressive flow on digits or speech, and compares it with two baselines.

    python -m examples.train_wavenet_flow --output_dir=demo_output
    python -m examples.train_wavenet_flow --conditional --trainer=keras
    python -m examples.train_wavenet_flow --wav_dir=FOLDER --learning_rate=3e-3

The default data are scikit-learn's handwritten digits, 8x8 pixels of 17 levels, with rows joined to
sequences of 64: 70 % to train, 15 % to validate, 15 % to test. With --conditional they are modelled
given the class. With --wav_dir the data are windows of 16-bit PCM from all .wav files under a
folder. The usable files are sorted by path and counted from 0; those at 0, 10, 20, ... are for the
test and those at 1, 11, 21, ... for validation.

The model is a `tfp_ar.Dequantized` flow: uniform noise turns the integers x into real numbers
x + u. The averaged weights that are best on the validation split are tested once. The program
prints bits per dimension on the test split, by the bounds of 1, 8 and 64 importance samples. For
comparison it prints those of two baselines: a histogram (for digits one per position; for speech
one for all, over bins of values whose width is chosen on the validation split), and a Gaussian with
full covariance, which gets the same noise. It also compares the flow's own samples with the test
split.

A killed run continues where it stopped when it is started again with the same flags.

The program writes figures.json, samples.png and loss.png to --output_dir and, for
`examples.serve_saved_model`, the folder saved_model.
"""

import functools
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import tfp_ar
from examples import keras_trainer, loop_trainer, training
from examples.baselines import FullGaussian, Histogram
from examples.data import Dataset, Split, load_digits, load_speech
from examples.evaluation import bound, log_prob_draws, sample_figures, with_noise
from examples.flag_values import are_positive
from examples.flow_parts import LOG_SCALE_BOUND, TRANSFORMERS, make_density, make_transformer
from examples.report import (
    FLOW,
    GAUSSIAN,
    HISTOGRAM,
    Clock,
    compare,
    sample_lines,
    table,
    write_figures,
)
from examples.training import BATCH_SIZE, POSITIVE, SEED

# The widths tried on the validation split: from one bin per value to 64 bins for 16 bits.
SPEECH_BIN_WIDTHS = tuple(2**k for k in range(11))
# Second numbers of the seeds, far above those of training, which uses one per step.
VALIDATION, TEST, SAMPLES, TEST_OF_SAMPLES = (number << 28 for number in (1, 2, 3, 4))

_OUTPUT_DIR = flags.DEFINE_string("output_dir", "demo_output", "Folder for pictures and figures.")
_WAV_DIR = flags.DEFINE_string("wav_dir", None, "Folder with .wav files. Default: the digits.")
_WINDOW = flags.DEFINE_integer("window", 512, "Samples in each example of speech.", **POSITIVE)
_MAX_EVAL = flags.DEFINE_integer(
    "max_eval_examples",
    1000,
    "Most examples, evenly spaced, of the validation split and of the test split.",
    **POSITIVE,
)
_SAMPLES = flags.DEFINE_integer("num_samples", 160, "Samples to draw at the end.", **POSITIVE)
_TRAINER = flags.DEFINE_enum(
    "trainer", "loop", ["loop", "keras"], "A custom loop with a tf.function, or DensityModel.fit."
)
_CONDITIONAL = flags.DEFINE_bool("conditional", False, "Model the digits given their class.")

_CHANNELS = flags.DEFINE_integer("residual_channels", 32, "Channels of the blocks.", **POSITIVE)
_SKIP = flags.DEFINE_integer("skip_channels", 64, "Channels of the skip connections.", **POSITIVE)
_DILATIONS = flags.DEFINE_list(
    "dilations", None, "Dilation of each block. Default: 1, 2, 4, ... to see the whole sequence."
)
flags.register_validator(
    "dilations",
    lambda dilations: dilations is None or are_positive(dilations),
    message="expected positive integers, separated by commas.",
)
_KERNEL_SIZE = flags.DEFINE_integer("kernel_size", 2, "Taps of the convolutions.", **POSITIVE)
_POSITIONS = flags.DEFINE_enum(
    "position_encoding",
    "auto",
    ["auto", "none", "learned", "sinusoidal"],
    "Position encoding of the network. auto: learned for digits, none for speech.",
)
_DROPOUT = flags.DEFINE_float("dropout", 0.1, "Dropout in the gates.", 0.0, 0.99)
_TRANSFORMER = flags.DEFINE_enum(
    "transformer",
    "spline",
    list(TRANSFORMERS),
    "The conditionals: Gaussian (affine), or shaped by a spline or a mixture of logistics.",
)
_LOG_SCALE_BOUND = flags.DEFINE_float(
    "log_scale_bound", LOG_SCALE_BOUND, "Bound on the log of the scales.", 0.1
)
_SUPPORT = flags.DEFINE_enum(
    "support",
    "levels",
    ["levels", "integers"],
    "The model is over the data's levels, by a bounded bijector, or over all integers.",
)
_NUMBERS = flags.DEFINE_list(
    "importance_samples", ["1", "8", "64"], "Numbers of importance samples in the test, ascending."
)
flags.register_validator(
    "importance_samples",
    lambda numbers: (
        are_positive(numbers) and [int(n) for n in numbers] == sorted({int(n) for n in numbers})
    ),
    message="expected ascending positive integers, separated by commas.",
)
flags.adopt_module_key_flags(training)


def load_data() -> Dataset:
    """Loads the data that the flags ask for, with labels if the model is conditioned on them."""
    if _WAV_DIR.value is None:
        data = load_digits(SEED.value)
        return data if _CONDITIONAL.value else data.without_labels()
    if _CONDITIONAL.value:
        raise SystemExit("--conditional: the speech has no classes; leave out --wav_dir.")
    try:
        return load_speech(_WAV_DIR.value, _WINDOW.value)
    except ValueError as error:  # its message states what is wrong with the folder
        raise SystemExit(str(error)) from None


def make_model(data: Dataset) -> tfp_ar.Dequantized:
    """Returns the distribution of integer sequences [d]."""
    transformer = make_transformer(_TRANSFORMER.value, _LOG_SCALE_BOUND.value)
    positions = _POSITIONS.value
    if positions == "auto":
        positions = "none" if data.stationary else "learned"
    network = tfp_ar.networks.WaveNet(
        event_shape=[data.dims],
        num_params=transformer.num_params,
        residual_channels=_CHANNELS.value,
        skip_channels=_SKIP.value,
        dilations=None if _DILATIONS.value is None else [int(d) for d in _DILATIONS.value],
        kernel_size=_KERNEL_SIZE.value,
        position_encoding=None if positions == "none" else positions,
        dropout=_DROPOUT.value,
        seed=SEED.value,
        conditional_shape=[data.num_classes] if data.num_classes else None,
    )
    bounded = _SUPPORT.value == "levels"
    return tfp_ar.Dequantized(make_density(lambda _: network, data, transformer, bounded=bounded))


def draw_samples(model, data: Dataset, number: int) -> Split:
    """Draws samples; of a conditioned model, of class 0, 1, ... in turn."""
    seed = tf.constant([SEED.value, SAMPLES], tf.int32)
    if not data.num_classes:
        return Split(model.sample(number, seed=seed).numpy(), np.arange(number))
    labels = np.eye(data.num_classes, dtype=np.float32)[np.arange(number) % data.num_classes]
    x = model.sample(seed=seed, conditional_input=labels)
    return Split(x.numpy(), np.arange(number), labels)


def run() -> dict:
    """Runs all phases in turn; returns the content of figures.json."""
    clock = Clock()
    keras.utils.set_random_seed(SEED.value)  # for the initial weights
    data = load_data()
    validation, test = (split.thinned(_MAX_EVAL.value) for split in (data.validation, data.test))
    sizes = {"train": len(data.train.x), "validation": len(validation.x), "test": len(test.x)}
    print(f"{data.name}: sequences of {data.dims}; {sizes}", flush=True)
    settings = {
        flag.name: flag.value
        for flag in flags.FLAGS.get_key_flags_for_module(sys.modules[__name__])
    }
    output = pathlib.Path(_OUTPUT_DIR.value)
    checkpoints = training.CheckpointFolder(output / "checkpoints", settings)

    widths = SPEECH_BIN_WIDTHS if data.stationary else (1,)
    histogram = Histogram.choose(data, validation.x, widths)
    gaussian = FullGaussian(data.train.x)
    clock.lap("data and baselines")

    model = make_model(data)

    @functools.partial(tf.function, jit_compile=True)
    def model_log_prob(x, labels, seed):
        return model.log_prob(x, seed=seed, conditional_input=labels)

    def draws(log_prob, split, stream, number):
        return log_prob_draws(log_prob, split, (SEED.value, stream), number, BATCH_SIZE.value)

    def validate(log_prob=model_log_prob):
        log_p = draws(log_prob, validation, VALIDATION, 1)
        return tfp_ar.bits_per_dim(log_p, [data.dims]).mean()

    if _TRAINER.value == "loop":
        curve = loop_trainer.train(model, data.train, validate, checkpoints.path)
    else:
        curve = keras_trainer.train(model, data.train, validation, checkpoints.path)
    clock.lap("training")

    numbers = [int(n) for n in _NUMBERS.value]
    gaussian_log_prob = with_noise(gaussian.log_prob)
    log_p = {
        FLOW: draws(model_log_prob, test, TEST, numbers[-1]),
        GAUSSIAN: draws(gaussian_log_prob, test, TEST, numbers[-1]),
        HISTOGRAM: histogram.log_prob(test.x)[np.newaxis],
    }
    tightest = bound(log_p[FLOW], numbers[-1])
    figures = compare(log_p, test.groups, data.dims, numbers)
    print(table(figures, len(test.x)), flush=True)
    clock.lap("test")

    samples = draw_samples(model, data, _SAMPLES.value)
    clock.lap("sampling")
    log_p_samples = draws(model_log_prob, samples, TEST_OF_SAMPLES, numbers[-1])
    figures["samples"] = sample_figures(
        samples.x, bound(log_p_samples, numbers[-1]), tightest, data.low, data.high
    )
    print(sample_lines(figures["samples"]), flush=True)
    clock.lap("test of samples")

    tfp_ar.export_saved_model(model, output / "saved_model")
    clock.lap("export")

    from examples import plots  # here, so that training does not need matplotlib

    plots.plot_samples(output / "samples.png", data, plots.by_class(test), samples.x)
    levels = {
        HISTOGRAM: tfp_ar.bits_per_dim(histogram.log_prob(validation.x), [data.dims]).mean(),
        GAUSSIAN: validate(gaussian_log_prob),
    }
    plots.plot_loss(output / "loss.png", curve.points, levels)
    clock.lap("pictures")

    best = int(np.argmin(curve.points["validation"]))
    figures |= {
        "validation": {name: values[best] for name, values in curve.points.items()},
        "histogram": {"width": histogram.width, "pseudo_count": histogram.pseudo_count},
        "data": {"name": data.name, "dims": data.dims, "levels": data.high + 1 - data.low, **sizes},
        # These allow comparisons of runs on the same split, paired by example.
        "flow_bits_of_test_examples": tfp_ar.bits_per_dim(tightest, [data.dims]).tolist(),
        "parameters": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
    }
    figures = write_figures(output, figures, clock, settings, curve)
    checkpoints.remove()
    return figures


def main(argv):
    training.prepare(argv, _OUTPUT_DIR.value)
    run()


if __name__ == "__main__":
    app.run(main)
