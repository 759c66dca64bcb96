"""What a person wrote: text, attachments and the headers a signature protects.

Promises (mail-trust section 4, rules 14, 20, 21; section 5): every text is cleaned and
capped, attachment names are rebuilt and can be no path, protected headers come from
inside the signed part only. Pass the tree that a verdict covers, not the whole mail, to
see nothing that is unsigned. Nothing is unpacked, fetched or rendered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.errors import Invalid, Untrusted
from bridge.wire.cleantext import TEXT_MAX, clean_line, clean_text
from bridge.wire.encodedword import decode_charset, decode_parameter, decode_words
from bridge.wire.headers import check_limits, read_author
from bridge.wire.htmltext import HTML_MAX, text_of_html
from bridge.wire.mimepart import ParameterValue, Part, decoded, parse_parameters

if TYPE_CHECKING:
    from datetime import datetime

    from bridge.model.ids import Address
    from bridge.wire.headers import Headers
    from bridge.wire.message import Message

_READ_MAX: Final = 4 * TEXT_MAX
"""Encoded bytes of a text leaf that are decoded at all."""
_NAME_MAX: Final = 120
_DISPOSITION_MAX: Final = 2000
_SIGNATURES: Final = frozenset(
    ("application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature")
)
_PROTECTED: Final = ("subject", "to", "cc", "date", "message-id", "from")
# "Am 1. Mai schrieb X:", "On 1 May X wrote:": one or two lines before a quote, ending in ":".
_ATTRIBUTION_MAX: Final = 200
_FORWARDED: Final = re.compile(r"-{2,10} ?[^-\n]{3,60}? ?-{2,10}\Z")
_PATH: Final = re.compile(r"[/\\]")
_UNSAFE: Final = re.compile(r"[\"*:<>?|]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file of a mail, for storing by digest; never opened here."""

    name: str
    """Rebuilt: no slash, control or bidi character, no leading dot, at most 120 characters."""
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The headers that describe a mail, from inside the signed part where it protects them."""

    subject: str
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    date: datetime | None
    message_id: str
    protected: frozenset[str]
    """Lower-case names of the fields that the signature covers; empty without protection."""


def headline(message: Message, content: Part | None) -> Headline:
    """Return the describing headers of `message`, of which `content` is signed (RFC 9788).

    With ``hp=`` every field comes from inside, also where it is missing there. The older
    ``protected-headers="v1"`` protects only the fields that it repeats.

    Args:
        message: the mail.
        content: the root of the covered tree; None for an unsigned mail.

    Raises:
        Untrusted: ``inner-from-differs``: the signed From is missing, malformed or another.
        Invalid: ``too-many-addresses``, ``too-many-references``: inside.
    """
    outer = message.headers
    parameters = content.content_type.parameters if content is not None else {}
    modern = "hp" in parameters
    if content is None or not (modern or parameters.get("protected-headers") == "v1"):
        return _headline({}, outer, frozenset())
    inner = content.headers
    check_limits(inner)
    if modern or "from" in inner:
        _check_author(message, inner)
    names = frozenset(name for name in _PROTECTED if modern or name in inner)
    return _headline(dict.fromkeys(names, inner), outer, names)


def body_text(content: Part) -> str:
    """Return the text of the tree: its first text/plain, else its first HTML; at most 64 KiB."""
    leaf = _text_leaf(content, "text/plain")
    if leaf is not None:
        return clean_text(leaf_text(leaf)).strip("\n")
    leaf = _text_leaf(content, "text/html")
    return clean_text(text_of_html(leaf_text(leaf))).strip("\n") if leaf is not None else ""


def leaf_text(leaf: Part) -> str:
    """Return the decoded characters of a text leaf, uncleaned; at most 256 KiB are read."""
    charset = leaf.content_type.parameters.get("charset", "")
    return decode_charset(decoded(leaf, _READ_MAX), charset)[:HTML_MAX]


def without_quotes(text: str) -> str:
    """Return `text` without the quoted mail and the signature.

    Cut are: all from a line ``-- `` on; all from "---- Original message ----" on; a quote
    (``>``) with its attribution line at the end, and one at the very beginning (an answer
    below). Quotes between lines of the author stay, because they give them their sense.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line in {"-- ", "--"} or (len(line) <= _ATTRIBUTION_MAX and _FORWARDED.match(line)):
            lines = lines[:number]
            break
    return "\n".join(_without_head(_without_tail(lines))).strip("\n")


def attachments(content: Part) -> tuple[Attachment, ...]:
    """Return the files of the tree in order: all leaves that are neither text nor signature."""
    return tuple([_attachment(leaf) for leaf in content.leaves() if _is_file(leaf)])


