"""Making entries durable: one append and one flush a log, then one index transaction.

The log is the truth. What it has is done, whatever happens to the index afterwards: the
index is then read in again from the log. What it could not take leaves nothing behind.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError
from bridge.store.rows import Applied
from bridge.store.write import NotDurable
from bridge.worker import replay
from bridge.worker.stage import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bridge.model.ids import Digest, ProjectId, TaskId
    from bridge.model.state import TaskState
    from bridge.store import EventLog, Place
    from bridge.store.directory_contract import Directory
    from bridge.store.index_contract import IndexWriter
    from bridge.store.rows import TaskRow
    from bridge.store.write import BlobWriter, LogWriter
    from bridge.worker.stage import Made

log = logging.getLogger(__name__)

_TASKS_KEPT: Final = 1024
"""About 12 KiB each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The stores of one spool, for the one who writes them."""

    log: LogWriter
    index: IndexWriter
    blobs: BlobWriter
    directory: Directory
    events: EventLog


class Commit:
    """The last step of a batch; `cached` holds the states that are committed."""

    def __init__(self, stores: Stores) -> None:
        """Write to `stores`."""
        self._log = stores.log
        self._index = stores.index
        self._blobs = stores.blobs
        self.cached = Layer(tasks=_Recent())

    def commit(self, batch: Sequence[Made]) -> dict[ProjectId, BridgeError]:
        """Put `batch` on disk and into the index.

        Returns:
            The projects whose log could not be written, with the reason: nothing of the
            batch is kept for them. All others are durable.
        """
        lines: dict[ProjectId, list[Made]] = {}
        for made in batch:
            lines.setdefault(made.entry.project, []).append(made)
        failed: dict[ProjectId, BridgeError] = {}
        places: dict[Digest, Place] = {}
        for project, items in lines.items():
            try:
                found = self._log.append(
                    project, items[0].entry.seq - 1, [made.line for made in items]
                )
            except BridgeError as error:
                failed[project] = error
            else:
                places.update(zip((m.entry.hash for m in items), found, strict=True))
        self._sync([project for project in lines if project not in failed], failed)
        kept = [made for made in batch if made.entry.project not in failed]
        if kept:
            self._take_in(kept, places)
        if failed:
            self.resume(failed)
        return failed

    def _sync(self, projects: list[ProjectId], failed: dict[ProjectId, BridgeError]) -> None:
        if not projects:
            return
        try:
            self._log.sync(projects)
        except NotDurable as error:
            failed.update(error.failed)

    def _take_in(self, kept: list[Made], places: Mapping[Digest, Place]) -> None:
        applied = [
            Applied(
                entry=made.entry,
                place=places[made.entry.hash],
                project=made.project,
                task=made.task,
                row=made.row,
                facts=made.facts,
            )
            for made in kept
        ]
        for made in kept:
            self.cached.projects[made.entry.project] = made.project
            if made.task and made.row:
                self.cached.tasks[made.task.id] = (made.task, made.row)
        try:
            self._index.apply(applied)
        except Exception:
            log.exception("the index could not take in a batch; reading the log again")
            self.resume(made.entry.project for made in kept)

    def resume(self, projects: Iterable[ProjectId]) -> None:
        """Read logs again after a failure; where that fails too, the next start does it."""
        self.forget_states()
        for project in set(projects):
            try:
                self._log.reopen(project)
                self.catch_up(project)
            except BridgeError as error:
                log.error("project %s cannot be read: %s", project, error)  # noqa: TRY400 - expected

    def forget_states(self) -> None:
        """Read states from the index again."""
        self.cached.projects.clear()
        self.cached.tasks.clear()

    def catch_up(
        self, project: ProjectId, progress: Callable[[ProjectId, int], None] | None = None
    ) -> int:
        """Read in the entries of a log that the index has not seen.

        Raises:
            Corrupt: the chain is broken; the index stays at the last good entry.
        """
        return replay.catch_up(
            project, log=self._log, index=self._index, blobs=self._blobs, progress=progress
        )


class _Recent(OrderedDict["TaskId", "tuple[TaskState, TaskRow]"]):
    """The tasks that were touched last; older ones are read from the index again."""

    def __setitem__(self, task: TaskId, value: tuple[TaskState, TaskRow]) -> None:
        super().__setitem__(task, value)
        self.move_to_end(task)
        if len(self) > _TASKS_KEPT:
            self.popitem(last=False)
