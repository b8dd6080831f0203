"""Generation: one variable after the other, the past in caches.

`steps` has the protocols: a network's cached step, and its pass over a block given state.
`reference` has generation for any network: a whole parallel pass per variable.
"""
