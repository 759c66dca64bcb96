"""The history of a task, and taking a change back (tx-protocol section 7).

Entries of one task are enough: what an entry does to a task depends on no other task. The
entries whose subject is the project are enough for its settings and members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.model.merge import apply, apply_to_task
from bridge.model.patch import Create, Member, Op, Policy, Role, Set
from bridge.model.state import ProjectState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bridge.model.ids import PatchId
    from bridge.model.log import Entry
    from bridge.model.state import TaskState


@dataclass(frozen=True, slots=True)
class Change:
    """One key that an entry gave another value."""

    key: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a task's history: who did what, when, through which door."""

    entry: Entry
    changes: tuple[Change, ...]
    created: bool
    task: TaskState


def of_task(entries: Iterable[Entry]) -> Iterator[Event]:
    """Yield the history of the task whose entries, all of them, come in order."""
    task: TaskState | None = None
    for entry in entries:
        after = apply_to_task(entry.patch, entry.skipped, task, seq=entry.seq, ts=entry.ts)
        if after is None:
            continue
        yield Event(entry=entry, changes=_changes(task, after), created=task is None, task=after)
        task = after


def _changes(before: TaskState | None, after: TaskState) -> tuple[Change, ...]:
    old = before.keys if before else {}
    new = after.keys
    return tuple(
        Change(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversal:
    """The ops that take a patch back, and the keys that were written again since."""

    ops: tuple[Op, ...]
    conflicts: tuple[str, ...]


def reversal(
    events: Iterable[Event], patch: PatchId, current: TaskState, *, force: bool = False
) -> Reversal | None:
    """Return what takes `patch` back, or None if the history does not hold it.

    A creation is taken back by ``status=deleted``. Keys written since the patch are
    conflicts; they are left out of the ops unless `force`.
    """
    event = next((e for e in events if e.entry.patch.id == patch), None)
    if event is None:
        return None
    if event.created and any(isinstance(op, Create) for op in event.entry.patch.ops):
        was = current.value("status")
        return Reversal(ops=(Set("status", "deleted", was),), conflicts=())
    ops: list[Op] = []
    conflicts: list[str] = []
    for change in event.changes:
        now = current.value(change.key)
        if now == change.old:
            continue
        if now != change.new:
            conflicts.append(change.key)
        if now == change.new or force:
            ops.append(Set(change.key, change.old, now))
    return Reversal(ops=tuple(ops), conflicts=tuple(conflicts))


def project_reversal(
    entries: Iterable[Entry], patch: PatchId, current: ProjectState, *, force: bool = False
) -> Reversal | None:
    """Return what takes a change of settings or members back, or None if it is not there.

    `entries` are those of the project itself, oldest first. Recorded keys and the founding
    of the project stay. Conflicts are as in `reversal`: ``policy <key>``, ``member <user>``.
    """
    before = ProjectState(id=current.id)
    for entry in entries:
        if entry.patch.id == patch:
            return _taken_back(entry, before, current, force=force)
        head = entry.hash
        before, _ = apply(entry.patch, (), before, None, head=head, ts=entry.ts)
    return None


def _taken_back(
    entry: Entry, before: ProjectState, current: ProjectState, *, force: bool
) -> Reversal:
    after, _ = apply(entry.patch, (), before, None, head=entry.hash, ts=entry.ts)
    ops: list[Op] = []
    conflicts: list[str] = []
    for op in entry.patch.ops:
        if isinstance(op, Policy):
            name, old = f"policy {op.key}", before.policy.get(op.key)
            new, now = after.policy.get(op.key), current.policy.get(op.key)
            undo: Op = Policy(op.key, old)
            same = now == old
        elif isinstance(op, Member) and op.role is not Role.CREATOR:
            name, was = f"member {op.user}", before.members.get(op.user)
            undo = Member(op.user, was.role, was.scope, was.key) if was else Member(op.user, None)
            new_member, now_member = after.members.get(op.user), current.members.get(op.user)
            same, new, now = now_member == was, repr(new_member), repr(now_member)
        else:
            continue
        if same:
            continue
        if now != new:
            conflicts.append(name)
        if now == new or force:
            ops.append(undo)
    return Reversal(ops=tuple(ops), conflicts=tuple(conflicts))
