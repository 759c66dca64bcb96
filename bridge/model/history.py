"""The history of a task, and taking a change back (tx-protocol section 7).

Entries of one task are enough: what an entry does to a task depends on no other task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.model.merge import apply_to_task
from bridge.model.patch import Create, Op, Set

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
