"""The store in memory: a back end of its own, and what tests of other parts run on.

Keeps the same promises as files do, down to "invisible before `sync`"; only the power
must not fail. `bridge.store` and `bridge.store.write` describe the methods.
"""

from __future__ import annotations

import io
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, BinaryIO

from bridge.errors import Corrupt, Invalid, Unavailable
from bridge.model.ids import Digest, parse_digest
from bridge.store import Place
from bridge.store.blobs import BLOB_LIMIT, Measured, no_blob
from bridge.store.events import decode_event, event_line, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from bridge.model.ids import ProjectId


@dataclass(slots=True)
class _Lines:
    lines: list[bytes] = field(default_factory=list)
    durable: int = 0


class MemoryLog:
    """Logs as lists; implements `bridge.store.write.LogWriter`. A place is the number."""

    def __init__(self, *, max_line: int = 1024 * 1024, capacity: int | None = None) -> None:
        """Take lines of up to `max_line` bytes, `capacity` bytes in all (None: no limit)."""
        self._max_line = max_line
        self._room = capacity
        self._logs: dict[ProjectId, _Lines] = {}

    def projects(self) -> Iterator[ProjectId]:
        """See `bridge.store.LogReader.projects`."""
        yield from [project for project, log in list(self._logs.items()) if log.durable]

    def count(self, project: ProjectId) -> int:
        """See `bridge.store.LogReader.count`."""
        log = self._logs.get(project)
        return log.durable if log else 0

    def read(self, project: ProjectId, after: int = 0) -> Iterator[tuple[int, Place, bytes]]:
        """See `bridge.store.LogReader.read`."""
        log = self._logs.get(project, _Lines())
        return _numbered(log.lines, max(after, 0), log.durable)

    def read_at(self, project: ProjectId, place: Place) -> bytes:
        """See `bridge.store.LogReader.read_at`."""
        log = self._logs.get(project, _Lines())
        if not place.isdecimal() or not 0 < int(place) <= len(log.lines):
            raise Corrupt(
                "bad-place", "the index does not fit the log", hint="rebuild the index", place=place
            )
        return log.lines[int(place) - 1]

    def append(self, project: ProjectId, expected_seq: int, lines: Sequence[bytes]) -> list[Place]:
        """See `bridge.store.write.LogWriter.append`."""
        for line in lines:
            if len(line) > self._max_line:
                raise Invalid("too-large", f"a change may take up {self._max_line} bytes")
            if not line or b"\n" in line:
                raise Invalid("bad-line", "a line of the log is empty or holds a newline")
        log = self._logs.get(project) or _Lines()
        if expected_seq != len(log.lines):
            raise Corrupt(
                "log-moved",
                "the log is not where the change expected it",
                project=project,
                expected=expected_seq,
                found=len(log.lines),
            )
        self._take_room(sum(map(len, lines)))
        self._logs[project] = log
        log.lines += lines
        return [Place(str(seq)) for seq in range(expected_seq + 1, len(log.lines) + 1)]

    def sync(self, projects: Iterable[ProjectId]) -> None:
        """See `bridge.store.write.LogWriter.sync`."""
        for project in projects:
            log = self._logs.get(project)
            if log:
                log.durable = len(log.lines)

    def truncate_unsynced(self, project: ProjectId) -> None:
        """See `bridge.store.write.LogWriter.truncate_unsynced`."""
        log = self._logs.get(project)
        if log:
            self._take_room(-sum(map(len, log.lines[log.durable :])))
            del log.lines[log.durable :]

    def reopen(self, project: ProjectId) -> None:
        """See `bridge.store.write.LogWriter.reopen`."""
        self.truncate_unsynced(project)

    def _take_room(self, size: int) -> None:
        if self._room is None:
            return
        if size > self._room:
            raise Unavailable("disk-full", "there is no room left to save this", retry=True)
        self._room -= size


def _numbered(lines: list[bytes], after: int, end: int) -> Iterator[tuple[int, Place, bytes]]:
    for seq in range(after + 1, end + 1):
        yield seq, Place(str(seq)), lines[seq - 1]


class MemoryBlobs:
    """Blobs in a dictionary; implements `bridge.store.write.BlobWriter`."""

    def __init__(self, now: Callable[[], datetime], *, limit: int = BLOB_LIMIT) -> None:
        """Keep blobs of up to `limit` bytes; `now` (aware) dates each put."""
        self._now = now
        self._limit = limit
        self._blobs: dict[tuple[ProjectId, Digest], tuple[bytes, datetime]] = {}

    def exists(self, project: ProjectId, digest: Digest) -> bool:
        """See `bridge.store.BlobReader.exists`."""
        return (project, parse_digest(digest)) in self._blobs

    def size(self, project: ProjectId, digest: Digest) -> int:
        """See `bridge.store.BlobReader.size`."""
        return len(self.read(project, digest))

    def open(self, project: ProjectId, digest: Digest) -> BinaryIO:
        """See `bridge.store.BlobReader.open`."""
        return io.BytesIO(self.read(project, digest))

    def read(self, project: ProjectId, digest: Digest) -> bytes:
        """See `bridge.store.BlobReader.read`."""
        if not self.exists(project, digest):
            raise no_blob(digest)
        return self._blobs[project, digest][0]

    def put(
        self,
        project: ProjectId,
        content: bytes | Iterable[bytes],
        *,
        expected: Digest | None = None,
    ) -> Digest:
        """See `bridge.store.write.BlobWriter.put`."""
        measured = Measured(content, self._limit)
        whole = b"".join(measured)
        digest = measured.name(expected)
        self._blobs[project, digest] = (whole, self._now())
        return digest

    def remove_unreferenced(
        self, project: ProjectId, referenced: Container[Digest], before: datetime
    ) -> list[Digest]:
        """See `bridge.store.write.BlobWriter.remove_unreferenced`."""
        removed = sorted(
            digest
            for (owner, digest), (_, put_at) in self._blobs.items()
            if owner == project and digest not in referenced and put_at < before
        )
        for digest in removed:
            del self._blobs[project, digest]
        return removed


class MemoryEvents:
    """The event log as lists of lines by day; implements `bridge.store.EventLog`."""

    def __init__(self) -> None:
        """Start empty."""
        self._days: defaultdict[date, list[bytes]] = defaultdict(list)
        # Doors of several threads append; a day must not appear while `read` walks the days.
        self._lock = threading.Lock()

    def append(self, at: datetime, events: Sequence[Mapping[str, object]]) -> bool:
        """See `bridge.store.EventLog.append`."""
        lines = [event_line(at, event) for event in events]
        with self._lock:
            self._days[at.astimezone(UTC).date()] += lines
        return True

    def read(
        self, first: date, last: date, *, kind: str | None = None, project: ProjectId | None = None
    ) -> Iterator[Mapping[str, object]]:
        """See `bridge.store.EventLog.read`."""
        for event in self._decoded(first, last):
            if matches(event, kind, project):
                yield event

    def tail(self, limit: int) -> list[Mapping[str, object]]:
        """See `bridge.store.EventLog.tail`."""
        return self._decoded(date.min, date.max)[-limit:] if limit > 0 else []

    def _decoded(self, first: date, last: date) -> list[Mapping[str, object]]:
        with self._lock:
            lines = [
                line
                for day in sorted(self._days)
                if first <= day <= last
                for line in self._days[day]
            ]
        return [event for event in map(decode_event, lines) if event is not None]
