import keras
import numpy as np
import pytest
import tensorflow as tf

from tfp_ar.internal import checks


@pytest.mark.parametrize("value", [1, 7, np.int64(7), np.uint8(7), tf.constant(7)])
def test_positive_int_takes_integers(value):
    number = checks.positive_int("n", value)
    assert number == int(value) and type(number) is int


@pytest.mark.parametrize(
    "value, error",
    [
        (0, ValueError),
        (-3, ValueError),
        (1.0, TypeError),
        (True, TypeError),
        ("1", TypeError),
        (None, TypeError),
        ([1], TypeError),
        (np.float32(1.0), TypeError),
    ],
)
def test_positive_int_refuses(value, error):
    with pytest.raises(error, match=r"^n: expected a positive integer, got .+\.$"):
        checks.positive_int("n", value)


@pytest.mark.parametrize(
    "value, want",
    [
        (1, (1,)),
        (-1, (2,)),
        ([], ()),
        ([2, 0], (0, 2)),
        (np.array([-3]), (0,)),
        (np.int64(1), (1,)),
    ],
)
def test_axes_are_counted_from_0_and_sorted(value, want):
    axes = checks.axes("axis", value, 3)
    assert axes == want and type(axes) is tuple


@pytest.mark.parametrize(
    "value, error, message",
    [
        (3, ValueError, r"^axis: expected axes in -3\.\.2, got 3\.$"),
        ([0, -4], ValueError, r"^axis: expected axes in -3\.\.2, got \[0, -4\]\.$"),
        ([2, -1], ValueError, r"^axis: expected each axis once, got \[2, -1\]\.$"),
        (True, TypeError, "^axis: expected an axis or a sequence of axes, got True"),
        ("0", TypeError, "^axis: expected an axis or a sequence of axes, got '0'"),
        ([1.0], TypeError, r"^axis: expected an axis or a sequence of axes, got \[1\.0\]"),
        (None, TypeError, "^axis: expected an axis or a sequence of axes, got None"),
    ],
)
def test_axes_refuses(value, error, message):
    with pytest.raises(error, match=message):
        checks.axes("axis", value, 3)


@pytest.mark.parametrize(
    "value", [[2, 3], (2, 3), np.array([2, 3]), tf.TensorShape([2, 3]), tf.constant([2, 3])]
)
def test_positive_ints_takes_sequences(value):
    numbers = checks.positive_ints("n", value)
    assert numbers == (2, 3) and {type(n) for n in numbers} == {int}


@pytest.mark.parametrize(
    "value, error, message",
    [
        ([], ValueError, r"^n: expected at least one positive integer, got \[\]\.$"),
        (tf.TensorShape([]), ValueError, "^n: expected at least one positive integer, got"),
        ([1, 0], ValueError, r"^n\[1\]: expected a positive integer, got 0\.$"),
        ([1.5], TypeError, r"^n\[0\]: expected a positive integer, got 1\.5\.$"),
        ([None], TypeError, r"^n\[0\]: expected a positive integer, got None\.$"),
        ("12", TypeError, r"^n: expected a sequence of positive integers, got '12'\.$"),
        (12, TypeError, r"^n: expected a sequence of positive integers, got 12\.$"),
        (None, TypeError, r"^n: expected a sequence of positive integers, got None\.$"),
        (np.array([1.5]), TypeError, "^n: expected a sequence of positive integers, got"),
        (tf.TensorShape([None]), TypeError, "^n: expected a sequence of positive integers, got"),
    ],
)
def test_positive_ints_refuses(value, error, message):
    with pytest.raises(error, match=message):
        checks.positive_ints("n", value)


@pytest.mark.parametrize("value", [1, 0.5, 1e30])
def test_positive_float_takes_numbers(value):
    number = checks.positive_float("a", value)
    assert number == value and type(number) is float


