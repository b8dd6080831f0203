"""The code in README and guides runs, block after block, as a newcomer would run it."""

import importlib
import inspect
import pathlib
import re

import pytest

from tools.public_names import exported, public_names

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"  # has no code to run
GUIDES = sorted(set((ROOT / "docs").glob("*.md")) - {ARCHITECTURE})
TEXTS = [README, ROOT / "CONTRIBUTING.md", ARCHITECTURE, *GUIDES]
PAGES = pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)


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
    """Marks all guides but one: the README runs in the quick tier, and tests of the same pieces."""
    return [pytest.mark.slow] * (guide.stem != "export")


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


def repository() -> str:
    """Where the project is on the web, as setup.py says."""
    text = (ROOT / "setup.py").read_text()
    return re.search(r'^REPOSITORY = "(https://github.com/\S+)"$', text, re.M)[1]


def local(link, page) -> pathlib.Path | None:
    """The file of ours that a link leads to, or None for one that leads elsewhere."""
    raw = repository().replace("https://github.com", "https://raw.githubusercontent.com")
    for start in (f"{repository()}/blob/main/", f"{raw}/main/"):
        if link.startswith(start):
            return ROOT / link.removeprefix(start)
    if link.startswith("https://"):
        assert repository() not in link and raw not in link, f"not on the branch main: {link}"
        return None
    return page.parent / link if link else page


def links(page) -> list[str]:
    """What a page links to."""
    return re.findall(r"\]\(([^)]+)\)", re.sub("`[^`]*`", "", prose(page)))


@PAGES
def test_links_exist(page):
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = local(name, page)
        if target is not None:
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_links_of_the_readme_work_outside_of_the_repository():
    # PyPI shows it, too.
    assert [link for link in links(README) if not link.startswith(("https://", "#"))] == []
    assert sum(local(link.partition("#")[0], README) is not None for link in links(README)) > 10


@PAGES
def test_no_line_of_code_is_too_long_to_read(page):
    assert [line for block in blocks(page) for line in block.splitlines() if len(line) > 100] == []


def test_whatever_is_public_has_a_page_of_its_own():
    modules = [public.name for public in public_names() if public.kind == "module"]
    found = {}
    for name in modules:
        module = importlib.import_module(name)
        assert exported(name) == [n for n in getattr(module, "__all__", ()) if n[:2] != "__"]
        found |= {f"{name}.{n}": getattr(module, n) for n in exported(name)}
    by_name = {n: public for public in public_names() for n in (public.name, *public.aliases)}
    assert set(by_name) == {*found, "tfp_ar"}
    for name, value in found.items():
        # It is what the sources say that it is, though a module may share its name.
        public = by_name[name]
        if inspect.ismodule(value):
            assert (public.kind, public.target) == ("module", value.__name__)
        else:
            assert public.kind == ("class" if inspect.isclass(value) else "function")
            assert public.target == f"{value.__module__}.{value.__qualname__}"
    pages = [public.page for public in public_names()]
    assert len({page.lower() for page in pages}) == len(pages)  # for file systems without case


def test_the_site_knows_the_repository():
    config = (ROOT / "mkdocs.yml").read_text()
    assert f"repo_url: {repository()}\n" in config
    raw = repository().replace("https://github.com", "https://raw.githubusercontent.com")
    assert f"raw_url: {raw}/main\n" in config
