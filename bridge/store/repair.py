"""Repair of a log's end: what a crash left unfinished is kept beside the log.

Nothing is thrown away, although a line without its newline was never acknowledged: it
may tell a person what was going on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from bridge.errors import Unavailable
from bridge.store.durable import FILE_MODE, sync_directory, write_all

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.model.ids import ProjectId

_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """An unfinished line that was cut off a log when it was opened.

    Attributes:
        project: whose log.
        seq: the number that the line would have had.
        segment: its file.
        offset: where the cut was made, in bytes.
        length: bytes cut.
        saved: the file that holds them now.
    """

    project: ProjectId
    seq: int
    segment: Path
    offset: int
    length: int
    saved: Path


def save_torn(fd: int, directory: Path, seq: int, span: tuple[int, int]) -> Path:
    """Copy the bytes `span` (start, end) of `fd` to ``torn-<seq>.bin``, durably.

    Raises:
        OSError: it could not be saved; nothing may be cut.
    """
    saved, copy = _create(directory, seq)
    try:
        offset, end = span
        while offset < end:
            chunk = os.pread(fd, min(_CHUNK, end - offset), offset)
            if not chunk:
                break
            write_all(copy, chunk)
            offset += len(chunk)
        os.fsync(copy)
    finally:
        os.close(copy)
    sync_directory(directory)
    return saved


def log_closed(path: str, error: OSError) -> Unavailable:
    """Return what to raise for a log whose end is unknown after `error`."""
    return Unavailable(
        "log-closed",
        "this project takes no changes until its log was checked",
        retry=True,
        hint="see the log for the disk's error; a restart checks it again",
        path=path,
        error=str(error),
    )


def _create(directory: Path, seq: int) -> tuple[Path, int]:
    """Create the file; a second crash at the same line must not overwrite the first one's."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    for attempt in count(1):
        path = directory / (f"torn-{seq}.bin" if attempt == 1 else f"torn-{seq}-{attempt}.bin")
        try:
            return path, os.open(path, flags, FILE_MODE)
        except FileExistsError:
            continue
    raise AssertionError("counting never ends")
