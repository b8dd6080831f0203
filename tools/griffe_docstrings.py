"""Converts the plain text of our docstrings to Markdown, for mkdocstrings."""

import re

from griffe import Extension

SECTION = re.compile(r"^References:\n((?:[ ]+.*\n?|\n(?=[ ]))+)", re.M)
DOCTEST = re.compile(r"^( *)>>> .*(?:\n\1[^\n]*\S[^\n]*)*", re.M)
# "params[i](x)" in a paragraph is not a link. (Elsewhere it is in a block of code, or needs
# backticks; then the strict build fails.)
LINK_LIKE = re.compile(r"^(?=\S).*\w\]\(.*$", re.M)
RAISES = re.compile(r"^( +)(\w+Error(?:, \w+Error)+): ", re.M)
# Short sections that begin on the line of their title.
INLINE = re.compile(r"^(Call arguments|Cost|Derivatives|Memory|Returns|Yields): ", re.M)


def as_list(match) -> str:
    """Returns references as a list; an entry ends where a line ends with a full stop or bracket."""
    entries, text = [], ""
    for line in match[1].splitlines():
        text = f"{text} {line.strip()}".strip()
        if text.endswith((".", ")")) or not line.strip():
            entries.append(text)
            text = ""
    entries = [entry for entry in (*entries, text) if entry]
    return "**References:**\n\n" + "".join(f"* {entry}\n" for entry in entries)


def fenced(match) -> str:
    """Returns a doctest as a block of code; otherwise Markdown would take it for a quotation."""
    indent = match[1]
    return f"{indent}```pycon\n{match[0]}\n{indent}```"


def as_markdown(text: str) -> str:
    """Returns a docstring without indentation as Markdown with Google's sections."""
    text = SECTION.sub(as_list, text)
    text = INLINE.sub(r"**\1:** ", text)
    text = RAISES.sub(lambda m: f"{m[1]}{m[2].replace(', ', ' | ')}: ", text)
    text = LINK_LIKE.sub(lambda m: re.sub(r"(?<=\w)\]\(", r"]\\(", m[0]), text)
    return DOCTEST.sub(fenced, text)


class Docstrings(Extension):
    """Griffe extension that rewrites every docstring before it is parsed."""

    def on_object(self, *, obj, **kwargs):
        """Rewrites the docstring of a module, class, function or attribute; griffe calls this."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
