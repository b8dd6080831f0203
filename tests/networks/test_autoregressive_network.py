import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import normal, random_conditioning, random_events, randomize
from tests.networks.examples import wavenet
from tests.toys import MaskedLinear, Shuffled, masked_linear_params
from tfp_ar.networks import AutoregressiveNetwork
from tfp_ar.networks.layer_network import as_network

SIZE = 4
ORDERS = {"raster": [0, 1, 2, 3], "reversed": [3, 2, 1, 0], "shuffled": [2, 0, 3, 1]}


def in_order():
    """A network that takes neither conditioning nor `training`, its layer not yet built."""
    return Shuffled([SIZE], order=ORDERS["raster"])


CONDITIONS = {
    "global": [3],
    "local": [4, 2],
    "both": {"global": [3], "local": [4, 2]},
}


def conditioned(kind):
    """A network with random weights of that kind of conditioning."""
    network = MaskedLinear([SIZE], ORDERS["shuffled"], conditional_shape=CONDITIONS[kind])
    network.build()
    return randomize(network)


class Recording(MaskedLinear):
    """Remembers what its call was given."""

    def call(self, x, conditional_input=None, training=None):
        self.seen_x, self.seen_condition, self.seen_training = x, conditional_input, training
        return super().call(x, conditional_input)


# The parallel pass --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x_batch, c_batch",
    [
        ((), ()),
        ((3,), ()),
        ((), (3,)),
        ((1,), (3,)),
        ((2, 3), ()),
        ((2, 1), (3,)),
        ((3,), (2, 1)),
        ((2, 1, 2), (3, 1)),
        ((0,), ()),
        ((2, 0), (1,)),
    ],
)
@pytest.mark.parametrize("kind", CONDITIONS)
def test_leading_shapes_broadcast_as_single_calls_do(kind, x_batch, c_batch):
    network = conditioned(kind)
    x, c = random_events(network, x_batch), random_conditioning(network, c_batch)
    batch = np.broadcast_shapes(x_batch, c_batch)
    params = network(x, c)
    assert params.shape == (*batch, *network.event_shape, network.num_params)

    def at(value, tail, index):
        return tf.broadcast_to(value, [*batch, *value.shape[len(value.shape) - tail :]])[index]

    for index in itertools.product(*map(range, batch)):
        c_one = tf.nest.map_structure(lambda v, n: at(v, n, index), c, ndims_of(network))  # noqa: B023
        one = network(at(x, 1, index), c_one)
        np.testing.assert_allclose(params[index], one, rtol=1e-5, atol=1e-6)


def ndims_of(network):
    """Event ranks in the structure of `conditional_input`."""
    return network.conditioning.join(network.conditioning.event_ndims)


def test_parts_of_the_conditioning_may_have_different_leading_shapes():
    network = conditioned("both")
    x = random_events(network, (2, 1))
    c = {
        "global": random_conditioning(network, (3,))["global"],
        "local": random_conditioning(network, ())["local"],
    }
    params = network(x, c)
    assert params.shape == (2, 3, SIZE, 2)
    for i, j in itertools.product(range(2), range(3)):
        one = network(x[i, 0], {"global": c["global"][j], "local": c["local"]})
        np.testing.assert_allclose(params[i, j], one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("x_batch, c_batch", [(3, 3), (3, 1), (1, 3), (1, 1), (0, 1)])
def test_unknown_batch_sizes_broadcast_in_a_graph(x_batch, c_batch):
    network = conditioned("global")
    signature = [tf.TensorSpec([None, SIZE]), tf.TensorSpec([None, 3])]
    compiled = tf.function(network, input_signature=signature)
    x, c = random_events(network, x_batch), random_conditioning(network, c_batch)
    np.testing.assert_allclose(compiled(x, c), network(x, c), rtol=1e-5, atol=1e-6)


def test_call_gets_one_batch_dimension_and_what_it_asks_for():
    shapes = {"global": [2], "local": [4, 3]}
    network = Recording([SIZE], ORDERS["raster"], conditional_shape=shapes)
    c = {"global": normal([3, 2]), "local": normal([2, 1, 4, 3])}
    network(normal([2, 1, SIZE]), c, training=True)
    assert network.seen_x.shape == (6, SIZE)
    assert network.seen_training is True
    assert {k: tuple(v.shape) for k, v in network.seen_condition.items()} == {
        "global": (6, 2),
        "local": (6, 4, 3),
    }


def test_a_call_without_conditioning_or_training_is_enough():
    network = in_order()
    assert network(normal([2, SIZE]), training=True).shape == (2, SIZE, 2)


def test_lists_and_arrays_are_taken_as_x():
    network = in_order()
    expected = network(tf.constant([[1.0, 2.0, 3.0, 4.0]]))
    for x in ([[1, 2, 3, 4]], np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[1, 2, 3, 4]], np.uint8)):
        np.testing.assert_allclose(network(x), expected, rtol=1e-6)


