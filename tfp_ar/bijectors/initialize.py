"""Initialization of every ActNorm of a stack from data."""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.act_norm import ActNorm
from tfp_ar.conditioning import forwarding, walk
from tfp_ar.internal import tfp_private

tfb, tfd = tfp.bijectors, tfp.distributions

_SEED = (0, 0)  # arbitrary: the noise of dequantization hardly moves a mean


@tf.autograph.experimental.do_not_convert
def initialize(
    bijector_or_distribution: tfb.Bijector | tfd.Distribution,
    data: Any,
    conditional_input: Any = None,
    seed: Any = _SEED,
) -> None:
    """Sets every ActNorm from the data, as the bijectors outside of it transform them.

    From the data side to the base, one after the other, each ActNorm is set such that its output
    has mean 0 and standard deviation 1 in each channel. (An ActNorm inside an odd number of
    `tfb.Invert` maps towards the base by its `forward`; there, the output of that is normalised.)
    Call it once, eagerly and before training. On an error, no ActNorm is changed.

    Args:
      bijector_or_distribution: a tfb.Bijector with ActNorms in its compositions and inverses, or a
        tfd.Distribution around one: TransformedDistribution, Dequantized, Independent, Sample.
      data: [..., *event_shape], a few hundred rows of the training data; integers for a
        Dequantized.
      conditional_input: the conditioning of the data, as `bind` takes it. Default None.
      seed: stateless seed of the noise that a Dequantized adds. Default: a fixed one.

    Raises:
      TypeError: if the first argument is neither a bijector nor a distribution, or an ActNorm has
        no variables.
      ValueError: if there is no ActNorm, or one that data do not pass through (in a mixture, say);
        if an ActNorm occurs twice; if data or conditioning do not fit, or data are not in the
        support of a Dequantized.
      RuntimeError: if it is called inside a tf.function.

    Cost: one pass towards the base, up to the last ActNorm, with all rows in memory at once.

    References:
      D. P. Kingma and P. Dhariwal, Glow: Generative flow with invertible 1x1 convolutions,
        arXiv:1807.03039, 2018, section 3.1 (data-dependent initialization).

    >>> chain = Chain([Bounded(0, 256), ActNorm([2]), tfb.Permute([1, 0]), ActNorm([2])])
    >>> levels = np.random.default_rng(0).integers(0, 40, [500, 2])
    >>> base = tfd.Sample(tfd.Normal(0.0, 1.0), [2])
    >>> images = Dequantized(tfd.TransformedDistribution(base, chain))
    >>> initialize(images, levels)
    >>> u = chain.inverse(levels + np.float32(0.5))
    >>> print(f"mean {np.mean(u):.1f}, deviation {np.std(u):.1f}")
    mean 0.0, deviation 1.0
    """
    whole = bijector_or_distribution
    if not isinstance(whole, (tfd.Distribution, tfb.Bijector)):
        raise TypeError(
            f"bijector_or_distribution: expected a tfd.Distribution or tfb.Bijector, got {whole!r}."
        )
    if not _act_norms(whole):
        raise ValueError(
            f"bijector_or_distribution: expected an ActNorm in it, got none in {whole.name!r}."
        )
    act_norms = _act_norms(whole)
    passage = _Passage(seed, len(act_norms))
    value = tf.cast(data, act_norms[0].dtype)
    whole = forwarding.conditioned(whole, conditional_input)  # the ActNorms in it are the same
    if isinstance(whole, tfb.Bijector):
        passage.through(whole, value, forward=False)
    else:
        passage.distribution(whole, value)
    for act_norm, values in passage.found:
        act_norm.assign(*values)


class _Passage:
    """A pass of data towards the base that collects what to assign to each ActNorm."""

    def __init__(self, seed, num_act_norms):
        self.seed, self.num_act_norms = seed, num_act_norms
        self.found = []  # (ActNorm, (shift, log_scale))

    def distribution(self, distribution, value):
        """Passes `value` through `distribution` towards its base, up to the last ActNorm."""
        if not _act_norms(distribution):
            return
        inner = walk.inner_distribution(distribution)
        if inner is None:
            raise ValueError(_out_of_reach(distribution))
        if hasattr(distribution, "dequantizer"):
            if not tf.is_symbolic_tensor(value):  # the first ActNorm refuses symbolic ones
                distribution.support.check(value, "data")
            seed = tfp.random.sanitize_seed(self.seed)
            value = distribution.dequantizer.dequantize(value, 1, seed)[0][0]
        elif walk.is_transformed(distribution):
            value = self.through(distribution.bijector, value, forward=False)
        self.distribution(inner, value)

    def through(self, bijector, value, forward):
        """Returns `value` mapped in that direction by `bijector`, with its ActNorms set."""
        if isinstance(bijector, ActNorm):
            return self._act_norm(bijector, value, forward)
        if len(self.found) == self.num_act_norms:
            return value  # nothing further needs it
        if not _act_norms(bijector):
            return bijector.forward(value) if forward else bijector.inverse(value)
        if isinstance(bijector, tfb.Composition):
            pass_on = tfp_private.walk_forward if forward else tfp_private.walk_inverse
            return pass_on(bijector, lambda b, v, **_: self.through(b, v, forward), value)
        for inner in walk.inner_bijectors(bijector):  # of tfb.Invert
            return self.through(inner, value, not forward)
        raise ValueError(_out_of_reach(bijector))

    def _act_norm(self, act_norm, value, forward):
        if any(known is act_norm for known, _ in self.found):
            raise ValueError(
                f"bijector_or_distribution: expected each ActNorm once, got {act_norm.name!r} "
                "twice; data have different means and deviations at the two places."
            )
        mean, log_deviation = values = act_norm.statistics(value)
        if forward:  # exp(log_scale) u + shift must be (u - mean) / deviation
            values = (-mean * np.exp(-log_deviation), -log_deviation)
        self.found.append((act_norm, values))
        shift, log_scale = (tf.cast(v, act_norm.dtype) for v in values)
        fixed = act_norm.copy(shift=shift, log_scale=log_scale)
        return fixed.forward(value) if forward else fixed.inverse(value)


def _act_norms(value) -> list[ActNorm]:
    """Returns all ActNorms in `value`, at any depth."""
    return [member for member in walk.members(value) if isinstance(member, ActNorm)]


def _out_of_reach(holder) -> str:
    return (
        "bijector_or_distribution: expected ActNorms in compositions and inverses, and these in "
        f"distributions that pass a value on, got one inside {type(holder).__name__} "
        f"{holder.name!r}. Initialize what is inside on its own."
    )
