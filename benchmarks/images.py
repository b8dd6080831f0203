"""Compares density, training step and sampling of PixelCNNs with the reference and TFP's PixelCNN.

    python -m benchmarks.images

prints median seconds, and ratios to one log_prob pass, of GatedPixelCNN, PixelCNN and
`tfd.PixelCNN` of a comparable number of parameters, on 8-bit images. It measures log_prob, a
training step (log_prob, gradient, Adam), cached sampling and reference sampling. XLA compiles
everything except TFP's network (for which it takes long) and, on a CPU, the training step. The
reference takes one network pass per pixel; it draws only the first rows, and the time is scaled to
all rows. `tfd.PixelCNN` is sampled once.
"""

import json
import time

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from absl import app, flags

import tfp_ar
from benchmarks import _timing as timing
from examples.flag_values import are_positive

tfd = tfp.distributions

_SIDE = flags.DEFINE_integer("side", 28, "Height and width of the images.", lower_bound=2)
_BATCHES = flags.DEFINE_list("batches", ["16"], "Batch sizes.")
flags.register_validator(
    "batches",
    are_positive,
    message="expected positive integers, separated by commas.",
)
_LAYERS = flags.DEFINE_integer("layers", 10, "Layers.", lower_bound=1)
_FILTERS = flags.DEFINE_integer("filters", 32, "Channels of the layers.", lower_bound=1)
_LEVELS = flags.DEFINE_integer("levels", 256, "Levels of a pixel.", lower_bound=2)
_COMPONENTS = flags.DEFINE_integer(
    "components", 5, "Components of the logistic mixture; 0: categorical.", lower_bound=0
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "float64", "mixed_bfloat16", "mixed_float16"],
    "Dtype policy of the networks.",
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed calls of each candidate.", lower_bound=1)
_REFERENCE_ROWS = flags.DEFINE_integer(
    "reference_rows", 1, "Rows that the reference draws.", lower_bound=1
)
flags.register_multi_flags_validator(
    ["reference_rows", "side"],
    lambda values: values["reference_rows"] <= values["side"],
    message="expected --reference_rows of at most --side.",
)
_TFP = flags.DEFINE_bool("tfp", True, "Run tfd.PixelCNN, too.")
_JSON = flags.DEFINE_string("json", None, "File to write the figures to, too.")

_COLUMNS = ["log_prob", "train step", "cached", "reference", "tfp log_prob", "tfp sample"]


def categorical(params):
    """Returns a distribution of all levels."""
    return tfd.Categorical(logits=params)


def make_distribution(network_class):
    """Returns this package's distribution over [side, side, 1]."""
    levels = _LEVELS.value
    head = categorical
    if _COMPONENTS.value:
        head = tfp_ar.distributions.LogisticMixtureHead(_COMPONENTS.value, 0, levels - 1)
    network = network_class(
        [_SIDE.value, _SIDE.value, 1],
        num_params=getattr(head, "num_params", levels),
        filters=_FILTERS.value,
        num_layers=_LAYERS.value,
        dtype=_DTYPE.value,
    )
    # The last layer starts at zero. With small weights there, samples depend on the whole network.
    kernel = network.head.output_kernel
    kernel.assign(0.01 * tf.random.stateless_normal(kernel.shape, seed=[0, 1]))
    half = (levels - 1) / 2
    return tfp_ar.AutoregressiveDistribution(
        network, head, input_transform=lambda x: x / half - 1.0
    )


def make_tfp(num_parameters: int):
    """Returns a `tfd.PixelCNN` with filters for the nearest number of parameters."""

    def make(filters):
        distribution = tfd.PixelCNN(
            image_shape=[_SIDE.value, _SIDE.value, 1],
            num_resnet=1,
            num_hierarchies=2,
            num_filters=filters,
            num_logistic_mix=max(_COMPONENTS.value, 1),
            dropout_p=0.0,
            high=_LEVELS.value - 1,
            use_weight_norm=False,
        )
        distribution.log_prob(tf.zeros([1, _SIDE.value, _SIDE.value, 1]))  # makes the weights
        return distribution

    candidates = (make(filters) for filters in (8, 12, 16, 24, 32, 48, 64))
    return min(candidates, key=lambda d: abs(parameters(d) - num_parameters))


def parameters(distribution) -> int:
    """Returns the number of trainable parameters."""
    return sum(int(np.prod(v.shape)) for v in distribution.trainable_variables)


def train_step(distribution, x):
    """Returns a function that makes one step of Adam."""
    variables, optimizer = distribution.trainable_variables, keras.optimizers.Adam(1e-4)
    optimizer.build(variables)

    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(x))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return tf.function(step, jit_compile=bool(tf.config.list_physical_devices("GPU")))


