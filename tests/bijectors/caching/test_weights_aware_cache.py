"""Caches of a flow: no answer is stale after a change of weights, tape or conditions.

Each test calls a method twice with the same tensor. A copy of the tensor, which no cache knows,
gives the right answer.
"""

import functools
import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.bijectors import examples
from tests.bijectors.examples import EXACT, value
from tests.helpers import image
from tfp_ar import ARFlowBijector
from tfp_ar.conditioning import walk
from tfp_ar.networks import WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions


def single(seed=31, conditional_shape=None, **kwargs):
    """A flow."""
    return examples.flow(seed, conditional_shape, **kwargs)


def _two(chain, **kwargs):
    return chain([single(1, **kwargs), tfb.Permute([1, 0, 3, 2]), single(2, **kwargs)])


FLOWS = {
    "single": single,
    "compiled": functools.partial(single, jit_compile=True),
    "invert": lambda **kwargs: tfb.Invert(single(**kwargs)),
    "chain": lambda **kwargs: _two(tfp_ar.bijectors.Chain, **kwargs),
    "tfb_chain": lambda **kwargs: _two(tfb.Chain, **kwargs),
    "invert_tfb_chain": lambda **kwargs: tfb.Invert(_two(tfb.Chain, **kwargs)),
    "nested": lambda **kwargs: tfb.Chain(
        [tfb.Invert(tfb.Chain([single(**kwargs), tfb.Scale(np.float64(2.0))]))]
    ),
}
QUICK = ("single", "tfb_chain")  # the others are for `make test-all`
PARAMS = [
    pytest.param(make, id=name, marks=[] if name in QUICK else pytest.mark.slow)
    for name, make in FLOWS.items()
]
each_flow = pytest.mark.parametrize("make", PARAMS)


def dropout_flow():
    """A flow with dropout in its network."""
    network = WaveNet([4], residual_channels=8, dilations=[1, 2], dropout=0.5, dtype="float64")
    return ARFlowBijector(helpers.randomize(network, 0.4), jit_compile=False)


QUESTIONS = {
    "log_prob": lambda b, v, **kwargs: image(b).log_prob(v, bijector_kwargs=kwargs),
    "forward": lambda b, v, **kwargs: b.forward(v, **kwargs),
    "inverse": lambda b, v, **kwargs: b.inverse(v, **kwargs),
    "fldj": lambda b, v, **kwargs: b.forward_log_det_jacobian(v, 1, **kwargs),
    "ildj": lambda b, v, **kwargs: b.inverse_log_det_jacobian(v, 1, **kwargs),
}
each_question = pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS.keys())
each_but_slow_ones = pytest.mark.parametrize(
    "ask",
    [
        pytest.param(ask, id=name, marks=[pytest.mark.slow] * (name in ("inverse", "fldj", "ildj")))
        for name, ask in QUESTIONS.items()
    ],
)


def frozen():
    """A flow whose weights no optimizer changes; `assign` does."""
    bijector = single()
    bijector.network.trainable = False
    return bijector


ALSO = [pytest.param(frozen, id="frozen"), pytest.param(lambda: single().copy(), id="copy")]


def change_all(bijector, by=0.3):
    """Adds to every weight, frozen or not."""
    for variable in bijector.variables:
        variable.assign_add(tf.fill(variable.shape, tf.cast(by, variable.dtype)))


# Other weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [*PARAMS, *ALSO])
@each_question
def test_a_weight_update_changes_the_answer(make, ask):
    bijector, v = make(), value()
    before = ask(bijector, v)
    np.testing.assert_array_equal(ask(bijector, v), before)
    change_all(bijector)
    fresh = ask(bijector, tf.identity(v))
    assert np.all(fresh != before)
    np.testing.assert_allclose(ask(bijector, v), fresh, **EXACT)
    change_all(bijector, by=-0.3)
    np.testing.assert_allclose(ask(bijector, v), before, **EXACT)