def safe_name(name: str) -> str:
    """Return a file name that is one: see `Attachment.name`; "attachment" where nothing is left."""
    last = _PATH.split(clean_line(name, 4 * _NAME_MAX))[-1]
    kept = _UNSAFE.sub("_", last).strip(" .")
    if len(kept) > _NAME_MAX:
        stem, dot, suffix = kept.rpartition(".")
        short = dot and len(suffix) <= 10  # noqa: PLR2004 - longer is no file type
        kept = f"{stem[: _NAME_MAX - 11]}.{suffix}" if short else kept[:_NAME_MAX]
    return kept or "attachment"


def _headline(inside: dict[str, Headers], outer: Headers, names: frozenset[str]) -> Headline:
    ids = inside.get("message-id", outer).message_ids("message-id")
    return Headline(
        subject=inside.get("subject", outer).text("subject"),
        to=inside.get("to", outer).addresses("to"),
        cc=inside.get("cc", outer).addresses("cc"),
        date=inside.get("date", outer).date(),
        message_id=ids[0] if len(ids) == 1 else "",
        protected=names,
    )


def _check_author(message: Message, inner: Headers) -> None:
    try:
        mailbox = read_author(inner)[1]
    except Invalid:
        mailbox = ""
    if mailbox != message.mailbox:
        raise Untrusted("inner-from-differs", "the signed From is not the From of the mail")


def _text_leaf(content: Part, media_type: str) -> Part | None:
    for leaf in content.leaves():
        if leaf.media_type == media_type and not _is_file(leaf):
            return leaf
    return None


def _is_file(leaf: Part) -> bool:
    if leaf.media_type not in {"text/plain", "text/html"}:
        return leaf.media_type not in _SIGNATURES and leaf.media_type.partition("/")[0] != (
            "multipart"
        )
    disposition = _disposition(leaf)
    return disposition.value == "attachment" or "filename" in disposition.parameters


def _disposition(leaf: Part) -> ParameterValue:
    """Return the Content-Disposition; many senders break its grammar, which only costs a name."""
    raw = leaf.headers.raw("content-disposition") or "inline"
    try:
        return parse_parameters(raw[:_DISPOSITION_MAX], slash=False)
    except Invalid:
        return ParameterValue(value=raw[:_DISPOSITION_MAX].partition(";")[0].strip().lower())


def _attachment(leaf: Part) -> Attachment:
    return Attachment(
        name=safe_name(_sent_name(leaf)), media_type=leaf.media_type, content=decoded(leaf)
    )


def _sent_name(leaf: Part) -> str:
    named = (
        (_disposition(leaf).parameters, "filename"),
        (leaf.content_type.parameters, "name"),
    )
    for parameters, name in named:
        if f"{name}*" in parameters:
            return decode_parameter(parameters[f"{name}*"])
        if name in parameters:
            return decode_words(parameters[name])
        joined = _continued(parameters, name)
        if joined:
            return joined
    return ""


def _continued(parameters: dict[str, str], name: str) -> str:
    """Return ``name*0*=...; name*1=...`` joined (RFC 2231 section 3)."""
    pieces: list[str] = []
    extended = f"{name}*0*" in parameters
    for number in range(20):
        piece = parameters.get(f"{name}*{number}*", parameters.get(f"{name}*{number}"))
        if piece is None:
            break
        pieces.append(piece)
    joined = "".join(pieces)
    return decode_parameter(joined) if extended else joined


def _quoted(line: str) -> bool:
    return line.startswith(">")


def _without_tail(lines: list[str]) -> list[str]:
    end = len(lines)
    while end and (not lines[end - 1].strip() or _quoted(lines[end - 1])):
        end -= 1
    if any(_quoted(line) for line in lines[end:]):
        end = _attribution_start(lines, end)
    return lines[:end]


def _attribution_start(lines: list[str], end: int) -> int:
    """Return where the attribution before a quote begins; `end` without one."""
    if not end or not lines[end - 1].rstrip().endswith(":"):
        return end
    if len(lines[end - 1]) > _ATTRIBUTION_MAX:
        return end
    wrapped = end > 1 and lines[end - 2].strip() and (end == 2 or not lines[end - 3].strip())  # noqa: PLR2004 - two lines
    # "On Monday, 1 May 2026, Alice Example\n<alice@example.org> wrote:" is one attribution.
    return end - 2 if wrapped and "@" in lines[end - 1] else end - 1


def _without_head(lines: list[str]) -> list[str]:
    start = 0
    while start < len(lines) and not lines[start].strip():
        start += 1
    first = start
    while first < len(lines) and first < start + 2 and not _quoted(lines[first]):
        first += 1
    begins = first == start or (first < len(lines) and lines[first - 1].rstrip().endswith(":"))
    if first >= len(lines) or not _quoted(lines[first]) or not begins:
        return lines
    while first < len(lines) and (not lines[first].strip() or _quoted(lines[first])):
        first += 1
    return lines[first:] if first < len(lines) else lines
