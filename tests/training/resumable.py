"""Training runs that may be killed: resumable.py DIRECTORY,OUTPUT,SEED[,EPOCH,BATCH] ...

Each run backs up to DIRECTORY, kills itself in the middle of EPOCH if that is given, and writes the
losses, step by step, to OUTPUT.txt and all variables at the end to OUTPUT.npz. The runs share one
process, since a process takes longer to start than to train.
"""

import os
import pathlib
import signal
import sys

import keras
import numpy as np

from tests.training.models import averaging, compiled, conditions, integer_model, integers


class Log(keras.callbacks.Callback):
    """Writes each step down at once; dies where it is told to."""

    def __init__(self, path, kill_at):
        super().__init__()
        self.path, self.kill_at = pathlib.Path(path), kill_at

    def write(self, *words):
        with self.path.open("a") as file:
            print(*words, file=file)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.optimizer.iterations)
        self.write(self.epoch, batch, step, float(logs["loss"]).hex())
        if (self.epoch, batch) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch_end(self, epoch, logs=None):
        self.write("validation", epoch, float(logs["val_loss"]).hex())


def main(directory, output, seed, *kill_at):
    model = integer_model(int(seed), noise_seed=4, conditional_shape=[3], dropout=0.3)
    compiled(model, averaging())
    model.fit(
        integers(26),  # the last batch of an epoch is smaller
        conditions(26),
        batch_size=8,
        epochs=4,
        validation_data=(integers(9, 1), conditions(9, 1)),
        callbacks=[
            keras.callbacks.BackupAndRestore(directory),
            Log(f"{output}.txt", tuple(map(int, kill_at))),
        ],
        verbose=0,
    )
    held = [*model.trainable_variables, *model.optimizer.variables]
    np.savez(f"{output}.npz", *(v.numpy() for v in held))


if __name__ == "__main__":
    for arguments in sys.argv[1:]:
        main(*arguments.split(","))
