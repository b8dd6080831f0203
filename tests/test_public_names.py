"""The public names: those of version 0.1.0 stay, and the documents show users no others."""

import ast
import importlib
import pathlib
import re

import pytest

import tfp_ar

ROOT = pathlib.Path(__file__).parent.parent
NAMES = {
    "tfp_ar": "ARFlowBijector AutoregressiveDistribution DensityModel Dequantized __version__ "
    "analysis assert_autoregressive bijectors bind bits_per_dim dequantizers distributions "
    "export_saved_model layers log_prob metrics networks receptive_field training",
    "tfp_ar.analysis": "DequantizationGap assert_autoregressive dequantization_gap "
    "plot_receptive_field receptive_field",
    "tfp_ar.bijectors": "ARFlowBijector ActNorm Affine Bounded Chain FixedPoint MixtureOfLogistics "
    "RationalQuadraticSpline bind initialize sampling_report stack",
    "tfp_ar.dequantizers": "Dequantizer Uniform Variational",
    "tfp_ar.distributions": "AutoregressiveDistribution Dequantized DiscretizedLogisticMixture "
    "LogisticMixtureHead",
    "tfp_ar.layers": "BlindSpotFreeConv2D CausalConv1D ChannelHead GatedPixelBlock "
    "GatedResidualBlock MaskedConv2D MaskedPixelBlock masks",
    "tfp_ar.layers.masks": "allowed causal_mask columns_before group_ranks rows_above tap_ranks",
    "tfp_ar.metrics": "BitsPerDim bits_per_dim",
    "tfp_ar.networks": "AutoregressiveNetwork Flipped GatedPixelCNN PixelCNN WaveNet",
    "tfp_ar.training": "DensityModel",
}


@pytest.mark.parametrize("module", NAMES)
def test_the_names_of_a_module(module):
    public = importlib.import_module(module)
    assert set(public.__all__) >= set(NAMES[module].split())
    for name in public.__all__:
        assert getattr(public, name) is not None


def imported_from_us(path):
    """Yields (module, name) of each import of the package in a Python file or in a page's code."""
    text = path.read_text()
    if path.suffix == ".md":
        text = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tfp_ar":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("tfp_ar.")]
            yield from ((name, None) for name in names)


OUTSIDE = [
    path
    for pattern in ("examples/*.py", "benchmarks/*.py", "docs/*.md", "README.md")
    for path in sorted(ROOT.glob(pattern))
]


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_benchmarks_and_guides_import_public_names_only(path):
    for module, name in imported_from_us(path):
        assert module in NAMES, f"{module} is private"
        assert name is None or name in importlib.import_module(module).__all__, f"{module}.{name}"


def test_the_package_offers_nothing_else():
    assert set(NAMES) - {"tfp_ar"} <= {f"tfp_ar.{name}" for name in tfp_ar.__all__} | {
        "tfp_ar.layers.masks"
    }
