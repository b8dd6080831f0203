"""Compares fixed-point sampling with cached sampling, on trained flows.

    python -m benchmarks.fixed_point
    python -m benchmarks.fixed_point --wav_dir=FOLDER --window=512
    python -m benchmarks.fixed_point --npz=mnist.npz [--network=gated_pixel_cnn]

trains a small flow (by default a WaveNet over scikit-learn's digits), then draws from it in both
ways, in one run. It prints milliseconds, the ratio to cached sampling, the passes over a block,
whether it fell back, and the largest differences from the cached samples, in x and in the noise
that the inverse finds for them. Passes are means over blocks, each of which needs one more pass to
fill the caches; they are given as the mean over samples, and for the batch, which waits for its
slowest sample. XLA compiles everything.
"""

import functools
import json
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import tfp_ar
from benchmarks import _timing as timing
from examples.data import load_digits, load_speech
from examples.flag_values import are_positive
from examples.flow_parts import TRANSFORMERS, make_density, make_transformer
from examples.images import load_npz


def _define_list(name, default, text):
    holder = flags.DEFINE_list(name, default, text)
    flags.register_validator(
        name,
        lambda numbers: not numbers or are_positive(numbers),
        message="expected positive integers, separated by commas.",
    )
    return holder


_WAV_DIR = flags.DEFINE_string("wav_dir", None, "Folder with .wav files, to model speech.")
_NPZ = flags.DEFINE_string("npz", None, "File of images such as MNIST's, to model images.")
flags.register_multi_flags_validator(
    ["wav_dir", "npz"],
    lambda values: None in values.values(),
    message="expected one of --wav_dir and --npz at most.",
)
_WINDOW = flags.DEFINE_integer("window", 512, "Samples in each example of speech.", lower_bound=2)
_NETWORK = flags.DEFINE_enum(
    "network",
    "wavenet",
    ["wavenet", "gated_pixel_cnn"],
    "The network. gated_pixel_cnn is over images, and its blocks are rows.",
)
_TRANSFORMER = flags.DEFINE_enum("transformer", "spline", list(TRANSFORMERS), "The conditionals.")
_CHANNELS = flags.DEFINE_integer("channels", 32, "Channels of the blocks.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 600, "Training steps.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 5e-3, "Adam's rate; it follows a cosine.", 0.0)
_BATCHES = _define_list("batches", ["1", "16"], "Batch sizes of samples.")
_BLOCK_SIZES = _define_list("block_sizes", ["4", "8", "16"], "Block sizes beside the whole event.")
_MAX_ITERATIONS = flags.DEFINE_integer("max_iterations", 64, "Passes per block.", lower_bound=1)
_TOLERANCE = flags.DEFINE_float("tolerance", None, "Tolerance. Default: 16 units of rounding.", 0.0)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Timed calls of each candidate.", lower_bound=1)
_JSON = flags.DEFINE_string("json", None, "File to write the figures to, too.")

_TRAIN_BATCH = 32


def load():
    """Loads the data that the flags ask for; returns them and a function that shapes x."""
    if _WAV_DIR.value:
        data = load_speech(_WAV_DIR.value, _WINDOW.value)
    else:
        data = load_npz(_NPZ.value) if _NPZ.value else load_digits(0)
    if _NETWORK.value == "gated_pixel_cnn":
        if _WAV_DIR.value:
            raise app.UsageError("--network=gated_pixel_cnn: expected images, got --wav_dir.")
        side = int(np.sqrt(data.train.x[0].size))
        return data, lambda x: x.reshape([len(x), side, side, 1])
    return data, lambda x: x.reshape([len(x), -1])


def make_model(data, x):
    """Returns the distribution of integers, and the flow in it."""
    transformer = make_transformer(_TRANSFORMER.value)
    event_shape, num_params = list(x.shape[1:]), transformer.num_params
    if _NETWORK.value == "wavenet":
        network = tfp_ar.networks.WaveNet(
            event_shape,
            num_params=num_params,
            residual_channels=_CHANNELS.value,
            skip_channels=2 * _CHANNELS.value,
            position_encoding=None if data.stationary else "learned",
        )
    else:
        network = tfp_ar.networks.GatedPixelCNN(event_shape, num_params, filters=_CHANNELS.value)
    density = make_density(lambda _: network, data, transformer)
    return tfp_ar.Dequantized(density), density.bijector.bijectors[-1]


