"""Gradients of sampling: equal to backpropagation through the reference loop."""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import helpers
from tests.toys import LazyReversed, decreasing, sinh_arcsinh
from tfp_ar import ARFlowBijector
from tfp_ar.bijectors.sampling import implicit_gradient, sequential
from tfp_ar.bijectors.transformers.affine import Affine
from tfp_ar.networks import AutoregressiveNetwork, WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions


def compiled_for_an_unknown_batch(run):
    """A function of a structure of tensors, whose first dimensions it is not told."""

    def call(*args):
        specs = tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), args)
        return tf.function(run, specs, autograph=False, jit_compile=True)(*args)

    return call


MODES = {
    "eager": lambda run: run,
    "graph": functools.partial(tf.function, autograph=False),
    "xla": functools.partial(tf.function, autograph=False, jit_compile=True),
    "xla_unknown_batch": compiled_for_an_unknown_batch,
}


def wavenet(scale=0.4, event_shape=(5,), **kwargs):
    """A small WaveNet of random weights."""
    settings = {"residual_channels": 3, "skip_channels": 6, "dilations": [2, 1], **kwargs}
    network = WaveNet(event_shape, dtype="float64", **settings)
    return helpers.randomize(network, scale, seed=41)


def reversed_network(scale=0.4, **kwargs):
    """A network whose order is not the raster order."""
    network = LazyReversed([4], dtype="float64", **kwargs)
    network.build((None, 4))
    return helpers.randomize(network, scale, seed=42)


def reference(network, transformer, u, c):
    """A sample, by the slow loop that a tape can go through."""
    noise = tf.transpose(tf.reshape(u, [u.shape[0], -1]))

    def emit(params, i):
        return transformer(params).forward(noise[i])

    return AutoregressiveNetwork.generate(network, emit, u.shape[0], c)


def pulled(sample, u, parts, variables):
    """(x, cotangents on u, conditioning and variables) of a function of x of no symmetry."""
    with tf.GradientTape() as tape:
        tape.watch([u, *parts])
        x = sample(u, *parts)
        y = tf.reduce_sum(tf.sin(x * (1.0 + tf.range(x.shape[-1], dtype=x.dtype))))
    return x, *tape.gradient(y, [u, *parts, *variables])


def assert_gradients(bijector, mode="eager", batch=3, tolerance=1e-10):
    """That a bijector's gradients are those of the reference loop, for all there is."""
    network = bijector.network
    u = helpers.normal([batch, *network.event_shape], "float64", seed=1)
    c = helpers.random_conditioning(network, batch, seed=2)
    parts = [] if c is None else tf.nest.flatten(c)

    def pack(parts):
        return tf.nest.pack_sequence_as(c, parts) if parts else None

    transformer = bijector.parameters["bijector_fn"] or Affine(
        bijector.parameters["log_scale_bound"]
    )
    variables = bijector.trainable_variables
    want = pulled(
        lambda u, *parts: reference(network, transformer, u, pack(parts)), u, parts, variables
    )

    @MODES[mode]
    def run(u, parts):
        return pulled(
            lambda u, *parts: bijector.forward(u, conditional_input=pack(parts)),
            u,
            parts,
            variables,
        )

    got = run(u, parts)
    assert len(got) == 2 + len(parts) + len(variables)
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        # Relative to the largest entry: gradients of strong couplings span orders of magnitude.
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(), err_msg=str(k))
    assert np.any(want[1] != 0.0)


@pytest.fixture
def solvers(monkeypatch):
    """Which of the two ways to pull back have been used, in order."""
    used = []
    for name, made in (("implicit", "ImplicitPullBack"), ("exact", "ExactPullBack")):
        original = getattr(sequential, made).__call__

        def noted(self, *args, name=name, original=original, **kwargs):
            used.append(name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(getattr(sequential, made), "__call__", noted)
    return used


# By the fixed point -----------------------------------------------------------------------------

BOTH = {"global": [2], "local": [3, 2]}
SMALL_BOTH = {"global": [2], "local": [2, 2]}
SETTINGS = {
    "plain": lambda **kwargs: ARFlowBijector(wavenet(), **kwargs),
    "conditioned": lambda **kwargs: ARFlowBijector(
        wavenet(event_shape=(3, 2), conditional_shape=BOTH), **kwargs
    ),
    "reversed": lambda **kwargs: ARFlowBijector(reversed_network(conditional_shape=[2]), **kwargs),
    "decreasing": lambda **kwargs: ARFlowBijector(
        reversed_network(), bijector_fn=decreasing, **kwargs
    ),
    "sinh_arcsinh": lambda **kwargs: ARFlowBijector(
        reversed_network(num_params=4), bijector_fn=sinh_arcsinh, **kwargs
    ),
}


# The conditioned one is compiled below.
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=[pytest.mark.slow] * (name == "conditioned"))
        for name, make in SETTINGS.items()
    ],
)
def test_gradients_are_those_of_the_loop(make, solvers):
    assert_gradients(make(jit_compile=False))
    assert solvers == ["implicit"]  # eagerly the fall-back is not even made where none is needed


