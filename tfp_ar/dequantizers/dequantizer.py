"""The interface of the noise that `tfp_ar.Dequantized` adds to integers."""

import inspect
from typing import Any

import tensorflow as tf


class Dequantizer(tf.Module):
    """Noise u in (0, 1)^d for integers x, drawn from some q(u | x).

    A subclass defines `dequantize`. Its variables become variables of the `tfp_ar.Dequantized` that
    uses it. If its networks have dropout, `dequantize` takes another argument, `training=None`.

    >>> class Middle(Dequantizer):  # no noise: the density at the middle of the cell
    ...     def dequantize(self, x, num_samples, seed):
    ...         return tf.repeat(x[tf.newaxis], num_samples, axis=0) + 0.5, 0.0
    >>> one = tfp_ar.Dequantized(tfd.Uniform(0.0, 4.0), Middle())
    >>> print(one.prob(3).numpy())
    0.25
    """

    def dequantize(self, x: tf.Tensor, num_samples: int, seed: Any) -> tuple[tf.Tensor, Any]:
        """Draws x + u several times.

        Args:
          x: integers as floats, [..., *event_shape].
          num_samples: the number K of draws, an int.
          seed: stateless seed, an int32 tensor [2].

        Returns: y = x + u [K, ..., *event_shape], with floor(y) = x exactly; and log q(u | x), a
          tensor or number that broadcasts with [K, ...].
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define dequantize(x, num_samples, seed)."
        )

    @property
    def takes_kwargs(self) -> dict[str, bool]:
        """The further keyword arguments of `dequantize`: see `tfp_ar.conditioning`."""
        further = list(inspect.signature(self.dequantize).parameters.values())[3:]
        return {p.name: True for p in further if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}

    @property
    def takes_training(self) -> bool:
        """True if `dequantize` has the argument `training`."""
        return "training" in self.takes_kwargs
