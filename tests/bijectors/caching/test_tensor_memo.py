import keras
import numpy as np
import pytest
import tensorflow as tf

from tfp_ar.bijectors.caching.tensor_memo import TensorMemo


def test_equal_arrays_give_the_same_tensor():
    stable, array = TensorMemo("float32"), np.arange(3.0)
    tensor = stable(array)
    assert tensor.dtype == tf.float32 and tensor.numpy().tolist() == [0.0, 1.0, 2.0]
    assert stable(array) is tensor and stable(array.copy()) is tensor
    assert stable([0.0, 1.0, 2.0]) is tensor


def test_an_array_changed_in_place_gives_another_tensor():
    stable, array = TensorMemo("float32"), np.arange(3.0)
    before = stable(array)
    array[1] = 7.0
    after = stable(array)
    assert after is not before
    assert before.numpy().tolist() == [0.0, 1.0, 2.0] and after.numpy().tolist() == [0.0, 7.0, 2.0]


def test_arrays_of_the_same_bytes_are_told_apart():
    stable, array = TensorMemo("float32"), np.ones([2, 3], "float32")
    assert stable(array).shape == (2, 3)
    assert stable(array.reshape([3, 2])).shape == (3, 2)
    assert stable(array.view("int32")).numpy()[0, 0] == np.float32(1.0).view("int32")


@pytest.mark.parametrize("make", [tf.Variable, keras.Variable])
def test_a_variable_gives_another_tensor_when_it_is_updated(make):
    stable, variable = TensorMemo("float32"), make([1.0, 2.0])
    before = stable(variable)
    assert stable(variable) is before
    variable.assign([1.0, 2.0])
    assert stable(variable) is before
    variable.assign([3.0, 2.0])
    after = stable(variable)
    assert after is not before and after.numpy().tolist() == [3.0, 2.0]
    assert stable(variable) is after
    variable.assign([1.0, 2.0])
    assert stable(variable).numpy().tolist() == [1.0, 2.0]


def test_tensors_of_the_dtype_are_returned_themselves():
    stable, tensor = TensorMemo("float32"), tf.ones([2])
    assert stable(tensor) is tensor


def test_tensors_of_another_dtype_are_cast_once():
    stable, tensor = TensorMemo("float32"), tf.constant([1, 2])
    cast = stable(tensor)
    assert cast.dtype == tf.float32 and cast.numpy().tolist() == [1.0, 2.0]
    assert stable(tensor) is cast
    assert stable(tf.constant([1, 2])) is not cast


def test_several_values_are_remembered_and_not_more():
    stable, arrays = TensorMemo("float32"), [np.full([2], float(i)) for i in range(6)]
    tensors = [stable(array) for array in arrays]
    assert all(stable(a) is t for a, t in zip(arrays[2:], tensors[2:], strict=True))
    assert stable(arrays[0]) is not tensors[0]
    assert len(stable._entries) == TensorMemo._size


VALUES = {
    "array": lambda: np.array([1.0, 2.0]),
    "variable": lambda: tf.Variable([1.0, 2.0]),
    "float64_variable": lambda: tf.Variable(np.array([1.0, 2.0])),
    "float64_tensor": lambda: tf.constant([1.0, 2.0], tf.float64),
}


@pytest.mark.parametrize("kind", VALUES)
def test_tensors_do_not_leave_their_graph(kind):
    stable, value = TensorMemo("float32"), VALUES[kind]()

    def twice(x):
        assert stable(value) is stable(value)
        return x * stable(value)

    functions = [twice, tf.function(twice), tf.function(twice), twice]
    for function in functions:
        np.testing.assert_array_equal(function(tf.ones([2])), [1.0, 2.0])
    retraced = functions[1](tf.ones([3, 2]))
    np.testing.assert_array_equal(retraced, [[1.0, 2.0]] * 3)


@pytest.mark.parametrize("kind", VALUES)
def test_tensors_do_not_leave_their_branch(kind):
    stable, value = TensorMemo("float32"), VALUES[kind]()

    @tf.function(autograph=False)
    def either(flag):
        return tf.cond(flag, lambda: stable(value), lambda: 2.0 * stable(value)) + stable(value)

    np.testing.assert_array_equal(either(tf.constant(True)), [2.0, 4.0])
    np.testing.assert_array_equal(either(tf.constant(False)), [3.0, 6.0])


@pytest.mark.parametrize("first", VALUES)
@pytest.mark.parametrize("second", VALUES)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_values_of_every_kind_after_each_other(first, second, mode):
    stable, a, b = TensorMemo("float32"), VALUES[first](), VALUES[second]()
    stable(a)

    def total():
        return stable(a) + stable(b) + stable(a)

    total = tf.function(total) if mode == "graph" else total
    np.testing.assert_array_equal(total(), [3.0, 6.0])


@pytest.mark.parametrize("kind", ["variable", "float64_variable", "float64_tensor"])
def test_gradients_flow_to_what_was_converted_before(kind):
    stable, value = TensorMemo("float32"), VALUES[kind]()
    stable(value)
    for _ in range(2):
        with tf.GradientTape() as tape:
            if kind == "float64_tensor":
                tape.watch(value)
            y = stable(value) ** 2
        assert tape.gradient(y, value).numpy().tolist() == [2.0, 4.0]