# Below another compiled flow is in a graph.
@pytest.mark.parametrize(
    "mode", ["eager", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("graph", "xla"))]
)
def test_compiled_gradients_are_those_of_the_loop(mode):
    network = wavenet(event_shape=(2, 2), dilations=[1], conditional_shape=SMALL_BOTH)
    assert_gradients(ARFlowBijector(network), mode)


# Eagerly it is among the SETTINGS.
@pytest.mark.parametrize("mode", [pytest.param("graph", marks=pytest.mark.slow), "xla"])
def test_gradients_of_another_order(mode):
    assert_gradients(SETTINGS["reversed"](jit_compile=mode == "graph"), mode)


def test_gradients_with_a_padded_batch():
    # 5 rows are computed as 6: the added row must not show in the weights' gradients.
    assert_gradients(ARFlowBijector(reversed_network()), batch=5)


def test_gradients_of_a_network_that_is_frozen_partly_or_wholly():
    network = reversed_network()
    bijector = ARFlowBijector(network, jit_compile=False)
    for layer, trainable, number in (
        (network.hidden, False, 2),
        (network.hidden, True, 4),
        (network, False, 0),
    ):
        layer.trainable = trainable
        assert len(bijector.trainable_variables) == number
        assert_gradients(bijector)


# By the fall-back -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eager", "graph", pytest.param("xla", marks=pytest.mark.slow)])
def test_without_convergence_the_exact_gradient_is_used(mode, monkeypatch):
    monkeypatch.setattr(implicit_gradient, "MAX_ITERATIONS", 1)
    assert_gradients(ARFlowBijector(reversed_network(), jit_compile=mode == "eager"), mode)


def test_one_iteration_would_be_wrong(monkeypatch):
    # So that the test above shows something: the same with the fall-back cut off.
    monkeypatch.setattr(implicit_gradient, "MAX_ITERATIONS", 1)
    as_if = implicit_gradient.implicit_vjp
    monkeypatch.setattr(
        sequential, "implicit_vjp", lambda *args: (as_if(*args)[0], tf.constant(True))
    )
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_gradients(ARFlowBijector(reversed_network(), jit_compile=False))


def autoregression(coefficient, length=80):
    """x[t] = coefficient x[t-1] + u[t]: the iteration takes `length` steps to end exactly."""
    network = WaveNet(
        [length],
        residual_channels=1,
        skip_channels=1,
        dilations=[1],
        kernel_size=1,
        dtype="float64",
    )
    small = 1e-3  # tanh and sigmoid are used where they are straight; it costs three digits
    values = {
        "input/kernel": small,
        "block_0/conv/kernel": [1.0, 0.0],
        "block_0/conv/bias": [0.5, 0.0],
        "block_0/skip/kernel": 1.0,
        "head/feature_kernel": 1.0,
        "head/feature_bias": 10.0,
        "head/output_kernel": [2 * coefficient / small / (1 - np.tanh(0.5) ** 2), 0.0],
    }
    for variable in network.variables:
        for name, v in values.items():
            if variable.path.endswith(name):
                variable.assign(
                    np.broadcast_to(np.reshape(v, -1), variable.shape[-1:])
                    + np.zeros(variable.shape)
                )
    # No drift: far from 0 the tanh is not straight.
    network.head.output_bias.assign(-network(tf.zeros([1, length], "float64"))[0, :1])
    return network


def test_strong_coupling_falls_back_by_itself(solvers):
    network = autoregression(1.0)  # a random walk: 80 steps do not fade
    x = helpers.normal([1, 80], "float64") * 0.1
    slope = helpers.params_jacobian(network, x[0])[:, 0]
    assert 0.5 < slope[40, 39] < 2.0, "this network was to be a random walk"
    assert_gradients(ARFlowBijector(network, jit_compile=False), tolerance=1e-7)
    assert solvers == ["implicit", "exact"]


