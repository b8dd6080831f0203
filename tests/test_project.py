"""Numbers that several files of the project contain: they are the same in all of them."""

import pathlib
import re

import pytest

import tfp_ar

ROOT = pathlib.Path(__file__).parent.parent
PIN = re.compile(r"^([\w-]+)==([\w.]+)$", re.M)  # one for all versions of Python


def text(name) -> str:
    """The text of a file of the project."""
    return (ROOT / name).read_text()


def lower_bounds() -> dict[str, str]:
    """The oldest versions that setup.py allows, by package."""
    return dict(re.findall(r'^    "([\w-]+)>=([\d.]+)",$', text("setup.py"), re.M))


def pythons() -> list[str]:
    """The versions of Python that setup.py names."""
    return re.findall(r"Programming Language :: Python :: (3\.\d+)", text("setup.py"))


def test_the_oldest_versions_are_those_of_setup():
    assert {"keras", "tensorflow", "tensorflow-probability", "tf-keras"} == set(lower_bounds())
    pins = dict(PIN.findall(text("constraints-oldest.txt")))
    for package, bound in lower_bounds().items():
        assert pins[package] == f"{bound}.0", package


def test_ci_runs_on_all_pythons_and_on_the_oldest():
    workflow = text(".github/workflows/ci.yml")
    assert "python: [{}]".format(", ".join(f'"{v}"' for v in pythons())) in workflow
    assert f'python_requires=">={pythons()[0]}"' in text("setup.py")
    assert f"for Python {pythons()[0]}" in text("constraints-oldest.txt")


@pytest.mark.parametrize("package", ["ruff"])
def test_pre_commit_has_the_pinned_versions(package):
    pinned = dict(PIN.findall(text("constraints.txt")))[package]
    hooks = re.findall(rf"{package}==([\w.]+)", text(".pre-commit-config.yaml"))
    assert hooks and set(hooks) == {pinned}


def test_the_citation_has_the_version():
    assert f"version: {tfp_ar.__version__}\n" in text("CITATION.cff")
