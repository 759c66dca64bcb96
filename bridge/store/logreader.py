"""Reading logs in JSONL files, from any process and thread.

`FileLogReader` keeps the promises of `bridge.store.LogReader` without the spool's lock: it
never repairs and passes over an unfinished last line, which the writer may be writing at
this moment. `bridge.store.logfile.FileLog` adds writing for the one process that holds
the lock.
"""

from __future__ import annotations

import hashlib
import os
import threading
from bisect import bisect_right
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import Corrupt, Invalid
from bridge.model.ids import parse_project
from bridge.store.descriptors import READ, OpenFiles
from bridge.store.durable import disk_error
from bridge.store.segments import (
    Segment,
    bad_place,
    gap,
    lines_of,
    parse_place,
    scan,
    segment_firsts,
    segment_path,
    size_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.model.ids import ProjectId
    from bridge.store import Place
    from bridge.store.spool import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Limits of the logs; sizes in bytes.

    Attributes:
        segment_bytes: a new segment begins where this would be exceeded.
        max_line: longest line taken; patch and entry limits of tx-protocol section 18 fit in.
        open_files: descriptors kept open for all logs together.
        sync_threads: flushes under way at the same time, at least 1.
    """

    segment_bytes: int = 64 * 1024 * 1024
    max_line: int = 1024 * 1024
    open_files: int = 128
    sync_threads: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A log as one reader may see it: its segments, the last one up to byte `end`."""

    segments: tuple[Segment, ...] = ()
    end: int = 0
    seq: int = 0


EMPTY = Extent()


@dataclass(slots=True, kw_only=True)
class Chain:
    """The segments of one log as known in this process.

    Attributes:
        directory: where the segments are.
        segments: all of them; a writer's may hold lines that are not durable yet.
        extent: what readers may see, replaced as a whole.
        tail: hash of the last line, for a reader beside another process's writer.
        lock: for counting: one thread does it while others wait for its result. It is
            never held while the writer writes or flushes.
    """

    directory: str
    segments: list[Segment] = field(default_factory=list)
    extent: Extent = EMPTY
    tail: bytes = b""
    lock: threading.Lock = field(default_factory=threading.Lock)


class FileLogReader:
    """Logs below a spool's ``_store``; implements `bridge.store.LogReader`."""

    def __init__(self, layout: Layout, settings: LogSettings | None = None) -> None:
        """Read the logs of `layout`; nothing is opened before it is asked for."""
        self._layout = layout
        self._settings = settings or LogSettings()
        self._files = OpenFiles(self._settings.open_files)
        self._chains: dict[ProjectId, Chain] = {}

    def close(self) -> None:
        """Close the files; a later call opens them again."""
        self._files.close()

    def projects(self) -> Iterator[ProjectId]:
        """See `bridge.store.LogReader.projects`."""
        for domain in _subdirectories(self._layout.store):
            for unique in _subdirectories(domain):
                try:
                    project = parse_project(f"{unique.name}@{domain.name}")
                    directory = self._layout.log(project)
                except Invalid:
                    continue  # put there by hand: no id leads to it
                if directory.parent == unique and self.count(project):
                    yield project

    def count(self, project: ProjectId) -> int:
        """See `bridge.store.LogReader.count`."""
        chain = self._chain(project)
        return self._extent(chain).seq if chain else 0

    def read(self, project: ProjectId, after: int = 0) -> Iterator[tuple[int, Place, bytes]]:
        """See `bridge.store.LogReader.read`."""
        chain = self._chain(project)
        if chain is None:
            return iter(())
        extent = self._extent(chain)
        if after >= extent.seq:
            return iter(())
        return self._lines(chain, extent, max(after, 0))

    def read_at(self, project: ProjectId, place: Place) -> bytes:
        """See `bridge.store.LogReader.read_at`."""
        first, offset, length = parse_place(place)
        if length > self._settings.max_line:
            raise bad_place(place)
        chain = self._chains.get(project)
        directory = chain.directory if chain else str(self._layout.log(project))
        # With the newlines on both sides, so that a stale index cannot get half a line.
        before = 1 if offset else 0
        with self._reading(directory):
            try:
                with self._files.lease(segment_path(directory, first), READ) as fd:
                    found = os.pread(fd, before + length + 1, offset - before)
            except FileNotFoundError:
                raise bad_place(place) from None
        line = found[before : before + length]
        around = found[:before] + found[before + length :]
        if around != b"\n" * (before + 1) or b"\n" in line:
            raise bad_place(place)
        return line

    def check(self, project: ProjectId) -> int:
        """Read every segment and return the number of lines.

        Raises:
            Corrupt: as `read`; here also for a gap that no everyday read would cross.
        """
        return sum(1 for _ in self.read(project))

    def _lines(
        self, chain: Chain, extent: Extent, after: int
    ) -> Iterator[tuple[int, Place, bytes]]:
        firsts = [segment.first for segment in extent.segments]
        start = bisect_right(firsts, after + 1) - 1
        for index in range(start, len(firsts)):
            segment = extent.segments[index]
            sealed = index + 1 < len(firsts)
            with self._reading(segment.path):
                limit = size_of(segment.path) if sealed else extent.end
                if sealed and index == start and after + 1 > segment.first:
                    self._count_sealed(chain, segment, limit, firsts[index + 1])
                seq = segment.first - 1
                for seq, place, line in lines_of(
                    self._files, segment, after, limit, self._settings.max_line
                ):
                    yield seq, place, line
            following = firsts[index + 1] if sealed else extent.seq + 1
            if seq + 1 != following:
                raise gap(chain.directory, seq + 1, following)

    def _count_sealed(self, chain: Chain, segment: Segment, size: int, following: int) -> None:
        """Count a finished segment once, so that reading may start within it."""
        with chain.lock:
            if segment.end < size:
                scan(self._files, segment, size)
        if segment.first + segment.lines != following:
            raise gap(chain.directory, segment.first + segment.lines, following)

    def _chain(self, project: ProjectId) -> Chain | None:
        """Return what is known of the log, or None where there is none.

        Nothing is remembered of ids that strangers made up.
        """
        chain = self._chains.get(project)
        if chain is None:
            directory = self._layout.log(project)
            if directory.is_dir():
                chain = self._chains.setdefault(project, Chain(directory=str(directory)))
        return chain

    def _extent(self, chain: Chain) -> Extent:
        """Return what may be read now."""
        with chain.lock, self._reading(chain.directory):
            self._refresh(chain)
            chain.extent = extent_of(chain.segments)
            return chain.extent

    def _refresh(self, chain: Chain) -> None:
        """Take in what the writer, in another process, did since the last look."""
        firsts = segment_firsts(chain.directory)
        known = [segment.first for segment in chain.segments]
        if firsts[: len(known)] != known or not self._same_tail(chain):
            # The writer took back lines that it could not flush: start over.
            for segment in chain.segments:
                self._files.forget(segment.path)
            chain.segments, known = [], []
        chain.segments += [
            Segment(path=segment_path(chain.directory, first), first=first)
            for first in firsts[len(known) :]
        ]
        if not chain.segments:
            return
        last = chain.segments[-1]
        size = size_of(last.path)
        if size > last.end:
            scan(self._files, last, size)
            chain.tail = self._tail_hash(last)
        check_order(chain)

    def _same_tail(self, chain: Chain) -> bool:
        if not chain.segments or not chain.segments[-1].end:
            return True
        return self._tail_hash(chain.segments[-1]) == chain.tail

    def _tail_hash(self, segment: Segment) -> bytes:
        with self._files.lease(segment.path, READ) as fd:
            line = os.pread(fd, segment.end - segment.last, segment.last)
        return hashlib.sha256(line).digest()

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        """Turn the system's errors into ours."""
        try:
            yield
        except FileNotFoundError as error:
            raise Corrupt(
                "segment-gone",
                "a part of the log was removed while in use",
                hint="restore it, then start again",
                path=str(error.filename or path),
            ) from error
        except OSError as error:
            raise disk_error(error, Path(path)) from error


def extent_of(segments: list[Segment]) -> Extent:
    """Return all that is known of `segments`."""
    if not segments:
        return EMPTY
    last = segments[-1]
    return Extent(segments=tuple(segments), end=last.end, seq=last.first + last.lines - 1)


def check_order(chain: Chain) -> None:
    """Raise Corrupt when two neighbouring segments cannot belong together.

    Only what costs nothing is compared here; reading across the border compares exactly.
    """
    for earlier, later in pairwise(chain.segments):
        if earlier.first + earlier.lines > later.first:
            raise gap(chain.directory, earlier.first + earlier.lines, later.first)


def _subdirectories(directory: Path) -> list[Path]:
    try:
        return [entry for entry in directory.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk_error(error, directory) from error
