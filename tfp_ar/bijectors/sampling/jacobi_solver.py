"""The solver of fixed-point sampling; see `FixedPoint` for the equation and the tolerance."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_ar.networks.generation.steps import BlockPasses

# The default tolerance. The rounding of the sequential pass itself is a few of these units.
TOLERANCE_IN_EPSILON = 16.0


def solve(
    passes: BlockPasses, transformer: Callable, noise: tf.Tensor, options: Any
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Solves x = transformer(params(x)).forward(noise), block after block.

    Args:
      passes: the network's `BlockPasses`: n blocks of V variables.
      transformer: function params [..., num_params] -> elementwise bijector.
      noise: [B, event_size].
      options: a FixedPoint.

    Returns:
      x [B, event_size]; the passes it took, int32 [B, n], 0 for blocks not reached; and a bool
      scalar: whether all blocks converged. If not, x must not be used: the blocks after the first
      that did not converge are not computed.
    """
    number, size, event_size = passes.num_blocks, passes.block_variables, noise.shape[1]
    if passes.places is not None:
        noise = tf.gather(noise, passes.places, axis=1)
    counted = np.reshape(np.arange(number * size) < event_size, [number, size])
    noise = tf.pad(noise, [[0, 0], [0, number * size - event_size]])
    noise = tf.transpose(tf.reshape(noise, [-1, number, size]), [1, 0, 2])
    chosen = np.eye(number, dtype=bool)

    def advance(k, state, values, counts, _):
        prepared = passes.prepare(k * passes.size)

        def params_of(x):
            return passes.advance(state, x, prepared)[0]

        counts_here = tf.constant(counted)[k]
        x, count, converged = _iterate(params_of, transformer, noise[k], counts_here, options)
        this = tf.constant(chosen)[k][:, tf.newaxis]
        values = tf.where(this[..., tf.newaxis], x, values)
        if number > 1:  # nothing comes after the only one
            _, state = passes.advance(state, x, prepared)
        return k + 1, state, values, tf.where(this, count, counts), converged

    state, values = passes.initial_state(), tf.zeros_like(noise)
    counts = tf.zeros(tf.shape(noise)[:2], tf.int32)
    start = (tf.constant(0), state, values, counts, tf.constant(True))
    _, _, values, counts, converged = tf.while_loop(
        lambda k, state, values, counts, converged: (k < number) & converged,
        advance,
        start,
        shape_invariants=tf.nest.map_structure(lambda tensor: tensor.shape, start),
        maximum_iterations=number,
    )
    x = tf.reshape(tf.transpose(values, [1, 0, 2]), [-1, number * size])[:, :event_size]
    if passes.places is not None:
        x = tf.gather(x, np.argsort(passes.places), axis=1)
    return x, tf.transpose(counts), converged


def _iterate(params_of, transformer, noise, counted, options):
    """Solves one block: x [B, V], the passes it took [B], and whether all rows converged.

    Args:
      params_of: function x [B, V] -> params [B, V, num_params].
      transformer: function params -> elementwise bijector.
      noise: [B, V].
      counted: bool [V], False for padding.
      options: a FixedPoint.
    """
    enough = tf.reduce_sum(tf.cast(counted, tf.int32))  # passes after which x is exact
    limit = min(options.max_iterations, noise.shape[1])
    tolerance = options.tolerance
    if tolerance is None:
        tolerance = TOLERANCE_IN_EPSILON * np.finfo(noise.dtype.as_numpy_dtype).eps

    def improve(n, x, counts, finite, _):
        bijector = transformer(params_of(x))
        new = bijector.forward(noise)
        # Where mu and exp(alpha) u cancel, x is small, but its rounding is that of the terms.
        slope = tf.exp(bijector.forward_log_det_jacobian(noise, event_ndims=0))
        scale = tf.maximum(tf.abs(x), slope)
        # False for NaN. Without the second condition, an infinite scale would let any x pass.
        close = (tf.abs(new - x) <= tolerance * scale) & tf.math.is_finite(scale)
        close = tf.reduce_all(close | ~counted, axis=-1)
        counts = tf.where(close, counts, tf.minimum(n + 2, enough))  # another pass, at least
        finite &= tf.reduce_all(tf.math.is_finite(new) | ~counted)
        done = tf.reduce_all(close)
        # On convergence the result is the x whose residual was measured: each of its variables
        # fits those before it. Those of `new` need not, where a variable is amplified. After
        # `enough` passes `new` is exact, unless an infinity got through a mask (0 * inf is NaN).
        x = tf.where(done, x, new)
        return n + 1, x, counts, finite, done | (finite & (n + 1 >= enough))

    zeros = tf.zeros_like(noise)
    start = (tf.constant(0), zeros, tf.ones_like(noise[:, 0], tf.int32))
    start += (tf.constant(True), tf.constant(False))
    _, x, counts, _, converged = tf.while_loop(
        lambda n, x, counts, finite, converged: (n < limit) & ~converged,
        improve,
        start,
        shape_invariants=tuple(tensor.shape for tensor in start),
        maximum_iterations=limit,
    )
    return x, counts, converged
