import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import normal
from tests.networks.examples import wavenet
from tests.toys import MaskedLinear
from tfp_ar.internal.variables import ChangeCounter, RawVariables, StableTensors

# RawVariables -------------------------------------------------------------------------------------


def layers():
    """A layer of two sublayers, and its raw variables."""
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(4), keras.layers.Dense(2)])
    return model, RawVariables(model)


class Holder(tf.Module):
    def __init__(self, variables):
        self.held = variables


def test_raw_variables_are_a_sequence_of_the_layer_s_tf_variables():
    model, raw = layers()
    expected = [v.value for v in model.variables]
    assert len(raw) == 4 and all(isinstance(v, tf.Variable) for v in raw)
    assert all(a is b for a, b in zip(raw, expected, strict=True))
    assert raw[0] is expected[0] and raw[-1] is expected[-1]
    assert all(a is b for a, b in zip(raw[1:3], expected[1:3], strict=True))
    assert all(a is b for a, b in zip(raw.raw(), expected, strict=True))
    with pytest.raises(IndexError):
        raw[4]


def test_a_module_that_holds_them_sees_them():
    model, raw = layers()
    holder = Holder(raw)
    assert {v.ref() for v in holder.variables} == {v.value.ref() for v in model.variables}
    assert len(holder.trainable_variables) == 4


def test_freezing_and_thawing_are_followed():
    model, raw = layers()
    holder = Holder(raw)
    model.layers[0].trainable = False
    assert [v.trainable for v in raw] == [False, False, True, True]
    assert len(holder.trainable_variables) == 2 and len(holder.variables) == 4
    model.trainable = False
    assert holder.trainable_variables == () and not any(v.trainable for v in raw)
    model.trainable = True
    assert len(holder.trainable_variables) == 4 and all(v.trainable for v in raw)
    model.layers[1].kernel.trainable = False
    assert [v.trainable for v in raw] == [True, True, False, True]


def test_tapes_do_not_watch_frozen_variables():
    model, raw = layers()
    model.layers[0].trainable = False
    variables = list(raw)
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(model(tf.ones([1, 3])))
    assert {v.ref() for v in tape.watched_variables()} == {v.ref() for v in variables[2:]}
    assert [g is None for g in tape.gradient(y, variables)] == [True, True, False, False]


def test_freezing_a_sublayer_of_a_network_is_followed():
    network = wavenet("everything")
    raw = RawVariables(network)
    network.head.trainable = False
    frozen = {v.value.ref() for v in network.head.variables}
    assert {v.ref() for v in raw if not v.trainable} >= frozen
    assert sum(v.trainable for v in raw) == len(network.trainable_variables) > 0


def test_variables_made_later_are_there():
    model = keras.Sequential([keras.layers.Dense(4)])
    raw = RawVariables(model)
    assert len(raw) == 0 and list(raw) == []
    model(tf.ones([1, 3]))
    assert len(raw) == len(list(raw)) == 2


@pytest.mark.parametrize("scope", ["stateless", "autocast"])
def test_scopes_do_not_hide_the_variables(scope):
    model, raw = layers()
    context = (
        keras.StatelessScope([(model.variables[0], tf.zeros([3, 4]))])
        if scope == "stateless"
        else keras.src.backend.common.variables.AutocastScope("bfloat16")
    )
    with context:
        inside = list(raw)
    assert all(a is v.value for a, v in zip(inside, model.variables, strict=True))


def test_a_checkpoint_of_layer_and_sequence_stores_each_variable_once(tmp_path):
    model, raw = layers()
    holder = Holder(raw)
    path = tf.train.Checkpoint(model=model, holder=holder).write(str(tmp_path / "checkpoint"))
    stored = [name for name, _ in tf.train.list_variables(path) if "VARIABLE_VALUE" in name]
    assert len(stored) == len(model.variables)


# ChangeCounter ------------------------------------------------------------------------------------


def counter_of(*variables):
    return ChangeCounter(lambda: list(variables))


def assert_sees(counter, change):
    before = counter()
    assert counter() == before
    change()
    after = counter()
    assert after != before
    assert counter() == after


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.assign(2.0 * tf.ones([100])),
        lambda v: v.assign_add(tf.one_hot(99, 100)),
        lambda v: v.assign_sub(1e-7 * tf.one_hot(0, 100)),
        lambda v: v[3:4].assign([5.0]),
        lambda v: v.scatter_nd_update([[7]], [3.0]),
        lambda v: v.scatter_sub(tf.IndexedSlices(tf.constant([1.0]), tf.constant([2]))),
        lambda v: v.assign(np.nan * tf.ones([100])),
        lambda v: v.assign(-v),
        lambda v: tf.function(lambda: v.assign_sub(tf.one_hot(1, 100)))(),
        lambda v: tf.function(lambda: v.assign_sub(tf.one_hot(1, 100)), jit_compile=True)(),
    ],
)
def test_every_update_is_seen_every_time(change):
    other, variable = tf.Variable([1.0]), tf.Variable(tf.ones([100]))
    counter = counter_of(other, variable)
    assert_sees(counter, lambda: change(variable))
    variable.assign(tf.ones([100]))
    for _ in range(3):  # the allocator likes to give a buffer back that it has just got
        variable.assign(tf.ones([100]))
        assert_sees(counter, lambda: change(variable))


