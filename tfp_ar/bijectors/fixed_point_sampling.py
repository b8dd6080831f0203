"""The forward map of a flow by fixed-point iteration, and the choice among the samplers."""

import tensorflow as tf

from tfp_ar.bijectors.fixed_point import FixedPoint
from tfp_ar.bijectors.jacobi import solve
from tfp_ar.bijectors.sampling import CACHED, SAMPLING, Sampler, exact_unless
from tfp_ar.internal import checks

FIXED_POINT = "fixed_point"


def check_sampling(sampling, network):
    """What ARFlowBijector's argument `sampling` means: 'cached', 'reference' or a FixedPoint.

    Raises:
      ValueError: if it is none of them, or asks for blocks of a network that has none.
    """
    if sampling == FIXED_POINT:
        return FixedPoint()
    if not isinstance(sampling, FixedPoint):
        return checks.one_of("sampling", sampling, (*SAMPLING, FIXED_POINT))
    if sampling.block_size is not None and not network.has_block_passes:
        raise ValueError(
            f"sampling: expected block_size=None, as {type(network).__name__} has no passes over "
            f"blocks, got {sampling!r}."
        )
    return sampling


def make_sampler(network, transformer, sampling, jit_compile):
    """The Sampler for what `check_sampling` gave."""
    make = FixedPointSampler if isinstance(sampling, FixedPoint) else Sampler
    return make(network, transformer, sampling, jit_compile)


class FixedPointSampler(Sampler):
    """x = T(u) as the solution of x = g(x): parallel passes until nothing moves.

    The cached sampler draws what does not converge. Gradients are those of any Sampler: x solves
    the same equation.

    Args:
      network: the AutoregressiveNetwork.
      transformer: params [..., num_params] -> elementwise bijector; hashable.
      options: a FixedPoint.
      jit_compile: whether XLA compiles the passes.
    """

    def __init__(self, network, transformer, options, jit_compile):
        super().__init__(network, transformer, CACHED, jit_compile)
        self._options = options

    def report(self, u, parts):
        """Draws x [B, *event_shape].

        Returns: x, the passes it took [B, blocks], and whether it fell back [B].
        """
        solve = self._function("fixed_point", self._make_solve, self._options)
        x, passes, converged = solve(u, *parts)
        x = exact_unless(converged, x, lambda: super(FixedPointSampler, self)._draw(u, parts))
        return x, passes, tf.fill(tf.shape(u)[:1], ~converged)

    def _draw(self, u, parts):
        return self.report(u, parts)[0]

    def _make_solve(self, network):
        transformer, options = self._transformer, self._options

        def run(u, *parts):
            size = tf.shape(u)[0] if u.shape[0] is None else u.shape[0]
            passes = network.block_passes(options.block_size, size, self._conditioning.join(parts))
            noise = tf.reshape(u, [size, network.event_size])
            x, counts, converged = solve(passes, transformer, noise, options)
            return tf.reshape(x, [size, *network.event_shape]), counts, converged

        return run
