"""Increasing elementwise bijectors whose inverse has a closed form and whose forward has none."""

import abc

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.transformers.root_finding import solve_increasing, with_implicit_gradient
from tfp_ar.internal import tf_private

tfb = tfp.bijectors


class NumericalForwardBijector(tfb.Bijector):
    """u = c(x; theta) in closed form; x by a solver that cannot leave its bracket.

    A subclass defines `_curve`, the function c, and `_bracket`, where its solutions are.

    Args:
      theta: the tensors [..., k] that c depends on, which a derivative of x is taken in.
      parameters: of the subclass's constructor, for TFP.
      name: for the ops.
    """

    def __init__(self, theta, parameters, name):
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
        """c(x; theta) and log dc/dx, both [...], for x [...]."""

    @abc.abstractmethod
    def _bracket(self, u):
        """Bounds (low, high) of the solutions for u [...], and where between them to start."""

    @classmethod
    def _is_increasing(cls, **_):
        return True

    def _forward(self, x):
        # Broadcast by a sum: in a loop, such as that of sampling, XLA cannot compile the gradient
        # of `broadcast_to` for an unknown batch.
        u = x + tf.zeros_like(self._theta[0][..., 0])
        with tf_private.not_recording():  # eagerly a tape would keep all iterations
            solution, _ = self.solve(u)
        return with_implicit_gradient(self._curve, solution, u, self._theta)

    def solve(self, u):
        """The solution for u [...], without derivatives, and the number of iterations it took."""
        return solve_increasing(lambda x: self._curve(x, *self._theta), u, *self._bracket(u))

    def _inverse(self, y):
        return self._curve(y, *self._theta)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._curve(y, *self._theta)[1]
