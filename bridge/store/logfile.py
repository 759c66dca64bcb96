"""Writing logs in JSONL files: the truth of every project (tx-protocol section 20).

Promises, beyond those of `bridge.store.write.LogWriter`:
    - One write in append mode a call, one fdatasync a log and sync; a new segment and its
      name are flushed before they take a line, and only after the segment before it.
    - What a crash left unfinished at the end of a log (no newline) is saved beside as
      ``torn-<seq>.bin``, then cut. A damaged line that has its newline is never cut: the
      hash chain names it, and a replica can give it back.
    - Whole lines found at the start that nobody may have acknowledged are flushed before
      they are shown; from then on they are part of the log.
    - A file that was changed, replaced or removed by somebody else takes no more lines.

Refuses to work without the spool's lock. Purging bodies (tx-protocol section 7) is not
done here yet.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import BridgeError, Corrupt, Invalid, Unavailable
from bridge.store.descriptors import APPEND
from bridge.store.durable import (
    create_file,
    disk_error,
    make_directory,
    sync_directory,
    write_all,
)
from bridge.store.logreader import (
    Chain,
    Extent,
    FileLogReader,
    LogSettings,
    check_order,
    extent_of,
)
from bridge.store.repair import Repair, log_closed, save_torn
from bridge.store.segments import (
    Segment,
    check_sealed,
    place_of,
    scan,
    segment_firsts,
    segment_path,
    size_of,
    touched,
)
from bridge.store.write import NotDurable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.model.ids import ProjectId
    from bridge.store import Place
    from bridge.store.durable import Reserve
    from bridge.store.spool import Layout, SpoolLock


@dataclass(slots=True, kw_only=True)
class _Tail:
    """The writer's end of a log: `seq` is the last line appended, durable or not."""

    chain: Chain
    seq: int
    closed: BridgeError | None = None


