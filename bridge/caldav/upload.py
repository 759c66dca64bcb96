"""The body of a PUT: bytes -> text, or the refusal that RFC 4791 section 5.3.2.1 names.

Pure. What can be said without the task is said here (media type, size, charset, characters
that no answer could carry); what the VTODO says is read by the worker, once.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.errors import Invalid
from bridge.wire import contentline
from bridge.worker.command import Refused

_TYPES = frozenset({"", "text/calendar", "application/ics", "text/plain"})
# Sent by scripts that set nothing; the body decides.
_UNSAID = frozenset({"application/x-www-form-urlencoded", "application/octet-stream"})
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A body as text; `exact` is True if the text is, byte for byte, what was sent."""

    text: str
    exact: bool


def media_type(header: str) -> tuple[str, str]:
    """Return the media type and the charset of a Content-Type header, in lower case."""
    kind, _, rest = header.partition(";")
    charset = ""
    for part in rest.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return kind.strip().lower(), charset


def read_body(body: bytes, content_type: str, max_octets: int) -> Sent | Refused:
    """Return the text of a PUT body."""
    kind, charset = media_type(content_type)
    if kind not in _TYPES | _UNSAID or charset not in _CHARSETS:
        return Refused(
            code="supported-calendar-data",
            reason="a task is text/calendar in UTF-8",
        )
    if len(body) > max_octets:
        return Refused(
            code="max-resource-size", reason=f"a task may have at most {max_octets} octets"
        )
    try:
        decoded = contentline.decode(body)
    except Invalid as error:
        return Refused(code=error.code, reason=error.public)
    text, cleaned = contentline.clean(decoded)
    return Sent(text=text, exact=not cleaned and text.encode("utf-8", "replace") == body)