def _optimizer(bijector, optimizer_class=keras.optimizers.Adam, **kwargs):
    optimizer, variables = optimizer_class(0.1), bijector.trainable_variables
    optimizer.build(variables)

    @tf.function(autograph=False, **kwargs)
    def step():
        optimizer.apply([tf.ones_like(v) for v in variables], variables)

    return step


def _scatter(bijector):
    def step():
        for v in bijector.trainable_variables:
            flat = tf.zeros(v.shape.rank, tf.int32)[tf.newaxis]
            v.scatter_nd_add(flat, [tf.cast(0.77, v.dtype)])

    return step


def _one_entry(bijector):
    def step():
        bias = bijector.trainable_variables[-1]  # of location and log scale
        bias.assign_add(tf.constant([0.0, 1.0], bias.dtype))

    return step


def _keras_assign(bijector):
    networks = [f.network for f in walk.flows(bijector)]

    def step():
        for network in networks:
            network.set_weights([w + 0.1 for w in network.get_weights()])

    return step


UPDATES = {
    "graph": _optimizer,
    "xla": lambda b: _optimizer(b, jit_compile=True),
    "sgd_xla": lambda b: _optimizer(b, keras.optimizers.SGD, jit_compile=True),
    "scatter": _scatter,
    "one_entry": _one_entry,
    "keras": _keras_assign,
}


@pytest.mark.parametrize(
    "name, update",
    [("single", update) for update in UPDATES if update != "sgd_xla"]
    + [pytest.param("single", "sgd_xla", marks=pytest.mark.slow), ("tfb_chain", "graph")]
    + [pytest.param("tfb_chain", k, marks=pytest.mark.slow) for k in UPDATES if k != "graph"],
)
def test_whatever_updates_the_weights(name, update):
    bijector, v = FLOWS[name](), value()
    step = UPDATES[update](bijector)
    for _ in range(3):  # buffers are reused: an old address may come back
        before = {key: ask(bijector, v) for key, ask in QUESTIONS.items()}
        step()
        for key, ask in QUESTIONS.items():
            fresh = ask(bijector, tf.identity(v))
            assert np.any(fresh != before[key]), key
            np.testing.assert_allclose(ask(bijector, v), fresh, **EXACT, err_msg=key)


@each_flow
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_update_between_two_questions_in_one_function(make, jit_compile):
    bijector = make()
    flow = image(bijector)

    def twice(v):
        before = flow.log_prob(v)
        again = flow.log_prob(v)
        change_all(bijector)
        return before, again, flow.log_prob(v), flow.log_prob(tf.identity(v))

    v, start = value(), [w.numpy() for w in bijector.variables]
    before, again, after, fresh = tf.function(twice, autograph=False, jit_compile=jit_compile)(v)
    np.testing.assert_array_equal(before, again)
    np.testing.assert_allclose(after, fresh, rtol=1e-9)
    np.testing.assert_allclose(flow.log_prob(v), after, rtol=1e-9)
    for variable, weight in zip(bijector.variables, start, strict=True):
        variable.assign(weight)
    np.testing.assert_allclose(flow.log_prob(v), before, rtol=1e-9)
    assert np.all(np.abs(after - before) > 1e-3)


@pytest.mark.parametrize("way", ["cond", "while", "function"])
def test_an_update_inside_control_flow(way):
    bijector = single()
    flow = image(bijector)
    inner = tf.function(lambda: change_all(bijector), autograph=False)

    def body():
        change_all(bijector)
        return tf.constant(0)

    @tf.function(autograph=False)
    def twice(v, yes):
        before = flow.log_prob(v)
        if way == "cond":
            tf.cond(yes, body, lambda: tf.constant(0))
        elif way == "while":
            tf.while_loop(lambda i: i < 1, lambda i: (i + 1 + body(),), [tf.constant(0)])
        else:
            inner()
        return before, flow.log_prob(v)

    v = value()
    before, after = twice(v, tf.constant(True))
    assert np.all(np.abs(after - before) > 1e-3)
    np.testing.assert_allclose(after, flow.log_prob(tf.identity(v)), **EXACT)


