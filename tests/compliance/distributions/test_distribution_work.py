"""The work of an AutoregressiveDistribution: counts of the passes through its network.

`TickingNetwork` counts executions, and `counting.counted` also sees compiled functions, as in
tests/compliance/bijectors/test_work_contract.py.
"""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.compliance import counting

tfd = tfp.distributions
SEED = (1, 2)


def categorical(params):
    return tfd.Categorical(logits=params)


def distribution_of(make_network, jit_compile=True, **kwargs):
    """Over four variables of three levels."""
    network = make_network([4], num_params=3, dtype="float64", **kwargs)
    model = tfp_ar.AutoregressiveDistribution(network, categorical, jit_compile=jit_compile)
    helpers.randomize(network, 0.3, seed=3)
    return model


def values(rows=3, seed=0):
    return tf.constant(np.random.default_rng(seed).integers(0, 3, [rows, 4]), tf.int32)


def log_prob(model, x):
    return model.log_prob(x)


def sample(model, x):
    return model.sample(x.shape[0], seed=SEED)


def sample_and_log_prob(model, x):
    return model.experimental_sample_and_log_prob(x.shape[0], seed=SEED)


def greedy(model, x):
    del x
    return model.greedy()


def complete(model, x):
    return model.complete(x, 0, seed=SEED)


def complete_what_is_given(model, x):
    return model.complete(x, 4, seed=SEED)


def train_step(model, x):
    """By plain gradient descent."""
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(model.log_prob(x))
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(0.01 * gradient)
    return loss


# (parallel, sequential) passes.
QUESTIONS = {
    log_prob: (1, 0),
    sample: (0, 1),
    sample_and_log_prob: (1, 1),
    greedy: (0, 1),
    complete: (0, 1),
    complete_what_is_given: (0, 1),
    train_step: (1, 0),
}
each_question = pytest.mark.parametrize("ask", QUESTIONS, ids=lambda ask: ask.__name__)


def change_weights(model):
    for variable in model.trainable_variables:
        variable.assign_add(tf.fill(variable.shape, np.float64(0.01)))


@pytest.mark.parametrize("mode", ["eager", "graph"])
@each_question
def test_executed_passes(ask, mode):
    model = distribution_of(counting.TickingNetwork, jit_compile=False)
    ticks = model.network.ticks.counts

    def run(x):
        return ask(model, x)

    if mode == "graph":
        run = tf.function(run, autograph=False)
    for round_ in ("first", "same x, other weights", "other x"):
        ticks.clear()
        run(values(seed=round_ == "other x"))
        assert (ticks[counting.PASS], ticks[counting.GENERATE]) == QUESTIONS[ask], round_
        change_weights(model)


@each_question
def test_passes_in_a_compiled_graph(ask, monkeypatch):
    # Tracing is enough: a pass that is in the graph is run once.
    with counting.counted(monkeypatch) as work:
        model = distribution_of(work.network)
        work.passes()
        run = tf.function(lambda x: ask(model, x), jit_compile=True, autograph=False)
        run.get_concrete_function(values())
        assert work.passes() == QUESTIONS[ask]


def everything(model, rows, **conditioning):
    """Asks a distribution under a condition for all that is compiled."""
    x = values(rows)
    model.log_prob(x, **conditioning)
    model.sample(seed=SEED, **conditioning)
    model.greedy(**conditioning)
    model.complete(x, 0, seed=SEED, **conditioning)


def condition(rows):
    return {"conditional_input": helpers.normal([rows, 2], "float64", seed=rows)}


def test_batches_of_like_size_and_copies_share_compiled_code(monkeypatch):
    with counting.counted(monkeypatch) as work:
        model = distribution_of(work.network, conditional_shape=[2])
        work.passes()
        everything(model, 6, **condition(6))
        traces = work.traces
        assert traces > 0 and work.passes() == (1, 3)
        everything(model, 5, **condition(5))  # computed as 6
        everything(model.copy(), 6, **condition(6))
        everything(tfp_ar.bind(model, **condition(5)), 5)
        other = tfp_ar.AutoregressiveDistribution(model.network, categorical, name="other")
        everything(other, 6, **condition(6))
        change_weights(model)
        everything(model, 6, **condition(6))
        assert work.traces == traces
        model.log_prob(values(7), **condition(7))  # computed as 8
        assert work.traces > traces
