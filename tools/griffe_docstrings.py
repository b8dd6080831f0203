"""Makes Markdown of what our docstrings write as plain text, for mkdocstrings."""

import re

from griffe import Extension

SECTION = re.compile(r"^References:\n((?:[ ]+.*\n?|\n(?=[ ]))+)", re.M)
DOCTEST = re.compile(r"^( *)>>> .*(?:\n\1[^\n]*\S[^\n]*)*", re.M)
# "params[i](x)" in a paragraph is no link. (Elsewhere it is in a block of code, or wants backticks:
# the strict build says so.)
LINK_LIKE = re.compile(r"^(?=\S).*\w\]\(.*$", re.M)
RAISES = re.compile(r"^( +)(\w+Error(?:, \w+Error)+): ", re.M)
# Sections of a few words that begin on the line of their title.
INLINE = re.compile(r"^(Call arguments|Cost|Derivatives|Memory|Returns|Yields): ", re.M)


def as_list(match) -> str:
    """References as a list: an entry ends where a line ends with a full stop or a bracket."""
    entries, text = [], ""
    for line in match[1].splitlines():
        text = f"{text} {line.strip()}".strip()
        if text.endswith((".", ")")) or not line.strip():
            entries.append(text)
            text = ""
    entries = [entry for entry in (*entries, text) if entry]
    return "**References:**\n\n" + "".join(f"* {entry}\n" for entry in entries)


def fenced(match) -> str:
    """A doctest as a block of code, which it would be no more than a quotation without."""
    indent = match[1]
    return f"{indent}```pycon\n{match[0]}\n{indent}```"


def as_markdown(text: str) -> str:
    """A docstring, cleaned of its indentation, as Markdown with Google's sections."""
    text = SECTION.sub(as_list, text)
    text = INLINE.sub(r"**\1:** ", text)
    text = RAISES.sub(lambda m: f"{m[1]}{m[2].replace(', ', ' | ')}: ", text)
    text = LINK_LIKE.sub(lambda m: re.sub(r"(?<=\w)\]\(", r"]\\(", m[0]), text)
    return DOCTEST.sub(fenced, text)


class Docstrings(Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj, **kwargs):
        """Griffe calls this for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
