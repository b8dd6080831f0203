"""tfp_ar.Dequantized: integers from a continuous density."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfp_ar
from tests import helpers
from tfp_ar import Dequantized, bind, bits_per_dim
from tfp_ar.bijectors import Bounded, Chain
from tfp_ar.dequantizers import Dequantizer, Uniform
from tfp_ar.networks import WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions
SEED, NORMAL = (3, 4), tfd.Normal(0.0, 1.0)


def logistic_levels(n, loc=0.7, scale=0.5, dtype="float64"):
    """A law over [0, n) whose cells have known probabilities."""
    base = tfd.Logistic(tf.constant(loc, dtype), tf.constant(scale, dtype))
    return tfd.TransformedDistribution(base, Bounded(0, n))


def logistic_cells(n, loc=0.7, scale=0.5):
    """P of all levels: differences of sigmoid((logit(y / n) - loc) / scale)."""
    with np.errstate(divide="ignore"):
        edges = np.log(np.arange(n + 1.0)) - np.log(n - np.arange(n + 1.0))
    return np.diff(stats.logistic.cdf(edges, loc, scale))


def wavenet(length=4, dtype="float32", seed=1, scale=0.3, **kwargs):
    """A small flow of random weights."""
    network = WaveNet([length], residual_channels=4, dilations=[1], dtype=dtype, **kwargs)
    return tfp_ar.ARFlowBijector(helpers.randomize(network, scale, seed), jit_compile=False)


def image(bijector, length=4, dtype="float32"):
    """The image of standard normal noise."""
    base = tfd.Sample(tfd.Normal(tf.zeros([], dtype), 1.0), [length])
    return tfd.TransformedDistribution(base, bijector)


def flow_levels(n=17, length=4, dtype="float32", **kwargs):
    """A flow onto [0, n)^length."""
    bijector = Chain([Bounded(0, n), wavenet(length, dtype, **kwargs)])
    return image(bijector, length, dtype)


def levels_of(shape=(5, 4), n=17, seed=0):
    """Random levels as float32."""
    return tf.constant(np.random.default_rng(seed).integers(0, n, shape), "float32")


def condition(seed=7, batch=(3,)):
    """A conditional_input."""
    return helpers.normal([*batch, 2], seed=seed)


def toys():
    """By name: a density, integers x, P(x), and log p(x + u) for a number u."""
    normal, exponential = stats.norm(0.4, 0.6), stats.expon(scale=1 / 1.5)
    several = tfd.Independent(tfd.Normal(np.array([0.4, -0.3, 1.1]), np.array([0.6, 0.9, 0.7])), 1)
    marginals = stats.norm(np.array([0.4, -0.3, 1.1]), np.array([0.6, 0.9, 0.7]))
    x = np.array([0.0, -1.0, 1.0])
    return {
        "logistic_0": (logistic_levels(4), 0.0, logistic_cells(4)[0]),
        "logistic_2": (logistic_levels(4), 2.0, logistic_cells(4)[2]),
        "normal": (tfd.Normal(np.float64(0.4), 0.6), -1.0, normal.cdf(0) - normal.cdf(-1)),
        "exponential": (tfd.Exponential(np.float64(1.5)), 1.0, np.diff(exponential.cdf([1, 2]))[0]),
        "three": (several, x, np.prod(marginals.cdf(x + 1) - marginals.cdf(x))),
    }


TOYS = toys()
each_toy = pytest.mark.parametrize(["density", "x", "exact"], TOYS.values(), ids=TOYS.keys())


def repeated(density, x, k, count, what="log_prob"):
    """Mean and standard error of `count` independent draws of log_prob or prob of one x."""
    rows = np.broadcast_to(x, [count, *np.shape(x)])
    draws = getattr(Dequantized(density, num_importance_samples=k), what)(rows, seed=SEED).numpy()
    assert draws.shape == (count,)
    return draws.mean(), draws.std() / np.sqrt(count)


@each_toy
def test_the_bound_grows_with_k_to_log_p(density, x, exact):
    """Theorem 1.4 and Proposition 1.6 of docs/theory.md."""
    count = 40000
    means, errors = zip(*(repeated(density, x, k, count) for k in (1, 8, 64)), strict=True)
    assert means[1] - means[0] > 3 * np.hypot(errors[0], errors[1])
    assert means[2] - means[1] > 3 * np.hypot(errors[1], errors[2])
    assert means[2] < np.log(exact) + 4 * errors[2]
    # The gap is var(p(x + u)) / (2 K P(x)^2) for large K, and all is the standard error's square.
    gap = np.log(exact) - means[2]
    np.testing.assert_allclose(gap, count * errors[2] ** 2 / 2, rtol=0.3, atol=4 * errors[2])


@each_toy
def test_a_large_k_meets_log_p(density, x, exact):
    """Theorem 1.4 of docs/theory.md, its part 4."""
    for k, tolerance in ((10**4, 0.05), (10**6, 0.005)):
        got = Dequantized(density, num_importance_samples=k).log_prob(x, seed=SEED)
        np.testing.assert_allclose(got, np.log(exact), atol=tolerance)


@each_toy
@pytest.mark.parametrize("k", [1, 3])
def test_prob_has_the_right_mean(density, x, exact, k):
    """Theorem 1.4 of docs/theory.md, its part 1."""
    mean, error = repeated(density, x, k, 40000, "prob")
    assert abs(mean - exact) < 4 * error
    assert error < 0.02 * exact  # or the line above would say little


@pytest.mark.parametrize("name", ["logistic_2", "normal", "exponential"])
def test_one_sample_has_the_mean_of_log_p_over_the_cell(name):
    """Theorem 1.3 of docs/theory.md."""
    density, x, _ = TOYS[name]
    u = (np.arange(10**5) + 0.5) / 10**5
    mean, error = repeated(density, x, 1, 40000)
    assert abs(mean - np.mean(density.log_prob(x + u))) < 4 * error


@pytest.mark.parametrize("n", [1, 2, 16])
def test_levels_have_mass_1(n):
    """Proposition 1.1 of docs/theory.md."""
    prob = Dequantized(logistic_levels(n), num_importance_samples=20000).prob(
        np.arange(n), seed=SEED
    )
    np.testing.assert_allclose(prob, logistic_cells(n), rtol=0.05)
    np.testing.assert_allclose(np.sum(prob), 1.0, atol=0.01)


def test_cells_of_constant_density_are_exact():
    """Theorem 1.3 of docs/theory.md, where it is tight."""
    p = np.array([0.1, 0.25, 0.05, 0.6])
    cells = tfd.Uniform(np.arange(4.0), np.arange(1.0, 5.0))
    density = tfd.MixtureSameFamily(tfd.Categorical(probs=p), cells)
    for k in (1, 7):
        model = Dequantized(density, num_importance_samples=k)
        np.testing.assert_allclose(model.prob(np.arange(4)), p, rtol=1e-12)
        np.testing.assert_allclose(model.log_prob(np.arange(4)), np.log(p), rtol=1e-12)
        np.testing.assert_array_equal(model.prob([-1, 4]), [0.0, 0.0])


@pytest.mark.parametrize("k", [1, 5])
def test_a_flat_density_takes_8_bits(k):
    flat = Dequantized(tfd.Sample(tfd.Uniform(0.0, 256.0), [4]), num_importance_samples=k)
    x = levels_of([100, 4], 256)
    bits = bits_per_dim(flat.log_prob(x), flat.event_shape)
    np.testing.assert_allclose(bits, np.full([100], 8.0), rtol=1e-6)
    # A standard logistic law through a logit is uniform.
    base = tfd.Sample(tfd.Logistic(0.0, 1.0), [4])
    logistic = Dequantized(
        tfd.TransformedDistribution(base, Bounded(0, 256)), num_importance_samples=k
    )
    bits = bits_per_dim(logistic.log_prob(x), logistic.event_shape)
    np.testing.assert_allclose(bits, np.full([100], 8.0), atol=5e-4)
    edges = tf.constant([[0.0] * 4, [255.0] * 4, [0.0, 255.0, 1.0, 254.0]])
    bits = bits_per_dim(logistic.log_prob(edges), logistic.event_shape)
    np.testing.assert_allclose(bits, np.full([3], 8.0), atol=5e-4)


class Squared(Dequantizer):
    """u = v^2, v uniform up to a variable: noise that is not uniform."""

    def __init__(self):
        super().__init__()
        self.one = tf.Variable(np.float64(1.0))

    def dequantize(self, x, num_samples, seed):
        v = tf.random.stateless_uniform([num_samples, *x.shape], seed, dtype=x.dtype)
        return x + v**2 * self.one, -tf.math.log(2.0 * v) - tf.math.log(self.one)


def test_the_density_of_the_noise_is_divided_by():
    """Theorem 1.7 of docs/theory.md."""
    model = Dequantized(logistic_levels(4), Squared(), num_importance_samples=10**5)
    np.testing.assert_allclose(model.prob(np.arange(4), seed=SEED), logistic_cells(4), rtol=0.02)
    assert model.dequantizer.one is model.trainable_variables[-1]
    one = model.copy(num_importance_samples=1)
    prob = one.prob(np.full([40000], 2), seed=SEED).numpy()
    assert abs(prob.mean() - logistic_cells(4)[2]) < 4 * prob.std() / 200
    with tf.GradientTape() as tape:
        log_prob = one.log_prob(2, seed=SEED)
    assert np.isfinite(tape.gradient(log_prob, one.dequantizer.one))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_are_floors(dtype):
    for density in (
        tfd.Normal(tf.zeros([], dtype), 9.0),
        logistic_levels(256, scale=9.0, dtype=dtype),
        flow_levels(17, dtype=dtype),
    ):
        model = Dequantized(density)
        x = model.sample([3, 50], seed=SEED)
        assert x.dtype == dtype
        np.testing.assert_array_equal(x, tf.floor(density.sample([3, 50], seed=SEED)))
        assert np.any(x != model.sample([3, 50], seed=(3, 5)))
        assert len(np.unique(x)) > 10


@pytest.mark.parametrize("scale", [0.1, 3.0, 1e4])
def test_samples_are_levels(scale):
    # A huge scale puts all of them at the ends.
    model = Dequantized(logistic_levels(256, 0.0, scale, "float32"), validate_args=True)
    x = model.sample(100000, seed=SEED).numpy()
    assert np.all((x >= 0) & (x <= 255) & (x == np.floor(x)))
    if scale > 1.0:
        assert (x.min(), x.max()) == (0, 255)


def test_samples_have_the_law():
    """Proposition 1.1 of docs/theory.md."""
    x = Dequantized(logistic_levels(8)).sample(20000, seed=SEED).numpy().astype(int)
    counts = np.bincount(x, minlength=8)
    assert stats.chisquare(counts, 20000 * logistic_cells(8)).pvalue > 1e-3
    density = stats.norm(0.4, 1.6)
    x = Dequantized(tfd.Normal(np.float64(0.4), 1.6)).sample(20000, seed=SEED).numpy()
    edges = np.array([-np.inf, -3, -2, -1, 0, 1, 2, 3, 4, np.inf])
    counts = np.histogram(x, edges)[0]
    assert stats.chisquare(counts, 20000 * np.diff(density.cdf(edges))).pvalue > 1e-3


def test_a_flow_has_mass_1_and_samples_have_its_law():
    """Proposition 1.1 of docs/theory.md."""
    model = Dequantized(flow_levels(3, 2, "float64"), num_importance_samples=40000)
    x = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape([9, 2])
    prob = model.prob(x, seed=SEED).numpy()
    np.testing.assert_allclose(np.sum(prob), 1.0, atol=0.01)
    drawn = model.sample(5000, seed=SEED).numpy()
    counts = np.array([np.sum(np.all(drawn == row, -1)) for row in x])
    assert counts.sum() == 5000
    assert stats.chisquare(counts, 5000 * prob / prob.sum()).pvalue > 1e-3


def asked(model, **kwargs):
    """log_prob as a function of x and seed: eager, graph, XLA."""

    def run(x, seed):
        return model.log_prob(x, seed=seed, **kwargs)

    return run, tf.function(run), tf.function(run, jit_compile=True)


@pytest.mark.parametrize(
    ["k", "dtype"], [(3, "float32"), pytest.param(1, "float64", marks=pytest.mark.slow)]
)
def test_one_seed_gives_one_bound(k, dtype):
    model = Dequantized(flow_levels(dtype=dtype), num_importance_samples=k)
    x, tolerance = levels_of(), {"float32": 2e-5, "float64": 1e-11}[dtype]
    x = tf.cast(x, dtype)
    eager, graph, xla = asked(model)
    want = eager(x, SEED)
    assert want.dtype == dtype
    assert want.shape == [5]
    np.testing.assert_array_equal(eager(x, SEED), want)
    for run in (graph, xla):
        np.testing.assert_allclose(run(x, tf.constant(SEED)), want, rtol=tolerance)
        other = run(x, tf.constant([3, 5]))
        assert np.all(np.abs(other - want) > 1e-5)
        np.testing.assert_allclose(other, eager(x, [3, 5]), rtol=tolerance)


def test_no_seed_draws_anew():
    model, x = Dequantized(flow_levels()), levels_of()
    graph = tf.function(model.log_prob)
    for run in (model.log_prob, graph):
        assert np.all(np.abs(run(x) - run(x)) > 1e-5)
    # Of the same x in one batch too.
    log_prob = model.log_prob(tf.repeat(x[:1], 5, axis=0), seed=SEED)
    assert len(np.unique(log_prob)) == 5


def test_samples_and_their_log_prob_may_share_a_seed():
    # Were the noise made of the bits of the sample, x + u would remember the sample.
    density = tfd.Normal(0.0, 3.0)
    model, count = Dequantized(density), 50000
    y = density.sample(count, seed=SEED).numpy()
    x = model.sample(count, seed=SEED).numpy()
    noise = model.dequantizer.dequantize(tf.constant(x), 1, tf.constant(SEED))[0][0] - x
    assert abs(np.corrcoef(noise, y - x)[0, 1]) < 5 / np.sqrt(count)
    shared, apart = model.log_prob(x, seed=SEED).numpy(), model.log_prob(x, seed=(8, 9)).numpy()
    error = np.std(shared - apart) / np.sqrt(count)
    assert abs(np.mean(shared - apart)) < 4 * error


def test_sample_and_log_prob():
    model = Dequantized(flow_levels(), num_importance_samples=2)
    x, log_prob = model.experimental_sample_and_log_prob(200, seed=SEED)
    assert x.shape == [200, 4]
    assert log_prob.shape == [200]
    assert np.all((x >= 0) & (x <= 16) & (x == tf.floor(x)))
    other = model.log_prob(x, seed=(8, 9))
    assert np.all(np.abs(log_prob - other) > 1e-7)
    error = np.std(log_prob - other) / np.sqrt(200)
    assert abs(np.mean(log_prob - other)) < 4 * error
    again = tf.function(lambda: model.experimental_sample_and_log_prob(200, seed=SEED))()
    np.testing.assert_array_equal(again[0], x)
    np.testing.assert_allclose(again[1], log_prob, rtol=1e-4)


@pytest.mark.parametrize(
    ["dtype", "validate_args"],
    [(dtype, False) for dtype in ("uint8", "int8", "int32", "int64", "float64")]
    + [("uint8", True), ("float64", True)],
)
def test_integers_are_taken_as_they_are(dtype, validate_args):
    model, x = Dequantized(flow_levels(), validate_args=validate_args), levels_of()
    want = model.log_prob(x, seed=SEED)
    np.testing.assert_array_equal(model.log_prob(tf.cast(x, dtype), seed=SEED), want)
    np.testing.assert_array_equal(model.log_prob(x.numpy().astype(dtype), seed=SEED), want)
    got = tf.function(lambda v: model.log_prob(v, seed=SEED))(tf.cast(x, dtype))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    prob = model.prob(tf.cast(x, dtype), seed=SEED)
    np.testing.assert_allclose(prob, np.exp(want), rtol=1e-6)


def test_unknown_batches():
    model, x = Dequantized(flow_levels(), num_importance_samples=3), levels_of()

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def run(x):
        log_prob = model.log_prob(x, seed=SEED)
        assert log_prob.shape.as_list() == [None]
        return log_prob

    np.testing.assert_allclose(run(x), model.log_prob(x, seed=SEED), rtol=1e-5)
    assert run(x[:0]).shape == [0]

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def draw(n):
        return model.sample(n, seed=SEED)

    np.testing.assert_array_equal(draw(6), model.sample(6, seed=SEED))


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_shapes(batch):
    model = Dequantized(flow_levels(), num_importance_samples=2)
    assert (model.batch_shape, model.event_shape) == ([], [4])
    np.testing.assert_array_equal(model.batch_shape_tensor(), [])
    np.testing.assert_array_equal(model.event_shape_tensor(), [4])
    x = model.sample(batch, seed=SEED)
    assert x.shape == (*batch, 4)
    assert model.log_prob(x).shape == batch
    assert model.prob(x).shape == batch
    scalars = Dequantized(tfd.Normal([0.0, 1.0, 2.0], 1.0), num_importance_samples=2)
    assert (scalars.batch_shape, scalars.event_shape) == ([3], [])
    assert scalars.sample(batch).shape == (*batch, 3)
    assert scalars.log_prob(np.zeros([*batch, 3])).shape == (*batch, 3)


@pytest.mark.parametrize("k", [1, 3])
def test_one_value_for_a_whole_batch(k):
    # The dimension of the K samples must not be taken for that of the batch.
    for batch in ([3], [2, 3]):
        scale = np.linspace(1.0, 2.0, int(np.prod(batch))).reshape(batch)
        model = Dequantized(tfd.Uniform(np.zeros(batch), 4.0 * scale), num_importance_samples=k)
        for x in (1, [1, 1, 1]):
            log_prob = model.log_prob(x)
            assert log_prob.shape == batch
            np.testing.assert_allclose(log_prob, -np.log(4.0 * scale), rtol=1e-12)
    bound = bind(Dequantized(flow_levels(conditional_shape=[2])), condition())
    assert bound.copy(num_importance_samples=k).log_prob(levels_of([4])).shape == [3]


STACKS = {
    "chain": lambda a, b: Chain([Bounded(0, 17), a, tfb.Permute([3, 2, 1, 0]), b]),
    "tfb_chain": lambda a, b: tfb.Chain([Bounded(0, 17), a, tfb.Permute([3, 2, 1, 0]), b]),
}


# With tfb.Chain, quick: below, in the form of TFP.
@pytest.mark.parametrize("name", ["chain", pytest.param("tfb_chain", marks=pytest.mark.slow)])
def test_conditioning_is_binding(name):
    # Of two flows in a stack.
    flows = [wavenet(seed=seed, conditional_shape=[2]) for seed in (1, 2)]
    model = Dequantized(image(STACKS[name](*flows)), num_importance_samples=2)
    c, x = condition(), levels_of([6, 3, 4])
    bound = bind(model, c)
    assert type(bound) is Dequantized
    assert bound.batch_shape == [3]
    assert bound.num_importance_samples == 2
    for method in ("log_prob", "prob"):
        want = getattr(bound, method)(x, seed=SEED)
        assert want.shape == [6, 3]
        got = getattr(model, method)(x, seed=SEED, conditional_input=c)
        np.testing.assert_allclose(got, want, rtol=1e-5)
        other = getattr(model, method)(x, seed=SEED, conditional_input=-c)
        assert np.all(np.abs(other - want) > 1e-6 * np.abs(want))
    drawn = bound.sample(50, seed=SEED)
    assert drawn.shape == [50, 3, 4]
    np.testing.assert_array_equal(model.sample(50, seed=SEED, conditional_input=c), drawn)
    assert np.any(model.sample(50, seed=SEED, conditional_input=-c) != drawn)
    assert model.sample(conditional_input=c).shape == [3, 4]
    assert model.sample([2, 1], conditional_input=c[0]).shape == [2, 1, 4]
    x, log_prob = model.experimental_sample_and_log_prob(5, seed=SEED, conditional_input=c)
    want = bound.experimental_sample_and_log_prob(5, seed=SEED)
    np.testing.assert_array_equal(x, want[0])
    np.testing.assert_allclose(log_prob, want[1], rtol=1e-5)
    assert log_prob.shape == [5, 3]
    continuous = bind(model.distribution, c).sample(50, seed=SEED)
    np.testing.assert_array_equal(drawn, tf.floor(continuous))


def test_conditioning_in_a_function():
    model = Dequantized(flow_levels(conditional_shape=[2]))

    @tf.function(input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([None, 2])])
    def run(x, c):
        log_prob = model.log_prob(x, seed=SEED, conditional_input=c)
        return log_prob, model.sample(2, seed=SEED, conditional_input=c)

    x, c = levels_of([3, 4]), condition()
    log_prob, drawn = run(x, c)
    want = model.log_prob(x, seed=SEED, conditional_input=c)
    np.testing.assert_allclose(log_prob, want, rtol=1e-5)
    np.testing.assert_array_equal(drawn, bind(model, c).sample(2, seed=SEED))
    xla = asked(model, conditional_input=c)[2]
    np.testing.assert_allclose(xla(x, tf.constant(SEED)), want, rtol=1e-4)


def test_conditioning_in_the_form_of_tfp():
    flow = wavenet(conditional_shape=[2])
    for bijector, kwargs in (
        (Chain([Bounded(0, 17), flow]), {"conditional_input": condition()}),
        (tfb.Chain([Bounded(0, 17), flow]), {flow.name: {"conditional_input": condition()}}),
    ):
        model, x = Dequantized(image(bijector)), levels_of([3, 4])
        want = model.log_prob(x, seed=SEED, conditional_input=condition())
        got = model.log_prob(x, seed=SEED, bijector_kwargs=kwargs)
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_conditioning_that_does_not_fit():
    model, plain = Dequantized(flow_levels(conditional_shape=[2])), Dequantized(flow_levels())
    x, c = levels_of([3, 4]), condition()
    for run in (
        lambda d, c: d.log_prob(x, conditional_input=c),
        lambda d, c: d.prob(x, conditional_input=c),
        lambda d, c: d.sample(2, conditional_input=c),
        lambda d, c: d.experimental_sample_and_log_prob(2, conditional_input=c),
    ):
        with pytest.raises(ValueError, match=r"conditioned on shape \[2\], got None"):
            run(model, None)
        with pytest.raises(ValueError, match=r"conditional_input: expected shape \[\.\.\., 2\]"):
            run(model, tf.ones([3, 5]))
        for unwanting in (plain, bind(model, c)):
            with pytest.raises(ValueError, match="is not conditioned and would ignore it"):
                run(unwanting, c)
    with pytest.raises(ValueError, match=r"conditioned on shape \[2\], got None"):
        model.log_prob(x)
    with pytest.raises(ValueError, match=r"conditioned on shape \[2\], got None"):
        model.sample()


def test_slices_and_copies_of_what_is_bound():
    bound = bind(Dequantized(flow_levels(conditional_shape=[2], scale=1.0)), condition())
    x = tf.repeat(levels_of([1, 4], seed=1), 3, axis=0)
    many = bound.copy(num_importance_samples=2000)
    assert many.distribution is bound.distribution
    assert many.num_importance_samples == 2000
    want = many.log_prob(x, seed=SEED)
    assert bound[1].batch_shape == []
    assert bound[1:].batch_shape == [2]
    assert type(bound[1:]) is Dequantized
    got = many[:2].log_prob(x[:2], seed=SEED)
    np.testing.assert_allclose(got, want[:2], atol=0.2)  # of other noise
    assert abs(want[0] - want[1]) > 1.0  # so that a mistaken member would show
    np.testing.assert_array_equal(bound.copy().log_prob(x, seed=SEED), bound.log_prob(x, seed=SEED))
    renamed = bound.copy(name="other", validate_args=True)
    assert (renamed.name, renamed.validate_args) == ("other", True)


TRAINED = {
    "chain": lambda f: image(Chain([Bounded(0, 17), f])),
    "tfb_chain": lambda f: image(tfb.Chain([Bounded(0, 17), f])),
    "invert": lambda f: image(tfb.Chain([Bounded(0, 17), tfb.Invert(tfb.Invert(f))])),
    "nested": lambda f: tfd.TransformedDistribution(image(f), Bounded(0, 17)),
    "independent": lambda f: tfd.Independent(image(Chain([Bounded(0, 17), f])), 0),
}


# What stands around flows is in conditioning/test_forwarding.py too.
@pytest.mark.parametrize(
    "around",
    [
        pytest.param(around, id=name, marks=[] if name == "chain" else pytest.mark.slow)
        for name, around in TRAINED.items()
    ],
)
def test_training_reaches_dropout(around):
    model, x = Dequantized(around(wavenet(dropout=0.5)), num_importance_samples=2), levels_of()
    want = model.log_prob(x, seed=SEED)
    np.testing.assert_array_equal(model.log_prob(x, seed=SEED, training=False), want)
    assert np.all(np.abs(model.log_prob(x, seed=SEED, training=True) - want) > 1e-5)
    prob = model.prob(x, seed=SEED, training=True)
    assert np.all(np.abs(np.log(prob) - want) > 1e-5)


def test_training_with_conditioning():
    model = Dequantized(flow_levels(conditional_shape=[2], dropout=0.5))
    asked = {"seed": SEED, "conditional_input": condition()}
    got, want = (model.log_prob(levels_of([3, 4]), training=on, **asked) for on in (True, False))
    assert np.all(np.abs(got - want) > 1e-5)


@pytest.mark.parametrize("k", [1, 3])
def test_gradients(k):
    density = flow_levels(conditional_shape=[2])
    model = Dequantized(density, num_importance_samples=k)
    network = density.bijector.bijectors[1].network
    variables = model.trainable_variables
    assert {id(v) for v in variables} == {id(v.value) for v in network.trainable_variables}
    for run in (lambda f: f(), lambda f: tf.function(f)()):

        def gradients():
            with tf.GradientTape() as tape:
                log_prob = model.log_prob(
                    levels_of([3, 4]), seed=SEED, conditional_input=condition()
                )
                loss = -tf.reduce_mean(log_prob)
            return tape.gradient(loss, variables)

        for gradient in run(gradients):
            assert gradient is not None
            assert np.isfinite(gradient).all()
            assert np.any(gradient != 0.0)


def test_the_gradient_is_that_of_the_bound():
    loc = tf.Variable(np.float64(0.4))
    model = Dequantized(tfd.Normal(loc, np.float64(0.6)), num_importance_samples=10**5)
    with tf.GradientTape() as tape:
        log_prob = model.log_prob(1, seed=SEED)
    f = stats.norm(0.4, 0.6)
    want = (f.pdf(1) - f.pdf(2)) / (f.cdf(2) - f.cdf(1))
    np.testing.assert_allclose(tape.gradient(log_prob, loc), want, rtol=0.02)


WRONG = {
    "not_whole": (11.5, r"integers in 0\.\.16, got 11\.5"),
    "nan": (np.nan, r"integers in 0\.\.16, got nan"),
    "infinite": (np.inf, r"integers in 0\.\.16, got inf"),
    "above": (17.0, r"integers in 0\.\.16, got 17\.0"),
    "below": (-1.0, r"integers in 0\.\.16, got -1\.0"),
}


@pytest.mark.parametrize(["wrong", "text"], WRONG.values(), ids=WRONG.keys())
def test_wrong_values_under_validate_args(wrong, text):
    model, x = Dequantized(flow_levels(), validate_args=True), levels_of().numpy()
    x[2, 1] = wrong
    for method in (model.log_prob, model.prob):
        with pytest.raises(ValueError, match=f"value: expected {text}"):
            method(x)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"integers in 0\.\.16, got"):
        tf.function(model.log_prob)(tf.constant(x))


def test_good_values_under_validate_args():
    model, x = Dequantized(flow_levels(), validate_args=True), levels_of()
    want = Dequantized(flow_levels()).log_prob(x, seed=SEED)
    np.testing.assert_array_equal(model.log_prob(x, seed=SEED), want)
    _, graph, xla = asked(model)
    np.testing.assert_allclose(graph(x, tf.constant(SEED)), want, rtol=1e-5)
    np.testing.assert_allclose(xla(x, tf.constant(SEED)), want, rtol=1e-5)
    assert np.all(model.sample(20) <= 16)
    with pytest.raises(ValueError, match="value: expected integers, got 0.5"):
        Dequantized(tfd.Normal(0.0, 1.0), validate_args=True).log_prob(0.5)


@pytest.mark.parametrize(
    ["jit", "name", "k"],
    [
        pytest.param(jit, name, k, marks=[pytest.mark.slow] * (jit != "eager" and name != "chain"))
        for jit in ("eager", "graph", "xla")
        for name, k in (("chain", 3), ("tfb_chain", 1), ("nested", 3))
    ],
)
def test_wrong_values_have_no_probability(jit, name, k):
    model = Dequantized(TRAINED[name](wavenet()), num_importance_samples=k)
    run = dict(zip(["eager", "graph", "xla"], asked(model), strict=True))[jit]
    x = np.tile(levels_of([1, 4]).numpy(), [7, 1])
    x[1:6, 2] = [17.0, -1.0, 1e30, np.inf, -np.inf]
    x[6, 0] = np.nan
    log_prob = run(tf.constant(x), tf.constant(SEED)).numpy()
    assert np.isfinite(log_prob[0])
    assert np.all(np.isneginf(log_prob[1:6]))
    assert np.isnan(log_prob[6])
    # What is wrong in one row changes no other.
    x[1:] = x[0]
    want = run(tf.constant(x), tf.constant(SEED)).numpy()
    np.testing.assert_allclose(log_prob[0], want[0], rtol=1e-5)


def test_the_edges_are_finite():
    model = Dequantized(flow_levels(65536), num_importance_samples=20)
    x = tf.constant([[0.0] * 4, [65535.0] * 4, [0.0, 65535.0, 0.0, 65535.0]])
    assert np.isfinite(model.log_prob(tf.repeat(x, 100, axis=0), seed=SEED)).all()


@pytest.mark.parametrize("shape", [[4, 3], [5], []])
def test_values_of_another_shape(shape):
    for method in ("log_prob", "prob"):
        with pytest.raises(ValueError, match=r"value: expected shape \[\.\.\., 4\], got"):
            getattr(Dequantized(flow_levels()), method)(tf.zeros(shape))


NO_DISTRIBUTION = "distribution: expected a tfd.Distribution, got"
NO_NUMBERS = "distribution: expected a distribution over real num"
NO_COUNT = "num_importance_samples: expected a positive integer, got"
BAD_ARGUMENTS = [
    ("distribution", [None, tfb.Exp(), 3.0, Bounded(0, 2)], TypeError, NO_DISTRIBUTION),
    ("distribution", [tfd.Categorical(logits=[0.0, 1.0])], TypeError, NO_NUMBERS),
    ("distribution", [tfd.JointDistributionSequential([NORMAL, NORMAL])], TypeError, NO_NUMBERS),
    (
        "dequantizer",
        [None, "uniform", Uniform, 3],
        TypeError,
        "dequantizer: expected a Dequantizer such as",
    ),
    ("num_importance_samples", [0, -1], ValueError, NO_COUNT),
    ("num_importance_samples", [1.0, None, True, "2"], TypeError, NO_COUNT),
]


@pytest.mark.parametrize(["name", "values", "error", "text"], BAD_ARGUMENTS)
def test_bad_arguments(name, values, error, text):
    for wrong in values:
        with pytest.raises(error, match=text):
            Dequantized(**{"distribution": NORMAL, name: wrong})


def test_properties():
    model = Dequantized(NORMAL, num_importance_samples=np.int64(2), name="cells")
    assert model.distribution is NORMAL
    assert isinstance(model.dequantizer, Uniform)
    assert model.num_importance_samples == 2
    assert (model.name, model.dtype) == ("cells", "float32")
    assert model.reparameterization_type == tfd.NOT_REPARAMETERIZED
    assert model.experimental_default_event_space_bijector() is None
