import dataclasses
import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import normal, randomize
from tests.toys import MaskedLinear
from tfp_ar.internal.compiled_network import CompiledNetwork


def network():
    net = MaskedLinear([3], [0, 1, 2])
    net.build()
    return net


@dataclasses.dataclass(frozen=True)
class Sum:
    """A pass: the sum of the parameters, after `note` was told of the network."""

    note: Callable = print

    def __call__(self, network, x, conditional_input):
        self.note(network)
        return tf.reduce_sum(network(x, conditional_input))


def ignore(net):
    del net


def test_there_is_one_for_each_network():
    a, b = network(), network()
    assert CompiledNetwork.of(a) is CompiledNetwork.of(a)
    assert CompiledNetwork.of(a) is not CompiledNetwork.of(b)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_equal_passes_share_a_function_that_is_pure_in_the_weights(jit_compile):
    net, traced = network(), []
    compiled = CompiledNetwork.of(net)
    function = compiled.function(Sum(traced.append), jit_compile)
    assert compiled.function(Sum(traced.append), jit_compile) is function
    assert compiled.function(Sum(ignore), jit_compile) is not function
    assert compiled.function(Sum(traced.append), not jit_compile) is not function
    x, answers = normal([2, 3]), []
    for seed in (1, 2):
        randomize(net, seed=seed)
        answers.append((compiled.weights(), tf.reduce_sum(net(x))))
    for weights, want in answers:  # of the weights that are given, not those of now
        np.testing.assert_allclose(function(weights, x), want, rtol=1e-5)
    assert traced == [net]
    assert not function.get_concrete_function(weights, x).variables


@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradients_reach_the_variables_through_the_argument(jit_compile):
    net, x = randomize(network()), normal([2, 3])
    compiled = CompiledNetwork.of(net)
    gradients = []
    for run in (
        lambda: tf.reduce_sum(net(x)),
        lambda: compiled.function(Sum(ignore), jit_compile)(compiled.weights(), x),
    ):
        with tf.GradientTape() as tape:
            result = run()
        gradients.append(tape.gradient(result, list(compiled.variables)))
    for got, want in zip(*gradients, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_tape_inside_a_pass_records_whoever_calls_it_first(stopped):
    """A trace under a stopped tape would be kept, and give zeros to all later callers."""

    @dataclasses.dataclass(frozen=True)
    class Slope:
        def __call__(self, network, x, conditional_input):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.reduce_sum(network(x, conditional_input) ** 2)
            return tape.gradient(y, x)

    net, x = randomize(network()), normal([2, 3])
    compiled = CompiledNetwork.of(net)
    if stopped:
        with tf.GradientTape() as tape:
            tape.watch(x)
            compiled.unrecorded(Slope(), False)(compiled.weights(), x)
    got = compiled.unrecorded(Slope(), False)(compiled.weights(), x)
    assert np.any(got != 0.0)
    np.testing.assert_allclose(got, Slope()(net, x, None), rtol=1e-5)


def test_the_variables_are_those_of_the_network():
    net = network()
    pairs = zip(CompiledNetwork.of(net).variables, net.variables, strict=True)
    assert [v is w.value for v, w in pairs] == [True]


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_the_registry_keeps_no_network_alive(jit_compile):
    net = network()
    compiled = CompiledNetwork.of(net)
    if jit_compile is not None:
        compiled.function(Sum(ignore), jit_compile)(compiled.weights(), normal([2, 3]))
    alive = weakref.ref(net)
    del net, compiled
    gc.collect()
    assert alive() is None
