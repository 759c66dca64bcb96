"""Attachments as files ``blobs/ab/<sha256>`` in the container (tx-protocol section 20).

Only a digest names a blob, so no name from a client or peer reaches the file system. A
blob appears complete, checked and durable, or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from typing import TYPE_CHECKING, BinaryIO

from bridge.errors import Corrupt, Invalid, NotFound
from bridge.model.ids import Digest, digest_of, parse_digest
from bridge.store.descriptors import READ
from bridge.store.durable import (
    TEMPORARY,
    disk_error,
    make_directory,
    sync_directory,
    write_temporary,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from bridge.model.ids import ProjectId
    from bridge.store.durable import Reserve
    from bridge.store.spool import Layout

BLOB_LIMIT = 25 * 1024 * 1024
_SCHEME = "sha256:"
_HEX = re.compile(r"[0-9a-f]{64}")
_CHUNK = 256 * 1024


class Measured:
    """A stream being stored: limits its length and learns its name on the way."""

    def __init__(self, content: bytes | Iterable[bytes], limit: int) -> None:
        """Wrap `content`; more than `limit` bytes are refused."""
        self._chunks = (content,) if isinstance(content, bytes) else content
        self._limit = limit
        self._size = 0
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the chunks.

        Raises:
            Invalid: ``too-large``.
        """
        for chunk in self._chunks:
            self._size += len(chunk)
            if self._size > self._limit:
                raise Invalid(
                    "too-large",
                    f"an attachment may have {self._limit} bytes",
                    limit=self._limit,
                )
            self._hash.update(chunk)
            yield chunk

    def name(self, expected: Digest | None) -> Digest:
        """Return the digest of what was yielded.

        Raises:
            Invalid: ``bad-digest``: it is not `expected`.
        """
        digest = Digest(_SCHEME + self._hash.hexdigest())
        if expected is not None and digest != expected:
            raise Invalid("bad-digest", "the content does not match its digest", found=digest)
        return digest


class FileBlobs:
    """Blobs of a spool; implements `bridge.store.write.BlobWriter`.

    Any thread and process may put, read and remove at once: a blob appears by rename, and
    only a file that nobody is putting (a lock on the file tells) is removed.
    """

    def __init__(self, layout: Layout, reserve: Reserve, *, limit: int = BLOB_LIMIT) -> None:
        """Keep blobs of up to `limit` bytes in the containers of `layout`."""
        self._layout = layout
        self._reserve = reserve
        self._limit = limit

    def exists(self, project: ProjectId, digest: Digest) -> bool:
        """See `bridge.store.BlobReader.exists`."""
        return self._path(project, digest).is_file()

    def size(self, project: ProjectId, digest: Digest) -> int:
        """See `bridge.store.BlobReader.size`."""
        try:
            return self._path(project, digest).stat().st_size
        except FileNotFoundError:
            raise no_blob(digest) from None

    def open(self, project: ProjectId, digest: Digest) -> BinaryIO:
        """See `bridge.store.BlobReader.open`."""
        path = self._path(project, digest)
        try:
            return os.fdopen(os.open(path, READ), "rb")
        except FileNotFoundError:
            raise no_blob(digest) from None
        except OSError as error:
            raise disk_error(error, path) from error

    def read(self, project: ProjectId, digest: Digest) -> bytes:
        """See `bridge.store.BlobReader.read`."""
        with self.open(project, digest) as file:
            content = file.read(self._limit + 1)
        if digest_of(content) != digest:
            raise Corrupt(
                "blob-damaged",
                "the attachment is damaged",
                hint="it can be fetched again from a replica",
                project=project,
                digest=digest,
            )
        return content

    def put(
        self,
        project: ProjectId,
        content: bytes | Iterable[bytes],
        *,
        expected: Digest | None = None,
    ) -> Digest:
        """See `bridge.store.write.BlobWriter.put`.

        A blob that is here but damaged is replaced.
        """
        directory = self._layout.blobs(project)
        self._reserve.require(len(content) if isinstance(content, bytes) else self._limit)
        measured = Measured(content, self._limit)
        try:
            make_directory(directory)
            temporary = write_temporary(directory, measured, flush=True)
            try:
                digest = measured.name(expected)
                path = self._path(project, digest)
                if not _refresh(path, digest):
                    make_directory(path.parent)
                    temporary.replace(path)
                    sync_directory(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
        except (ConnectionError, TimeoutError):
            raise  # the caller's stream broke, not the disk
        except OSError as error:
            raise disk_error(error, directory) from error
        return digest

    def remove_unreferenced(
        self, project: ProjectId, referenced: Container[Digest], before: datetime
    ) -> list[Digest]:
        """See `bridge.store.write.BlobWriter.remove_unreferenced`.

        Also removes what crashes left behind unfinished.
        """
        directory = self._layout.blobs(project)
        limit = before.timestamp()
        removed: list[Digest] = []
        try:
            for path in directory.glob(TEMPORARY + "*"):
                _remove(path, limit)
            for path in sorted(directory.glob("??/*")):
                digest = Digest(_SCHEME + path.name)
                if _HEX.fullmatch(path.name) and digest not in referenced and _remove(path, limit):
                    removed.append(digest)
        except OSError as error:
            raise disk_error(error, directory) from error
        return removed

    def _path(self, project: ProjectId, digest: Digest) -> Path:
        name = parse_digest(digest).removeprefix(_SCHEME)
        return self._layout.blobs(project) / name[:2] / name


def no_blob(digest: Digest) -> NotFound:
    """Return what to raise where blob `digest` is not."""
    return NotFound("no-blob", "there is no such attachment", digest=digest)


def _refresh(path: Path, digest: Digest) -> bool:
    """Return whether `path` already holds the blob, and start its time without use anew.

    The shared lock keeps a removal away meanwhile; a removal that came first shows in the
    link count.
    """
    try:
        fd = os.open(path, READ)
    except FileNotFoundError:
        return False
    found = hashlib.sha256()
    with os.fdopen(fd, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        if os.fstat(fd).st_nlink == 0:
            return False
        os.utime(fd)  # a damaged one too: its removal must not meet the new one
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return _SCHEME + found.hexdigest() == digest


def _remove(path: Path, limit: float) -> bool:
    """Remove `path` unless it was put since `limit` or is being put just now."""
    try:
        fd = os.open(path, READ)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        state = os.fstat(fd)
        if state.st_mtime >= limit or path.stat().st_ino != state.st_ino:
            return False
        path.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(fd)
    return True