@each_but_slow_ones
def test_a_tensor_closed_over_by_a_function(ask):
    bijector, v = single(), value()
    first = ask(bijector, v)  # eagerly, so that a cache knows v
    closed = tf.function(lambda: ask(bijector, v), autograph=False)
    np.testing.assert_allclose(closed(), first, **EXACT)
    np.testing.assert_allclose(ask(bijector, v), first, **EXACT)
    change_all(bijector)
    fresh = ask(bijector, tf.identity(v))
    assert np.all(fresh != first)
    np.testing.assert_allclose(closed(), fresh, **EXACT)
    np.testing.assert_allclose(ask(bijector, v), fresh, **EXACT)


def test_a_tensor_closed_over_and_an_update_inside():
    bijector, v = single(), value()
    bijector.inverse(v)

    @tf.function(autograph=False)
    def closed():
        before = bijector.inverse(v)
        change_all(bijector)
        return before, bijector.inverse(v)

    before, after = closed()
    assert np.all(before != after)
    np.testing.assert_allclose(bijector.inverse(v), after, **EXACT)


# Later tapes ------------------------------------------------------------------------------------


def gradients(bijector, ask, v, watch=None, **kwargs):
    """Gradients of an answer by v and all weights; None where there is none."""
    sources = [v, *bijector.trainable_variables]
    with tf.GradientTape(watch_accessed_variables=watch is None) as tape:
        tape.watch([v] if watch is None else [sources[i] for i in watch])
        y = tf.reduce_sum(tf.sin(ask(bijector, v, **kwargs)))
    return tape.gradient(y, sources)


def hold(bijector, v, **kwargs):
    """All answers, to be held: a cache knows a pair only as long as both its tensors live."""
    return [ask(bijector, v, **kwargs) for ask in QUESTIONS.values()]


def assert_same_gradients(got, want, watched=None):
    """Compares gradients, which must be there for what was watched."""
    assert len(got) == len(want)
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        if watched is None or i in [j % len(want) for j in watched]:
            assert a is not None, i
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=str(i))
        else:
            assert a is None, i


@each_flow
@each_question
def test_a_tape_that_was_opened_after_the_first_answer(make, ask):
    bijector, v = make(), value()
    want = gradients(bijector, ask, tf.identity(v))
    assert all(gradient is not None for gradient in want)
    held = hold(bijector, v)
    # tfb.Scale, in the last of the flows, has a cache of its own that cuts the gradient by v.
    first = 1 if make is FLOWS["nested"] else 0
    assert_same_gradients(gradients(bijector, ask, v)[first:], want[first:])
    # What was found inside the tape is no use to the next one.
    assert_same_gradients(gradients(bijector, ask, v)[first:], want[first:])
    del held


@each_but_slow_ones
@pytest.mark.parametrize("watch", [[0], [1], [-1], [0, -1]], ids=str)
def test_a_tape_that_watches_little(ask, watch):
    bijector, v = single(), value()
    want = gradients(bijector, ask, tf.identity(v))
    held = hold(bijector, v)
    assert_same_gradients(gradients(bijector, ask, v, watch), want, watch)
    del held


@each_question
def test_a_tape_that_watches_conditions_only(ask):
    bijector, v = single(conditional_shape=[2]), value()
    c = helpers.normal([3, 2], "float64", seed=5)

    def gradient(v):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(c)
            y = tf.reduce_sum(tf.sin(ask(bijector, v, conditional_input=c)))
        return tape.gradient(y, c)

    want = gradient(tf.identity(v))
    held = hold(bijector, v, conditional_input=c)
    assert want is not None
    np.testing.assert_allclose(gradient(v), want, **EXACT)
    del held


@each_but_slow_ones
def test_nested_tapes(ask):
    bijector, v = single(), value()
    want = gradients(bijector, ask, tf.identity(v))
    sources = [v, *bijector.trainable_variables]
    with tf.GradientTape() as outer:
        outer.watch(v)
        y = tf.reduce_sum(tf.sin(ask(bijector, v)))
        with tf.GradientTape() as inner:
            inner.watch(v)
            z = tf.reduce_sum(tf.sin(ask(bijector, v)))
    assert_same_gradients(inner.gradient(z, sources), want)
    assert_same_gradients(outer.gradient(y, sources), want)


