"""Plots the bounds that dequantization gives, beside the exact values.

    python -m examples.dequantization_bounds

The left panel shows a density of two variables, small enough to integrate over each cell: the exact
log likelihood of integers drawn from it, and the bounds of K importance samples of uniform noise
and of learned noise (`tfp_ar.dequantizers.Variational`, trained with the density fixed). The right
panel shows the same bounds for a flow trained on scikit-learn's digits, whose exact value is
unknown.

The program writes bounds.png and figures.json to --output_dir.
"""

import pathlib

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from absl import app, flags

import tfp_ar
from examples import training
from examples.data import Split, load_digits
from examples.evaluation import bound, exact_log_prob, log_prob_draws
from examples.flow_parts import NOISES, make_density, make_noise, make_transformer
from examples.report import Clock, environment, mean_and_standard_error, save_figures
from examples.training import POSITIVE, SEED

tfd = tfp.distributions

EXACT = "exact"
REPEATS = 2  # of the bound with the most samples; the others repeat as often as the draws allow
TRAIN, DATA, TEST = (number << 28 for number in (1, 2, 3))  # second numbers of seeds

_OUTPUT_DIR = flags.DEFINE_string("output_dir", "bounds_output", "Folder for the output.")
_EPOCHS = flags.DEFINE_integer("epochs", 30, "Epochs for the digits' flow.", **POSITIVE)
_NOISE_EPOCHS = flags.DEFINE_integer("noise_epochs", 15, "Epochs for learned noise.", **POSITIVE)
_MOST = flags.DEFINE_integer("most_samples", 256, "The largest K, a power of 2.", lower_bound=2)
_EXAMPLES = flags.DEFINE_integer("examples", 500, "Values to average over.", lower_bound=2)
flags.declare_key_flag("seed")


def small_density():
    """Returns the density of two dependent variables, whose mass varies much between cells."""
    scale = tf.constant([[0.45, 0.0], [0.5, 0.25]])
    return tfd.MultivariateNormalTriL([1.4, 2.2], scale)


def fit(distribution, x, epochs, seed):
    """Trains the trainable variables of `distribution`; prints the loss before and after."""
    model = tfp_ar.DensityModel(distribution, seed=seed)
    batch_size = 64
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, epochs * -(-len(x) // batch_size))
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=1.0)
    model.compile(optimizer, jit_compile=True)
    history = model.fit(x, batch_size=batch_size, epochs=epochs, verbose=0).history["loss"]
    print(f"  bits/dim in training: {history[0]:.4f} to {history[-1]:.4f}", flush=True)


def bounds_of(density, noise, split, numbers) -> dict:
    """Returns a dict K -> bound for each value, in bits per dimension, [n]."""
    model = tfp_ar.Dequantized(density, noise)

    @tf.function(jit_compile=True)
    def log_prob(x, _, seed):
        return model.log_prob(x, seed=seed)

    most = REPEATS * numbers[-1]
    draws = log_prob_draws(log_prob, split, (SEED.value, TEST), most, len(split.x))
    return {k: tfp_ar.bits_per_dim(bound(draws, k), split.x.shape[1:]) for k in numbers}


def compare(density, train, test, low, high, width, numbers) -> dict:
    """Trains the noise, and returns a dict noise -> K -> bound for each value of `test`."""
    noises = {name: make_noise(name, train.shape[1:], low, high, width) for name in NOISES}
    fit(tfp_ar.Dequantized(density, noises["variational"]), train, _NOISE_EPOCHS.value, TRAIN)
    return {name: bounds_of(density, noise, test, numbers) for name, noise in noises.items()}


def small_model(numbers) -> dict:
    """Returns the bounds and exact values of the small density, for integers drawn from it."""
    density = small_density()
    train, test = (
        np.floor(density.sample(n, seed=[SEED.value, DATA + k]).numpy())
        for k, n in enumerate((4096, _EXAMPLES.value))
    )
    bits = compare(density, train, Split(test, np.arange(len(test))), 0, 3, 16, numbers)
    bits[EXACT] = {numbers[-1]: tfp_ar.bits_per_dim(exact_log_prob(density, test), [2])}
    return bits


def digits_model(numbers) -> dict:
    """Returns the bounds of a flow trained on digits, for held-out digits."""
    data = load_digits(SEED.value).without_labels()
    transformer = make_transformer("affine")
    network = tfp_ar.networks.WaveNet(
        [data.dims],
        transformer.num_params,
        skip_channels=64,
        position_encoding="learned",
        dropout=0.1,
        seed=SEED.value,
    )
    density = make_density(lambda _: network, data, transformer)
    fit(tfp_ar.Dequantized(density), data.train.x, _EPOCHS.value, TRAIN)
    network.trainable = False
    test = data.test.thinned(_EXAMPLES.value)
    return compare(density, data.train.x, test, data.low, data.high, 32, numbers)


def run() -> dict:
    """Compares both models; returns the content of figures.json."""
    clock = Clock()
    keras.utils.set_random_seed(SEED.value)
    numbers = [2**k for k in range(_MOST.value.bit_length())]
    bits = {}
    for name, model in (("two variables", small_model), ("digits", digits_model)):
        print(name, flush=True)
        bits[name] = model(numbers)
        clock.lap(name)
        for law, by_number in bits[name].items():
            shown = "  ".join(f"{k}: {b.mean():.4f}" for k, b in by_number.items())
            print(f"  {law:12} {shown}", flush=True)

    from examples import plots  # here, so that the rest does not need matplotlib

    output = pathlib.Path(_OUTPUT_DIR.value)
    figures = {
        name: {
            law: {
                str(k): mean_and_standard_error(b, np.arange(len(b))) for k, b in by_number.items()
            }
            for law, by_number in laws.items()
        }
        for name, laws in bits.items()
    }
    plots.plot_bounds(output / "bounds.png", figures)
    figures |= {"seconds": clock.seconds, "environment": environment()}
    save_figures(output, figures)
    print(f"Seconds: {clock}. bounds.png and figures.json are in {output}/")
    return figures


def main(argv):
    training.prepare(argv, _OUTPUT_DIR.value)
    run()


if __name__ == "__main__":
    app.run(main)
