"""tfp_ar.bind: a distribution or bijector with fixed conditioning."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.bijectors.examples import EXACT, condition, flow, value
from tests.helpers import image
from tests.toys import LazyReversed
from tfp_ar import ARFlowBijector, bind
from tfp_ar.networks import WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions
BOTH = {"global": [2], "local": [4, 3]}


def flow_of_both(seed=1):
    """A flow with global and local conditioning."""
    network = WaveNet(
        [4], residual_channels=3, dilations=[1], conditional_shape=BOTH, dtype="float64"
    )
    return ARFlowBijector(helpers.randomize(network, 0.4, seed), jit_compile=False)


def test_it_equals_passing_the_argument():
    bijector, c, v = flow(), condition(), value()
    bound = bind(bijector, c)
    assert isinstance(bound, ARFlowBijector)
    for method in ("forward", "inverse", "forward_log_det_jacobian", "inverse_log_det_jacobian"):
        want = getattr(bijector, method)(tf.identity(v), conditional_input=c)
        np.testing.assert_allclose(getattr(bound, method)(tf.identity(v)), want, **EXACT)
    model, kwargs = image(bijector), {"bijector_kwargs": {"conditional_input": c}}
    want = model.log_prob(value(), **kwargs)
    np.testing.assert_allclose(bind(model, c).log_prob(value()), want, **EXACT)


def test_it_equals_routing_through_a_chain_by_names():
    first, second = flow(1), flow(2)
    chain, c = tfb.Chain([first, tfb.Permute([1, 0, 3, 2]), second]), condition()
    by_name = {"flow_1": {"conditional_input": c}, "flow_2": {"conditional_input": c}}
    model = image(chain)
    want = model.log_prob(value(), bijector_kwargs=by_name)
    np.testing.assert_allclose(bind(model, c).log_prob(value()), want, **EXACT)
    np.testing.assert_allclose(bind(chain, c).forward(value()), chain.forward(value(), **by_name))
    assert type(bind(chain, c)) is type(chain)


STACKS = {
    "flow": lambda f: f,
    "invert": tfb.Invert,
    "invert_twice": lambda f: tfb.Invert(tfb.Invert(f)),
    "tfb_chain": lambda f: tfb.Chain([tfb.Scale(np.float64(2.0)), f]),
    "chain": lambda f: tfp_ar.bijectors.Chain([f, tfb.Scale(np.float64(2.0))]),
    "nested": lambda f: tfb.Chain(
        [tfb.Invert(tfb.Chain([tfb.Permute([1, 0, 3, 2]), tfb.Invert(f)])), flow(9, None)]
    ),
    "same_twice": lambda f: tfb.Chain([f, tfb.Permute([1, 0, 3, 2]), f]),
}
each_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())


@each_stack
def test_depth(stack):
    c = condition()
    got, want = bind(stack(flow()), c), stack(flow(conditional_input=c))
    for method in ("forward", "inverse"):
        np.testing.assert_allclose(
            getattr(got, method)(value()), getattr(want, method)(value()), **EXACT
        )
    for method in ("forward_log_det_jacobian", "inverse_log_det_jacobian"):
        np.testing.assert_allclose(
            getattr(got, method)(value(), 1), getattr(want, method)(value(), 1), **EXACT
        )


@each_stack
def test_variables_are_kept(stack):
    whole = stack(flow())
    for thing in (whole, image(whole)):
        bound = bind(thing, condition())
        assert [id(v) for v in bound.variables] == [id(v) for v in thing.variables]
        assert thing.trainable_variables
        assert [id(v) for v in bound.trainable_variables] == [
            id(v) for v in thing.trainable_variables
        ]


@each_stack
def test_nothing_is_changed(stack):
    bijector = flow()
    whole = stack(bijector)
    before = dict(whole.parameters)
    bind(whole, condition())
    assert bijector.conditional_input is None
    assert whole.parameters == before
    with pytest.raises(ValueError, match="this network is conditioned on"):
        whole.forward(value())


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_batch_shapes(batch):
    bound = bind(image(flow()), condition(batch=batch))
    assert bound.batch_shape == batch
    np.testing.assert_array_equal(bound.batch_shape_tensor(), batch)
    assert bound.event_shape == [4]
    x = bound.sample(5, seed=[1, 2])
    assert x.shape == (5, *batch, 4)
    assert bound.log_prob(x).shape == (5, *batch)
    assert bound.log_prob(tf.identity(x)).shape == (5, *batch)
    assert bound.log_prob(value(batch=())).shape == batch
    # Every sample has noise of its own.
    assert len(np.unique(x)) == tf.size(x)
    bijector = bound.bijector
    assert bijector.experimental_batch_shape() == batch
    assert bijector.experimental_batch_shape(x_event_ndims=2) == batch[:-1]
    np.testing.assert_array_equal(bijector.experimental_batch_shape_tensor(), batch)
    np.testing.assert_array_equal(
        bijector.experimental_batch_shape_tensor(x_event_ndims=2), batch[:-1]
    )


def test_batch_members_are_conditioned_each_on_its_own():
    model, c = image(flow()), condition()
    together = bind(model, c).log_prob(value(batch=(5, 3)))
    for k in range(3):
        alone = bind(model, c[k]).log_prob(value(batch=(5, 3))[:, k])
        np.testing.assert_allclose(together[:, k], alone, **EXACT)


@each_stack
def test_batch_shapes_of_stacks(stack):
    bound = bind(image(stack(flow())), condition())
    assert bound.batch_shape == [3]
    x, log_prob = bound.experimental_sample_and_log_prob(5, seed=[1, 2])
    assert x.shape == [5, 3, 4]
    np.testing.assert_allclose(log_prob, bound.log_prob(tf.identity(x)), rtol=1e-10)


def test_other_distributions_around_it():
    model, c = image(flow()), condition()
    bound = bind(tfd.Independent(image(flow(conditional_input=c)), 1).distribution, c)
    assert bound.batch_shape == [3]
    sample = bind(tfd.Sample(model, 2), condition(batch=()))
    assert sample.event_shape == [2, 4]
    want = tf.reduce_sum(bind(model, condition(batch=())).log_prob(value(batch=(5, 2))), -1)
    np.testing.assert_allclose(sample.log_prob(value(batch=(5, 2))), want, **EXACT)
    components = image(flow(conditional_input=c + 1.0))  # a mixture needs its batch shape
    mixture = tfd.MixtureSameFamily(tfd.Categorical(logits=np.zeros([3])), components)
    bound = bind(mixture, c)
    want = tf.reduce_logsumexp(bind(model, c).log_prob(value()[:, tf.newaxis]), -1) - np.log(3.0)
    np.testing.assert_allclose(bound.log_prob(value()), want, rtol=1e-10)
    assert len(bound.trainable_variables) == 4
    joint = bind(tfd.JointDistributionSequential([model, image(flow(3, None))]), c[0])
    assert len(joint.sample(seed=[1, 2])) == 2


def test_dict_conditioning():
    bijector = flow_of_both()
    c = helpers.random_conditioning(bijector.network, 3)
    model = image(bijector)
    want = model.log_prob(value(), bijector_kwargs={"conditional_input": c})
    bound = bind(model, c)
    assert bound.batch_shape == [3]
    np.testing.assert_allclose(bound.log_prob(value()), want, **EXACT)
    # The parts' leading shapes broadcast.
    mixed = {"global": c["global"][:, tf.newaxis], "local": c["local"][0]}
    bound = bind(model, mixed)
    assert bound.batch_shape == [3, 1]
    np.testing.assert_array_equal(bound.batch_shape_tensor(), [3, 1])
    assert bound.sample(2, seed=[1, 2]).shape == [2, 3, 1, 4]
    with pytest.raises(ValueError, match=r"expected the keys \['global', 'local'\]"):
        bind(model, {"global": c["global"]})


def test_an_argument_goes_before_what_is_bound():
    bijector, c, d = flow(), condition(1), condition(2)
    want = bijector.inverse(value(), conditional_input=d)
    got = bind(bijector, c).inverse(value(), conditional_input=d)
    np.testing.assert_allclose(got, want, **EXACT)


def test_binding_anew():
    bijector, c, d = flow(), condition(1), condition(2)
    got = bind(bind(image(bijector), c), d).log_prob(value())
    np.testing.assert_allclose(got, bind(image(bijector), d).log_prob(value()), **EXACT)


def test_in_a_function_with_unknown_batch():
    model = image(flow())

    @tf.function(
        input_signature=[tf.TensorSpec([None, 4], "float64"), tf.TensorSpec([None, 2], "float64")],
        autograph=False,
    )
    def run(x, c):
        bound = bind(model, c)
        return bound.log_prob(x), bound.batch_shape_tensor(), bound.sample(2, seed=[1, 2])

    for n in (3, 1, 0):
        log_prob, shape, x = run(value()[:n], condition()[:n])
        np.testing.assert_array_equal(shape, [n])
        assert x.shape == (2, n, 4)
        want = bind(model, condition()).log_prob(value())[:n]
        np.testing.assert_allclose(log_prob, want, **EXACT)


@pytest.mark.parametrize("make", [tf.Variable, keras.Variable])
def test_a_variable_can_be_trained(make):
    variable = make(condition(), dtype="float64")
    raw = variable.value if make is keras.Variable else variable
    bound = bind(image(flow()), variable)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(bound.log_prob(value()))
    gradient = tape.gradient(loss, raw)
    assert np.all(np.any(gradient != 0.0, axis=-1))
    raw.assign_sub(0.01 * gradient)
    assert -tf.reduce_mean(bound.log_prob(value())) < loss
    with tf.GradientTape() as tape:
        x = bound.sample(2, seed=[1, 2])
    assert np.any(tape.gradient(x, raw) != 0.0)


def test_a_tf_variable_is_among_the_variables():
    variable = tf.Variable(condition())
    bound = bind(image(flow()), variable)
    assert any(v is variable for v in bound.trainable_variables)
    assert len(bound.trainable_variables) == 5


@pytest.mark.parametrize("of", [lambda b: b, image], ids=["bijector", "distribution"])
def test_errors(of):
    c = condition()
    swallowed = r"conditional_input: no network in .* is conditioned; a value of shape \[3, 2\]"
    with pytest.raises(ValueError, match=swallowed):
        bind(of(flow(1, None)), c)
    with pytest.raises(ValueError, match=swallowed):
        bind(of(tfb.Chain([tfb.Permute([1, 0, 3, 2]), tfb.Invert(flow(1, None))])), c)
    with pytest.raises(ValueError, match=r"conditional_input: expected shape \[\.\.\., 2\], got"):
        bind(of(flow()), tf.ones([3, 5]))
    with pytest.raises(TypeError, match=r"conditional_input: expected \[2\], got a dict"):
        bind(of(flow()), {"global": c})
    with pytest.raises(ValueError, match="conditional_input: expected what the networks.*got None"):
        bind(of(flow()), None)


@pytest.mark.parametrize("wrong", [None, LazyReversed, "flow", 3])
def test_only_distributions_and_bijectors(wrong):
    with pytest.raises(TypeError, match="distribution_or_bijector: expected a tfd.Distribution or"):
        bind(wrong, condition())


@pytest.mark.parametrize("stack", [lambda f: f, tfb.Invert, STACKS["tfb_chain"]])
def test_slices_of_the_batch(stack):
    for bijector, c in (
        (flow(), condition()),
        (flow(), condition().numpy().tolist()),
        (flow_of_both(), helpers.random_conditioning(flow_of_both().network, 3)),
    ):
        model, x = bind(image(stack(bijector)), c), value()
        want = model.log_prob(x)
        assert model[0].batch_shape == []
        assert model[1:].batch_shape == [2]
        np.testing.assert_allclose(model[1:].log_prob(x[1:]), want[1:], **EXACT)
