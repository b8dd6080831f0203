"""Hooks of mkdocs for the API's pages, for links and for formulas.

The guides are written for GitHub. These hooks turn links to files outside of docs/ into links to
the repository, public names in code into links to their pages, and LaTeX into MathML, which
browsers show without a script. A link to a missing file fails the strict build.
"""

import html
import logging
import posixpath
import re

from latex2mathml.converter import convert as mathml
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url
from public_names import PACKAGE, ROOT, PublicName, exported, public_names, source

log = logging.getLogger("mkdocs.hooks.site")  # mkdocs counts the warnings of this logger

HOME_SECTIONS = ("Quick start", "What it has", "Guides")


def browse(config, path: str) -> str:
    """Returns the address of the file or folder at `path` in the repository."""
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{config.repo_url.rstrip('/')}/{kind}/main/{path}"


# The API's pages ---------------------------------------------------------------------------------


def members(module: str) -> list[PublicName]:
    """Returns the objects that a module exports, in the order of its `__all__`."""
    by_name = {name: public for public in public_names() for name in (public.name, *public.aliases)}
    return [by_name[f"{module}.{name}"] for name in exported(module)]


def api_page(public: PublicName, config) -> str:
    """Returns the Markdown of a public name's page, which mkdocstrings completes."""
    lines = [f"::: {public.target}", "    options:", "      heading_level: 1"]
    lines += [f"      heading: {public.name}", "      show_root_heading: true"]
    if public.kind == "module":
        whole = not exported(public.name)
        lines += [f"      members: {'true' if whole else 'false'}", ""]
        if not whole:
            lines += ["| name | what it is |", "| --- | --- |"]
            for member in members(public.name):
                link = posixpath.relpath(member.page, posixpath.dirname(public.page))
                lines.append(f"| [`{member.name.rpartition('.')[2]}`]({link}) | {member.summary} |")
    file = source(public.target if public.kind == "module" else public.target.rpartition(".")[0])
    path = file.relative_to(ROOT).as_posix()
    names = " or ".join(f"`{name}`" for name in (public.name, *public.aliases))
    where = f"[`{path}`]({browse(config, path)})"
    lines += ["", "---", "", f"Public as {names}; defined in {where}.", ""]
    return "\n".join(lines)


def api_nav() -> list:
    """Returns the API's part of the navigation: a section per module, with its names."""
    nav = []
    for public in public_names():
        if public.kind == "module":
            inside = [m for m in members(public.name) if m.module == public.name]
            pages = [{m.name.rpartition(".")[2]: m.page} for m in inside if m.kind != "module"]
            nav.append({public.name: [public.page, *pages]})
    return nav


def home_page(readme: str) -> str:
    """Returns the site's first page: the start of the README, and its HOME_SECTIONS."""
    first, *sections = re.split(r"^(?=## )", readme, flags=re.M)
    kept = [next(s for s in sections if s.startswith(f"## {name}\n")) for name in HOME_SECTIONS]
    return first + "".join(kept)


def on_config(config):
    """Puts the API's pages into the navigation, where mkdocs.yml has `API: []`."""
    for entry in config.nav:
        if "API" in entry:
            entry["API"] = api_nav()
    return config


def on_files(files, config):
    """Adds the generated pages."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=home_page(readme)))
    for public in public_names():
        files.append(File.generated(config, public.page, content=api_page(public, config)))
    return files


# Links -------------------------------------------------------------------------------------------

LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def site_link(link: str, page_path: str, config) -> str:
    """Returns a link of a guide or of the README in the form that the site needs."""
    repository = re.escape(config.repo_url.rstrip("/"))
    raw = re.escape(config.extra["raw_url"].rstrip("/"))
    absolute = re.match(rf"(?:{repository}/(?:blob|tree)/main|{raw})/([^#]+)(#.*)?$", link)
    if absolute:
        path, anchor = absolute[1], absolute[2] or ""
    elif link.startswith(("http://", "https://", "mailto:", "#")):
        return link
    else:
        path, _, anchor = link.partition("#")
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page_path), path))
        anchor = anchor and f"#{anchor}"
    if path.startswith("docs/"):  # a page or picture of the site: mkdocs checks it
        return posixpath.relpath(path[len("docs/") :], posixpath.dirname(page_path)) + anchor
    if not (ROOT / path).exists():
        log.warning("%s has a link to %s, which is not there.", page_path, path)
    return browse(config, path) + anchor


def on_page_markdown(markdown, page, config, files):
    """Adapts the links outside of code, on all pages that were not generated for the API."""
    if page.file.src_uri.startswith("api/"):
        return markdown

    def adapt(match):
        return match[1] + site_link(match[2], page.file.src_uri, config) + match[3]

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    return "".join(p if p.startswith("```") else LINK.sub(adapt, p) for p in parts)


def code_names() -> dict[str, PublicName]:
    """Returns public objects by the names that prose gives them in code."""
    names = {}
    for public in public_names():
        last = public.name.rpartition(".")[2]
        if public.kind == "class":
            names.setdefault(last, public)
        for name in (public.name, *public.aliases):
            names[name] = public
            if public.kind != "module":  # `training` alone is usually an argument
                names[name.removeprefix(f"{PACKAGE}.")] = public
    return names


CODE_NAMES = code_names()
# Blocks of code, links, headings and signatures stay as they are. All other <code> is in prose.
CODE = re.compile(
    r"<pre.*?</pre>|<a [^>]*>.*?</a>|<h\d.*?</h\d>"
    r"|<code>(?P<name>[A-Za-z_][\w.]*)(\([^<]*\))?</code>",
    re.S,
)


def link_code(content: str, page, files) -> str:
    """Turns public names in code into links, except the name of the page itself."""

    def link(match):
        public = CODE_NAMES.get(match["name"] or "")
        # A name that a member of the page's class has means that member, not a function elsewhere.
        if public is None or public.page == page.file.src_uri or f'.{match["name"]}"' in content:
            return match[0]
        target = files.get_file_from_path(public.page)
        return f'<a href="{get_relative_url(target.url, page.url)}">{match[0]}</a>'

    return CODE.sub(link, content)


# Corrections of latex2mathml's output to what TeX does: infinity and a minus after a relation are
# not binary operators, and "log t" has a space.
SPACING = [
    (r"<mo>(&#x0*221E;)</mo>", r"<mi>\1</mi>"),
    (r"(<mo>(?:=|&#x0*226[45];)</mo>)<mo>(&#x0*2212;)</mo>", r'\1<mo form="prefix">\2</mo>'),
    (r"(<mi>(?:log|exp|det|max|min|tanh)</mi>)(?!<mo)", r'\1<mspace width="0.17em" />'),
]


def formulas(content: str) -> str:
    """Returns the content with MathML for the LaTeX that arithmatex has marked."""

    def convert(match):
        display = "block" if match[1] == "div" else "inline"
        text = mathml(html.unescape(match[2]).strip()[2:-2], display=display)
        for pattern, better in SPACING:
            text = re.sub(pattern, better, text)
        return text

    return re.sub(r'<(span|div) class="arithmatex">(.*?)</\1>', convert, content, flags=re.S)


def on_page_content(content, page, config, files):
    """Adds formulas and links to the HTML of a page."""
    return link_code(formulas(content), page, files)