@pytest.mark.slow  # the SETTINGS do not fall back either
def test_weak_coupling_does_not_fall_back(solvers):
    assert_gradients(ARFlowBijector(autoregression(0.3), jit_compile=False), tolerance=1e-7)
    assert solvers == ["implicit"]


@pytest.mark.slow  # that a strong coupling falls back is above
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_big_weights(scale):
    network = wavenet(scale, event_shape=(6,), conditional_shape=[2])
    bijector = ARFlowBijector(network, jit_compile=False, log_scale_bound=1.0)
    for seed in range(3):
        helpers.randomize(network, scale, seed)
        assert_gradients(bijector)


def test_a_weak_link_before_a_strong_one():
    # x2 hardly hears x1, x1 loudly hears x0: the first step of the iteration changes little, and a
    # solver that takes that for the end loses the path from x2 to x0.
    class Links(AutoregressiveNetwork):
        def call(self, x):
            x = tf.reshape(x, [-1, 3])
            mu = tf.stack([0.0 * x[:, 0], 1e3 * x[:, 0], 1e-3 * x[:, 1]], -1)
            return tf.stack([mu, 0.0 * mu], -1)

    network = Links([3], dtype="float32")
    u = helpers.normal([2, 3], seed=1)
    with tf.GradientTape() as tape:
        tape.watch(u)
        y = tf.reduce_sum(ARFlowBijector(network, jit_compile=False).forward(u)[:, 2])
    np.testing.assert_allclose(tape.gradient(y, u), [[1.0, 1e-3, 1.0]] * 2, rtol=1e-4)


# The solver -------------------------------------------------------------------------------------


def test_implicit_vjp_solves_the_transposed_system():
    # x = A x + B theta with A strictly triangular: (I - A^T) lambda = v.
    size, generator = 6, np.random.default_rng(0)
    a = np.tril(generator.normal(size=[size, size]), -1)
    b = generator.normal(size=[size, 3])
    theta, v = generator.normal(size=[2, 3]), generator.normal(size=[2, size])
    x = theta @ b.T @ np.linalg.inv(np.eye(size) - a).T

    def g(x, parts):
        return x @ a.T + parts[0] @ b.T

    (got,), converged = implicit_gradient.implicit_vjp(
        g, tf.constant(x), [tf.constant(theta)], tf.constant(v)
    )
    assert converged
    np.testing.assert_allclose(got, v @ np.linalg.inv(np.eye(size) - a) @ b, rtol=1e-12)


def test_implicit_vjp_says_when_it_has_not_converged(monkeypatch):
    monkeypatch.setattr(implicit_gradient, "MAX_ITERATIONS", 3)
    shift = np.eye(6, k=-1)

    def g(x, parts):
        return x @ shift.T + parts[0]

    def converged(cotangent):
        x, theta = tf.zeros_like(cotangent), tf.zeros_like(cotangent)
        return bool(implicit_gradient.implicit_vjp(g, x, [theta], tf.constant(cotangent))[1])

    assert not converged(np.eye(6)[5:])
    assert converged(np.eye(6)[1:2])
    assert not converged(np.eye(6)[[5, 1]])  # one sample of a batch that has not is enough


def test_a_nan_is_no_convergence():
    x, theta, nan = (tf.fill([1, 3], np.float64(value)) for value in (0.0, 0.0, np.nan))
    _, converged = implicit_gradient.implicit_vjp(
        lambda x, parts: 0.5 * x + parts[0], x, [theta], nan
    )
    assert not converged


def test_substitution_vjp_is_exact_where_powers_grow():
    # Entries of order 30: the fixed-point iteration passes through 1e6 times the solution.
    size, generator = 6, np.random.default_rng(0)
    order = generator.permutation(size)
    a = np.zeros([size, size])
    a[np.ix_(order, order)] = np.tril(30 * generator.normal(size=[size, size]), -1)
    v = generator.normal(size=[2, size])
    x, theta = tf.zeros([2, size], "float64"), tf.ones([2, size], "float64")

    def g(x, parts):
        return x @ a.T + parts[0]

    (got,) = implicit_gradient.substitution_vjp(g, x, [theta], tf.constant(v), order)
    np.testing.assert_allclose(got, v @ np.linalg.inv(np.eye(size) - a), rtol=1e-9)


