"""The MIME tree as offsets into the delivered bytes (mail-trust section 4, rules 1, 5, 7).

Promises: a part is a slice of the mail exactly as it came, so a signature is checked over
the delivered bytes; the cost is linear in the size. Refused is everything that two readers
could cut differently: a repeated parameter, a boundary in extended form, a line that only
begins like the boundary, a boundary after the closing one, a missing closing one, an
encoded multipart. Preamble and epilogue are never read, ``message/rfc822`` is not opened.

Refuses with `Invalid`: the codes of `bridge.wire.headers`, ``content-type-too-long``,
``bad-content-type``, ``duplicate-parameter``, ``bad-boundary``, ``boundary-prefix``,
``boundary-after-close``, ``missing-boundary``, ``empty-part``, ``bad-part-header``,
``encoded-multipart``, ``too-many-parts``, ``too-deep``.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bridge.errors import Invalid
from bridge.wire.headers import Headers, read_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT_TYPE_MAX: Final = 2000
PARTS_MAX: Final = 100
DEPTH_MAX: Final = 12
_BOUNDARY_MAX: Final = 70  # RFC 2046 section 5.1.1

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z{}-]++"
_TYPE: Final = re.compile(rf"[ \t]*+({_WORD})/({_WORD})[ \t]*+(?=;|\Z)")
_VALUE_TYPE: Final = re.compile(rf"[ \t]*+({_WORD})[ \t]*+(?=;|\Z)")
# "=", "/", "?" and ":" should stand in quotes, but many senders write boundaries without.
_PARAMETER: Final = re.compile(
    rf";[ \t]*+({_WORD})=(?:\"((?:[^\"\\]++|\\.)*+)\"|([^\x00-\x20\x7f\"(),;<>@\[\\\]]++))[ \t]*+"
)
_END: Final = re.compile(r";?[ \t]*+\Z")
_PAIR: Final = re.compile(r"\\(.)")
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]\Z")
# Names may come in extended form (RFC 2231); what decides the structure may not.
_EXTENDED: Final = frozenset(("name", "filename"))
_PLAIN_ENCODINGS: Final = frozenset(("", "7bit", "8bit", "binary"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterValue:
    """A field value with parameters: Content-Type or Content-Disposition (RFC 2045 5.1)."""

    value: str
    """Lower case, for example ``text/plain`` or ``attachment``."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Lower-case names; ``filename*`` keeps its star and its encoding."""


