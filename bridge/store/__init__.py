"""What is kept: reading a project's log and attachments, and the event log.

The Protocols here are the promises that every back end keeps (memory, files, later
PostgreSQL) and that `tests/store/test_log_contract.py` checks on each. Writing a log or
a blob is in `bridge.store.write`, which only the worker may import; the event log is not
project history, so every door may append to it.

A log line is opaque here: bytes without a newline, in practice one JSON document
(tx-protocol section 5). Chains and signatures are checked above this layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NewType, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date, datetime

    from bridge.model.ids import Digest, ProjectId

Place = NewType("Place", str)
"""Where one line is, without a scan; opaque, kept by the index, valid for this store only."""


class LogReader(Protocol):
    """The logs of all projects, as far as they are durable.

    Promises:
        - Lines of a project are numbered 1, 2, 3 and so on without a gap, and a line once
          read never changes its number or bytes.
        - Nothing is shown before it is on disk: what was read survives a power failure.
          (A reader in another process than the writer may see lines that still wait for
          their flush; it has to take positions from the index, which is written later.)
        - Any thread may call at any time, also while the writer writes.
        - Memory stays bounded whatever the length of a log.

    A table ``log(project text, seq bigint, line bytea, primary key (project, seq))`` in
    PostgreSQL keeps the same promises: `count` is ``max(seq)``, `read` a server-side cursor
    over ``seq > after order by seq``, a place is the decimal seq, `append` an INSERT in the
    open transaction of the project's lease holder (the primary key refuses a second writer's
    row), `sync` its COMMIT (one for all projects, synchronous_commit on), and
    `truncate_unsynced` its ROLLBACK; uncommitted rows are invisible to readers as promised.
    """

    def projects(self) -> Iterator[ProjectId]:
        """Yield every project that has at least one line, in no particular order."""
        ...

    def count(self, project: ProjectId) -> int:
        """Return the sequence number of the last line; 0 when there is none.

        Raises:
            Corrupt: ``log-gap`` or ``torn-segment``: the log cannot be read as a whole.
            Unavailable: ``disk-full`` or ``disk-error`` while an unfinished line was cut.
        """
        ...

    def read(self, project: ProjectId, after: int = 0) -> Iterator[tuple[int, Place, bytes]]:
        """Yield ``(seq, place, line)`` for each line after `after` that is durable now.

        Raises:
            Corrupt: as `count`, or ``bad-line`` for a line above the limit, when reached.
        """
        ...

    def read_at(self, project: ProjectId, place: Place) -> bytes:
        """Return the line at `place`, at a cost that does not depend on the log's length.

        Raises:
            Corrupt: ``bad-place``: there is no line exactly there.
        """
        ...


class BlobReader(Protocol):
    """Attachments of projects by their SHA-256 (tx-protocol section 8)."""

    def exists(self, project: ProjectId, digest: Digest) -> bool:
        """Return whether the blob is here."""
        ...

    def size(self, project: ProjectId, digest: Digest) -> int:
        """Return the length in bytes.

        Raises:
            NotFound: ``no-blob``.
        """
        ...

    def open(self, project: ProjectId, digest: Digest) -> BinaryIO:
        """Return a seekable stream that the caller closes; its content is not checked.

        Raises:
            NotFound: ``no-blob``.
        """
        ...

    def read(self, project: ProjectId, digest: Digest) -> bytes:
        """Return the whole blob, checked against its name.

        Raises:
            NotFound: ``no-blob``.
            Corrupt: ``blob-damaged``.
        """
        ...


class EventLog(Protocol):
    """What happened on the domain (tx-protocol section 17): append-only, by UTC day.

    Not a source of truth: an event may be lost with the power, a log line may not. Hence
    no method here raises for a full or broken disk.
    """

    def append(self, at: datetime, events: Sequence[Mapping[str, object]]) -> bool:
        """Write `events` as one batch under the UTC day of `at` (aware).

        Each event has ``event`` (its kind, for example ``refused``) and what it concerns:
        ``project``, ``seq`` or ``request``, ``mandate``. An event above the size limit is
        replaced by a note that keeps these members.

        Returns:
            False when the batch could not be written; the reason is in the process log.
        """
        ...

    def read(
        self, first: date, last: date, *, kind: str | None = None, project: ProjectId | None = None
    ) -> Iterator[Mapping[str, object]]:
        """Yield the events of the days from `first` to `last`, oldest first.

        A damaged line is passed over and noted in the process log.
        """
        ...

    def tail(self, limit: int) -> list[Mapping[str, object]]:
        """Return the newest `limit` events, oldest first."""
        ...