def train(model, x) -> None:
    """Trains with Adam on the bound of one importance sample."""
    variables = model.trainable_variables
    rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE.value, _STEPS.value, alpha=0.01)
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=1.0)
    optimizer.build(variables)

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def step(x, seed):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model.log_prob(x, seed=seed))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    generator = np.random.default_rng(0)
    for number in range(_STEPS.value):
        rows = generator.integers(len(x), size=_TRAIN_BATCH)
        step(tf.constant(x[rows]), tf.constant([0, number]))


def bits(model, x) -> float:
    """Returns the mean bits per dimension of some examples."""
    log_prob = tf.function(model.log_prob, jit_compile=True, autograph=False)
    return float(
        np.mean(tfp_ar.bits_per_dim(log_prob(x[:256], seed=tf.constant([1, 0])), x.shape[1:]))
    )


def samplers(flow) -> dict:
    """Returns the flow with each way to sample, by name."""
    found = {"cached": flow}
    sizes = [int(n) for n in _BLOCK_SIZES.value if int(n) < flow.event_shape[0]]
    for size in (None, *sizes):
        options = tfp_ar.bijectors.FixedPoint(
            _TOLERANCE.value or None, _MAX_ITERATIONS.value, block_size=size
        )
        found["whole" if size is None else f"blocks of {size}"] = flow.copy(sampling=options)
    return found


def measure(flow, batch: int) -> list[dict]:
    """Measures the figures of each sampler for one batch size."""
    u = tf.random.stateless_normal([batch, *flow.event_shape], seed=[1, 2])
    ways, calls = samplers(flow), {}
    for name, way in ways.items():
        draw = way.forward if name == "cached" else _reporting(way)
        calls[name] = tf.function(draw, jit_compile=True, autograph=False)
    timings = timing.measure(
        {name: lambda call=call: _x(call(u)) for name, call in calls.items()},
        _ROUNDS.value,
        budget_seconds=20.0,
    )
    exact, rows = calls["cached"](u), []
    for name, call in calls.items():
        result = call(u)
        x = _x(result)
        row = {
            "batch": batch,
            "sampler": name,
            "seconds": timings[name].median,
            "ratio": timings[name].ratio(timings["cached"]),
            "difference_in_x": float(np.max(np.abs(x - exact))),
            "difference_in_u": float(np.max(np.abs(flow.inverse(tf.identity(x)) - u))),
        }
        if name != "cached":
            passes = np.max(result.passes, axis=0)  # a batch waits for the slowest
            row |= {
                "passes_a_block": float(passes.mean()),
                "passes_of_a_sample": float(np.mean(result.passes)),
                "fell_back": bool(np.any(result.fell_back)),
            }
        rows.append(row)
    return rows


def _reporting(way):
    return lambda u: tfp_ar.bijectors.sampling_report(way, u)


def _x(result):
    return getattr(result, "x", result)


def show(row: dict) -> str:
    """Returns one line of the table."""
    cells = [
        f"{row['batch']:5d} {row['sampler']:14} {row['seconds'] * 1e3:9.2f} {row['ratio']:8.2f}"
    ]
    if "passes_a_block" in row:
        cells.append(f"{row['passes_of_a_sample']:9.1f} {row['passes_a_block']:9.1f}")
        cells.append("yes" if row["fell_back"] else " no")
    else:
        cells.append(f"{'':19} {'':3}")
    cells.append(f"{row['difference_in_x']:10.1e} {row['difference_in_u']:10.1e}")
    return " ".join(cells)


def main(argv):
    """Trains the flow, and prints the table."""
    del argv
    keras.utils.set_random_seed(0)
    data, shaped = load()
    x, test = shaped(data.train.x), shaped(data.test.x)
    model, flow = make_model(data, x)
    before, start = bits(model, test), time.perf_counter()
    train(model, x)
    seconds, after = time.perf_counter() - start, bits(model, test)
    print(timing.machine())
    print(
        f"{data.name}, {list(flow.event_shape)}, {_NETWORK.value}, {_TRANSFORMER.value}: "
        f"{_STEPS.value} steps in {seconds:.0f} s, {before:.2f} bits/dim before, {after:.3f} after"
        "\n"
    )
    print(
        "batch sampler               ms  /cached   /sample    /batch  fell back   in x      in u\n"
        "                                         (passes over a block)        (differences)"
    )
    rows = []
    for batch in map(int, _BATCHES.value):
        for row in measure(flow, batch):
            rows.append(row)
            print(show(row), flush=True)
    if _JSON.value:
        with open(_JSON.value, "w") as file:
            about = {"machine": timing.machine(), "data": data.name, "bits_per_dim": after}
            json.dump({**about, "rows": rows}, file, indent=2)


if __name__ == "__main__":
    app.run(main)
