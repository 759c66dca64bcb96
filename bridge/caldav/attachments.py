"""Managed attachments on the project's blobs (RFC 8607).

POST to a task with ``?action=attachment-add``, ``-update`` or ``-remove``; the bytes become a
blob, the managed id is its SHA-256, and the task gets an ATTACH line with MANAGED-ID that
`bridge.wire.vtodo_sets` reads as ``attach_<sha256>``. GET works for everybody who sees the
task: its address names task and digest and no user, because one text is served to all. What
comes out is a download and nothing that a browser would run. One task has one component
(``rid`` is refused); a MANAGED-ID of another server in a PUT stays as it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote

from bridge.caldav import answers, conditions
from bridge.caldav.answers import Answer
from bridge.caldav.call import ATTACHMENTS_MAX
from bridge.errors import BridgeError, Invalid, NotFound
from bridge.model.ids import Digest, parse_task, project_of
from bridge.model.roles import sees
from bridge.wire import contentline
from bridge.wire.vtodo_sets import take_attachment
from bridge.wire.vtodo_table import digest as line_digest
from bridge.worker.command import Conflict, Refused, SetKeys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.caldav.call import Call
    from bridge.model.ids import ProjectId
    from bridge.store.rows import TaskRow

SEGMENT: Final = "attachments"
"""First segment of the addresses of attachments; no user's address, for it has no ``@``."""
_NAME_MAX: Final = 200
_OCTETS: Final = "application/octet-stream"
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\Z")
_HOST = re.compile(r"(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?\Z", re.IGNORECASE)
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_FIELDS_MAX: Final = 10


# -- POST --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    """What a POST does: bytes to bring in (add, update), an id to take out (update, remove)."""

    brings: bool
    takes: bool
    done: HTTPStatus


_ACTIONS: Final = {
    "attachment-add": _Action(brings=True, takes=False, done=HTTPStatus.CREATED),
    "attachment-update": _Action(brings=True, takes=True, done=HTTPStatus.NO_CONTENT),
    "attachment-remove": _Action(brings=False, takes=True, done=HTTPStatus.NO_CONTENT),
}


def post(call: Call) -> Answer:
    """Answer POST with an action (RFC 8607 sections 3.4 to 3.7).

    Raises:
        Invalid: ``valid-action-parameter``, ``valid-managed-id-parameter``,
            ``valid-rid-parameter``, ``max-attachment-size``, ``max-attachments-per-resource``.
        NotFound: there is no such task.
    """
    fields = _fields(call.query)
    action = _ACTIONS.get(fields.get("action", ""))
    if action is None:
        raise Invalid("valid-action-parameter", "the action is no attachment-add, -update, -remove")
    if "rid" in fields:
        raise Invalid("valid-rid-parameter", "a task has one component, rid cannot be chosen")
    managed = fields.get("managed-id", "")
    if bool(managed) is not action.takes:
        raise Invalid("valid-managed-id-parameter", "update and remove name a managed id, add none")
    row = _row(call)
    if isinstance(row, Answer):
        return row
    found = call.door.gateway.index.task(row.task)
    keys = found.keys if found else {}
    # Whole keys, not a PUT: a missing line in a PUT is no deletion for most clients.
    changes: dict[str, str | None] = _gone(keys, managed) if action.takes else {}
    was = {key: keys[key] for key in changes}
    kept: _Kept | None = None
    if action.brings:
        _check_count(keys, fewer=bool(changes))
        kept = _keep(call, row)
        changes |= kept.keys
    outcome = call.door.submit(
        SetKeys(actor=call.actor, task=row.task, changes=changes, was=was or None)
    )
    if isinstance(outcome, Refused):
        return answers.refused(outcome, path=call.href, sibling=call.sibling)
    if isinstance(outcome, Conflict):
        return answers.conflict(outcome)
    headers = {"Cal-Managed-ID": kept.id} if kept else {}
    body = b"" if action.done is HTTPStatus.CREATED else None
    return Answer(status=action.done, headers=headers, body=body)


def _row(call: Call) -> TaskRow | Answer:
    """Return the task as it is, or 412 where that is not what the client expects."""
    collection, name = call.task()
    row = call.reader.row(collection, name)
    if row is None:
        raise NotFound("no-task", "there is no such task")
    expect = conditions.expectation(call.headers.get("if-match"), call.headers.get("if-none-match"))
    if not conditions.holds(expect, row.etag):
        return answers.conflict(Conflict(reason="the task has changed"))
    return row


def _fields(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_FIELDS_MAX))
    except ValueError:
        raise Invalid("valid-action-parameter", "the query has too many fields") from None


