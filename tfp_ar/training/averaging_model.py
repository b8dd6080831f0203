"""A Keras model that evaluates and saves with the averages of its weights."""

import keras

from tfp_ar.training.weight_averages import WeightAverages
from tfp_ar.training.weights_file import WeightsFileError

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
