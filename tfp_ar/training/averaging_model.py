"""A Keras model that evaluates and saves with the averages of its weights."""

import contextlib
import enum
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfp_ar.internal import tf_private

_IN_FILE = "weights_are_averages"


class AveragingModel(keras.Model):
    """Keras model that uses the averages of its weights wherever it does not train.

    It does the work that Keras leaves to SwapEMAWeights; see WeightAverages. A subclass tells
    `self._averages` when training starts and ends, and evaluates within `averaged_weights`.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._averages = WeightAverages(self)
        self._hold_in_file = False

    def averaged_weights(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the weights are the averages, while training is under way.

        `evaluate`, `predict` and `save_weights` do not need it; an export by a callback does.
        Without `use_ema`, and before and after training, it does nothing.
        """
        return self._averages.in_weights()

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates one batch as Keras does, with the averages."""
        with self._averages.in_weights():
            return super().test_on_batch(*args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """Predicts one batch as Keras does, with the averages."""
        with self._averages.in_weights():
            return super().predict_on_batch(x)

    def get_weights(self) -> list[np.ndarray]:
        """Returns the weights; during training, the averages, which EarlyStopping restores."""
        with self._averages.in_weights():
            return super().get_weights()

    def save_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves the weights as Keras does; during training, the file has the averages."""
        with self._averages.in_weights():
            return super().save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Loads weights as Keras does.

        Raises:
          WeightsFileError: if the file cannot be read; it is a ValueError and an OSError.
          ValueError: if the weights do not fit the model.
        """
        self._hold_in_file = False
        try:
            super().load_weights(filepath, *args, **kwargs)
        except OSError as error:
            raise WeightsFileError(
                f"filepath: expected a file that save_weights wrote, got {str(filepath)!r}: {error}"
            ) from error
        self._averages.loaded(self._hold_in_file)

    def save_own_variables(self, store: Any) -> None:
        """Writes the variables that belong to no layer; Keras calls it."""
        super().save_own_variables(store)
        store[_IN_FILE] = int(self._averages.hold_averages)

    def load_own_variables(self, store: Any) -> None:
        """Reads the variables that `save_own_variables` wrote."""
        held = {key: store[key] for key in store.keys()}  # noqa: SIM118  # it is not a dict
        self._hold_in_file = bool(held.pop(_IN_FILE, 0))
        super().load_own_variables(held)


class WeightsFileError(OSError, ValueError):
    """Error for a file of weights that cannot be read.

    It is an OSError because BackupAndRestore has a fallback for those.
    """


class _Holds(enum.Enum):
    FINAL = "final"  # no training is under way; there is nothing to swap
    RAW = "raw"  # training is under way; the optimizer holds the averages
    AVERAGES = "averages"  # the averages; the optimizer holds the raw weights


class WeightAverages:
    """Swap of a model's weights with the moving averages that its optimizer keeps (`use_ema`).

    Training goes on with raw weights; evaluation and saved files need the averages. A file saved
    during training holds the averages as the weights, and the raw weights in place of the averages
    in the optimizer: training can resume from it exactly, and a reader of the weights alone gets
    the averages.

    Args:
      model: a Keras model; its `optimizer` may change.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        self._holds = _Holds.FINAL

    @property
    def hold_averages(self) -> bool:
        """True while the weights are the averages and the optimizer holds the raw weights."""
        return self._holds is _Holds.AVERAGES

    def start_training(self) -> None:
        """Puts the raw weights into the model."""
        if self.hold_averages:
            self._swap()
        self._holds = _Holds.RAW

    def finish(self) -> None:
        """Marks the weights as final.

        It is called after Keras' `fit`, which has put the averages into the weights, and after
        `compile`, whose new optimizer has no averages yet.
        """
        self._holds = _Holds.FINAL

    def loaded(self, hold_averages: bool) -> None:
        """Notes which weights the file held that was just loaded."""
        known = hold_averages and self._pairs()
        self._holds = _Holds.AVERAGES if known else _Holds.FINAL

    @contextlib.contextmanager
    def in_weights(self) -> Iterator[None]:
        """Makes the weights the averages within this context, while training is under way."""
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
        optimizer = getattr(self._model, "optimizer", None)  # not set before `compile`
        if optimizer is None or int(optimizer.iterations) == 0:  # averages of no steps
            return []
        return tf_private.averages(optimizer)

    def _swap(self):
        for variable, average in self._pairs():
            held = variable.numpy()
            variable.assign(average)
            average.assign(held)
