"""Cached generation of WaveNet: rings, groups of blocks, cost. Compliance has the rest."""

import numpy as np
import pytest
import tensorflow as tf

from tests.networks.examples import lively, wavenet
from tests.networks.generation import Emit, run
from tfp_ar.networks import WaveNet
from tfp_ar.networks.generation import taps
from tfp_ar.networks.generation.wavenet import WaveNetSteps


def test_rings_wrap_around_many_times():
    network = WaveNet(
        [60], residual_channels=4, kernel_size=3, dilations=[1, 3, 2], dtype="float64"
    )
    lively(network)
    emit = Emit(network, 2)
    x = run(network, emit, None, 2)
    np.testing.assert_allclose(x, emit.of_all(network(x)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_blocks_may_be_grouped_in_any_way(monkeypatch, size):
    monkeypatch.setattr(taps, "_BLOCKS_PER_GROUP_ON_CPU", size)  # a GPU has one group
    network = lively(wavenet("many_blocks", dtype="float64"))
    emit = Emit(network, 2)
    x = network.generate(emit, 2)
    np.testing.assert_allclose(x, emit.of_all(network(x)), rtol=1e-12, atol=1e-12)


# Cost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_size, dilations", [(1, [1, 2]), (2, [1, 2, 4]), (3, [5, 1, 5])])
def test_the_cache_is_linear_in_the_receptive_field_and_independent_of_the_length(
    kernel_size, dilations
):
    def rows(length):
        network = WaveNet([length], kernel_size=kernel_size, dilations=dilations, skip_channels=3)
        caches = tf.nest.flatten(WaveNetSteps(network, {}).initial_caches(7))
        assert {tuple(cache.shape[1:]) for cache in caches} == {(7, network.residual_channels)}
        return sum(len(cache) for cache in caches)

    # One row for each step of the past that a block needs: the receptive field but for the input.
    assert rows(4) == rows(1000) == (kernel_size - 1) * sum(dilations)


def loop_operations(event_shape, **kwargs):
    """Type and output shapes of every operation in the loop bodies, and the number of all nodes."""
    network = WaveNet(event_shape, residual_channels=4, dilations=[1, 2, 4], **kwargs)
    generate = tf.function(lambda: network.generate(lambda params, i: params[:, 0], 2))
    graph = generate.get_concrete_function().graph
    definition = graph.as_graph_def()
    nodes = len(definition.node) + sum(len(f.node_def) for f in definition.library.function)
    (loop,) = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
    body = graph._get_function(loop.get_attr("body").name).graph  # what the loop repeats
    operations = [
        (op.type, [str(output.shape) for output in op.outputs]) for op in body.get_operations()
    ]
    return operations, nodes


def test_a_step_costs_the_same_for_any_length():
    short, long = loop_operations([10]), loop_operations([200])
    assert len(short[0]) > 20
    assert short == long


@pytest.mark.parametrize("position_encoding", ["learned", "sinusoidal"])
def test_the_graph_does_not_grow_with_the_length(position_encoding):
    short = loop_operations([10], position_encoding=position_encoding)
    long = loop_operations([200], position_encoding=position_encoding)
    assert short[1] == long[1]


def test_the_graph_does_not_grow_with_the_channels():
    assert loop_operations([10, 2])[1] == loop_operations([10, 9])[1]
