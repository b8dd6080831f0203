"""Training with Keras' own tools: DensityModel, fit, callbacks."""

import json
import math
import pathlib

import keras

import tfp_ar
from examples import training
from examples.training import BATCH_SIZE, EVAL_EVERY, PATIENCE, SEED, STEPS, Curve


class KeepBest(keras.callbacks.Callback):
    """Callback that records validations, keeps the best weights, and stops without progress.

    ModelCheckpoint and EarlyStopping do the same, but they start afresh in a resumed run.

    Args:
      folder: the folder for the weights and the curve.
    """

    def __init__(self, folder):
        super().__init__()
        self.weights = pathlib.Path(folder) / "best.weights.h5"
        self._points = pathlib.Path(folder) / "curve.json"
        self.curve = Curve(json.loads(self._points.read_text()) if self._points.exists() else None)
        self._resumed = False

    def on_epoch_begin(self, epoch, logs=None):
        """Resumes the curve at the step of the weights that BackupAndRestore has restored."""
        if not self._resumed:
            self._resumed = True
            step = int(self.model.optimizer.iterations)
            self.curve = self.curve.up_to(step)
            if step:
                print(f"Resumed at step {step}.", flush=True)

    def on_epoch_end(self, epoch, logs=None):
        """Records a validation; Keras calls this after each epoch."""
        if "val_loss" not in logs:
            return
        step = int(self.model.optimizer.iterations)
        self.curve.add(step, float(logs["bits_per_dim"]), float(logs["val_loss"]))
        if self.curve.is_best:
            self.model.save_weights(self.weights)
        self._points.write_text(json.dumps(self.curve.points))
        if self.curve.waited >= PATIENCE.value:
            self.model.stop_training = True


def train(model, data, validation, folder) -> Curve:
    """Trains for --steps or until validation stalls; leaves the best weights in `model`.

    Args:
      model: the distribution, a `tfp_ar.Dequantized`.
      data: the split to train on.
      validation: the split that decides which weights are best.
      folder: path for checkpoints.
    """
    steps_an_epoch = math.ceil(len(data.x) / BATCH_SIZE.value)
    epochs = math.ceil(STEPS.value / steps_an_epoch)
    frequency = max(round(EVAL_EVERY.value / steps_an_epoch), 1)
    density = tfp_ar.DensityModel(model, seed=SEED.value)
    density.compile(training.make_optimizer(), jit_compile=True)
    best, trained = KeepBest(folder), folder / "trained"
    if not trained.exists():  # a run may have been killed after training
        density.fit(
            data.x,
            conditional_input=data.labels,
            batch_size=BATCH_SIZE.value,
            epochs=epochs,
            validation_data=(validation.x, validation.labels),
            validation_freq=sorted({*range(frequency, epochs + 1, frequency), epochs}),
            # The order matters: a run killed between the two repeats the epoch with its validation.
            callbacks=[best, keras.callbacks.BackupAndRestore(str(folder / "backup"))],
            verbose=2,
        )
        trained.touch()
    density.load_weights(best.weights)
    return best.curve
