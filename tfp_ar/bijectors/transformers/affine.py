"""The affine transformer with a bounded log scale."""

import dataclasses

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.internal import checks, shapes

tfb = tfp.bijectors

LOG_SCALE_BOUND = 7.0  # scales from 1/1100 to 1100


@dataclasses.dataclass(frozen=True)
class Affine:
    """Affine transformer, the default `bijector_fn` of ARFlowBijector: x = mu + exp(alpha) u.

        mu = params[..., 0],    alpha = bound * tanh(params[..., 1] / bound)

    |alpha| < bound keeps exp(alpha) and its inverse finite whatever the network returns; near 0,
    alpha is params[..., 1] itself. Zero parameters give the identity.

    Args:
      log_scale_bound: the bound on |alpha|, above 0. The default of 7 allows scales from 1/1100 to
        1100. Choose it so that the data's smallest conditional scale fits: quiet speech in units of
        full scale has alpha near -10.

    >>> transformer = Affine()(tf.constant([1.0, 0.0]))
    >>> print(transformer.forward(2.0).numpy())
    3.0
    """

    log_scale_bound: float = LOG_SCALE_BOUND
    num_params = 2  # per variable; without an annotation, as it is not a field

    def __post_init__(self):
        checks.positive_float("log_scale_bound", self.log_scale_bound)

    def __call__(self, params: tf.Tensor) -> tfb.Bijector:
        """Returns the elementwise bijector on [...] for params [..., 2].

        Raises:
          ValueError: if the last dimension of `params` is not 2.
        """
        shapes.check_event_shape("params", params.shape.as_list(), [self.num_params])
        mu, raw = tf.unstack(params, axis=-1)
        bound = tf.cast(self.log_scale_bound, params.dtype)
        log_scale = bound * tf.tanh(raw / bound)
        return tfb.Chain([tfb.Shift(mu), tfb.Scale(log_scale=log_scale)])
