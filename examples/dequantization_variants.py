"""Trains flows of digits in all variants, and prints one table.

    python -m examples.dequantization_variants --steps=1000

The variants have uniform or variational noise; conditionals that are affine, mixtures of logistics
or splines; and one flow, or two in opposite directions. All are WaveNets over scikit-learn's
digits, with the split and the training of `examples.train_wavenet_flow`. The table gives bits per
dimension on the test split, by the bounds of 1, 8 and 64 importance samples.

If a run is killed, the next run with the same flags does not train finished variants again. The
program writes figures.json and table.md to --output_dir.
"""

import functools
import itertools
import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import tfp_ar
from examples import loop_trainer, training
from examples.data import Dataset, load_digits
from examples.evaluation import bound, log_prob_draws
from examples.flow_parts import NOISES, TRANSFORMERS, make_density, make_noise, make_transformer
from examples.report import (
    Clock,
    environment,
    mean_and_standard_error,
    save_figures,
    variants_table,
)
from examples.training import BATCH_SIZE, POSITIVE, SEED

NUMBERS = (1, 8, 64)  # of importance samples
VALIDATION, TEST = (number << 28 for number in (1, 2))  # second numbers of seeds
FLOWS = (1, 2)
VARIANTS = [
    f"{noise}-{transformer}-{number}"
    for number, transformer, noise in itertools.product(FLOWS, TRANSFORMERS, NOISES)
]

_OUTPUT_DIR = flags.DEFINE_string("output_dir", "variants_output", "Folder for the output.")
_VARIANTS = flags.DEFINE_multi_enum("variant", VARIANTS, VARIANTS, "Variants to train.")
_CHANNELS = flags.DEFINE_integer("residual_channels", 32, "Channels of the blocks.", **POSITIVE)
_WIDTH = flags.DEFINE_integer("noise_width", 32, "Channels of the learned noise.", **POSITIVE)
flags.adopt_module_key_flags(training)


def make_model(variant: str, data: Dataset) -> tfp_ar.Dequantized:
    """Returns the distribution of that name."""
    noise, transformer, num_flows = variant.split("-")
    transformer = make_transformer(transformer)

    def make_network(k):
        keras.utils.set_random_seed(SEED.value + k)
        return tfp_ar.networks.WaveNet(
            [data.dims],
            transformer.num_params,
            residual_channels=_CHANNELS.value,
            skip_channels=2 * _CHANNELS.value,
            position_encoding="learned",
            dropout=0.1,
            seed=SEED.value + k,
        )

    density = make_density(make_network, data, transformer, int(num_flows))
    dequantizer = make_noise(noise, [data.dims], data.low, data.high, _WIDTH.value)
    return tfp_ar.Dequantized(density, dequantizer)


def train_and_test(variant: str, data: Dataset, folder) -> dict:
    """Trains one variant, and tests the averaged weights that were best on the validation split."""
    clock = Clock()
    tf.random.set_seed(SEED.value)
    model = make_model(variant, data)

    @functools.partial(tf.function, jit_compile=True)
    def log_prob(x, _, seed):
        return model.log_prob(x, seed=seed)

    def draws(split, stream, number):
        return log_prob_draws(log_prob, split, (SEED.value, stream), number, BATCH_SIZE.value)

    def validate():
        return tfp_ar.bits_per_dim(draws(data.validation, VALIDATION, 1), [data.dims]).mean()

    curve = loop_trainer.train(model, data.train, validate, folder)
    clock.lap("training")
    log_p = draws(data.test, TEST, NUMBERS[-1])
    bits = {k: tfp_ar.bits_per_dim(bound(log_p, k), [data.dims]) for k in NUMBERS}
    groups = data.test.groups
    clock.lap("test")
    return {
        "bits_per_dim": {str(k): mean_and_standard_error(b, groups) for k, b in bits.items()},
        "gap": mean_and_standard_error(bits[NUMBERS[0]] - bits[NUMBERS[-1]], groups),
        "parameters": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        "steps": curve.points["step"][-1],
        "seconds": clock.seconds,
    }


def run() -> dict:
    """Trains and tests all variants in turn; returns the content of figures.json."""
    data = load_digits(SEED.value).without_labels()
    settings = {
        flag.name: flag.value
        for flag in flags.FLAGS.get_key_flags_for_module(sys.modules[__name__])
        if flag.name != "variant"  # a later run may add more of them
    }
    output = pathlib.Path(_OUTPUT_DIR.value)
    folder = training.CheckpointFolder(output / "checkpoints", settings)
    done = {}
    for variant in _VARIANTS.value:
        finished = folder.path / f"{variant}.json"
        if not finished.exists():
            print(variant, flush=True)
            figures = train_and_test(variant, data, folder.path / variant)
            finished.write_text(json.dumps(figures))
        done[variant] = json.loads(finished.read_text())
    text = variants_table(done)
    print(text)
    (output / "table.md").write_text(text + "\n")
    figures = {"variants": done, "environment": environment(), "flags": settings}
    save_figures(output, figures)
    print(f"table.md and figures.json are in {output}/")
    return figures


def main(argv):
    training.prepare(argv, _OUTPUT_DIR.value)
    run()


if __name__ == "__main__":
    app.run(main)
