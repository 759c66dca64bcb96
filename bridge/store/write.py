"""Writing: the half of the store that only the worker may hold (design section 4).

Import rules let nobody but `bridge.worker.loop` and the stores themselves see this file,
so that there is one way in for every write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bridge.errors import BridgeError, Unavailable
from bridge.store import BlobReader, LogReader

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence
    from datetime import datetime

    from bridge.model.ids import Digest, ProjectId
    from bridge.store import Place


class NotDurable(Unavailable):
    """Some logs could not be flushed; what was appended to them since the last sync is gone.

    Attributes:
        failed: the projects concerned, each with its reason. All other projects of the
            same `LogWriter.sync` call are durable.
    """

    def __init__(self, failed: Mapping[ProjectId, BridgeError]) -> None:
        """Name the projects in `failed`; retrying may help."""
        super().__init__(
            "unavailable",
            "the change could not be saved",
            retry=True,
            hint="see the log for the disk's error",
            failed={project: str(error.fields or error) for project, error in failed.items()},
        )
        self.failed = dict(failed)


class LogWriter(LogReader, Protocol):
    """The logs, for the one thread that appends.

    `append`, `sync`, `truncate_unsynced` and `reopen` are called from one thread at a time.
    A write is acknowledged after `sync`, never before. When `append` or `sync` fails, the
    log is back at the end it had before that call's lines, or the project is unusable:
    `append` raises Unavailable ``log-closed`` and `sync` NotDurable until `reopen`.
    """

    def append(self, project: ProjectId, expected_seq: int, lines: Sequence[bytes]) -> list[Place]:
        """Add `lines` after line `expected_seq`, which must be the last one appended.

        The lines get the numbers ``expected_seq + 1`` and so on, go to the file in one
        write, and are neither durable nor visible to readers before `sync`. The first
        append creates the log.

        Returns:
            One place a line, in order.

        Raises:
            Corrupt: ``log-moved``: `expected_seq` is not the last; ``segment-gone`` or
                ``segment-changed``: somebody else touched the file.
            Invalid: ``bad-line`` (empty, or holds a newline) or ``too-large``.
            Unavailable: ``disk-full``, ``disk-error`` or ``log-closed``; nothing was added.
        """
        ...

    def sync(self, projects: Iterable[ProjectId]) -> None:
        """Make all appended lines of `projects` durable: one flush a log, side by side.

        Raises:
            NotDurable: names the projects whose lines since their last sync are gone.
        """
        ...

    def truncate_unsynced(self, project: ProjectId) -> None:
        """Drop what was appended and not synced.

        Raises:
            Unavailable: ``log-closed``: it could not be dropped.
        """
        ...

    def reopen(self, project: ProjectId) -> None:
        """Forget what is known of the log; the next use reads and repairs it afresh."""
        ...


class BlobWriter(BlobReader, Protocol):
    """Attachments, for whoever stores them."""

    def put(
        self,
        project: ProjectId,
        content: bytes | Iterable[bytes],
        *,
        expected: Digest | None = None,
    ) -> Digest:
        """Store `content` and return its name; durable on return, kept once however often put.

        Raises:
            Invalid: ``too-large``, or ``bad-digest`` when `expected` is another name.
            Unavailable: ``disk-full`` or ``disk-error``.
        """
        ...

    def remove_unreferenced(
        self, project: ProjectId, referenced: Container[Digest], before: datetime
    ) -> list[Digest]:
        """Remove blobs that are not in `referenced` and were last put before `before` (aware).

        tx-protocol section 16: a blob may arrive up to 24 h before the patch that names it,
        and after it, so `before` is 24 h ago.

        Returns:
            The names removed, sorted.
        """
        ...