class FileLog(FileLogReader):
    """The logs of a spool, for the process that holds its lock."""

    def __init__(
        self,
        layout: Layout,
        lock: SpoolLock,
        reserve: Reserve,
        settings: LogSettings | None = None,
    ) -> None:
        """Read and write the logs of `layout`, whose `lock` the caller holds."""
        super().__init__(layout, settings)
        if lock.home != layout.home:
            raise ValueError("the lock is for another spool")
        self._lock = lock
        self._reserve = reserve
        self._tails: dict[ProjectId, _Tail] = {}
        self._repairs: list[Repair] = []
        self._synced: set[Path] = set()
        # A log is repaired by one thread only, be it the writer or the first reader.
        self._opening = threading.Lock()
        self._flushers: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Drop what was not synced and close the files."""
        for tail in self._tails.values():
            if tail.closed is None and self._lock.held:
                self._rewind(tail)
        if self._flushers:
            self._flushers.shutdown()
            self._flushers = None
        with self._opening:
            self._tails.clear()
            self._chains.clear()
        super().close()

    def repairs(self) -> list[Repair]:
        """Return what was cut since this object was made, oldest first."""
        return list(self._repairs)

    def append(self, project: ProjectId, expected_seq: int, lines: Sequence[bytes]) -> list[Place]:
        """See `bridge.store.write.LogWriter.append`."""
        self._check_lines(lines)
        tail = self._writable(project)
        if tail.seq != expected_seq:
            raise Corrupt(
                "log-moved",
                "the log is not where the change expected it",
                hint="rebuild the index",
                project=project,
                expected=expected_seq,
                found=tail.seq,
            )
        if not lines:
            return []
        content = b"\n".join(lines) + b"\n"
        self._reserve.require(len(content))
        segment = self._segment_for(tail, len(content))
        self._write(tail, segment, content)
        places = []
        for line in lines:
            places.append(place_of(segment.first, segment.end, len(line)))
            segment.extend(segment.end + len(line) + 1)
        tail.seq += len(lines)
        return places

    def sync(self, projects: Iterable[ProjectId]) -> None:
        """See `bridge.store.write.LogWriter.sync`."""
        dirty: list[tuple[ProjectId, _Tail]] = []
        for project in dict.fromkeys(projects):
            tail = self._tails.get(project)
            if tail and (tail.closed or tail.seq != tail.chain.extent.seq):
                dirty.append((project, tail))
        failed = self._flush_side_by_side(dirty)
        if failed:
            raise NotDurable(failed)

    def truncate_unsynced(self, project: ProjectId) -> None:
        """See `bridge.store.write.LogWriter.truncate_unsynced`."""
        tail = self._tails.get(project)
        if tail is None:
            return
        if tail.closed is None:
            self._rewind(tail)
        if tail.closed is not None:
            raise tail.closed

    def reopen(self, project: ProjectId) -> None:
        """See `bridge.store.write.LogWriter.reopen`.

        Lines that a failure left behind whole are taken as they are, like after a crash:
        the index has to be brought up to `count`.
        """
        tail = self._tails.get(project)
        if tail and tail.closed is None:
            self._rewind(tail)
        with self._opening:
            self._tails.pop(project, None)
            chain = self._chains.pop(project, None)
        for segment in chain.segments if chain else ():
            self._files.forget(segment.path)

    # Reading: as far as the last sync went.

    def _chain(self, project: ProjectId) -> Chain | None:
        tail = self._tail(project)
        return tail.chain if tail else None

    def _extent(self, chain: Chain) -> Extent:
        return chain.extent

    def _tail(self, project: ProjectId) -> _Tail | None:
        tail = self._tails.get(project)
        if tail is not None:
            return tail
        directory = self._layout.log(project)
        with self._opening, self._reading(str(directory)):
            tail = self._tails.get(project)
            if tail is None and directory.is_dir():
                tail = self._open(project, Chain(directory=str(directory)))
            return tail

    def _open(self, project: ProjectId, chain: Chain) -> _Tail:
        if not self._lock.held:
            raise Unavailable("spool-locked", "the spool is not ours to write", retry=True)
        chain.segments = [
            Segment(path=segment_path(chain.directory, first), first=first)
            for first in segment_firsts(chain.directory)
        ]
        for sealed in chain.segments[:-1]:
            check_sealed(sealed)
        if chain.segments:
            last = chain.segments[-1]
            size = size_of(last.path)
            scan(self._files, last, size)
            check_order(chain)
            if last.end < size:
                self._cut(project, last, size)
            # A crash may have come between these and their flush.
            self._flush_segment(last)
            sync_directory(Path(chain.directory))
            self._sync_names(Path(chain.directory).parent)
        chain.extent = extent_of(chain.segments)
        tail = _Tail(chain=chain, seq=chain.extent.seq)
        self._tails[project] = tail
        self._chains[project] = chain
        return tail

    def _sync_names(self, container: Path, *, new: bool = False) -> None:
        """Flush the directories that lead to a log, down to the container.

        Once in the life of this process covers all names older than it; those that it
        makes itself are flushed when they are `new`.
        """
        upper = {container.parent, self._layout.store}
        once = {*upper, self._layout.home} - self._synced
        for path in (container, *(once | upper if new else once)):
            sync_directory(path)
        self._synced |= once

    def _cut(self, project: ProjectId, segment: Segment, size: int) -> None:
        """Save the unfinished line of the last segment beside it, then cut it."""
        seq = segment.first + segment.lines
        with self._files.lease(segment.path, APPEND) as fd:
            saved = save_torn(fd, Path(segment.path).parent, seq, (segment.end, size))
            os.ftruncate(fd, segment.end)
        self._repairs.append(
            Repair(
                project=project,
                seq=seq,
                segment=Path(segment.path),
                offset=segment.end,
                length=size - segment.end,
                saved=saved,
            )
        )

    def _check_lines(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            if len(line) > self._settings.max_line:
                raise Invalid(
                    "too-large",
                    f"a change may take up {self._settings.max_line} bytes",
                    limit=self._settings.max_line,
                )
            if not line or b"\n" in line:
                raise Invalid("bad-line", "a line of the log is empty or holds a newline")

    def _writable(self, project: ProjectId) -> _Tail:
        tail = self._tail(project)
        if tail is None:
            directory = self._layout.log(project)
            with self._reading(str(directory)):
                make_directory(directory, flush=False)
            tail = self._tail(project)
        if tail is None or not self._lock.held:
            raise Unavailable("spool-locked", "the spool is not ours to write", retry=True)
        if tail.closed is not None:
            raise tail.closed
        return tail

    def _segment_for(self, tail: _Tail, size: int) -> Segment:
        """Return the segment that takes `size` more bytes; perhaps a new one."""
        segments = tail.chain.segments
        if segments:
            last = segments[-1]
            if not last.end or last.end + size <= self._settings.segment_bytes:
                return last
            self._seal(tail, last)
        segment = Segment(path=segment_path(tail.chain.directory, tail.seq + 1), first=tail.seq + 1)
        self._create(Path(segment.path), first=not segments)
        segments.append(segment)
        return segment

    def _create(self, path: Path, *, first: bool) -> None:
        """Create a segment; with the first one the directories become durable as well."""
        try:
            create_file(path)
            if first:
                try:
                    self._sync_names(path.parent.parent, new=True)
                except OSError:
                    path.unlink(missing_ok=True)
                    raise
        except FileExistsError as error:
            raise touched(str(path)) from error
        except OSError as error:
            raise disk_error(error, path) from error

    def _seal(self, tail: _Tail, segment: Segment) -> None:
        """Flush a full segment, so that the next one can never outlive its lines."""
        try:
            self._flush_segment(segment)
        except OSError as error:
            # Lines appended before are lost with it; `sync` must not succeed for them.
            self._rewind(tail)
            tail.closed = log_closed(segment.path, error)
            raise tail.closed from error

    def _write(self, tail: _Tail, segment: Segment, content: bytes) -> None:
        with (
            self._reading(segment.path),
            self._files.lease(segment.path, APPEND) as fd,
        ):
            state = os.fstat(fd)
            if state.st_nlink == 0 or state.st_size != segment.end:
                raise touched(segment.path)
            try:
                write_all(fd, content)
            except BaseException:
                self._take_back(tail, segment, fd)
                raise

    def _take_back(self, tail: _Tail, segment: Segment, fd: int) -> None:
        """Bring a file back to its end before a failed write; lines before it stay."""
        try:
            os.ftruncate(fd, segment.end)
        except OSError as error:
            tail.closed = log_closed(segment.path, error)

    def _flush_side_by_side(
        self, dirty: list[tuple[ProjectId, _Tail]]
    ) -> dict[ProjectId, BridgeError]:
        """Flush each log, sharing the work with a few threads; returns those that failed.

        This thread takes a share too, so one log costs no thread switch at all.
        """
        shares = min(self._settings.sync_threads, len(dirty))
        if shares > 1 and self._flushers is None:
            self._flushers = ThreadPoolExecutor(
                self._settings.sync_threads - 1, thread_name_prefix="log-sync"
            )
        started = [
            self._flushers.submit(self._flush_share, dirty[share::shares])
            for share in range(1, shares)
            if self._flushers
        ]
        failed = self._flush_share(dirty[:: max(shares, 1)])
        for share in started:
            failed |= share.result()
        return failed

    def _flush_share(self, share: list[tuple[ProjectId, _Tail]]) -> dict[ProjectId, BridgeError]:
        outcomes = [(project, self._flush(tail)) for project, tail in share]
        return {project: outcome for project, outcome in outcomes if outcome}

    def _flush(self, tail: _Tail) -> BridgeError | None:
        """Make a log durable up to its end; returns what went wrong, never raises it."""
        if tail.closed is not None:
            return tail.closed
        segment = tail.chain.segments[-1]
        try:
            self._flush_segment(segment)
        except OSError as error:
            self._rewind(tail)
            return disk_error(error, Path(segment.path))
        tail.chain.extent = extent_of(tail.chain.segments)
        return None

    def _flush_segment(self, segment: Segment) -> None:
        with self._files.lease(segment.path, APPEND) as fd:
            os.fdatasync(fd)

    def _rewind(self, tail: _Tail) -> None:
        """Bring a log back to what is durable, or close it until it is reopened.

        Flushed too: a line that was refused must not come back with the power.
        """
        extent = tail.chain.extent
        segments = tail.chain.segments
        if tail.seq == extent.seq:
            return
        tail.seq = extent.seq
        try:
            while len(segments) > max(len(extent.segments), 1):
                newest = segments.pop()
                self._files.forget(newest.path)
                Path(newest.path).unlink()
                sync_directory(Path(tail.chain.directory))
            last = segments[-1]
            with self._files.lease(last.path, APPEND) as fd:
                os.ftruncate(fd, extent.end)
                os.fdatasync(fd)
            last.shorten(extent.seq - last.first + 1, extent.end)
        except OSError as error:
            tail.closed = log_closed(tail.chain.directory, error)
