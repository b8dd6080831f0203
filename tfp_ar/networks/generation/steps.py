"""The protocols of generation: a cached step, and a pass over a block given state.

Both stand on one idea. What a network makes of a block of variables depends on them and on a state
that the variables before them left behind:

    params, state = advance(state, x_block)

With the whole event as the block this is the parallel pass. With one position it is the cached
step, which keeps a faster form of the same state inside its compiled loop. Over a known beginning
it fills the state for what comes after. Iterated on one block it is fixed-point sampling. Kept
between calls it is a stream.
"""

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class BlockPasses(abc.ABC):
    """Passes over blocks of consecutive entries of the first axis of an event: time, or rows.

        state = passes.initial_state()
        params, state = passes.advance(state, x, passes.prepare(first))

    The state is a structure of tensors whose shapes do not depend on the block, so that blocks of
    different sizes, of different objects, can follow each other: one over a given beginning, then
    one for each step. `advance` is pure; a loop over it may be compiled.

    Attributes:
      size: the number of entries of the first axis in a block.
      num_blocks: how many blocks make an event. The last one may reach beyond it; what it has there
        counts for nothing.
      block_variables: V, the number of variables in a block.
      places: for each variable of the blocks its flat index in the event; None if they are as in
        the flattened event.
    """

    size: int
    num_blocks: int
    block_variables: int
    places: np.ndarray | None = None

    @abc.abstractmethod
    def initial_state(self) -> Any:
        """Returns the state before the first variable."""

    @abc.abstractmethod
    def prepare(self, first: Any) -> Any:
        """Returns what all passes over the block from entry `first` on share, whatever x is.

        Args:
          first: the number of the block's first entry, an int or an int32 scalar tensor.
        """

    @abc.abstractmethod
    def advance(self, state: Any, x: tf.Tensor, prepared: Any) -> tuple[tf.Tensor, Any]:
        """Passes over a block.

        Args:
          state: what the variables before the block left behind.
          x: values [B, V].
          prepared: what `prepare` gave for the block.

        Returns: parameters [B, V, num_params], and the state that the block leaves behind.
        """


class SequenceSteps(abc.ABC):
    """The cached step of a network over a sequence: constant work per step of time.

    Attributes:
      dtype: that of features and caches.
    """

    dtype: tf.DType

    @abc.abstractmethod
    def initial_caches(self, batch_size: Any) -> Any:
        """Returns the caches before the first step, when the past is zero: tensors."""

    @abc.abstractmethod
    def features(self, t: tf.Tensor, shown_before: tf.Tensor, caches: Any) -> tuple[tf.Tensor, Any]:
        """Advances by one step.

        Args:
          t: the step, an int32 scalar.
          shown_before: what the network sees of the values at t - 1, [B, C]; zeros at t = 0.
          caches: what `initial_caches`, or the step before, gave.

        Returns: what the head takes at t, [B, F], and the caches for t + 1.
        """


class RasterSteps(abc.ABC):
    """The cached steps of a network over images: row by row, and in a row pixel by pixel.

    Attributes:
      dtype: that of features and caches.
      num_inputs: how many tensors of `features`, besides its features, `end_row` needs.
    """

    dtype: tf.DType
    num_inputs: int

    @abc.abstractmethod
    def initial_state(self) -> Any:
        """Returns the state before the first row: tensors."""

    @abc.abstractmethod
    def start_row(self, r: tf.Tensor, state: Any) -> tuple[tf.Tensor, Any]:
        """Returns what the rows above give to row r, [W, n, B, F], and the state."""

    @abc.abstractmethod
    def initial_caches(self) -> Any:
        """Returns the caches before the first pixel of a row: tensors."""

    @abc.abstractmethod
    def features(
        self, c: tf.Tensor, known: tf.Tensor, caches: Any
    ) -> tuple[tf.Tensor, Sequence[tf.Tensor], Any]:
        """Advances by one pixel.

        Args:
          c: the column, an int32 scalar.
          known: the column's part of what `start_row` gave, [n, B, F].
          caches: what `initial_caches`, or `end_pixel`, gave.

        Returns: what the head takes [B, F], `num_inputs` tensors for `end_row`, and the caches.
        """

    @abc.abstractmethod
    def end_pixel(self, c: tf.Tensor, shown: tf.Tensor, caches: Any) -> Any:
        """Returns the caches, now that the network sees the pixel as `shown` [B, C]."""

    @abc.abstractmethod
    def end_row(
        self, r: tf.Tensor, shown: tf.Tensor, inputs: Sequence[tf.Tensor], state: Any
    ) -> Any:
        """Returns the state, now that the network sees the row as `shown` [W, B, C]."""
