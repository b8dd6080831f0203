"""AutoregressiveDistribution on the pixel networks: densities, cached samples, completions."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests import helpers
from tests.distributions import examples
from tests.distributions.examples import DISCRETE, HEADS, SEED, distribution
from tests.networks.pixel_examples import NETWORKS, balanced_pixels

ROWS = 20
EVENTS = {
    "gray": {"event_shape": [2, 2, 1]},
    "colour_both": {
        "event_shape": [2, 2, 3],
        "conditional_shape": {"global": [3], "local": [2, 2, 2]},
    },
}
each_network = pytest.mark.parametrize("network", NETWORKS)
in_eager_mode = pytest.mark.usefixtures("eagerly")


def each_case(heads, quick):
    """Parametrizes over networks, events and heads: "network-event-head"; all not `quick` are slow.

    What is quick has each head, network and event.
    """
    cases = {"-".join(case): case for case in itertools.product(NETWORKS, EVENTS, heads)}
    assert set(quick) <= set(cases)
    params = [
        pytest.param(*case, id=name, marks=[] if name in quick else [pytest.mark.slow])
        for name, case in cases.items()
    ]
    return pytest.mark.parametrize(["network", "event", "head"], params)


@pytest.fixture
def eagerly():
    """Of so few pixels a pass is quicker than its trace. conftest.py puts the setting back."""
    tf.config.run_functions_eagerly(True)


def pixels(network, head, dtype="float64", **kwargs):
    """A lively network of two layers with the parameters that the head takes."""
    settings = {"num_params": HEADS[head][1], "num_layers": 2, "dtype": dtype, **kwargs}
    return balanced_pixels(network, "plain", **settings)


def cached_and_reference(network, head, event, rows=ROWS):
    """Two distributions on one network, and conditioning for them as keyword arguments."""
    network = pixels(network, head, **EVENTS[event])
    c = helpers.random_conditioning(network, rows)
    both = (distribution(network, head, sampling=s) for s in ("cached", "reference"))
    return *both, {} if c is None else {"conditional_input": c}


def assert_same(head, got, want):
    """Levels are equal, real numbers to rounding."""
    assert got.dtype == want.dtype and got.shape == want.shape
    if head in DISCRETE:
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


@in_eager_mode
@each_network
@pytest.mark.parametrize("head", DISCRETE)
@pytest.mark.parametrize("event_shape", [(2, 2, 1), (1, 2, 2)], ids=["gray", "channels_2"])
def test_mass_over_all_images_is_1(network, head, event_shape):
    model = distribution(pixels(network, head, event_shape=event_shape), head)
    log_prob = model.log_prob(examples.all_images(DISCRETE[head][2], event_shape))
    np.testing.assert_allclose(np.sum(np.exp(log_prob)), 1.0, atol=1e-9)
    assert np.ptp(log_prob) > 1  # or that would say little


@in_eager_mode
@each_case(
    HEADS,
    quick=[
        "gated-gray-categorical",
        "classical-gray-bernoulli",
        "gated-gray-logistics",
        "classical-gray-mixture",
        "classical-colour_both-categorical",
        "gated-colour_both-normal",
    ],
)
def test_cached_samples_equal_the_reference(network, head, event):
    cached, reference, c = cached_and_reference(network, head, event)
    shape = [2] if c else [2, ROWS]
    got = cached.sample(shape, seed=SEED, **c)
    assert got.shape == [2, ROWS, *EVENTS[event]["event_shape"]]
    assert_same(head, got, reference.sample(shape, seed=SEED, **c))
    assert len(np.unique(np.reshape(got, [2 * ROWS, -1]), axis=0)) > 5


@in_eager_mode
@each_case(
    ["categorical", "normal"], quick=["classical-gray-normal", "gated-colour_both-categorical"]
)
def test_completions_keep_rows_and_equal_the_reference(network, head, event):
    cached, reference, c = cached_and_reference(network, head, event)
    value = cached.sample([] if c else ROWS, seed=(8, 9), **c).numpy()
    value[:, 1:] = 99  # is ignored
    got = cached.complete(value, 1, seed=SEED, **c)
    np.testing.assert_array_equal(got[:, :1], value[:, :1])
    assert np.all(np.isfinite(cached.log_prob(got, **c)))
    assert_same(head, got, reference.complete(value, 1, seed=SEED, **c))
    # Other rows, other completions: from the same noise.
    other = value[::-1].copy()
    assert np.any(cached.complete(other, 1, seed=SEED, **c)[:, 1:] != got[:, 1:])


@in_eager_mode
@each_case(
    [head for head in HEADS if head != "mixture"],
    quick=[
        "gated-gray-categorical",
        "classical-gray-bernoulli",
        "gated-gray-normal",
        "classical-colour_both-logistics",
    ],
)
def test_greedy_equals_the_reference(network, head, event):
    cached, reference, c = cached_and_reference(network, head, event)
    got = cached.greedy(**c)
    assert_same(head, got, reference.greedy(**c))
    # Each is the mode of the law that the parallel pass gives for it.
    shown = tf.cast(got, tf.float64)
    shown = examples.centred(shown) if head in DISCRETE else shown
    mode = cached.distribution_fn(cached.network(shown, **c)).mode()
    assert_same(head, got, tf.cast(mode, got.dtype))
    assert len(np.unique(got)) > 1


@in_eager_mode
@each_network
def test_frequencies(network):
    model = distribution(pixels(network, "categorical", event_shape=[2, 2, 1]))
    count, images = 20000, examples.all_images(3)
    samples = model.sample(count, seed=SEED).numpy().reshape([count, 4])
    prob = model.prob(images).numpy()

    def pvalue(prob):
        """Of the frequencies, those of images that are rarely expected together."""
        counts = np.bincount(samples @ 3 ** np.arange(3, -1, -1), minlength=len(images))
        images_or_rare = np.where(count * prob < 5, -1, np.arange(len(images)))
        cell = np.unique(images_or_rare, return_inverse=True)[1]
        return stats.chisquare(*(np.bincount(cell, n) for n in (counts, count * prob))).pvalue

    assert pvalue(prob) > 1e-3
    # And with the conditionals of another order, say, the test would fail.
    assert pvalue(np.moveaxis(prob.reshape([3] * 4), 0, 1).ravel()) < 1e-6


@pytest.mark.slow
def test_compiled_equals_eager():
    network = pixels("gated", "categorical", event_shape=[2, 2, 1])
    plain, compiled = (distribution(network, jit_compile=jit) for jit in (False, True))
    x = compiled.sample(3, seed=SEED)
    np.testing.assert_array_equal(x, plain.sample(3, seed=SEED))
    np.testing.assert_allclose(compiled.log_prob(x), plain.log_prob(x), **examples.EXACT)


@in_eager_mode
@each_network
def test_mixed_precision(network):
    rounded, exact = (
        distribution(pixels(network, "categorical", dtype, **EVENTS["colour_both"]))
        for dtype in ("mixed_bfloat16", "float32")
    )
    c = helpers.random_conditioning(rounded.network, ROWS)
    x = rounded.sample(2, seed=SEED, conditional_input=c)
    assert x.shape == [2, ROWS, 2, 2, 3] and set(np.unique(x)) == {0, 1, 2}
    log_prob = rounded.log_prob(x, conditional_input=c)
    assert log_prob.dtype == tf.float32 and np.all(np.isfinite(log_prob))
    # Twelve variables whose parameters, of order 1, have 8 bits.
    np.testing.assert_allclose(log_prob, exact.log_prob(x, conditional_input=c), atol=0.5)
    assert np.any(log_prob != exact.log_prob(x, conditional_input=c))