TEXT_PLAIN: Final = ParameterValue(value="text/plain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One node of the tree; `start` to `end` hold its header, a blank line and its body."""

    source: bytes = field(repr=False)
    start: int
    body_start: int
    end: int
    headers: Headers = field(repr=False)
    content_type: ParameterValue
    children: tuple[Part, ...] = ()

    @property
    def entity(self) -> bytes:
        """The exact bytes of the part, header included: what a signature covers."""
        return self.source[self.start : self.end]

    @property
    def body(self) -> bytes:
        """The exact bytes after the blank line, transfer encoding untouched."""
        return self.source[self.body_start : self.end]

    @property
    def media_type(self) -> str:
        """Lower-case ``type/subtype``; ``text/plain`` where the part does not say."""
        return self.content_type.value

    @property
    def encoding(self) -> str:
        """Lower-case Content-Transfer-Encoding; empty without one."""
        return (self.headers.raw("content-transfer-encoding") or "").lower()

    def walk(self) -> Iterator[Part]:
        """Return this part and all below, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def leaves(self) -> Iterator[Part]:
        """Return the parts that hold no others, in order."""
        return (part for part in self.walk() if not part.children)


def decoded(part: Part, limit: int | None = None) -> bytes:
    """Return the content of a leaf; damaged base64 or an unknown encoding gives the raw bytes.

    Args:
        part: a leaf.
        limit: read no more than that many encoded bytes.
    """
    end = part.end if limit is None else min(part.end, part.body_start + limit)
    raw = part.source[part.body_start : end]
    match part.encoding:
        case "quoted-printable":
            return binascii.a2b_qp(raw)
        case "base64":
            return _base64(raw)
        case _:
            return raw


def strict_base64(raw: bytes) -> bytes | None:
    """Return decoded base64 with line ends; None unless every byte belongs to it."""
    try:
        return binascii.a2b_base64(raw.translate(None, b"\r\n \t"), strict_mode=True)
    except binascii.Error:
        return None


def parse_parameters(text: str, *, slash: bool = True) -> ParameterValue:
    """Return a Content-Type value, or with ``slash=False`` a Content-Disposition value.

    Raises:
        Invalid: ``content-type-too-long``, ``bad-content-type`` or ``duplicate-parameter``.
    """
    if len(text) > CONTENT_TYPE_MAX:
        raise Invalid("content-type-too-long", "a Content-Type is longer than 2,000 bytes")
    head = (_TYPE if slash else _VALUE_TYPE).match(text)
    if head is None:
        raise Invalid("bad-content-type", "a Content-Type has no type and subtype")
    parameters: dict[str, str] = {}
    position = head.end()
    while found := _PARAMETER.match(text, position):
        name = found[1].lower()
        if name in parameters:
            raise Invalid("duplicate-parameter", f"the parameter {name} stands twice", name=name)
        if "*" in name and name.partition("*")[0] not in _EXTENDED:
            raise Invalid("bad-content-type", f"the parameter {name} may not be extended")
        quoted = found[2]
        parameters[name] = found[3] if quoted is None else _PAIR.sub(r"\1", quoted)
        position = found.end()
    if not _END.match(text, position):
        raise Invalid("bad-content-type", "the parameters of a Content-Type cannot be read")
    return ParameterValue(value=head[0].strip(" \t").lower(), parameters=parameters)


def read_entity(source: bytes) -> Part:
    """Return the tree of `source`: a MIME entity with CRLF line ends, header first.

    Raises:
        Invalid: see the module's text.
    """
    return _Reader(source).part(0, len(source), 0)


class _Reader:
    """Cuts one source; counts its parts."""

    __slots__ = ("parts", "source")

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.parts = 0

    def part(self, start: int, end: int, depth: int) -> Part:
        self.parts += 1
        if self.parts > PARTS_MAX:
            raise Invalid("too-many-parts", "the mail has more than 100 parts")
        if depth > DEPTH_MAX:
            raise Invalid("too-deep", "the parts of the mail are nested deeper than 12 levels")
        head_end, body_start = self._header_end(start, end)
        headers = read_headers(self.source[start:head_end])
        declared = headers.raw("content-type")
        content_type = TEXT_PLAIN if declared is None else parse_parameters(declared)
        children: tuple[Part, ...] = ()
        if content_type.value.startswith("multipart/"):
            boundary = _boundary(content_type)
            if (headers.raw("content-transfer-encoding") or "").lower() not in _PLAIN_ENCODINGS:
                raise Invalid("encoded-multipart", "a multipart has a transfer encoding")
            cuts = self._cut(body_start, end, boundary)
            children = tuple([self.part(*cut, depth + 1) for cut in cuts])
        return Part(
            source=self.source,
            start=start,
            body_start=body_start,
            end=end,
            headers=headers,
            content_type=content_type,
            children=children,
        )

    def _header_end(self, start: int, end: int) -> tuple[int, int]:
        """Return where the header lines end and where the body begins."""
        source = self.source
        if start == end or source.startswith(b"\r\n", start, end):
            return start, min(start + 2, end)
        blank = source.find(b"\r\n\r\n", start, end)
        if blank >= 0:
            return blank + 2, blank + 4
        # An empty body: the blank line belongs to the boundary that follows.
        if source.endswith(b"\r\n", start, end):
            return end, end
        raise Invalid("bad-part-header", "a header does not end")

    def _cut(self, start: int, end: int, boundary: bytes) -> list[tuple[int, int]]:
        """Return the slices between the delimiter lines of one multipart body."""
        source, needle = self.source, b"\r\n--" + boundary
        cuts: list[tuple[int, int]] = []
        # The blank line's CRLF may be that of the first delimiter (RFC 2046 section 5.1.1).
        found = source.find(needle, start - 2, end)
        opened = -1
        while found >= 0:
            after = found + len(needle)
            line_end = source.find(b"\r\n", after, end)
            closing = _delimiter_kind(source[after : end if line_end < 0 else line_end])
            if opened >= 0:
                if found < opened:
                    raise Invalid("empty-part", "two boundaries follow each other")
                cuts.append((opened, found))
            if closing:
                if not cuts:
                    raise Invalid("missing-boundary", "a multipart has no part")
                if source.find(needle, after, end) >= 0:
                    raise Invalid("boundary-after-close", "a boundary follows the closing one")
                return cuts
            if len(cuts) >= PARTS_MAX:
                raise Invalid("too-many-parts", "the mail has more than 100 parts")
            if line_end < 0:
                break
            opened = line_end + 2
            found = source.find(needle, line_end, end)
        raise Invalid("missing-boundary", "the closing boundary of a multipart is missing")


def _delimiter_kind(tail: bytes) -> bool:
    """Tell whether a line that begins with the boundary closes; refuse longer lines."""
    rest = tail.rstrip(b" \t")
    if rest in (b"", b"--"):
        # "-- " after blanks would be a delimiter to some and text to others.
        return rest == b"--"
    raise Invalid("boundary-prefix", "a line begins with the boundary but does not end with it")


def _boundary(content_type: ParameterValue) -> bytes:
    boundary = content_type.parameters.get("boundary", "")
    if len(boundary) > _BOUNDARY_MAX or not _BOUNDARY.match(boundary):
        raise Invalid("bad-boundary", "the boundary of a multipart is missing or malformed")
    return boundary.encode("ascii")


def _base64(raw: bytes) -> bytes:
    try:
        return binascii.a2b_base64(raw)
    except binascii.Error:
        pass
    try:
        # A cut or unpadded end: what can be read of it.
        kept = raw.translate(None, b"\r\n \t=")
        return binascii.a2b_base64(kept[: len(kept) // 4 * 4])
    except binascii.Error:
        return raw