@each_but_slow_ones
def test_a_second_tape_while_the_first_is_paused(ask):
    bijector, v = single(), value()
    want = gradients(bijector, ask, tf.identity(v))
    sources = [v, *bijector.trainable_variables]
    with tf.GradientTape() as outer:
        outer.watch(v)
        y = tf.reduce_sum(tf.sin(ask(bijector, v)))
        with outer.stop_recording():
            paused = ask(bijector, v)
            assert_same_gradients(gradients(bijector, ask, v), want)
        z = tf.reduce_sum(tf.sin(ask(bijector, v)))
        y = y + z
    np.testing.assert_allclose(tf.reduce_sum(tf.sin(paused)), z, **EXACT)
    assert_same_gradients(outer.gradient(y, sources), [2.0 * g for g in want])


def test_second_derivatives_of_log_prob():
    bijector, v = single(), value()
    flow = image(bijector)
    flow.log_prob(v)

    def hessian_product(v):
        with tf.GradientTape() as outer:
            outer.watch(v)
            with tf.GradientTape() as inner:
                inner.watch(v)
                y = flow.log_prob(v)
            slope = inner.gradient(y, v)
            along = tf.reduce_sum(slope * tf.cos(v))
        return slope, outer.gradient(along, v)

    slope, product = hessian_product(v)
    step = 1e-5
    moved = []
    for sign in (1, -1):
        at = v + sign * step * tf.cos(v)
        with tf.GradientTape() as tape:
            tape.watch(at)
            y = flow.log_prob(at)
        moved.append(tape.gradient(y, at))
    difference = (moved[0] - moved[1]) / (2 * step)  # H cos(v), while cos is held
    with tf.GradientTape() as tape:
        tape.watch(v)
        held = tf.reduce_sum(tf.stop_gradient(slope) * tf.cos(v))
    np.testing.assert_allclose(product, difference + tape.gradient(held, v), rtol=1e-6, atol=1e-8)


@each_but_slow_ones
def test_gradients_in_a_function(ask):
    bijector, v = single(), value()
    want = gradients(bijector, ask, tf.identity(v))

    @tf.function(autograph=False)
    def after_a_first_answer(v):
        hold(bijector, v)  # the graph does
        return gradients(bijector, ask, v)

    assert_same_gradients(after_a_first_answer(v), want)


@each_question
def test_forward_mode_after_a_first_answer(ask):
    bijector, v = single(), value()

    def derivative(v):
        with tf.autodiff.ForwardAccumulator(v, tf.ones_like(v)) as accumulator:
            y = ask(bijector, v)
        return accumulator.jvp(y)

    held = hold(bijector, v)
    if ask is QUESTIONS["forward"] or ask is QUESTIONS["fldj"]:
        with pytest.raises(LookupError, match="or for forward mode"):
            derivative(v)
        return
    np.testing.assert_allclose(derivative(v), derivative(tf.identity(v)), **EXACT)
    del held


def test_a_dropout_mask_belongs_to_a_tensor():
    bijector = dropout_flow()
    flow, v, on = image(bijector), value(), {"training": True}
    held = bijector.inverse(v, **on)
    assert bijector.inverse(v, **on) is held
    ildj = bijector.inverse_log_det_jacobian(v, 1, **on)
    np.testing.assert_array_equal(bijector.forward_log_det_jacobian(held, 1, **on), -ildj)
    assert np.any(bijector.inverse(tf.identity(v), **on) != held)

    @tf.function(autograph=False)
    def thrice(v):
        copies = (tf.identity(v) for _ in range(3))
        return [flow.log_prob(x, bijector_kwargs=on) for x in copies]

    first, second, third = thrice(v)
    assert np.all((first != second) & (second != third) & (first != third))


