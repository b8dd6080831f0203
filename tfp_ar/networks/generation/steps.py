"""The protocols of generation: a cached step, and a pass over a block given state.

Both rest on one idea. A network's parameters for a block of variables depend on these variables and
on a state that the variables before them left behind:

    params, state = advance(state, x_block)

With the whole event as the block this is the parallel pass. With one position it is the cached
step, which keeps a faster form of the same state inside its compiled loop. Over a known beginning
it fills the state for what comes after. Iterated on one block it is fixed-point sampling. With the
state kept between calls it is a stream.
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

    The state is a structure of tensors whose shapes do not depend on the block, so blocks of
    different sizes, from different objects, can follow each other: one over a given beginning, then
    one per step. `advance` is pure; a loop over it may be compiled.

    Attributes:
      size: the number of entries of the first axis in a block.
      num_blocks: the number of blocks in an event. The last block may reach beyond the event; its
        values there are ignored.
      block_variables: V, the number of variables in a block.
      places: the flat index in the event of each variable of the blocks; None if the variables are
        in the order of the flattened event.
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
        """Returns what all passes over the block at entry `first` share, whatever x is.

        Args:
          first: the index of the block's first entry, an int or an int32 scalar tensor.
        """

    @abc.abstractmethod
    def advance(self, state: Any, x: tf.Tensor, prepared: Any) -> tuple[tf.Tensor, Any]:
        """Passes over a block.

        Args:
          state: the state that the variables before the block left behind.
          x: values [B, V].
          prepared: the result of `prepare` for the block.

        Returns: parameters [B, V, num_params], and the state that the block leaves behind.
        """


class SequenceSteps(abc.ABC):
    """The cached step of a network over a sequence: constant work per time step.

    Attributes:
      dtype: the dtype of features and caches.
    """

    dtype: tf.DType

    @abc.abstractmethod
    def initial_caches(self, batch_size: Any) -> Any:
        """Returns the caches before the first step, tensors for a past of zeros."""

    @abc.abstractmethod
    def features(self, t: tf.Tensor, shown_before: tf.Tensor, caches: Any) -> tuple[tf.Tensor, Any]:
        """Advances by one step.

        Args:
          t: the step, an int32 scalar.
          shown_before: the values at t - 1 as the network sees them, [B, C]; zeros at t = 0.
          caches: the result of `initial_caches`, or of the step before.

        Returns: the head's input at t, [B, F], and the caches for t + 1.
        """


class RasterSteps(abc.ABC):
    """The cached steps of a network over images: row by row, and in a row pixel by pixel.

    Attributes:
      dtype: the dtype of features and caches.
      num_inputs: the number of tensors that `features` returns for `end_row`.
    """

    dtype: tf.DType
    num_inputs: int

    @abc.abstractmethod
    def initial_state(self) -> Any:
        """Returns the state before the first row, made of tensors."""

    @abc.abstractmethod
    def start_row(self, r: tf.Tensor, state: Any) -> tuple[tf.Tensor, Any]:
        """Returns what the rows above contribute to row r, [W, n, B, F], and the state."""

    @abc.abstractmethod
    def initial_caches(self) -> Any:
        """Returns the caches before the first pixel of a row, made of tensors."""

    @abc.abstractmethod
    def features(
        self, c: tf.Tensor, known: tf.Tensor, caches: Any
    ) -> tuple[tf.Tensor, Sequence[tf.Tensor], Any]:
        """Advances by one pixel.

        Args:
          c: the column, an int32 scalar.
          known: the column's part of the result of `start_row`, [n, B, F].
          caches: the result of `initial_caches`, or of `end_pixel`.

        Returns: the head's input [B, F], `num_inputs` tensors for `end_row`, and the caches.
        """

    @abc.abstractmethod
    def end_pixel(self, c: tf.Tensor, shown: tf.Tensor, caches: Any) -> Any:
        """Returns the caches, now that the network sees the pixel as `shown` [B, C]."""

    @abc.abstractmethod
    def end_row(
        self, r: tf.Tensor, shown: tf.Tensor, inputs: Sequence[tf.Tensor], state: Any
    ) -> Any:
        """Returns the state, now that the network sees the row as `shown` [W, B, C]."""
