"""AutoregressiveDistribution as a tfd.Distribution: arguments, conditioning, copies."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.distributions import examples
from tests.distributions.examples import EXACT, SEED, categorical, distribution, raster, wavenet
from tfp_ar.distributions.support import IntegerSupport

tfd, tfb = tfp.distributions, tfp.bijectors
BOTH = {"global": [2], "local": [4, 3]}


def conditioned(**kwargs):
    return distribution(raster([4], conditional_shape=[2]), **kwargs)


def condition(rows=3, seed=7):
    return helpers.normal([rows, 2], "float64", seed)


X = np.array([0, 2, 1, 1])


def test_what_it_is():
    model = distribution(raster())
    assert (model.event_shape, model.batch_shape, model.dtype) == ([2, 2, 1], [], tf.int32)
    np.testing.assert_array_equal(model.event_shape_tensor(), [2, 2, 1])
    np.testing.assert_array_equal(model.batch_shape_tensor(), [])
    assert model.support == IntegerSupport(0, 2)
    assert model.experimental_default_event_space_bijector() is None
    kinds = {"bernoulli": (1, tf.int32, IntegerSupport(0, 1)), "normal": (2, tf.float32, None)}
    kinds["logistics"] = (6, tf.float32, IntegerSupport(0, 2))
    for head, (num_params, dtype, support) in kinds.items():
        other = distribution(raster([4], num_params, "float32"), head)
        assert other.dtype == dtype
        assert support in (None, other.support)


def test_event_space_of_real_values():
    model = distribution(raster([4], 2), "normal")
    x = helpers.normal([4], "float64")
    np.testing.assert_array_equal(model.experimental_default_event_space_bijector()(x), x)
    positive = tfp_ar.AutoregressiveDistribution(
        raster([4], 2), lambda p: tfd.LogNormal(p[..., 0], tf.exp(p[..., 1])), jit_compile=False
    )
    bijector = positive.experimental_default_event_space_bijector()
    np.testing.assert_allclose(bijector(x), np.exp(x), rtol=1e-6)
    assert np.all(positive.sample(9, seed=SEED) > 0)


def test_any_keras_layer_will_do():
    layer = keras.layers.Dense(3, kernel_initializer="zeros")
    layer.build([None, 1])
    model = tfp_ar.AutoregressiveDistribution(layer_of(layer), categorical, jit_compile=False)
    np.testing.assert_allclose(model.log_prob([[0], [2]]), np.log([1 / 3] * 2), rtol=1e-6)


def layer_of(dense):
    """A layer of event shape [1] that gives [B, 1, 3], of nothing but its bias."""
    inputs = keras.Input([1])
    return keras.Model(inputs, keras.layers.Reshape([1, 3])(dense(inputs)))


# Conditioning ------------------------------------------------------------------------------------


def test_conditioning_by_argument_by_constructor_and_by_bind_is_the_same():
    model, c = conditioned(), condition()
    want = model.log_prob(X, conditional_input=c)
    assert want.shape == [3] and len(np.unique(want)) == 3
    for bound in (tfp_ar.bind(model, c), conditioned(conditional_input=c)):
        assert bound.batch_shape == [3]
        np.testing.assert_array_equal(bound.batch_shape_tensor(), [3])
        np.testing.assert_allclose(bound.log_prob(X), want, **EXACT)
        samples = bound.sample(4, seed=SEED)
        assert samples.shape == [4, 3, 4]
        np.testing.assert_array_equal(model.sample(4, seed=SEED, conditional_input=c), samples)
        np.testing.assert_allclose(
            bound.log_prob(samples), model.log_prob(samples, conditional_input=c), **EXACT
        )
    x, log_prob = model.experimental_sample_and_log_prob(4, seed=SEED, conditional_input=c)
    np.testing.assert_array_equal(x, samples)
    np.testing.assert_allclose(log_prob, bound.log_prob(x), **EXACT)
    np.testing.assert_allclose(model.prob(X, conditional_input=c), np.exp(want), **EXACT)


def test_rows_are_conditioned_each_on_its_own():
    model, c = conditioned(), condition()
    want = [float(model.log_prob(X, conditional_input=row)) for row in c]
    np.testing.assert_allclose(model.log_prob(X, conditional_input=c), want, **EXACT)
    rows = tf.constant([X, X[::-1], X])
    want = [float(model.log_prob(x, conditional_input=row)) for x, row in zip(rows, c, strict=True)]
    np.testing.assert_allclose(model.log_prob(rows, conditional_input=c), want, **EXACT)
    grid = tf.reshape(tf.repeat(c, 2, 0), [3, 2, 2])
    assert tfp_ar.bind(model, grid).sample(5, seed=SEED).shape == [5, 3, 2, 4]


def test_slices_of_a_bound_one():
    bound = tfp_ar.bind(conditioned(), condition())
    for part in (0, slice(1, None), (..., 2), tf.newaxis):
        sliced = bound[part]
        assert sliced.batch_shape == np.zeros(3)[part].shape
        np.testing.assert_allclose(sliced.log_prob(X), bound.log_prob(X).numpy()[part], **EXACT)
    np.testing.assert_array_equal(bound[1:].greedy(), bound.greedy()[1:])
    want = conditioned(conditional_input=condition()[1:]).sample(4, seed=SEED)
    np.testing.assert_array_equal(bound[1:].sample(4, seed=SEED), want)
    both = {kind: helpers.normal([3, *shape], "float64") for kind, shape in sorted(BOTH.items())}
    bound = tfp_ar.bind(distribution(wavenet(conditional_shape=BOTH)), both)
    assert bound.batch_shape == [3]
    np.testing.assert_allclose(bound[1].log_prob(X), bound.log_prob(X)[1], **EXACT)


def test_inside_other_distributions():
    model, c = conditioned(), condition()
    want = model.log_prob(X, conditional_input=c)
    independent = tfp_ar.bind(tfd.Independent(model, 0), c)
    np.testing.assert_allclose(independent.log_prob(X), want, **EXACT)
    pairs = tfp_ar.bind(tfd.Sample(model, [2]), c)
    x = pairs.sample(5, seed=SEED)
    assert x.shape == [5, 3, 2, 4]
    each = model.log_prob(tf.transpose(x, [2, 0, 1, 3]), conditional_input=c)
    np.testing.assert_allclose(pairs.log_prob(x), np.sum(each, 0), **EXACT)
    assert len(pairs.trainable_variables) == len(model.trainable_variables) > 0


def test_a_variable_as_conditioning_is_trained():
    c = tf.Variable(condition())
    bound = tfp_ar.bind(conditioned(), c)
    with tf.GradientTape() as tape:
        log_prob = bound.log_prob(X)
    assert np.all(tape.gradient(log_prob, c) != 0)
    assert any(v is c for v in bound.trainable_variables)
    c.assign(2 * c)
    assert np.all(bound.log_prob(X) != log_prob)
    assert tfp_ar.bind(conditioned(), condition().numpy().tolist()).batch_shape == [3]


def test_conditioning_is_neither_missing_nor_wrong_nor_dropped():
    model, plain = conditioned(), distribution(raster([4]))
    calls = {
        "log_prob": lambda m, **k: m.log_prob(X, **k),
        "sample": lambda m, **k: m.sample(2, seed=SEED, **k),
        "greedy": lambda m, **k: m.greedy(**k),
        "complete": lambda m, **k: m.complete(X, 2, seed=SEED, **k),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=r"conditional_input: .*conditioned on shape \[2\]"):
            call(model)
        with pytest.raises(ValueError, match=r"conditional_input: expected shape \[\.\.\., 2\]"):
            call(model, conditional_input=np.zeros([3, 5]))
        with pytest.raises(TypeError, match=r"conditional_input: expected \[2\], got a dict"):
            call(model, conditional_input={"global": np.zeros([3, 2])})
        with pytest.raises(ValueError, match="conditional_input: .*would ignore it"):
            call(plain, conditional_input=np.zeros([3, 2]))
    with pytest.raises(ValueError, match="conditional_input: batch shapes"):
        model.log_prob(np.stack([X, X]), conditional_input=condition())
    with pytest.raises(ValueError, match=r"conditional_input: expected shape \[\.\.\., 2\]"):
        conditioned(conditional_input=np.zeros([3, 5]))
    with pytest.raises(ValueError, match="conditional_input: no .* is conditioned"):
        tfp_ar.bind(plain, condition())


# Copies ------------------------------------------------------------------------------------------


def test_copies():
    model = distribution(raster([4]))
    checking = model.copy(validate_args=True)
    np.testing.assert_array_equal(checking.log_prob(X), model.log_prob(X))
    assert checking.network is model.network
    with pytest.raises(ValueError, match="value: expected"):
        checking.log_prob(X + 1)
    with pytest.raises(TypeError, match="(?s)deep copy.*weights"):
        copy.deepcopy(model)


def test_equal_functions_share_compiled_code():
    traces = []

    def law(params):
        traces.append(params.shape)
        return tfd.Categorical(logits=params)

    network = raster([4])
    model = tfp_ar.AutoregressiveDistribution(network, law)
    model.log_prob(X)
    before = len(traces)
    for other in (model.copy(), tfp_ar.AutoregressiveDistribution(network, law)):
        other.log_prob(X)
    assert len(traces) == before


def test_checkpoints_hold_the_weights(tmp_path):
    model = distribution(raster([4]))
    want = model.log_prob(X)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    other = distribution(raster([4], seed=9))
    assert other.log_prob(X) != want
    tf.train.Checkpoint(model=other).read(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(other.log_prob(X), want)


# Arguments ---------------------------------------------------------------------------------------

SCALE = tf.Variable(np.float64(2.0), name="loose_scale")
WRONG_FUNCTIONS = [
    (3, TypeError, "expected a function, got 3"),
    (type("F", (), {"__call__": 1, "__hash__": None})(), TypeError, "hashable"),
    (lambda p: p[..., 0], TypeError, r"return a tfd\.Distribution, got"),
    (lambda p: tfd.Bernoulli(logits=p), ValueError, r"batch shape.*\[1, 4, 3\]"),
    (lambda p: tfd.Normal(np.float64(0), 1.0), ValueError, r"batch shape.*\[\]"),
    (
        lambda p: tfd.MultivariateNormalDiag(p, tf.ones_like(p)),
        ValueError,
        r"event shape \[\].*got event shape.*3",
    ),
    (lambda p: tfd.Bernoulli(logits=p[..., 7]), ValueError, "it fails on parameters"),
    (lambda p: tfd.Normal(p[..., 0], tf.exp(SCALE * p[..., 1])), ValueError, "loose_scale"),
    (
        lambda p: tfd.Categorical(logits=tf.ensure_shape(p, [None, 4, 3])),
        ValueError,
        "it fails on parameters",
    ),
]
WRONG_TRANSFORMS = [
    ("x", TypeError, "expected a function, got 'x'"),
    (lambda x: x[..., :1], ValueError, "shape"),
    (lambda x: tf.cast(x, tf.int32), ValueError, "int32"),
    (lambda x: x - tf.reduce_mean(x), ValueError, "elementwise"),
    (lambda x: tf.cumsum(x, -1), ValueError, "elementwise"),
    (lambda x: x @ 3, ValueError, "it fails on"),
    (lambda x: tf.ensure_shape(x, [None]), ValueError, r"it fails on .*\[1, 1\]"),
    (lambda x: x * SCALE, ValueError, "loose_scale"),
]


@pytest.mark.parametrize(
    "name, function, error, message",
    [("distribution_fn", *row) for row in WRONG_FUNCTIONS]
    + [("input_transform", *row) for row in WRONG_TRANSFORMS],
)
def test_wrong_functions(name, function, error, message):
    with pytest.raises(error, match=f"(?s){name}: .*{message}"):
        tfp_ar.AutoregressiveDistribution(
            raster([4]), **{"distribution_fn": categorical, name: function}
        )


class WithoutTransform(examples.Raster):
    """A network whose `generate` takes no more than flows need."""

    def generate(self, emit, batch_size, conditional_input=None):
        return super().generate(emit, batch_size, conditional_input)


def test_a_network_whose_generate_takes_no_input_transform():
    network = WithoutTransform([4], 3, dtype="float64")
    network.build()
    with pytest.raises(ValueError, match=r"network: expected WithoutTransform\.generate to take"):
        distribution(network)
    for kwargs in ({"input_transform": None}, {"sampling": "reference"}):
        assert distribution(network, **kwargs).sample(2, seed=SEED).shape == [2, 4]


def test_other_wrong_arguments():
    with pytest.raises(ValueError, match="sampling: expected one of 'cached', 'reference', got 1"):
        distribution(raster([4]), sampling=1)
    with pytest.raises(TypeError, match="network: expected an AutoregressiveNetwork"):
        distribution(3)
    with pytest.raises(TypeError, match="bogus"):
        distribution(raster([4])).log_prob(X, bogus=1)
