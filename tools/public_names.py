"""The public names of tfp_ar, read from its sources: nothing is imported, TensorFlow least of all.

Public is what `tfp_ar.__all__` lists, and what the `__all__` of each module listed there lists, and
so on down. A name that several modules export is one object, under its shortest name.

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
      target: where it is defined, such as 'tfp_ar.bijectors.act_norm.ActNorm'.
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
        """The module that it is listed under: itself, or the one that exports it as `name`."""
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
    """The file of a module of ours, or None if there is no such module."""
    path = ROOT.joinpath(*module.split("."))
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()), None)


@functools.cache
def parse(module: str) -> ast.Module:
    """The syntax tree of a module of ours."""
    path = source(module)
    if path is None:
        raise LookupError(f"There is no module {module} below {ROOT}.")
    return ast.parse(path.read_text(encoding="utf-8"))


def exported(module: str) -> list[str]:
    """What a module's `__all__` lists; nothing for one without, whose page shows it whole."""
    for node in parse(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if not name.startswith("__")]
    return []


def resolve(module: str, name: str) -> tuple[str, ast.AST]:
    """Where the object that `module` calls `name` is defined, and its definition."""
    for node in parse(module).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return f"{module}.{name}", node
        if isinstance(node, ast.ImportFrom) and node.module != module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return resolve(node.module, alias.name)
    # Last: a module may share its name with the function that its package exports.
    if source(f"{module}.{name}"):
        return f"{module}.{name}", parse(f"{module}.{name}")
    raise LookupError(f"{module} has no class, function or module of ours that is called {name}.")


def summary(definition: ast.AST) -> str:
    """The first line of a docstring, or nothing."""
    return (ast.get_docstring(definition) or "").partition("\n")[0]


@functools.cache
def public_names() -> tuple[PublicName, ...]:
    """All public objects, modules first, each with the names that it exports behind it."""
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
