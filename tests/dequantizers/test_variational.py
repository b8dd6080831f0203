"""tfp_ar.dequantizers.Variational: the map from uniform noise, and its log q."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.dequantizers.examples import dense_encoder, flow, noise
from tests.toys import LazyReversed
from tfp_ar.bijectors import Bounded, Chain
from tfp_ar.dequantizers import Dequantizer, Uniform, Variational
from tfp_ar.networks import WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions
SEED = (1, 2)
X = np.array([[0.0, 16.0, 3.0, 8.0], [16.0, 2.0, 0.0, 5.0], [7.0, 7.0, 1.0, 12.0]])


def modes(function):
    """The function: eager, as a graph, by XLA."""
    return function, tf.function(function), tf.function(function, jit_compile=True)


# The law ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_the_same_in_all_modes_and_the_identity_is_uniform_noise(dtype):
    x = tf.constant([[0.0, 255.0, 1.0, 16.0], [-1.0, 65535.0, -300.0, 2.0]], dtype)
    want, _ = Uniform().dequantize(x, 500, SEED)
    dequantizer = noise(dtype)
    eager, *others = modes(lambda x, seed: dequantizer.dequantize(x, 500, seed))
    y, log_q = eager(x, SEED)
    assert y.dtype == log_q.dtype == dtype
    assert y.shape == want.shape and log_q.shape == [500, 2]
    # A number that rounds to either side moves y by a cell, of 2^-8 at 65535.
    for_u, for_log_q = {"float32": (2.0**-8, 1e-4), "float64": (1e-11, 1e-12)}[dtype]
    for run in others:
        got = run(x, tf.constant(SEED))
        np.testing.assert_allclose(got[0] - x, y - x, atol=for_u)
        np.testing.assert_allclose(got[1], log_q, atol=for_log_q)
    assert np.all(np.any(eager(x, (1, 3))[0] != y, axis=-1))

    # All weights 0. The bits are those of Uniform: y differs by the rounding of a logit and a
    # sigmoid, which the sum with a larger x hides.
    noise(dtype, scale=0.0)
    for run in (eager, *others):
        y, log_q = run(x, tf.constant(SEED))
        np.testing.assert_allclose(y - x, want - x, atol={"float32": 2e-7, "float64": 1e-15}[dtype])
        np.testing.assert_array_equal(tf.floor(y), np.broadcast_to(x, y.shape))
        np.testing.assert_allclose(log_q, np.zeros([500, 2]), atol=1e-13)
        if dtype == "float32":
            np.testing.assert_array_equal(y[..., 1], want[..., 1])


def test_the_density_integrates_to_1():
    # Over (0, 1)^2, at u = sigmoid(t) of an even grid of t: du = u (1 - u) dt.
    dequantizer, x = noise(length=2, scale=0.3), tf.constant([3.0, 11.0], tf.float64)
    step, t = 0.4, 0.4 * np.arange(-100.0, 101.0)
    t = tf.constant(np.stack(np.meshgrid(t, t, indexing="ij"), -1).reshape([-1, 2]))
    kwargs = {"conditional_input": dequantizer.condition(x)}
    e = dequantizer.bijector.inverse(t, **kwargs)
    # Without the last 1e-10 of the law of v, where v has few digits next to 1, or none.
    known = np.all(np.abs(e) < 24.0, axis=-1)
    e, t = e[known], t[known]
    u, log_q = dequantizer.transform(x, tf.sigmoid(e))
    np.testing.assert_allclose(u, tf.sigmoid(t), atol=1e-5)
    slopes = tf.reduce_sum(-tf.nn.softplus(t) - tf.nn.softplus(-t), axis=-1)
    np.testing.assert_allclose(np.sum(np.exp(log_q + slopes)) * step**2, 1.0, rtol=1e-6)
    assert np.std(log_q) > 0.1  # it is not uniform


def inverses():
    """Two inverse autoregressive flows."""
    return [tfb.Invert(flow(number=number)) for number in (0, 1)]


FORMS = {
    "invert": lambda: tfb.Invert(flow()),
    "sequential": flow,
    "chain": lambda: Chain([inverses()[0], tfb.Permute([3, 0, 2, 1]), inverses()[1]]),
    "tfb_chain": lambda: tfb.Chain(inverses()),
    "inverted_chain": lambda: tfb.Invert(Chain([flow(), tfb.Scale(np.float64(1.5))])),
}


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS.keys())
def test_log_q_is_the_change_of_variables(make):
    dequantizer, x = noise(flows=make()), tf.constant(X[0])
    v = np.random.default_rng(0).uniform(0.05, 0.95, [4, 4])
    u, log_q = dequantizer.transform(x, tf.constant(v))
    assert u.shape == [4, 4] and log_q.shape == [4]
    jacobian = helpers.jacobian(lambda rows: dequantizer.transform(x, rows)[0], v[0], 4)
    np.testing.assert_allclose(log_q[0], -np.linalg.slogdet(jacobian)[1], rtol=1e-8)
    assert np.all(np.abs(log_q) > 0.01)
    other = dequantizer.transform(tf.constant(X[1]), tf.constant(v))
    assert np.all(other[0] != u) and np.all(other[1] != log_q)


# The ends -----------------------------------------------------------------------------------------


def test_a_million_draws_never_leave_their_cells():
    # A wide law, of whose u many are 0 or 1 in float32.
    dequantizer = noise("float32", scale=2.0, low=0, high=65536)
    x = tf.constant([255.0, 65535.0, 255.0, 65535.0])

    @tf.function(jit_compile=True)
    def check(seed):
        y, log_q = dequantizer.dequantize(x, 250_000, seed)
        inside = (y > x) & (y < x + 1.0) & tf.equal(tf.floor(y), x)
        finite = tf.math.is_finite(log_q)
        ends = tf.reduce_min(y, axis=0), tf.reduce_max(y, axis=0)
        return tf.reduce_all(inside), tf.reduce_all(finite), *ends

    for seed in range(2):
        inside, finite, least, most = check(tf.constant([seed, 9]))
        assert bool(inside)
        assert bool(finite)
        # The middles of the outermost cells of Uniform, whose bits are 15 and 7 here.
        for distance in (least - x, x + 1.0 - most):
            closest = np.min(np.reshape(distance, [2, 2]), axis=0)
            np.testing.assert_array_equal(closest, [2.0**-16, 2.0**-8])


@pytest.mark.parametrize("mu", [-1e4, 1e4])
def test_saturated_noise_has_finite_gradients(mu):
    dequantizer = noise("float32")
    network = dequantizer.bijector.bijector.network
    helpers.randomize(network, 0.0)
    network.out.bias.assign([mu, 0.0])
    variables = dequantizer.trainable_variables
    with tf.GradientTape() as tape:
        y, log_q = dequantizer.dequantize(tf.constant(X, tf.float32), 2, SEED)
        bound = tf.reduce_mean(tf.reduce_sum(tf.sin(y), -1) - log_q)
    np.testing.assert_array_equal(tf.floor(y[0]), X)
    # z is -mu + e; log q(u) is log s(e) - log s(z), with s(z) = exp(-|z|).
    assert np.all(np.abs(log_q - 4 * abs(mu)) < 0.01 * abs(mu))
    gradients = tape.gradient(bound, variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    # The bound gains where z comes back to where the sigmoid has a slope.
    out = next(g for g, v in zip(gradients, variables, strict=True) if v is network.out.bias.value)
    assert np.sign(out[0]) == -np.sign(mu)


# Variables ----------------------------------------------------------------------------------------


def levels_model(dequantizer=None, dtype="float64", **kwargs):
    """Levels 0..16 of a law whose scale is a variable."""
    base = tfd.Sample(tfd.Logistic(tf.Variable(0.5, dtype=dtype), np.array(0.5, dtype)), [4])
    density = tfd.TransformedDistribution(base, Bounded(0, 17))
    return tfp_ar.Dequantized(density, dequantizer or noise(dtype), **kwargs)


@pytest.mark.parametrize(["k", "graph"], [(1, False), (4, True)])
def test_gradients_reach_flow_and_encoder(k, graph):
    model = levels_model(num_importance_samples=k)
    variables = model.trainable_variables
    encoder, network = model.dequantizer.encoder, model.dequantizer.bijector.bijector.network
    raw = [v.value for v in (*network.trainable_variables, *encoder.trainable_variables)]
    loc = model.distribution.trainable_variables
    assert {id(v) for v in variables} == {id(v) for v in (*raw, *loc)}

    def gradients(seed):
        with tf.GradientTape() as tape:
            bound = tf.reduce_mean(model.log_prob(X, seed=seed))
        return tape.gradient(bound, variables)

    run = tf.function(gradients) if graph else gradients
    for gradient in run(tf.constant(SEED)):
        assert np.isfinite(gradient).all()
        assert np.any(np.abs(gradient) > 1e-6)


def test_gradients_are_those_of_finite_differences():
    dequantizer = noise()
    weight = dequantizer.encoder.layers[-1].kernel.value

    def bound():
        y, log_q = dequantizer.dequantize(tf.constant(X), 2, SEED)
        return tf.reduce_sum(tf.reduce_sum(tf.sin(y), -1) - log_q)

    with tf.GradientTape() as tape:
        value = bound()
    gradient = tf.convert_to_tensor(tape.gradient(value, weight))
    start, step = weight.numpy(), 1e-5
    bump = np.random.default_rng(0).standard_normal(start.shape)
    values = []
    for sign in (1, -1):
        weight.assign(start + sign * step * bump)
        values.append(bound())
    want = (values[0] - values[1]) / (2 * step)
    np.testing.assert_allclose(np.sum(gradient * bump), want, rtol=1e-6)


def test_what_is_frozen_is_no_trainable_variable():
    model = levels_model()
    before = len(model.trainable_variables)
    model.dequantizer.encoder.trainable = False
    assert len(model.trainable_variables) == before - 2
    model.dequantizer.bijector.bijector.network.trainable = False
    assert len(model.trainable_variables) == 1
    model.dequantizer.encoder.trainable = True
    assert len(model.trainable_variables) == 3
    assert len(model.variables) == before


def test_log_prob_takes_one_pass_of_the_flow(monkeypatch):
    model, passes, call = levels_model(num_importance_samples=3), [], LazyReversed.call

    def counted(self, *args, **kwargs):
        passes.append(args[0].shape)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(LazyReversed, "call", counted)
    tf.function(model.log_prob)(X, seed=SEED)
    assert passes == [[9, 4]]  # of 3 samples of 3 values


# Shapes, dtypes, arguments ------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_shapes(batch):
    dequantizer = noise()
    x = tf.constant(np.random.default_rng(0).integers(0, 17, [*batch, 4]), tf.float64)
    y, log_q = dequantizer.dequantize(x, 5, SEED)
    assert y.shape == [5, *batch, 4] and log_q.shape == [5, *batch]
    np.testing.assert_array_equal(tf.floor(y), np.broadcast_to(x, y.shape))
    # Each x for itself: the noise of a row depends on no other row.
    v = helpers.normal([5, *batch, 4], "float64", 3) * 0.1 + 0.5
    u, log_q = dequantizer.transform(x, v)
    if batch:
        alone = dequantizer.transform(x[-1], v[:, -1])
        np.testing.assert_allclose(u[:, -1], alone[0], rtol=1e-12)
        np.testing.assert_allclose(log_q[:, -1], alone[1], rtol=1e-10)


def test_unknown_batches():
    dequantizer, x = noise(), tf.constant(X)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float64)])
    def run(x):
        return dequantizer.dequantize(x, 3, SEED)

    for got, want in zip(run(x), dequantizer.dequantize(x, 3, SEED), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10)
    y, log_q = run(x[:0])
    assert y.shape == [3, 0, 4] and log_q.shape == [3, 0]


def test_noise_of_another_dtype_than_the_density():
    model = levels_model(noise("float32"))
    y, log_q = model.dequantizer.dequantize(tf.constant(X), 2, SEED)
    assert y.dtype == log_q.dtype == "float64"
    jacobian = helpers.jacobian(
        lambda v: model.dequantizer.transform(tf.constant(X[0]), v)[0], np.full([4], 0.3), 4
    )
    got = model.dequantizer.transform(tf.constant(X[0]), tf.fill([1, 4], np.float64(0.3)))[1]
    np.testing.assert_allclose(got, [-np.linalg.slogdet(jacobian)[1]], atol=1e-5)
    assert model.log_prob(X, seed=SEED).dtype == "float64"


def test_x_itself_is_the_map_without_an_encoder():
    network = WaveNet([3], residual_channels=8, dilations=[1], conditional_shape=[3, 1])
    dequantizer = Variational(tfb.Invert(tfp_ar.ARFlowBijector(network, jit_compile=False)), 0, 4)
    x = tf.constant([[0.0, 1.0, 3.0]])
    # Cells of a quarter of [-1, 1] each, of which it is the middle.
    np.testing.assert_allclose(dequantizer.condition(x), [[[-0.75], [-0.25], [0.75]]])
    assert dequantizer.encoder is None and dequantizer.event_shape == (3,)
    assert len(dequantizer.trainable_variables) == len(network.trainable_variables)
    helpers.randomize(network)
    u = [dequantizer.dequantize(other, 1, SEED)[0] - other for other in (x, x - [0.0, 0.0, 1.0])]
    # Local conditioning is of the same position: the noise before it knows nothing of it.
    np.testing.assert_allclose(*(part[..., :2] for part in u), atol=1e-6)
    assert np.all(np.abs(u[0] - u[1])[..., 2] > 1e-4)


class Both(keras.layers.Layer):
    """Conditioning of both kinds."""

    def call(self, x):
        return {"global": keras.ops.mean(x, axis=(1, 2))[:, None], "local": x}


def test_an_encoder_of_both_kinds():
    shape = {"global": [1], "local": [3, 1]}
    network = WaveNet([3], residual_channels=2, dilations=[1], conditional_shape=shape)
    flow = tfb.Invert(tfp_ar.ARFlowBijector(helpers.randomize(network), jit_compile=False))
    dequantizer = Variational(flow, 0, 4, Both())
    x = tf.constant([[[0.0, 1.0, 3.0]], [[2.0, 0.0, 1.0]]])
    condition = dequantizer.condition(x)
    assert condition["global"].shape == [2, 1, 1] and condition["local"].shape == [2, 1, 3, 1]
    assert dequantizer.dequantize(x, 2, SEED)[1].shape == [2, 2, 1]


SHAPES = [
    pytest.param([4], id="sequence", marks=pytest.mark.slow),  # the class's own example is one
    pytest.param([3, 2], id="channels", marks=pytest.mark.slow),
    pytest.param([2, 3, 1], id="image"),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_from_event_shape(shape):
    dequantizer = Variational.from_event_shape(shape, 0, 256, width=4)
    assert dequantizer.event_shape == tuple(shape)
    x = tf.constant(np.random.default_rng(0).integers(0, 256, [2, *shape]), tf.float32)
    want, _ = Uniform().dequantize(x, 3, SEED)
    y, log_q = dequantizer.dequantize(x, 3, SEED)
    np.testing.assert_allclose(y, want, rtol=1e-6)  # uniform, as yet
    np.testing.assert_allclose(log_q, np.zeros([3, 2]), atol=1e-5)
    # The noise of the first variable depends on the last of x, which comes after it.
    helpers.randomize(dequantizer.encoder, 1.0)
    helpers.randomize(dequantizer.bijector.bijector.network, seed=1)
    flat = np.reshape(x, [2, -1]).copy()
    flat[:, -1] = 255.0 - flat[:, -1]
    changed = tf.constant(flat.reshape(x.shape))
    u = [dequantizer.dequantize(other, 3, SEED)[0] - other for other in (x, changed)]
    assert np.any(np.reshape(u[0], [6, -1])[:, 0] != np.reshape(u[1], [6, -1])[:, 0])


def test_dropout_reaches_the_noise():
    settings = {"residual_channels": 4, "dilations": [1], "dtype": "float64"}
    network = WaveNet([4], conditional_shape=[4, 1], dropout=0.5, **settings)
    helpers.randomize(network)
    flow = tfp_ar.ARFlowBijector(network, jit_compile=False)
    dequantizer = Variational(tfb.Invert(flow), 0, 17)
    model = levels_model(dequantizer)
    want = model.log_prob(X, seed=SEED)
    np.testing.assert_array_equal(model.log_prob(X, seed=SEED, training=False), want)
    got = model.log_prob(X, seed=SEED, training=True)
    assert np.all(np.abs(got - want) > 1e-8)
    assert dequantizer.takes_kwargs == {"training": True}


def test_noise_without_dropout_is_not_told_of_training():
    class Middle(Dequantizer):
        def dequantize(self, x, num_samples, seed):
            return tf.repeat(x[tf.newaxis], num_samples, axis=0) + 0.5, 0.0

    model = levels_model(Middle())
    assert model.dequantizer.takes_kwargs == Uniform().takes_kwargs == {}
    np.testing.assert_array_equal(model.log_prob(X, training=True), model.log_prob(X))


def test_the_condition_of_the_density_does_not_reach_the_noise():
    bounded = Chain([Bounded(0, 17), conditioned_flow()])
    base = tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), [4])
    model = tfp_ar.Dequantized(tfd.TransformedDistribution(base, bounded), noise())
    c = helpers.normal([3, 2], "float64", 7)
    bound = tfp_ar.bind(model, c)
    assert bound.dequantizer is model.dequantizer and bound.batch_shape == [3]
    want = bound.log_prob(X, seed=SEED)
    got = model.log_prob(X, seed=SEED, conditional_input=c)
    np.testing.assert_allclose(got, want, rtol=1e-10)
    one = model.log_prob(X[:1], seed=SEED, conditional_input=c)  # a value for the whole batch
    assert one.shape == [3]


def conditioned_flow():
    """A conditioned flow for the density."""
    density = flow(number=3)
    helpers.randomize(density.network, 0.4, 3)
    return density


def unconditioned():
    network = WaveNet([4], residual_channels=2, dilations=[1])
    return tfb.Invert(tfp_ar.ARFlowBijector(network, jit_compile=False))


WRONG = {
    "no_bijector": ((3.0, 0, 17), TypeError, r"bijector: expected a tfb\.Bijector such as"),
    "not_conditioned": ((unconditioned, 0, 17), ValueError, "bijector: expected flows on networks"),
    "no_flow": ((tfb.Scale(2.0), 0, 17), ValueError, "bijector: expected flows on networks with a"),
    "bound": (
        (lambda: tfp_ar.bind(flow(), [1.0, 2.0]), 0, 17),
        ValueError,
        "bijector: expected flows on networks with a conditional_shape",
    ),
    "two_conditions": (
        (lambda: Chain([flow(), flow(features=3)]), 0, 17),
        ValueError,
        r"bijector: expected flows of one conditional_shape, got \[\(2,\), \(3,\)\]",
    ),
    "two_events": (
        (lambda: Chain([flow(), flow(length=3)]), 0, 17),
        ValueError,
        r"bijector: expected flows of one event_shape, got \[\(4,\), \(3,\)\]",
    ),
    "low": ((flow, "a", 17), TypeError, "low: expected a number, got 'a'"),
    "high": ((flow, 0, 0), ValueError, r"high: expected a number above low \(0\), got 0"),
    "no_layer": ((flow, 0, 17, len), TypeError, "encoder: expected a Keras layer or None, got"),
    "no_encoder": (
        (flow, 0, 17),
        ValueError,
        r"encoder: x itself is not what .* expected shape \[\.\.\., 2\], got \[1, 4, 1\]",
    ),
    "wrong_encoder": (
        (flow, 0, 17, lambda: dense_encoder(3)),
        ValueError,
        r"encoder: what layer 'sequential.*' gives is not what .* got \[1, 3\]",
    ),
    "a_local_one": (
        (flow, 0, 17, lambda: keras.layers.Dense(2)),
        ValueError,
        r"encoder: what layer 'dense.*' gives is not what .* got \[1, 4, 2\]",
    ),
    "a_dict": ((flow, 0, 17, Both), ValueError, "encoder: what layer 'both.*' gives is not what"),
    "not_built": (
        (flow, 0, 17, lambda: keras.layers.Conv2D(2, 3)),
        ValueError,
        r"encoder: layer 'conv2d.*' could not be built for x of shape \[B, 4, 1\]",
    ),
}


@pytest.mark.parametrize(["args", "error", "text"], WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments(args, error, text):
    bijector, low, high, *rest = args
    made = bijector() if callable(bijector) and not isinstance(bijector, tfb.Bijector) else bijector
    encoder = [e() if e is not len else e for e in rest]
    with pytest.raises(error, match=text):
        Variational(made, low, high, *encoder)


def test_wrong_shapes():
    for shape in ([], [3], [4, 3]):
        with pytest.raises(ValueError, match=r"x: expected shape \[\.\.\., 4\], got"):
            noise().dequantize(tf.zeros(shape, tf.float64), 1, SEED)
    text = r"event_shape: expected \[L\], \[L, C\] or \[H, W, C\], got \[1, 2, 3, 4\]"
    with pytest.raises(ValueError, match=text):
        Variational.from_event_shape([1, 2, 3, 4], 0, 256)
    with pytest.raises(ValueError, match="width: expected a positive integer, got 0"):
        Variational.from_event_shape([4], 0, 256, width=0)
