"""A project as one archive: ``manifest.json``, ``log/…``, ``blobs/…`` in a tar with gzip.

The same files as in the container on disk (`bridge/store/CONTAINER.md`); views are left
out, they follow from the log. The keys are entries of the log, so the archive can be
checked for ever. The manifest comes first and says what the rest must be::

    {"tx": 1, "type": "container", "project": "…", "seq": 8, "hash": "sha256:…",
     "keys": {"home.example/k1": "…"}, "blobs": 2, "at": "2026-11-20T12:00:00.000Z"}

Reading refuses whatever is not one of these files, by its exact name: links, directories,
extended headers, other paths, files twice, and more bytes than the limits, before any of
it is written. Nothing is taken from the archive but bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from bridge.cli.audit import Damage, Report
from bridge.errors import Invalid
from bridge.model.ids import Digest, ProjectId, domain_of, parse_digest, parse_project
from bridge.store.blobs import BLOB_LIMIT
from bridge.store.durable import FILE_MODE, make_directory, sync_directory, write_temporary
from bridge.store.spool import Layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

MANIFEST: Final = "manifest.json"
TOTAL_MAX: Final = 1 << 36
"""Bytes that an archive may unpack to, unless told otherwise: 64 GiB."""
_MANIFEST_MAX: Final = 64 * 1024
_SEGMENT_MAX: Final = 80 * 1024 * 1024
_FILES_MAX: Final = 2_000_000
_CHUNK: Final = 1 << 20
_NAME: Final = re.compile(r"manifest\.json|log/\d{8,15}\.jsonl|blobs/([0-9a-f]{2})/\1[0-9a-f]{62}")
_BROKEN: Final = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive says it holds."""

    project: ProjectId
    seq: int
    hash: Digest
    keys: Mapping[str, str]
    blobs: int
    at: str

    def content(self) -> bytes:
        """Return the file's content."""
        head = {"tx": 1, "type": "container", "project": self.project, "seq": self.seq}
        rest = {"hash": self.hash, "keys": dict(self.keys), "blobs": self.blobs, "at": self.at}
        return (json.dumps(head | rest, indent=2) + "\n").encode()

    @classmethod
    def read(cls, content: bytes) -> Manifest:
        """Return the manifest in `content`.

        Raises:
            Invalid: ``bad-archive``.
        """
        try:
            document: Any = json.loads(content)
            if document["tx"] != 1 or document["type"] != "container":
                raise _bad("it is of another kind or version")
            return cls(
                project=parse_project(document["project"]),
                seq=int(document["seq"]),
                hash=parse_digest(document["hash"]),
                keys={str(kid): str(public) for kid, public in document["keys"].items()},
                blobs=int(document["blobs"]),
                at=str(document["at"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _bad("its manifest cannot be read") from None
        except Invalid as error:
            raise _bad(f"its manifest cannot be read: {error}") from None

    def compare(self, report: Report) -> None:
        """Add to `report` the damage of a log that is not the one named here."""
        state = report.state
        if not report.damage and (
            state is None or (state.seq, state.hash) != (self.seq, self.hash)
        ):
            report.damage.append(
                Damage(
                    code="other-head",
                    file=MANIFEST,
                    detail=f"the log does not end with entry {self.seq}, as this says",
                )
            )


def _bad(reason: str) -> Invalid:
    return Invalid("bad-archive", f"this is not an archive of a project: {reason}")


# -- writing -----------------------------------------------------------------------------


def pack(
    target: IO[bytes],
    manifest: Manifest,
    log: Path,
    ends: Mapping[int, int],
    blobs: Iterable[Path],
) -> None:
    """Write the archive of a project to `target`.

    Args:
        target: a binary stream.
        manifest: what to say first.
        log: the directory of the log's segments.
        blobs: attachments.
        ends: for each segment, by the number of its first line, how many bytes of it.
    """
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
    ):
        content = manifest.content()
        tar.addfile(_member(MANIFEST, len(content)), io.BytesIO(content))
        for first, end in sorted(ends.items()):
            name = f"{first:08d}.jsonl"
            with (log / name).open("rb") as segment:
                tar.addfile(_member(f"log/{name}", end), segment)
        for path in blobs:
            with path.open("rb") as blob:
                size = path.stat().st_size
                tar.addfile(_member(f"blobs/{path.parent.name}/{path.name}", size), blob)


def blob_files(layout: Layout, project: ProjectId) -> list[Path]:
    """Return the attachments of a container, sorted."""
    top = layout.blobs(project)
    return sorted(
        path
        for path in top.glob("??/*")
        if _NAME.fullmatch(f"blobs/{path.parent.name}/{path.name}")
    )


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, FILE_MODE
    return member


# -- reading -----------------------------------------------------------------------------


class _Strict(tarfile.TarInfo):
    """Refuses every member that is no plain file, before its content is read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Strict:
        member = super().frombuf(buf, encoding, errors)
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise _bad(f"it holds something that is no plain file: {member.name!r}")
        return member


def unpack(file: Path, directory: Path, total_max: int = TOTAL_MAX) -> tuple[Layout, Manifest]:
    """Unpack an archive below `directory` and return where its container is.

    The content is checked for form only: verify it before it is used.

    Raises:
        Invalid: ``bad-archive`` or ``too-large``.
        OSError: the file cannot be read, or the disk is full.
    """
    with file.open("rb") as opened:
        try:
            return _unpack(opened, directory, total_max)
        except _BROKEN as error:
            raise _bad(f"it is damaged or cut off ({error})") from None


def _unpack(opened: IO[bytes], directory: Path, total_max: int) -> tuple[Layout, Manifest]:
    seen: set[str] = set()
    total = 0
    layout: Layout | None = None
    manifest: Manifest | None = None
    with gzip.GzipFile(fileobj=opened) as plain:
        with tarfile.open(fileobj=plain, mode="r|", tarinfo=_Strict) as tar:
            for member in tar:
                name, total = member.name, total + member.size
                _check(member, seen)
                if total > total_max or len(seen) > _FILES_MAX:
                    raise Invalid(
                        "too-large", f"the archive unpacks to more than {total_max} bytes"
                    )
                seen.add(name)
                content = tar.extractfile(member)
                if content is None:
                    raise _bad(f"{name} has no content")
                if manifest is None or layout is None:
                    manifest = Manifest.read(content.read())
                    layout = Layout(root=directory, domain=domain_of(manifest.project))
                else:
                    _write(layout.container(manifest.project) / name, content)
        while plain.read(_CHUNK):  # to the end, where the checksum is compared
            continue
    if manifest is None or layout is None:
        raise _bad("it is empty")
    blobs = sum(name.startswith("blobs/") for name in seen)
    if blobs != manifest.blobs:
        raise _bad(f"it holds {blobs} attachments, not {manifest.blobs}")
    return layout, manifest


def _check(member: tarfile.TarInfo, seen: set[str]) -> None:
    name = member.name
    if not _NAME.fullmatch(name):
        raise _bad(f"it holds a file of another name: {name[:200]!r}")
    if name in seen:
        raise _bad(f"it holds {name} twice")
    if not seen and name != MANIFEST:
        raise _bad("it does not begin with its manifest")
    limit = {"l": _SEGMENT_MAX, "b": BLOB_LIMIT, "m": _MANIFEST_MAX}[name[0]]
    if not 0 <= member.size <= limit:
        raise Invalid("too-large", f"{name} in the archive is larger than {limit} bytes")


def _write(path: Path, content: IO[bytes]) -> None:
    make_directory(path.parent, flush=False)
    temporary = write_temporary(path.parent, _chunks(content), flush=True)
    temporary.replace(path)


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    while chunk := content.read(_CHUNK):
        yield chunk


def settle(source: Path, target: Path) -> None:
    """Move an unpacked container to its place, durably; the place must be free.

    Raises:
        Invalid: ``exists``.
    """
    if target.exists():
        raise Invalid("exists", f"there is a project at {target} already")
    for directory in sorted(path for path in source.rglob("*") if path.is_dir()):
        sync_directory(directory)
    sync_directory(source)
    make_directory(target.parent)
    source.rename(target)
    sync_directory(target.parent)
