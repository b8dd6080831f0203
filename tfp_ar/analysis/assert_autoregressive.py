"""A check of a network's promise about its order."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfp_ar.analysis.probes import has_gradient, normal, random_arguments, random_weights
from tfp_ar.internal import checks
from tfp_ar.networks.layer_network import as_network

_ROWS_TIMES_VARIABLES = 1 << 16  # bounds the memory of one batch of gradients


def assert_autoregressive(
    network: keras.Layer,
    num_draws: int = 8,
    seed: int = 0,
    event_shape: Sequence[int] | None = None,
) -> None:
    """Raises unless the parameters of each variable depend only on variables before it.

    The check draws random x and random weights several times. It replaces all weights, including
    those that start at zero, as a leak may hide behind a zero. It tests two things: the gradient of
    each variable's parameters with respect to each input, and whether the parameters stay the same
    if that variable and all later ones change. The gradient shows the smallest dependence; the
    change also shows one that has no gradient (rounding, signs, `stop_gradient`). A leak in any
    draw counts: with ReLUs, a single draw shows only part. The weights are restored exactly, also
    on failure.

    Args:
      network: an AutoregressiveNetwork, or any Keras layer that ARFlowBijector takes.
      num_draws: number of draws of weights. Default 8.
      seed: seed of the draws. Default 0.
      event_shape: the shape of one x, for a layer that does not know it. Default None.

    Raises:
      AssertionError: if there is a leak; it names an output and an input that it must not see.
      RuntimeError: if Keras runs on another backend than TensorFlow.
      TypeError, ValueError: if `network` is not a network or `num_draws` is not positive.

    Cost: num_draws gradients of the parallel pass at batch size `network.event_size`.

    >>> assert_autoregressive(tfp_ar.networks.WaveNet(event_shape=[6, 2], residual_channels=4))
    """
    checks.require_tensorflow_backend("assert_autoregressive")
    checks.positive_int("num_draws", num_draws)
    network = as_network(network, event_shape)
    rank = np.empty(network.event_size, np.int64)
    rank[network.order] = np.arange(network.event_size)
    for draw in range(num_draws):
        with random_weights(network, (seed, draw)):
            generator = np.random.default_rng((seed, draw, 1))
            leaks = _seen(network, generator) & (rank[np.newaxis] >= rank[:, np.newaxis])
            if leaks.any():
                output, leaked = np.argwhere(leaks)[0]
                _fail(network, output, f"on variable {_place(network, leaked)}")
            moved = _moved_by_the_future(network, generator, rank)
            if moved is not None:
                output, source = moved
                which = (
                    "later variables together"
                    if source is None
                    else f"variable {_place(network, source)}"
                )
                _fail(network, output, f"on {which}, without a gradient")


def _fail(network, output, rest):
    raise AssertionError(
        f"{network.name} is not autoregressive: the parameters of variable "
        f"{_place(network, output)} depend {rest}, which is not before it in the network's order."
    )


def _place(network, index) -> str:
    """Returns the index of a variable within an event, as a message shows it."""
    return str([int(i) for i in np.unravel_index(index, network.event_shape)])


def _seen(network, generator) -> np.ndarray:
    """Computes which inputs have a gradient in which parameters: bool [outputs, inputs]."""
    size = network.event_size
    x, condition = random_arguments(network, generator, 1)
    # Random weights for the sum over the parameters of a variable: unweighted, two could cancel.
    mix = normal(generator, [network.num_params], network.variable_dtype)
    rows = max(_ROWS_TIMES_VARIABLES // size, 1)
    seen = []
    for start in range(0, size, rows):
        outputs = tf.range(start, min(start + rows, size))
        copies = tf.repeat(x, len(outputs), axis=0)  # one row per output, or gradients mix
        with tf.GradientTape() as tape:
            tape.watch(copies)
            params = tf.reshape(
                network(copies, condition), [len(outputs), size, network.num_params]
            )
            chosen = tf.linalg.matvec(tf.gather(params, outputs, axis=1, batch_dims=1), mix)
        seen.append(has_gradient(tape, chosen, copies).reshape([len(outputs), size]))
    return np.concatenate(seen)


def _moved_by_the_future(network, generator, rank):
    """Finds a variable whose parameters change if it and all later variables change.

    Returns: the variable, and an input that alone changes its parameters, or None if no single one
    does; None if the parameters of no variable change.
    """
    size = network.event_size
    (x, condition), (other, _) = (random_arguments(network, generator, 1) for _ in range(2))
    x, other = (np.reshape(v.numpy(), [1, size]) for v in (x, other))

    def moved(outputs, changes):
        """Returns whether each output's parameters change with the inputs marked in its row."""
        chosen = []
        for rows in (np.broadcast_to(x, changes.shape), np.where(changes, other, x)):
            params = network(np.reshape(rows, [-1, *network.event_shape]), condition).numpy()
            params = np.reshape(params, [len(outputs), size, network.num_params])
            chosen.append(params[np.arange(len(outputs)), outputs])
        before, after = chosen
        # In some convolutions, rounding depends on the neighbours. A dependence is far larger.
        same = np.abs(after - before) <= 1e-4 * np.max(np.abs(before))
        return ~same.all(axis=-1)  # a NaN is not the same either

    rows = max(_ROWS_TIMES_VARIABLES // size, 1)
    for start in range(0, size, rows):
        outputs = np.arange(start, min(start + rows, size))
        found = moved(outputs, rank[np.newaxis] >= rank[outputs, np.newaxis])
        if found.any():
            output = outputs[np.argmax(found)]
            future = np.flatnonzero(rank >= rank[output])
            alone = moved(np.repeat(output, len(future)), future[:, np.newaxis] == np.arange(size))
            return output, future[np.argmax(alone)] if alone.any() else None
    return None
