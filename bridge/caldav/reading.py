"""OPTIONS, PROPFIND, REPORT, GET: what clients read."""

from __future__ import annotations

import itertools
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from bridge.caldav import conditions, preferences, query, requestxml
from bridge.caldav.answers import Answer
from bridge.caldav.collection import Collection, Kind, Member
from bridge.caldav.multistatus import (
    CONTENT_TYPE,
    caldav,
    dav,
    element,
    error_element,
    multistatus,
    status_response,
)
from bridge.caldav.properties import MEMBER_TYPE, MemberWriter, collection_response, http_date
from bridge.errors import Invalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from xml.etree.ElementTree import Element

    from bridge.caldav.call import Call
    from bridge.caldav.requestxml import Asked

DAV_HEADER: Final = (
    "1, 3, access-control, extended-mkcol, calendar-access, "
    "calendar-managed-attachments, calendar-managed-attachments-no-recurrence, resource-sharing"
)
"""Only what is true: no locks, so no class 2."""
ALLOW: Final = (
    "OPTIONS, GET, HEAD, POST, PUT, DELETE, MOVE, PROPFIND, PROPPATCH, REPORT, MKCALENDAR, MKCOL"
)
_PAGE: Final = b"This address is for CalDAV clients: task lists are here.\n"


def options() -> Answer:
    """Answer OPTIONS, also without a login (Thunderbird and Evolution ask like that)."""
    return Answer(status=HTTPStatus.OK, headers={"DAV": DAV_HEADER, "Allow": ALLOW}, body=b"")


def _answer(body: bytes) -> Answer:
    headers = {"Content-Type": CONTENT_TYPE, "DAV": DAV_HEADER}
    return Answer(status=HTTPStatus.MULTI_STATUS, headers=headers, body=body)


# -- PROPFIND ----------------------------------------------------------------------------


def propfind(call: Call) -> Answer:
    """Answer PROPFIND (RFC 4918 section 9.1) with Depth 0 or 1.

    Raises:
        Invalid: ``bad-xml``, ``propfind-finite-depth``.
        NotFound: there is nothing of that name.
    """
    depth = call.headers.get("depth", "0").strip().lower()
    if depth not in {"0", "1"}:
        raise Invalid("propfind-finite-depth", "ask with Depth 0 or 1")
    asked = requestxml.propfind(requestxml.parse(call.body))
    collection = call.collection()
    if collection is None:
        return _answer(multistatus([_task_properties(call, asked)]))
    return _answer(multistatus(_collection_properties(call, collection, asked, depth)))


def _task_properties(call: Call, asked: Asked) -> str:
    collection, name = call.task()
    member = call.reader.member(collection, name)
    if member is None:
        raise NotFound("no-task", "there is no such task")
    writer = MemberWriter(
        collection=collection, frame=call.frame, asked=asked, minimal=call.minimal
    )
    return writer.write(member)


def _collection_properties(
    call: Call, collection: Collection, asked: Asked, depth: str
) -> Iterator[str]:
    frame = call.frame
    minimal = call.minimal
    # The root is reached under several paths; each answer names the one that was asked.
    path = call.href if collection.kind is Kind.ROOT else ""
    if depth == "0" or preferences.NO_ROOT not in preferences.preferred(call.headers):
        yield collection_response(collection, frame, asked, minimal=minimal, path=path)
    if depth == "0":
        return
    if collection.kind is Kind.ROOT:
        yield collection_response(call.reader.home(), frame, asked, minimal=minimal)
    elif collection.kind is Kind.HOME:
        for each in call.reader.lists():
            yield collection_response(each, frame, asked, minimal=minimal)
    else:
        writer = MemberWriter(collection=collection, frame=frame, asked=asked, minimal=minimal)
        members = call.reader.listing(collection)
        yield from map(writer.write, members)


# -- GET ---------------------------------------------------------------------------------


