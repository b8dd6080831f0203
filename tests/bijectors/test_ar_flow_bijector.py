"""tfp_ar.ARFlowBijector: its results, its arguments, and its errors."""

import copy
import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.helpers import image
from tests.toys import LazyReversed, MaskedPairs, sinh_arcsinh
from tfp_ar import ARFlowBijector
from tfp_ar.networks import WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def wavenet(event_shape=(4,), scale=0.4, **kwargs):
    """A small WaveNet; of random weights unless `scale` is 0."""
    settings = {"residual_channels": 3, "skip_channels": 6, "dilations": [2, 1], **kwargs}
    network = WaveNet(event_shape, **{"dtype": "float64", **settings})
    return helpers.randomize(network, scale, seed=21) if scale else network


def flow(network=None, **kwargs):
    """A flow that compiles nothing."""
    network = wavenet() if network is None else network
    return ARFlowBijector(network, jit_compile=False, **kwargs)


# What it computes -------------------------------------------------------------------------------


@pytest.mark.parametrize("event_shape", [(4,), (2, 3)])
def test_the_law_is_a_product_of_normals(event_shape):
    """Theorem 2.4 of docs/theory.md."""
    network = wavenet(event_shape)
    x = helpers.normal([5, *event_shape], "float64", seed=1)
    params = network(x)
    scale = tf.exp(7.0 * tf.tanh(params[..., 1] / 7.0))
    law = tfd.Independent(tfd.Normal(params[..., 0], scale), len(event_shape))
    log_prob = image(flow(network), event_shape).log_prob(x)
    np.testing.assert_allclose(log_prob, law.log_prob(x), **EXACT)


def test_samples_have_the_law_of_log_prob():
    """Theorem 2.4 of docs/theory.md."""
    # E[exp(log q(x) - log p(x))] = 1 for x of p and any density q, here a normal near p. A wrong
    # log-det of c nats gives exp(-c). One half of the sample fits q, the other asks.
    bijector = ARFlowBijector(wavenet(dtype="float32", scale=0.2))
    model = image(bijector, dtype="float32")
    x, log_p = model.experimental_sample_and_log_prob([2, 20_000], seed=[4, 2])
    mean, covariance = tf.reduce_mean(x[0], 0), tfp.stats.covariance(x[0])
    q = tfd.MultivariateNormalTriL(mean, tf.linalg.cholesky(covariance))
    weights = np.exp(q.log_prob(x[1]) - log_p[1])
    error = weights.std() / np.sqrt(len(weights))
    assert error < 0.005
    assert abs(weights.mean() - 1.0) < 4 * error  # p = 6e-5 for another seed


def test_a_new_network_is_the_identity():
    for network in (wavenet(scale=0.0), wavenet((3, 2), scale=0.0, conditional_shape=[2])):
        bijector = flow(network)
        u = helpers.normal([3, *network.event_shape], "float64")
        c = helpers.random_conditioning(network, 3)
        x = bijector.forward(u, conditional_input=c)
        np.testing.assert_array_equal(x, u)
        np.testing.assert_array_equal(bijector.inverse(tf.identity(x), conditional_input=c), u)
        ldj = bijector.forward_log_det_jacobian(u, conditional_input=c)
        np.testing.assert_array_equal(ldj, np.zeros([3]))


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_reference_sampling_equals_cached_sampling(jit_compile):
    network, u = wavenet(), helpers.normal([3, 4], "float64")
    results = []
    for sampling in ("reference", "cached"):
        bijector = ARFlowBijector(network, sampling=sampling, jit_compile=jit_compile)
        with tf.GradientTape() as tape:
            tape.watch(u)
            x = bijector.forward(u)
            y = tf.reduce_sum(tf.sin(x))
        results.append([x, *tape.gradient(y, [u, *bijector.trainable_variables])])
    for reference, cached in zip(*results, strict=True):
        np.testing.assert_allclose(cached, reference, **EXACT)


def test_reference_sampling_does_not_call_generate(monkeypatch):
    network = wavenet()
    monkeypatch.setattr(WaveNet, "generate", None)
    assert flow(network, sampling="reference").forward(tf.zeros([2, 4], "float64")).shape == [2, 4]
    with pytest.raises(TypeError):
        flow(network).forward(tf.zeros([2, 4], "float64"))


