"""docs/theory.md and its tests name each other, and GitHub can show its formulas."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "theory.md"
KINDS = "Theorem|Proposition|Lemma|Corollary"
STATEMENT = re.compile(rf"\b({KINDS}) (\d+\.\d+)\b")
NAMED = re.compile(r"\[`(tests/[\w/]+\.py)::(\w+)`\]\(\.\./([\w/.]+)\)")


def statements() -> dict[str, str]:
    """The text of each statement, from its heading to the next, by names such as "Lemma 3.1"."""
    parts = re.split(r"^#+ (.*)$", PAGE.read_text(), flags=re.M)
    found = {}
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        if match := STATEMENT.match(heading):
            assert match[0] not in found
            found[match[0]] = text
    return found


def docstrings(path) -> dict[str, str]:
    """The docstrings of a file's test functions, by name."""
    functions = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
    return {f.name: ast.get_docstring(f) or "" for f in functions if f.name.startswith("test_")}


def names_in(text) -> set[str]:
    """The statements that a text names."""
    return {match[0] for match in STATEMENT.finditer(text)}


STATEMENTS = statements()
each_statement = pytest.mark.parametrize("name", STATEMENTS)


def test_the_statements_are_numbered_in_order():
    numbers = [tuple(map(int, name.split()[1].split("."))) for name in STATEMENTS]
    assert {part for part, _ in numbers} == {1, 2, 3}
    for part in (1, 2, 3):
        mine = [number for p, number in numbers if p == part]
        assert mine == list(range(1, len(mine) + 1)) and len(mine) >= 5


def test_what_the_text_refers_to_is_there():
    assert names_in(PAGE.read_text()) == set(STATEMENTS)


@each_statement
def test_each_statement_has_a_proof_and_tests_that_name_it(name):
    text = STATEMENTS[name]
    assert "*Proof.*" in text and "∎" in text
    tests = NAMED.findall(text)
    assert tests
    assert len(tests) == text.count("::")  # no other form, which would go unnoticed
    for path, test, link in tests:
        assert path == link
        assert test in docstrings(ROOT / path), f"{path} has no {test}"
        assert name in names_in(docstrings(ROOT / path)[test]), f"{test} does not name {name}"


def test_what_tests_say_that_they_check_names_them():
    said = {
        (name, test)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if STATEMENT.search(path.read_text())
        for test, text in docstrings(path).items()
        for name in names_in(text)
    }
    named = {(name, t[1]) for name, text in STATEMENTS.items() for t in NAMED.findall(text)}
    assert said == named


def test_formulas_that_github_shows():
    # GitHub reads Markdown before formulas: inside $...$ it drops a backslash before punctuation
    # and takes some _ and all * for emphasis, < for HTML. In ```math blocks all is left alone.
    prose = re.sub(r"^```.*?^```$", "", PAGE.read_text(), flags=re.M | re.S)
    assert "$$" not in prose
    count = 0
    for line in prose.splitlines():
        pieces = re.sub(r"`[^`]*`", "", line).split("$")
        assert len(pieces) % 2 == 1, f"a formula goes over the end of: {line}"
        for before, formula, after in zip(pieces[::2], pieces[1::2], pieces[2::2], strict=False):
            count += 1
            assert re.fullmatch(r"\S(.*\S)?", formula), formula
            assert not re.search(r"\\[^A-Za-z]|[*<>]|(^|[^A-Za-z0-9])_", formula), formula
            assert re.search(r"(^|[\s(])$", before), line
            assert re.match(r"$|[\s.,;:)]", after), line
    assert count > 100
