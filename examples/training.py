"""What the examples that train share: flags, preparation, optimizer, folder of checkpoints."""

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
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Examples a step.", **POSITIVE)
EVAL_EVERY = flags.DEFINE_integer(
    "eval_every", 200, "Steps between validations; the Keras trainer rounds to epochs.", **POSITIVE
)
PATIENCE = flags.DEFINE_integer("patience", 5, "Validations without progress to stop.", **POSITIVE)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-2, "Highest learning rate.", 0.0)
_WARMUP_STEPS = flags.DEFINE_integer("warmup_steps", 100, "Steps up to it.", **NOT_NEGATIVE)
_WEIGHT_DECAY = flags.DEFINE_float("weight_decay", 0.0, "Weight decay of AdamW.", 0.0)
_CLIP_NORM = flags.DEFINE_float("clip_norm", 1.0, "Largest norm of the gradient.", 0.0)
_EMA = flags.DEFINE_float("ema_momentum", 0.995, "Averaging of the weights; 0: none.", 0.0, 0.9999)


def prepare(argv, output_dir) -> None:
    """What a `main` does before any work: no other arguments than flags, quiet logs, the folder.

    Args:
      argv: what absl hands to `main`.
      output_dir: the folder, made if need be.

    Raises:
      app.UsageError, SystemExit: for arguments, or a folder that cannot be made.
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
    """AdamW with a cosine schedule, and a moving average of the weights."""
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
    """The losses at each validation, and what follows from them.

    Attributes:
      points: dict of lists 'step', 'train' and 'validation', in bits a dimension.
    """

    def __init__(self, points=None):
        self.points = points or {"step": [], "train": [], "validation": []}

    def add(self, step, train, validation) -> None:
        """Appends a validation.

        Raises:
          SystemExit: if it is no number.
        """
        if not np.isfinite(validation):
            raise SystemExit(f"Training diverged by step {step}: try a lower --learning_rate.")
        for name, value in (("step", step), ("train", train), ("validation", validation)):
            self.points[name].append(value)

    def up_to(self, step) -> "Curve":
        """Without what came after `step`."""
        count = int(np.searchsorted(self.points["step"], step, side="right"))
        return Curve({name: values[:count] for name, values in self.points.items()})

    @property
    def is_best(self) -> bool:
        """Whether the last validation is below all others."""
        *others, last = self.points["validation"]
        return last < min(others, default=np.inf)

    @property
    def waited(self) -> int:
        """How many validations ago the best one was."""
        validation = self.points["validation"]
        return len(validation) - 1 - int(np.argmin(validation)) if validation else 0


class CheckpointFolder:
    """A folder for the checkpoints of one run, from which that run is resumed; gone at its end.

    Args:
      path: the folder.
      settings: dict of the run's flags: checkpoints of other settings are refused.

    Raises:
      SystemExit: if there are such.
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
        """Removes it: the run has ended."""
        shutil.rmtree(self.path)