def test_log_scale_bound():
    network = wavenet(scale=30.0)  # far beyond any bound
    u = helpers.normal([5, 4], "float64")
    for bound in (0.5, 3.0):
        ldj = flow(network, log_scale_bound=bound).forward_log_det_jacobian(u)
        assert np.all(np.abs(ldj) <= 4 * bound)
        assert np.max(np.abs(ldj)) > bound
    loose, tight = (
        flow(wavenet(scale=1.0), log_scale_bound=bound).forward_log_det_jacobian(u)
        for bound in (7.0, 0.1)
    )
    assert np.all(np.abs(tight) <= 0.4)
    assert np.max(np.abs(loose)) > 0.4


def test_bijector_fn():
    """Theorem 2.5 of docs/theory.md."""
    network = wavenet(num_params=4)
    bijector = flow(network, bijector_fn=sinh_arcsinh)
    u = helpers.normal([3, 4], "float64")
    x = tf.identity(bijector.forward(u))
    transformer = sinh_arcsinh(network(x))
    np.testing.assert_allclose(x, transformer.forward(u), **EXACT)
    want = tf.reduce_sum(transformer.inverse_log_det_jacobian(x, event_ndims=0), -1)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(x), want, **EXACT)


def test_a_bijector_class_as_bijector_fn():
    class Shifted(tfb.Shift):
        def __init__(self, params):
            super().__init__(params[..., 0])

    bijector, u = flow(bijector_fn=Shifted), helpers.normal([3, 4], "float64")
    np.testing.assert_allclose(bijector.inverse(tf.identity(bijector.forward(u))), u, **EXACT)


@pytest.mark.slow
def test_bijector_fn_of_scalar_log_det():
    # tfb.Shift says 0, a scalar, whatever the shape.
    bijector = flow(wavenet(num_params=1), bijector_fn=lambda params: tfb.Shift(params[..., 0]))
    u = helpers.normal([3, 4], "float64")
    np.testing.assert_array_equal(bijector.forward_log_det_jacobian(u), np.zeros([3]))
    x = tf.identity(bijector.forward(u))
    np.testing.assert_allclose(bijector.inverse(x), u, **EXACT)


def test_training_reaches_the_network():
    network = wavenet(dropout=0.5, seed=1)
    x = helpers.normal([3, 4], "float64")
    model = image(flow(network))
    still = model.log_prob(x)
    np.testing.assert_array_equal(model.log_prob(tf.identity(x), bijector_kwargs={}), still)
    off = {"training": False}
    np.testing.assert_array_equal(model.log_prob(tf.identity(x), bijector_kwargs=off), still)
    on = {"training": True}
    moving = [model.log_prob(tf.identity(x), bijector_kwargs=on) for _ in range(2)]
    assert np.all(moving[0] != still)
    assert np.all(moving[0] != moving[1])


def test_training_gives_a_density_of_one_mask():
    # u and the log-det of one call come of one pass: with all but the log-det known, it follows.
    network = wavenet(dropout=0.5, seed=1)
    bijector, x = flow(network), helpers.normal([3, 4], "float64")
    for asked in (bijector.inverse, tf.function(bijector.inverse, autograph=False)):
        u = asked(x, training=True)
        again = asked(tf.identity(x), training=True)
        assert np.any(u != again)
    u = bijector.inverse(x, training=True)
    fldj = bijector.forward_log_det_jacobian(u, training=True)
    np.testing.assert_array_equal(fldj, -bijector.inverse_log_det_jacobian(x, training=True))


def test_sampling_is_without_dropout():
    network = wavenet(dropout=0.5, seed=1)
    bijector, u = flow(network), helpers.normal([3, 4], "float64")
    still = bijector.forward(u)
    u = tf.identity(u)
    x = bijector.forward(u, training=True)
    np.testing.assert_array_equal(x, still)
    ildj = bijector.inverse_log_det_jacobian(tf.identity(x))
    np.testing.assert_array_equal(bijector.inverse_log_det_jacobian(x, training=True), ildj)
    np.testing.assert_array_equal(bijector.forward_log_det_jacobian(u, training=True), -ildj)


def test_the_mask_of_a_pass_that_is_gone_is_not_made_up():
    bijector, x = flow(wavenet(dropout=0.5, seed=1)), helpers.normal([3, 4], "float64")
    u = tf.identity(bijector.inverse(x, training=True))
    with pytest.raises(LookupError, match="the log-det at a tensor that `inverse` returned"):
        bijector.forward_log_det_jacobian(u, training=True)
    bijector.forward_log_det_jacobian(u, training=False)
    bijector, c = flow(wavenet()), {"training": True}  # has no masks
    u = tf.identity(bijector.inverse(x, **c))
    np.testing.assert_allclose(
        bijector.forward_log_det_jacobian(u, **c), -bijector.inverse_log_det_jacobian(x), rtol=1e-10
    )


