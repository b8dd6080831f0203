"""The README's code runs, block after block, as a newcomer would run it."""

import pathlib
import re

README = pathlib.Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), flags=re.M | re.S)


def test_readme_code_runs(capsys):
    assert len(BLOCKS) >= 3
    namespace = {"__name__": "readme"}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), namespace)
    before, after = re.search(r"nats: (.*) before, (.*) after", capsys.readouterr().out).groups()
    # Per step, a random walk has 0.5 log(2 pi e) = 1.42 nats: 45 in all; the marginals have 91.
    assert float(before) > 150 and float(after) < 60


def test_readme_links_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    for link in links:
        assert link.startswith("https://") or (README.parent / link).exists(), link
