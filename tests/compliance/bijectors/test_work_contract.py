"""The work of a flow: counts of the passes through its network.

There are two ways to count. `TickingNetwork` counts executions, by ops that tick when they run,
eagerly and in graphs; nothing is compiled. `counting.counted` counts runs of compiled functions,
and passes that are written into a graph outside of those; it also sees functions for XLA.
"""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.compliance import counting
from tfp_ar import ARFlowBijector
from tfp_ar.bijectors import ActNorm
from tfp_ar.conditioning.walk import flows

tfb, tfd = tfp.bijectors, tfp.distributions


def chain_of(chain):
    """A function (network, ...) -> two flows in `chain`, the second on a new network."""

    def make(make_flow):
        return chain([make_flow("flow_1"), tfb.Permute([1, 0, 3, 2]), make_flow("flow_2")])

    return make


def stack(make_flow):
    """Two flows with what a stack puts before each."""
    norms = [ActNorm([4], dtype="float64", name=f"act_norm_{k}") for k in range(2)]
    parts = [norms[0], make_flow("flow_1"), norms[1], tfb.Permute([1, 0, 3, 2])]
    return tfp_ar.bijectors.Chain([*parts, make_flow("flow_2")])


BIJECTORS = {
    "flow": lambda make_flow: make_flow("flow"),
    "invert": lambda make_flow: tfb.Invert(make_flow("flow")),
    "tfb_chain": chain_of(tfb.Chain),
    "chain": chain_of(tfp_ar.bijectors.Chain),
    "chain_stack": stack,
    "invert_chain": lambda make_flow: tfb.Invert(chain_of(tfp_ar.bijectors.Chain)(make_flow)),
}


def log_prob(flow, x):
    """The density."""
    return flow.log_prob(x)


def sample(flow, x):
    """As many samples as x has rows."""
    return flow.sample(x.shape[0], seed=[1, 2])


def sample_and_log_prob(flow, x):
    """Both at once."""
    return flow.experimental_sample_and_log_prob(x.shape[0], seed=[1, 2])


def log_prob_of_a_sample(flow, x):
    """One after the other."""
    return flow.log_prob(flow.sample(x.shape[0], seed=[1, 2]))


