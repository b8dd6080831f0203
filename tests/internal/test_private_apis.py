"""The private APIs of TensorFlow, Keras and TFP that we use: these tests fail if one is gone."""

import inspect
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests.toys import MaskedLinear
from tfp_ar.internal import tf_private, tfp_private
from tfp_ar.networks import WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions
PACKAGE = pathlib.Path(tfp_ar.__file__).parent
HOOKS = [
    (base, name, arguments)
    for hooks in (tf_private.HOOKS, tfp_private.HOOKS)
    for base, methods in hooks.items()
    for name, arguments in methods.items()
]


@pytest.mark.parametrize(
    "base, name, arguments", HOOKS, ids=[f"{b.__name__}.{n}" for b, n, _ in HOOKS]
)
def test_a_hook_that_we_override_is_there_with_its_arguments(base, name, arguments):
    assert hasattr(base, name), f"{base.__name__}.{name} is gone: what called it?"
    parameters = inspect.signature(getattr(base, name)).parameters
    found = [p for p in parameters if p != "self"]
    assert found[: len(arguments)] == arguments or set(arguments) <= set(found), found


def test_no_other_module_uses_a_private_api():
    pattern = re.compile(
        r"tensorflow\.python|tensorflow_probability\.python|keras\.src|tf\.__internal__"
        r"|\._(value|trainable|tracked|iterations|flatten|handle|call_signature)\b(?!\()"
    )
    own = re.compile(r"self\._(value|flatten)\b")
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name in ("tf_private.py", "tfp_private.py"):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            line = own.sub("", line.split("  #")[0])
            assert not pattern.search(line), f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}"


def test_raw_variables():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    kernel = tf_private.raw_variable(layer.kernel)
    assert isinstance(kernel, tf.Variable) and kernel is layer.kernel.value
    with keras.StatelessScope(state_mapping=[(layer.kernel, tf.ones([3, 2]))]):
        assert tf_private.raw_variable(layer.kernel) is kernel is not layer.kernel.value
        assert tf_private.raw_variables(layer)[0] is kernel


def test_freezing_reaches_tapes_and_modules():
    variable = tf.Variable([1.0, 2.0])
    module = tf.Module()
    module.held = variable
    tf_private.set_trainable(variable, False)
    with tf.GradientTape() as tape:
        y = 2.0 * variable
    assert tape.gradient(y, variable) is None and module.trainable_variables == ()
    tf_private.set_trainable(variable, True)
    with tf.GradientTape() as tape:
        y = 2.0 * variable
    assert tape.gradient(y, variable) is not None and module.trainable_variables == (variable,)


def test_what_tapes_see():
    variable, tensor = tf.Variable([1.0]), tf.constant([1.0])
    assert not tf_private.tape_is_active()
    assert tf_private.gradient_order([tensor], [variable]) == 0
    with tf.GradientTape() as tape:
        assert tf_private.tape_is_active()
        (value,) = tf_private.read([variable])
        assert not tape.watched_variables()
        with tf_private.not_recording():
            assert not tf_private.tape_is_active()
            unseen = 2.0 * variable
        assert tf_private.gradient_order([tensor]) == 0
        assert tf_private.gradient_order([], [variable]) == 1
        tape.watch(tensor)
        assert tf_private.gradient_order([tensor]) == 1
        with tf.GradientTape() as inner:
            inner.watch(tensor)
            assert tf_private.gradient_order([tensor]) == 2
        seen = 2.0 * variable
    np.testing.assert_array_equal(value, [1.0])
    assert tape.gradient([unseen, seen], variable).numpy() == [2.0]


def test_layers_in_collections():
    network = WaveNet([4], dilations=[1, 2])
    found = tf_private.layers_in_collections(network)
    assert [found[f"blocks_{i}"] for i in range(2)] == list(network.blocks)


def test_variables_that_nothing_tracks():
    network = MaskedLinear([3], [0, 1, 2])
    network.build()
    everything = tf_private.not_tracked(network.variables, [])
    assert [v is w.value for v, w in zip(everything, network.variables, strict=True)] == [True]
    assert tf_private.not_tracked(network.variables, [everything[0]]) == []


def test_graphs_have_numbers_of_their_own():
    first, second = tf.Graph(), tf.Graph()
    assert tf_private.graph_key(first) == tf_private.graph_key(first)
    assert tf_private.graph_key(first) != tf_private.graph_key(second)


def test_in_xla_context():
    seen = []

    def note(x):
        seen.append(tf_private.in_xla_context())
        return x

    note(tf.ones([]))
    tf.function(note)(tf.ones([]))
    tf.function(note, jit_compile=True)(tf.ones([]))
    assert seen == [False, False, True]


