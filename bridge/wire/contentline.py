"""iCalendar content lines and component trees: exact text in, exact text out.

Promises: every line keeps its unfolded text as the client wrote it (parameters, RFC 6868
carets, letter case, odd escapes), so that what is not understood can be written back. Line
ends may be CRLF, LF or, where a body has nothing else, CR; folding may cut any octet
(RFC 5545 section 3.1). What is written is folded at 75 octets between UTF-8 characters with
CRLF. Refuses, naming the line: a line without a name, wrong nesting, more than `MAX_DEPTH`
levels or `MAX_LINES` lines, and more octets than the caller allows. Does not judge values:
that is `bridge.wire.vtodo`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.errors import Invalid

MAX_DEPTH = 8
"""Components inside each other, VCALENDAR included."""
MAX_LINES = 10_000
"""Unfolded lines in one body."""
MAX_OCTETS = 10 * 1024 * 1024
"""Octets in one body where the caller names no limit of its own."""

INVALID_DATA = "valid-calendar-data"
"""RFC 4791 section 5.3.2.1: the body is no iCalendar."""
TOO_LARGE = "max-resource-size"
"""RFC 4791 section 5.3.2.1: the body has more octets than the collection takes."""

_FOLD_OCTETS = re.compile(rb"\r?\n[ \t]")
_LONE_CR = re.compile(r"\r(?!\n)")
# What XML 1.0 section 2.2 "Char" leaves out.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NAME = re.compile(r"[A-Za-z0-9-]+\Z")
# One parameter: name, then the values up to the next bare ";" (RFC 5545 section 3.2).
_PARAMETER = re.compile(r';([A-Za-z0-9-]+)=((?:"[^"]*"|[^";:])*)')
# A whole line up to its colon. Possessive, so that no line makes it search twice.
_HEAD = re.compile(r'([A-Za-z0-9-]+)(?:;[A-Za-z0-9-]+=(?:"[^"]*+"|[^";:]++)*+)*+:')
_NEEDS_QUOTES = re.compile(r"[,;:]")
_CARET_OUT = {"^": "^^", "\n": "^n", '"': "^'"}
_CARET_IN = {"^^": "^", "^n": "\n", "^'": '"'}
_CARETS = re.compile(r"\^[\^n']")
_CARET_CHARS = re.compile(r'[\^\n"]')
_FOLD_AT = 75


class Line(NamedTuple):
    """One content line taken apart.

    `params` keep order, upper-case names and raw values (quotes and carets as sent).
    """

    name: str
    params: tuple[tuple[str, str], ...]
    value: str

    def param(self, name: str) -> str:
        """Return the parameter's text with quotes and RFC 6868 carets undone; else ``""``."""
        for key, raw in self.params:
            if key == name:
                return unquote(raw)
        return ""


@dataclass(slots=True)
class Component:
    """A component of a parsed body: its own property lines and its children, in order.

    `names` are the upper-case property names of `lines`.
    `start` and `stop` are its place in the list of unfolded lines, BEGIN and END included.
    """

    name: str
    start: int
    stop: int = 0
    names: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    children: list[Component] = field(default_factory=list)


@dataclass(slots=True)
class Tree:
    """A parsed body: the unfolded lines and the components at its top."""

    lines: list[str]
    top: list[Component]

    def text(self, component: Component) -> str:
        """Return the component's unfolded lines joined by LF."""
        return "\n".join(self.lines[component.start : component.stop])


def clean(text: str) -> tuple[str, bool]:
    """Return `text` without characters that XML 1.0 or a content line cannot hold.

    One NUL in a task would break the whole multistatus of its list. A byte order mark goes;
    lone CRs become line ends where the body has no LF at all, else they go. The flag tells
    whether anything changed: such a body gets no ETag (RFC 4791 section 5.3.4).
    """
    original = text
    text = text.removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r", "\n") if "\n" not in text else _LONE_CR.sub("", text)
    if _ILLEGAL.search(text):
        text = _ILLEGAL.sub("", text)
    return text, text != original


def decode(body: bytes) -> str:
    """Return the text of a body; folds inside a UTF-8 sequence are undone.

    Raises:
        Invalid: ``valid-calendar-data`` where it is not UTF-8.
    """
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return _FOLD_OCTETS.sub(b"", body).decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise Invalid(INVALID_DATA, f"line {line} is not UTF-8", line=line) from None


def unfold(text: str) -> list[str]:
    """Return the unfolded lines of `text` without their line ends; empty ones at the end go."""
    # Plain replacements take a tenth of the time of one regular expression.
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "")
    if "\n " in text:
        text = text.replace("\n ", "")
    if "\n\t" in text:
        text = text.replace("\n\t", "")
    lines = text.split("\n")
    while lines and not lines[-1]:
        lines.pop()
    return lines


def fold(lines: list[str]) -> str:
    """Return `lines` with CRLF, folded at 75 octets between UTF-8 characters."""
    folded = [
        line if len(line) <= _FOLD_AT and line.isascii() else fold_line(line) for line in lines
    ]
    return "\r\n".join(folded) + "\r\n"


