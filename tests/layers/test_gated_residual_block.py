import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import jacobian, normal, randomize
from tests.layers.reference import causal_convolution, gate
from tfp_ar.layers import GatedResidualBlock

LENGTH, FILTERS, SKIP = 6, 4, 3
KINDS = list(itertools.product([False, True], repeat=2))  # with global, with local conditioning


def conditions(use_global, use_local, batch=2, dtype="float32"):
    """Keyword arguments of the block's call."""
    return {
        **({"global_condition": normal([batch, 5], dtype, 1)} if use_global else {}),
        **({"local_condition": normal([batch, LENGTH, 2], dtype, 2)} if use_local else {}),
    }


def random_block(h, condition=None, scale=0.5, **kwargs):
    """A block with random weights, built for h and the conditions."""
    block = GatedResidualBlock(FILTERS, SKIP, **kwargs)
    block(h, **(condition or {}))
    return randomize(block, scale)


def formula(block, h, global_condition=None, local_condition=None):
    """The pair (h', skip) for h [L, filters], from the block's weights."""
    z = causal_convolution(
        h, block.conv.kernel.numpy(), block.conv.bias.numpy(), block.conv.dilation_rate
    )
    if global_condition is not None:
        z = z + global_condition @ block.global_projection.kernel.numpy()
    if local_condition is not None:
        z = z + local_condition @ block.local_projection.kernel.numpy()
    g = gate(z)
    skip = g @ block.skip_projection.kernel.numpy()
    if not block.residual:
        return h, skip
    return h + g @ block.residual_projection.kernel.numpy(), skip


@pytest.mark.parametrize("use_global, use_local", KINDS)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-13)])
def test_equals_the_formula(use_global, use_local, residual, dtype, tolerance):
    h = normal([2, LENGTH, FILTERS], dtype)
    given = conditions(use_global, use_local, dtype=dtype)
    block = random_block(h, given, kernel_size=3, dilation_rate=2, residual=residual, dtype=dtype)
    new_h, skip = block(h, **given)
    assert skip.dtype == dtype
    for row in range(2):
        rows = {name: value[row].numpy() for name, value in given.items()}
        expected_h, expected_skip = formula(block, h[row].numpy(), **rows)
        np.testing.assert_allclose(skip[row], expected_skip, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(new_h[row], expected_h, rtol=tolerance, atol=tolerance)


def test_without_residual_there_are_no_weights_for_it():
    h = normal([2, LENGTH, FILTERS])
    with_residual, without = random_block(h), random_block(h, residual=False)
    assert len(with_residual.variables) == len(without.variables) + 1


@pytest.mark.parametrize("output", [0, 1])
def test_sees_its_taps_and_no_later_step(output):
    h = normal([LENGTH, FILTERS])
    block = random_block(h[tf.newaxis], kernel_size=2, dilation_rate=2)
    matrix = jacobian(lambda h: block(h)[output], h)
    seen = matrix.reshape(LENGTH, -1, LENGTH, FILTERS).any(axis=(1, 3))
    expected = np.eye(LENGTH, dtype=bool) | np.eye(LENGTH, k=-2, dtype=bool)
    np.testing.assert_array_equal(seen, expected)


def dropping_block(rate, seed=7):
    """A block whose ways out are the gate itself."""
    block = GatedResidualBlock(FILTERS, FILTERS, dropout=rate, seed=seed)
    block.build((None, None, FILTERS))
    randomize(block)
    block.skip_projection.kernel.assign(np.eye(FILTERS))
    block.residual_projection.kernel.assign(np.eye(FILTERS))
    return block


def test_dropout_in_training_drops_the_gate_once_for_both_ways_out():
    rate, h = 0.3, normal([40, 125, FILTERS])
    block = dropping_block(rate)
    _, g = block(h, training=False)
    new_h, dropped = block(h, training=True)
    kept = dropped.numpy() != 0
    np.testing.assert_allclose(dropped.numpy()[kept], g.numpy()[kept] / (1 - rate), rtol=1e-5)
    # 20,000 independent entries: five standard deviations of the fraction dropped.
    assert abs((1 - kept.mean()) - rate) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
    np.testing.assert_allclose(new_h - h, dropped, rtol=1e-4, atol=1e-5)