def test_writes_in_a_graph_are_counted():
    variable, counts = tf.Variable(1.0), []

    @tf.function
    def step():
        counts.append(tf_private.count_writes(tf.compat.v1.get_default_graph(), [variable]))
        variable.read_value()
        counts.append(tf_private.count_writes(tf.compat.v1.get_default_graph(), [variable]))
        variable.assign_add(1.0)
        counts.append(tf_private.count_writes(tf.compat.v1.get_default_graph(), [variable]))

    step()
    assert counts[0] == counts[1] < counts[2]


@pytest.mark.parametrize("wrap", [False, True])
def test_averages_and_steps_of_an_optimizer(wrap):
    variable = keras.Variable([1.0])
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5)
    if wrap:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    assert tf_private.averages(optimizer) == []
    optimizer.build([variable])
    assert int(tf_private.steps_taken(optimizer)) == 0
    ((held, average),) = tf_private.averages(optimizer)
    assert held is variable and average is not variable
    for _ in range(2):
        optimizer.apply([tf.constant([2.0**15 if wrap else 1.0])], [variable])
    assert int(tf_private.steps_taken(optimizer)) == 2
    assert float(average[0]) != float(variable[0])


def test_keras_layers_of_a_module():
    layer, module = keras.Sequential([keras.layers.Dense(1)]), tf.Module()
    module.held = [{"a": layer}, tfb.Invert(tfp_ar.ARFlowBijector(WaveNet([4])))]
    network = module.held[1].bijector.network
    assert tf_private.keras_layers(module) == [layer, network]


def test_calls_before_compile_are_refused_by_keras():
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="compile"):
        tf_private.assert_compiled(model, "fit")
    model.compile("sgd", "mse")
    tf_private.assert_compiled(model, "fit")


def test_fit_evaluates_by_the_keyword_that_we_know():
    seen = []

    class Noting(keras.Sequential):
        def evaluate(self, *args, **kwargs):
            seen.append(kwargs.get(tf_private.CACHED_EVALUATION))
            return super().evaluate(*args, **kwargs)

    model = Noting([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones([4, 1])
    model.fit(x, x, validation_data=(x, x), verbose=0)
    assert seen == [True]


def test_the_type_of_eager_tensors():
    assert isinstance(tf.ones([]), tf_private.EagerTensor)
    kinds = []
    tf.function(lambda x: kinds.append(isinstance(x, tf_private.EagerTensor)))(tf.ones([]))
    assert kinds == [False]


def test_walks_through_compositions():
    chain = tfb.Chain([tfb.Exp(), tfb.Scale(2.0)])
    seen = []

    def step(bijector, value, **kwargs):
        seen.append(type(bijector))
        assert kwargs == {}
        return value + 1.0

    assert tfp_private.walk_forward(chain, step, tf.constant(0.0)) == 2.0
    assert tfp_private.walk_inverse(chain, step, tf.constant(0.0)) == 2.0
    assert seen == [tfb.Scale, tfb.Exp, tfb.Exp, tfb.Scale]


def test_is_increasing():
    assert tfp_private.is_increasing(tfb.Exp())
    assert not tfp_private.is_increasing(tfb.Scale(-2.0))


def test_a_cache_of_tfp_that_keeps_attributes():
    calls = []

    class Doubling(tfb.Bijector):
        _cache = tfp_private.cache_util.BijectorCacheWithGreedyAttrs("_both", "_both_inverse")

        def __init__(self):
            super().__init__(forward_min_event_ndims=0, parameters={})

        def _both(self, x):
            calls.append("forward")
            return 2.0 * x, {"ildj": tf.constant(-np.log(2.0), x.dtype)}

        def _both_inverse(self, y):
            calls.append("inverse")
            return 0.5 * y, {"ildj": tf.constant(-np.log(2.0), y.dtype)}

        def _forward(self, x):
            return self._both(x)[0]

        def _inverse(self, y):
            return self._both_inverse(y)[0]

        def _inverse_log_det_jacobian(self, y):
            raise AssertionError("it was known")

    bijector, y = Doubling(), tf.constant(4.0)
    x = bijector.inverse(y)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(y, 0), -np.log(2.0))
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(x, 0), np.log(2.0), rtol=1e-6)
    assert calls == ["inverse"]


def test_helpers_of_tfp_distributions():
    assert tfp_private.dtype_util.common_dtype([np.float64(1.0), 2.0]) == tf.float64
    variable = tf.Variable(1.0)
    assert tfp_private.tensor_util.is_ref(variable)
    assert tfp_private.tensor_util.convert_nonref_to_tensor(variable) is variable
    assert int(tfp_private.prefer_static.rank(tf.ones([2, 3]))) == 2
    with pytest.raises(tf.errors.InvalidArgumentError):
        tfp_private.assert_util.assert_positive(tf.constant(-1.0))
