"""Increasing elementwise bijectors with an inverse in closed form and a numerical forward."""

import abc
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.transformers.root_finding import solve_increasing, with_implicit_gradient
from tfp_ar.internal import tf_private

tfb = tfp.bijectors


class NumericalForwardBijector(tfb.Bijector):
    """Bijector with u = c(x; theta) in closed form, and x by a solver that stays in its bracket.

    A subclass defines `_curve`, the function c, and `_bracket`, the bounds of its solutions.

    Args:
      theta: the tensors [..., k] that c depends on; x has derivatives in them.
      parameters: the arguments of the subclass's constructor, for TFP.
      name: name for the ops.
    """

    def __init__(self, theta: Sequence[tf.Tensor], parameters: dict, name: str):
        self._theta = tuple(theta)
        with tf.name_scope(name) as name:
            super().__init__(
                forward_min_event_ndims=0,
                is_constant_jacobian=False,
                dtype=self._theta[0].dtype,
                parameters=parameters,
                name=name,
            )

    @abc.abstractmethod
    def _curve(self, x, *theta):
        """Returns c(x; theta) and log dc/dx, both [...], for x [...]."""

    @abc.abstractmethod
    def _bracket(self, u):
        """Returns (low, high, start): bounds of the solutions for u [...], and where to start."""

    @classmethod
    def _is_increasing(cls, **_):
        return True

    def _forward(self, x):
        # Broadcast by a sum: XLA cannot compile the gradient of `broadcast_to` for an unknown batch
        # in a loop, such as that of sampling.
        u = x + tf.zeros_like(self._theta[0][..., 0])
        with tf_private.not_recording():  # in eager mode a tape would keep all iterations
            solution, _ = self.solve(u)
        return with_implicit_gradient(self._curve, solution, u, self._theta)

    def solve(self, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes x for u [...], without derivatives; returns x and the number of iterations."""
        return solve_increasing(lambda x: self._curve(x, *self._theta), u, *self._bracket(u))

    def _inverse(self, y):
        return self._curve(y, *self._theta)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._curve(y, *self._theta)[1]
