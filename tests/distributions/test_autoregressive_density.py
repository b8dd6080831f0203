"""AutoregressiveDistribution.log_prob: density, support, gradients, and training with it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

import tfp_ar
from tests import helpers
from tests.distributions import examples
from tests.distributions.examples import DISCRETE, EXACT, HEADS, distribution, raster, wavenet

tfd = tfp.distributions
each_discrete = pytest.mark.parametrize("head", DISCRETE)


def on_raster(head, **kwargs):
    """(distribution over 2x2 images, its number of levels)."""
    _, num_params, levels = DISCRETE[head]
    return distribution(raster(num_params=num_params), head, **kwargs), levels


@each_discrete
def test_mass_over_all_images_is_1(head):
    model, levels = on_raster(head)
    images = examples.all_images(levels)
    log_prob = model.log_prob(images)
    assert log_prob.shape == (levels**4,)
    np.testing.assert_allclose(np.sum(np.exp(log_prob)), 1.0, atol=1e-9)
    assert np.ptp(log_prob) > 1  # or that would say little
    np.testing.assert_allclose(model.prob(images), np.exp(log_prob), **EXACT)


@each_discrete
def test_log_prob_by_hand(head):
    model, levels = on_raster(head)
    x = examples.all_images(levels)[[0, 3, 7, -2]]
    params = model.network(x - 1.0).numpy()
    if head == "categorical":
        terms = special.log_softmax(params, -1)
        want = np.take_along_axis(terms, x[..., np.newaxis], -1)[..., 0]
    elif head == "bernoulli":
        want = stats.bernoulli.logpmf(x, special.expit(params[..., 0]))
    else:
        want = np.log(_logistics(x, params))
    np.testing.assert_allclose(model.log_prob(x), want.sum((1, 2, 3)), rtol=1e-10)


def _logistics(x, params):
    """What LogisticMixtureHead(2, 0, 2) says in its docstring."""
    logits, loc, scale = np.split(params, 3, -1)
    loc = 2 * (np.arange(2) + 0.5) / 2 + loc
    scale = np.exp(np.log(0.05) + np.logaddexp(0, np.log(2 / 4) + scale - np.log(0.05)))
    x = x[..., np.newaxis]
    upper = np.where(x == 2, 1.0, special.expit((x + 0.5 - loc) / scale))
    lower = np.where(x == 0, 0.0, special.expit((x - 0.5 - loc) / scale))
    return np.sum(special.softmax(logits, -1) * (upper - lower), -1)


def test_a_normal_is_the_law_of_the_flow():
    network, x = wavenet(2), helpers.normal([5, 4], "float64")
    base = tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), [4])
    flow = tfp_ar.ARFlowBijector(network, log_scale_bound=1e6, jit_compile=False)
    want = tfd.TransformedDistribution(base, flow).log_prob(x)
    np.testing.assert_allclose(distribution(network, "normal").log_prob(x), want, rtol=1e-9)


def test_compiled_and_graph_equal_eager():
    network = raster([4])
    x = examples.all_images(3, [4])[[0, 5, 17, 33, 80, 80]]
    x[-1, 1] = 7
    want = distribution(network).log_prob(x)
    compiled = distribution(network, jit_compile=True)
    np.testing.assert_allclose(compiled.log_prob(x), want, **EXACT)
    pairs = x.reshape([2, 3, 4])  # the same code
    np.testing.assert_allclose(compiled.log_prob(pairs), np.reshape(want, [2, 3]), **EXACT)
    spec = tf.TensorSpec([None, 4], tf.int32)
    graph = tf.function(compiled.log_prob, input_signature=[spec], autograph=False)
    np.testing.assert_allclose(graph(x), want, **EXACT)
    inside = tf.function(compiled.log_prob, jit_compile=True, autograph=False)
    np.testing.assert_allclose(inside(x), want, **EXACT)


def test_weights_are_read_at_every_call():
    model, x = distribution(raster([4]), jit_compile=True), [0, 1, 2, 0]
    before = model.log_prob(x)
    helpers.randomize(model.network, seed=9)
    assert model.log_prob(x) != before
    np.testing.assert_allclose(model.log_prob(x), distribution(model.network).log_prob(x), **EXACT)


BAD = [-1.0, 3.0, 0.5, np.nan, np.inf, -np.inf, 1e300]


def gradients_of(model, x):
    """log_prob of x, and gradients of its sum in x and in the weights."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        log_prob = model.log_prob(x)
    sources = [x, *model.trainable_variables]
    return log_prob, tape.gradient(
        log_prob, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )


@each_discrete
def test_outside_the_support(head):
    model, _ = on_raster(head)
    x = np.zeros([len(BAD), 4])
    x[np.arange(len(BAD)), np.arange(len(BAD)) % 4] = BAD
    x = x.reshape([-1, 2, 2, 1])
    log_prob, gradients = gradients_of(model, x)
    np.testing.assert_array_equal(log_prob, -np.inf)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))
    # And the rows beside them have theirs.
    log_prob, gradients = gradients_of(model, np.concatenate([x, np.ones_like(x[:1])]))
    alone = gradients_of(model, np.ones_like(x[:1]))
    np.testing.assert_allclose(log_prob[-1:], alone[0], **EXACT)
    for got, want in zip(gradients[1:], alone[1][1:], strict=True):
        np.testing.assert_allclose(got, want, **EXACT)


