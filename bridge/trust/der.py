"""DER, read strictly, and BER made into DER (ITU-T X.690), for CMS objects.

Promises: definite minimal lengths only, single-byte tags, no byte left over, no copy while
reading; the converter is bounded in size (4 MiB), depth (16) and children (200). It leaves
the certificates and CRLs of a SignedData as they came, because their signatures cover
their exact bytes, and it never reorders a SET. Refuses with `Invalid`: ``der``.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from bridge.errors import Invalid

SIZE_MAX: Final = 4 * 1024 * 1024
DEPTH_MAX: Final = 16
CHILDREN_MAX: Final = 200
# A long text inside comes in segments of 1 KiB or so; they nest no further.
SEGMENTS_MAX: Final = 8192

INTEGER: Final = 0x02
OCTETS: Final = 0x04
OID: Final = 0x06
UTF8: Final = 0x0C
SEQUENCE: Final = 0x30
SET: Final = 0x31
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
CONTEXT_0: Final = 0xA0
CONTEXT_1: Final = 0xA1

_CONSTRUCTED: Final = 0x20
_HIGH_TAG: Final = 0x1F
_LONG: Final = 0x80
_LENGTH_BYTES_MAX: Final = 4
_OCTETS_IN_PIECES: Final = OCTETS | _CONSTRUCTED
# ContentInfo 0, [0] 1, SignedData 2, its members 3.
_MEMBER_DEPTH: Final = 3


class Element(NamedTuple):
    """One value: its tag, and where its header, content and end lie in the source."""

    tag: int
    start: int
    body: int
    end: int


def element(data: bytes, position: int, end: int) -> Element:
    """Return the element that begins at `position` and ends at or before `end`.

    Raises:
        Invalid: ``der``.
    """
    try:
        tag, length = data[position], data[position + 1]
    except IndexError:
        raise _broken("it ends too early") from None
    if tag & _HIGH_TAG == _HIGH_TAG:
        raise _broken("a tag has more than one byte")
    body = position + 2
    if length >= _LONG:
        count = length - _LONG
        if not 1 <= count <= _LENGTH_BYTES_MAX:
            raise _broken("a length is indefinite or too large")
        length = int.from_bytes(data[body : body + count], "big")
        body += count
        if length < _LONG or length >> 8 * (count - 1) == 0:
            raise _broken("a length is not minimal")
    if body + length > end:
        raise _broken("a value is longer than its container")
    return Element(tag, position, body, body + length)


def whole(data: bytes, tag: int) -> Element:
    """Return the only element of `data`, which must have `tag` and leave no byte over.

    Raises:
        Invalid: ``der``.
    """
    only = element(data, 0, len(data))
    if only.tag != tag or only.end != len(data):
        raise _broken("it is not one element of the kind expected")
    return only


def children(data: bytes, parent: Element, limit: int = CHILDREN_MAX) -> list[Element]:
    """Return the elements inside `parent`, which they must fill.

    Raises:
        Invalid: ``der``.
    """
    found: list[Element] = []
    position, end = parent.body, parent.end
    while position < end:
        child = element(data, position, end)
        found.append(child)
        if len(found) > limit:
            raise _broken("it has too many members")
        position = child.end
    return found


def content(data: bytes, item: Element) -> bytes:
    """Return the content octets of `item`."""
    return data[item.body : item.end]


def encoded(data: bytes, item: Element) -> bytes:
    """Return `item` with its header."""
    return data[item.start : item.end]


def wrap(tag: int, body: bytes) -> bytes:
    """Return `body` as one DER element."""
    length = len(body)
    if length < _LONG:
        return bytes((tag, length)) + body
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG + len(size))) + size + body


def to_der(data: bytes) -> bytes:
    """Return the CMS object `data`, in BER, with definite minimal lengths and joined strings.

    Raises:
        Invalid: ``der``: broken, bytes left over, or beyond a limit.
    """
    if len(data) > SIZE_MAX:
        raise _broken("it is larger than 4 MiB")
    converted, end = _convert(data, 0, len(data), 0)
    if end != len(data):
        raise _broken("bytes follow it")
    return converted


def _broken(what: str) -> Invalid:
    return Invalid("der", f"the signature object cannot be read: {what}")


def _header(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Return tag, where the content begins, and where it ends (-1: indefinite)."""
    if position + 2 > end:
        raise _broken("it ends too early")
    tag, length = data[position], data[position + 1]
    if tag & _HIGH_TAG == _HIGH_TAG:
        raise _broken("a tag has more than one byte")
    body = position + 2
    if length == _LONG:
        if not tag & _CONSTRUCTED:
            raise _broken("a plain value has no length")
        return tag, body, -1
    if length > _LONG:
        count = length - _LONG
        # BER allows leading zeros; eight bytes are the most that real encoders write.
        if count > 2 * _LENGTH_BYTES_MAX or body + count > end:
            raise _broken("a length is too large")
        length = int.from_bytes(data[body : body + count], "big")
        body += count
    if body + length > end:
        raise _broken("a value is longer than its container")
    return tag, body, body + length


def _convert(data: bytes, position: int, end: int, depth: int) -> tuple[bytes, int]:
    """Return the DER of the element at `position` and where it ended."""
    if depth > DEPTH_MAX:
        raise _broken("it is nested too deep")
    tag, body, stop = _header(data, position, end)
    if not tag & _CONSTRUCTED:
        return wrap(tag, data[body:stop]), stop
    untouched = depth == _MEMBER_DEPTH and tag in (CONTEXT_0, CONTEXT_1)
    joined = tag == _OCTETS_IN_PIECES
    limit = SEGMENTS_MAX if joined else CHILDREN_MAX
    pieces: list[bytes] = []
    where = body
    while not _at_end(data, where, end, stop):
        piece, where = _member(data, where, end if stop < 0 else stop, depth, untouched=untouched)
        pieces.append(_segment(piece) if joined else piece)
        if len(pieces) > limit:
            raise _broken("it has too many members")
    if joined:
        tag = OCTETS
    return wrap(tag, b"".join(pieces)), where + 2 if stop < 0 else stop


def _at_end(data: bytes, where: int, end: int, stop: int) -> bool:
    if stop >= 0:
        return where >= stop
    if where + 2 > end:
        raise _broken("it ends too early")
    return data[where : where + 2] == b"\0\0"


def _member(data: bytes, where: int, end: int, depth: int, *, untouched: bool) -> tuple[bytes, int]:
    if not untouched:
        return _convert(data, where, end, depth + 1)
    _, _, stop = _header(data, where, end)
    if stop < 0:
        raise _broken("a certificate has no definite length")
    return data[where:stop], stop


def _segment(piece: bytes) -> bytes:
    part = whole(piece, OCTETS)
    return piece[part.body : part.end]