def test_counts_never_come_back():
    variable = tf.Variable(tf.zeros([10]))
    counter = counter_of(variable)
    seen = set()
    for i in range(20):
        variable.assign(tf.fill([10], float(i % 2)))
        seen.add(counter())
    assert len(seen) == 20


@pytest.mark.parametrize("value", [1.0, 0.0, -0.0, np.nan, np.inf])
def test_identical_values_are_no_change(value):
    values = np.full([10], value, "float32")
    variable = tf.Variable(values)
    counter = counter_of(variable)
    before = counter()
    variable.assign(values)
    assert counter() == before
    variable[2:5].assign(values[2:5])
    assert counter() == before


def test_nan_weights_are_stable_and_leaving_them_is_a_change():
    variable = tf.Variable([np.nan, 1.0])
    counter = counter_of(variable)
    assert_sees(counter, lambda: variable.assign([np.nan, 2.0]))
    assert_sees(counter, lambda: variable.assign([0.0, 2.0]))
    assert_sees(counter, lambda: variable.assign([-0.0, 2.0]))


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "int32", "int64", "uint32", "bool"]
)
@pytest.mark.parametrize("shape", [[], [3], [2, 2]])
def test_every_dtype_and_rank(dtype, shape):
    variable = tf.Variable(tf.zeros(shape, dtype))
    counter = counter_of(variable)
    assert_sees(counter, lambda: variable.assign(tf.ones(shape, dtype)))
    before = counter()
    variable.assign(tf.ones(shape, dtype))
    assert counter() == before


def test_no_variables_and_empty_ones():
    for counter in (counter_of(), counter_of(tf.Variable(tf.zeros([0, 3])))):
        assert counter() == counter()


def test_a_variable_more_is_a_change():
    variables = [tf.Variable([1.0])]
    assert_sees(ChangeCounter(lambda: list(variables)), lambda: variables.append(variables[0]))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "Lion"])
def test_every_optimizer_step_is_seen(optimizer, jit_compile):
    network = MaskedLinear([3], [0, 1, 2])
    network.build()
    raw = RawVariables(network)
    optimizer = getattr(keras.optimizers, optimizer)(1e-3)
    optimizer.build(list(raw))
    counter = ChangeCounter(raw.raw)
    x = normal([4, 3])

    @tf.function(jit_compile=jit_compile)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((network(x) - 1.0) ** 2)
        optimizer.apply(tape.gradient(loss, list(raw)), list(raw))

    for _ in range(4):
        assert_sees(counter, step)


def test_reading_is_no_change_and_no_tape_sees_it():
    variable = tf.Variable([1.0, 2.0])
    counter = counter_of(variable)
    with tf.GradientTape() as tape:
        before = counter()
        tf.reduce_sum(variable)
        assert counter() == before
    assert len(tape.watched_variables()) == 1
    with tf.GradientTape() as tape:
        counter()
    assert tape.watched_variables() == ()


def test_writes_inside_one_tf_function_are_counted():
    variable, other = tf.Variable([1.0]), tf.Variable([1.0])
    counter, counts = counter_of(variable), []

    @tf.function
    def traced():
        counts.append(counter())
        tf.reduce_sum(variable + other)
        other.assign([5.0])
        counts.append(counter())
        variable.assign_add([1.0])
        counts.append(counter())
        variable.assign(variable)
        counts.append(counter())

    traced()
    a, b, c, d = counts
    assert a == b and len({b, c, d}) == 3


@pytest.mark.parametrize("conditional", [True, False])
def test_writes_in_a_branch_or_a_loop_of_a_tf_function_are_counted(conditional):
    variable = tf.Variable([1.0])
    counter, counts = counter_of(variable), []

    def write():
        return tf.cast(variable.assign([2.0])[0], tf.int32)

    @tf.function
    def traced(n):
        counts.append(counter())
        if conditional:
            tf.cond(n > 0, write, lambda: 0)
        else:
            tf.while_loop(lambda i: i < n, lambda i: [i + write()], [0])
        counts.append(counter())

    traced(tf.constant(1))
    assert counts[0] != counts[1]


@pytest.mark.parametrize("nested", ["function", "branch", "loop"])
def test_writes_inside_a_nested_graph_are_counted(nested):
    variable = tf.Variable([1.0])
    counter, counts = counter_of(variable), []

    def inside(*_):
        counts.append(counter())
        one = tf.cast(variable.assign([1.0])[0], tf.int32)
        counts.append(counter())
        return one

    @tf.function
    def traced(n):
        if nested == "function":
            return tf.function(inside)()
        if nested == "branch":
            return tf.cond(n > 0, inside, lambda: 0)
        return tf.while_loop(lambda i: i < n, lambda i: [i + inside()], [0])

    traced(tf.constant(1))
    assert len(counts) == 2 and counts[0] != counts[1]


