"""Conditioning, `training` and a seed reach the parts deep inside a distribution."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.bijectors.examples import EXACT, condition, flow, value
from tests.helpers import image
from tfp_ar.bijectors import Bounded, Chain
from tfp_ar.conditioning import forwarding, walk
from tfp_ar.networks import WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions


def dropping(conditional_shape=None, **kwargs):
    """A flow whose network has dropout."""
    network = WaveNet(
        [4],
        residual_channels=4,
        dilations=[1, 2],
        conditional_shape=conditional_shape,
        dropout=0.5,
        dtype="float64",
    )
    return tfp_ar.ARFlowBijector(helpers.randomize(network, 0.6, 3), jit_compile=False, **kwargs)


AROUND = {
    "flow": image,
    "invert_twice": lambda f: image(tfb.Invert(tfb.Invert(f))),
    "tfb_chain": lambda f: image(tfb.Chain([tfb.Scale(np.float64(2.0)), f])),
    "chain": lambda f: image(Chain([f, tfb.Scale(np.float64(2.0))])),
    "chain_in_tfb_chain": lambda f: image(tfb.Chain([tfb.Scale(np.float64(2.0)), Chain([f])])),
    "bounded": lambda f: tfd.TransformedDistribution(image(f), Bounded(-99, 99)),
    "deep": lambda f: tfd.TransformedDistribution(
        tfd.TransformedDistribution(image(tfb.Scale(np.float64(2.0))), tfb.Chain([f])),
        tfb.Shift(np.float64(1.0)),
    ),
    "independent": lambda f: tfd.Independent(image(f), 0),
    "sample": lambda f: tfd.Sample(image(f), []),
    "dequantized": lambda f: tfp_ar.Dequantized(image(f)),
}
each_stack = pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())


@each_stack
def test_training_reaches_dropout(around):
    model, seed = around(dropping()), tf.constant([1, 2])

    def run(training):
        return forwarding.log_prob(model, value(), seed=seed, training=training).numpy()

    plain = run(None)
    np.testing.assert_allclose(run(False), plain, **EXACT)
    assert np.all(np.abs(run(True) - plain) > 1e-6)
    assert np.all(np.abs(run(True) - run(True)) > 1e-9)  # another mask for another tensor


@each_stack
def test_training_and_conditioning_together(around):
    model, seed, c = around(dropping([2])), tf.constant([1, 2]), condition()
    plain = forwarding.log_prob(model, value(), c, seed)
    bound = tfp_ar.bind(model, c)
    np.testing.assert_allclose(plain, forwarding.log_prob(bound, value(), seed=seed), **EXACT)
    np.testing.assert_array_less(
        1e-6, np.abs(plain - forwarding.log_prob(model, value(), 2 * c, seed))
    )
    dropped = forwarding.log_prob(model, value(), c, seed, True)
    assert dropped.shape == [3]
    assert np.all(np.abs(dropped - plain) > 1e-6)


def test_training_under_independent_batches():
    model = tfd.Independent(image(dropping([2], conditional_input=condition())), 1)
    assert model.event_shape == [3, 4]
    plain = forwarding.log_prob(model, value(batch=(2, 3)))
    dropped = forwarding.log_prob(model, value(batch=(2, 3)), training=True)
    assert plain.shape == [2]
    assert np.all(np.abs(dropped - plain) > 1e-6)


def test_a_seed_goes_only_where_it_is_wanted():
    plain = image(flow(1, None))
    noisy = tfp_ar.Dequantized(plain)
    want = forwarding.log_prob(plain, value())
    np.testing.assert_array_equal(forwarding.log_prob(plain, value(), seed=[1, 2]), want)
    first = forwarding.log_prob(noisy, value(), seed=[1, 2])
    np.testing.assert_array_equal(forwarding.log_prob(noisy, value(), seed=[1, 2]), first)
    np.testing.assert_array_equal(noisy.log_prob(value(), seed=[1, 2]), first)
    assert np.all(forwarding.log_prob(noisy, value(), seed=[1, 3]) != first)


def test_a_seed_goes_through_tfps_distributions():
    noisy = tfp_ar.Dequantized(image(flow(1, None)))
    for around in (tfd.Independent(noisy, 0), tfd.Sample(noisy, [])):
        assert forwarding.has_random_log_prob(around)
        want = noisy.log_prob(value(), seed=[1, 2])
        np.testing.assert_allclose(forwarding.log_prob(around, value(), seed=[1, 2]), want, **EXACT)


def test_whether_log_prob_is_random():
    plain = image(flow(1, None))
    assert not forwarding.has_random_log_prob(plain)
    assert not forwarding.has_random_log_prob(tfd.Normal(0.0, 1.0))
    assert forwarding.has_random_log_prob(tfp_ar.Dequantized(plain))
    assert forwarding.has_random_log_prob(tfd.Independent(tfp_ar.Dequantized(plain), 0))


def test_open_conditioning():
    for around in AROUND.values():
        assert forwarding.open_conditioning(around(flow(1, None))) is None
        assert forwarding.open_conditioning(around(flow(1))).public == (2,)
        assert forwarding.open_conditioning(tfp_ar.bind(around(flow(1)), condition())) is None
    assert forwarding.open_conditioning(tfd.Normal(0.0, 1.0)) is None
    # One is bound and the other open.
    both = image(Chain([flow(1, conditional_input=condition()), flow(2, [3])]))
    assert forwarding.open_conditioning(both).public == (3,)


def test_two_conditional_shapes():
    text = r"distribution: expected flows with one conditional_shape, got \[\(2,\), \(3,\)\]. Bind"
    with pytest.raises(ValueError, match=text):
        forwarding.open_conditioning(image(Chain([flow(1), flow(2, [3])])))
    with pytest.raises(ValueError, match=text):
        forwarding.log_prob(image(tfb.Chain([flow(1), flow(2, [3])])), value(), condition())


@each_stack
def test_conditioning_that_does_not_fit(around):
    open_one, closed = around(flow(1)), around(flow(1, None))
    for run in (
        lambda d, c: forwarding.log_prob(d, value(), c),
        forwarding.conditioned,
        forwarding.check_conditioning,
    ):
        with pytest.raises(ValueError, match=r"conditioned on shape \[2\], got None"):
            run(open_one, None)
        with pytest.raises(ValueError, match=r"conditional_input: expected shape \[\.\.\., 2\]"):
            run(open_one, tf.ones([3, 5]))
        with pytest.raises(TypeError, match=r"conditional_input: expected \[2\], got a dict"):
            run(open_one, {"global": condition()})
        for unwanting in (closed, tfp_ar.bind(open_one, condition())):
            text = r"is not conditioned and would ignore it, got a value of shape \[3, 2\]"
            with pytest.raises(ValueError, match=text):
                run(unwanting, condition())


def test_nothing_wanted_changes_nothing():
    model = image(flow(1, None))
    assert forwarding.conditioned(model, None) is model
    bound = forwarding.conditioned(image(flow(1)), condition())
    assert bound.batch_shape == [3]


def test_what_is_transformed():
    assert walk.is_transformed(image(flow()))
    # TFP makes a class of its own for these.
    assert walk.is_transformed(tfd.LogNormal(0.0, 1.0))
    assert walk.is_transformed(tfb.Exp()(tfd.Normal(0.0, 1.0)))
    assert not walk.is_transformed(tfd.Normal(0.0, 1.0))
    assert not walk.is_transformed(tfd.Sample(tfd.Normal(0.0, 1.0), [4]))
    assert not walk.is_transformed(tfd.Independent(image(flow()), 0))


def test_the_form_of_what_is_handed_down():
    training = {"training": True}
    routed = forwarding.forwarded_kwargs
    assert routed(tfd.Normal(0.0, 1.0), training) == {}
    assert routed(image(tfb.Scale(np.float64(2.0))), training) == {}
    assert routed(image(flow()), training) == {"bijector_kwargs": training}
    by_name = {"bijector_kwargs": {"flow_1": training}}
    assert routed(image(tfb.Chain([tfb.Exp(), flow(1)])), training) == by_name
    inner = {"distribution_kwargs": {"bijector_kwargs": training}}
    assert routed(AROUND["bounded"](flow()), training) == inner
    assert routed(tfd.Independent(AROUND["bounded"](flow()), 0), training) == inner
    assert routed(tfp_ar.Dequantized(image(flow())), training) == training
    assert routed(tfd.Independent(tfp_ar.Dequantized(image(flow())), 0), training) == training
    two = tfd.TransformedDistribution(image(flow(1)), flow(2))
    want = {"bijector_kwargs": training, "distribution_kwargs": {"bijector_kwargs": training}}
    assert routed(two, training) == want
    assert routed(image(flow()), {}) == {}


# A keyword that is not known today ----------------------------------------------------------------


class Scaling(tfb.Bijector):
    """x = factor u, with `factor` a keyword argument of its methods."""

    takes_kwargs = {"factor": True}

    def __init__(self, name="scaling"):
        parameters = dict(locals())
        super().__init__(
            forward_min_event_ndims=0, dtype=tf.float64, parameters=parameters, name=name
        )

    def _forward(self, x, factor=1.0):
        return factor * x

    def _inverse(self, y, factor=1.0):
        return y / factor

    def _inverse_log_det_jacobian(self, y, factor=1.0):
        return -tf.math.log(tf.constant(factor, tf.float64)) + tf.zeros_like(y)


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())
def test_a_new_keyword_takes_no_new_code(around):
    noise = tfp_ar.dequantizers.Uniform()
    plain, scaled = around(Scaling()), around(tfb.Scale(np.float64(2.0)))
    kwargs = {"seed": [1, 2]} if isinstance(plain, tfp_ar.Dequantized) else {}
    forwarded = forwarding.forwarded_kwargs(plain, {"factor": 2.0, "training": True, **kwargs})
    x = noise.noise(value(), 1, [1, 2])[0] + value()
    want = scaled.log_prob(x, **kwargs)
    np.testing.assert_allclose(plain.log_prob(x, **forwarded), want, **EXACT)
    assert np.all(np.abs(plain.log_prob(x, **kwargs) - want) > 1e-6)


def test_a_keyword_that_a_bijector_of_tfp_does_not_hand_down():
    class Holder(tfb.Bijector):
        def __init__(self, held):
            parameters = dict(locals())
            super().__init__(forward_min_event_ndims=0, parameters=parameters, name="holder")

    text = "factor: Holder does not hand it down to what is inside, and it would be ignored"
    with pytest.raises(ValueError, match=text):
        forwarding.forwarded_kwargs(image(Holder(Scaling())), {"factor": 2.0})
    with pytest.raises(ValueError, match=text):
        Chain([Holder(Scaling())]).forward(tf.ones([4]), factor=2.0)


def test_public_log_prob_refuses_what_is_no_distribution():
    with pytest.raises(TypeError, match="distribution: expected a tfd.Distribution, got <"):
        tfp_ar.log_prob(flow(), value())
    assert tfp_ar.log_prob is forwarding.log_prob


class MadeInside(tfb.Chain):
    """A composition whose parameters do not show its members."""

    def __init__(self, network, name="made_inside"):
        parameters = dict(locals())
        flow = tfp_ar.ARFlowBijector(network, jit_compile=False)
        super().__init__([flow], name=name, parameters=parameters)


def test_members_that_a_composition_makes_itself():
    chain = Chain([MadeInside(dropping([2]).network)])
    c, x = condition(), value()
    plain = chain.inverse(x, conditional_input=c)
    assert np.any(np.abs(chain.inverse(x, conditional_input=2 * c) - plain) > 1e-6)
    dropped = chain.inverse(tf.identity(x), conditional_input=c, training=True)
    assert np.any(np.abs(dropped - plain) > 1e-6)


@pytest.mark.parametrize("training", [None, False])
def test_a_keyword_that_says_nothing_need_not_be_handed_down(training):
    chain = Chain([tfb.TransformDiagonal(dropping())])
    assert chain.inverse(tf.eye(4, dtype=tf.float64), training=training).shape == [4, 4]
    with pytest.raises(
        ValueError, match="training: TransformDiagonal does not hand it .*ignored.$"
    ):
        chain.inverse(tf.eye(4, dtype=tf.float64), training=True)


def test_a_dequantizer_of_any_signature():
    class Middle(tfp_ar.dequantizers.Dequantizer):
        def dequantize(self, *args):
            return tf.repeat(args[0][tf.newaxis], args[1], axis=0) + 0.5, 0.0

    assert Middle().takes_kwargs == {} and not Middle().takes_training
    model = tfp_ar.Dequantized(image(flow(1, None)), Middle())
    assert model.log_prob(tf.round(value())).shape == [3]
