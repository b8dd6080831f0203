"""AutoregressiveDistribution.sample, complete and greedy."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfp_ar
from tests import helpers
from tests.distributions import examples
from tests.distributions.examples import DISCRETE, HEADS, SEED, distribution, raster, wavenet

tfd = tfp.distributions
each_discrete = pytest.mark.parametrize("head", DISCRETE)
each_head = pytest.mark.parametrize("head", HEADS)


@each_discrete
def test_frequencies(head):
    _, num_params, levels = DISCRETE[head]
    model = distribution(raster(num_params=num_params, scale=0.5), head)
    count, images = 20000, examples.all_images(levels)
    samples = model.sample(count, seed=SEED).numpy()
    assert samples.shape == (count, 2, 2, 1)
    digits = samples.reshape([count, 4]).astype(int) @ levels ** np.arange(3, -1, -1)
    counts = np.bincount(digits, minlength=len(images))
    prob = model.prob(images).numpy()
    assert stats.chisquare(counts, count * prob).pvalue > 1e-3
    # And with the conditionals of another order, say, the test would fail.
    other = np.moveaxis(prob.reshape([levels] * 4), 0, 1).ravel()
    assert stats.chisquare(counts, count * other).pvalue < 1e-6


@each_head
def test_cached_equals_reference(head):
    network = wavenet(HEADS[head][1])
    cached, reference = (
        distribution(network, head, sampling=s).sample(6, seed=SEED)
        for s in ("cached", "reference")
    )
    assert cached.dtype == reference.dtype
    np.testing.assert_allclose(cached, reference, rtol=1e-9, atol=1e-9)
    assert len(np.unique(cached, axis=0)) > 3


@pytest.mark.parametrize("head", ["categorical", pytest.param("normal", marks=pytest.mark.slow)])
def test_one_seed_gives_one_sample_everywhere(head):
    network = raster([4], HEADS[head][1], "float32")
    plain, model = distribution(network, head), distribution(network, head, jit_compile=True)
    want = plain.sample(3, seed=SEED)

    def sample(n):
        x = model.sample(n, seed=tf.constant(SEED))
        assert x.shape[1:] == [4]
        return x

    dynamic = tf.function(sample, input_signature=[tf.TensorSpec([], tf.int32)], autograph=False)
    fixed = tf.function(lambda: sample(3), jit_compile=True, autograph=False)
    in_a_graph = tf.function(lambda: plain.sample(3, seed=tf.constant(SEED)), autograph=False)
    for got in (model.sample(3, seed=SEED), dynamic(tf.constant(3)), fixed(), in_a_graph()):
        assert got.dtype == want.dtype
        if head == "categorical":
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert np.any(plain.sample(3, seed=(3, 5)) != want)


def test_a_mixture_samples_by_itself():
    network = raster([4], 4)
    model = distribution(network, "mixture")
    samples = model.sample(5, seed=SEED)
    np.testing.assert_array_equal(model.sample(5, seed=SEED), samples)
    # The first variable's law is known: as nothing comes before it.
    first = model.sample(4000, seed=SEED)[:, 0]
    law = examples.mixture(network(tf.zeros([1, 4], tf.float64))[0, 0])
    assert stats.kstest(law.cdf(first).numpy(), "uniform").pvalue > 1e-3
    # Noise is not that of another variable.
    many = distribution(raster([4], 4, scale=0.0), "mixture").sample(2000, seed=SEED)
    np.testing.assert_allclose(np.corrcoef(np.transpose(many)), np.eye(4), atol=0.1)


def test_shapes():
    model = distribution(raster())
    for shape in ([], [1], [2, 3], [0], 4):
        want = [shape] if isinstance(shape, int) else shape
        samples = model.sample(shape, seed=SEED)
        assert samples.shape == [*want, 2, 2, 1] and samples.dtype == tf.int32
    value, log_prob = model.experimental_sample_and_log_prob([2, 3], seed=SEED)
    np.testing.assert_array_equal(value, model.sample([2, 3], seed=SEED))
    np.testing.assert_allclose(log_prob, model.log_prob(value), **examples.EXACT)


def test_samples_have_no_gradient_and_run_under_a_tape():
    network = raster([4], 2)
    plain, model = (distribution(network, "normal", jit_compile=jit) for jit in (False, True))
    assert model.reparameterization_type == tfd.NOT_REPARAMETERIZED

    def gradient(model):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.sample(2, seed=tf.constant(SEED)))
        return [g is None for g in tape.gradient(loss, model.trainable_variables)]

    for compute in (gradient(model), gradient(plain)):
        assert compute and all(compute)

    @tf.function(autograph=False)
    def score():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model.log_prob(model.sample(2, seed=tf.constant(SEED))))
        return tape.gradient(loss, model.trainable_variables)

    x = model.sample(2, seed=SEED)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(plain.log_prob(x))
    for got, want in zip(score(), tape.gradient(loss, model.trainable_variables), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_tf_gradients_do_not_go_through_samples_either():
    model = distribution(raster([4], 2, conditional_shape=[2]), "normal")

    @tf.function(autograph=False)
    def gradients(c):
        x = model.sample(seed=tf.constant(SEED), conditional_input=c)
        return [g is None for g in tf.gradients(tf.reduce_sum(x), [c])]

    assert gradients(helpers.normal([3, 2], "float64")) == [True]


@pytest.mark.parametrize("head", ["categorical", "logistics", "normal"])
def test_nan_weights_are_not_hidden(head):
    want = 3 if head == "categorical" else np.nan  # 3 is the number of levels 0, 1, 2
    network = raster([4], HEADS[head][1])
    for variable in helpers.raw_variables(network):
        variable.assign(tf.fill(variable.shape, tf.constant(np.nan, variable.dtype)))
    samples = distribution(network, head).sample(3, seed=SEED)
    np.testing.assert_array_equal(samples, np.full([3, 4], want))


@each_discrete
def test_greedy(head):
    _, num_params, levels = DISCRETE[head]
    network = raster(num_params=num_params)
    model = distribution(network, head)
    x = np.zeros([2, 2, 1])
    for i in range(4):  # by whole passes over all levels
        candidates = np.repeat(x[np.newaxis], levels, 0)
        candidates.reshape([levels, 4])[:, i] = np.arange(levels)
        law = model.distribution_fn(network(candidates - 1.0))
        x.reshape(4)[i] = np.argmax(np.reshape(law.log_prob(candidates), [levels, 4])[:, i])
    got = model.greedy()
    assert got.dtype == model.dtype and got.shape == [2, 2, 1]
    np.testing.assert_array_equal(got, x)
    np.testing.assert_array_equal(tf.function(model.greedy, autograph=False)(), x)


def test_greedy_of_a_distribution_without_a_mode():
    with pytest.raises(NotImplementedError, match="mode"):
        distribution(wavenet(4), "mixture").greedy()


def test_greedy_under_a_condition():
    model = distribution(raster([4], conditional_shape=[2]))
    c = 5 * helpers.normal([5, 2], "float64")
    got = model.greedy(conditional_input=c)
    assert got.shape == [5, 4] and len(np.unique(got, axis=0)) > 1
    np.testing.assert_array_equal(tfp_ar.bind(model, c).greedy(), got)


# Completion --------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_rows", range(4))
def test_completion_keeps_rows_and_draws_the_rest(num_rows):
    model = distribution(raster((3, 2, 1)))
    value = model.sample([2, 3], seed=(8, 9)).numpy().astype(np.float64)
    given = value.copy()
    ignored = given[:, :, num_rows:]
    ignored[...] = np.resize([np.nan, 300.0, -1.0, np.inf, 0.5], ignored.shape)
    got = model.complete(given, num_rows, seed=SEED)
    assert got.dtype == tf.float64 and got.shape == value.shape
    np.testing.assert_array_equal(got[:, :, :num_rows], value[:, :, :num_rows])
    assert np.all(np.isfinite(model.log_prob(got)))
    if num_rows == 0:  # nothing given: a sample
        np.testing.assert_array_equal(got, model.sample([2, 3], seed=SEED))
    spec = [tf.TensorSpec([None, 3, 3, 2, 1], tf.float64)]
    graph = tf.function(
        lambda x: model.complete(x, num_rows, seed=tf.constant(SEED)), spec, autograph=False
    )
    np.testing.assert_array_equal(graph(given), got)


def test_completions_have_the_conditional_law():
    model, count = distribution(raster()), 20000
    images = examples.all_images(3)
    first = np.array([2, 0])
    matching = images[np.all(images[:, 0, :, 0] == first, axis=1)]
    prob = model.prob(matching).numpy()
    value = np.zeros([count, 2, 2, 1], np.uint8)
    value[:, 0, :, 0] = first
    got = model.complete(value, 1, seed=SEED).numpy()
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got[:, 0], value[:, 0])
    counts = np.bincount(got[:, 1, 0, 0] * 3 + got[:, 1, 1, 0], minlength=9)
    assert stats.chisquare(counts, count * prob / prob.sum()).pvalue > 1e-3


def test_real_values_are_kept_bit_for_bit():
    model = distribution(raster([4], 2, "float32"), "normal")
    value = np.array([[1 / 3, 1e-30, np.nan, 0.0]], np.float64)
    got = model.complete(value, 2, seed=SEED)
    assert got.dtype == tf.float64
    np.testing.assert_array_equal(got[0, :2], value[0, :2])
    assert np.all(np.isfinite(got))
    assert np.any(got[0, 2:] != model.complete(value, 2, seed=(3, 5))[0, 2:])
    with pytest.raises((TypeError, ValueError), match="value: expected"):
        model.complete(np.array([[1, 2, 3, 4]]), 2, seed=SEED)


def test_completion_under_a_condition():
    model = distribution(wavenet(conditional_shape=[2]))
    c, value = helpers.normal([3, 2], "float64"), np.array([[0, 1, 2, 0]] * 3)
    got = model.complete(value, 2, seed=SEED, conditional_input=c)
    np.testing.assert_array_equal(tfp_ar.bind(model, c).complete(value, 2, seed=SEED), got)
    with pytest.raises(ValueError, match="conditional_input: this network is conditioned"):
        model.complete(value, 2, seed=SEED)


WRONG = {
    "float": (2.0, TypeError, r"num_rows: expected an integer in 0\.\.2, got 2\.0"),
    "bool": (True, TypeError, r"num_rows: expected an integer in 0\.\.2, got True"),
    "negative": (-1, ValueError, r"num_rows: expected an integer in 0\.\.2, got -1"),
    "many": (3, ValueError, r"num_rows: expected an integer in 0\.\.2, got 3"),
}


@pytest.mark.parametrize("num_rows, error, message", WRONG.values(), ids=WRONG.keys())
def test_wrong_num_rows(num_rows, error, message):
    with pytest.raises(error, match=message):
        distribution(raster()).complete(np.zeros([2, 2, 1]), num_rows)


def test_wrong_values_to_complete():
    model = distribution(raster())
    value = np.zeros([2, 2, 1])
    value[0, 1] = 300
    for num_rows in (1, 2):
        with pytest.raises(ValueError, match=r"value: expected integers in 0\.\.2, got 300"):
            model.complete(value, num_rows)
    with pytest.raises(
        ValueError, match=r"value: expected shape \[\.\.\., 2, 2, 1\], got \[2, 2\]"
    ):
        model.complete(np.zeros([2, 2]), 1)


class Backwards(examples.Raster):
    """Last variable first."""

    @property
    def order(self):
        return np.arange(self.event_size, dtype=np.int32)[::-1]

    def call(self, x):
        return super().call(x[:, ::-1])[:, ::-1]


def test_rows_that_do_not_come_first():
    network = Backwards([4], 3, dtype="float64")
    network.build()
    model = distribution(helpers.randomize(network))
    tfp_ar.assert_autoregressive(network)
    assert np.all(np.isfinite(model.log_prob(model.sample(2, seed=SEED))))
    with pytest.raises(ValueError, match="(?s)num_rows: .*order"):
        model.complete([0, 1, 2, 0], 2)
    np.testing.assert_array_equal(model.complete([0, 1, 2, 0], 4), [0, 1, 2, 0])


def test_distributions_on_one_network_do_not_share_samples():
    # Compiled code is shared by all consumers of a network: what they differ in is in its key.
    network = raster()

    def upside_down(params):
        return tfd.Categorical(logits=-params)

    made = [
        tfp_ar.AutoregressiveDistribution(network, fn, transform, jit_compile=False)
        for fn, transform in (
            (examples.categorical, None),
            (upside_down, None),
            (examples.categorical, lambda x: 1.0 - x),
        )
    ]
    samples = [d.sample(50, seed=SEED).numpy() for d in made]
    assert np.any(samples[0] != samples[1]) and np.any(samples[0] != samples[2])
    values = [d.log_prob(samples[0]).numpy() for d in made]
    assert np.any(values[0] != values[1]) and np.any(values[0] != values[2])