def test_graphs_and_eager_execution_share_no_counts():
    variable = tf.Variable([1.0])
    counter, counts = counter_of(variable), []

    def traced(x):
        counts.append(counter())
        return x + variable

    functions = [tf.function(traced), tf.function(traced)]
    for function in functions:
        function(tf.ones([1]))
    functions[0](tf.ones([2]))  # traced again
    counts.append(counter())
    assert len(set(counts)) == 4


# StableTensors ------------------------------------------------------------------------------------


def test_equal_arrays_give_the_same_tensor():
    stable, array = StableTensors("float32"), np.arange(3.0)
    tensor = stable(array)
    assert tensor.dtype == tf.float32 and tensor.numpy().tolist() == [0.0, 1.0, 2.0]
    assert stable(array) is tensor and stable(array.copy()) is tensor
    assert stable([0.0, 1.0, 2.0]) is tensor


def test_an_array_changed_in_place_gives_another_tensor():
    stable, array = StableTensors("float32"), np.arange(3.0)
    before = stable(array)
    array[1] = 7.0
    after = stable(array)
    assert after is not before
    assert before.numpy().tolist() == [0.0, 1.0, 2.0] and after.numpy().tolist() == [0.0, 7.0, 2.0]


def test_arrays_of_the_same_bytes_are_told_apart():
    stable, array = StableTensors("float32"), np.ones([2, 3], "float32")
    assert stable(array).shape == (2, 3)
    assert stable(array.reshape([3, 2])).shape == (3, 2)
    assert stable(array.view("int32")).numpy()[0, 0] == np.float32(1.0).view("int32")


@pytest.mark.parametrize("make", [tf.Variable, keras.Variable])
def test_a_variable_gives_another_tensor_when_it_is_updated(make):
    stable, variable = StableTensors("float32"), make([1.0, 2.0])
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
    stable, tensor = StableTensors("float32"), tf.ones([2])
    assert stable(tensor) is tensor


def test_tensors_of_another_dtype_are_cast_once():
    stable, tensor = StableTensors("float32"), tf.constant([1, 2])
    cast = stable(tensor)
    assert cast.dtype == tf.float32 and cast.numpy().tolist() == [1.0, 2.0]
    assert stable(tensor) is cast
    assert stable(tf.constant([1, 2])) is not cast


def test_several_values_are_remembered_and_not_more():
    stable, arrays = StableTensors("float32"), [np.full([2], float(i)) for i in range(6)]
    tensors = [stable(array) for array in arrays]
    assert all(stable(a) is t for a, t in zip(arrays[2:], tensors[2:], strict=True))
    assert stable(arrays[0]) is not tensors[0]
    assert len(stable._entries) == StableTensors._size


VALUES = {
    "array": lambda: np.array([1.0, 2.0]),
    "variable": lambda: tf.Variable([1.0, 2.0]),
    "float64_variable": lambda: tf.Variable(np.array([1.0, 2.0])),
    "float64_tensor": lambda: tf.constant([1.0, 2.0], tf.float64),
}


@pytest.mark.parametrize("kind", VALUES)
def test_tensors_do_not_leave_their_graph(kind):
    stable, value = StableTensors("float32"), VALUES[kind]()

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
    stable, value = StableTensors("float32"), VALUES[kind]()

    @tf.function(autograph=False)
    def either(flag):
        return tf.cond(flag, lambda: stable(value), lambda: 2.0 * stable(value)) + stable(value)

    np.testing.assert_array_equal(either(tf.constant(True)), [2.0, 4.0])
    np.testing.assert_array_equal(either(tf.constant(False)), [3.0, 6.0])


@pytest.mark.parametrize("first", VALUES)
@pytest.mark.parametrize("second", VALUES)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_values_of_every_kind_after_each_other(first, second, mode):
    stable, a, b = StableTensors("float32"), VALUES[first](), VALUES[second]()
    stable(a)

    def total():
        return stable(a) + stable(b) + stable(a)

    total = tf.function(total) if mode == "graph" else total
    np.testing.assert_array_equal(total(), [3.0, 6.0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_flow_to_variables_that_were_converted_before(dtype):
    stable, variable = StableTensors("float32"), tf.Variable([2.0], dtype=dtype)
    stable(variable)
    for _ in range(2):
        with tf.GradientTape() as tape:
            y = stable(variable) ** 2
        assert tape.gradient(y, variable).numpy().tolist() == [4.0]


def test_gradients_flow_to_tensors_that_were_converted_before():
    stable, tensor = StableTensors("float32"), tf.constant([2.0], tf.float64)
    stable(tensor)
    for _ in range(2):
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            y = stable(tensor) ** 2
        assert tape.gradient(y, tensor).numpy().tolist() == [4.0]
