"""Text from strangers, made safe to keep and to show (mail-trust section 4, rule 21).

Promises: no control characters, no bidirectional overrides, no surrogates or invisible
tag characters, NFC, a size cap, and linear time. Refuses nothing: what is not allowed is
dropped, because a strange character must not lose a task.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

TITLE_MAX: Final = 500
"""Characters of a title."""
TEXT_MAX: Final = 64 * 1024
"""UTF-8 bytes of a description."""

# Controls but tab and newline; Arabic letter mark, LRM, RLM, embeddings, overrides, isolates;
# BOM, interlinear marks, lone surrogates (undecodable header bytes), invisible tag characters.
_DROPPED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]+"
)
_NEWLINE: Final = re.compile("\r\n|[\r\x85\u2028\u2029]")
_BLANKS: Final = re.compile(r"[ \t\n]+")
# NFC sorts a run of combining marks by insertion: 65,000 of them took 3 s. A run of letters
# above Latin is where such marks can hide; only those are looked at one by one.
_RUN_MAX: Final = 30  # UAX 15, section 13: Stream-Safe Text Format
_LONG_RUN: Final = re.compile(rf"[^\x00-\u02ff]{{{_RUN_MAX + 1},}}")


def clean_line(text: str, limit: int = TITLE_MAX) -> str:
    """Return `text` as one line of at most `limit` characters without outer blanks."""
    flat = _BLANKS.sub(" ", _NEWLINE.sub(" ", text[: 8 * limit]))
    return _normal(_DROPPED.sub("", flat).strip()[:limit])[:limit].strip()


def clean_text(text: str, limit: int = TEXT_MAX) -> str:
    """Return `text` with LF line ends and at most `limit` UTF-8 bytes."""
    kept = _DROPPED.sub("", _NEWLINE.sub("\n", text[: 2 * limit]))[:limit]
    normal = _normal(kept)
    if len(normal) * 4 <= limit:
        return normal
    return normal.encode()[:limit].decode("utf-8", "ignore")


def _normal(text: str) -> str:
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _LONG_RUN.sub(_stream_safe, text))


def _stream_safe(found: re.Match[str]) -> str:
    kept: list[str] = []
    marks = 0
    for char in found[0]:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _RUN_MAX:
            kept.append(char)
    return "".join(kept)
