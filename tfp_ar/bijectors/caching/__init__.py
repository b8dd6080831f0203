"""Caches that give no stale answers while weights are trained.

`TransformedDistribution.log_prob(x)` asks its bijector for `inverse(x)`, then for the log-det at the
result. TFP's bijectors remember what they computed, so that the second question costs nothing. For a
flow, whose forward is a sequential pass, that memory cannot be left out, and TFP's own has four
traps:

1. It knows tensors by identity, not weights. After an update, `inverse(x)` of the same x returns what
   the old weights gave, and `log_prob` mixes the new noise with the old log-det.
2. A pair that was computed outside a gradient tape breaks the gradient of what is computed inside:
   the tape never saw where it came from.
3. `tfb.Chain` has a cache of its own, which finds its members' answers by their hash: traps 1 and 2
   once more, one level up, where the members' caches are not asked.
4. An array that is converted at every call is another tensor each time, so that nothing is ever
   found: `log_prob` would sample.

`WeightsAwareCache` keeps the version of the weights with each pair and forgets what no longer fits
(1, 2); `CachedBijector` lets weights and tapes take part in the hash (3); `TensorMemo` gives equal
values the same tensor (4).
"""

from tfp_ar.bijectors.caching.cached_bijector import CachedBijector
from tfp_ar.bijectors.caching.tensor_memo import TensorMemo
from tfp_ar.bijectors.caching.weights_aware_cache import (
    PairCache,
    PassThroughCache,
    WeightsAwareCache,
    WeightsVersion,
)

__all__ = [
    "CachedBijector",
    "PairCache",
    "PassThroughCache",
    "TensorMemo",
    "WeightsAwareCache",
    "WeightsVersion",
]
