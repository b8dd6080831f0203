"""Packaging of tfp_ar: `pip install .`, or see `make help`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
REPOSITORY = "https://github.com/tfp-ar/tfp_ar"


def read_version() -> str:
    """Returns the version in tfp_ar/version.py.

    It reads the file as text: importing the package would need TensorFlow, which is not there yet
    when pip builds.
    """
    text = (ROOT / "tfp_ar" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('tfp_ar/version.py has no line of the form __version__ = "X.Y.Z".')
    return match.group(1)


def read_readme() -> str:
    """Returns the text of README.md, or an empty string if a build leaves the file out."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


INSTALL_REQUIRES = [
    "absl-py",
    # Below 3.10, keras.Variable copies a tf.Variable that it gets, instead of sharing it.
    "keras>=3.10",
    "numpy",
    "tensorflow>=2.18",
    "tensorflow-probability>=0.25",
    # TensorFlow Probability imports Keras 2 under this name, but does not ask pip for it.
    "tf-keras>=2.18",
]

EXAMPLES_REQUIRE = [
    "matplotlib",
    "scikit-learn",
]

TEST_REQUIRE = [
    # The tests run the examples.
    *EXAMPLES_REQUIRE,
    "import-linter",
    # Tests run the layers on Keras' JAX backend, too.
    "jax",
    "mypy",
    "pytest",
    "pytest-xdist",
    "ruff",
]

# The site is built from the sources as text, without TensorFlow.
DOCS_REQUIRE = [
    # It converts LaTeX to MathML, which browsers show without a script.
    "latex2mathml",
    "mkdocs-material",
    "mkdocstrings[python]",
    # mkdocstrings formats signatures with ruff.
    "ruff",
]

setup(
    name="tfp-ar",
    version=read_version(),
    description="Autoregressive density models for TensorFlow Probability on Keras 3",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    url=REPOSITORY,
    project_urls={
        "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.md",
        "Documentation": f"{REPOSITORY}/tree/main/docs",
        "Issues": f"{REPOSITORY}/issues",
    },
    # This replaces a "License ::" classifier, which setuptools no longer accepts beside it.
    license_expression="Apache-2.0",
    packages=find_packages(include=["tfp_ar", "tfp_ar.*"]),
    package_data={"tfp_ar": ["py.typed"]},
    # Type checkers read py.typed as a file on disk.
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=INSTALL_REQUIRES,
    extras_require={
        "docs": DOCS_REQUIRE,
        "examples": EXAMPLES_REQUIRE,
        "test": TEST_REQUIRE,
    },
    keywords=[
        "autoregressive models",
        "density estimation",
        "keras",
        "normalizing flows",
        "tensorflow",
        "tensorflow-probability",
    ],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Software Development :: Libraries :: Python Modules",
        "Typing :: Typed",
    ],
)