def test_copies():
    bijector = flow(wavenet(), name="mine")
    same = copy.copy(bijector)
    assert same.network is bijector.network
    assert same.name == "mine"
    u = helpers.normal([3, 4], "float64")
    want = bijector.forward(tf.identity(u)).numpy()
    del bijector
    gc.collect()
    np.testing.assert_array_equal(same.forward(u), want)
    with pytest.raises(TypeError, match="mine: a deep copy would share the network's weights"):
        copy.deepcopy(same)


def test_equality_and_hash():
    network = wavenet()
    first, second, other = flow(network), flow(network), flow(network, log_scale_bound=2.0)
    assert first == first
    assert first == second
    assert hash(first) == hash(second)
    assert first != other
    assert first != flow(wavenet())
    with tf.GradientTape():
        assert first == first
        assert first == second
        assert tfb.Invert(first) == tfb.Invert(first)
        assert len({hash(tfb.Chain([first])) for _ in range(20)}) == 20  # no cache may answer
    conditions = np.ones([3, 2]), tf.Variable(np.ones([3, 2])), [[1.0, 1.0]], tf.ones([3, 2])
    conditioned = flow(wavenet(conditional_shape=[2]))
    for c in conditions:
        bound = tfp_ar.bind(conditioned, c)
        assert bound == bound.copy() == tfp_ar.bind(conditioned, c) == copy.copy(bound)
        assert hash(bound) == hash(bound.copy())
        assert bound != conditioned
    before = hash(first)
    network.head.output_bias.assign_add(tf.ones_like(network.head.output_bias))
    assert hash(first) != before
    assert first == second


# Networks of other kinds ------------------------------------------------------------------------


def test_a_layer_that_is_not_built_yet():
    layer = MaskedPairs([4], dtype="float64")
    assert not layer.variables
    bijector = flow(layer, event_shape=[4])
    assert bijector.event_shape == (4,)
    assert len(bijector.trainable_variables) == 3
    assert {id(v) for v in bijector.trainable_variables} == {id(v.value) for v in layer.variables}
    helpers.randomize(layer, 0.5, seed=2)
    u = helpers.normal([3, 4], "float64")
    x = tf.identity(bijector.forward(u))
    np.testing.assert_allclose(bijector.inverse(x), u, **EXACT)
    np.testing.assert_allclose(
        x[:, 0], layer.bias[0, 0] + np.exp(7 * np.tanh(layer.bias[0, 1] / 7)) * u[:, 0], **EXACT
    )


def test_a_layer_that_knows_its_shape():
    built = MaskedPairs([4])
    built.build((None, 4))
    inputs = keras.Input([2, 3])
    functional = keras.Model(inputs, MaskedPairs([2, 3])(inputs))
    sequential = keras.Sequential([keras.Input([5]), MaskedPairs([5])])
    for layer, shape in ((built, (4,)), (functional, (2, 3)), (sequential, (5,))):
        bijector = flow(layer)
        assert bijector.event_shape == shape
        assert bijector.inverse(tf.zeros([7, *shape])).shape == (7, *shape)
        assert len(bijector.trainable_variables) == 3


def test_a_network_that_is_not_built_yet():
    network = LazyReversed([4], conditional_shape=[2], dtype="float64")
    assert not network.variables
    bijector = flow(network)
    assert bijector.network is network
    assert bijector.conditional_shape == (2,)
    assert len(bijector.trainable_variables) == 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_that_of_the_variables(dtype):
    bijector = flow(wavenet(dtype=dtype))
    assert bijector.dtype == dtype
    assert bijector.forward(np.zeros([2, 4])).dtype == dtype
    other = {"float32": "float64", "float64": "float32"}[dtype]
    with pytest.raises(ValueError, match=f"x: Tensor conversion requested dtype {dtype} for"):
        bijector.forward(tf.zeros([2, 4], other))


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_mixed_precision_networks_give_float32(jit_compile):
    bijector = ARFlowBijector(wavenet(dtype="mixed_bfloat16"), jit_compile=jit_compile)
    u = helpers.normal([3, 4])
    x, fldj = bijector.forward(u), bijector.forward_log_det_jacobian(u)
    assert x.dtype == fldj.dtype == tf.float32
    # Rounding differs between the two passes, and exp(alpha) makes the most of it.
    np.testing.assert_allclose(bijector.inverse(tf.identity(x)), u, atol=0.1)
    log_prob = image(bijector, dtype="float32").log_prob(tf.identity(x))
    assert log_prob.dtype == tf.float32
    assert np.isfinite(log_prob).all()


