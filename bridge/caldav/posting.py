"""POST: what it means depends on where it goes and what it brings.

To a list: a task under a name that the server chooses (RFC 5995; DAV:add-member is the list
itself), or people to share it with (`bridge.caldav.sharing`). To a task with an action: an
attachment (`bridge.caldav.attachments`). Everything else is 405.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from bridge.caldav import attachments, heeding, sharing, writing
from bridge.caldav.call import DEPTH_OF_TASK
from bridge.caldav.upload import media_type
from bridge.errors import Invalid

if TYPE_CHECKING:
    from bridge.caldav.answers import Answer
    from bridge.caldav.call import Call

_DEPTH_OF_LIST: Final = 2
_XML: Final = frozenset({"application/xml", "text/xml"})


def post(call: Call) -> Answer:
    """Answer POST.

    Raises:
        Invalid: ``not-allowed`` where nothing can be posted, ``supported-calendar-data``,
            ``no-parent``; as `sharing.share`.
        NotFound: there is no such list.
    """
    if len(call.parts) == DEPTH_OF_TASK and call.query:
        return attachments.post(call)
    if len(call.parts) != _DEPTH_OF_LIST:
        raise Invalid("not-allowed", "nothing can be posted here")
    kind, _ = media_type(call.headers.get("content-type", ""))
    if kind == sharing.MEDIA_TYPE or (kind in _XML and b"share-resource" in call.body):
        return sharing.share(call)
    if kind != "text/calendar":
        raise Invalid("supported-calendar-data", "a list takes text/calendar, or people")
    return _add(call)


def _add(call: Call) -> Answer:
    """Add a task to a list (RFC 5995 section 3); a UID that is there already is a conflict."""
    name = f"{call.door.gateway.new_id()}.ics"
    href = f"{call.href.rstrip('/')}/{name}"
    named = replace(call, parts=(*call.parts, name), href=href)
    answer = heeding.heeded(named, writing.put(named))
    if answer.status is not HTTPStatus.CREATED:
        return answer
    return replace(answer, headers=dict(answer.headers) | {"Location": href})
