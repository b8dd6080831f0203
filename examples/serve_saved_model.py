"""Draws samples of images from a SavedModel into a PNG, with TensorFlow alone.

    python -m examples.train_wavenet_flow --output_dir=demo_output
    python examples/serve_saved_model.py --directory=demo_output/saved_model --output=samples.png

The file imports neither tfp_ar nor TensorFlow Probability, so it can be copied to a machine that
has neither. The model's x has to be an image [H, W], or a square image as a sequence [H * H]. If
the model is conditioned on a vector, such as the class of a digit, each column of the picture has
another class.
"""

import math
import pathlib
import sys

import tensorflow as tf
from absl import app, flags


def load(directory):
    """Loads a SavedModel, and checks its signatures.

    Raises:
      SystemExit: if there is none, or it lacks the signatures of `export_saved_model`.
    """
    try:
        model = tf.saved_model.load(directory)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise SystemExit(f"directory: no SavedModel in {directory!r}: {error}") from None
    missing = {"log_prob", "sample"} - set(model.signatures)
    if missing:
        raise SystemExit(f"directory: {directory!r} has no signature {sorted(missing)}.")
    return model


def image_shape(event_shape) -> tuple[int, int]:
    """Returns height and width of an image from the shape of x.

    Raises:
      SystemExit: if the shape is not that of an image.
    """
    if len(event_shape) == 2:
        return tuple(event_shape)
    side = math.isqrt(math.prod(event_shape))
    if len(event_shape) != 1 or side * side != event_shape[0]:
        raise SystemExit(f"directory: expected a model of images, got one of shape {event_shape}.")
    return side, side


def draw(model, rows, columns, seed):
    """Returns samples [rows, columns, H, W], and their log_prob [rows, columns] in nats."""
    sample, log_prob = (model.signatures[name] for name in ("sample", "log_prob"))
    inputs = sample.structured_input_signature[1]
    parts = {}
    if "conditional_input" in inputs:
        columns = inputs["conditional_input"].shape[-1]
        parts["conditional_input"] = tf.eye(columns)
    number = tf.constant(rows if parts else rows * columns)
    x = sample(n=number, seed=tf.constant([seed, 0]), **parts)["sample"]
    event_shape = log_prob.structured_input_signature[1]["value"].shape[1:].as_list()
    flat = tf.reshape(x, [-1, *event_shape])
    if parts:
        parts["conditional_input"] = tf.tile(tf.eye(columns), [rows, 1])
    if "seed" in log_prob.structured_input_signature[1]:  # a stochastic bound
        parts["seed"] = tf.constant([seed, 1])
    nats = log_prob(value=flat, **parts)["log_prob"]
    height, width = image_shape(event_shape)
    return tf.reshape(x, [rows, columns, height, width]), tf.reshape(nats, [rows, columns])


def picture(images, levels, scale):
    """Joins images [rows, columns, H, W] of 0..levels-1 in one of uint8, black on white."""
    rows, columns, height, width = images.shape
    gray = 1.0 - tf.clip_by_value(images, 0.0, levels - 1.0) / (levels - 1.0)
    gray = tf.pad(gray, [[0, 0], [0, 0], [1, 1], [1, 1]], constant_values=0.8)
    whole = tf.reshape(
        tf.transpose(gray, [0, 2, 1, 3]), [rows * (height + 2), columns * (width + 2), 1]
    )
    whole = tf.repeat(tf.repeat(whole, scale, axis=0), scale, axis=1)
    return tf.cast(tf.round(255.0 * whole), tf.uint8)


def serve(directory, output, seed=0, rows=8, columns=8, levels=17, scale=4) -> str:
    """Writes the PNG; returns a message to print. The arguments are those of the flags."""
    images, nats = draw(load(directory), rows, columns, seed)
    png = tf.io.encode_png(picture(images, levels, scale))
    try:
        pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(output).write_bytes(png.numpy())
    except OSError as error:
        raise SystemExit(f"output: {error}") from None
    ours = [name for name in ("tfp_ar", "tensorflow_probability") if name in sys.modules]
    return (
        f"{tf.size(nats)} samples in {output}, of {tf.reduce_mean(nats):.1f} nats on average.\n"
        f"Of tfp_ar and TensorFlow Probability, imported: {', '.join(ours) or 'none'}."
    )


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only, got {argv[1:]}.")
    names = ("directory", "output", "seed", "rows", "columns", "levels", "scale")
    print(serve(**{name: getattr(flags.FLAGS, name) for name in names}))


if __name__ == "__main__":  # only here, as flags are global and the trainer has a seed, too
    flags.DEFINE_string("directory", "demo_output/saved_model", "The SavedModel.")
    flags.DEFINE_string("output", "samples.png", "The PNG to write.")
    flags.DEFINE_integer("seed", 0, "Seed of the samples.", lower_bound=0)
    flags.DEFINE_integer("rows", 8, "Rows of images.", lower_bound=1)
    flags.DEFINE_integer("columns", 8, "Columns, unless each is a class.", lower_bound=1)
    flags.DEFINE_integer("levels", 17, "Levels of gray: 0..levels-1.", lower_bound=2)
    flags.DEFINE_integer("scale", 4, "Pixels of the PNG for each pixel.", lower_bound=1)
    app.run(main)
