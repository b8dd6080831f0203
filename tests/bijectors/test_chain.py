"""tfp_ar.bijectors.Chain: tfb.Chain with one conditioning argument."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import helpers
from tests.bijectors.examples import EXACT, condition, flow, value
from tfp_ar import ARFlowBijector
from tfp_ar.bijectors import Chain
from tfp_ar.conditioning.walk import flows
from tfp_ar.networks import WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions
METHODS = ("forward", "inverse", "forward_log_det_jacobian", "inverse_log_det_jacobian")


def permute():
    """What stands between two flows."""
    return tfb.Permute([1, 0, 3, 2])


def ask(bijector, method, v, **kwargs):
    """Calls a method; log-dets over the event."""
    more = {"event_ndims": 1} if method.endswith("jacobian") else {}
    return getattr(bijector, method)(v, **more, **kwargs)


each_method = pytest.mark.parametrize("method", METHODS)


@each_method
def test_it_is_tfb_chain_with_arguments_by_name(method):
    first, second, plain = flow(1), flow(2), flow(3, None)
    parts = [first, permute(), plain, tfb.Scale(np.float64(2.0)), second]
    ours, theirs = Chain(parts), tfb.Chain(parts)
    c = condition()
    by_name = {"flow_1": {"conditional_input": c}, "flow_2": {"conditional_input": c}}
    want = ask(theirs, method, value(), **by_name)
    np.testing.assert_allclose(ask(ours, method, value(), conditional_input=c), want, **EXACT)
    np.testing.assert_allclose(ask(ours, method, value(), **by_name), want, **EXACT)


@each_method
def test_arguments_by_name_go_before_the_common_one(method):
    parts = [flow(1), permute(), flow(2)]
    c, d = condition(1), condition(2)
    want = ask(
        tfb.Chain(parts),
        method,
        value(),
        flow_1={"conditional_input": c},
        flow_2={"conditional_input": d},
    )
    got = ask(Chain(parts), method, value(), conditional_input=c, flow_2={"conditional_input": d})
    np.testing.assert_allclose(got, want, **EXACT)


@each_method
def test_conditioning_reaches_nested_chains_and_inverses(method):
    a, b, c, d = (flow(seed) for seed in (1, 2, 3, 4))
    nested = Chain(
        [
            a,
            tfb.Invert(b),
            Chain([permute(), tfb.Chain([c, tfb.Scale(np.float64(0.5))])]),
            tfb.Invert(tfb.Chain([permute(), d])),
        ]
    )
    inner = tfb.Chain(
        [
            a.copy(conditional_input=condition()),
            tfb.Invert(b.copy(conditional_input=condition())),
            permute(),
            c.copy(conditional_input=condition()),
            tfb.Scale(np.float64(0.5)),
            tfb.Invert(d.copy(conditional_input=condition())),
            tfb.Invert(permute()),
        ]
    )
    got = ask(nested, method, value(), conditional_input=condition())
    np.testing.assert_allclose(got, ask(inner, method, value()), **EXACT)


def test_two_flows_of_one_name():
    first, second = flow(1, name="same"), flow(2, name="same")
    chain, c, v = Chain([first, second]), condition(), value()
    x = first.forward(second.forward(v, conditional_input=c), conditional_input=c)
    np.testing.assert_allclose(chain.forward(tf.identity(v), conditional_input=c), x, **EXACT)


def test_the_same_flow_twice():
    bijector = flow(1)
    chain, c, v = Chain([bijector, permute(), bijector]), condition(), value()
    x = chain.forward(v, conditional_input=c)
    want = bijector.forward(
        permute().forward(bijector.forward(tf.identity(v), conditional_input=c)),
        conditional_input=c,
    )
    np.testing.assert_allclose(x, want, **EXACT)
    x = tf.identity(x)
    np.testing.assert_allclose(chain.inverse(x, conditional_input=c), v, rtol=1e-10)
    assert len(chain.trainable_variables) == len(bijector.trainable_variables)


def test_an_empty_chain_is_the_identity():
    v = value()
    for method in ("forward", "inverse"):
        np.testing.assert_array_equal(getattr(Chain([]), method)(v), v)


def test_conditions_broadcast_as_for_one_flow():
    chain = Chain([flow(1), permute(), flow(2)])
    v, c = value(batch=(5, 3)), condition()
    rows = [chain.forward(v[k], conditional_input=c) for k in range(5)]
    np.testing.assert_allclose(chain.forward(v, conditional_input=c), tf.stack(rows), **EXACT)


def test_training_reaches_every_flow():
    network = WaveNet([4], residual_channels=3, dilations=[1], dropout=0.5, seed=1, dtype="float64")
    dropping = ARFlowBijector(helpers.randomize(network), jit_compile=False)
    for chain in (
        Chain([dropping, permute()]),
        Chain([permute(), Chain([dropping])]),
        Chain([tfb.Invert(tfb.Invert(dropping))]),
    ):
        still = chain.inverse(value(), training=False)
        np.testing.assert_array_equal(chain.inverse(value()), still)
        assert np.any(chain.inverse(value(), training=True) != still)
    # Not even conditioning that a neighbour takes keeps it from arriving.
    mixed = Chain([dropping, flow(1)])
    c = condition()
    still = mixed.inverse(value(), conditional_input=c)
    assert np.any(mixed.inverse(value(), conditional_input=c, training=True) != still)


@each_method
def test_swallowed_missing_and_unknown_arguments(method):
    plain, conditioned = flow(1, None), flow(2)
    swallowed = "conditional_input: no bijector of .* is conditioned; it would be ignored"
    for parts in ([plain, permute()], [permute()], [tfb.Invert(plain)], []):
        with pytest.raises(ValueError, match=swallowed):
            ask(Chain(parts), method, value(), conditional_input=condition())
    for chain in (Chain([conditioned, plain]), Chain([tfb.Invert(conditioned)])):
        with pytest.raises(ValueError, match="this network is conditioned on .*None"):
            ask(chain, method, value())
        with pytest.raises(ValueError, match=r"conditional_input: expected shape \[\.\.\., 2\]"):
            ask(chain, method, value(), conditional_input=tf.ones([3, 3], "float64"))
        with pytest.raises(TypeError, match=r"expected keyword arguments among .*\['condition'\]"):
            ask(chain, method, value(), condition=condition())


def test_which_flows_are_in_it():
    first, second, plain = flow(1), flow(2), flow(3, None)
    chain = Chain([first, tfb.Invert(Chain([second])), tfb.Chain([plain]), permute()])
    assert flows(chain) == [first, second, plain]
    assert "conditional_input" in chain.takes_kwargs
    assert "conditional_input" not in Chain([plain, permute()]).takes_kwargs


def test_freezing_one_network_of_two():
    first, second = flow(1), flow(2)
    chain = Chain([first, permute(), second])
    model = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), [4]), chain)
    first.network.trainable = False
    want = {id(v) for v in second.trainable_variables}
    assert want
    assert {id(v) for v in model.trainable_variables} == want


def test_is_increasing_is_combined():
    assert Chain([tfb.Scale(2.0), tfb.Exp()])._internal_is_increasing()
    assert not Chain([tfb.Scale(-2.0), tfb.Exp()])._internal_is_increasing()
    assert Chain([tfb.Scale(-2.0), tfb.Exp(), tfb.Scale(-1.0)])._internal_is_increasing()


def test_name():
    assert Chain([flow(1), permute()]).name == "chain_of_flow_1_of_permute"
    assert Chain([flow(1)], name="mine").name == "mine"
    graph = tf.function(Chain([flow(1, None)], name="mine").forward).get_concrete_function(value())
    names = [op.name for op in graph.graph.get_operations()]
    assert any(name.startswith("mine/forward/") for name in names)
