"""Trains a WaveNet autoregressive flow on digits or speech, and compares it with two baselines.

    python -m examples.train_wavenet_flow --output_dir=demo_output
    python -m examples.train_wavenet_flow --wav_dir=FOLDER --learning_rate=3e-3

By default: scikit-learn's handwritten digits, 8x8 pixels of 17 levels, rows joined to sequences of
64, 70 % to train, 15 % to validate, 15 % to test. With --wav_dir: windows of 16-bit PCM from all
.wav files under a folder; of the usable files sorted by path and counted from 0, those at 0, 10,
20, ... are for the test and those at 1, 11, 21, ... for validation.

Uniform noise turns the integers x into real numbers x + u, the flow is trained on their density,
and the averaged weights that are best on the validation split are tested once. What is printed are
bits a dimension on the test split, by the uniform bound and by the importance-weighted one, beside
a histogram (digits: one for each position; speech: one for all, over bins of values whose width is
chosen on the validation split) and a Gaussian with full covariance, which gets the same noise.

Written to --output_dir: figures.json, samples.png, loss.png.
"""

import contextlib
import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from absl import app, flags

import tfp_ar
from examples.affine_spline import AffineSpline
from examples.baselines import FullGaussian, Histogram
from examples.data import Dataset, load_digits, load_speech
from examples.dequantization import (
    Stream,
    bits_per_dim,
    log_prob_draws,
    noise_bits,
    noise_seed,
    uniform_noise,
)
from examples.report import FLOW, GAUSSIAN, HISTOGRAM, Clock, compare, environment, table

tfb, tfd = tfp.bijectors, tfp.distributions

POSITIVE, NOT_NEGATIVE = {"lower_bound": 1}, {"lower_bound": 0}
SMALLEST_RATE = 0.01  # where the learning rate starts and ends, as a fraction of --learning_rate
PROGRESS_EVERY = 20  # steps; reading the loss waits for the device
# Tried on the validation split: from one bin a value to 64 bins for 16 bits.
SPEECH_BIN_WIDTHS = tuple(2**k for k in range(11))

_OUTPUT_DIR = flags.DEFINE_string("output_dir", "demo_output", "Folder for pictures and figures.")
_WAV_DIR = flags.DEFINE_string("wav_dir", None, "Folder with .wav files. Default: the digits.")
_WINDOW = flags.DEFINE_integer("window", 512, "Samples in each example of speech.", **POSITIVE)
_MAX_EVAL = flags.DEFINE_integer(
    "max_eval_examples",
    1000,
    "Most examples, evenly spaced, of the validation split and of the test split.",
    **POSITIVE,
)
_SAMPLES = flags.DEFINE_integer("num_samples", 64, "Samples to draw at the end.", **POSITIVE)
_SEED = flags.DEFINE_integer("seed", 0, "Decides split, weights, order and noise.", **NOT_NEGATIVE)

_CHANNELS = flags.DEFINE_integer("residual_channels", 32, "Channels of the blocks.", **POSITIVE)
_SKIP = flags.DEFINE_integer("skip_channels", 64, "Channels of the skip connections.", **POSITIVE)
_DILATIONS = flags.DEFINE_list(
    "dilations", None, "Dilation of each block. Default: 1, 2, 4, ... to see the whole sequence."
)
flags.register_validator(
    "dilations",
    lambda dilations: all(d.isdigit() and int(d) for d in dilations or []),
    message="expected positive integers, separated by commas.",
)
_KERNEL_SIZE = flags.DEFINE_integer("kernel_size", 2, "Taps of the convolutions.", **POSITIVE)
_POSITIONS = flags.DEFINE_enum(
    "position_encoding",
    "auto",
    ["auto", "none", "learned", "sinusoidal"],
    "How the network knows the position. auto: learned for digits, none for speech.",
)
_DROPOUT = flags.DEFINE_float("dropout", 0.1, "Dropout in the gates.", 0.0, 0.99)
_TRANSFORMER = flags.DEFINE_enum(
    "transformer",
    "spline",
    ["affine", "spline"],
    "affine: every conditional is Gaussian; spline: a spline bends it before.",
)
_SPLINE_BINS = flags.DEFINE_integer("spline_bins", 8, "Bins of the spline.", lower_bound=2)
_LOG_SCALE_BOUND = flags.DEFINE_float(
    "log_scale_bound", 12.0, "Bound on the log of the scales; silence in speech is near -9.", 0.1
)