def gradient_of_log_prob(flow, x):
    """By x and all weights."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(flow.log_prob(x))
    return tape.gradient(y, [x, *flow.trainable_variables])


def gradient_of_sample(flow, x):
    """By all weights."""
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(flow.sample(x.shape[0], seed=[1, 2]) ** 2)
    return tape.gradient(y, flow.trainable_variables)


def inverse_and_log_det(flow, x):
    """By the methods of the bijector."""
    u = flow.bijector.inverse(x)
    return u, flow.bijector.inverse_log_det_jacobian(x, 1), flow.bijector.forward(u)


def log_det_alone(flow, x):
    """Of the inverse."""
    return flow.bijector.inverse_log_det_jacobian(x, 1)


# (parallel, sequential) passes a flow: of a flow, and of its inverse, which exchanges the two.
QUESTIONS = {
    log_prob: ((1, 0), (1, 1)),
    sample: ((0, 1), (1, 0)),
    sample_and_log_prob: ((1, 1), (1, 0)),
    log_prob_of_a_sample: ((1, 1), (1, 0)),
    gradient_of_log_prob: ((1, 0), (2, 1)),  # the inverse's density is differentiated by a sample
    gradient_of_sample: ((1, 1), (1, 0)),
    inverse_and_log_det: ((1, 0), (1, 1)),
    log_det_alone: ((1, 0), (1, 1)),
}

each_question = pytest.mark.parametrize("ask", QUESTIONS, ids=lambda ask: ask.__name__)


def each_way(name, quick):
    """Parametrizes over a setting and the bijectors; a chain is quick in one setting only."""
    settings = {"mode": ("eager", "graph"), "jit_compile": (False, True)}[name]

    def is_slow(bijector, setting):
        return bijector not in ("flow", "invert") and (bijector, setting) != ("chain", quick)

    return pytest.mark.parametrize(
        [name, "name"],
        [
            pytest.param(
                setting,
                bijector,
                marks=[pytest.mark.slow] * is_slow(bijector, setting),
            )
            for setting in settings
            for bijector in BIJECTORS
        ],
    )


def expected(name, ask, mode="graph"):
    """The numbers of passes."""
    parallel, sequential = QUESTIONS[ask][name.startswith("invert")]
    flows_in_it = 2 if "chain" in name else 1
    # tfb.Composition walks through its bijectors to ask each for its log-det, but drops the last
    # result; eagerly it is computed again. log_prob holds that result.
    dropped = (name, ask, mode) == ("invert_chain", log_det_alone, "eager")
    return parallel * flows_in_it, sequential * flows_in_it + dropped


def flow_of(name, make_network, **kwargs):
    """The distribution on networks of random weights."""

    def make_flow(flow_name):
        network = make_network([4], dtype="float64")
        bijector = ARFlowBijector(network, name=flow_name, **kwargs)
        helpers.randomize(network, 0.3, seed=3)
        return bijector

    base = tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), [4])
    return tfd.TransformedDistribution(base, BIJECTORS[name](make_flow))


def change_weights(flow):
    """Adds a little to every weight."""
    for variable in flow.trainable_variables:
        variable.assign_add(tf.fill(variable.shape, np.float64(0.01)))


def value(batch=3, seed=0):
    """A new tensor."""
    return helpers.normal([batch, 4], "float64", seed)


# What is executed -------------------------------------------------------------------------------


# What a chain has in a graph is counted below, by tracing it.
@each_way("mode", quick="eager")
@each_question
def test_executed_passes(name, ask, mode):
    flow = flow_of(name, counting.TickingNetwork, jit_compile=False)
    networks = [f.network for f in flows(flow.bijector)]

    def run(x):
        return ask(flow, x)

    if mode == "graph":
        run = tf.function(run, autograph=False)
    x = value()
    for round_ in ("first", "same x, other weights", "other x"):
        for network in networks:
            network.ticks.counts.clear()
        run(x if round_ != "other x" else value(seed=1))
        total = sum((network.ticks.counts for network in networks), collections.Counter())
        done = total[counting.PASS], total[counting.GENERATE]
        assert done == expected(name, ask, mode), round_
        change_weights(flow)


# What is compiled -------------------------------------------------------------------------------


@each_way("jit_compile", quick=False)
@each_question
def test_passes_in_a_graph(name, ask, jit_compile, monkeypatch):
    # Tracing is enough: a pass that is in the graph is run once.
    with counting.counted(monkeypatch) as work:
        flow = flow_of(name, work.network)
        work.passes()
        run = tf.function(lambda x: ask(flow, x), jit_compile=jit_compile, autograph=False)
        run.get_concrete_function(value())
        assert work.passes() == expected(name, ask)


@pytest.mark.parametrize("num_flows", [1, 3])
def test_passes_of_a_stack(num_flows, monkeypatch):
    with counting.counted(monkeypatch) as work:
        chain = tfp_ar.bijectors.stack(lambda k: work.network([4], dtype="float64"), num_flows)
        base = tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), [4])
        flow = tfd.TransformedDistribution(base, chain)
        work.passes()
        run = tf.function(lambda x: gradient_of_log_prob(flow, x), autograph=False)
        run.get_concrete_function(value())
        assert work.passes() == (num_flows, 0)


def test_passes_of_log_prob_in_a_graph_after_an_update(monkeypatch):
    with counting.counted(monkeypatch) as work:
        flow = flow_of("flow", work.network)

        def run(x):
            first = flow.log_prob(x)
            second = flow.log_prob(x)  # remembered
            change_weights(flow)
            return first, second, flow.log_prob(x)

        work.passes()
        tf.function(run, autograph=False).get_concrete_function(value())
        assert work.passes() == (2, 0)


def test_compiled_passes_when_called_eagerly(monkeypatch):
    # One flow and no more, as each question compiles for seconds.
    with counting.counted(monkeypatch) as work:
        flow, x = flow_of("flow", work.network), value()
        for ask in QUESTIONS:
            for round_ in ("first", "same x, other weights", "other x"):
                work.passes()
                traces = work.traces
                ask(flow, x if round_ != "other x" else value(seed=1))
                exact = work.counts["exact"]
                assert work.passes() == expected("flow", ask), (ask.__name__, round_)
                assert exact == 0, "no sample of so small a network needs the fall-back"
                if round_ != "first":
                    assert work.traces == traces, f"{ask.__name__} traced again: {round_}"
                change_weights(flow)


def test_what_is_known_is_not_computed_again(monkeypatch):
    with counting.counted(monkeypatch) as work:
        flow, x = flow_of("flow", work.network, jit_compile=False), value()
        work.passes()
        u = flow.bijector.inverse(x)  # known as long as both are held
        assert work.passes() == (1, 0)
        log_prob = flow.log_prob(x)
        flow.bijector.inverse_log_det_jacobian(x)
        flow.bijector.forward_log_det_jacobian(u)
        assert flow.bijector.forward(u) is x
        np.testing.assert_array_equal(flow.log_prob(x), log_prob)
        assert work.passes() == (0, 0)
        flow.log_prob(tf.identity(x))
        assert work.passes() == (1, 0)


def test_a_train_step_is_one_pass(monkeypatch):
    with counting.counted(monkeypatch) as work:
        flow = flow_of("flow", work.network)
        work.passes()

        @tf.function(autograph=False, jit_compile=True)
        def step(x):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(flow.log_prob(x))
            gradients = tape.gradient(loss, flow.trainable_variables)
            for variable, gradient in zip(flow.trainable_variables, gradients, strict=True):
                variable.assign_sub(0.01 * gradient)
            return loss

        step.get_concrete_function(value())
        assert work.passes() == (1, 0)


# What is shared ---------------------------------------------------------------------------------


def everything(flow, batch):
    """Asks for density, samples and both gradients."""
    x = value(batch)
    log_prob(flow, x)
    sample(flow, x)
    gradient_of_log_prob(flow, x)
    gradient_of_sample(flow, x)


def test_batches_of_like_size_share_compiled_code(monkeypatch):
    with counting.counted(monkeypatch) as work:
        flow = flow_of("flow", work.network)
        everything(flow, 6)
        traces = work.traces
        assert traces > 0
        everything(flow, 5)
        assert work.traces == traces
        flow.log_prob(value(7))  # computed as 8
        assert work.traces > traces
        traces = work.traces
        flow.log_prob(value(8))
        assert work.traces == traces


def test_copies_and_bound_flows_share_compiled_code(monkeypatch):
    with counting.counted(monkeypatch) as work:

        def make(*args, **kwargs):
            return work.network(*args, conditional_shape=[2], **kwargs)

        flow = flow_of("flow", make)
        for k in range(4):
            c = helpers.normal([3, 2], "float64", seed=k)
            bound = tfp_ar.bind(flow, c)
            bound.log_prob(value())
            bound.sample(seed=[1, k])
            bound.copy().log_prob(value(seed=k))
            other = ARFlowBijector(flow.bijector.network, conditional_input=c, name="other")
            other.inverse(value())
            if k == 0:
                traces = work.traces
                assert traces > 0
        assert work.traces == traces


def test_freezing_does_not_compile_the_density_again(monkeypatch):
    with counting.counted(monkeypatch) as work:
        flow = flow_of("flow", work.network)
        x = value()
        flow.log_prob(x)
        flow.sample(3, seed=[1, 2])
        traces = work.traces
        flow.bijector.network.trainable = False
        flow.log_prob(tf.identity(x))
        flow.sample(3, seed=[1, 3])
        assert work.traces == traces
