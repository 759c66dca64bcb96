"""A task as a CalDAV client sends it: PUT and MOVE as patches. Pure.

A PUT is a three-way merge of what this credential was last served, what it sent, and what
the log holds (design section 6); lines it did not touch keep what others wrote. The text
travels with the patch whenever the result is exactly what was sent: then, and only then,
the client may be told a strong ETag (RFC 4791 section 5.3.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.model import related
from bridge.model.ids import project_of
from bridge.model.patch import MAX_VALUE, Create, Op, Set
from bridge.model.state import ANNOTATION
from bridge.store.rows import BLOB, default_href
from bridge.wire import vtodo
from bridge.worker import occurrences
from bridge.worker.command import Conflict, Receipt, Refused
from bridge.worker.view import Answer, Keep, Plan, View, draft_of, no_project, no_task, unmet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.ids import ProjectId, TaskId
    from bridge.model.patch import Draft
    from bridge.model.state import TaskState
    from bridge.store.rows import TaskRow
    from bridge.worker.command import MoveTask, PutTask

INLINE: Final = 32 * 1024
"""Bytes of text that travel inside the patch; a longer text is a blob that it names."""
HREF: Final = "ical.href"
_COMMENTS: Final = (ANNOTATION, "ical.COMMENT.")
MOVED: Final = "tx.moved-from"
"""The task that this one was moved from, in another project."""


def put(command: PutTask, view: View, keep: Keep) -> Answer:
    """Return what a PUT means.

    Raises:
        Invalid: the body is no task that this collection can hold; the codes are the
            preconditions of RFC 4791 section 5.3.2.1.
    """
    project = command.project
    state = view.project(project)
    if state is None:
        return no_project()
    if state.role_of(command.actor.user) is None:
        # Before anything long is stored as a blob; `decide` judges every op afterwards.
        return Refused(code="not-a-member", reason="you are not a member of this project")
    holder = view.named(project, command.href)
    held = view.row(holder) if holder else None
    conflict = unmet(command.expect, held.etag if held else None)
    if conflict:
        return conflict
    sent = vtodo.read(command.text, task=holder)
    task_id = related.task_of_uid(project, sent.uid)
    clash = _uid_clash(task_id, holder, command.href, view)
    if clash:
        return clash
    task = view.task(task_id)
    if task is None and sent.uid == task_id:
        # A native id that we never gave out: read again as a client's own UID.
        sent = vtodo.read(command.text)
    return _written(_Put(command=command, sent=sent, task=task, held=held), task_id, view, keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Put:
    """A PUT that may be carried out: its body read, and what it meets."""

    command: PutTask
    sent: vtodo.Upload
    task: TaskState | None
    held: TaskRow | None


def _written(asked: _Put, task_id: TaskId, view: View, keep: Keep) -> Answer:
    command, sent, task, held = asked.command, asked.sent, asked.task, asked.held
    project = command.project
    known = vtodo.read(command.base, task=task_id) if command.base is not None else None
    plain = occurrences.without_overrides(sent.keys)
    wanted = related.by_id(project, _short(plain, project, keep))
    current = task.keys if task else {}
    changes = _merged(asked, wanted, known, keep)
    if command.href != default_href(task_id) or HREF in current:
        changes[HREF] = command.href
    final = {k: v for k, v in {**current, **changes}.items() if v is not None}
    exact = not sent.cleaned and not sent.overrides and _shown(final) == _shown(wanted)
    others: list[Draft] = []
    if sent.overrides:
        series = occurrences.Series(
            actor=command.actor,
            project=project,
            task=task_id,
            batch=f"occurrences:{task_id}:{held.seq if held else 0}",
            sent=sent,
            known=known,
            keys=final,
            short=lambda keys: _short(keys, project, keep),
        )
        apart = occurrences.take_apart(series, view)
        changes |= apart.changes
        others = apart.drafts
    ops: list[Op] = [Set(k, v) for k, v in sorted(changes.items()) if current.get(k) != v]
    if task is None:
        ops.insert(0, Create())
    elif not ops:
        if held and not others and (held.text == command.text or not exact):
            return Receipt(
                project=project, task=task_id, etag=held.etag, exact=exact, href=command.href
            )
        # Same task in other words: the text alone changes, carried by a key that stays.
        ops.append(Set("description", current.get("description")))
    text = _travelling(command.text, project, keep) if exact else None
    batch = others[0].batch if others else None
    draft = draft_of(command.actor, task_id, ops, text=text, batch=batch)
    return Plan(drafts=(draft, *others), task=task_id, sent=command.text)


def _uid_clash(task: TaskId, holder: TaskId | None, href: str, view: View) -> Refused | None:
    """A UID is unique in a collection, and a name keeps its UID (RFC 4791 5.3.2.1)."""
    if holder is not None and holder != task:
        return Refused(code="no-uid-conflict", reason="this name belongs to another UID", href=href)
    row = view.row(task)
    if holder is None and row is not None and not row.deleted:
        return Refused(
            code="no-uid-conflict",
            reason="the UID is used by another task of this project",
            href=row.href,
        )
    return None


def _merged(
    asked: _Put, wanted: Mapping[str, str], known: vtodo.Upload | None, keep: Keep
) -> dict[str, str | None]:
    task, project = asked.task, asked.command.project
    if task is None:
        return dict(vtodo.changes({}, wanted, {}))
    current = task.keys
    if task.is_deleted:
        # The client makes the task anew: nothing of the old one is its base.
        old = {key: None for key in current if key not in wanted}
        return {**old, "status": None, **vtodo.changes({}, wanted, {})}
    base = current
    if known is not None:
        served = occurrences.without_overrides(known.keys)
        base = related.by_id(project, _short(served, project, keep))
    shown = {key: value for key, value in base.items() if key != HREF}
    return dict(vtodo.changes(shown, wanted, current))


def _shown(keys: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what lines of the text stand for: keys, and comments whatever their seconds.

    A comment that a client sends without its second gets one from LAST-MODIFIED, which is
    another with each upload (DAVx5); the comment is the same.
    """
    comments = sorted(value for key, value in keys.items() if key.startswith(_COMMENTS))
    hidden = (HREF, MOVED)
    others = {k: v for k, v in keys.items() if k not in hidden and not k.startswith(_COMMENTS)}
    return others, comments


