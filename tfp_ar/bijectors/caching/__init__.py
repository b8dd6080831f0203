"""Caches that return no stale results while weights are trained.

`TransformedDistribution.log_prob(x)` asks its bijector for `inverse(x)`, then for the log-det at
the result. TFP's bijectors remember what they computed, so that the second request costs nothing.
A flow, whose forward is a sequential pass, cannot do without a cache, and TFP's own has four traps:

1. It identifies tensors, but not weights. After an update, `inverse(x)` of the same x returns the
   result of the old weights, and `log_prob` mixes the new noise with the old log-det.
2. A pair that was computed outside a gradient tape breaks the gradient of what is computed inside:
   the tape never saw where the pair came from.
3. `tfb.Chain` has a cache of its own, which finds its members' results by their hash. Traps 1 and 2
   come back one level up, where the members' caches are not asked.
4. An array that is converted at every call is a new tensor each time, so that the cache never finds
   it: `log_prob` would sample.

`WeightsAwareCache` keeps the version of the weights with each pair and forgets pairs that are out
of date (1, 2); `CachedBijector` includes weights and tapes in the hash (3); `TensorMemo` gives
equal values the same tensor (4).
"""
