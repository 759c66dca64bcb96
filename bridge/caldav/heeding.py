"""What is done about preferences (RFC 7240, RFC 8144).

``return=minimal`` (or ``Brief: t``): no 404 propstats, and nothing at all for a PROPPATCH
that did everything. ``return=representation``: a PUT is answered with the task as it is
served now, with its ETag, also when it came too late (412): a client whose lines were merged
saves a request. ``depth-noroot``: a listing without the collection itself. What was heeded is
said in Preference-Applied.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from bridge.caldav.preferences import MINIMAL, NO_ROOT, REPRESENTATION, preferred
from bridge.caldav.properties import MEMBER_TYPE

if TYPE_CHECKING:
    from bridge.caldav.answers import Answer
    from bridge.caldav.call import Call

_DEPTH_OF_TASK: Final = 3
_LATE: Final = HTTPStatus.PRECONDITION_FAILED
_DONE: Final = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})


def heeded(call: Call, answer: Answer) -> Answer:
    """Return `answer` with the representation where it was asked for, saying what was heeded."""
    wishes = preferred(call.headers)
    if not wishes:
        return answer
    told: list[str] = []
    if answer.status is HTTPStatus.MULTI_STATUS or call.method == "PROPPATCH":
        told += [MINIMAL] if MINIMAL in wishes else []
        told += [NO_ROOT] if NO_ROOT in wishes and call.method == "PROPFIND" else []
    elif REPRESENTATION in wishes and call.method in {"PUT", "POST"}:
        shown = _represented(call, answer)
        if shown is not None:
            answer, told = shown, [REPRESENTATION]
    if not told:
        return answer
    said = {"Preference-Applied": ", ".join(told), "Vary": "Prefer, Brief"}
    return replace(answer, headers=dict(answer.headers) | said)


def _represented(call: Call, answer: Answer) -> Answer | None:
    """Return the answer to a PUT with the task in it; None where there is none."""
    if answer.status not in _DONE and answer.status is not _LATE:
        return None
    if len(call.parts) != _DEPTH_OF_TASK or (call.method == "POST" and answer.status is _LATE):
        return None
    collection, name = call.task()
    member = call.reader.member(collection, name)
    if member is None or member.text is None:
        return None
    if collection.project is not None:
        call.door.served.note(call.client, collection.project, member.href, member.text)
    headers = {"ETag": member.etag, "Content-Type": MEMBER_TYPE, "Content-Location": call.href}
    status = HTTPStatus.OK if answer.status is HTTPStatus.NO_CONTENT else answer.status
    kept = {k: v for k, v in answer.headers.items() if k.lower() not in {"etag", "content-type"}}
    return replace(answer, status=status, headers=kept | headers, body=member.text.encode())