def _short(keys: Mapping[str, str], project: ProjectId, keep: Keep) -> dict[str, str]:
    """Return `keys` with values over 64 KiB (inline attachments) replaced by blobs' names."""
    return {
        key: value
        if len(value) <= MAX_VALUE // 4 or len(value.encode()) <= MAX_VALUE
        else BLOB + keep(project, value.encode())
        for key, value in keys.items()
    }


def _travelling(text: str, project: ProjectId, keep: Keep) -> str:
    data = text.encode()
    return text if len(data) <= INLINE else keep(project, data)


def move(command: MoveTask, view: View, now: str) -> Answer:
    """Return what a MOVE means: a new task there, the old one hidden, linked both ways."""
    row = view.row(command.task)
    task = view.task(command.task)
    if task is None or row is None or row.deleted:
        return no_task()
    if view.project(command.project) is None:
        return no_project()
    holder = view.named(command.project, command.href)
    target = view.row(holder) if holder else None
    if target is not None and not command.overwrite:
        return Conflict(reason="a task of this name exists already", etag=target.etag)
    if command.project == project_of(task.id):
        return _rename(command, task, row, holder)
    moved = related.task_of_uid(command.project, row.uid)
    clash = _uid_clash(moved, holder, command.href, view)
    if clash:
        return clash
    existing = view.task(moved)
    keys = {**task.keys, MOVED: str(task.id), "ical.uid": row.uid, HREF: command.href}
    ops: list[Op] = [] if existing else [Create()]
    stale = existing.keys.keys() - keys.keys() if existing else ()
    ops += [Set(key, None) for key in sorted(stale)]
    ops += [Set(key, value) for key, value in sorted(keys.items())]
    batch = f"move:{task.id}:{row.seq}"
    there = draft_of(command.actor, moved, ops, batch=batch, text=_if_exact(row.text, moved, keys))
    gone = (Set("status", "deleted"), Set("end", now))
    here = draft_of(command.actor, task.id, gone, batch=batch)
    return Plan(drafts=(there, here), task=moved)


def _if_exact(text: str, task: TaskId, keys: Mapping[str, str]) -> str | None:
    """Return `text` for the moved task if it still says all of its keys."""
    if len(text.encode()) > INLINE:
        return None
    read = related.by_id(project_of(task), vtodo.read(text).keys)
    return text if _shown(read) == _shown(keys) else None


def _rename(command: MoveTask, task: TaskState, row: TaskRow, holder: TaskId | None) -> Answer:
    if holder == task.id:
        return Receipt(project=command.project, task=task.id, href=command.href)
    if holder is not None:
        return Refused(
            code="no-uid-conflict", reason="this name belongs to another UID", href=command.href
        )
    ops = (Set(HREF, command.href),)
    text = _if_exact(row.text, task.id, task.keys)
    return Plan(drafts=(draft_of(command.actor, task.id, ops, text=text),), task=task.id)
