"""tfp_ar.bijectors.stack: flows in several directions."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.toys import MaskedLinear, MaskedPairs
from tfp_ar import bind
from tfp_ar.bijectors import Bounded, Chain, initialize, stack
from tfp_ar.conditioning.walk import flows
from tfp_ar.networks import Flipped

tfb, tfd = tfp.bijectors, tfp.distributions
IMAGE = [3, 3, 1]
# The four directions by hand.
RASTER = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8],
    [8, 7, 6, 5, 4, 3, 2, 1, 0],
    [2, 1, 0, 5, 4, 3, 8, 7, 6],
    [6, 7, 8, 3, 4, 5, 0, 1, 2],
]
CONDITIONS = {
    "global": [2],
    "local": [3, 3, 2],
    "rows": [3, 2],
    "both": {"global": [2], "local": [3, 3, 2]},
}


def network(k, event_shape=IMAGE, **kwargs):
    """Of random weights, its parameters linear in all that comes before."""
    size = int(np.prod(event_shape))
    linear = MaskedLinear(event_shape, np.arange(size), dtype="float64", **kwargs)
    linear.build((None, *event_shape))
    return helpers.randomize(linear, 0.2, seed=(k, 1))


def new_images(num_flows, kind=None):
    """A stack over [3, 3, 1], its ActNorms random."""
    shape = CONDITIONS.get(kind)
    chain = stack(lambda k: network(k, conditional_shape=shape), num_flows, jit_compile=False)
    for k, act_norm in enumerate(chain.bijectors[::2]):
        for i, variable in enumerate(act_norm.variables):
            variable.assign(0.5 * helpers.normal(variable.shape, "float64", (k, i)))
    return chain


# For tests that change nothing of it: tracing takes longer than all else.
images = functools.cache(new_images)


def value(batch=(3,), seed=0, event_shape=IMAGE):
    return helpers.normal([*batch, *event_shape], "float64", seed)


def test_each_flow_is_causal_in_its_own_direction():
    for flow, order in zip(flows(images(4)), RASTER, strict=True):
        matrix = helpers.jacobian(flow.inverse, value(())) != 0.0
        np.testing.assert_array_equal(flow.network.order, order)
        lower = np.tril(np.ones([9, 9], bool))  # all of the past, and nothing else
        np.testing.assert_array_equal(matrix[np.ix_(order, order)], lower)


@pytest.mark.parametrize("num_flows", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_dropout_masks_are_those_of_one_pass(num_flows):
    def make_network(k):
        settings = {"residual_channels": 8, "dilations": [1, 2], "dropout": 0.5, "seed": k}
        net = tfp_ar.networks.WaveNet([5], dtype="float64", **settings)
        return helpers.randomize(net, 0.3, seed=k)

    chain = stack(make_network, num_flows, jit_compile=False)
    for k, act_norm in enumerate(chain.bijectors[::2]):
        act_norm.shift.assign(helpers.normal([5], "float64", k))
    flow, x = helpers.image(chain, [5]), value(event_shape=[5])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        u = chain.inverse(x, training=True)
        log_prob = flow.log_prob(x, bijector_kwargs={"training": True})
    jacobian = tape.batch_jacobian(u, x, experimental_use_pfor=False)
    want = flow.distribution.log_prob(u) + np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_prob, want, rtol=1e-9)
    assert np.max(np.abs(log_prob - flow.log_prob(x))) > 0.1


@pytest.mark.parametrize("num_flows", [2, 4])
def test_log_det_is_that_of_the_jacobian_which_is_not_triangular(num_flows):
    bijectors, x = images(4).bijectors[: 2 * num_flows], value()
    chain = Chain(bijectors)
    matrix = helpers.jacobian(chain.inverse, x[0])
    assert np.all(matrix != 0.0)  # everything depends on everything: all directions are used
    _, want = np.linalg.slogdet(matrix)
    assert abs(want) > 0.1
    ildj = chain.inverse_log_det_jacobian(x, 3)
    np.testing.assert_allclose(ildj[0], want, rtol=1e-10)


def test_round_trip():
    chain = images(2, "local")
    c = helpers.random_conditioning(flows(chain)[0].network, 3)
    x = chain.forward(value(), conditional_input=c)
    fldj = chain.forward_log_det_jacobian(value(), 3, conditional_input=c)
    ildj = chain.inverse_log_det_jacobian(tf.identity(x), 3, conditional_input=c)
    np.testing.assert_allclose(fldj, -ildj, rtol=1e-9)
    u = chain.inverse(tf.identity(x), conditional_input=c)
    np.testing.assert_allclose(u, value(), rtol=1e-9, atol=1e-9)
    assert np.abs(x - u).max() > 0.1


@pytest.mark.parametrize(
    "kind",
    # "both" has all of "global" and "local".
    [pytest.param(k, marks=[pytest.mark.slow] * (k in ("global", "local"))) for k in CONDITIONS],
)
def test_one_conditioning_argument_in_its_place_in_every_flow(kind):
    chain = images(4, kind)
    c = helpers.random_conditioning(flows(chain)[0].network, 3)
    u = value()
    # By hand: the image and its conditioning are turned around, go through a flow, and back.
    for k, axes in enumerate([(), (1, 2), (2,), (1,)]):
        u = chain.bijectors[2 * k].inverse(u)
        positions = axes if kind != "rows" else tuple(a for a in axes if a == 1)
        if kind == "both":
            turned = {"global": c["global"], "local": np.flip(c["local"], positions)}
        else:
            turned = c if kind == "global" else np.flip(c, positions)
        params = network(k, conditional_shape=CONDITIONS[kind])(np.flip(u, axes), turned)
        mu, alpha = np.moveaxis(np.flip(params, axes), -1, 0)
        u = tf.constant((u - mu) * np.exp(-7.0 * np.tanh(alpha / 7.0)))
    np.testing.assert_allclose(chain.inverse(value(), conditional_input=c), u, rtol=1e-9)
    np.testing.assert_allclose(bind(chain, c).inverse(value()), u, rtol=1e-9)


ORDERS = {
    "length": ([3], None, [[0, 1, 2], [2, 1, 0], [0, 1, 2]]),
    "channels": ([2, 2], None, [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3]]),
    "image_channels": (
        [1, 2, 2],
        None,
        [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1], [1, 0, 3, 2]] * 2,
    ),
    "chosen": ([2, 2], [0, [], (-1,)], [[2, 3, 0, 1], [0, 1, 2, 3], [1, 0, 3, 2]]),
}


@pytest.mark.parametrize(["shape", "directions", "orders"], ORDERS.values(), ids=ORDERS.keys())
def test_directions(shape, directions, orders):
    chain = stack(lambda k: network(k, shape), len(orders), directions=directions)
    got = [flow.network.order for flow in flows(chain)]
    np.testing.assert_array_equal(got, orders)
    assert [isinstance(f.network, Flipped) for f in flows(chain)] == [
        order != sorted(order) for order in orders
    ]


def test_what_is_in_it():
    outer = Bounded(0, 256)
    chain = stack(
        lambda k: network(k, num_params=1),
        2,
        bijector_fn=lambda params: tfb.Shift(params[..., 0]),
        actnorm_axis=[],
        outer=outer,
        name="images",
        sampling="reference",
    )
    assert isinstance(chain, Chain)
    assert chain.name == "images"
    assert chain.bijectors[0] is outer
    names = [b.name for b in chain.bijectors[1:]]
    assert names == ["act_norm_0", "flow_0", "act_norm_1", "flow_1"]
    assert chain.bijectors[1].shift.shape == [1, 1, 1]
    assert chain.bijectors[1].dtype == tf.float64
    for flow in flows(chain):
        assert flow.parameters["sampling"] == "reference"
        assert flow.parameters["bijector_fn"](tf.zeros([2, 1])).name == "shift"
    without = stack(network, 2, actnorm=False)
    assert [b.name for b in without.bijectors] == ["flow_0", "flow_1"]
    layers = stack(lambda k: MaskedPairs([3, 1]), 2, event_shape=[3, 1])
    assert [flow.event_shape for flow in flows(layers)] == [(3, 1)] * 2


def test_initialize_and_train():
    chain = new_images(2)
    model = helpers.image(chain, IMAGE)
    x = 5.0 + 3.0 * tf.cumsum(value([32]), axis=1)
    initialize(model, x)
    u = np.asarray(chain.bijectors[0].inverse(x))
    np.testing.assert_allclose([u.mean(), u.std()], [0.0, 1.0], atol=1e-5)
    u = np.asarray(chain.bijectors[2].inverse(chain.bijectors[1].inverse(u)))
    np.testing.assert_allclose([u.mean(), u.std()], [0.0, 1.0], atol=1e-5)
    variables = model.trainable_variables
    assert len(variables) == 2 * (2 + 1)  # of a network, the kernel
    assert len(tfp_ar.DensityModel(model).trainable_variables) == len(variables)
    before, losses = [v.numpy() for v in variables], []
    optimizer = keras.optimizers.Adam(0.01)
    for _ in range(8):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model.log_prob(x))
        losses.append(float(loss))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    assert losses[-1] < losses[0] - 0.1
    assert all(np.any(v != b) for v, b in zip(variables, before, strict=True))


@pytest.mark.slow  # a stack is a Chain, whose export is tested in test_export.py
def test_export(tmp_path):
    model = helpers.image(images(2, "local"), IMAGE)
    c = helpers.normal([3, 3, 3, 2], "float64", 7)
    tfp_ar.export_saved_model(model, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    got = loaded.signatures["log_prob"](value=value(), conditional_input=c)["log_prob"]
    bound = bind(model, c)
    np.testing.assert_allclose(got, bound.log_prob(value()), rtol=1e-10)
    seed = tf.constant([1, 2])
    want = model.log_prob(value(), bijector_kwargs={"conditional_input": c})
    np.testing.assert_allclose(got, want, rtol=1e-10)
    assert bound.batch_shape == [3]
    got = loaded.signatures["sample"](n=tf.constant(2), seed=seed, conditional_input=c)["sample"]
    np.testing.assert_allclose(got, bound.sample(2, seed=seed), rtol=1e-8, atol=1e-8)


def test_errors():
    shared = network(0)
    shapes = {0: [2], 1: [3, 3, 2]}
    for match, error, arguments in (
        ("make_network: expected a function of k, got None", TypeError, {"make_network": None}),
        ("num_flows: expected a positive integer, got 0", ValueError, {"num_flows": 0}),
        ("outer: expected a tfb.Bijector or None, got 3", TypeError, {"outer": 3}),
        ("directions: expected at least one, got none", ValueError, {"directions": []}),
        (r"directions\[1\]: expected axes in -3\.\.2, got 3", ValueError, {"directions": [0, 3]}),
        ("axis: expected axes in", ValueError, {"actnorm_axis": 3}),
        (
            "make_network: expected a new network for each k, got one of them twice",
            ValueError,
            {"make_network": lambda k: shared},
        ),
        (
            "make_network: expected networks of one event_shape, got .*3, 3, 1.*3, 3, 2",
            ValueError,
            {"make_network": lambda k: network(k, [3, 3, 1 + k])},
        ),
        (
            r"make_network: expected one conditional_shape, got \[\(2,\), \(3, 3, 2\)\]",
            ValueError,
            {"make_network": lambda k: network(k, conditional_shape=shapes[k])},
        ),
        ("network: expected an Auto", TypeError, {"make_network": lambda k: k}),
        ("make_network: expected a function", TypeError, {"make_network": network(0)}),
        ("directions: expected a sequence of axes, got 3", TypeError, {"directions": 3}),
        ("sampling: expected one of", ValueError, {"sampling": "fast"}),
    ):
        with pytest.raises(error, match=match):
            stack(**{"make_network": network, "num_flows": 2, **arguments})
