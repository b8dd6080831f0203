"""tfp_ar.bijectors.initialize: every ActNorm of a stack."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests.bijectors.examples import condition, flow, value
from tests.helpers import image
from tfp_ar.bijectors import ActNorm, Bounded, Chain, initialize

tfb, tfd = tfp.bijectors, tfp.distributions
ROWS = 64


def norm(**kwargs):
    return ActNorm([4], dtype="float64", **kwargs)


def plain(seed):
    """A flow of random weights, not conditioned."""
    return flow(seed, None)


def data(seed=0, rows=ROWS):
    """Of mean 3 and deviation 2."""
    return 3.0 + 2.0 * value(seed, [rows])


def assert_normalised(u):
    """Mean 0 and deviation 1 of each variable."""
    u = np.reshape(u, [-1, 4])
    np.testing.assert_allclose(u.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(u.std(0), 1.0, atol=1e-5)


def test_each_passes_on_mean_0_and_deviation_1():
    a, b, c = norm(), norm(), norm()
    first, second = plain(1), plain(2)
    initialize(Chain([a, first, b, tfb.Permute([3, 1, 2, 0]), second, c]), data())
    u = a.inverse(data())
    assert_normalised(u)
    u = first.inverse(u)
    assert np.abs(np.std(u, 0) - 1.0).max() > 0.05, "the second had nothing to do"
    u = b.inverse(u)
    assert_normalised(u)
    u = c.inverse(second.inverse(tf.gather(u, [3, 1, 2, 0], axis=-1)))
    assert_normalised(u)


STACKS = {
    "chain": Chain,
    "tfb_chain": tfb.Chain,
    "nested": lambda parts: Chain([tfb.Chain(parts[:1]), Chain([tfb.Chain(parts[1:])])]),
    "inverted_twice": lambda parts: tfb.Invert(tfb.Invert(Chain(parts))),
    "parts_inverted_twice": lambda parts: tfb.Chain(
        [tfb.Invert(Chain([tfb.Invert(part)])) for part in parts]
    ),
}


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
def test_depth(stack):
    want, got = [[norm(), plain(1), norm()] for _ in range(2)]
    initialize(Chain(want), data())
    initialize(stack(got), data())
    for one, other in zip(want[::2], got[::2], strict=True):
        assert np.abs(one.shift).max() > 0.01
        np.testing.assert_allclose(other.shift, one.shift, rtol=1e-10)
        np.testing.assert_allclose(other.log_scale, one.log_scale, rtol=1e-10)


def test_inside_an_inverse_its_forward_normalises():
    a, b = norm(), norm()
    bijector = tfb.Invert(Chain([a, plain(1), b]))
    initialize(bijector, data())
    assert_normalised(b.forward(data()))
    assert_normalised(bijector.inverse(data()))


def test_parallel_parts():
    parts = [ActNorm([2], dtype="float64", name=name) for name in "ab"]
    apart = tfb.Split(2)
    initialize(tfb.Chain([tfb.Invert(apart), tfb.JointMap(parts), apart]), data())
    halves = tf.split(data(), 2, axis=-1)
    normalised = [part.inverse(half) for part, half in zip(parts, halves, strict=True)]
    assert_normalised(tf.concat(normalised, -1))


DISTRIBUTIONS = {
    "transformed": lambda a, b: image(Chain([a, plain(1), b])),
    "twice_transformed": lambda a, b: tfd.TransformedDistribution(
        image(Chain([plain(1), b])), tfb.Chain([a])
    ),
    "independent": lambda a, b: tfd.Independent(image(Chain([a, plain(1), b])), 0),
    "sample": lambda a, b: tfd.Sample(image(Chain([a, plain(1), b])), 2),
}


@pytest.mark.parametrize("make", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS.keys())
def test_distributions(make):
    a, b = norm(), norm()
    distribution = make(a, b)
    x = tf.reshape(data(), [-1, *distribution.event_shape])
    initialize(distribution, x)
    u = a.inverse(data())
    assert_normalised(u)
    assert_normalised(b.inverse(plain(1).inverse(u)))


def test_integers():
    a = norm()
    levels = Chain([Bounded(0, 256), a])
    x = np.random.default_rng(0).integers(20, 90, [1000, 4])
    initialize(tfp_ar.Dequantized(image(levels)), x)
    u = np.asarray(levels.inverse(tf.constant(x + 0.5)))
    np.testing.assert_allclose(u.mean(0), 0.0, atol=1e-3)  # of the middle, not of x + noise
    np.testing.assert_allclose(u.std(0), 1.0, atol=1e-2)
    before = a.shift.numpy()
    initialize(tfp_ar.Dequantized(image(levels)), x)
    np.testing.assert_array_equal(a.shift, before)
    initialize(tfp_ar.Dequantized(image(levels)), x, seed=[1, 2])
    assert np.all(a.shift != before)


@pytest.mark.parametrize("of", [lambda b: b, image], ids=["bijector", "distribution"])
def test_conditioning(of):
    a, conditioned = norm(), flow(1)
    c = condition(batch=[ROWS])
    with pytest.raises(ValueError, match="this network is conditioned on"):
        initialize(of(Chain([conditioned, a])), data())
    np.testing.assert_array_equal(a.shift, 0.0)
    initialize(of(Chain([conditioned, a])), data(), c)
    assert_normalised(a.inverse(conditioned.inverse(data(), conditional_input=c)))
    swallowed = "conditional_input: .* is not conditioned and would ignore it"
    with pytest.raises(ValueError, match=swallowed):
        initialize(of(Chain([norm()])), data(), c)


def test_all_or_none():
    a, b = norm(), norm()
    with pytest.raises(ValueError, match="data: expected finite values at 'act_n"):
        initialize(Chain([a, tfb.Scale(np.float64(0.0)), b]), data())
    for act_norm in (a, b):
        np.testing.assert_array_equal(act_norm.shift, 0.0)
        np.testing.assert_array_equal(act_norm.log_scale, 0.0)


@pytest.mark.parametrize("wrong", [None, "chain", ActNorm, 3])
def test_neither_bijector_nor_distribution(wrong):
    with pytest.raises(TypeError, match="bijector_or_distribution: expected a tfd.Distribution or"):
        initialize(wrong, data())


def test_errors():
    with pytest.raises(ValueError, match="expected an ActNorm in it, got none in 'flow_1'"):
        initialize(plain(1), data())
    twice = norm(name="twice")
    with pytest.raises(ValueError, match="expected each ActNorm once, got 'twice' twice"):
        initialize(Chain([twice, tfb.Permute([1, 0, 3, 2]), twice]), data())
    mixture = tfd.Mixture(tfd.Categorical(logits=np.zeros([1])), [image(Chain([norm()]))])
    with pytest.raises(ValueError, match="got one inside .*Mixture"):
        initialize(mixture, data())
    with pytest.raises(ValueError, match=r"data: expected shape \[\.\.\., 4\], got \[3, 5\]"):
        initialize(Chain([norm()]), tf.ones([3, 5], "float64"))
    levels = tfp_ar.Dequantized(image(Chain([Bounded(0, 17), norm()])))
    for rows, got in ((300.0, "300.0"), (0.5, "0.5"), (np.nan, "nan")):
        with pytest.raises(ValueError, match=f"data: expected integers in 0..16, got {got}"):
            initialize(levels, np.full([3, 4], rows))
    with pytest.raises(RuntimeError, match="expected `initialize` to be called eagerly"):
        tf.function(lambda x: initialize(levels, x))(tf.ones([3, 4]))
    with pytest.raises(RuntimeError, match="expected `initialize` to be called eagerly"):
        tf.function(lambda x: initialize(norm_in_chain, x))(data())


norm_in_chain = Chain([norm()])
