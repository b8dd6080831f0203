"""The form of `sampling_report`; the tests of sampling check its values."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.bijectors.examples import condition, flow, value
from tfp_ar.bijectors import sampling_report


def test_any_leading_shape_and_bound_conditioning():
    bijector, u, c = flow(sampling="fixed_point"), value(batch=(2, 3)), condition(batch=(3,))
    report = sampling_report(bijector, u, c)
    assert report.x.shape == [2, 3, 4]
    assert report.passes.shape == [2, 3, 1] and report.passes.dtype == tf.int32
    assert report.fell_back.shape == [2, 3] and report.fell_back.dtype == tf.bool
    bound = sampling_report(bijector.copy(conditional_input=c), u)
    for a, b in zip(report, bound, strict=True):
        np.testing.assert_array_equal(a, b)


def test_under_a_tape():
    bijector, u = flow(sampling="fixed_point"), value()
    with tf.GradientTape() as tape:
        tape.watch(u)
        report = sampling_report(bijector, u, condition())
    assert tape.gradient(report.x, u) is None
    np.testing.assert_array_equal(report.x, sampling_report(bijector, u, condition()).x)


@pytest.mark.parametrize(
    "bijector", [flow(sampling="cached"), tfp.bijectors.Exp(), None], ids=["cached", "Exp", "None"]
)
def test_wrong_bijector(bijector):
    with pytest.raises(TypeError, match="bijector: expected an ARFlowBijector with sampling='"):
        sampling_report(bijector, value())


def test_wrong_inputs():
    bijector = flow(sampling="fixed_point")
    with pytest.raises(ValueError, match=r"u: expected shape \[..., 4\], got \[3, 5\]"):
        sampling_report(bijector, tf.zeros([3, 5], "float64"), condition())
    with pytest.raises(ValueError, match="conditional_input: this network is conditioned on"):
        sampling_report(bijector, value())
