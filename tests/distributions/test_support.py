"""tfp_ar.distributions.support: the integers that a distribution is over."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tfp_ar.bijectors import Bounded, Chain
from tfp_ar.distributions.support import IntegerSupport

tfb, tfd = tfp.bijectors, tfp.distributions
LEVELS = IntegerSupport(0, 16)


def normal(bijector):
    """The image of standard normal noise."""
    return tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), [2]), bijector)


INSIDE = {
    "alone": normal(Bounded(0, 17)),
    "chain": normal(Chain([Bounded(0, 17), tfb.Scale(2.0)])),
    "tfb_chain": normal(tfb.Chain([Bounded(0, 17), tfb.Scale(2.0)])),
    "nested_chain": normal(tfb.Chain([Chain([Bounded(0, 17), tfb.Exp()]), tfb.Scale(2.0)])),
    "nested": tfd.TransformedDistribution(normal(tfb.Exp()), Bounded(0, 17)),
    "independent": tfd.Independent(normal(Bounded(0, 17)), 0),
    "sample": tfd.Sample(normal(Bounded(0, 17)), [3]),
}


def test_ends_that_are_not_whole_lie_in_a_cell_of_the_support():
    assert IntegerSupport.of(normal(Bounded(-0.5, 16.5))) == IntegerSupport(-1, 16)


@pytest.mark.parametrize("distribution", INSIDE.values(), ids=INSIDE.keys())
def test_bounds_that_are_known(distribution):
    assert IntegerSupport.of(distribution) == LEVELS
    assert tfp_ar.Dequantized(distribution).support == LEVELS


UNKNOWN = {
    "normal": tfd.Normal(0.0, 1.0),
    "exp": normal(tfb.Exp()),
    # What comes after a bound moves it.
    "inside_a_chain": normal(tfb.Chain([tfb.Scale(2.0), Bounded(0, 17)])),
    "inside": tfd.TransformedDistribution(normal(Bounded(0, 17)), tfb.Scale(2.0)),
    "inverted": normal(tfb.Chain([tfb.Invert(Bounded(0, 17)), tfb.Sigmoid()])),
    "empty_chain": normal(Chain([])),
}


@pytest.mark.parametrize("distribution", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_bounds_that_are_not(distribution):
    assert IntegerSupport.of(distribution) == IntegerSupport()
    assert tfp_ar.Dequantized(distribution).support == IntegerSupport(None, None)


@pytest.mark.parametrize(
    ["low", "high", "levels"], [(-3, 5, (-3, 4)), (0, 1, (0, 0)), (0.5, 3.5, (0, 3))]
)
def test_cells_that_the_bounds_touch(low, high, levels):
    assert dataclasses.astuple(IntegerSupport.of(normal(Bounded(low, high)))) == levels


def test_text():
    assert str(LEVELS) == "integers in 0..16"
    assert str(IntegerSupport()) == "integers"


DTYPES = ["uint8", "int8", "int32", "int64", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_inside(dtype):
    LEVELS.check(np.array([[0, 1], [15, 16]], dtype))
    LEVELS.check(np.array([], dtype))
    LEVELS.check(np.array(16, dtype))
    IntegerSupport().check(np.array([0, 100], dtype))


OUTSIDE = {
    "below": (-1.0, "-1.0"),
    "above": (17.0, "17.0"),
    "between": (3.5, "3.5"),
    "nan": (np.nan, "nan"),
    "infinite": (np.inf, "inf"),
    "minus_infinite": (-np.inf, "-inf"),
}


def asserting(support):
    """A function that fails where `assertions` do."""

    @tf.function
    def run(x):
        with tf.control_dependencies(support.assertions(x)):
            return tf.identity(x)

    return run


@pytest.mark.parametrize(["wrong", "shown"], OUTSIDE.values(), ids=OUTSIDE.keys())
def test_values_outside(wrong, shown):
    values = np.array([0.0, wrong, 18.0])  # the first one is named
    text = rf"value: expected integers in 0\.\.16, got {shown}\."
    with pytest.raises(ValueError, match=text):
        LEVELS.check(values)
    with pytest.raises(ValueError, match=text):
        LEVELS.assertions(tf.constant(values))
    with pytest.raises(ValueError, match="data: expected integers in"):
        LEVELS.check(values, "data")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected integers in 0\.\.16, got"):
        asserting(LEVELS)(tf.constant(values))
    # And of a support without ends.
    integers, values = IntegerSupport(), values[:2]
    if wrong in (-1.0, 17.0):
        integers.check(values)
        asserting(integers)(tf.constant(values))
        return
    with pytest.raises(ValueError, match=f"value: expected integers, got {shown}"):
        integers.check(values)
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected integers, got"):
        asserting(integers)(tf.constant(values))


def test_integers_outside():
    for dtype in ("int8", "uint8", "int32", "int64"):
        with pytest.raises(ValueError, match=r"integers in 0\.\.16, got 17\."):
            LEVELS.check(np.array([3, 17], dtype))
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"integers in 0\.\.16, got"):
            asserting(LEVELS)(tf.constant([3, 17], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("support", [IntegerSupport(0, 65535), IntegerSupport(-300, 300), LEVELS])
def test_bounds_that_the_dtype_has_not(dtype, support):
    # A bound cast to the dtype of the values would wrap around.
    values = tf.constant([0, 3, 16], dtype)
    support.check(values.numpy())
    assert support.assertions(values) == []
    np.testing.assert_array_equal(asserting(support)(values), values)
