"""Canonical JSON: the bytes that are hashed and signed (tx-protocol section 3, RFC 8785).

Documents hold only objects, arrays, strings, booleans, null and integers within
±(2^53−1): no fractions, no duplicate names, no lone surrogates, depth at most 16.
Inside these limits `json.dumps` gives RFC 8785's bytes at C speed; `rfc8785` is the
whole of the RFC and the reference that `canonical` is tested against.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from bridge.errors import Invalid
from bridge.model.ids import Digest

MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1
_EXPONENT_LOW = -7
_EXPONENT_HIGH = 21

_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


def canonical(document: Any) -> bytes:
    """Return the canonical bytes of a document within the limits of section 3.

    Raises:
        Invalid: ``bad-json`` where a string holds a lone surrogate.
    """
    text = _encode(document)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise Invalid("bad-json", "a string holds half of a surrogate pair") from None
    # Python sorts names by code point, RFC 8785 by UTF-16 unit: they differ only where a
    # character beyond the basic plane (two units) meets one from U+E000 up.
    if not text.isascii() and len(text.encode("utf-16-le")) > 2 * len(text):
        return rfc8785(document)
    return data


def rfc8785(value: Any) -> bytes:
    """Return the canonical bytes of any JSON value, fractions included (RFC 8785)."""
    return _write(value).encode()


def _write(value: Any) -> str:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_encode(n)}:{_write(value[n])}" for n in names) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_write, value)) + "]"
    if isinstance(value, float):
        return _number(value)
    return _encode(value)


def _number(value: float) -> str:
    """Write a double as ECMAScript's Number::toString does (RFC 8785 section 3.2.2.3)."""
    if not math.isfinite(value):
        raise Invalid("bad-json", "a number is not finite")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= _EXPONENT_HIGH:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= _EXPONENT_HIGH:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if _EXPONENT_LOW < point - 1 < 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = point - 1
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if power > 0 else '-'}{abs(power)}"


def parse(data: bytes, *, limit: int) -> dict[str, Any]:
    """Return the document in `data`, which holds one JSON object of at most `limit` bytes.

    Raises:
        Invalid: ``too-large`` or ``bad-json``.
    """
    if len(data) > limit:
        raise Invalid("too-large", f"the document has more than {limit} bytes", limit=limit)
    try:
        value = json.loads(
            data, object_pairs_hook=_object, parse_float=_no_fraction, parse_constant=_no_fraction
        )
    except (ValueError, RecursionError) as error:
        raise Invalid("bad-json", f"not a JSON document: {error}") from None
    if not isinstance(value, dict):
        raise Invalid("bad-json", "a document must be a JSON object")
    _check(value, MAX_DEPTH)
    return value


def parse_trusted(data: bytes) -> dict[str, Any]:
    """Return a document that this program wrote itself, unchecked but for its syntax.

    Raises:
        ValueError: the bytes are not JSON.
    """
    value: dict[str, Any] = json.loads(data)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return value


def _no_fraction(text: str) -> Any:
    raise ValueError(f"{text[:20]} is not an integer")


def _check(value: Any, depth: int) -> None:
    if depth < 0:
        raise Invalid("bad-json", f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for name, member in value.items():
            _check(name, depth)
            _check(member, depth - 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth - 1)
    elif isinstance(value, str):
        if not value.isascii():
            _no_surrogate(value)
    elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise Invalid("bad-json", "an integer is beyond 2^53-1")


def _no_surrogate(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid("bad-json", "a string holds half of a surrogate pair") from None


def signed_bytes(label: str, document: dict[str, Any]) -> bytes:
    """Return what a signature covers: the label line, then the document without ``sigs``.

    `label` is one of ``TX1-patch``, ``TX1-entry``, ``TX1-message``, ``TX1-keys``,
    ``TX1-snapshot``.
    """
    return covered_bytes(label, canonical(unsigned(document)))


def covered_bytes(label: str, data: bytes) -> bytes:
    """Return what a signature covers where `data` is the document's canonical form."""
    return label.encode() + b"\n" + data


def unsigned(document: dict[str, Any]) -> dict[str, Any]:
    """Return `document` without its ``sigs``."""
    return {name: value for name, value in document.items() if name != "sigs"}


def hash_of(document: dict[str, Any]) -> Digest:
    """Return the hash that names a document: of its canonical bytes without ``sigs``."""
    return Digest("sha256:" + hashlib.sha256(canonical(unsigned(document))).hexdigest())
