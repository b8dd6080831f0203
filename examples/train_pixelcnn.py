"""Trains a PixelCNN on images, and draws samples and completions.

    python -m examples.train_pixelcnn
    python -m examples.train_pixelcnn --model=pixelcnn --head=logistic_mixture --conditional
    python -m examples.train_pixelcnn --data=mnist.npz --dilations=1,2,1,4,1,2,1 --filters=64
    python -m examples.train_pixelcnn --head=flow --noise=variational

The default data are scikit-learn's handwritten digits, 8x8 pixels of 17 levels; --data takes an
.npz file with the keys of `keras.datasets.mnist`. The model is a
`tfp_ar.AutoregressiveDistribution` of the levels. With --head=flow it is one flow or several inside
`tfp_ar.Dequantized`, with uniform or learned noise, and its figures are bounds (of 1 and of 8
importance samples). The averaged weights that are best on the validation split are tested once.

A killed run continues where it stopped when it is started again with the same flags.

The program writes to --output_dir: figures.json, samples.png (beside test images; with classes, one
column per class), completions.png (images whose lower half is drawn given the upper one; not for
the flow), loss.png, and the folder saved_model.
"""

import functools
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from absl import app, flags

import tfp_ar
from examples import images, loop_trainer, plots, training
from examples.data import Dataset, Split
from examples.evaluation import bound, log_prob_draws
from examples.flag_values import are_positive
from examples.flow_parts import NOISES, TRANSFORMERS, make_density, make_noise, make_transformer
from examples.report import Clock, mean_and_standard_error, write_figures
from examples.training import BATCH_SIZE, POSITIVE, SEED

tfd = tfp.distributions

# Second numbers of the seeds, far above those of training, which uses one per step.
VALIDATION, TEST, SAMPLES, COMPLETIONS = (number << 28 for number in (1, 2, 3, 4))
NETWORKS = {"gated": tfp_ar.networks.GatedPixelCNN, "pixelcnn": tfp_ar.networks.PixelCNN}
DEFAULT_LAYERS = 7
FLOW_IMPORTANCE_SAMPLES = (1, 8)

_OUTPUT_DIR = flags.DEFINE_string("output_dir", "pixelcnn_output", "Folder for the output.")
_DATA = flags.DEFINE_string("data", None, ".npz file of images. Default: the digits.")
_MODEL = flags.DEFINE_enum("model", "gated", list(NETWORKS), "With or without a blind spot.")
_HEAD = flags.DEFINE_enum(
    "head",
    "categorical",
    ["categorical", "logistic_mixture", "bernoulli", "flow"],
    "Distribution of a pixel given those before it. bernoulli binarizes the images.",
)
_BINARIZE = flags.DEFINE_bool("binarize", False, "Two levels: above half of the range or not.")
_POOL = flags.DEFINE_integer("pool", 1, "Shrink images by this factor.", **POSITIVE)
_MAX_TRAIN = flags.DEFINE_integer("max_train", None, "Most training images to use.", **POSITIVE)
_MAX_EVAL = flags.DEFINE_integer(
    "max_eval", 10000, "Most images to validate on, and to test on.", **POSITIVE
)
_CONDITIONAL = flags.DEFINE_bool("conditional", False, "Model the images given their class.")
_FILTERS = flags.DEFINE_integer("filters", 32, "Channels of the layers.", **POSITIVE)
_LAYERS = flags.DEFINE_integer(
    "num_layers", None, f"Layers. Default: as many as --dilations, or {DEFAULT_LAYERS}.", **POSITIVE
)
_KERNEL = flags.DEFINE_integer("kernel_size", 3, "Side of the kernels, odd.", lower_bound=3)
flags.register_validator("kernel_size", lambda size: size % 2, message="expected an odd number.")
_DILATIONS = flags.DEFINE_list("dilations", None, "Dilation of each layer, from 1. Default: all 1.")
flags.register_validator(
    "dilations",
    lambda dilations: dilations is None or (are_positive(dilations) and int(dilations[0]) == 1),
    message="expected positive integers, separated by commas, the first of them 1.",
)
flags.register_multi_flags_validator(
    ["num_layers", "dilations"],
    lambda values: None in values.values() or values["num_layers"] == len(values["dilations"]),
    message="expected one of --dilations for each of --num_layers.",
)
_DROPOUT = flags.DEFINE_float("dropout", 0.2, "Dropout in the layers.", 0.0, 0.99)
_COMPONENTS = flags.DEFINE_integer("components", 5, "Components of the mixture.", **POSITIVE)
_MIXED = flags.DEFINE_bool("mixed_precision", False, "Compute in bfloat16.")
_TRANSFORMER = flags.DEFINE_enum(
    "transformer", "spline", list(TRANSFORMERS), "The conditionals of --head=flow."
)
_NUM_FLOWS = flags.DEFINE_integer(
    "num_flows", 1, "Flows of --head=flow, each in another direction.", **POSITIVE
)
_NOISE = flags.DEFINE_enum("noise", "uniform", list(NOISES), "The dequantizer of --head=flow.")
_NOISE_WIDTH = flags.DEFINE_integer("noise_width", 32, "Channels of learned noise.", **POSITIVE)
_OF_FLOWS = (_TRANSFORMER, _NUM_FLOWS, _NOISE, _NOISE_WIDTH)
flags.register_multi_flags_validator(
    ["head", "transformer", "num_flows", "noise", "noise_width"],
    lambda values: (
        values["head"] == "flow" or all(values[flag.name] == flag.default for flag in _OF_FLOWS)
    ),
    message="expected --transformer, --num_flows, --noise, --noise_width with --head=flow only.",
)
_SAMPLES = flags.DEFINE_integer("num_samples", 64, "Samples to draw.", **POSITIVE)
flags.adopt_module_key_flags(training)


