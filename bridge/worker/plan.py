"""From what a door asks to the patches that say it. Pure: ``(command, view, now) -> plan``.

The rules of the log (roles, merging) are not here: `bridge.model.merge.decide` judges the
drafts afterwards, whoever made them. What is here is what a command means.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bridge.model import history, related
from bridge.model.ids import TaskId, domain_of, project_of
from bridge.model.patch import Create, Draft, Key, Member, Mode, Policy, Role, Set, Via
from bridge.model.state import ANNOTATION, ATTACHMENT, DEPENDS
from bridge.wire import vtodo_sequence
from bridge.worker import upload
from bridge.worker.command import (
    Annotate,
    ArchiveProject,
    Attach,
    CompleteTask,
    Conflict,
    CreateProject,
    CreateTask,
    DeleteTask,
    MoveTask,
    Need,
    PutTask,
    Receipt,
    Refused,
    Revert,
    SetKeys,
    SetMember,
    SetPolicy,
)
from bridge.worker.view import Answer, House, Keep, Plan, View, draft_of, no_project, no_task, unmet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from bridge.model.ids import ProjectId
    from bridge.model.patch import Op
    from bridge.model.state import TaskState
    from bridge.worker.command import Actor

TaskCommand = (
    CreateTask | SetKeys | CompleteTask | DeleteTask | Annotate | Attach | PutTask | MoveTask
)
ProjectCommand = CreateProject | SetPolicy | SetMember | ArchiveProject
Planned = TaskCommand | ProjectCommand | Revert


def plan(command: Planned, view: View, house: House, keep: Keep, now: datetime) -> Answer:
    """Return the patches that `command` means now, or why there are none.

    Raises:
        Invalid: the command carries something no task may hold.
    """
    match command:
        case CreateProject():
            return _create_project(command, view, house)
        case SetPolicy() | SetMember() | ArchiveProject():
            return _project_change(command, view)
        case Revert():
            return _revert(command, view)
        case _:
            return _of_task(command, view, keep, now)


def _of_task(command: TaskCommand, view: View, keep: Keep, now: datetime) -> Answer:
    match command:
        case CreateTask():
            return _create_task(command, view)
        case PutTask():
            return upload.put(command, view, keep)
        case MoveTask():
            return upload.move(command, view, instant(now))
        case _:
            return _task_change(command, view, now)


def instant(now: datetime) -> str:
    """Return `now` as a task key holds an instant: UTC, seconds."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


# -- projects ----------------------------------------------------------------------------


def _create_project(command: CreateProject, view: View, house: House) -> Answer:
    actor, project = command.actor, command.project
    if domain_of(project) != house.domain or domain_of(actor.user) != house.domain:
        return Refused(
            code="not-here", reason=f"projects of {domain_of(project)} are made on that domain"
        )
    state = view.project(project)
    if state is not None:
        if state.creator == actor.user:
            return Receipt(project=project, seq=state.seq)
        return Refused(code="exists", reason="there is a project of this id already")
    if str(project) != actor.user and _may_be_mailbox(project):
        return Refused(code="forbidden", reason="a personal project belongs to its user")
    founding: list[Op] = [Member(actor.user, Role.CREATOR)]
    founding += [Policy(key, value) for key, value in command.policy.items()]
    first = _project_draft(actor, project, founding)
    record = Draft(
        project=project,
        subject=project,
        author=house.domain,
        via=Via.WORKER,
        ops=(Key(house.key, house.public),),
    )
    return Plan(drafts=(first, record))


_MADE_UNIQUE = 26
_BASE32 = frozenset("abcdefghijklmnopqrstuvwxyz234567")


def _may_be_mailbox(project: ProjectId) -> bool:
    """Tell whether somebody might be given this id as an address: ids we make cannot be one."""
    unique = project.rpartition("@")[0]
    return len(unique) != _MADE_UNIQUE or not _BASE32.issuperset(unique)


def _project_draft(actor: Actor, project: ProjectId, ops: Iterable[Op]) -> Draft:
    return Draft(
        project=project,
        subject=project,
        author=actor.user,
        via=actor.via,
        ops=tuple(ops),
        cause=actor.cause,
        evidence=actor.evidence,
    )


def _project_change(command: SetPolicy | SetMember | ArchiveProject, view: View) -> Answer:
    state = view.project(command.project)
    if state is None:
        return no_project()
    ops: list[Op]
    match command:
        case SetPolicy(policy=policy):
            ops = [Policy(k, v) for k, v in policy.items() if state.policy.get(k) != v]
        case SetMember(user=user, role=role, scope=scope):
            current = state.members.get(user)
            same = current is not None and (current.role, current.scope) == (role, scope)
            ops = [] if same or (current is None and role is None) else [Member(user, role, scope)]
        case ArchiveProject(actor=actor):
            if state.role_of(actor.user) is not Role.CREATOR or str(state.id) == actor.user:
                return Refused(
                    code="forbidden",
                    reason="only its creator may remove a project, and nobody a personal one",
                    need=Need.UNBIND,
                )
            ops = [] if "archived" in state.policy else [Policy("archived", "true")]
    if not ops:
        return Receipt(project=state.id)
    return Plan(drafts=(_project_draft(command.actor, state.id, ops),))


# -- tasks -------------------------------------------------------------------------------


