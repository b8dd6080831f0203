"""Generation: one variable after the other, the past in caches.

`steps` has the protocols, for a network's cached step and for its pass over a block given state;
`reference` what works for any network, a whole parallel pass for each variable.
"""