def load_data() -> Dataset:
    """Loads the images that the flags ask for, with labels if the model is conditioned on them."""
    try:
        data = (
            images.load_digit_images(SEED.value, _MAX_TRAIN.value)
            if _DATA.value is None
            else images.load_npz(_DATA.value, _MAX_TRAIN.value)
        )
        data = images.pooled(data, _POOL.value)
    except ValueError as error:  # its message states what is wrong
        raise SystemExit(str(error)) from None
    if _BINARIZE.value or _HEAD.value == "bernoulli":
        data = images.binarized(data)
    return data if _CONDITIONAL.value else data.without_labels()


def categorical(params):
    """Returns a distribution of all levels."""
    return tfd.Categorical(logits=params)


def bernoulli(params):
    """Returns a distribution of two levels."""
    return tfd.Bernoulli(logits=params[..., 0])


def make_network(data: Dataset, num_params: int, k=0):
    """Returns the network that the flags ask for, number k of the model."""
    dilations = None if _DILATIONS.value is None else [int(d) for d in _DILATIONS.value]
    return NETWORKS[_MODEL.value](
        data.train.x.shape[1:],
        num_params=num_params,
        filters=_FILTERS.value,
        num_layers=_LAYERS.value or (len(dilations) if dilations else DEFAULT_LAYERS),
        kernel_size=_KERNEL.value,
        dilations=dilations,
        conditional_shape=[data.num_classes] if data.num_classes else None,
        dropout=_DROPOUT.value,
        seed=SEED.value + k,
        dtype="mixed_bfloat16" if _MIXED.value else "float32",
    )


def make_flow(data: Dataset) -> tfp_ar.Dequantized:
    """Returns a distribution of images [H, W, C] from flows and noise."""
    transformer = make_transformer(_TRANSFORMER.value)
    make = functools.partial(make_network, data, transformer.num_params)
    density = make_density(make, data, transformer, _NUM_FLOWS.value)
    event_shape = data.train.x.shape[1:]
    noise = make_noise(_NOISE.value, event_shape, data.low, data.high, _NOISE_WIDTH.value)
    return tfp_ar.Dequantized(density, noise)


def make_model(data: Dataset):
    """Returns the distribution of images [H, W, C]."""
    if _HEAD.value == "flow":
        return make_flow(data)
    mixture = tfp_ar.distributions.LogisticMixtureHead(_COMPONENTS.value, 0, data.high)
    distribution_fn, num_params = {
        "categorical": (categorical, data.high + 1),
        "bernoulli": (bernoulli, 1),
        "logistic_mixture": (mixture, mixture.num_params),
    }[_HEAD.value]
    half = data.high / 2
    return tfp_ar.AutoregressiveDistribution(
        make_network(data, num_params), distribution_fn, input_transform=lambda x: x / half - 1.0
    )