def fold_line(line: str) -> str:
    """Return one line folded, without its final line end."""
    if line.isascii():
        if len(line) <= _FOLD_AT:
            return line
        parts = [line[:_FOLD_AT]]
        parts += [line[at : at + 74] for at in range(_FOLD_AT, len(line), 74)]
        return "\r\n ".join(parts)
    octets = line.encode("utf-8")
    parts = []
    at, room = 0, _FOLD_AT
    while len(octets) - at > room:
        stop = at + room
        while octets[stop] & 0xC0 == 0x80:  # noqa: PLR2004 - the marks of a UTF-8 tail octet
            stop -= 1
        parts.append(octets[at:stop].decode("utf-8"))
        at, room = stop, 74
    parts.append(octets[at:].decode("utf-8"))
    return "\r\n ".join(parts)


def name_of(line: str) -> str:
    """Return the upper-case property name of a sound unfolded line; ``""`` for any other."""
    found = _HEAD.match(line)
    return found[1].upper() if found else ""


def split(line: str) -> Line | None:
    """Return the parts of an unfolded line, or None where it breaks the grammar."""
    head, colon, value = line.partition(":")
    if ";" not in head:
        return Line(head.upper(), (), value) if colon and _NAME.match(head) else None
    name = head.partition(";")[0]
    if not _NAME.match(name):
        return None
    at = len(name)
    params: list[tuple[str, str]] = []
    while found := _PARAMETER.match(line, at):
        params.append((found[1].upper(), found[2]))
        at = found.end()
    if line[at : at + 1] != ":":
        return None
    return Line(name.upper(), tuple(params), line[at + 1 :])


def join(name: str, params: tuple[tuple[str, str], ...], value: str) -> str:
    """Return an unfolded line; parameter values are written as they are (see `quote`)."""
    return name + "".join(f";{key}={raw}" for key, raw in params) + ":" + value


def quote(text: str) -> str:
    """Return `text` as a parameter value: RFC 6868 carets, quotes where it needs them."""
    text = _CARET_CHARS.sub(lambda found: _CARET_OUT[found[0]], text)
    return f'"{text}"' if _NEEDS_QUOTES.search(text) else text


def unquote(raw: str) -> str:
    """Return the text of a raw parameter value: the opposite of `quote`."""
    if raw.startswith('"') and raw.endswith('"') and len(raw) > 1:
        raw = raw[1:-1]
    return _CARETS.sub(lambda found: _CARET_IN[found[0]], raw) if "^" in raw else raw


def parse(text: str, max_octets: int = MAX_OCTETS) -> Tree:
    """Return the component tree of `text` (cleaned text: see `clean`).

    Raises:
        Invalid: ``max-resource-size``; ``valid-calendar-data``, naming the line as the
            client numbers it.
    """
    if len(text) > max_octets or (
        len(text) * 4 > max_octets and len(text.encode("utf-8", "replace")) > max_octets
    ):
        raise Invalid(TOO_LARGE, f"the object is larger than {max_octets} octets")
    lines = unfold(text)
    if len(lines) > MAX_LINES:
        raise Invalid(INVALID_DATA, f"the object has more than {MAX_LINES} lines")
    tree = Tree(lines, [])
    stack: list[Component] = []
    own: Component | None = None
    head = _HEAD.match
    for index, line in enumerate(lines):
        found = head(line)
        name = found[1].upper() if found else ""
        if name in _MARKS:
            own = _nest(tree, stack, _MARK.match(line), (index, text))
        elif name and own is not None:
            own.names.append(name)
            own.lines.append(line)
        elif line.strip():
            raise _wrong(text, index, "is no content line of a component")
    if stack:
        raise Invalid(INVALID_DATA, f"component {stack[-1].name[:40]} has no END", line=len(lines))
    return tree


_MARKS = frozenset({"BEGIN", "END"})
_MARK = re.compile(r"(BEGIN|END):([A-Za-z0-9-]{1,64})[ \t]*\Z", re.IGNORECASE)


def _nest(
    tree: Tree, stack: list[Component], mark: re.Match[str] | None, place: tuple[int, str]
) -> Component | None:
    """Open or close a component; return the one that is open then."""
    index, text = place
    if mark is None:
        raise _wrong(text, index, "is no BEGIN or END")
    verb, name = mark[1].upper(), mark[2].upper()
    if verb == "BEGIN":
        if len(stack) >= MAX_DEPTH:
            raise _wrong(text, index, f"nests deeper than {MAX_DEPTH} components")
        component = Component(name, index)
        (stack[-1].children if stack else tree.top).append(component)
        stack.append(component)
    elif stack and stack[-1].name == name:
        stack.pop().stop = index + 1
    else:
        raise _wrong(text, index, f"ends {name}, which is not open here")
    return stack[-1] if stack else None


def _wrong(text: str, index: int, what: str) -> Invalid:
    """Return the refusal of unfolded line `index`, numbered as the client's text is."""
    starts = [
        number
        for number, row in enumerate(text.split("\n"), 1)
        if number == 1 or row[:1] not in {" ", "\t"}
    ]
    line = starts[min(index, len(starts) - 1)]
    return Invalid(INVALID_DATA, f"line {line} {what}", line=line)
