"""The layers know nothing of TensorFlow: they compute the same on another backend of Keras."""

import os
import pathlib
import subprocess
import sys

import numpy as np

from tests.helpers import normal, randomize
from tfp_ar import layers

SHAPE = (2, 3, 4)

# Class, arguments, shapes of the inputs.
EXAMPLES = [
    ("MaskedConv2D", {"filters": 6, "kernel_size": 3, "channel_groups": 3}, [(*SHAPE, 3)]),
    ("MaskedConv2D", {"filters": 4, "kernel_size": 3, "mask_type": "A"}, [(*SHAPE, 2)]),
    (
        "BlindSpotFreeConv2D",
        {"filters": 3, "kernel_size": 3, "mask_type": "A", "channel_groups": 3},
        [(*SHAPE, 3)] * 2,
    ),
    (
        "BlindSpotFreeConv2D",
        {"filters": 3, "kernel_size": 3, "dilation_rate": 2},
        [(*SHAPE, 3)] * 2,
    ),
    ("MaskedPixelBlock", {"filters": 4}, [(*SHAPE, 4), (2, 5), (*SHAPE, 2)]),
    (
        "GatedPixelBlock",
        {"filters": 6, "skip_filters": 3, "channel_groups": 3},
        [*[(*SHAPE, 6)] * 2, (2, 5), (*SHAPE, 2)],
    ),
    ("GatedResidualBlock", {"filters": 4, "skip_filters": 3}, [(2, 5, 4), (2, 5), (2, 5, 2)]),
    ("CausalConv1D", {"filters": 4, "kernel_size": 2}, [(2, 5, 3)]),
    ("ChannelHead", {"num_params": 2, "hidden_channels": 4}, [(2, 5, 4), (2, 5, 3)]),
]

SCRIPT = """
import sys
import jax, keras, numpy as np
from tests.layers.test_jax_backend import EXAMPLES, parts_of
from tfp_ar import layers

assert keras.backend.backend() == "jax"
# The weights are given, and random numbers of each shape would be a compile each.
keras.initializers.GlorotUniform.__call__ = lambda self, shape, dtype=None: np.zeros(shape, dtype)
given, examples = np.load(sys.argv[1]), []
for k, (name, arguments, shapes) in enumerate(EXAMPLES):
    layer = getattr(layers, name)(**arguments)
    layer.build(*shapes)
    for j, variable in enumerate(layer.variables):
        variable.assign(given[f"{k}_weight_{j}"])
    examples.append((layer, [given[f"{k}_input_{j}"] for j in range(len(shapes))]))


@jax.jit
def results():
    return {
        f"{k}_output_{j}": part
        for k, (layer, inputs) in enumerate(examples)
        for j, part in enumerate(parts_of(layer(*inputs)))
    }


np.savez(sys.argv[2], **results())
"""


def parts_of(outputs):
    """What a layer gives, as a list."""
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def test_jax_computes_what_tensorflow_computes(tmp_path):
    arrays, expected = {}, {}
    for k, (name, arguments, shapes) in enumerate(EXAMPLES):
        layer = getattr(layers, name)(**arguments)
        inputs = [normal(shape, seed=(k, j)) for j, shape in enumerate(shapes)]
        layer(*inputs)
        randomize(layer, 0.5)
        arrays |= {f"{k}_input_{j}": value.numpy() for j, value in enumerate(inputs)}
        arrays |= {f"{k}_weight_{j}": v.numpy() for j, v in enumerate(layer.variables)}
        outputs = parts_of(layer(*inputs))
        expected |= {f"{k}_output_{j}": part.numpy() for j, part in enumerate(outputs)}
    np.savez(tmp_path / "given.npz", **arrays)
    subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "given.npz", tmp_path / "results.npz"],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=pathlib.Path(__file__).parents[2],
        check=True,
        timeout=300,
    )
    results = np.load(tmp_path / "results.npz")
    assert set(results) == set(expected)
    for name, value in expected.items():
        assert np.abs(value).max() > 0.1
        np.testing.assert_allclose(results[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
