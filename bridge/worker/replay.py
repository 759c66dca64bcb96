"""Reading a log into the index: after a crash its tail, for a rebuild all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.errors import Corrupt, Invalid
from bridge.model.ids import TaskId
from bridge.model.log import chain_damage, read_own_entry
from bridge.model.merge import apply
from bridge.model.state import ProjectState
from bridge.store.rows import Applied, task_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.model.ids import Digest, ProjectId
    from bridge.model.log import Entry
    from bridge.model.state import TaskState
    from bridge.store import BlobReader, LogReader, Place
    from bridge.store.index_contract import IndexWriter

_AT_ONCE: Final = 1000


def catch_up(
    project: ProjectId,
    *,
    log: LogReader,
    index: IndexWriter,
    blobs: BlobReader,
    progress: Callable[[ProjectId, int], None] | None = None,
) -> int:
    """Read in what the index has not seen of a log; return how many entries that was.

    An index that is ahead of its log (a restored backup) is dropped and read in afresh.
    The chain of hashes is checked, signatures were on receipt (tx-protocol section 5).

    Raises:
        Corrupt: the chain is broken; the index stays at the last good entry.
    """
    state = index.project(project) or ProjectState(id=project)
    if state.seq > log.count(project):
        index.forget(project)
        state = ProjectState(id=project)
    reading = _Reading(state, index, blobs)
    count = 0
    for _, place, line in log.read(project, state.seq):
        reading.add(_entry(line, reading.project), place)
        count += 1
        if count % _AT_ONCE == 0:
            reading.flush()
            if progress:
                progress(project, count)
    reading.flush()
    if progress and count:
        progress(project, count)
    return count


def _entry(line: bytes, state: ProjectState) -> Entry:
    try:
        return read_own_entry(line)
    except Invalid as error:
        raise Corrupt(
            "bad-line",
            f"line {state.seq + 1} of {state.id} cannot be read: {error}",
            seq=state.seq + 1,
        ) from None


class _Reading:
    """Entries that were read and not taken in yet."""

    def __init__(self, project: ProjectState, index: IndexWriter, blobs: BlobReader) -> None:
        self.project = project
        self._index = index
        self._blobs = blobs
        self._tasks: dict[TaskId, TaskState | None] = {}
        self._batch: list[tuple[Entry, Place, ProjectState, TaskState | None]] = []

    def add(self, entry: Entry, place: Place) -> None:
        """Take the next entry.

        Raises:
            Corrupt: the chain is broken here; what came before is taken in.
        """
        code = chain_damage(entry, self.project)
        if code:
            self.flush()
            raise Corrupt(
                code,
                f"entry {self.project.seq + 1} of {self.project.id} is damaged: {code}",
                seq=self.project.seq + 1,
            )
        task = None
        if not entry.patch.on_project:
            subject = TaskId(entry.patch.subject)
            if subject not in self._tasks:
                self._tasks[subject] = self._index.task(subject)
            task = self._tasks[subject]
        self.project, changed = apply(
            entry.patch, entry.skipped, self.project, task, head=entry.hash, ts=entry.ts
        )
        if changed is not None:
            self._tasks[changed.id] = changed
        self._batch.append((entry, place, self.project, changed))

    def flush(self) -> None:
        """Write what was read; a task's row is made once, from its last entry."""
        if not self._batch:
            return
        last = {task.id: i for i, (*_, task) in enumerate(self._batch) if task is not None}
        applied = []
        for i, (entry, place, project, task) in enumerate(self._batch):
            row = facts = None
            if task is not None and last[task.id] == i:
                row, facts = task_row(task, entry, self._text_of)
            applied.append(
                Applied(
                    entry=entry,
                    place=place,
                    project=project,
                    task=task if row else None,
                    row=row,
                    facts=facts,
                )
            )
        self._index.apply(applied)
        self._batch.clear()
        self._tasks.clear()

    def _text_of(self, project: ProjectId, digest: Digest) -> str:
        return self._blobs.read(project, digest).decode()
