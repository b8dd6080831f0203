"""Tests an installed tfp_ar: its files, and a flow that trains, samples and is exported.

It needs only the dependencies of the package, and nothing from the checkout. See check_wheel.sh.
"""

import argparse
import importlib.metadata
import pathlib
import tarfile
import tempfile
import zipfile

import keras
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar

tfd = tfp.distributions


def check_installation(not_from: str) -> None:
    """Checks that the imported package is the installed one, typed, with its metadata."""
    folder = pathlib.Path(tfp_ar.__file__).resolve().parent
    assert pathlib.Path(not_from).resolve() not in folder.parents, folder
    assert (folder / "py.typed").is_file()
    metadata = importlib.metadata.metadata("tfp-ar")
    assert metadata["Version"] == tfp_ar.__version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert len(metadata.get_payload() or metadata["Description"]) > 1000  # README


def check_archives(dist: pathlib.Path) -> None:
    """Checks that the wheel holds only the library, and the sdist the files it is built from."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"tfp_ar", f"tfp_ar-{tfp_ar.__version__}.dist-info"}, tops
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "setup.py", "tfp_ar/py.typed"} <= names


def check_flow() -> None:
    """Checks training, samples and the SavedModel of a flow."""
    network = tfp_ar.networks.WaveNet([8], residual_channels=8, dilations=[1, 2])
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [8])
    flow = tfd.TransformedDistribution(base, tfp_ar.ARFlowBijector(network))
    x = 3.0 + tf.random.stateless_normal([64, 8], seed=[0, 1])
    optimizer = keras.optimizers.Adam(0.1)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(x))
        variables = flow.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    losses = [float(step()) for _ in range(20)]
    assert losses[-1] < losses[0]
    samples = flow.sample(4, seed=[1, 2])
    assert samples.shape == [4, 8]
    with tempfile.TemporaryDirectory() as directory:
        tfp_ar.export_saved_model(flow, directory)
        signature = tf.saved_model.load(directory).signatures["log_prob"]
        tf.debugging.assert_near(
            signature(value=samples)["log_prob"], flow.log_prob(samples), rtol=1e-4, atol=1e-4
        )


def main() -> None:
    """Runs all checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--not_from", required=True, help="the checkout")
    parser.add_argument("--dist", type=pathlib.Path, help="where the wheel and the sdist are")
    flags = parser.parse_args()
    check_installation(flags.not_from)
    if flags.dist:
        check_archives(flags.dist)
    tfp_ar.assert_autoregressive(tfp_ar.networks.GatedPixelCNN([3, 3, 1], filters=4, num_layers=2))
    check_flow()
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (tfp_ar, tf, keras, tfp))
    print(f"The installed package works: {versions}.")


if __name__ == "__main__":
    main()