def test_a_chain_draws_dropout_once_for_noise_and_log_det():
    first, second = dropout_flow(), dropout_flow()
    chain, v, on = tfp_ar.bijectors.Chain([first, second]), value(), {"training": True}
    u = chain.inverse(v, **on)
    ildj = chain.inverse_log_det_jacobian(v, 1, **on)
    np.testing.assert_allclose(chain.forward_log_det_jacobian(u, 1, **on), -ildj, **EXACT)


# Samples ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tfb_chain", "single"])
def test_tapes_one_after_the_other(name):
    bijector, v, held = FLOWS[name](), value(), []
    want = gradients(bijector, QUESTIONS["inverse"], tf.identity(v))
    for _ in range(10):
        with tf.GradientTape() as tape:
            tape.watch(v)
            held.append(bijector.inverse(v))
            y = tf.reduce_sum(tf.sin(held[-1]))
        got = tape.gradient(y, [v, *bijector.trainable_variables])
        assert_same_gradients(got, want)


@pytest.mark.parametrize("make", [FLOWS["tfb_chain"], FLOWS["invert_tfb_chain"], single])
def test_gradients_of_the_log_prob_of_a_sample_that_is_held(make):
    flow = image(make())
    x, variables = flow.sample(3, seed=[1, 2]), flow.trainable_variables

    def slopes(x):
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(flow.log_prob(x))
        return tape.gradient(y, variables)

    assert_same_gradients(slopes(x), slopes(tf.identity(x)))


def test_log_prob_of_a_sample_has_the_gradients_of_both():
    bijector = single()
    flow = image(bijector)
    variables = flow.trainable_variables

    def entropy(identity):
        with tf.GradientTape() as tape:
            x = flow.sample(3, seed=[1, 2])
            y = tf.reduce_sum(flow.log_prob(identity(x)))
        return tape.gradient(y, variables)

    # With the sample itself the noise is remembered, with a copy it is computed from the sample.
    assert_same_gradients(entropy(lambda x: x), entropy(tf.identity))


def test_log_prob_of_an_old_sample_after_an_update():
    for make in (single, FLOWS["invert"], FLOWS["tfb_chain"]):
        bijector = make()
        flow = image(bijector)
        x = flow.sample(3, seed=[1, 2])
        before = flow.log_prob(x)
        change_all(bijector)
        after = flow.log_prob(x)
        assert np.all(after != before)
        np.testing.assert_allclose(after, flow.log_prob(tf.identity(x)), **EXACT)


# Conditioning -----------------------------------------------------------------------------------


@each_question
def test_conditions_of_other_values(ask):
    bijector, v = single(conditional_shape=[2]), value()
    c, d = (helpers.normal([3, 2], "float64", seed) for seed in (1, 2))
    first, second = (ask(bijector, v, conditional_input=k) for k in (c, d))
    assert np.all(first != second)
    np.testing.assert_array_equal(ask(bijector, v, conditional_input=c), first)
    np.testing.assert_allclose(ask(bijector, tf.identity(v), conditional_input=d), second, **EXACT)


@each_flow
@each_but_slow_ones
@pytest.mark.parametrize("kind", ["array", "variable"])
def test_bound_conditions_that_change_while_answers_are_held(make, ask, kind):
    array, v = np.ones([3, 2]), value()
    c = tf.Variable(array) if kind == "variable" else array
    bijector = tfp_ar.bind(make(conditional_shape=[2]), c)
    before, held = ask(bijector, v), hold(bijector, v)
    if kind == "variable":
        c.assign(2.0 * c)
    else:
        array[:] = 2.0
    fresh = ask(bijector, tf.identity(v))
    assert np.all(fresh != before)
    np.testing.assert_allclose(ask(bijector, v), fresh, **EXACT)
    del held


@each_but_slow_ones
def test_an_array_that_is_changed_in_place(ask):
    bijector, v = single(conditional_shape=[2]), value()
    array = np.ones([3, 2])
    before = ask(bijector, v, conditional_input=array)
    array[:] = 2.0
    after = ask(bijector, v, conditional_input=array)
    assert np.all(after != before)
    fresh = single(conditional_shape=[2])
    want = ask(fresh, v, conditional_input=tf.fill([3, 2], np.float64(2.0)))
    np.testing.assert_allclose(after, want, **EXACT)


