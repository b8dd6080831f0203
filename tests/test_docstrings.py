"""Every example in the docstrings runs and prints what it shows; every public name has one."""

import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar

MODULES = ["tfp_ar", *(m.name for m in pkgutil.walk_packages(tfp_ar.__path__, "tfp_ar."))]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def module(name):
    # By its full name: a module may share that with the function that its package exports.
    return importlib.import_module(name)


def public_objects() -> dict:
    """All classes and functions that a module's __all__ exports, by their shortest name."""
    found = {}
    for name in MODULES:
        for exported in getattr(module(name), "__all__", ()):
            value = getattr(module(name), exported)
            if inspect.isclass(value) or inspect.isfunction(value):
                found.setdefault(value, f"{name}.{exported}")
    return {name: value for value, name in found.items()}


PUBLIC = public_objects()


def example_globals() -> dict:
    """What an example may use without importing it."""
    libraries = {"keras": keras, "np": np, "tf": tf, "tfp": tfp, "tfp_ar": tfp_ar}
    shorthands = {"tfd": tfp.distributions, "tfb": tfp.bijectors}
    classes = {name.rpartition(".")[-1]: value for name, value in PUBLIC.items()}
    return {**libraries, **shorthands, **classes}


def examples(name):
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(module(name), globs=example_globals()) if test.examples]


@pytest.mark.parametrize("name", [name for name in MODULES if examples(name)])
def test_examples_print_what_they_say(name):
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report = io.StringIO()
    for test in examples(name):
        keras.utils.set_random_seed(0)
        with contextlib.redirect_stdout(report):  # the runner itself redirects what examples print
            runner.run(test, out=report.write)
    assert runner.failures == 0, report.getvalue()
    assert runner.tries > 0


def test_the_examples_are_found():
    assert {"tfp_ar.networks.wavenet", "tfp_ar.layers.causal_conv"} <= {
        name for name in MODULES if examples(name)
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_whatever_is_public_has_an_example(name):
    value = PUBLIC[name]
    documented = [value, *(vars(value).values() if inspect.isclass(value) else ())]
    docs = [inspect.getdoc(d) for d in documented if callable(d) or isinstance(d, property)]
    assert any(">>>" in (doc or "") for doc in docs), f"{name} has no doctest example"
