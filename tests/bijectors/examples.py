"""Small conditioned flows and their inputs, for tests of objects around flows."""

import functools

from tests import helpers
from tests.toys import LazyReversed
from tfp_ar import ARFlowBijector

EXACT = {"rtol": 1e-12, "atol": 1e-12}


@functools.cache
def _network(seed, conditional_shape):
    network = LazyReversed([4], conditional_shape=conditional_shape, dtype="float64")
    network.build((None, 4))
    return network


def flow(seed=1, conditional_shape=(2,), **kwargs):
    """A flow of random weights, named by its seed; those of one seed share their network.

    All tests share it, since its passes take longer to trace than anything else does. Each call
    puts its weights back.
    """
    hashable = None if conditional_shape is None else tuple(conditional_shape)
    network = helpers.randomize(_network(seed, hashable), 0.4, seed)
    network.trainable = True
    settings = {"jit_compile": False, "name": f"flow_{seed}", **kwargs}
    return ARFlowBijector(network, **settings)


def value(seed=0, batch=(3,)):
    """A new tensor."""
    return helpers.normal([*batch, 4], "float64", seed)


def condition(seed=7, batch=(3,)):
    """A conditional_input."""
    return helpers.normal([*batch, 2], "float64", seed)