@each_but_slow_ones
@pytest.mark.parametrize(
    "how, keras_variable",
    [
        ("argument", True),
        ("bound", False),
        pytest.param("argument", False, marks=pytest.mark.slow),
        pytest.param("bound", True, marks=pytest.mark.slow),
    ],
)
def test_a_variable_as_conditioning(ask, how, keras_variable):
    bijector, v = single(conditional_shape=[2]), value()
    make = keras.Variable if keras_variable else tf.Variable
    variable = make(np.ones([3, 2]), dtype="float64")
    kwargs = {"conditional_input": variable}
    if how == "bound":
        bijector, kwargs = bijector.copy(conditional_input=variable), {}
    before = ask(bijector, v, **kwargs)
    np.testing.assert_array_equal(ask(bijector, v, **kwargs), before)
    raw = variable.value if keras_variable else variable
    with tf.GradientTape() as tape:  # after a first answer
        y = tf.reduce_sum(tf.sin(ask(bijector, v, **kwargs)))
    gradient = tape.gradient(y, raw)
    assert gradient is not None
    assert np.any(gradient != 0.0)
    variable.assign(2.0 * np.ones([3, 2]))
    after = ask(bijector, v, **kwargs)
    fresh = single(conditional_shape=[2])
    want = ask(fresh, v, conditional_input=tf.fill([3, 2], np.float64(2.0)))
    assert np.all(after != before)
    np.testing.assert_allclose(after, want, **EXACT)

    @tf.function(autograph=False)
    def twice():
        first = ask(bijector, v, **kwargs)
        variable.assign(np.ones([3, 2]))
        return first, ask(bijector, v, **kwargs)

    first, second = twice()
    np.testing.assert_allclose(first, after, **EXACT)
    np.testing.assert_allclose(second, before, **EXACT)


def test_conditions_of_another_dtype_are_cast():
    bijector, v = single(conditional_shape=[2]), value()
    want = bijector.inverse(tf.identity(v), conditional_input=tf.ones([3, 2], "float64"))
    for c in (
        np.ones([3, 2], np.float32),
        tf.ones([3, 2]),
        tf.ones([3, 2], tf.int32),
        [[1, 1]] * 3,
    ):
        got = bijector.inverse(tf.identity(v), conditional_input=c)
        np.testing.assert_allclose(got, want, **EXACT)


# Memory -----------------------------------------------------------------------------------------


@each_flow
def test_entries_die_with_their_tensors(make):
    bijector = make()
    flow = image(bijector)
    x = flow.sample(3, seed=[1, 2])
    log_prob, v = flow.log_prob(x), value()
    u = bijector.inverse(v)
    references = [weakref.ref(t) for t in (x, log_prob, u, v)]
    del x, log_prob, u, v
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


def test_the_cache_is_empty_when_nobody_holds_its_tensors():
    bijector = single()
    flow = image(bijector)
    kept = value(99)
    for k in range(5):
        flow.log_prob(value(k))
        flow.sample(2, seed=[1, k])
        flow.log_prob(kept)
        change_all(bijector, 0.01)
    gc.collect()
    assert len(bijector._cache.storage) <= 2  # kept, and its image while the entry is alive
    del kept
    gc.collect()
    assert not bijector._cache.storage


@each_flow
def test_flows_and_networks_die(make, monkeypatch):
    monkeypatch.setattr(examples, "_network", examples._network.__wrapped__)
    bijector = make()
    networks = [weakref.ref(f.network) for f in walk.flows(bijector)]
    image(bijector).log_prob(value())
    bijector.forward(value())
    del bijector
    gc.collect()
    assert [network() for network in networks] == [None] * len(networks)


def test_clear():
    bijector, v = single(), value()
    u = bijector.inverse(v)
    bijector._cache.clear()
    assert bijector.inverse(v) is not u
    np.testing.assert_array_equal(bijector.inverse(v), u)
