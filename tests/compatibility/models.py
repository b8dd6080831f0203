"""The models whose files are in files_of_0_1_0, and the program that wrote these files.

`python -m tests.compatibility.models DIRECTORY` writes the files with the imported version. Do so
before a release, into a new directory, and add that to test_files_of_versions_before.py.
"""

import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar

tfd = tfp.distributions


def randomized(layer, seed):
    """Assigns normal numbers to all float variables of a layer."""
    generator = np.random.default_rng(seed)
    for variable in layer.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(0.3 * generator.standard_normal(variable.shape))
    return layer


def networks():
    """Returns a network of each kind, by the name of its file."""
    both = {"global": [2], "local": [4, 1]}
    wavenet = tfp_ar.networks.WaveNet(
        [4, 2],
        residual_channels=3,
        dilations=[1, 2],
        conditional_shape=both,
        position_encoding="learned",
    )
    pixel_cnn = tfp_ar.networks.PixelCNN([2, 3, 1], filters=3, num_layers=2)
    gated = tfp_ar.networks.GatedPixelCNN([2, 3, 1], filters=3, num_layers=2)
    return {
        "wavenet": randomized(wavenet, 1),
        "pixel_cnn": randomized(pixel_cnn, 2),
        "gated_pixel_cnn": randomized(tfp_ar.networks.Flipped(gated, [1]), 3),
    }


def stack():
    """Returns a conditioned stack of two flows over levels 0..7."""

    def make_network(k):
        network = tfp_ar.networks.WaveNet(
            [4], residual_channels=3, dilations=[1, 2], num_params=8, conditional_shape=[2]
        )
        return randomized(network, 10 + k)

    chain = tfp_ar.bijectors.stack(
        make_network,
        2,
        bijector_fn=tfp_ar.bijectors.MixtureOfLogistics(2),
        outer=tfp_ar.bijectors.Bounded(0, 8),
        jit_compile=False,  # quicker to test
    )
    for i, bijector in enumerate(chain.bijectors):
        if isinstance(bijector, tfp_ar.bijectors.ActNorm):
            bijector.assign(0.1 * np.ones(4) * (i + 1), -0.1 * np.ones(4))
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [4])
    flow = tfd.TransformedDistribution(base, chain)
    return tfp_ar.Dequantized(flow, num_importance_samples=2)


def density_model(distribution):
    """Returns a compiled model whose optimizer averages."""
    model = tfp_ar.DensityModel(distribution)
    model.compile(keras.optimizers.Adam(1e-2, use_ema=True))
    return model


def write(directory):
    """Writes all files, and in expected.npz what was put in and what came out."""
    directory = pathlib.Path(directory)
    directory.mkdir()
    generator, expected = np.random.default_rng(0), {}

    def normal(shape):
        return generator.standard_normal(shape).astype("float32")

    for name, network in networks().items():
        x, c = normal([2, *network.event_shape]), network.example_conditioning((2,), normal)
        expected |= {f"{name}/x": x, f"{name}/params": network(x, c).numpy()}
        expected |= {f"{name}/{kind}": value for kind, value in (c or {}).items()}
        inputs = keras.Input(network.event_shape)
        conditions = {k: keras.Input(s) for k, s in (network.conditional_shape or {}).items()}
        outputs = network(inputs, conditions or None)
        keras.Model([inputs, *conditions.values()], outputs).save(directory / f"{name}.keras")

    model = stack()
    x, c, seed = generator.integers(0, 8, [3, 4]), normal([3, 2]), tf.constant([1, 2])
    expected |= {
        "stack/x": x,
        "stack/c": c,
        "stack/log_prob": model.log_prob(x, seed=seed, conditional_input=c).numpy(),
        "stack/sample": model.sample(2, seed=seed, conditional_input=c).numpy(),
    }
    tf.train.Checkpoint(model=model).write(str(directory / "checkpoint"))
    trained = density_model(model)
    trained.fit(x, conditional_input=c, epochs=2, verbose=0)
    trained.save_weights(directory / "density_model.weights.h5")
    expected["density_model/predict"] = trained.predict(x, conditional_input=c, verbose=0)

    network = tfp_ar.networks.WaveNet([4], residual_channels=3, dilations=[1])
    flow = tfp_ar.ARFlowBijector(randomized(network, 20))
    flow = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), [4]), flow)
    y = normal([3, 4])
    expected |= {
        "saved_model/y": y,
        "saved_model/log_prob": flow.log_prob(y).numpy(),
        "saved_model/sample": flow.sample(2, seed=seed).numpy(),
    }
    tfp_ar.export_saved_model(flow, str(directory / "saved_model"))
    np.savez_compressed(directory / "expected.npz", **expected)


if __name__ == "__main__":
    write(sys.argv[1])