def draw_samples(model, data: Dataset) -> Split:
    """Draws samples; of a conditioned model, of class 0, 1, ... in turn."""
    number, seed = _SAMPLES.value, tf.constant([SEED.value, SAMPLES], tf.int32)
    if not data.num_classes:
        return Split(model.sample(number, seed=seed).numpy(), np.arange(number))
    labels = np.eye(data.num_classes, dtype=np.float32)[np.arange(number) % data.num_classes]
    x = model.sample(seed=seed, conditional_input=tf.constant(labels))
    return Split(x.numpy(), np.arange(number), labels)


def draw_completions(model, test: Split) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns test images, completions of each [n, m, H, W, C], and the number of given rows."""
    count, times = min(8, len(test.x)), 6
    rows = test.x.shape[1] // 2
    given = np.repeat(test.x[:count], times, axis=0)
    condition = None if test.labels is None else np.repeat(test.labels[:count], times, axis=0)
    completed = model.complete(
        given, rows, seed=tf.constant([SEED.value, COMPLETIONS]), conditional_input=condition
    )
    return test.x[:count], completed.numpy().reshape([count, times, *test.x.shape[1:]]), rows


def run() -> dict:
    """Runs all phases in turn; returns the content of figures.json."""
    clock = Clock()
    keras.utils.set_random_seed(SEED.value)  # for the initial weights
    data = load_data()
    validation, test = (split.thinned(_MAX_EVAL.value) for split in (data.validation, data.test))
    shape = list(data.train.x.shape[1:])
    sizes = {"train": len(data.train.x), "validation": len(validation.x), "test": len(test.x)}
    print(f"{data.name}: {shape}, {data.high + 1} levels; {sizes}", flush=True)
    settings = {
        flag.name: flag.value
        for flag in flags.FLAGS.get_key_flags_for_module(sys.modules[__name__])
    }
    output = pathlib.Path(_OUTPUT_DIR.value)
    checkpoints = training.CheckpointFolder(output / "checkpoints", settings)
    model = make_model(data)
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    print(f"{_MODEL.value}, {_HEAD.value}: {parameters} parameters", flush=True)
    clock.lap("data and model")

    @functools.partial(tf.function, jit_compile=True)
    def log_prob(x, labels, seed):
        return tfp_ar.log_prob(model, x, labels, seed)

    def draws(split, stream, number):
        return log_prob_draws(log_prob, split, (SEED.value, stream), number, BATCH_SIZE.value)

    def validate():
        return tfp_ar.bits_per_dim(draws(validation, VALIDATION, 1), shape).mean()

    curve = loop_trainer.train(model, data.train, validate, checkpoints.path)
    clock.lap("training")

    numbers = FLOW_IMPORTANCE_SAMPLES if _HEAD.value == "flow" else (1,)
    log_p = draws(test, TEST, numbers[-1])
    by_number = {}
    for k in numbers:
        nats = bound(log_p, k)
        by_number[str(k)] = {
            "bits_per_dim": mean_and_standard_error(tfp_ar.bits_per_dim(nats, shape), test.groups),
            "nats": mean_and_standard_error(-nats, test.groups),
        }
        bits = by_number[str(k)]["bits_per_dim"]
        how = f" (bound of {k} importance samples)" if _HEAD.value == "flow" else ""
        print(
            f"Test{how}: {bits['mean']:.4f} +- {bits['standard_error']:.4f} bits/dim, "
            f"{-nats.mean():.2f} nats",
            flush=True,
        )
    clock.lap("test")

    samples = draw_samples(model, data)
    clock.lap("sampling")
    shown = plots.by_class(test)[: _SAMPLES.value]
    plots.plot_images(output / "samples.png", data, shown, samples.x)
    if _HEAD.value != "flow":
        plots.plot_completions(output / "completions.png", data, *draw_completions(model, test))
    plots.plot_loss(output / "loss.png", curve.points, {})
    clock.lap("completions and pictures")
    tfp_ar.export_saved_model(model, output / "saved_model")
    clock.lap("export")

    inside = (samples.x >= data.low) & (samples.x <= data.high)
    figures = {
        "test": by_number,
        "parameters": parameters,
        "samples_in_range": float(inside.mean()),
        "data": {"name": data.name, "shape": shape, "levels": data.high + 1, **sizes},
    }
    figures = write_figures(output, figures, clock, settings, curve)
    checkpoints.remove()
    return figures


def main(argv):
    training.prepare(argv, _OUTPUT_DIR.value)
    run()


if __name__ == "__main__":
    app.run(main)
