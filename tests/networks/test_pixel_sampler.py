"""Cached generation of pixel networks: its cost, and the case of GPUs. Compliance has the rest."""

import numpy as np
import pytest
import tensorflow as tf

from tests.networks.generation import Emit
from tests.networks.pixel_examples import NETWORKS, lively_pixels

each_network = pytest.mark.parametrize("network", NETWORKS)


def graph_size(network, **kwargs):
    """The number of nodes of a graph that generates."""
    network = lively_pixels(network, "dilated", **kwargs)
    generate = tf.function(lambda: network.generate(lambda params, i: params[:, 0], 2))
    definition = generate.get_concrete_function().graph.as_graph_def()
    return len(definition.node) + sum(len(f.node_def) for f in definition.library.function)


@each_network
def test_the_graph_does_not_grow_with_the_image(network):
    small, large = ([7, 8, 1], [40, 30, 1])
    assert graph_size(network, event_shape=small) == graph_size(network, event_shape=large)


@each_network
def test_one_layer_on_a_gpu(network, monkeypatch):
    # There the stack is one group, which is empty here.
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: [kind])
    network = lively_pixels(network, "one_layer", dtype="float64")
    emit = Emit(network, 2)
    x = network.generate(emit, 2)
    np.testing.assert_allclose(x, emit.of_all(network(x)), rtol=1e-12, atol=1e-12)
