"""Requirements of every layer, on TensorFlow; tests of a single layer are in tests/layers."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src import testing

from tests import helpers
from tests.compliance.layers.registry import LAYERS, each, parts

EXACT = {"rtol": 1e-5, "atol": 1e-6}


def assert_parts(got, want, **tolerance):
    """That a layer gives these values, in these dtypes and shapes."""
    for y, wanted in zip(parts(got), parts(want), strict=True):
        assert (y.dtype, y.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(y, wanted, **tolerance)


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")  # by Keras, in its own test
@each()
def test_the_layer_test_of_keras(entry):
    """Building, symbolic calls, configs, mixed_float16, and for one input a training step."""
    single = len(entry.inputs) == 1  # Keras' own training step has a model of one input
    shapes = {f"{name}_shape": shape for name, shape in entry.inputs.items()}
    testing.TestCase().run_layer_test(
        entry.layer,
        entry.options,
        input_shape=next(iter(shapes.values())) if single else shapes,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=int(entry.drops),
        expected_num_losses=None,
        run_training_check=single and (entry.drops or "kernel_regularizer" in entry.options),
    )


@each()
def test_shapes_are_known_without_computing(entry):
    layer, values = entry.random(), entry.values()
    shapes = [tuple(y.shape) for y in parts(layer(**values))]
    for batch in (2, None):
        known = layer.compute_output_shape(**entry.shapes(lambda s: (batch, *s[1:])))  # noqa: B023
        known = [known] if len(shapes) == 1 else list(known)
        assert known == [(batch, *shape[1:]) for shape in shapes]


@each()
def test_every_weight_gets_a_gradient(entry):
    layer, values = entry.random(), entry.values()
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(tf.sin(y)) for y in parts(layer(**values)))
    variables = [v.value for v in layer.trainable_variables]
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None and np.any(gradient), variable.name


@each()
def test_config_round_trip(entry):
    """Every argument of the constructor is in the config, and enough for an equal layer."""
    layer = entry.make(name="copied", dtype="float64", trainable=False)
    config = layer.get_config()
    arguments = set(inspect.signature(entry.layer.__init__).parameters) - {"self", "kwargs"}
    assert arguments | set(entry.options) <= set(config)
    for name, value in entry.options.items():
        plain = isinstance(value, (int, float, str, tuple))
        wanted = value if plain else keras.saving.serialize_keras_object(value)
        np.testing.assert_array_equal(config[name], wanted)  # 2 is stored as (2, 2)
    copy = entry.layer.from_config(config)
    assert copy.get_config() == config
    assert copy.name == "copied" and not copy.trainable
    for built in (layer, copy):
        built.build(**entry.shapes())
    assert {v.dtype for v in copy.variables if "seed" not in v.path} == {"float64"}
    helpers.randomize(layer)
    copy.set_weights(layer.get_weights())
    values = entry.values("float64")
    assert_parts(copy(**values), layer(**values))


@each()
def test_file_round_trip(entry, tmp_path):
    symbols = {name: keras.Input(shape[1:], name=name) for name, shape in entry.inputs.items()}
    model = keras.Model(symbols, entry.make(name="saved")(**symbols))
    helpers.randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("saved")) is entry.layer
    values = entry.values()
    assert_parts(loaded(values), model(values))


@each()
def test_mixed_precision_computes_in_the_compute_dtype_only(entry):
    values = entry.values()
    exact, mixed = entry.random(), entry.random(dtype="mixed_bfloat16")
    assert {v.dtype for v in mixed.variables if "seed" not in v.path} == {"float32"}
    for y, wanted in zip(parts(mixed(**values)), parts(exact(**values)), strict=True):
        assert y.dtype == tf.bfloat16
        # bfloat16 has 8 bits: 0.4% of sums of some thirty products of order 1.
        np.testing.assert_allclose(tf.cast(y, tf.float32), wanted, rtol=0.02, atol=0.15)


# Without padding one pixel is too small an image.
@each([entry for entry in LAYERS if entry.options.get("padding") != "valid"])
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_unknown_batch_and_positions_in_a_graph(entry, jit_compile):
    layer, values, dims = entry.random(), entry.values(), entry.position_dims
    positions = {n: dims if len(s) == dims + 2 else 0 for n, s in entry.inputs.items()}
    spec = {
        n: tf.TensorSpec([None] * (1 + k) + [values[n].shape[-1]]) for n, k in positions.items()
    }
    run = tf.function(
        lambda values: layer(**values), input_signature=[spec], jit_compile=jit_compile
    )
    for length in (3, 1):
        cut = {n: v[(slice(length), *[slice(length)] * positions[n])] for n, v in values.items()}
        assert_parts(run(cut), layer(**cut), **EXACT)


@each([entry for entry in LAYERS if entry.position_dims == 1])
@pytest.mark.parametrize("leading", [(), (0,), (2, 3)])
def test_leading_dimensions_of_sequences_are_a_batch(entry, leading):
    layer, batch = entry.random(), int(np.prod(leading))
    values = {n: helpers.normal([batch, *s[1:]]) for n, s in entry.inputs.items()}

    def split(v):
        return tf.reshape(v, [*leading, *v.shape[1:]])

    got = layer(**tf.nest.map_structure(split, values))
    assert_parts(got, tf.nest.map_structure(split, layer(**values)), **EXACT)
    known = layer.compute_output_shape(**entry.shapes(lambda s: (*leading, *s[1:])))
    assert (list(known) if isinstance(got, tuple) else [known]) == [
        tuple(y.shape) for y in parts(got)
    ]


@each([entry for entry in LAYERS if entry.drops])
def test_dropout_acts_in_training_only_and_by_its_seed(entry):
    values = entry.values()

    def dropped(**kwargs):
        return parts(entry.random(**kwargs)(**values, training=True))[-1]

    layer = entry.random()
    quiet = parts(entry.random(dropout=0.0)(**values))
    for training in (None, False):
        assert_parts(layer(**values, training=training), quiet)
    np.testing.assert_array_equal(dropped(), dropped())
    assert np.any(dropped() != dropped(seed=4)) and np.any(dropped() != quiet[-1])
    assert entry.make(seed=np.int64(3)).get_config()["seed"] == 3


@pytest.fixture
def channels_first():
    """Keras' default for images is the other one."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


# MaskedConv2D follows the default, as Keras' convolutions do.
@each([e for e in LAYERS if e.position_dims == 2 and e.layer.__name__ != "MaskedConv2D"])
def test_images_have_their_channels_last_whatever_the_default(entry, channels_first):
    values = entry.values()
    got = entry.random()(**values)
    keras.config.set_image_data_format("channels_last")
    assert_parts(got, entry.random()(**values))