def test_real_values_that_are_not_finite():
    for dtype in ("float32", "float64"):
        model = distribution(raster([4], 2, dtype), "normal")
        bad = [np.nan, np.inf, -np.inf, *([1e300] if dtype == "float32" else [])]
        x = np.zeros([len(bad), 4])
        x[:, 1] = bad
        log_prob, gradients = gradients_of(model, x)
        np.testing.assert_array_equal(log_prob, -np.inf)
        assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    assert np.isfinite(model.log_prob([0.5, -1.5, 1.0, 0.0]))


def test_values_of_other_dtypes():
    model, x = distribution(raster([4])), np.array([[2, 1, 0, 1], [0, 0, 2, 2]])
    want = model.log_prob(x)
    for dtype in ("uint8", "int8", "int64", "float32", "float64"):
        np.testing.assert_array_equal(model.log_prob(x.astype(dtype)), want)
        np.testing.assert_array_equal(model.log_prob(tf.constant(x, dtype)), want)
    np.testing.assert_array_equal(model.log_prob(x.tolist()), want)
    assert model.log_prob(np.array([2, 1, 0, 255], np.uint8)) == -np.inf
    # TensorFlow converts numbers to the dtype it is told: 0.5 to 0, 2**32 to 0, NaN to anything.
    for bad in ([0.0, 1.0, 0.5, 0.0], [0, 2**32, 0, 0], [0.0, np.nan, 0.0, 0.0]):
        for value in (np.array(bad), bad):
            for method in (model.log_prob, model.unnormalized_log_prob):
                assert method(value) == -np.inf
            assert model.prob(value) == 0


@pytest.mark.parametrize("head", ["categorical", "normal"])
def test_values_that_are_no_real_numbers(head):
    model = distribution(raster([4], HEADS[head][1]), head)
    methods = [model.log_prob, model.prob, model.unnormalized_log_prob]
    for value in (np.zeros([4], complex), tf.zeros([4], tf.complex64), [1j] * 4, ["a"] * 4):
        for method in (*methods, lambda x: model.complete(x, 2)):
            with pytest.raises(TypeError, match="value: expected real numbers, got (compl|str)"):
                method(value)


def test_nan_weights_are_not_hidden():
    model = distribution(raster([4]))
    for variable in helpers.raw_variables(model.network):
        variable.assign(tf.fill(variable.shape, tf.constant(np.nan, variable.dtype)))
    assert np.isnan(model.log_prob([0, 1, 2, 0]))


def test_validate_args():
    model = distribution(raster([4]), validate_args=True)
    for value, shown in ((3, "3"), (np.nan, "nan"), (0.5, "0.5")):
        with pytest.raises(ValueError, match=rf"value: expected integers in 0\.\.2, got {shown}"):
            model.log_prob([0, 1, value, 0])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"integers in 0\.\.2"):
        tf.function(model.log_prob)(tf.constant([0, 1, 3, 0]))
    assert np.isfinite(model.log_prob([0, 1, 2, 0]))
    with pytest.raises(ValueError, match="value: expected finite numbers, got inf"):
        distribution(raster([4], 2), "normal", validate_args=True).log_prob([0.0, np.inf, 0.0, 0.0])


def test_wrong_event_shape():
    model, _ = on_raster("categorical")
    for shape in ([2, 2], [3, 2, 2, 2], [5]):
        with pytest.raises(ValueError, match=r"value: expected shape \[\.\.\., 2, 2, 1\], got \["):
            model.log_prob(np.zeros(shape, np.int32))


def test_dropout():
    model, x = distribution(wavenet(dropout=0.5)), np.zeros([20, 4], np.int32)
    quiet = model.log_prob(x)
    np.testing.assert_array_equal(model.log_prob(x), quiet)
    assert len(np.unique(model.log_prob(x, training=True))) > 1


def test_one_step_of_a_keras_optimizer_under_xla():
    model, x = distribution(raster([4], dtype="float32")), np.array([[0, 1, 2, 2]] * 3, np.int32)
    assert len(model.trainable_variables) == len(model.network.trainable_variables) > 0
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=True, autograph=False)
    def step(x):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model.log_prob(x))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    before = -np.mean(model.log_prob(x))
    np.testing.assert_allclose(step(x), before, rtol=1e-5)
    assert -np.mean(model.log_prob(x)) < before


def test_frozen_layers():
    model = distribution(wavenet())
    count = len(model.trainable_variables)
    model.network.trainable = False
    assert model.trainable_variables == () and len(model.variables) >= count
    model.network.trainable = True
    assert len(tfd.Independent(model, 0).trainable_variables) == count


def test_density_model():
    keras.utils.set_random_seed(1)
    network = raster([4], dtype="float32", conditional_shape=[2])
    model = tfp_ar.DensityModel(distribution(network))
    model.compile(keras.optimizers.Adam(0.05), jit_compile=False)
    x = np.random.default_rng(0).integers(0, 3, [8, 4]).astype(np.uint8)
    c = np.random.default_rng(1).standard_normal([8, 2])
    want = np.mean(model.distribution.log_prob(x, conditional_input=c)) / -4 / np.log(2)
    history = model.fit(x, conditional_input=c, batch_size=8, epochs=2, verbose=0).history
    np.testing.assert_allclose(history["bits_per_dim"][0], want, rtol=1e-5)
    assert history["loss"][1] < history["loss"][0]
    got = model.predict(x, conditional_input=c, verbose=0)
    np.testing.assert_allclose(
        got, model.distribution.log_prob(x, conditional_input=c), rtol=1e-4, atol=1e-5
    )
    assert got.dtype == np.float32
