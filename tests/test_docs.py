"""The code in README and guides runs, block after block, as a newcomer would run it."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
GUIDES = sorted((ROOT / "docs").glob("*.md"))
PAGES = pytest.mark.parametrize("page", [README, *GUIDES], ids=lambda page: page.name)


def blocks(page) -> list[str]:
    """All Python of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.M | re.S)


def run_blocks(page) -> int:
    """Runs all Python of a page in one namespace; returns the number of blocks."""
    namespace = {"__name__": page.stem}
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), namespace)
    return len(blocks(page))


def test_the_guides_are_there():
    names = {"flows", "dequantization", "images", "conditioning", "training", "export", "theory"}
    assert names <= {guide.stem for guide in GUIDES}


def test_readme_code_runs(capsys):
    assert run_blocks(README) >= 3
    before, after = re.search(r"nats: (.*) before, (.*) after", capsys.readouterr().out).groups()
    # Per step, a random walk has 0.5 log(2 pi e) = 1.42 nats: 45 in all; the marginals have 91.
    assert float(before) > 150 and float(after) < 60


def slow_to_run(guide):
    """training.md takes most of a minute, for what tests/training does in many small pieces."""
    return [pytest.mark.slow] * (guide.stem == "training")


@pytest.mark.parametrize(
    "guide", [pytest.param(g, id=g.name, marks=slow_to_run(g)) for g in GUIDES]
)
def test_code_of_guides_runs(guide):
    assert run_blocks(guide) >= 2


def prose(page) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$|^    .*?$", "", page.read_text(), flags=re.M | re.S)


def anchors(page) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@PAGES
def test_links_exist(page):
    for link in re.findall(r"\]\(([^)]+)\)", re.sub("`[^`]*`", "", prose(page))):
        if not link.startswith("https://"):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@PAGES
def test_no_line_of_code_is_too_long_to_read(page):
    assert [line for block in blocks(page) for line in block.splitlines() if len(line) > 100] == []
