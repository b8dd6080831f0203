"""Programs whose flags share names: absl has one namespace per process."""

import functools
import importlib
import sys

import pytest
from absl import flags


def parser_of(module):
    """A function of the words of a program's command line: the flags, apart from all others'."""
    values = _flags_of(module)

    def parse(*words):
        values.unparse_flags()
        values([module, *words])
        return values

    return parse


def _flags_of(module) -> flags.FlagValues:
    values, package = flags.FlagValues(), module.partition(".")[0] + "."
    before = {name: m for name, m in sys.modules.items() if name.startswith(package)}
    definers = [name for name in dir(flags) if name.startswith(("DEFINE_", "register_", "adopt_"))]
    with pytest.MonkeyPatch.context() as patch:
        for name in definers:
            define = functools.partial(getattr(flags, name), flag_values=values)
            patch.setattr(flags, name, define)
        sys.modules.pop(module, None)
        try:
            importlib.import_module(module)
        finally:  # what was imported here has its flags in the wrong place
            for name in [name for name in sys.modules if name.startswith(package)]:
                del sys.modules[name]
            sys.modules.update(before)
    return values
