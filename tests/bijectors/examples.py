"""Small conditioned flows, and their inputs, for tests of what stands around flows."""

from tests import helpers
from tests.compliance.registry import LazyReversed
from tfp_ar import ARFlowBijector

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def flow(seed=1, conditional_shape=(2,), **kwargs):
    """A flow of random weights, named by its seed."""
    network = LazyReversed([4], conditional_shape=conditional_shape, dtype="float64")
    settings = {"jit_compile": False, "name": f"flow_{seed}", **kwargs}
    bijector = ARFlowBijector(network, **settings)
    helpers.randomize(network, 0.4, seed)
    return bijector


def value(seed=0, batch=(3,)):
    """A new tensor."""
    return helpers.normal([*batch, 4], "float64", seed)


def condition(seed=7, batch=(3,)):
    """A conditional_input."""
    return helpers.normal([*batch, 2], "float64", seed)
