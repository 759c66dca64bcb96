"""Text of WebDAV answers: elements, multistatus, error bodies (RFC 4918 sections 13 and 16).

Answers are joined strings: for 10,000 members ElementTree takes forty times as long.
Everything that comes from outside passes `escape` or `quoted` here, nothing else does.
"""

from __future__ import annotations

import io
import itertools
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DAV: Final = "DAV:"
CALDAV: Final = "urn:ietf:params:xml:ns:caldav"
SERVER: Final = "http://calendarserver.org/ns/"
APPLE: Final = "http://apple.com/ns/ical/"
OURS: Final = "urn:tx-bridge:dav"

CONTENT_TYPE: Final = "application/xml; charset=utf-8"
_PREFIXES: Final = {DAV: "D", CALDAV: "C", SERVER: "CS", APPLE: "A", OURS: "T"}
_DECLARED = "".join(f' xmlns:{prefix}="{uri}"' for uri, prefix in _PREFIXES.items())
# Most names need no escaping; seeing that is ten times as fast as escaping.
_PLAIN = re.compile(r"[A-Za-z0-9._~-]+\Z", re.ASCII)
_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
HEAD: Final = f"{_HEAD}<D:multistatus{_DECLARED}>"
TAIL: Final = "</D:multistatus>\n"
_AT_ONCE: Final = 256


def dav(name: str) -> str:
    """Return the Clark name of a WebDAV element."""
    return f"{{{DAV}}}{name}"


def caldav(name: str) -> str:
    """Return the Clark name of a CalDAV element (RFC 4791)."""
    return f"{{{CALDAV}}}{name}"


def server(name: str) -> str:
    """Return the Clark name of a calendarserver.org element."""
    return f"{{{SERVER}}}{name}"


def apple(name: str) -> str:
    """Return the Clark name of an element of Apple's calendar namespace."""
    return f"{{{APPLE}}}{name}"


def escape(text: str) -> str:
    """Return `text` as element content. CRLF stays: clients take it and LF for the same."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quoted(segment: str) -> str:
    """Return one path segment for an href; ``@`` unescaped breaks Apple's clients."""
    return segment if _PLAIN.match(segment) else quote(segment, safe="")


def parts(tag: str) -> tuple[str, str]:
    """Return the start (without ``>``) and the end of an element with a Clark name."""
    namespace, _, name = tag[1:].rpartition("}") if tag.startswith("{") else ("", "", tag)
    prefix = _PREFIXES.get(namespace)
    if prefix:
        return f"<{prefix}:{name}", f"</{prefix}:{name}>"
    uri = escape(namespace).replace('"', "&quot;")
    return f'<{name} xmlns="{uri}"', f"</{name}>"


def element(tag: str, inner: str = "") -> str:
    """Return an element around XML text."""
    start, end = parts(tag)
    return f"{start}>{inner}{end}" if inner else f"{start}/>"


def href(path: str) -> str:
    """Return DAV:href; `path` is escaped for URLs already."""
    return f"<D:href>{escape(path)}</D:href>"


def propstat(props: Iterable[str], status: HTTPStatus, more: str = "") -> str:
    """Return one DAV:propstat; `more` goes behind the status (DAV:error)."""
    line = f"<D:status>HTTP/1.1 {status.value} {status.phrase}</D:status>"
    return f"<D:propstat><D:prop>{''.join(props)}</D:prop>{line}{more}</D:propstat>"


def response(path: str, found: Sequence[str], missing: Sequence[str], *, minimal: bool) -> str:
    """Return DAV:response of a resource; `missing` are tags (RFC 8144: not if minimal)."""
    stats = propstat(found, HTTPStatus.OK) if found or minimal or not missing else ""
    if missing and not minimal:
        stats += propstat((element(tag) for tag in missing), HTTPStatus.NOT_FOUND)
    return f"<D:response>{href(path)}{stats}</D:response>"


def status_response(path: str, status: HTTPStatus, more: str = "") -> str:
    """Return DAV:response of a resource as a whole: gone, or too many of them."""
    line = f"<D:status>HTTP/1.1 {status.value} {status.phrase}</D:status>"
    return f"<D:response>{href(path)}{line}{more}</D:response>"


def multistatus(responses: Iterable[str], more: str = "") -> bytes:
    """Return a whole 207 body.

    `responses` are encoded as they come: of a long list only the answer itself is held.
    """
    body = io.BytesIO()
    body.write(HEAD.encode())
    rest = iter(responses)
    while part := "".join(itertools.islice(rest, _AT_ONCE)):
        body.write(part.encode())
    body.write(f"{more}{TAIL}".encode())
    return body.getvalue()


def error_element(conditions: str) -> str:
    """Return DAV:error around condition elements."""
    return f"<D:error>{conditions}</D:error>"


def error_body(conditions: str) -> bytes:
    """Return a whole error body (RFC 4918 section 16)."""
    return f"{_HEAD}<D:error{_DECLARED}>{conditions}</D:error>\n".encode()
