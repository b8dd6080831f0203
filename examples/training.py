"""Shared parts of the examples that train: flags, preparation, optimizer, folder of checkpoints."""

import json
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

POSITIVE, NOT_NEGATIVE = {"lower_bound": 1}, {"lower_bound": 0}
SMALLEST_RATE = 0.01  # where the learning rate starts and ends, as a fraction of --learning_rate
SETTINGS_FILE = "flags.json"

SEED = flags.DEFINE_integer("seed", 0, "Decides split, weights, order and noise.", **NOT_NEGATIVE)
STEPS = flags.DEFINE_integer("steps", 2000, "Training steps, at most.", **POSITIVE)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Examples per step.", **POSITIVE)
EVAL_EVERY = flags.DEFINE_integer(
    "eval_every", 200, "Steps between validations; the Keras trainer rounds to epochs.", **POSITIVE
)
PATIENCE = flags.DEFINE_integer(
    "patience", 5, "Validations without progress before training stops.", **POSITIVE
)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-2, "Highest learning rate.", 0.0)
_WARMUP_STEPS = flags.DEFINE_integer("warmup_steps", 100, "Steps of warm-up.", **NOT_NEGATIVE)
_WEIGHT_DECAY = flags.DEFINE_float("weight_decay", 0.0, "Weight decay of AdamW.", 0.0)
_CLIP_NORM = flags.DEFINE_float("clip_norm", 1.0, "Largest norm of the gradient.", 0.0)
_EMA = flags.DEFINE_float("ema_momentum", 0.995, "Averaging of the weights; 0: none.", 0.0, 0.9999)


def prepare(argv, output_dir) -> None:
    """Prepares a `main`: rejects arguments that are not flags, silences logs, makes the folder.

    Args:
      argv: the arguments that absl hands to `main`.
      output_dir: the folder, made if necessary.

    Raises:
      app.UsageError, SystemExit: if there are arguments, or the folder cannot be made.
    """
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only, got {argv[1:]}.")
    if not flags.FLAGS["verbosity"].present:  # exporting logs every input of every function
        logging.set_verbosity(logging.WARNING)
        tf.get_logger().setLevel("WARNING")
    try:
        pathlib.Path(output_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"output_dir: {error}") from None


def make_optimizer() -> keras.optimizers.Optimizer:
    """Returns AdamW with a cosine schedule and a moving average of the weights."""
    low = SMALLEST_RATE * _LEARNING_RATE.value
    schedule = keras.optimizers.schedules.CosineDecay(
        low if _WARMUP_STEPS.value else _LEARNING_RATE.value,
        decay_steps=max(STEPS.value - _WARMUP_STEPS.value, 1),
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


class Curve:
    """The losses at each validation, with the progress that they show.

    Attributes:
      points: dict of lists 'step', 'train' and 'validation', the losses in bits per dimension.
    """

    def __init__(self, points=None):
        self.points = points or {"step": [], "train": [], "validation": []}

    def add(self, step, train, validation) -> None:
        """Appends a validation.

        Raises:
          SystemExit: if it is not a finite number.
        """
        if not np.isfinite(validation):
            raise SystemExit(f"Training diverged by step {step}: try a lower --learning_rate.")
        for name, value in (("step", step), ("train", train), ("validation", validation)):
            self.points[name].append(value)

    def up_to(self, step) -> "Curve":
        """Returns the curve up to `step`."""
        count = int(np.searchsorted(self.points["step"], step, side="right"))
        return Curve({name: values[:count] for name, values in self.points.items()})

    @property
    def is_best(self) -> bool:
        """True if the last validation is below all others."""
        *others, last = self.points["validation"]
        return last < min(others, default=np.inf)

    @property
    def waited(self) -> int:
        """The number of validations since the best one."""
        validation = self.points["validation"]
        return len(validation) - 1 - int(np.argmin(validation)) if validation else 0


class CheckpointFolder:
    """A folder for the checkpoints that one run resumes from; it is removed at the end of the run.

    Args:
      path: the folder.
      settings: dict of the flags of the run.

    Raises:
      SystemExit: if the folder has checkpoints of a run with other settings.
    """

    def __init__(self, path, settings: dict):
        self.path = pathlib.Path(path)
        known = self.path / SETTINGS_FILE
        text = json.dumps(settings, sort_keys=True)
        if known.exists() and known.read_text() != text:
            raise SystemExit(
                f"{self.path} has checkpoints of a run with other flags. Remove the folder, or "
                "choose another --output_dir."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        known.write_text(text)

    def remove(self) -> None:
        """Removes the folder at the end of the run."""
        shutil.rmtree(self.path)
