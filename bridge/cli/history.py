"""What entries changed, old and new, for ``log``; read from the log by the index's places.

A task's entry is understood from the entries of that task before it (`model.history`); an
entry of the project itself from those of the project before it. Each is read once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import Corrupt, Invalid
from bridge.model import history
from bridge.model.log import read_entry
from bridge.model.patch import Key, Member, Policy, op_document
from bridge.model.state import ANNOTATION, ASSIGNEE, ATTACHMENT, DEPENDS, TAG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.model.ids import ProjectId, TaskId
    from bridge.model.log import Entry
    from bridge.model.patch import Op, Patch
    from bridge.store.rows import EntryRow
    from bridge.worker.gateway import Gateway

_PAGE: Final = 1000
_SETS: Final = {
    TAG: "tag",
    DEPENDS: "depends on",
    ANNOTATION: "comment",
    ATTACHMENT: "attachment",
    ASSIGNEE: "assignee",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One entry as ``log`` tells it.

    Attributes:
        created: it made its task.
        title: of the task, after this entry.
        changes: what got another value, in order.
    """

    row: EntryRow
    entry: Entry
    created: bool
    title: str
    changes: tuple[history.Change, ...]

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        patch = self.entry.patch
        return {
            "project": self.row.project,
            "seq": self.row.seq,
            "patch": patch.id,
            "task": self.row.task,
            "title": self.title,
            "author": patch.author,
            "via": patch.via,
            "at": patch.at,
            "ts": self.entry.ts,
            "created": self.created,
            "changes": [{"key": one.key, "old": one.old, "new": one.new} for one in self.changes],
            "skipped": [skip.document() for skip in self.entry.skipped],
            "evidence": patch.document.get("evidence", []),
            "cause": patch.document.get("cause", {}),
            "reverts": patch.reverts,
            "signers": signers(patch),
        }


def signers(patch: Patch) -> list[str]:
    """Return the keys that signed a patch."""
    found = patch.document.get("sigs")
    items = found if isinstance(found, list) else []
    return [str(one.get("kid", "")) for one in items if isinstance(one, dict)]


def label(change: history.Change) -> str:
    """Return a change in words: ``description: "old" → "new"``, ``+ tag home``."""
    for prefix, word in _SETS.items():
        if change.key.startswith(prefix):
            element = change.key.removeprefix(prefix)
            shown = change.new if prefix in (ANNOTATION, ATTACHMENT) and change.new else element
            if change.old is not None and change.new is not None:
                return f"~ {word} {element}: {change.old} → {change.new}"
            return f"{'+' if change.new is not None else '-'} {word} {shown}"
    old = "nothing" if change.old is None else f'"{change.old}"'
    new = "nothing" if change.new is None else f'"{change.new}"'
    return f"{change.key}: {new}" if change.old is None else f"{change.key}: {old} → {new}"


@dataclass(slots=True)
class Teller:
    """Tells entries of any project; keeps what it has read for the next one."""

    gateway: Gateway
    _tasks: dict[TaskId, dict[int, history.Event]] = field(default_factory=dict)
    _projects: dict[ProjectId, dict[int, tuple[history.Change, ...]]] = field(default_factory=dict)

    def tell(self, row: EntryRow) -> Told:
        """Return what the entry of `row` did.

        Raises:
            Corrupt: ``bad-line`` or ``bad-place``: log and index do not fit.
        """
        if row.task is None:
            if row.project not in self._projects:
                self._projects[row.project] = self._of_project(row.project)
            changes = self._projects[row.project].get(row.seq, ())
            return Told(
                row=row, entry=self.entry(row), created=row.seq == 1, title="", changes=changes
            )
        if row.task not in self._tasks:
            entries = [self.entry(one) for one in self._rows(row.project, row.task)]
            self._tasks[row.task] = {
                event.entry.seq: event for event in history.of_task(reversed(entries))
            }
        event = self._tasks[row.task].get(row.seq)
        if event is None:
            return Told(row=row, entry=self.entry(row), created=False, title="", changes=())
        title = event.task.value("description") or ""
        return Told(
            row=row,
            entry=event.entry,
            created=event.created,
            title=title,
            changes=event.changes,
        )

    def entry(self, row: EntryRow) -> Entry:
        """Return the entry of `row`, read from the log.

        Raises:
            Corrupt: ``bad-line`` or ``bad-place``.
        """
        try:
            return read_entry(self.gateway.log.read_at(row.project, row.place))
        except Invalid as error:
            raise Corrupt(
                "bad-line",
                f"entry {row.seq} of {row.project} cannot be read: {error}",
                hint=f"tx-bridge verify {row.project} says more",
            ) from None

    def newest(self, project: ProjectId, limit: int) -> tuple[EntryRow, ...]:
        """Return the newest entries of a project."""
        return self.gateway.index.history(project, before=None, limit=limit)

    def _rows(self, project: ProjectId, task: TaskId | None = None) -> Iterator[EntryRow]:
        before: int | None = None
        while rows := self.gateway.index.history(project, task, before=before, limit=_PAGE):
            yield from rows
            before = rows[-1].seq

    def _of_project(self, project: ProjectId) -> dict[int, tuple[history.Change, ...]]:
        """Return the changes of each entry that concerns the project itself."""
        own = [row for row in self._rows(project) if row.task is None]
        now: dict[str, str] = {}
        told: dict[int, tuple[history.Change, ...]] = {}
        for row in reversed(own):
            changes = []
            for op in self.entry(row).patch.ops:
                key, new = _said(op)
                changes.append(history.Change(key, now.get(key), new))
                if new is None:
                    now.pop(key, None)
                else:
                    now[key] = new
            told[row.seq] = tuple(changes)
        return told


def _said(op: Op) -> tuple[str, str | None]:
    match op:
        case Member(user=user, role=role, scope=scope):
            seen = f" ({', '.join(scope) if isinstance(scope, tuple) else scope})" if scope else ""
            return f"member {user}", None if role is None else f"{role}{seen}"
        case Policy(key=key, value=value):
            return key, value
        case Key(kid=kid, public=public):
            return f"key {kid}", public
        case _:
            document = op_document(op)
            return str(document.pop("op")), str(document)