# Building -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda network: network(normal([2, SIZE])),
        lambda network: network.build(),
        lambda network: network.build((None, SIZE)),
        lambda network: as_network(network),
        lambda network: network.generate(lambda params, i: params[:, 0], 2),
    ],
    ids=["call", "build", "build_shape", "as_network", "generate"],
)
@pytest.mark.parametrize("kind", [in_order, lambda: MaskedLinear([SIZE], range(SIZE))])
def test_lazy_layers_are_built_once(kind, build):
    network = kind()
    assert not network.variables and not network.built
    build(network)
    variables = list(network.variables)
    assert network.built and variables
    network(normal([2, SIZE]))
    as_network(network)
    assert all(a is b for a, b in zip(network.variables, variables, strict=True))


def test_building_in_a_tf_function_keeps_the_weights():
    network = in_order()
    params = tf.function(network)(normal([2, SIZE]))
    np.testing.assert_allclose(params, network(normal([2, SIZE])), rtol=1e-6)


def test_a_failed_build_is_reported_and_can_be_repeated(monkeypatch):
    def fail(x):
        raise RuntimeError("out of order")

    network = in_order()
    with monkeypatch.context() as patch:
        patch.setattr(network.pairs, "call", fail)
        with pytest.raises(RuntimeError, match="out of order"):
            network.build()
        assert not network.built
        with pytest.raises(ValueError, match=r"'shuffled.*' could not be built: (.|\n)*out of ord"):
            as_network(network)
    network.build()
    assert network.built and len(network.variables) == 3


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_example_conditioning(batch):
    network = wavenet("both")
    c = network.example_conditioning(batch, lambda shape: tf.ones(shape))
    assert c["global"].shape == (*batch, 3) and c["local"].shape == (*batch, 6, 2)
    assert not np.any(network.example_conditioning(batch)["local"])
    assert wavenet("plain").example_conditioning(batch) is None


# The sequential pass ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
@pytest.mark.parametrize(
    "order, event_shape",
    [("raster", [4]), ("reversed", [4]), ("reversed", [2, 2]), ("shuffled", [2, 2])],
)
def test_generate_equals_a_loop_over_the_formula(event_shape, order, mode):
    network = MaskedLinear(event_shape, ORDERS[order], num_params=2, dtype="float64")
    network.build()
    randomize(network, 1.0)
    noise = normal([SIZE, 3], "float64")

    def emit(params, i):
        return tf.sin(params[:, 0]) + noise[i] * tf.exp(tf.tanh(params[:, 1]))

    def generate():
        return network.generate(emit, 3)

    x = generate() if mode == "eager" else tf.function(generate, jit_compile=mode == "jit")()
    expected = np.zeros([3, SIZE])
    for i in ORDERS[order]:
        params = masked_linear_params(network, expected, i)
        expected[:, i] = np.sin(params[:, 0]) + noise[i] * np.exp(np.tanh(params[:, 1]))
    assert x.shape == (3, *event_shape)
    np.testing.assert_allclose(np.reshape(x, [3, SIZE]), expected, rtol=1e-12, atol=1e-12)


def test_generate_is_without_dropout():
    network = Recording([SIZE], ORDERS["raster"])
    network.generate(lambda params, i: params[:, 0], 1)
    assert network.seen_training is False


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event_shape, error, message",
    [
        ([], ValueError, "event_shape: expected at least one positive integer"),
        ([4, 0], ValueError, r"event_shape\[1\]: expected a positive integer, got 0"),
        ([None], TypeError, r"event_shape\[0\]: expected a positive integer, got None"),
        (4, TypeError, "event_shape: expected a sequence of positive integers, got 4"),
        ("44", TypeError, "event_shape: expected a sequence of positive integers, got '44'"),
    ],
)
def test_event_shape_must_be_positive_integers(event_shape, error, message):
    with pytest.raises(error, match=message):
        AutoregressiveNetwork(event_shape)


@pytest.mark.parametrize("num_params, error", [(0, ValueError), (1.5, TypeError)])
def test_num_params_must_be_a_positive_integer(num_params, error):
    with pytest.raises(error, match="num_params: expected a positive integer, got"):
        AutoregressiveNetwork([SIZE], num_params)


def test_parameters_of_the_wrong_shape():
    class Short(AutoregressiveNetwork):
        def call(self, x):
            return x[..., :-1, np.newaxis]

    with pytest.raises(
        ValueError, match=r"the parameters that Short returns: expected shape \[\.\.\., 4, 2\], got"
    ):
        Short([SIZE])(tf.zeros([1, SIZE]))


def test_a_subclass_must_define_call():
    with pytest.raises(NotImplementedError, match=r"Empty must define call\(x, \.\.\.\)"):
        type("Empty", (AutoregressiveNetwork,), {})([SIZE])(tf.zeros([1, SIZE]))
