"""Small bijectors of all kinds that hold a flow, by name; this folder's tests run over `BIJECTORS`.

The affine flow on each network of tests/compliance/networks/registry.py is in `FLOWS_ON_NETWORKS`
automatically, and gets those tests of a flow that depend on the network. A new setting of
ARFlowBijector goes to `FLOWS`, and anything else that holds a flow goes to `COMPOSITIONS`, as an
`Entry` whose `make(dtype)` returns a new tfb.Bijector.
"""

import dataclasses

import tensorflow_probability as tfp

import tfp_ar
from tests import helpers, toys
from tests.compliance.entries import Entry
from tests.compliance.networks.registry import FLAGSHIPS, NETWORKS, lazy, named

tfb = tfp.bijectors


def flow(make, **kwargs):
    """A function dtype -> ARFlowBijector of the network that `make(dtype)` gives."""
    return lambda dtype: tfp_ar.ARFlowBijector(make(dtype), **kwargs)


def _variant(name, num_params=2, **kwargs):
    """The entry of a flow with these options."""
    return Entry(name, flow(lazy(num_params=num_params), **_PLAIN, **kwargs), (4,), slow=True)


def _with_transformer(name, transformer):
    """The entry of a flow of `transformer`."""
    return _variant(name, transformer.num_params, bijector_fn=transformer)


def stack(chain, make, number=2, **kwargs):
    """A function dtype -> flows and permutations in turn, in `chain`."""

    def made(dtype):
        parts = []
        for k in range(number):
            parts += [flow(make, name=f"flow_{k}", **kwargs)(dtype), tfb.Permute([3, 1, 2, 0])]
        return chain(parts)

    return made


def norm_and(make):
    """A function dtype -> an ActNorm of fixed numbers around what `make(dtype)` gives."""

    def made(dtype):
        fixed = {
            name: helpers.normal([4], dtype, (3, i))
            for i, name in enumerate(("shift", "log_scale"))
        }
        return tfp_ar.bijectors.Chain([tfp_ar.bijectors.ActNorm([4], **fixed), make(dtype)])

    return made


def factory(make, **kwargs):
    """A function dtype -> two flows of opposite directions, by `tfp_ar.bijectors.stack`."""
    return lambda dtype: tfp_ar.bijectors.stack(
        lambda _: make(dtype), 2, actnorm=False, **_PLAIN, **kwargs
    )


def invert(make):
    """A function dtype -> the inverse of what `make(dtype)` gives."""
    return lambda dtype: tfb.Invert(make(dtype))


def bound(make, conditional_shape):
    """A function dtype -> what `make(dtype)` gives, bound to conditioning of no batch shape."""

    def made(dtype):
        c = Entry("", make, (), conditional_shape).conditioning([], dtype, seed=5)
        return tfp_ar.bind(make(dtype), **c)

    return made


# Without compilation of their own flows are quicker to test, and in graphs and under XLA they are
# tested all the same. Those that say nothing here are compiled, as users get them.
_PLAIN = {"jit_compile": False}
_GLOBAL = lazy(conditional_shape=[2])

FLOWS_ON_NETWORKS = [
    dataclasses.replace(
        # The flow on the WaveNet is in FLOWS, compiled.
        e,
        name=f"flow_on_{e.name}",
        make=flow(e.make, **_PLAIN),
        slow=e not in FLAGSHIPS or e.name == "wavenet",
    )
    for e in NETWORKS
]

_WAVENET = named("wavenet")[0]

FLOWS = [
    # The flow of the README, conditioned and compiled.
    dataclasses.replace(_WAVENET, name="flow", make=flow(_WAVENET.make)),
    Entry("flow_conditioned", flow(_GLOBAL), (4,), (2,), slow=True),
    _variant("flow_reference", sampling="reference"),
    _variant("flow_fixed_point", sampling="fixed_point"),
    _variant("flow_tight_bound", log_scale_bound=0.3),
    _variant("flow_shift", 1, bijector_fn=toys.shift),
    _variant("flow_lambda", 4, bijector_fn=lambda params: toys.sinh_arcsinh(params)),
    _variant("flow_decreasing", bijector_fn=toys.decreasing),
    # Their own code is in tests/bijectors.
    _with_transformer("flow_mixture", tfp_ar.bijectors.MixtureOfLogistics(2)),
    _with_transformer("flow_spline", tfp_ar.bijectors.RationalQuadraticSpline(3)),
    Entry("bound", bound(flow(_GLOBAL, **_PLAIN), (2,)), (4,), slow=True),
    Entry(
        "bound_both",
        bound(flow(_WAVENET.make, **_PLAIN), _WAVENET.conditional_shape),
        _WAVENET.event_shape,
        slow=True,
    ),
]

_Chain = tfp_ar.bijectors.Chain

COMPOSITIONS = [
    Entry("invert", invert(flow(lazy())), (4,), slow=True),
    Entry("invert_conditioned", invert(flow(_GLOBAL, **_PLAIN)), (4,), (2,), slow=True),
    Entry("tfb_chain", stack(tfb.Chain, lazy(), **_PLAIN), (4,), slow=True),
    Entry("chain", stack(_Chain, lazy(), **_PLAIN), (4,), slow=True),
    Entry("chain_conditioned", stack(_Chain, _GLOBAL, **_PLAIN), (4,), (2,)),
    Entry("invert_chain", invert(stack(_Chain, lazy(), number=1, **_PLAIN)), (4,), slow=True),
    Entry("act_norm", norm_and(flow(lazy(), **_PLAIN)), (4,), slow=True),
    Entry("stack", factory(_GLOBAL), (4,), (2,), slow=True),
    Entry(
        "bound_tfb_chain",
        bound(stack(tfb.Chain, _GLOBAL, number=1, **_PLAIN), (2,)),
        (4,),
        slow=True,
    ),
]

BIJECTORS = FLOWS_ON_NETWORKS + FLOWS + COMPOSITIONS