_STEPS = flags.DEFINE_integer("steps", 2000, "Training steps, at most.", **POSITIVE)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Examples a step.", **POSITIVE)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-2, "Highest learning rate.", 0.0)
_WARMUP_STEPS = flags.DEFINE_integer("warmup_steps", 100, "Steps up to it.", **NOT_NEGATIVE)
_WEIGHT_DECAY = flags.DEFINE_float("weight_decay", 0.0, "Weight decay of AdamW.", 0.0)
_CLIP_NORM = flags.DEFINE_float("clip_norm", 1.0, "Largest norm of the gradient.", 0.0)
_EMA = flags.DEFINE_float("ema_momentum", 0.995, "Averaging of the weights; 0: none.", 0.0, 0.9999)
_EVAL_EVERY = flags.DEFINE_integer("eval_every", 200, "Steps between validations.", **POSITIVE)
_PATIENCE = flags.DEFINE_integer("patience", 5, "Validations without progress to stop.", **POSITIVE)
_DRAWS = flags.DEFINE_integer("importance_samples", 8, "K of the weighted bound.", **POSITIVE)


def load_data() -> Dataset:
    """The data that the flags ask for."""
    if _WAV_DIR.value is None:
        return load_digits(_SEED.value)
    try:
        return load_speech(_WAV_DIR.value, _WINDOW.value)
    except ValueError as error:  # which says what is wrong with the folder
        raise SystemExit(str(error)) from None


def make_flow(data: Dataset) -> tfd.TransformedDistribution:
    """The density of x + u over sequences [d], in units of the integers."""
    bound = _LOG_SCALE_BOUND.value
    if _TRANSFORMER.value == "spline":
        transformer = AffineSpline(_SPLINE_BINS.value, log_scale_bound=bound)
    else:
        transformer = tfp_ar.bijectors.Affine(bound)
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
        seed=_SEED.value,
    )
    x = data.train.x
    # The network sees numbers of about unit size. Constant data, of standard deviation 0, stay as
    # they are.
    shift, scale = np.float32(x.mean() + 0.5), np.float32(x.std() or 1.0)
    flow = tfp_ar.ARFlowBijector(network, transformer)
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [data.dims])
    return tfd.TransformedDistribution(
        base, tfp_ar.bijectors.Chain([tfb.Shift(shift), tfb.Scale(scale), flow])
    )


def make_optimizer() -> keras.optimizers.Optimizer:
    """AdamW with a cosine schedule, and a moving average of the weights."""
    low = SMALLEST_RATE * _LEARNING_RATE.value
    schedule = keras.optimizers.schedules.CosineDecay(
        low if _WARMUP_STEPS.value else _LEARNING_RATE.value,
        decay_steps=max(_STEPS.value - _WARMUP_STEPS.value, 1),
        alpha=SMALLEST_RATE,
        warmup_target=_LEARNING_RATE.value if _WARMUP_STEPS.value else None,
        warmup_steps=_WARMUP_STEPS.value,
    )
    return keras.optimizers.AdamW(
        schedule,
        weight_decay=_WEIGHT_DECAY.value,
        global_clipnorm=_CLIP_NORM.value or None,
        use_ema=_EMA.value > 0,
        ema_momentum=_EMA.value,
    )


