"""What "on disk" means: write all, flush the file, flush the directory that names it.

Also the reserve: writes that the gateway can refuse are refused while there is still
room, so that a full disk never meets a half-written log (tx-protocol section 20).
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DIRECTORY_MODE = 0o750
FILE_MODE = 0o640
RESERVE_BYTES = 64 * 1024 * 1024
TEMPORARY = ".tmp-"
"""Prefix of files that are not there yet; a crash may leave some behind."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def disk_error(error: OSError, path: Path) -> Unavailable:
    """Return what to raise for `error` met at `path`."""
    if error.errno in _FULL:
        return Unavailable(
            "disk-full",
            "there is no room left to save this",
            retry=True,
            hint="free some space on the spool's file system",
            path=str(path),
        )
    return Unavailable(
        "disk-error",
        "the change could not be saved",
        retry=True,
        hint="see the log for the disk's error",
        path=str(path),
        error=str(error),
    )


def write_all(fd: int, content: bytes) -> None:
    """Write `content` to `fd`: one write, more only where the system took part of it.

    Raises:
        OSError: after an unknown part was written.
    """
    written = os.write(fd, content)
    if written < len(content):
        rest = memoryview(content)[written:]
        while rest:
            rest = rest[os.write(fd, rest) :]


def sync_directory(path: Path) -> None:
    """Make the names in directory `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path, mode: int = DIRECTORY_MODE, *, flush: bool = True) -> None:
    """Create `path` and its missing parents; an existing one stays as it is.

    Args:
        path: the directory.
        mode: its permissions; new parents get 0750.
        flush: make the new names durable; else the caller does so when all are there.
    """
    if path.is_dir():
        return
    make_directory(path.parent, flush=flush)
    try:
        path.mkdir()
    except FileExistsError:
        return
    path.chmod(mode)  # mkdir's mode would be cut by the umask
    if flush:
        sync_directory(path.parent)


def create_file(path: Path) -> None:
    """Create `path` empty; the file and its name are durable on return.

    Raises:
        FileExistsError: it is there already.
        OSError: it could not be made, and is not there.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        try:
            os.fchmod(fd, FILE_MODE)
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_directory(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def write_temporary(directory: Path, chunks: Iterable[bytes], *, flush: bool) -> Path:
    """Write `chunks` to a new file in `directory` and return its path.

    Whatever is raised, by the disk or by `chunks`, no file is left behind.
    """
    fd, name = tempfile.mkstemp(prefix=TEMPORARY, dir=directory)
    temporary = Path(name)
    try:
        try:
            os.fchmod(fd, FILE_MODE)
            for chunk in chunks:
                write_all(fd, chunk)
            if flush:
                os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def replace_file(path: Path, content: bytes, *, flush: bool) -> None:
    """Give `path` the new `content` in one step: readers see the old file or the new one.

    Args:
        path: its directory exists.
        content: the whole file.
        flush: also make it survive a power failure; about 0.2 ms and more on real disks.

    Raises:
        OSError: the old file is untouched.
    """
    temporary = write_temporary(path.parent, (content,), flush=flush)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if flush:
        sync_directory(path.parent)


class Reserve:
    """Refuses writes while the file system holds less free space than the reserve.

    The system is asked at most once in `seconds` and once in `stride` bytes, so a write
    costs nothing here. Threads share one: a race costs one more question, or lets at most
    `stride` bytes a thread into a reserve that is larger by far.
    """

    def __init__(
        self,
        path: Path,
        *,
        reserve: int = RESERVE_BYTES,
        stride: int = 8 * 1024 * 1024,
        seconds: float = 0.25,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the file system that holds `path`; `reserve` and `stride` are in bytes."""
        self._path = path
        self._reserve = reserve
        self._stride = stride
        self._seconds = seconds
        self._monotonic = monotonic
        self._allowance = 0
        self._expires = float("-inf")

    def free(self) -> int:
        """Return the bytes that this user may still write on the file system."""
        state = os.statvfs(self._path)
        return state.f_bavail * state.f_frsize

    def require(self, size: int) -> None:
        """Return when `size` more bytes leave the reserve whole.

        Raises:
            Unavailable: ``disk-full``.
        """
        now = self._monotonic()
        if size > self._allowance or now >= self._expires:
            free = self.free()
            if free < self._reserve + size:
                self._allowance = 0
                raise Unavailable(
                    "disk-full",
                    "there is no room left to save this",
                    retry=True,
                    hint="free some space on the spool's file system",
                    path=str(self._path),
                    free=free,
                    reserve=self._reserve,
                )
            self._allowance = min(free - self._reserve, max(self._stride, size))
            self._expires = now + self._seconds
        self._allowance -= size
