"""Segments: the JSONL files of one log, and places in them.

A segment is named by the number of its first line, ``00000001.jsonl`` being the first, so
the last line's number is known after counting one segment only, a read starts in the right
one at once, and a missing or shortened segment shows as a gap. A line ends with its newline;
what follows the last newline is unfinished.
"""

from __future__ import annotations

import os
import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import Corrupt
from bridge.store import Place
from bridge.store.descriptors import READ, OpenFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 256 * 1024
STRIDE = 64
"""Every so many lines the offset is remembered: 8 bytes for about 32 kB of log."""

_NAME = re.compile(r"(\d{8,15})\.jsonl\Z", re.ASCII)
_PLACE = re.compile(r"([1-9]\d{0,14}):(\d{1,15}):([1-9]\d{0,9})\Z", re.ASCII)


@dataclass(slots=True, kw_only=True)
class Segment:
    """What is known of one file: its whole lines up to `end` were counted.

    Changed by one thread at a time. Readers of another thread keep to the extent they were
    given; what lies before it never changes.
    """

    path: str
    first: int
    lines: int = 0
    end: int = 0
    last: int = 0
    """Offset of the last whole line."""
    marks: array[int] = field(default_factory=lambda: array("Q"))
    """Offsets of the lines ``first``, ``first + STRIDE`` and so on."""

    def extend(self, line_end: int) -> None:
        """Count one line more, which ends (newline included) at `line_end`."""
        if self.lines % STRIDE == 0:
            self.marks.append(self.end)
        self.lines += 1
        self.last = self.end
        self.end = line_end

    def shorten(self, lines: int, end: int) -> None:
        """Forget the lines after the first `lines`, which end at `end`; `last` is lost."""
        del self.marks[(lines + STRIDE - 1) // STRIDE :]
        self.lines = lines
        self.end = self.last = end


def segment_path(directory: str, first: int) -> str:
    """Return the path of the segment that starts with line `first`."""
    return f"{directory}/{first:08d}.jsonl"


def segment_firsts(directory: str) -> list[int]:
    """Return the first line's number of each segment in `directory`, ascending.

    Raises:
        Corrupt: ``log-gap``: the log does not start with line 1.
    """
    firsts = []
    try:
        names = os.listdir(directory)  # noqa: PTH208 - names, not paths: this is polled
    except FileNotFoundError:
        return []
    for name in names:
        matched = _NAME.match(name)
        if matched and f"{int(matched[1]):08d}.jsonl" == name:
            firsts.append(int(matched[1]))
    firsts.sort()
    if firsts and firsts[0] != 1:
        raise gap(directory, 1, firsts[0])
    return firsts


def gap(directory: str, expected: int, found: int) -> Corrupt:
    """Return what to raise where line `expected` should follow and `found` does."""
    return Corrupt(
        "log-gap",
        "a part of the log is missing",
        hint="restore the missing segment from a backup or from a replica",
        directory=directory,
        expected=expected,
        found=found,
    )


def scan(files: OpenFiles, segment: Segment, size: int) -> None:
    """Count the whole lines of `segment` between what is known and byte `size`."""
    with files.lease(segment.path, READ) as fd:
        offset = segment.end
        while offset < size:
            chunk = os.pread(fd, min(CHUNK, size - offset), offset)
            if not chunk:
                return
            newline = chunk.find(b"\n")
            while newline >= 0:
                segment.extend(offset + newline + 1)
                newline = chunk.find(b"\n", newline + 1)
            offset += len(chunk)


def lines_of(
    files: OpenFiles, segment: Segment, after: int, limit: int, max_line: int
) -> Iterator[tuple[int, Place, bytes]]:
    """Yield ``(seq, place, line)`` after line `after` up to byte `limit`, a line's end.

    No descriptor is held while the caller works on a line.

    Raises:
        Corrupt: ``torn-segment`` when `limit` is no line's end or beyond the file's,
            ``bad-line`` when a line is far longer than `max_line`.
    """
    skip = max(after + 1 - segment.first, 0) // STRIDE
    seq = segment.first + skip * STRIDE
    offset = position = segment.marks[skip] if skip else 0
    rest = b""
    while position < limit:
        with files.lease(segment.path, READ) as fd:
            chunk = os.pread(fd, min(CHUNK, limit - position), position)
        if not chunk:
            raise torn(segment.path, position)
        position += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if seq > after:
                yield seq, place_of(segment.first, offset, len(line)), line
            seq += 1
            offset += len(line) + 1
        if len(rest) > max_line:
            raise Corrupt(
                "bad-line", "a line of the log is too long", path=segment.path, offset=offset
            )
    if rest:
        raise torn(segment.path, offset)


def torn(path: str, offset: int) -> Corrupt:
    """Return what to raise where a finished segment ends within a line."""
    return Corrupt(
        "torn-segment",
        "a part of the log is cut off",
        hint="restore the segment from a backup or from a replica",
        path=path,
        offset=offset,
    )


def check_sealed(segment: Segment) -> None:
    """Raise Corrupt when a finished segment ends within a line; only its end is read."""
    size = size_of(segment.path)
    with Path(segment.path).open("rb") as file:
        file.seek(max(size - 1, 0))
        if file.read(1) != b"\n":
            raise torn(segment.path, size)


def touched(path: str) -> Corrupt:
    """Return what to raise for a segment that somebody else changed."""
    return Corrupt(
        "segment-changed",
        "the log was changed by another program",
        hint="stop that program, run a verification, then start again",
        path=path,
    )


def place_of(first: int, offset: int, length: int) -> Place:
    """Return the place of a line: its segment, offset and length without newline in bytes."""
    return Place(f"{first}:{offset}:{length}")


def parse_place(place: Place) -> tuple[int, int, int]:
    """Return segment, offset and length of `place`.

    Raises:
        Corrupt: ``bad-place``.
    """
    matched = _PLACE.match(place)
    if not matched:
        raise bad_place(place)
    return int(matched[1]), int(matched[2]), int(matched[3])


def bad_place(place: Place) -> Corrupt:
    """Return what to raise for a place where no line is."""
    return Corrupt(
        "bad-place",
        "the index does not fit the log",
        hint="rebuild the index",
        place=place[:64],
    )


def size_of(path: str) -> int:
    """Return the length of the file `path` in bytes."""
    return Path(path).stat().st_size