# Higher orders ----------------------------------------------------------------------------------


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("of", ["noise", "weights"])
def test_second_derivatives_are_refused(of, mode, jit_compile):
    network = reversed_network()
    bijector = ARFlowBijector(network, jit_compile=jit_compile)
    u = helpers.normal([3, 4], "float64", seed=1)
    source = u if of == "noise" else bijector.trainable_variables[0]

    @MODES[mode]
    def second_derivative(u):
        with tf.GradientTape() as outer:
            outer.watch(u)
            with tf.GradientTape() as inner:
                inner.watch(u)
                y = tf.reduce_sum(bijector.forward(u))  # its cotangent is constant
            slope = inner.gradient(y, u if of == "noise" else source)
        return outer.gradient(slope, u if of == "noise" else source)

    with pytest.raises(LookupError, match="first derivatives only, in reverse mode, got"):
        second_derivative(u)


def test_an_outer_tape_does_not_change_first_derivatives():
    bijector = ARFlowBijector(reversed_network(), jit_compile=False)
    u = helpers.normal([3, 4], "float64", seed=1)

    def slope():
        with tf.GradientTape() as tape:
            tape.watch(u)
            y = tf.reduce_sum(bijector.forward(u) ** 2)
        return tape.gradient(y, u)

    with tf.GradientTape():
        inside = slope()
    np.testing.assert_array_equal(inside, slope())


# Tapes and variables of all kinds ---------------------------------------------------------------


def sample_gradient(bijector, u, sources, persistent=False, outer=False):
    """Returns a function that takes the gradient, if `outer` under another tape that is open."""

    def gradient():
        with tf.GradientTape() if outer else contextlib.nullcontext():
            with tf.GradientTape(persistent=persistent) as tape:
                tape.watch(u)
                loss = tf.reduce_sum(bijector.forward(u) ** 2)
            return tape.gradient(loss, sources)

    return gradient


@pytest.mark.parametrize("sampling", ["cached", "fixed_point"])
@pytest.mark.parametrize("mode", ["eager", "graph", "xla", "functions_run_eagerly"])
def test_persistent_and_nested_tapes(sampling, mode):
    bijector = ARFlowBijector(reversed_network(), jit_compile=False, sampling=sampling)
    u = helpers.normal([2, *bijector.event_shape], "float64")
    want = sample_gradient(bijector, u, u)()
    assert np.all(want != 0.0)
    tf.config.run_functions_eagerly(mode == "functions_run_eagerly")
    for options in ({"persistent": True}, {"outer": True}):
        run = sample_gradient(bijector, u, u, **options)
        if mode in ("graph", "xla"):
            run = tf.function(run, jit_compile=mode == "xla")
        np.testing.assert_allclose(run(), want, rtol=1e-9)


def test_unfreezing_and_freezing_reach_tapes_at_once():
    bijector = ARFlowBijector(reversed_network(), jit_compile=False)
    u, network = helpers.normal([2, *bijector.event_shape], "float64"), bijector.network
    variables = bijector.trainable_variables
    network.trainable = False
    assert bijector.trainable_variables == ()
    network.trainable = True
    assert None not in sample_gradient(bijector, u, variables)()
    network.trainable = False
    for run in (bijector.forward, bijector.inverse):
        with tf.GradientTape() as tape:
            run(tf.identity(u))
        assert tape.watched_variables() == ()


def test_a_variable_that_keras_does_not_know():
    class Raw(keras.layers.Layer):
        def __init__(self):
            super().__init__(dtype="float64")
            self.raw = tf.Variable(0.5, dtype=tf.float64)

        def call(self, x):
            past = keras.ops.cumsum(x, -1) - x
            return keras.ops.stack([self.raw * past, keras.ops.zeros_like(past)], -1)

    layer = Raw()
    bijector = ARFlowBijector(layer, event_shape=[3], jit_compile=False)
    u = tf.ones([1, 3], "float64")  # x = 1, 1 + a, 1 + a (2 + a): with a = 1/2, 1, 3/2, 9/4
    (got,) = sample_gradient(bijector, u, [layer.raw])()
    np.testing.assert_allclose(got, 2.0 * 1.5 + 2.0 * 2.25 * (2.0 + 2.0 * 0.5), rtol=1e-9)