# What it refuses --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [[3, 5], [3, 4, 1], [3], []])
def test_wrong_event_shapes(shape):
    bijector, value = flow(), tf.zeros(shape, "float64")
    wrong = r"expected shape \[\.\.\., 4\], got "
    for name, method in (
        ("x", bijector.forward),
        ("y", bijector.inverse),
        ("y", bijector.inverse_log_det_jacobian),
        ("x", bijector.forward_log_det_jacobian),
    ):
        # Log-dets of too few dimensions are TFP's to refuse.
        with pytest.raises(ValueError, match=f"{name}: {wrong}|must (be|have rank) at least"):
            method(value)
    with pytest.raises(ValueError, match=f"input_shape: {wrong}"):
        bijector.forward_event_shape(shape)
    with pytest.raises(ValueError, match=f"output_shape: {wrong}"):
        bijector.inverse_event_shape(shape)


CALLS = {
    "forward": lambda b, v, **kwargs: b.forward(v, **kwargs),
    "inverse": lambda b, v, **kwargs: b.inverse(v, **kwargs),
    "fldj": lambda b, v, **kwargs: b.forward_log_det_jacobian(v, 1, **kwargs),
    "ildj": lambda b, v, **kwargs: b.inverse_log_det_jacobian(v, 1, **kwargs),
    "log_prob": lambda b, v, **kwargs: image(b).log_prob(v, bijector_kwargs=kwargs),
    "sample": lambda b, v, **kwargs: image(b).sample(3, seed=[1, 2], bijector_kwargs=kwargs),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@each_call
def test_wrong_keyword_arguments(call):
    plain, conditioned = flow(), flow(wavenet(conditional_shape=[2]))
    value, c = tf.zeros([3, 4], "float64"), tf.ones([3, 2], "float64")
    with pytest.raises(
        ValueError, match=r"conditional_input: this network is conditioned on.*None"
    ):
        call(conditioned, value)
    with pytest.raises(ValueError, match=r"conditional_input: expected shape \[\.\.\., 2\], got"):
        call(conditioned, value, conditional_input=tf.ones([3, 5], "float64"))
    with pytest.raises(TypeError, match=r"conditional_input: expected \[2\], got a dict"):
        call(conditioned, value, conditional_input={"global": c})
    with pytest.raises(ValueError, match="batch shapes .* do not broadcast"):
        call(conditioned, value, conditional_input=tf.ones([2, 2], "float64"))
    with pytest.raises(ValueError, match=r"conditional_shape=None and would ignore it.*\[3, 2\]"):
        call(plain, value, conditional_input=c)
    with pytest.raises(TypeError, match=r"conditional_input and training, got \['condition'\]"):
        call(conditioned, value, condition=c)
    with pytest.raises(TypeError, match=r"conditional_input and training, got \['ar_flow'\]"):
        call(conditioned, value, ar_flow={"conditional_input": c})


def test_conditioning_that_does_not_fit_is_refused_in_the_constructor():
    with pytest.raises(ValueError, match=r"conditional_input: expected shape \[\.\.\., 2\], got"):
        flow(wavenet(conditional_shape=[2]), conditional_input=np.ones([3]))
    with pytest.raises(ValueError, match="would ignore it"):
        flow(conditional_input=np.ones([3]))


def test_networks_that_are_none():
    for network in (None, "wavenet", lambda x: x, WaveNet):
        with pytest.raises(
            TypeError, match="network: expected an AutoregressiveNetwork or another"
        ):
            ARFlowBijector(network)


def test_layers_that_do_not_fit():
    with pytest.raises(ValueError, match="event_shape: expected the shape of one x, as layer"):
        ARFlowBijector(MaskedPairs([4]))
    with pytest.raises(ValueError, match="network: .* could not be built for event_shape"):
        ARFlowBijector(MaskedPairs([4]), event_shape=[5])
    with pytest.raises(ValueError, match=r"what network .* returns: expected shape .*got \[1\]"):
        ARFlowBijector(keras.layers.Dense(3), event_shape=[4])
    with pytest.raises(TypeError, match="event_shape: expected a sequence of positive integers"):
        ARFlowBijector(MaskedPairs([4]), event_shape=4)
    with pytest.raises(ValueError, match=r"event_shape: expected None or the network's \[4\]"):
        ARFlowBijector(wavenet(), event_shape=[5])


def test_a_network_that_cannot_be_built():
    class Broken(tfp_ar.networks.AutoregressiveNetwork):
        def call(self, x):
            raise ValueError("no luck")

    with pytest.raises(ValueError, match=r"(?s)network: 'broken.*' could not be built:.*no luck"):
        ARFlowBijector(Broken([4]))


def test_num_params_that_do_not_fit_the_transformer():
    with pytest.raises(ValueError, match=r"network.num_params: expected 2, which Affine.*, got 3"):
        ARFlowBijector(wavenet(num_params=3))
    with pytest.raises(ValueError, match=r"bijector_fn: it fails on parameters .*num_params is 2"):
        ARFlowBijector(wavenet(), bijector_fn=sinh_arcsinh)


def test_transformers_that_are_none():
    for wrong in ("affine", tfb.Exp(), 3.0):
        with pytest.raises((TypeError, ValueError), match="bijector_fn: "):
            ARFlowBijector(wavenet(), bijector_fn=wrong)
    with pytest.raises(TypeError, match="bijector_fn: expected it to return a tfb.Bijector"):
        ARFlowBijector(wavenet(), bijector_fn=lambda params: params[..., 0])
    with pytest.raises(TypeError, match="bijector_fn: expected it to return a tfb.Bijector"):
        ARFlowBijector(wavenet(), bijector_fn=lambda params: None)

    class Unhashable:
        __hash__ = None

        def __call__(self, params):
            return tfb.Shift(params[..., 0])

    with pytest.raises(TypeError, match="bijector_fn: expected a hashable function"):
        ARFlowBijector(wavenet(), bijector_fn=Unhashable())


def test_transformers_that_are_not_elementwise():
    def mixing(params):
        return tfb.ScaleMatvecTriL(tf.linalg.diag(tf.exp(params[..., 0])))

    with pytest.raises(ValueError, match="bijector_fn: expected an elementwise bijector"):
        ARFlowBijector(wavenet(), bijector_fn=mixing)
    # Parameters that were not taken apart broadcast against the events.
    with pytest.raises(
        ValueError, match="bijector_fn: (expected a bijector that keeps|its bijector)"
    ):
        ARFlowBijector(wavenet(), bijector_fn=tfb.Shift)


def test_transformers_that_read_variables():
    variable = tf.Variable(0.5, dtype="float64", name="scale_of_mine")
    frozen = tf.Variable(0.5, dtype="float64", trainable=False, name="scale_of_mine")

    class Holding(tf.Module):
        def __init__(self):
            super().__init__()
            self.scale = tf.Variable(0.5, dtype="float64", trainable=False, name="scale_of_mine")

        def __call__(self, params):
            return tfb.Chain([tfb.Shift(params[..., 0]), tfb.Scale(self.scale)])

    for wrong in (
        Holding(),
        lambda params: tfb.Shift(params[..., 0] * variable),
        lambda params: tfb.Shift(params[..., 0] * frozen),
    ):
        with pytest.raises(ValueError, match="bijector_fn: .* reads .*scale_of_mine"):
            ARFlowBijector(wavenet(), bijector_fn=wrong)


def test_log_scale_bound_that_is_none():
    with pytest.raises(
        ValueError, match="log_scale_bound: expected the default with a bijector_fn"
    ):
        ARFlowBijector(wavenet(num_params=4), bijector_fn=sinh_arcsinh, log_scale_bound=2.0)
    with pytest.raises(ValueError, match="log_scale_bound: expected a positive finite number"):
        ARFlowBijector(wavenet(), log_scale_bound=0.0)


@pytest.mark.parametrize("sampling", ["fast", None, True])
def test_wrong_sampling(sampling):
    message = "sampling: expected one of 'cached', 'reference', 'fixed_point', got"
    with pytest.raises(ValueError, match=message):
        ARFlowBijector(wavenet(), sampling=sampling)


def test_other_backends_of_keras(monkeypatch):
    network = wavenet()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="ARFlowBijector needs Keras' TensorFlow backend.*'jax'"):
        ARFlowBijector(network)
