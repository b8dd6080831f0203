"""Every public signature of the package gives the type of each argument and of the result."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("tfp_ar/**/*.py"))]
SPECIAL = ("__init__", "__call__")  # the methods with underscores that users call

EXAMPLE = """\
def f(a: int, b, *args, c, **kwargs):
    def inner(x): ...

def _private(x): ...

class Public:
    def __init__(self, x): ...

    @property
    def size(self): ...

    @staticmethod
    def make(x) -> int: ...

    def __repr__(self): ...

class _Private:
    def method(self, x): ...
"""


def public_functions(node: ast.AST, in_class: bool = False) -> Iterator[tuple]:
    """Yields each public function below a node, and True if it is a method."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if not child.name.startswith("_") or (in_class and child.name in SPECIAL):
                yield child, in_class
        elif isinstance(child, ast.ClassDef):
            if not child.name.startswith("_"):
                yield from public_functions(child, True)
        else:
            yield from public_functions(child, in_class)


def missing(source: str) -> list[tuple[int, str]]:
    """Returns line and name of what has no annotation in the public signatures of a module."""
    found = []
    for function, is_method in public_functions(ast.parse(source)):
        arguments = function.args
        positional = [*arguments.posonlyargs, *arguments.args]
        decorators = {ast.unparse(decorator) for decorator in function.decorator_list}
        if is_method and "staticmethod" not in decorators:
            positional = positional[1:]  # self or cls
        rest = [arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
        for argument in (*positional, *rest):
            if argument is not None and argument.annotation is None:
                found.append((argument.lineno, f"{function.name}({argument.arg})"))
        if function.returns is None and function.name != "__init__":
            found.append((function.lineno, f"the result of {function.name}"))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_public_signatures_are_annotated(module):
    found = missing((ROOT / module).read_text(encoding="utf-8"))
    assert not found, "no annotation:\n" + "\n".join(f"{module}:{n}: {what}" for n, what in found)


def test_missing_annotations_are_found():
    assert missing(EXAMPLE) == [
        (1, "f(b)"),
        (1, "f(args)"),
        (1, "f(c)"),
        (1, "f(kwargs)"),
        (1, "the result of f"),
        (7, "__init__(x)"),
        (10, "the result of size"),
        (13, "make(x)"),
    ]
