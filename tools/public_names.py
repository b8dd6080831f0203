"""The public names of tfp_ar, read from its sources without importing it or TensorFlow.

A name is public if `tfp_ar.__all__` lists it, or the `__all__` of a public module does. If several
modules export an object, it is listed once, under its shortest name.

`python tools/public_names.py` prints them.
"""

import ast
import dataclasses
import functools
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "tfp_ar"


@dataclasses.dataclass(frozen=True)
class PublicName:
    """One public object.

    Attributes:
      name: the shortest name, such as 'tfp_ar.bijectors.ActNorm'.
      target: the name where it is defined, such as 'tfp_ar.bijectors.act_norm.ActNorm'.
      kind: 'module', 'class' or 'function'.
      summary: the first line of its docstring.
      aliases: its other public names.
    """

    name: str
    target: str
    kind: str
    summary: str
    aliases: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module that lists it: itself, or the one that exports it as `name`."""
        return self.name if self.kind == "module" else self.name.rpartition(".")[0]

    @property
    def short(self) -> str:
        """The name without the package: 'bijectors.ActNorm', 'Dequantized'."""
        return self.name.removeprefix(f"{PACKAGE}.")

    @property
    def page(self) -> str:
        """Its page, relative to the sources of the site."""
        parts = self.name.split(".")[1:]
        return "/".join(["api", *parts]) + ("/index.md" if self.kind == "module" else ".md")


def source(module: str) -> pathlib.Path | None:
    """Returns the file of a module of this project, or None if there is no module of that name."""
    path = ROOT.joinpath(*module.split("."))
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()), None)


@functools.cache
def parse(module: str) -> ast.Module:
    """Returns the syntax tree of a module of this project."""
    path = source(module)
    if path is None:
        raise LookupError(f"There is no module {module} below {ROOT}.")
    return ast.parse(path.read_text(encoding="utf-8"))


def exported(module: str) -> list[str]:
    """Returns the names in a module's `__all__`; without one, [], and its page shows all of it."""
    for node in parse(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if not name.startswith("__")]
    return []


def resolve(module: str, name: str) -> tuple[str, ast.AST]:
    """Returns the place and the node of the definition that `module` calls `name`."""
    for node in parse(module).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return f"{module}.{name}", node
        if isinstance(node, ast.ImportFrom) and node.module != module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return resolve(node.module, alias.name)
    # This comes last, as a module may share its name with the function that its package exports.
    if source(f"{module}.{name}"):
        return f"{module}.{name}", parse(f"{module}.{name}")
    raise LookupError(f"{module} has no class, function or module of ours that is called {name}.")


def summary(definition: ast.AST) -> str:
    """Returns the first line of a docstring, or an empty string."""
    return (ast.get_docstring(definition) or "").partition("\n")[0]


@functools.cache
def public_names() -> tuple[PublicName, ...]:
    """Returns all public objects, each module followed by the names that it exports."""
    names: dict[str, list[str]] = {}  # by target
    found: dict[str, tuple[str, str]] = {}
    pending = [PACKAGE]
    while pending:
        module = pending.pop(0)
        names.setdefault(module, []).append(module)
        found[module] = "module", summary(parse(module))
        for name in exported(module):
            target, definition = resolve(module, name)
            if isinstance(definition, ast.Module):
                pending.append(target)
                continue
            names.setdefault(target, []).append(f"{module}.{name}")
            kind = "class" if isinstance(definition, ast.ClassDef) else "function"
            found[target] = kind, summary(definition)
    objects = []
    for target, (kind, text) in found.items():
        name, *aliases = sorted(names[target], key=lambda n: (n.count("."), n))
        objects.append(PublicName(name, target, kind, text, tuple(aliases)))
    return tuple(sorted(objects, key=lambda o: o.module))


if __name__ == "__main__":
    for public in public_names():
        print(f"{public.kind:8} {public.name:40} {public.target}")
