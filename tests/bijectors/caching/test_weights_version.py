import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import normal
from tests.toys import MaskedLinear
from tfp_ar.bijectors.caching.weights_aware_cache import WeightsVersion
from tfp_ar.internal import tf_private
from tfp_ar.internal.variables import RawVariables


def version_of(*variables):
    return WeightsVersion(lambda: list(variables))


def assert_sees(version, change):
    before = version()
    assert version() == before
    change()
    after = version()
    assert after != before
    assert version() == after


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
    version = version_of(other, variable)
    assert_sees(version, lambda: change(variable))
    variable.assign(tf.ones([100]))
    for _ in range(3):  # the allocator likes to give a buffer back that it has just got
        variable.assign(tf.ones([100]))
        assert_sees(version, lambda: change(variable))


def test_counts_never_come_back():
    variable = tf.Variable(tf.zeros([10]))
    version = version_of(variable)
    seen = set()
    for i in range(20):
        variable.assign(tf.fill([10], float(i % 2)))
        seen.add(version())
    assert len(seen) == 20


@pytest.mark.parametrize("value", [1.0, 0.0, -0.0, np.nan, np.inf])
def test_identical_values_are_no_change(value):
    values = np.full([10], value, "float32")
    variable = tf.Variable(values)
    version = version_of(variable)
    before = version()
    variable.assign(values)
    assert version() == before
    variable[2:5].assign(values[2:5])
    assert version() == before


def test_nan_weights_are_stable_and_leaving_them_is_a_change():
    variable = tf.Variable([np.nan, 1.0])
    version = version_of(variable)
    assert_sees(version, lambda: variable.assign([np.nan, 2.0]))
    assert_sees(version, lambda: variable.assign([0.0, 2.0]))
    assert_sees(version, lambda: variable.assign([-0.0, 2.0]))


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "int32", "int64", "uint32", "bool"]
)
@pytest.mark.parametrize("shape", [[], [3], [2, 2]])
def test_every_dtype_and_rank(dtype, shape):
    variable = tf.Variable(tf.zeros(shape, dtype))
    version = version_of(variable)
    assert_sees(version, lambda: variable.assign(tf.ones(shape, dtype)))
    before = version()
    variable.assign(tf.ones(shape, dtype))
    assert version() == before


def test_no_variables_and_empty_ones():
    for version in (version_of(), version_of(tf.Variable(tf.zeros([0, 3])))):
        assert version() == version()


def test_a_variable_more_is_a_change():
    variables = [tf.Variable([1.0])]
    assert_sees(WeightsVersion(lambda: list(variables)), lambda: variables.append(variables[0]))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "Lion"])
def test_every_optimizer_step_is_seen(optimizer, jit_compile):
    network = MaskedLinear([3], [0, 1, 2])
    network.build()
    raw = RawVariables(network)
    optimizer = getattr(keras.optimizers, optimizer)(1e-3)
    optimizer.build(list(raw))
    version = WeightsVersion(lambda: tf_private.raw_variables(network))
    x = normal([4, 3])

    @tf.function(jit_compile=jit_compile)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((network(x) - 1.0) ** 2)
        optimizer.apply(tape.gradient(loss, list(raw)), list(raw))

    for _ in range(4):
        assert_sees(version, step)


def test_reading_is_no_change_and_no_tape_sees_it():
    variable = tf.Variable([1.0, 2.0])
    version = version_of(variable)
    with tf.GradientTape() as tape:
        before = version()
        tf.reduce_sum(variable)
        assert version() == before
    assert len(tape.watched_variables()) == 1
    with tf.GradientTape() as tape:
        version()
    assert tape.watched_variables() == ()


def test_writes_inside_one_tf_function_are_counted():
    variable, other = tf.Variable([1.0]), tf.Variable([1.0])
    version, counts = version_of(variable), []

    @tf.function
    def traced():
        counts.append(version())
        tf.reduce_sum(variable + other)
        other.assign([5.0])
        counts.append(version())
        variable.assign_add([1.0])
        counts.append(version())
        variable.assign(variable)
        counts.append(version())

    traced()
    a, b, c, d = counts
    assert a == b and len({b, c, d}) == 3


@pytest.mark.parametrize("nested", ["function", "branch", "loop"])
def test_writes_inside_a_nested_graph_are_counted(nested):
    variable = tf.Variable([1.0])
    version, counts = version_of(variable), []

    def inside(*_):
        counts.append(version())
        one = tf.cast(variable.assign([1.0])[0], tf.int32)
        counts.append(version())
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
    version, counts = version_of(variable), []

    def traced(x):
        counts.append(version())
        return x + variable

    functions = [tf.function(traced), tf.function(traced)]
    for function in functions:
        function(tf.ones([1]))
    functions[0](tf.ones([2]))  # traced again
    counts.append(version())
    assert len(set(counts)) == 4
