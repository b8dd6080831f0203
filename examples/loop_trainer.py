"""Training in a custom loop: a tf.function, a Keras optimizer, tf.train.Checkpoint."""

import contextlib
import json

import keras
import numpy as np
import tensorflow as tf

import tfp_ar
from examples import training
from examples.training import BATCH_SIZE, EVAL_EVERY, PATIENCE, SEED, STEPS, Curve

PROGRESS_EVERY = 20  # steps; reading the loss waits for the device


@contextlib.contextmanager
def averaged_weights(optimizer, variables):
    """Returns a context in which the variables hold their moving averages."""
    raw = [v.numpy() for v in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        assign(variables, raw)


def assign(variables, values):
    """Assigns values to variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class CurveState(tf.train.experimental.PythonState):
    """The curve as part of a checkpoint."""

    def __init__(self):
        self.curve = Curve()

    def serialize(self):
        """Returns the curve as text."""
        return json.dumps(self.curve.points)

    def deserialize(self, string_value):
        """Restores the curve from the text that `serialize` returned."""
        self.curve = Curve(json.loads(string_value))


def train(model, data, validate, folder) -> Curve:
    """Trains for --steps or until validation stalls; leaves the best weights in `model`.

    Batches and noise are functions of the seed and the step, and so is dropout, as the checkpoint
    holds its state. A killed and resumed run therefore equals an uninterrupted one.

    Args:
      model: the distribution, such as a `tfp_ar.Dequantized`.
      data: the split to train on.
      validate: function without arguments that returns bits per dimension on the validation split.
      folder: path for checkpoints.
    """
    variables, optimizer = model.trainable_variables, training.make_optimizer()
    optimizer.build(variables)

    @tf.function(jit_compile=True)
    def train_step(x, condition, seed):
        with tf.GradientTape() as tape:
            log_prob = tfp_ar.log_prob(model, x, condition, seed, training=True)
            loss = tf.reduce_mean(tfp_ar.bits_per_dim(log_prob, model.event_shape))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    best = [tf.Variable(v) for v in variables]
    state = CurveState()
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, best=best, state=state)
    manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1)
    try:
        checkpoint.restore(manager.latest_checkpoint)
    except (ValueError, IndexError, tf.errors.OpError) as error:  # IndexError: the file is cut off
        raise SystemExit(f"{folder}: the checkpoint cannot be read: {error}") from None
    start = int(optimizer.iterations)
    if start:
        print(f"Resumed at step {start}.", flush=True)

    names = ["train", "validation"]
    progress = keras.utils.Progbar(STEPS.value, stateful_metrics=names, unit_name="step")
    losses = []
    for step in range(start + 1, STEPS.value + 1):
        if state.curve.waited >= PATIENCE.value:
            break
        rows = np.random.default_rng([SEED.value, step]).integers(
            len(data.x), size=BATCH_SIZE.value
        )
        condition = None if data.labels is None else tf.constant(data.labels[rows])
        seed = tf.constant([SEED.value, step], tf.int32)
        losses.append(train_step(tf.constant(data.x[rows]), condition, seed))
        if step % PROGRESS_EVERY == 0:
            progress.update(step, [("train", np.mean(losses))], finalize=False)
        if step % EVAL_EVERY.value and step < STEPS.value:
            continue
        with averaged_weights(optimizer, variables):
            state.curve.add(step, float(np.mean(losses)), float(validate()))
            if state.curve.is_best:
                assign(best, variables)
        losses.clear()
        manager.save()
        points = state.curve.points
        progress.update(step, [(name, points[name][-1]) for name in names], finalize=False)
    print(flush=True)
    assign(variables, best)
    return state.curve
