"""A Keras model that evaluates and saves with the averages of its weights."""

import contextlib
import enum

import keras

from tfp_ar.internal import tf_private

_IN_FILE = "weights_are_averages"


class AveragingModel(keras.Model):
    """What Keras leaves to SwapEMAWeights, kept apart from what is trained; see WeightAverages.

    A subclass tells `self._averages` when training starts and ends, and evaluates within
    `averaged_weights`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._averages = WeightAverages(self)
        self._hold_in_file = False

    def averaged_weights(self):
        """A context in which the weights are the averages, while training is under way.

        For what is not done by `evaluate`, `predict` and `save_weights`, such as an export by a
        callback. Without `use_ema`, before and after training, it does nothing.
        """
        return self._averages.in_weights()

    def test_on_batch(self, *args, **kwargs):
        """As in Keras, with the averages."""
        with self._averages.in_weights():
            return super().test_on_batch(*args, **kwargs)

    def predict_on_batch(self, x):
        """As in Keras, with the averages."""
        with self._averages.in_weights():
            return super().predict_on_batch(x)

    def get_weights(self):
        """As in Keras; during training with averages, those: what EarlyStopping restores."""
        with self._averages.in_weights():
            return super().get_weights()

    def save_weights(self, filepath, *args, **kwargs):
        """As in Keras; during training with averages, the weights in the file are those."""
        with self._averages.in_weights():
            return super().save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath, *args, **kwargs):
        """As in Keras.

        Raises:
          WeightsFileError: a ValueError and an OSError, if the file cannot be read.
          ValueError: if it does not fit.
        """
        self._hold_in_file = False
        try:
            super().load_weights(filepath, *args, **kwargs)
        except OSError as error:
            raise WeightsFileError(
                f"filepath: expected a file that save_weights wrote, got {str(filepath)!r}: {error}"
            ) from error
        self._averages.loaded(self._hold_in_file)

    def save_own_variables(self, store):
        """Writes what is no layer's: called by Keras."""
        super().save_own_variables(store)
        store[_IN_FILE] = int(self._averages.hold_averages)

    def load_own_variables(self, store):
        """Reads what `save_own_variables` wrote."""
        held = {key: store[key] for key in store.keys()}  # noqa: SIM118  # it is no dict
        self._hold_in_file = bool(held.pop(_IN_FILE, 0))
        super().load_own_variables(held)


class WeightsFileError(OSError, ValueError):
    """A file of weights cannot be read; an OSError, for which BackupAndRestore has a fallback."""


class _Holds(enum.Enum):
    FINAL = "final"  # training is over, or has not begun: the weights are what they are
    RAW = "raw"  # training is under way; the optimizer holds the averages
    AVERAGES = "averages"  # the averages; the optimizer holds the raw weights


class WeightAverages:
    """Swaps a model's weights with the moving averages that its optimizer keeps (`use_ema`).

    Training goes on with raw weights; evaluation and saved files want the averages. A file saved
    during training holds the averages as the weights, with the raw weights in their place in the
    optimizer: it serves to resume exactly, and whoever reads just the weights has the averages.

    Args:
      model: a Keras model; its `optimizer` may change.
    """

    def __init__(self, model):
        self._model = model
        self._holds = _Holds.FINAL

    @property
    def hold_averages(self) -> bool:
        """Whether the weights are swapped with what the optimizer holds."""
        return self._holds is _Holds.AVERAGES

    def start_training(self):
        """Puts the raw weights into the model."""
        if self.hold_averages:
            self._swap()
        self._holds = _Holds.RAW

    def finish(self):
        """Takes the weights for final: Keras' `fit` has put the averages into them, or `compile`.

        A new optimizer has no averages yet.
        """
        self._holds = _Holds.FINAL

    def loaded(self, hold_averages: bool):
        """Takes note of what a file held that was just loaded."""
        known = hold_averages and self._pairs()
        self._holds = _Holds.AVERAGES if known else _Holds.FINAL

    @contextlib.contextmanager
    def in_weights(self):
        """While training is under way, the weights are the averages within this context."""
        if self._holds is not _Holds.RAW or not self._pairs():
            yield
            return
        self._swap()
        self._holds = _Holds.AVERAGES
        try:
            yield
        finally:
            self._swap()
            self._holds = _Holds.RAW

    def _pairs(self):
        optimizer = getattr(self._model, "optimizer", None)  # there is none before `compile`
        if optimizer is None or int(optimizer.iterations) == 0:  # averages of nothing
            return []
        return tf_private.averages(optimizer)

    def _swap(self):
        for variable, average in self._pairs():
            held = variable.numpy()
            variable.assign(average)
            average.assign(held)
