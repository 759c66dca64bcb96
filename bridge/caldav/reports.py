"""REPORT: which of them are about homes and people, and which about tasks.

What is asked of a home, of the root or about properties that name others is answered here,
with a look at the whole body; reports about a list's tasks, which come all day, go to
`bridge.caldav.reading` at once.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from bridge.caldav import attachments, expansion, homesync, principals, reading, requestxml
from bridge.caldav.answers import Answer
from bridge.caldav.collection import Kind
from bridge.caldav.multistatus import CONTENT_TYPE, dav
from bridge.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from xml.etree.ElementTree import Element

    from bridge.caldav.call import Call

_DEPTH_OF_LIST: Final = 2
_MARKS: Final = (b"expand-property", b"principal-property-search", b"principal-search-property")


def report(call: Call) -> Answer | None:
    """Answer REPORT; None for one that the protocol engine may know.

    Raises:
        Invalid: as `bridge.caldav.reading.report`, ``sync-traversal-supported``.
        NotFound: there is nothing of that name.
    """
    if len(call.parts) >= _DEPTH_OF_LIST and not any(mark in call.body for mark in _MARKS):
        return reading.report(call)
    root = requestxml.parse(call.body)
    handler = _REPORTS.get(root.tag) if root is not None else None
    return handler(call, root) if handler and root is not None else reading.report(call)


def of_others(call: Call) -> Answer | None:
    """Answer what a user may ask outside of his own home; None: he may not.

    Raises:
        Invalid: ``bad-xml``.
        NotFound: there is no such attachment.
    """
    if call.parts[0] == attachments.SEGMENT and call.method in {"GET", "HEAD"}:
        return attachments.get(call)
    body = principals.propfind(call)
    return _answer(body) if body is not None else None


def _answer(body: bytes) -> Answer:
    headers = {"Content-Type": CONTENT_TYPE, "DAV": reading.DAV_HEADER}
    return Answer(status=HTTPStatus.MULTI_STATUS, headers=headers, body=body)


def _sync(call: Call, root: Element) -> Answer | None:
    collection = call.collection()
    if collection is None or collection.kind is not Kind.HOME:
        return reading.report(call)
    if call.headers.get("depth", "1").strip().lower() == "infinity":
        raise Invalid("sync-traversal-supported", "ask each list for its tasks")
    return _answer(homesync.report(root, call.reader.lists(), call.frame, minimal=call.minimal))


def _expand(call: Call, root: Element) -> Answer:
    return _answer(expansion.report(call, root))


def _search(call: Call, root: Element) -> Answer:
    _of_people(call)
    return _answer(principals.search(call, root))


def _searched(call: Call, _root: Element) -> Answer:
    _of_people(call)
    headers = {"Content-Type": CONTENT_TYPE}
    return Answer(status=HTTPStatus.OK, headers=headers, body=principals.search_properties())


def _of_people(call: Call) -> None:
    if len(call.parts) >= _DEPTH_OF_LIST:
        raise Invalid("supported-report", "people are searched from the root or from your home")


_REPORTS: Final[Mapping[str, Callable[[Call, Element], Answer | None]]] = {
    dav("sync-collection"): _sync,
    dav("expand-property"): _expand,
    dav("principal-property-search"): _search,
    dav("principal-search-property-set"): _searched,
}
