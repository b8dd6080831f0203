import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import normal, randomize
from tests.toys import MaskedLinear
from tfp_ar.internal.program import Program


def network():
    net = MaskedLinear([3], [0, 1, 2])
    net.build()
    return net


def make_sum(net):
    return lambda x: tf.reduce_sum(net(x))


def test_there_is_one_program_for_each_network():
    a, b = network(), network()
    assert Program.of(a) is Program.of(a)
    assert Program.of(a) is not Program.of(b)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_functions_are_made_once_for_each_key_and_read_the_weights_when_called(jit_compile):
    net, made = network(), []

    def make(net):
        made.append(net)
        return make_sum(net)

    program = Program.of(net)
    function = program.function("key", make, jit_compile)
    assert program.function("key", make, jit_compile) is function
    assert program.function("other", make, jit_compile) is not function
    assert program.function("key", make, not jit_compile) is not function
    x = normal([2, 3])
    for seed in (1, 2):
        randomize(net, seed=seed)
        np.testing.assert_allclose(function(x), make_sum(net)(x), rtol=1e-5)
    assert made == [net]


def test_the_variables_and_the_change_counter_are_the_network_s():
    net = network()
    program = Program.of(net)
    assert [v is w.value for v, w in zip(program.variables, net.variables, strict=True)] == [True]
    before = program.change_counter()
    assert program.change_counter() == before
    randomize(net)
    assert program.change_counter() != before


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_the_registry_keeps_no_network_alive(jit_compile):
    net = network()
    program = Program.of(net)
    program.change_counter()
    if jit_compile is not None:
        program.function("key", make_sum, jit_compile)(normal([2, 3]))
    alive = weakref.ref(net)
    del net, program
    gc.collect()
    assert alive() is None
