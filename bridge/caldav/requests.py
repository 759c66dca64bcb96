"""The Requests collection: what others ask of the user, as tasks in any client.

Shown: each waiting request as a VTODO in NEEDS-ACTION; its notes begin with who asks and how
far that is proven. Understood (RFC 5546 section 3.4 in spirit): starting or completing the
task, or PARTSTAT=ACCEPTED, accepts; CANCELLED, PARTSTAT=DECLINED or DELETE declines; moving
it into a list accepts it there. Most clients move by PUT of the new and DELETE of the old
(in this order), so a new task with a request's UID is an acceptance too: the UID served here
names the request. Other edits are refused until the request is accepted; what programs
write by themselves (alarm acknowledgements, X- lines) is passed over.
"""

from __future__ import annotations

import re
import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from bridge.caldav.collection import Member
from bridge.model.ids import ProjectId, task_id
from bridge.model.request import Direction, Level, Side
from bridge.model.state import ASSIGNEE
from bridge.store.rows import etag_of
from bridge.wire import vtodo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.model.ids import Address
    from bridge.model.request import Request
    from bridge.store.directory_contract import Directory

_UID: Final = "request-"
_HREF = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.ics\Z")
_UID_LINE = re.compile(r"^UID(?:;[^:\r\n]*)?:request-([0-9a-f]{32})\r?$", re.MULTILINE)
_PROVEN: Final[Mapping[Level, str]] = {
    Level.PERSON: "Proven: this person signed it",
    Level.DOMAIN: "Proven is only the domain it was sent from, not the person",
    Level.NONE: "Not proven: anybody may have written this in the sender's name",
}
_METHODS: Final[Mapping[str, str]] = {
    "smime": "S/MIME",
    "openpgp": "OpenPGP",
    "dkim": "DKIM",
    "tx": "TX",
    "local": "this server",
}
# What a program may change by itself without a person's doing.
_NOISE = re.compile(r"ical\.(?:X-|PRODID|VCALENDAR|VTIMEZONE|VALARM|SEQUENCE|CREATED|CLASS)")


class Meaning(StrEnum):
    """What a PUT to a request says."""

    ACCEPT = "accept"
    DECLINE = "decline"
    NOTHING = "nothing"
    EDIT = "edit"


def href_of(request: uuid.UUID) -> str:
    """Return the name of a request in the collection."""
    return f"{request}.ics"


def find(directory: Directory, user: Address, href: str) -> Request | None:
    """Return the waiting request of that name."""
    if not _HREF.match(href):
        return None
    return _waiting(directory, user, uuid.UUID(href[:-4]))


def named_by(directory: Directory, user: Address, text: str) -> Request | None:
    """Return the waiting request that a task's UID names, from its text."""
    if _UID not in text:
        return None
    found = _UID_LINE.search(text)
    return _waiting(directory, user, uuid.UUID(found[1])) if found else None


def _waiting(directory: Directory, user: Address, identity: uuid.UUID) -> Request | None:
    request = directory.requests.get(Side(user, Direction.RECEIVED, identity))
    return request if request is not None and request.waits else None


def uid_of(request: Request) -> str:
    """Return the UID under which a request is served and, accepted, remains."""
    return _UID + request.id.hex


def member(request: Request) -> Member:
    """Return a request as a member of the collection."""
    text = render(request)
    return Member(
        href=href_of(request.id),
        etag=etag_of(text),
        seq=0,
        size=len(text.encode()),
        modified=_moment(request),
        text=text,
    )


def changed(requests: Iterable[Request]) -> list[Member]:
    """Return changed requests as members; those that wait no more have an empty etag."""
    return [
        member(request)
        if request.waits
        else Member(href=href_of(request.id), etag="", seq=0, size=0, modified="")
        for request in requests
        if request.direction is Direction.RECEIVED
    ]


def render(request: Request) -> str:
    """Return the VCALENDAR of a request; it depends on the request alone."""
    user = request.recipient
    keys = _asked(request) | {
        "description": request.preview.title or "(no title)",
        "notes": _notes(request),
        "status": "needs_action",
        "ical.uid": uid_of(request),
        "ical.ORGANIZER": f"ORGANIZER:mailto:{request.sender}",
        ASSIGNEE + user: "requested",
    }
    for key in ("end", "start", "progress", "ical.STATUS", "ical.COMPLETED"):
        keys.pop(key, None)
    moment = _moment(request)
    task = task_id(request.id, ProjectId(user))
    return vtodo.render(keys, task=task, created=moment, modified=moment)


def _asked(request: Request) -> dict[str, str]:
    asked = request.fields.get("keys")
    if isinstance(asked, dict):
        return {str(key): str(value) for key, value in asked.items()}
    preview = request.preview
    return {
        key: value for key, value in (("due", preview.due), ("priority", preview.priority)) if value
    }


def _notes(request: Request) -> str:
    method = _METHODS.get(request.method, request.method)
    proven = _PROVEN[request.level] + (f" ({method})." if method else ".")
    lines = [f"{request.sender} asks you to take this task.", proven]
    if request.proof_reason:
        lines.append(request.proof_reason)
    if request.project_hint:
        lines.append(f"Meant for: {request.project_hint}")
    lines.append(
        "Accept: start or complete it, or move it into one of your lists. "
        "Decline: delete or cancel it."
    )
    if request.preview.notes:
        lines += ["", request.preview.notes]
    return "\n".join(lines)


def _moment(request: Request) -> str:
    return request.created.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def meaning(request: Request, sent: str) -> tuple[Meaning, dict[str, str | None]]:
    """Return what a PUT to a request says, and the keys that it changes on acceptance.

    Raises:
        Invalid: as `bridge.wire.vtodo.read`.
    """
    now = vtodo.read(sent).keys
    changes = changes_in(request, sent)
    answer = now.get(ASSIGNEE + request.recipient)
    status = now.get("status")
    if status == "cancelled" or answer == "declined":
        return Meaning.DECLINE, {}
    if status in {"completed", "in_progress"} or answer == "accepted":
        return Meaning.ACCEPT, changes
    if all(_NOISE.match(key) for key in changes):
        return Meaning.NOTHING, {}
    return Meaning.EDIT, {}


def changes_in(request: Request, sent: str) -> dict[str, str | None]:
    """Return the keys in which a client's text differs from the request as it was served.

    The notes count only without what was put before them here.

    Raises:
        Invalid: as `bridge.wire.vtodo.read`.
    """
    base = vtodo.read(render(request)).keys
    changes = vtodo.changes(base, vtodo.read(sent).keys, base)
    preface = _notes(request).removesuffix(request.preview.notes)
    notes = changes.get("notes")
    if notes is not None:
        changes["notes"] = notes.removeprefix(preface)
    return changes
