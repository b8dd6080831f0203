"""The layers do not depend on TensorFlow: they compute the same on another backend of Keras."""

import os
import pathlib
import subprocess
import sys

import numpy as np

from tests.compliance.layers.registry import LAYERS, parts

# Other initializers have no part in what is computed.
ENTRIES = [entry for entry in LAYERS if "kernel_initializer" not in entry.options]

SCRIPT = """
import sys
import jax, keras, numpy as np

# The weights are given, and random numbers of each shape would be a compile each.
for initializer in (keras.initializers.GlorotUniform, keras.initializers.RandomNormal):
    initializer.__call__ = lambda self, shape, dtype=None: np.zeros(shape, dtype)
from tests.compliance.layers.registry import parts
from tests.compliance.layers.test_jax_backend import ENTRIES

assert keras.backend.backend() == "jax"
given, built = np.load(sys.argv[1]), []
for k, entry in enumerate(ENTRIES):
    layer = entry.built()
    for j, variable in enumerate(layer.variables):
        variable.assign(given[f"{k}_weight_{j}"])
    built.append((layer, {name: given[f"{k}_{name}"] for name in entry.inputs}))


@jax.jit
def results():
    return {
        f"{k}_output_{j}": part
        for k, (layer, inputs) in enumerate(built)
        for j, part in enumerate(parts(layer(**inputs)))
    }


np.savez(sys.argv[2], **results())
"""


def test_jax_computes_what_tensorflow_computes(tmp_path):
    arrays, expected = {}, {}
    for k, entry in enumerate(ENTRIES):
        layer, inputs = entry.random(), entry.values()
        arrays |= {f"{k}_{name}": value.numpy() for name, value in inputs.items()}
        arrays |= {f"{k}_weight_{j}": v.numpy() for j, v in enumerate(layer.variables)}
        outputs = parts(layer(**inputs))
        expected |= {f"{k}_output_{j}": part.numpy() for j, part in enumerate(outputs)}
    np.savez(tmp_path / "given.npz", **arrays)
    subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "given.npz", tmp_path / "results.npz"],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=pathlib.Path(__file__).parents[3],
        check=True,
        timeout=300,
    )
    results = np.load(tmp_path / "results.npz")
    assert set(results) == set(expected)
    for name, value in expected.items():
        assert np.abs(value).max() > 0.1
        np.testing.assert_allclose(results[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
