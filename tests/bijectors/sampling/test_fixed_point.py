"""Fixed-point sampling: it draws the samples of cached sampling in all cases."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.bijectors.examples import EXACT, condition, flow, value
from tests.bijectors.sampling import test_implicit_gradient as gradients
from tfp_ar import ARFlowBijector
from tfp_ar.bijectors import Affine, FixedPoint, sampling_report
from tfp_ar.bijectors.sampling import jacobi_solver
from tfp_ar.internal.compiled_network import CompiledNetwork
from tfp_ar.networks import Flipped

tfb, tfd = tfp.bijectors, tfp.distributions
# float64; of a tolerance of 16 units of rounding, times what weights of 0.4 make of an error.
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
SLOW = pytest.mark.slow
BLOCKS, FEW = FixedPoint(block_size=2), FixedPoint(max_iterations=1)


def inputs(bijector, batch=3):
    network = bijector.network
    u = helpers.normal([batch, *network.event_shape], network.variable_dtype, seed=1)
    return u, helpers.random_conditioning(network, batch, seed=2)


def cached(bijector, u, c):
    plain = bijector.copy(sampling="cached", jit_compile=False)
    return plain.forward(tf.identity(u), conditional_input=c)


def check(bijector, passes, tolerance=CLOSE, batch=3):
    """That forward and report are right, without a fall-back, in at most `passes` a block."""
    u, c = inputs(bijector, batch)
    report = sampling_report(bijector, u, c)
    np.testing.assert_allclose(report.x, cached(bijector, u, c), **tolerance)
    np.testing.assert_array_equal(bijector.forward(u, conditional_input=c), report.x)
    assert not np.any(report.fell_back)
    assert np.all((report.passes >= 1) & (report.passes <= passes))
    return report


@pytest.mark.parametrize(
    "kind",
    [
        "plain",
        "sinh_arcsinh",
        *(pytest.param(kind, marks=SLOW) for kind in ("conditioned", "reversed", "decreasing")),
    ],
)
def test_equals_cached_sampling(kind):
    bijector = gradients.SETTINGS[kind](sampling="fixed_point", jit_compile=False)
    report = check(bijector, passes=bijector.network.event_size)
    assert report.passes.shape == [3, 1]


@pytest.mark.parametrize(
    "kind, passes", [pytest.param("plain", [2, 2, 1], marks=SLOW), ("conditioned", [4, 2])]
)
def test_blocks_equal_cached_sampling(kind, passes):
    # Of 5 steps, and of 3 steps of 2 channels; no more passes than variables of the event.
    check(gradients.SETTINGS[kind](sampling=BLOCKS, jit_compile=False), np.array(passes))


FLIPPED = {
    "time": lambda: Flipped(gradients.wavenet(conditional_shape=[5, 2], dilations=[1]), [0]),
    "twice": lambda: Flipped(Flipped(gradients.wavenet(event_shape=(3, 2)), [1]), [0]),
    "image": lambda: Flipped(pixels(conditional_shape=[3, 2, 2]), [0, 2]),
}


def pixels(**kwargs):
    settings = {"filters": 4, "num_layers": 2, "dtype": "float64", **kwargs}
    return helpers.randomize(tfp_ar.networks.GatedPixelCNN([3, 2, 2], **settings), 0.4)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[SLOW] * (name == "image")) for name in FLIPPED]
)
def test_blocks_from_the_other_end(name):
    bijector = ARFlowBijector(FLIPPED[name](), sampling=BLOCKS, jit_compile=False)
    report = check(bijector, passes=bijector.network.event_size)
    assert report.passes.shape[1] == -(-bijector.event_shape[0] // 2)


def test_the_whole_event_from_the_other_end():
    network = gradients.LazyReversed([4], dtype="float64")
    flipped = Flipped(helpers.randomize(network, 0.4), [0])
    assert list(flipped.order) == [0, 1, 2, 3]
    report = check(ARFlowBijector(flipped, sampling="fixed_point", jit_compile=False), passes=4)
    assert report.passes.shape == [3, 1]


def test_blocks_of_any_places():
    network, places = gradients.wavenet(), np.array([2, 0, 4, 1, 3])
    noise, transformer = helpers.normal([3, 5], "float64", seed=1), Affine()
    passes = [network.block_passes(2, 3) for _ in range(2)]
    passes[1].places = places
    want, *_ = jacobi_solver.solve(passes[0], transformer, noise, BLOCKS)
    moved = tf.gather(noise, np.argsort(places), axis=1)
    x, *_ = jacobi_solver.solve(passes[1], transformer, moved, BLOCKS)
    np.testing.assert_array_equal(tf.gather(x, places, axis=1), want)


@SLOW  # flows in blocks from either end are above
def test_blocks_in_a_stack():
    chain = tfp_ar.bijectors.stack(
        lambda k: gradients.wavenet(0.2 + 0.1 * k), 2, sampling=BLOCKS, jit_compile=False
    )
    u = helpers.normal([3, 5], "float64")
    x = chain.forward(u)
    np.testing.assert_allclose(chain.inverse(tf.identity(x)), u, **CLOSE)
    last = chain.bijectors[-1]
    assert not np.any(sampling_report(last, u).fell_back) and last.network.axes == (0,)


def test_compiled_in_float32_with_a_padded_batch():
    network = helpers.randomize(gradients.LazyReversed([4]), 0.4)
    bijector = ARFlowBijector(network, sampling="fixed_point")
    check(bijector, 4, {"rtol": 1e-5, "atol": 1e-5}, batch=5)


def test_small_batches():
    bijector = flow(sampling="fixed_point")
    for batch in (0, 1):
        check(bijector, 4, batch=batch)


@pytest.mark.parametrize("mode", ["graph", pytest.param("xla", marks=SLOW)])
def test_blocks_in_a_function_of_any_batch(mode):
    network = gradients.wavenet(event_shape=(3, 2), dilations=[1])
    bijector = ARFlowBijector(network, sampling=BLOCKS, jit_compile=False)
    spec = tf.TensorSpec([None, 3, 2], "float64")
    run = tf.function(
        lambda u: sampling_report(bijector, u),
        input_signature=[spec],
        jit_compile=mode == "xla",
        autograph=False,
    )
    for batch in (3, 0) if mode == "graph" else (3,):
        u, _ = inputs(bijector, batch)
        report = run(u)
        np.testing.assert_allclose(report.x, cached(bijector, u, None), **CLOSE)
        assert report.passes.shape == [batch, 2] and not np.any(report.fell_back)


# The fall-back ----------------------------------------------------------------------------------


def test_strong_coupling_falls_back():
    network = gradients.autoregression(1.0)  # a random walk of 80 steps
    u = helpers.normal([2, 80], "float64")
    options = FixedPoint(max_iterations=10)
    bijector = ARFlowBijector(network, sampling=options, jit_compile=False)
    report = sampling_report(bijector, u)
    assert np.all(report.fell_back)
    np.testing.assert_array_equal(report.passes, [[11]] * 2)  # more than it was given
    np.testing.assert_array_equal(report.x, cached(bijector, u, None))
    np.testing.assert_array_equal(bijector.forward(u), report.x)


def test_weak_coupling_does_not_fall_back():
    network, u = gradients.autoregression(0.3), helpers.normal([2, 80], "float64")
    bijector = ARFlowBijector(network, sampling="fixed_point", jit_compile=False)
    report = sampling_report(bijector, u)
    np.testing.assert_allclose(report.x, cached(bijector, u, None), **CLOSE)
    assert not np.any(report.fell_back) and 10 < np.max(report.passes) < 40


@pytest.mark.parametrize("mode", ["eager", "graph", pytest.param("xla", marks=SLOW)])
def test_the_fall_back_in_every_mode(mode):
    bijector = flow(conditional_shape=None, sampling=FEW)
    u = value()
    x, _, fell_back = gradients.MODES[mode](lambda u: sampling_report(bijector, u))(u)
    assert np.all(fell_back)
    np.testing.assert_allclose(x, cached(bijector, u, None), **EXACT)


def test_the_samples_of_the_test_above_had_not_converged(monkeypatch):
    # So that it shows something: the same with the fall-back cut off.
    monkeypatch.setattr(
        tfp_ar.bijectors.sampling.fixed_point, "exact_unless", lambda ok, x, exact: x
    )
    bijector, u = flow(conditional_shape=None, sampling=FEW), value()
    assert np.any(np.abs(bijector.forward(u) - cached(bijector, u, None)) > 1e-2)


def test_nan_falls_back():
    bijector = flow(conditional_shape=None, sampling="fixed_point")
    u = value().numpy()
    u[1, 2] = np.nan
    report = sampling_report(bijector, u)
    assert np.all(report.fell_back)
    np.testing.assert_array_equal(report.x, cached(bijector, tf.constant(u), None))
    assert not np.any(np.isnan(report.x[::2]))


# Gradients --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, options, mode",
    [
        ("reversed", FixedPoint(), "eager"),
        ("reversed", FEW, "graph"),
        pytest.param("conditioned", BLOCKS, "eager", marks=SLOW),
        pytest.param("plain", BLOCKS, "xla", marks=SLOW),
    ],
)
def test_gradients_are_those_of_the_loop(kind, options, mode):
    bijector = gradients.SETTINGS[kind](sampling=options, jit_compile=False)
    gradients.assert_gradients(bijector, mode)


# In what stands around flows --------------------------------------------------------------------


def distribution(sampling):
    chain = tfp_ar.bijectors.Chain([flow(1, sampling=sampling), flow(2, sampling=sampling)])
    base = tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), [4])
    return tfp_ar.bind(tfd.TransformedDistribution(base, chain), condition())


def test_in_a_bound_chain():
    samples = [distribution(s).sample(2, seed=[1, 2]) for s in ("cached", "fixed_point")]
    assert samples[0].shape == [2, 3, 4]
    np.testing.assert_allclose(*samples, **CLOSE)


@SLOW
def test_in_a_saved_model(tmp_path):
    tfp_ar.export_saved_model(distribution("fixed_point"), tmp_path)
    sample = tf.saved_model.load(tmp_path).signatures["sample"]
    x = sample(n=tf.constant(2), seed=tf.constant([1, 2]))["sample"]
    np.testing.assert_allclose(x, distribution("cached").sample(2, seed=[1, 2]), **CLOSE)


# Arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argument, wrong, error, message",
    [
        ("tolerance", 0.0, ValueError, "tolerance: expected a positive finite number, got 0.0"),
        ("tolerance", np.nan, ValueError, "tolerance: expected a positive finite number, got nan"),
        ("tolerance", "small", TypeError, "tolerance: expected a positive number, got 'small'"),
        ("tolerance", 1.0, ValueError, "tolerance: expected a number below 1, got 1.0"),
        ("max_iterations", 0, ValueError, "max_iterations: expected a positive integer, got 0"),
        ("max_iterations", None, TypeError, "max_iterations: expected a positive integer"),
        ("block_size", -1, ValueError, "block_size: expected a positive integer, got -1"),
        ("block_size", 2.0, TypeError, "block_size: expected a positive integer, got 2.0"),
    ],
)
def test_wrong_options(argument, wrong, error, message):
    with pytest.raises(error, match=message):
        FixedPoint(**{argument: wrong})


def test_blocks_that_the_network_does_not_have():
    message = r"sampling: expected block_size=None, as LazyReversed has no.*got FixedPoint\("
    with pytest.raises(ValueError, match=message):
        flow(sampling=BLOCKS)


def test_equal_options_share_their_compiled_passes():
    compiled = CompiledNetwork.of(flow(sampling=FEW).network)
    before = None
    for _ in range(2):
        flow(sampling=FixedPoint(max_iterations=1)).forward(value(), conditional_input=condition())
        assert before in (None, len(compiled._functions))
        before = len(compiled._functions)
