"""Rows of the index: what CalDAV, the CLI and search read of a task (design section 3).

A row is a pure function of the log: `task_row` makes the same row, byte for byte, when
the index is rebuilt. The text that a client PUT is served unchanged, with the same ETag,
until another patch changes the task; then the text is rendered from the keys.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from bridge.model import related
from bridge.model.ids import ProjectId, TaskId, parse_digest, project_of, task_hex
from bridge.wire import vtodo

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.model.ids import Address, Digest, PatchId
    from bridge.model.log import Entry
    from bridge.model.patch import Role, Via
    from bridge.model.state import ProjectState, TaskState
    from bridge.store import Place
    from bridge.wire.vtodo import Facts


BLOB: Final = "blob:"
"""Starts a value that is the digest of a blob: it was too long for a patch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task as clients see it.

    Attributes:
        href: last segment of its path, percent-decoded; unique among the project's tasks.
        etag: quoted strong ETag: a hash of `text`.
        text: the whole VCALENDAR as served, CRLF lines.
        seq: the entry that last changed it.
        deleted: True for a tombstone, kept so that a sync can name what went.
        modified: the master's time of that entry, ``YYYY-MM-DDTHH:MM:SS.sssZ``.
    """

    project: ProjectId
    task: TaskId
    seq: int
    href: str
    uid: str
    etag: str
    text: str
    deleted: bool
    created: str
    modified: str


class Listed(NamedTuple):
    """A member of a collection; `etag` is empty for one that went.

    A tuple, because a listing makes one of each row.

    Attributes:
        size: octets of its text.
        text: None where only its facts were read.
        sure: False where a filter has to look at the text.
    """

    href: str
    etag: str
    seq: int
    size: int
    modified: str
    text: str | None = None
    sure: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectCard:
    """A project in somebody's home."""

    project: ProjectId
    role: Role
    seq: int
    name: str
    color: str
    archived: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow:
    """An entry's facts without its body, for histories and for looking one up."""

    project: ProjectId
    seq: int
    hash: Digest
    patch: PatchId
    task: TaskId | None
    author: Address
    via: Via
    ts: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """One committed entry with the states that it led to: what the index takes in."""

    entry: Entry
    place: Place
    project: ProjectState
    task: TaskState | None
    row: TaskRow | None
    facts: Facts | None


def default_href(task: TaskId) -> str:
    """Return the name of a task that no client has named."""
    return f"{task_hex(task)}.ics"


def etag_of(text: str) -> str:
    """Return the quoted strong ETag of a text: it changes if and only if a byte does."""
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def task_row(
    state: TaskState, entry: Entry, text_of: Callable[[ProjectId, Digest], str]
) -> tuple[TaskRow, Facts]:
    """Return the row of a task after `entry`, and the facts that queries ask for."""
    keys = state.keys
    project = project_of(state.id)
    text = _sent_text(entry, text_of)
    if text is None:
        shown = {
            key: text_of(project, parse_digest(value.removeprefix(BLOB)))
            if value.startswith(BLOB)
            else value
            for key, value in related.by_uid(keys).items()
        }
        text = vtodo.render(
            shown, task=state.id, created=state.created_at, modified=state.modified_at
        )
    row = TaskRow(
        project=project,
        task=state.id,
        seq=entry.seq,
        href=keys.get("ical.href") or default_href(state.id),
        uid=keys.get("ical.uid") or state.id,
        etag=etag_of(text),
        text=text,
        deleted=state.is_deleted,
        created=state.created_at,
        modified=state.modified_at,
    )
    return row, vtodo.facts(keys, created=state.created_at)


def _sent_text(entry: Entry, text_of: Callable[[ProjectId, Digest], str]) -> str | None:
    """Return the text that came with the patch, if all of the patch took effect."""
    text = entry.patch.text
    if text is None or entry.skipped:
        return None
    if text.startswith("sha256:"):
        return text_of(entry.project, parse_digest(text))
    return text
