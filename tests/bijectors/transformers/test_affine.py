"""tfp_ar.bijectors.Affine."""

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tfp_ar.bijectors import Affine


@pytest.mark.parametrize("bound", [0.5, 7.0])
def test_the_map_and_its_log_det(bound):
    params = helpers.normal([3, 4, 2], "float64", seed=1)
    u = helpers.normal([3, 4], "float64", seed=2)
    mu, log_scale = params[..., 0], bound * np.tanh(params[..., 1] / bound)
    transformer = Affine(bound)(params)
    x = transformer.forward(u)
    np.testing.assert_allclose(x, mu + np.exp(log_scale) * u, rtol=1e-13)
    np.testing.assert_allclose(transformer.inverse(tf.identity(x)), u, rtol=1e-12)
    log_det = transformer.forward_log_det_jacobian(u, event_ndims=0)
    np.testing.assert_allclose(tf.broadcast_to(log_det, u.shape), log_scale, rtol=1e-13)
    assert transformer.forward_min_event_ndims == 0


def test_zero_parameters_give_the_identity():
    u = helpers.normal([5], seed=3)
    transformer = Affine()(tf.zeros([5, 2]))
    np.testing.assert_array_equal(transformer.forward(u), u)
    np.testing.assert_array_equal(transformer.inverse(u), u)
    np.testing.assert_array_equal(transformer.forward_log_det_jacobian(u, 0), np.zeros([5]))


def test_near_zero_the_parameter_is_the_log_scale():
    raw = tf.constant([-1e-3, 0.0, 1e-3], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        params = tf.stack([tf.zeros_like(raw), raw], -1)
        log_scale = Affine()(params).forward_log_det_jacobian(tf.ones_like(raw), 0)
    np.testing.assert_allclose(log_scale, raw, rtol=1e-7)
    np.testing.assert_allclose(tape.gradient(log_scale, raw), np.ones([3]), rtol=1e-6)


@pytest.mark.parametrize("bound", [0.5, 7.0, 12.0])
def test_no_parameter_leaves_the_bound(bound):
    raw = tf.constant([-1e30, -50.0, 50.0, 1e30])
    transformer = Affine(bound)(tf.stack([tf.zeros([4]), raw], -1))
    log_scale = transformer.forward_log_det_jacobian(tf.ones([4]), 0).numpy()
    assert np.all(np.abs(log_scale) <= np.float32(bound))
    np.testing.assert_allclose(np.abs(log_scale), bound, rtol=1e-2)
    np.testing.assert_array_equal(np.sign(log_scale), [-1, -1, 1, 1])
    for value in (transformer.forward(tf.ones([4])), transformer.inverse(tf.ones([4]))):
        assert np.isfinite(value).all()
        assert np.all(value != 0.0)