def reference_rows(distribution, batch):
    """Returns a function that draws the first rows by the reference: one pass per variable."""
    network, transform = distribution.network, distribution.input_transform
    number = _REFERENCE_ROWS.value * _SIDE.value

    def draw():
        def step(i, x):
            params = network(transform(tf.reshape(x, [batch, _SIDE.value, _SIDE.value, 1])))
            params = tf.reshape(params, [batch, -1, network.num_params])[:, i]
            drawn = distribution.distribution_fn(params).sample(seed=tf.stack([i, 2]))
            drawn = tf.cast(drawn, x.dtype)
            return i + 1, tf.where(tf.equal(tf.range(x.shape[1]), i), drawn[:, tf.newaxis], x)

        x = tf.zeros([batch, _SIDE.value**2])
        return tf.while_loop(lambda i, _: i < number, step, (tf.constant(0), x))[1]

    return tf.function(draw, jit_compile=True)


def measure(name: str, network_class, batch: int) -> dict:
    """Measures the figures for one network and batch size."""
    distribution = make_distribution(network_class)
    levels = _LEVELS.value
    x = tf.random.stateless_uniform(
        [batch, _SIDE.value, _SIDE.value, 1], [1, 2], 0, levels, tf.int32
    )
    floats = tf.cast(x, tf.float32)
    log_prob = tf.function(lambda x: distribution.log_prob(x), jit_compile=True)
    sample = tf.function(lambda: distribution.sample(batch, seed=[1, 2]), jit_compile=True)
    candidates = {
        "log_prob": lambda: log_prob(floats),
        "train step": train_step(distribution, floats),
        "cached": sample,
        "reference": reference_rows(distribution, batch),
    }
    tfp_pixelcnn = tfp_sample_by_cached = None
    if _TFP.value:
        tfp_pixelcnn = make_tfp(parameters(distribution))
        tfp_log_prob = tf.function(lambda x: tfp_pixelcnn.log_prob(x))
        candidates["tfp log_prob"] = lambda: tfp_log_prob(floats)
    timings = timing.measure(candidates, _ROUNDS.value, budget_seconds=30.0)
    seconds = {key: t.median for key, t in timings.items()}
    scale = _SIDE.value / _REFERENCE_ROWS.value
    seconds["reference"] *= scale
    ratios = {key: t.ratio(timings["log_prob"]) for key, t in timings.items()}
    ratios["reference"] *= scale
    if tfp_pixelcnn is not None:
        sample_tfp = tf.function(lambda: tfp_pixelcnn.sample(batch))
        sample_tfp.get_concrete_function()  # traced before it is timed, not compiled
        start = time.perf_counter()
        sample_tfp().numpy()
        seconds["tfp sample"] = time.perf_counter() - start
        ratios["tfp sample"] = seconds["tfp sample"] / seconds["log_prob"]
        tfp_sample_by_cached = seconds["tfp sample"] / seconds["cached"]
    return {
        "network": name,
        "batch": batch,
        "parameters": parameters(distribution),
        "tfp_parameters": parameters(tfp_pixelcnn) if tfp_pixelcnn is not None else None,
        "seconds": seconds,
        "ratio_to_log_prob": ratios,
        "reference_by_cached": seconds["reference"] / seconds["cached"],
        "tfp_sample_by_cached": tfp_sample_by_cached,
        "images_per_second_in_training": batch / seconds["train step"],
    }


def show(row: dict) -> str:
    """Returns some lines about one network."""
    cells = [
        f"  {name:14}{row['seconds'][name]:10.4f} s  {row['ratio_to_log_prob'][name]:9.2f} log_prob"
        for name in _COLUMNS
        if name in row["seconds"]
    ]
    head = f"{row['network']}, batch {row['batch']}: {row['parameters']} parameters"
    tail = f"  cached sampling is {row['reference_by_cached']:.0f} times faster than the reference"
    if row["tfp_parameters"] is not None:
        head += f" (tfd.PixelCNN: {row['tfp_parameters']})"
        tail += f", {row['tfp_sample_by_cached']:.0f} times faster than tfd.PixelCNN"
    tail += f"; {row['images_per_second_in_training']:.0f} images per second in training"
    return "\n".join([head, *cells, tail])


def main(argv):
    """Prints the figures."""
    del argv
    print(timing.machine())
    print(
        f"{_SIDE.value}x{_SIDE.value}, {_LEVELS.value} levels, {_LAYERS.value} layers of "
        f"{_FILTERS.value}, {_DTYPE.value}; the reference is timed on {_REFERENCE_ROWS.value} of "
        f"{_SIDE.value} rows, and scaled\n"
    )
    rows = []
    for batch in map(int, _BATCHES.value):
        for network_class in (tfp_ar.networks.GatedPixelCNN, tfp_ar.networks.PixelCNN):
            rows.append(measure(network_class.__name__, network_class, batch))
            print(show(rows[-1]), flush=True)
    if _JSON.value:
        with open(_JSON.value, "w") as file:
            json.dump({"machine": timing.machine(), "rows": rows}, file, indent=2)


if __name__ == "__main__":
    app.run(main)