def _create_task(command: CreateTask, view: View) -> Answer:
    project = project_of(command.task)
    if view.project(project) is None:
        return no_project()
    existing = view.task(command.task)
    if existing is not None:
        row = view.row(command.task)
        return Receipt(
            project=project,
            seq=existing.created_seq,
            task=existing.id,
            etag=row.etag if row else "",
            href=row.href if row else "",
        )
    keys = {"status": "needs_action", **_with_uids(command.keys, view)}
    ops: list[Op] = [Create(), *(Set(key, value) for key, value in keys.items())]
    return Plan(drafts=(draft_of(command.actor, command.task, ops),), task=command.task)


def _task_change(
    command: SetKeys | CompleteTask | DeleteTask | Annotate | Attach, view: View, now: datetime
) -> Answer:
    task = view.task(command.task)
    if task is None:
        return no_task()
    if isinstance(command, DeleteTask):
        row = view.row(task.id)
        if task.is_deleted or row is None:
            return no_task()
        conflict = unmet(command.expect, row.etag)
        if conflict:
            return conflict
    changes, mode = _changes(command, task, view, now), Mode.MERGE
    was: Mapping[str, str | None] | None = None
    if isinstance(command, SetKeys) and command.was is not None:
        was, mode = command.was, Mode.ATOMIC
        moved = [key for key, value in was.items() if task.value(key) != value]
        if moved:
            return Conflict(reason=f"{moved[0]} has changed meanwhile")
    ops: list[Op] = [
        Set(key, value, *([was[key]] if was and key in was else []))
        for key, value in changes.items()
        if task.value(key) != value
    ]
    if not ops:
        row = view.row(task.id)
        return Receipt(project=project_of(task.id), task=task.id, etag=row.etag if row else "")
    if not isinstance(command, DeleteTask):
        ops = _counted(ops, task)
    return Plan(drafts=(draft_of(command.actor, task.id, ops, mode=mode),), task=task.id)


def _counted(ops: Iterable[Op], task: TaskState) -> list[Op]:
    """Return `ops` with the SEQUENCE that they lead to; none sets it back."""
    kept = [op for op in ops if not (isinstance(op, Set) and op.key == vtodo_sequence.KEY)]
    line = vtodo_sequence.advanced(task.keys, (op.key for op in kept if isinstance(op, Set)))
    return [*kept, Set(vtodo_sequence.KEY, line)] if line and kept else kept


def _changes(
    command: SetKeys | CompleteTask | DeleteTask | Annotate | Attach,
    task: TaskState,
    view: View,
    now: datetime,
) -> Mapping[str, str | None]:
    match command:
        case SetKeys(changes=changes):
            return _with_uids(changes, view)
        case CompleteTask():
            if task.value("status") == "completed":
                return {}
            return {"status": "completed", "end": instant(now), "progress": "100"}
        case DeleteTask():
            return {"status": "deleted", "end": instant(now)}
        case Annotate(text=text):
            second = int(now.timestamp())
            while task.value(f"{ANNOTATION}{second}") is not None:
                second += 1
            return {f"{ANNOTATION}{second}": text}
        case Attach(digest=digest, name=name, media_type=media_type, size=size):
            facts = {"name": name, "type": media_type, "size": size}
            value = json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            return {ATTACHMENT + digest.removeprefix("sha256:"): value}


def _with_uids(changes: Mapping[str, str | None], view: View) -> dict[str, str | None]:
    """Add the UIDs by which calendar clients know the tasks that `changes` name."""
    named = dict(changes)
    for key, value in changes.items():
        if key.startswith(DEPENDS) and value is not None:
            named[key] = _uid(key.removeprefix(DEPENDS), view) or value
        elif key == related.PARENT:
            named[related.PARENT_UID] = _uid(value, view) if value else None
    return named


def _uid(task: str, view: View) -> str | None:
    state = view.task(TaskId(task))
    return state.value("ical.uid") if state else None


def _revert(command: Revert, view: View) -> Answer:
    project = view.project(command.project)
    subject = view.subject_of(command.project, command.patch)
    unknown = Refused(code="no-task", reason="this project has no such change")
    if project is None or subject is None:
        return unknown
    task = view.task(TaskId(subject))
    entries = view.entries(subject)
    if task is None:
        taken_back = history.project_reversal(entries, command.patch, project, force=command.force)
    else:
        taken_back = history.reversal(
            history.of_task(entries), command.patch, task, force=command.force
        )
    if taken_back is None:
        return unknown
    if task is not None:
        taken_back = history.Reversal(
            ops=tuple(_counted(taken_back.ops, task)),
            conflicts=tuple(key for key in taken_back.conflicts if key != vtodo_sequence.KEY),
        )
    if not taken_back.ops:
        if taken_back.conflicts:
            return Conflict(
                reason=f"written again since: {', '.join(taken_back.conflicts)}; force to take back"
            )
        return Receipt(project=project.id, task=task.id if task else None)
    draft = Draft(
        project=project.id,
        subject=subject,
        author=command.actor.user,
        via=command.actor.via,
        ops=taken_back.ops,
        mode=Mode.ATOMIC,
        reverts=command.patch,
        cause=command.actor.cause,
        evidence=command.actor.evidence,
    )
    return Plan(drafts=(draft,), task=task.id if task else None, conflicts=taken_back.conflicts)
