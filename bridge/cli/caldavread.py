"""Reading one task back over CalDAV (RFC 4791), as a calendar client does.

Promises a real request to the listener with an app password; used to show and to check
that what was committed is what clients see. Plain HTTP, for this machine only.
"""

from __future__ import annotations

import base64
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree as DefusedTree  # type: ignore[import-untyped]  # ships no types
from defusedxml import DefusedXmlException

from bridge.errors import NotFound, Unavailable, Untrusted
from bridge.model.ids import task_hex

if TYPE_CHECKING:
    from bridge.model.ids import Address, TaskId

_SECONDS: Final = 30.0
_ANSWER_MAX: Final = 1 << 20
_UNAUTHORIZED: Final = 401
_OK: Final = 200
_MULTISTATUS: Final = 207
_QUERY: Final = """\
<?xml version="1.0" encoding="utf-8"?>
<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
  <D:prop><D:getetag/></D:prop>
  <C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VTODO">
    <C:prop-filter name="UID"><C:text-match>{uid}</C:text-match></C:prop-filter>
  </C:comp-filter></C:comp-filter></C:filter>
</C:calendar-query>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A task as CalDAV gives it: `text` is iCalendar."""

    path: str
    etag: str
    text: str


class CalDav:
    """A client of one user's personal list."""

    def __init__(self, server: tuple[str, int], user: Address, password: str) -> None:
        """Sign in to `server` (host, port) as `user` with an app password."""
        self._server = server
        self.collection = f"/dav/{quote(user, safe='')}/personal/"
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {token}",
            "Content-Type": "application/xml; charset=utf-8",
            "Depth": "1",
        }

    def find(self, task: TaskId) -> Found:
        """Return `task`, looked for by its UID and then fetched.

        Raises:
            NotFound: ``step-failed``: the list does not have it.
            Untrusted: ``step-failed``: the password is refused.
            Unavailable: ``step-failed``: any other answer, or none.
        """
        query = _QUERY.format(uid=task_hex(task))
        _, body = self._ask("REPORT", self.collection, _MULTISTATUS, query)
        try:
            hrefs = [one.text or "" for one in DefusedTree.fromstring(body).iter("{DAV:}href")]
        except (ParseError, DefusedXmlException) as error:
            raise Unavailable("step-failed", f"the answer is not XML: {error}") from None
        if len(hrefs) != 1:
            raise NotFound("step-failed", f"{self.collection} has {len(hrefs)} tasks of this id")
        etag, text = self._ask("GET", hrefs[0], _OK)
        return Found(path=hrefs[0], etag=etag, text=text.decode(errors="replace"))

    def _ask(self, method: str, path: str, expected: int, body: str = "") -> tuple[str, bytes]:
        """Return ETag and body of an answer with the status that is expected."""
        try:
            with closing(HTTPConnection(*self._server, timeout=_SECONDS)) as connection:
                connection.request(method, path, body.encode(), self._headers)
                answer = connection.getresponse()
                status, content = answer.status, answer.read(_ANSWER_MAX)
        except (OSError, HTTPException) as error:
            raise Unavailable("step-failed", f"{method} has no answer: {error}") from error
        if status == _UNAUTHORIZED:
            raise Untrusted(
                "step-failed",
                "the stored app password is refused",
                hint="remove the directory of the example domain and start again",
            )
        if status != expected:
            raise Unavailable("step-failed", f"{method} was answered with {status}")
        return answer.headers.get("ETag", ""), content
