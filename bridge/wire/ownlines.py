"""The few lines that everyday filters ask about, without building a tree.

A query for open tasks looks at COMPLETED and STATUS of thousands of tasks: found by text they
cost a sixth. Whatever looks unusual (lower-case components, several VTODOs, deep nesting) is
left to the parser.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from bridge.wire import contentline

if TYPE_CHECKING:
    from bridge.wire.contentline import Line

_TODO = re.compile(r"\nBEGIN:VTODO\r?(?=\n)(.*?)\nEND:VTODO\r?\n", re.DOTALL)
_CHILD = re.compile(r"\nBEGIN:([A-Z-]+)\r?\n.*?\nEND:\1\r?(?=\n|\Z)", re.DOTALL)
_FOLD = re.compile(r"\r?\n[ \t]")


def own_lines(text: str, names: frozenset[str]) -> dict[str, list[Line]] | None:
    """Return the VTODO's own lines of these properties; None where the text is unusual."""
    if text.count("\nBEGIN:VTODO") != 1:
        return None
    found = _TODO.search(text)
    if found is None:
        return None
    body = found[1]
    if "\nBEGIN:" in body:
        body = _CHILD.sub("", body)
    if "\nBEGIN:" in body or "\nEND:" in body or "\nbegin:" in body.lower():
        return None
    if "\n " in body or "\n\t" in body:
        body = _FOLD.sub("", body)
    lines: dict[str, list[Line]] = {}
    for match in _named(names).finditer(body):
        line = contentline.split(match[0].rstrip("\r"))
        if line is not None:
            lines.setdefault(line.name, []).append(line)
    return lines


@lru_cache(maxsize=64)
def _named(names: frozenset[str]) -> re.Pattern[str]:
    """Return a pattern of whole lines of these properties."""
    words = "|".join(re.escape(name) for name in sorted(names))
    return re.compile(rf"^(?:{words})[;:].*$", re.MULTILINE | re.IGNORECASE | re.ASCII)
