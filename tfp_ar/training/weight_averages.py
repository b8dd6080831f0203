"""Which of two sets of weights a model holds while its optimizer averages them."""

import contextlib
import enum

from tfp_ar.internal import tf_private


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