@pytest.mark.parametrize(
    "value, error, message",
    [
        (0.0, ValueError, r"^a: expected a positive finite number, got 0\.0\.$"),
        (-1, ValueError, r"^a: expected a positive finite number, got -1\.$"),
        (float("inf"), ValueError, r"^a: expected a positive finite number, got inf\.$"),
        (float("nan"), ValueError, r"^a: expected a positive finite number, got nan\.$"),
        ("1", TypeError, r"^a: expected a positive number, got '1'\.$"),
        (True, TypeError, r"^a: expected a positive number, got True\.$"),
        (None, TypeError, r"^a: expected a positive number, got None\.$"),
    ],
)
def test_positive_float_refuses(value, error, message):
    with pytest.raises(error, match=message):
        checks.positive_float("a", value)


@pytest.mark.parametrize("value", [None, 0, -3, np.uint8(7)])
def test_optional_int_takes_integers_and_none(value):
    number = checks.optional_int("seed", value)
    assert number == value and type(number) in (int, type(None))


@pytest.mark.parametrize("value", [1.0, True, "1", [1], np.float32(1.0)])
def test_optional_int_refuses(value):
    with pytest.raises(TypeError, match=r"^seed: expected an integer or None, got .+\.$"):
        checks.optional_int("seed", value)


@pytest.mark.parametrize("value", [0, 0.0, 0.5, 0.999])
def test_fraction_takes_numbers(value):
    number = checks.fraction("p", value)
    assert number == value and type(number) is float


@pytest.mark.parametrize(
    "value, error",
    [
        (1.0, ValueError),
        (-0.1, ValueError),
        (float("nan"), ValueError),
        ("0.5", TypeError),
        (False, TypeError),
    ],
)
def test_fraction_refuses(value, error):
    with pytest.raises(error, match=r"^p: expected a number in \[0, 1\), got .+\.$"):
        checks.fraction("p", value)


@pytest.mark.parametrize("value, pair", [(3, (3, 3)), ((1, 5), (1, 5)), (np.array([3, 1]), (3, 1))])
def test_odd_pair_takes_a_number_or_a_pair(value, pair):
    numbers = checks.odd_pair("size", value)
    assert numbers == pair and {type(n) for n in numbers} == {int}


@pytest.mark.parametrize(
    "value, error, message",
    [
        (2, ValueError, r"^size: expected an odd integer or a pair of them, got 2\.$"),
        ((3, 4), ValueError, r"^size: expected an odd integer or a pair of them, got \(3, 4\)\.$"),
        ((3,), ValueError, r"^size: expected an odd integer or a pair of them, got \(3,\)\.$"),
        ((3, 3, 3), ValueError, r"^size: expected an odd .* of them, got \(3, 3, 3\)\.$"),
        ((), ValueError, r"^size: expected an odd integer or a pair of them, got \(\)\.$"),
        (0, ValueError, r"^size: expected a positive integer, got 0\.$"),
        (-1, ValueError, r"^size: expected a positive integer, got -1\.$"),
        (3.0, TypeError, r"^size: expected a positive integer, got 3\.0\.$"),
        (None, TypeError, r"^size: expected a positive integer, got None\.$"),
        ("3", TypeError, r"^size: expected a positive integer, got '3'\.$"),
    ],
)
def test_odd_pair_refuses(value, error, message):
    with pytest.raises(error, match=message):
        checks.odd_pair("size", value)


def test_multiple():
    checks.multiple("filters", 6, 3, "groups")
    checks.multiple("filters", 6, 1, "groups")
    for value in (7, 2, None):
        message = rf"^filters: expected a multiple of groups=3, got {value}\.$"
        with pytest.raises(ValueError, match=message):
            checks.multiple("filters", value, 3, "groups")


def test_one_of():
    assert checks.one_of("kind", None, (None, "a")) is None
    assert checks.one_of("kind", "a", (None, "a")) == "a"
    with pytest.raises(ValueError, match=r"^kind: expected one of None, 'a', got 'b'\.$"):
        checks.one_of("kind", "b", (None, "a"))


def test_require_tensorflow_backend(monkeypatch):
    checks.require_tensorflow_backend("A flow")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="^A flow needs Keras' TensorFlow backend, .* on 'jax'"):
        checks.require_tensorflow_backend("A flow")


@pytest.mark.parametrize("check", [checks.positive_float, checks.fraction])
def test_numpy_numbers_are_numbers(check):
    assert check("bound", np.float32(0.5)) == 0.5
