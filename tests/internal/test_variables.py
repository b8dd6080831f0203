import keras
import pytest
import tensorflow as tf

from tests.networks.examples import wavenet
from tfp_ar.internal.variables import RawVariables


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
