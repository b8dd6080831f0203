"""How fixed-point sampling iterates."""

import dataclasses

from tfp_ar.internal import checks


@dataclasses.dataclass(frozen=True)
class FixedPoint:
    """Fixed-point (Jacobi) sampling for ARFlowBijector: all variables at once, pass after pass.

    A sample x = T(u) is the one solution of x[i] = t(u[i]; params[i](x)). From x = 0, repeat

        x_new[i] = t(u[i]; params[i](x)) for all i at once, with one parallel pass,

    until for every variable of every sample

        |x_new[i] - x[i]| <= tolerance * max(|x[i]|, |dx[i]/du[i]|),

    and return x: to the tolerance, each x[i] is what the sequential pass makes of the variables
    before it. The first k variables are exact after k passes, so that a block of V variables takes
    V at most; the weaker variables depend on each other, the fewer. NaN and infinity never pass for
    convergence. Where `max_iterations` are not enough, the network's cached sequential pass draws
    the whole batch instead.

    `ARFlowBijector(network, sampling='fixed_point')` takes the defaults here;
    `sampling=FixedPoint(...)` other ones. `tfp_ar.bijectors.sampling_report` tells the number of
    passes.

    Args:
      tolerance: as above. Default None: 16 units of rounding of the dtype (2e-6 in float32).
      max_iterations: passes a block, at most. Default 64.
      block_size: positions of a block: steps of time of a WaveNet, rows of a GatedPixelCNN. Blocks
        are solved one after the other, the past in caches, and a pass costs that of a block.
        Default None: the whole event. Networks without `block_passes` of their own have no other;
        a `networks.Flipped` has those of its network, in its direction.

    Cost: for each block as many passes over it as the slowest sample of the batch needs, the one
    that finds that nothing moves included, and one to fill the caches for the next block. Inside a
    compiled function the cached pass is compiled, too, lest it be needed.

    Raises:
      TypeError, ValueError: if `tolerance` is no positive number below 1 (any x might pass by a
        larger one), or `max_iterations` or `block_size` is no positive integer.

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

    def __post_init__(self):
        if self.tolerance is not None and checks.positive_float("tolerance", self.tolerance) >= 1.0:
            raise ValueError(f"tolerance: expected a number below 1, got {self.tolerance!r}.")
        checks.positive_int("max_iterations", self.max_iterations)
        if self.block_size is not None:
            checks.positive_int("block_size", self.block_size)