@contextlib.contextmanager
def averaged_weights(optimizer, variables):
    """Within it the variables hold their moving averages."""
    raw = [v.numpy() for v in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        assign(variables, raw)


def assign(variables, values):
    """Puts values into variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def train(flow, data: Dataset, validate) -> dict:
    """Trains until --steps or validation makes no progress; leaves the best weights in `flow`.

    Batches and noise are functions of the seed and the step.

    Args:
      flow: the distribution.
      data: the dataset.
      validate: function without arguments: bits a dimension on the validation split.

    Returns: the loss curve, dict of lists 'step', 'train' and 'validation'.
    """
    variables, optimizer = flow.trainable_variables, make_optimizer()
    optimizer.build(variables)
    noise = noise_bits(data.low, data.high)
    nats_per_bit = data.dims * np.log(2.0)

    @tf.function(jit_compile=True)
    def train_step(x, seed):
        y = x + uniform_noise(x.shape, seed, noise)
        with tf.GradientTape() as tape:
            log_prob = flow.log_prob(y, bijector_kwargs={"training": True})  # with dropout
            loss = -tf.reduce_mean(log_prob) / nats_per_bit
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    curve = {"step": [], "train": [], "validation": []}
    best_weights, waited = None, 0
    names = ["train", "validation"]
    progress = keras.utils.Progbar(_STEPS.value, stateful_metrics=names, unit_name="step")
    losses = []
    for step in range(1, _STEPS.value + 1):
        generator = np.random.default_rng([_SEED.value, step])
        rows = generator.integers(len(data.train.x), size=_BATCH_SIZE.value)
        seed = noise_seed(_SEED.value, Stream.TRAINING, step)
        losses.append(train_step(tf.constant(data.train.x[rows]), seed))
        if step % PROGRESS_EVERY == 0:
            progress.update(step, [("train", np.mean(losses))], finalize=False)
        if step % _EVAL_EVERY.value and step < _STEPS.value:
            continue
        with averaged_weights(optimizer, variables):
            validation = float(validate())
            if not np.isfinite(validation):
                raise SystemExit(f"Training diverged by step {step}: try a lower --learning_rate.")
            waited += 1
            if validation < min(curve["validation"], default=np.inf):
                best_weights, waited = [v.numpy() for v in variables], 0
        curve["step"].append(step)
        curve["train"].append(float(np.mean(losses)))
        curve["validation"].append(validation)
        losses.clear()
        stop = waited >= _PATIENCE.value or step == _STEPS.value
        progress.update(step, [(name, curve[name][-1]) for name in names], finalize=stop)
        if stop:
            break
    assign(variables, best_weights)
    return curve


def run() -> dict:
    """Everything in turn; returns what is in figures.json."""
    clock = Clock()
    keras.utils.set_random_seed(_SEED.value)  # of the initial weights
    data = load_data()
    validation, test = (split.thinned(_MAX_EVAL.value) for split in (data.validation, data.test))
    sizes = {"train": len(data.train.x), "validation": len(validation.x), "test": len(test.x)}
    print(f"{data.name}: sequences of {data.dims}; {sizes}", flush=True)

    widths = SPEECH_BIN_WIDTHS if data.stationary else (1,)
    histogram = Histogram.choose(data, validation.x, widths)
    gaussian = FullGaussian(data.train.x)
    clock.lap("data and baselines")

    flow = make_flow(data)
    flow_log_prob = tf.function(flow.log_prob, jit_compile=True)

    def log_prob_with_noise(log_prob, split, stream, num_draws):
        noise = noise_bits(data.low, data.high)
        return log_prob_draws(
            log_prob, split.x, _SEED.value, stream, noise, num_draws, _BATCH_SIZE.value
        )

    def validate(log_prob=flow_log_prob):
        log_p = log_prob_with_noise(log_prob, validation, Stream.VALIDATION, 1)
        return bits_per_dim(log_p, data.dims).mean()

    curve = train(flow, data, validate)
    clock.lap("training")

    log_p = {
        FLOW: log_prob_with_noise(flow_log_prob, test, Stream.TEST, _DRAWS.value),
        GAUSSIAN: log_prob_with_noise(gaussian.log_prob, test, Stream.TEST, _DRAWS.value),
        HISTOGRAM: histogram.log_prob(test.x)[np.newaxis],
    }
    figures = compare(log_p, test.groups, data.dims)
    print(table(figures, len(test.x), _DRAWS.value), flush=True)
    clock.lap("test")

    samples = flow.sample(_SAMPLES.value, seed=[_SEED.value, 0]).numpy()
    clock.lap("sampling")

    from examples import plots  # here, so that training does without matplotlib

    output = pathlib.Path(_OUTPUT_DIR.value)
    plots.plot_samples(output / "samples.png", data, test.x, samples)
    levels = {
        HISTOGRAM: bits_per_dim(histogram.log_prob(validation.x), data.dims).mean(),
        GAUSSIAN: validate(gaussian.log_prob),
    }
    plots.plot_loss(output / "loss.png", curve, levels)
    clock.lap("pictures")

    best = int(np.argmin(curve["validation"]))
    module_flags = flags.FLAGS.get_key_flags_for_module(sys.modules[__name__])
    figures |= {
        "validation": {"best": curve["validation"][best], "step": curve["step"][best]},
        "histogram": {"width": histogram.width, "pseudo_count": histogram.pseudo_count},
        "data": {"name": data.name, "dims": data.dims, "levels": data.high + 1 - data.low, **sizes},
        "parameters": sum(int(np.prod(v.shape)) for v in flow.trainable_variables),
        "seconds": clock.seconds,
        "environment": environment(),
        "flags": {flag.name: flag.value for flag in module_flags},
        "loss_curve": curve,
    }
    (output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(f"Seconds: {clock}. Figures and pictures are in {output}/")
    return figures


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only, got {argv[1:]}.")
    try:  # before any work
        pathlib.Path(_OUTPUT_DIR.value).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"output_dir: {error}") from None
    run()


if __name__ == "__main__":
    app.run(main)
