"""Encoded words (RFC 2047), charsets and parameter values (RFC 2231): bytes to text.

Promises: linear time, no exception on any input, only charsets that are plain tables or
simple states. Refused are codecs that are not charsets (``zlib``, ``unicode_escape``) or
are slow on hostile input (``punycode``, ``idna``): their bytes are read as UTF-8.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

_CHARSET: Final = re.compile(
    r"(?:us-?ascii|ascii|utf-?8|utf-?16(?:[bl]e)?|iso-?8859-\d{1,2}|(?:windows|cp|ibm)-?\d{3,4}"
    r"|koi8-[rut]|gb2312|gbk|gb18030|big5(?:-hkscs)?|euc-(?:jp|kr)|shift[_-]jis|ks_c_5601-1987"
    r"|iso-2022-(?:jp|kr)|tis-620|mac(?:intosh|-roman)?)\Z",
    re.IGNORECASE,
)
_WORD: Final = re.compile(
    r"=\?([A-Za-z0-9_.:+-]{1,40}+)(?:\*[A-Za-z0-9-]{0,20}+)?\?([bBqQ])\?([^?\x00-\x20]{0,1000}+)\?="
)


def decode_charset(data: bytes, charset: str) -> str:
    """Return `data` read in `charset`; what does not fit becomes U+FFFD, never an error."""
    name = charset.strip().lower()
    if name == "ks_c_5601-1987":
        name = "cp949"  # what Outlook means by it
    elif name in {"us-ascii", "ascii", "usascii", ""}:
        name = "utf-8"  # a superset, and 8-bit mail without a charset is UTF-8 today
    if not _CHARSET.match(name) and name != "cp949":
        name = "utf-8"
    try:
        return data.decode(name, "replace")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")


def decode_words(value: str) -> str:
    """Return `value` with its encoded words decoded; blanks between two of them are dropped."""
    if "=?" not in value:
        return value
    pieces: list[str] = []
    pending, pending_charset, end = b"", "", 0
    for word in _WORD.finditer(value):
        between = value[end : word.start()]
        charset = word[1].lower()
        follows = end > 0 and not between.strip(" \t")
        # One character may be cut between two words of the same charset.
        if pending and (not follows or charset != pending_charset):
            pieces.append(decode_charset(pending, pending_charset))
            pending = b""
        if not follows:
            pieces.append(between)
        pending += _word_bytes(word[2], word[3])
        pending_charset, end = charset, word.end()
    pieces.append(decode_charset(pending, pending_charset))
    pieces.append(value[end:])
    return "".join(pieces)


def decode_parameter(value: str) -> str:
    """Return an extended value ``charset'language'percent-text`` (RFC 2231 section 4)."""
    charset, quote, rest = value.partition("'")
    _, second, text = rest.partition("'")
    if not quote or not second:
        return value
    raw = text.encode("utf-8", "surrogateescape")
    return decode_charset(_percent(raw), charset)


def _word_bytes(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    if encoding in "qQ":
        return binascii.a2b_qp(raw, header=True)
    try:
        return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))
    except binascii.Error:
        return b""


def _percent(raw: bytes) -> bytes:
    head, *rest = raw.split(b"%")
    out = [head]
    for piece in rest:
        try:
            out.append(bytes.fromhex(piece[:2].decode("ascii")) + piece[2:])
        except (ValueError, UnicodeDecodeError):
            out.append(b"%" + piece)
    return b"".join(out)