def get(call: Call) -> Answer:
    """Answer GET and HEAD: a task, or a line of text for people who open a list.

    A list gives no calendar file: Thunderbird would offer it as a second, read-only one.

    Raises:
        NotFound: there is nothing of that name.
    """
    if call.collection() is not None:
        return Answer(
            status=HTTPStatus.OK,
            headers={"Content-Type": "text/plain; charset=utf-8", "DAV": DAV_HEADER},
            body=_PAGE,
        )
    collection, name = call.task()
    member = call.reader.member(collection, name)
    if member is None or member.text is None:
        raise NotFound("no-task", "there is no such task")
    headers = {"ETag": member.etag, "Last-Modified": http_date(member.modified)}
    if conditions.unmodified(call.headers.get("if-none-match"), member.etag):
        return Answer(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    _note_served(call, collection, member)
    return Answer(
        status=HTTPStatus.OK,
        headers=headers | {"Content-Type": MEMBER_TYPE},
        body=member.text.encode(),
    )


def _note_served(call: Call, collection: Collection, member: Member) -> None:
    if collection.project is not None and member.text is not None:
        call.door.served.note(call.client, collection.project, member.href, member.text)


def _noting(call: Call, collection: Collection, writer: MemberWriter) -> Callable[[Member], None]:
    """Return what notes that the client knows a member, where it gets whole tasks."""
    client, project, served = call.client, collection.project, call.door.served
    if project is None or not writer.serves_whole:
        return lambda _: None

    def note(member: Member) -> None:
        if member.text is not None:
            served.note(client, project, member.href, member.text)

    return note


# -- REPORT ------------------------------------------------------------------------------


def report(call: Call) -> Answer | None:
    """Answer REPORT; None for one that the protocol engine may know.

    Raises:
        Invalid: ``bad-xml``, ``supported-report``, ``valid-sync-token``, a filter's codes.
        NotFound: there is nothing of that name.
    """
    root = requestxml.parse(call.body)
    if root is None:
        raise Invalid("bad-xml", "a REPORT needs a body")
    handler = _REPORTS.get(root.tag)
    return handler(call, root) if handler else None


def _list_of(call: Call) -> Collection:
    collection = call.collection()
    if collection is None:
        collection, _ = call.task()
    if not collection.is_list:
        raise Invalid("supported-report", "this report is for lists of tasks")
    return collection


def _writer(call: Call, collection: Collection, asked: Asked) -> MemberWriter:
    return MemberWriter(collection=collection, frame=call.frame, asked=asked, minimal=call.minimal)


def _multiget(call: Call, root: Element) -> Answer:
    """RFC 4791 section 7.9; one missing member never spoils the others."""
    collection = _list_of(call)
    wanted = requestxml.multiget(root)
    writer = _writer(call, collection, wanted.asked)
    names = {href: _member_name(call, collection, href) for href in wanted.hrefs}
    members = call.reader.members(collection, [name for name in names.values() if name])
    note = _noting(call, collection, writer)

    def answers() -> Iterator[str]:
        for href, name in names.items():
            member = members.get(name) if name else None
            if member is None:
                yield status_response(href, HTTPStatus.NOT_FOUND)
            else:
                yield writer.write(member, href)
                note(member)

    return _answer(multistatus(answers()))


def _member_name(call: Call, collection: Collection, href: str) -> str | None:
    """Return the member's name, None for what is not in this collection."""
    path = urlsplit(href).path if "://" in href[:9] else href
    prefix = call.door.settings.prefix
    segments = path.split("/")
    expected = [*prefix.split("/"), call.user, collection.segment]
    if len(segments) != len(expected) + 1:
        return None
    decoded = [unquote(segment) for segment in segments]
    user_at = len(expected) - 2
    decoded[user_at] = decoded[user_at].lower()
    return decoded[-1] if decoded[:-1] == expected else None


def _sync(call: Call, root: Element) -> Answer:
    """RFC 6578: Depth 0 and 1 mean the same here, Evolution sends 0 and Thunderbird 1."""
    collection = _list_of(call)
    wanted = requestxml.sync(root)
    writer = _writer(call, collection, wanted.asked)
    if not wanted.token and wanted.limit is None:
        token = collection.sync_token
        members: Iterable[Member] = call.reader.listing(collection)
        more = False
    else:
        after = call.reader.since(collection, wanted.token) if wanted.token else 0
        if after is None:
            raise Invalid("valid-sync-token", "this list never gave out that token")
        members, token, more = call.reader.changes(collection, after, wanted.limit)
        if not wanted.token:
            members = [member for member in members if member.etag]
    answers = _sync_answers(call, collection, writer, members)
    if more:
        condition = error_element(element(dav("number-of-matches-within-limits")))
        path = call.frame.path(collection)
        over = status_response(path, HTTPStatus.INSUFFICIENT_STORAGE, condition)
        answers = itertools.chain(answers, [over])
    return _answer(multistatus(answers, element(dav("sync-token"), token)))


def _sync_answers(
    call: Call, collection: Collection, writer: MemberWriter, members: Iterable[Member]
) -> Iterator[str]:
    texts: Mapping[str, Member] = {}
    if writer.wants_text:
        members = list(members)
        texts = call.reader.members(collection, [m.href for m in members if m.etag])
    for member in members:
        if member.etag:
            yield writer.write(texts.get(member.href, member))
        else:
            yield status_response(writer.path(member.href), HTTPStatus.NOT_FOUND)


def _query(call: Call, root: Element) -> Answer:
    """RFC 4791 section 7.8; Evolution's Depth 0 means the members as well."""
    collection = _list_of(call)
    asked = requestxml.report_asked(root)
    wanted = query.parse(root.findall(caldav("filter")))
    writer = _writer(call, collection, asked)
    note = _noting(call, collection, writer)

    def answers() -> Iterator[str]:
        for member in call.reader.matching(collection, wanted, texts=writer.wants_text):
            yield writer.write(member)
            note(member)

    return _answer(multistatus(answers()))


_REPORTS: Final[Mapping[str, Callable[[Call, Element], Answer]]] = {
    caldav("calendar-multiget"): _multiget,
    caldav("calendar-query"): _query,
    dav("sync-collection"): _sync,
}
