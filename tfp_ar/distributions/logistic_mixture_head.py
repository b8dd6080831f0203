"""Mixtures of discretized logistics, parametrised by a network."""

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_ar.distributions.discretized_logistic_mixture import (
    DiscretizedLogisticMixture,
    checked_levels,
)
from tfp_ar.internal import checks, shapes

_MIN_SCALE = 0.05  # in levels: a component centred on a cell has all but 1e-4 of its mass in it
_MAX_SCALE = 1000.0  # in ranges: a flat distribution; larger scales would overflow


@dataclasses.dataclass(frozen=True)
class LogisticMixtureHead:
    """Output head of PixelCNN++, a `distribution_fn` for AutoregressiveDistribution.

        logits[k] = params[..., k]
        loc[k] = low + (k + 1/2) r / K + r / 2 params[..., K + k],    r = high - low
        log scale[k] = m + softplus(log(r / (2 K)) + params[..., 2 K + k] - m),    m = log(0.05)

    Zero parameters, with which our networks start, give components that are spread over the levels:
    equal components would stay equal for ever. The softplus keeps scales above 0.05 levels, below
    which more sharpness gains nothing, and still gives them a gradient there.

    Args:
      num_components: K, above 0.
      low: the lowest level, an int.
      high: the highest level, an int above `low`.

    Raises:
      TypeError, ValueError: if an argument is not such an integer.

    References:
      T. Salimans et al., PixelCNN++: Improving the PixelCNN with discretized logistic mixture
        likelihood and other modifications, arXiv:1701.05517, 2017.

    >>> head = LogisticMixtureHead(num_components=2, low=0, high=255)
    >>> print(head.num_params, head(tf.zeros([6])).loc.numpy())
    6 [ 63.75 191.25]
    """

    num_components: int
    low: int
    high: int

    def __post_init__(self):
        levels = checked_levels(self.low, self.high)
        # Converted to Python integers: NumPy's small ones would overflow in the sums below.
        object.__setattr__(self, "low", levels.low)
        object.__setattr__(self, "high", levels.high)
        number = checks.positive_int("num_components", self.num_components)
        object.__setattr__(self, "num_components", number)

    @property
    def num_params(self) -> int:
        """The number of parameters per variable, 3 K."""
        return 3 * self.num_components

    def __call__(self, params: Any) -> DiscretizedLogisticMixture:
        """Returns the distribution for params [..., 3 K], of batch shape [...].

        Raises:
          ValueError: if the last dimension of `params` is not 3 K.
        """
        params = tf.convert_to_tensor(params)
        shapes.check_event_shape("params", shapes.static_shape(params), [self.num_params])
        logits, loc, log_scale = tf.split(params, 3, axis=-1)
        count, span = self.num_components, self.high - self.low
        centres = tf.constant(self.low + (np.arange(count) + 0.5) * (span / count), params.dtype)
        least, most = math.log(_MIN_SCALE), math.log(_MAX_SCALE * span)
        log_scale = least + tf.nn.softplus(log_scale + (math.log(span / (2 * count)) - least))
        return DiscretizedLogisticMixture(
            logits,
            centres + 0.5 * span * loc,
            tf.exp(tf.minimum(log_scale, most)),
            self.low,
            self.high,
        )
