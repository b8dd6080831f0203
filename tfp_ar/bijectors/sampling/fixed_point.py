"""Fixed-point sampling: its options, the sampler, and a report of its passes."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.sampling.jacobi_solver import solve
from tfp_ar.bijectors.sampling.sequential import SequentialSampler, exact_unless
from tfp_ar.internal import checks
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.generation.reference import CACHED


@dataclasses.dataclass(frozen=True)
class FixedPoint:
    """Fixed-point (Jacobi) sampling for ARFlowBijector: all variables at once, pass after pass.

    A sample x = T(u) is the one solution of x[i] = t(u[i]; params[i](x)). From x = 0, repeat

        x_new[i] = t(u[i]; params[i](x)) for all i at once, with one parallel pass,

    until for every variable of every sample

        |x_new[i] - x[i]| <= tolerance * max(|x[i]|, |dx[i]/du[i]|),

    and return x: within the tolerance, each x[i] is what the sequential pass computes from the
    variables before it. The first k variables are exact after k passes, so that a block of V
    variables takes at most V passes; it takes fewer the less the variables depend on each other.
    NaN and infinity never count as convergence. Where `max_iterations` passes are not enough, the
    network's cached sequential pass draws the whole batch instead.

    `ARFlowBijector(network, sampling='fixed_point')` takes the defaults below; for other options,
    pass `sampling=FixedPoint(...)`. `tfp_ar.bijectors.sampling_report` returns the number of
    passes.

    Args:
      tolerance: the tolerance above, below 1. Default None: 16 units of rounding of the dtype (2e-6
        in float32).
      max_iterations: the most passes per block. Default 64.
      block_size: positions per block: time steps of a WaveNet, rows of a GatedPixelCNN. Blocks are
        solved one after the other, with the past in caches, and a pass costs as much as its block.
        Default None: the whole event, which is the only choice for networks without `block_passes`
        of their own; a `networks.Flipped` has those of its network, in its direction.

    Cost: each block takes as many passes as the slowest sample of the batch needs, including the
    pass that finds that nothing changes, and one pass to fill the caches for the next block. Inside
    a compiled function the cached pass is compiled, too, in case it is needed.

    Raises:
      TypeError, ValueError: if `tolerance` is not a positive number below 1 (any x might pass a
        larger one), or `max_iterations` or `block_size` is not a positive integer.

    References:
      Y. Song et al., Accelerating feedforward computation via parallel nonlinear equation solving,
        arXiv:2002.03629, 2021.
      A. Wiggers, E. Hoogeboom, Predictive sampling with forecasting autoregressive models,
        arXiv:2002.09928, 2020.

    >>> network = tfp_ar.networks.WaveNet([32], residual_channels=4, dilations=[1, 2])
    >>> flow = ARFlowBijector(network, sampling=FixedPoint(block_size=16))
    >>> flow.forward(tf.ones([2, 32])).shape
    TensorShape([2, 32])
    """

    tolerance: float | None = None
    max_iterations: int = 64
    block_size: int | None = None

    def __post_init__(self) -> None:
        if self.tolerance is not None and checks.positive_float("tolerance", self.tolerance) >= 1.0:
            raise ValueError(f"tolerance: expected a number below 1, got {self.tolerance!r}.")
        checks.positive_int("max_iterations", self.max_iterations)
        if self.block_size is not None:
            checks.positive_int("block_size", self.block_size)


class FixedPointSampler(SequentialSampler):
    """Sampler of x = T(u) as the solution of x = g(x): parallel passes until nothing changes.

    The cached sampler draws batches that do not converge. Gradients are those of any sampler, as x
    solves the same equation.

    Args:
      network: the AutoregressiveNetwork.
      transformer: function params [..., num_params] -> elementwise bijector; hashable.
      options: a FixedPoint.
      jit_compile: whether XLA compiles the passes.
    """

    def __init__(
        self,
        network: AutoregressiveNetwork,
        transformer: Callable,
        options: FixedPoint,
        jit_compile: bool,
    ):
        super().__init__(network, transformer, CACHED, jit_compile)
        self._solve = SolvePass(transformer, options)

    def report(
        self, u: tf.Tensor, *conditions: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Draws x [B, *event_shape].

        Returns: x, the passes it took [B, blocks], and whether it fell back to the cached sampler
          [B].
        """
        return self._report(self._compiled.weights(), u, *conditions)

    def _report(self, weights, u, *conditions):
        solve = self._compiled.unrecorded(self._solve, self._jit_compile)
        x, passes, converged = solve(weights, u, *conditions)
        sequential = super()._draw
        x = exact_unless(converged, x, lambda: sequential(weights)(u, *conditions))
        return x, passes, tf.fill(tf.shape(u)[:1], ~converged)

    def _draw(self, weights):
        return lambda u, *conditions: self._report(weights, u, *conditions)[0]


@dataclasses.dataclass(frozen=True)
class SolvePass:
    """Parallel passes over blocks until nothing changes."""

    transformer: Callable
    options: FixedPoint

    def __call__(
        self, network: AutoregressiveNetwork, u: tf.Tensor, conditional_input: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns x [B, *event_shape], the passes per block [B, n], and whether all converged."""
        size = tf.shape(u)[0] if u.shape[0] is None else u.shape[0]
        passes = network.block_passes(self.options.block_size, size, conditional_input)
        noise = tf.reshape(u, [size, network.event_size])
        x, counts, converged = solve(passes, self.transformer, noise, self.options)
        return tf.reshape(x, [size, *network.event_shape]), counts, converged


class SamplingReport(NamedTuple):
    """Samples with the passes that they took; see `sampling_report`."""

    x: tf.Tensor
    passes: tf.Tensor
    fell_back: tf.Tensor


def sampling_report(
    bijector: tfp.bijectors.Bijector, u: Any, conditional_input: Any = None
) -> SamplingReport:
    """Draws x = forward(u) by fixed-point iteration and counts the passes that it took.

    It works in a `tf.function`, too. No gradient flows through it: use `forward` for gradients.

    Args:
      bijector: an ARFlowBijector with `sampling='fixed_point'` or a FixedPoint.
      u: noise [..., *event_shape].
      conditional_input: as the bijector takes it.

    Returns: a named tuple of
      x: [..., *event_shape], equal to `bijector.forward(u)`.
      passes: int32 [..., blocks], the number of passes over each block after which a sample had
        converged, including the pass that found so. A batch takes as many as the slowest of its
        samples. 0 for blocks that were not reached because one before them did not converge.
      fell_back: bool [...], the same for all samples: whether the cached sampler had to draw them.

    Raises:
      TypeError: if `bijector` is not an ARFlowBijector that samples by fixed-point iteration.
      ValueError: if a shape is wrong, or conditioning is missing or not expected.

    >>> network = tfp_ar.networks.WaveNet([8], dilations=[1])  # new: no variable depends on others
    >>> report = sampling_report(ARFlowBijector(network, sampling="fixed_point"), tf.ones([2, 8]))
    >>> print(report.passes.numpy().tolist(), report.fell_back.numpy())
    [[2], [2]] [False False]
    """
    if not isinstance(getattr(bijector, "_sampler", None), FixedPointSampler):
        raise TypeError(
            "bijector: expected an ARFlowBijector with sampling='fixed_point' or a FixedPoint, got "
            f"{bijector!r}."
        )
    report = bijector._report(u, conditional_input)
    return SamplingReport(*(tf.stop_gradient(tensor) for tensor in report))