def _lines(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the kept ATTACH lines of a task by their keys."""
    return {key: raw for key, raw in keys.items() if key.startswith("ical.ATTACH.")}


def _gone(keys: Mapping[str, str], managed: str) -> dict[str, str | None]:
    """Return the changes that take an attachment away."""
    native = f"attach_{managed}"
    if native not in keys:
        raise Invalid("valid-managed-id-parameter", "this task has no such attachment")
    lines = (key for key, raw in _lines(keys).items() if native in take_attachment(raw))
    return dict.fromkeys((native, *lines))


def _check_count(keys: Mapping[str, str], *, fewer: bool) -> None:
    lines = _lines(keys)
    named = {name for raw in lines.values() for name in take_attachment(raw)}
    native = {key for key in keys if key.startswith("attach_")}
    if len(lines) + len(native - named) - fewer >= ATTACHMENTS_MAX:
        raise Invalid(
            "max-attachments-per-resource", f"a task may have at most {ATTACHMENTS_MAX} attachments"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A stored attachment: its managed id and the keys of its task."""

    id: str
    keys: Mapping[str, str]


def _keep(call: Call, row: TaskRow) -> _Kept:
    """Store the body as a blob."""
    most = call.door.settings.max_attachment_octets
    state = call.reader.state(row.project)
    if state is None or state.role_of(call.user) is None:
        raise NotFound("no-task", "there is no such task")
    if len(call.body) > most:
        raise Invalid("max-attachment-size", f"an attachment may have at most {most} octets")
    try:
        digest = call.door.gateway.keep_blob(row.project, call.body)
    except Invalid as error:
        raise Invalid("max-attachment-size", error.public) from None
    managed = digest.removeprefix("sha256:")
    params = (
        ("MANAGED-ID", managed),
        ("FMTTYPE", _media_type(call.headers.get("content-type", ""))),
        ("FILENAME", contentline.quote(_file_name(call.headers.get("content-disposition", "")))),
        ("SIZE", str(len(call.body))),
    )
    line = contentline.join("ATTACH", params, _address(call, row, managed))
    return _Kept(
        id=managed, keys={f"ical.ATTACH.{line_digest(line)}": line, **take_attachment(line)}
    )


def _media_type(header: str) -> str:
    kind = header.partition(";")[0].strip().lower()
    return kind if _TYPE.match(kind) else _OCTETS


def _file_name(header: str) -> str:
    """Return the name in a Content-Disposition header, without path and control characters."""
    fields = Message()
    try:
        fields["Content-Disposition"] = header.encode("latin-1").decode("utf-8", "replace")
        named = fields.get_filename("")
    except (ValueError, LookupError, UnicodeError):
        named = ""
    last = named.replace("\\", "/").rpartition("/")[2]
    shown = "".join(c for c in last if c.isprintable() and c not in '"^').strip(" .")
    return shown[:_NAME_MAX] or "attachment"


def _address(call: Call, row: TaskRow, managed: str) -> str:
    """Return the URL of an attachment: under the name by which its sender reaches us."""
    told = call.headers.get("x-forwarded-host", "") or call.headers.get("host", "")
    host = told if _HOST.match(told) else call.door.gateway.domain
    scheme = "http" if _LOOPBACK.match(host) else "https"
    task = quote(row.task, safe="")
    return f"{scheme}://{host}{call.door.settings.prefix}/{SEGMENT}/{task}/{managed}"


# -- GET ---------------------------------------------------------------------------------


def get(call: Call) -> Answer:
    """Answer GET and HEAD of an attachment.

    Raises:
        NotFound: ``no-attachment``: there is none, or none that the user may see.
    """
    nothing = NotFound("no-attachment", "there is no such attachment")
    if len(call.parts) != 3 or not _DIGEST.match(call.parts[2]):  # noqa: PLR2004 - as `_address` writes
        raise nothing
    digest = Digest("sha256:" + call.parts[2])
    try:
        task = parse_task(call.parts[1])
    except BridgeError:
        raise nothing from None
    found = call.door.gateway.index.found(task)
    state = call.reader.state(project_of(task))
    if found is None or state is None or found[1].deleted or "archived" in state.policy:
        raise nothing
    facts = found[0].keys.get("attach_" + call.parts[2])
    if facts is None or not sees(call.user, state, found[0]):
        raise nothing
    headers = {"ETag": f'"{call.parts[2]}"', "Cache-Control": "private, no-cache"}
    if conditions.unmodified(call.headers.get("if-none-match"), headers["ETag"]):
        return Answer(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return _download(call, project_of(task), digest, facts, headers)


def _download(
    call: Call, project: ProjectId, digest: Digest, facts: str, headers: dict[str, str]
) -> Answer:
    try:
        told = json.loads(facts)
    except (ValueError, RecursionError):
        told = {}
    told = told if isinstance(told, dict) else {}
    name = quote(str(told.get("name") or "attachment")[:_NAME_MAX], safe="")
    headers |= {
        "Content-Type": _media_type(str(told.get("type", ""))),
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    body = call.door.gateway.blobs.read(project, digest)
    return Answer(status=HTTPStatus.OK, headers=headers, body=body)
