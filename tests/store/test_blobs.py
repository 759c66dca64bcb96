"""Attachments: one contract over memory and files, then what only files can show."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from bridge.errors import Corrupt, Invalid, NotFound, Unavailable
from bridge.model.ids import Digest, digest_of, parse_domain, parse_project
from bridge.store.blobs import FileBlobs
from bridge.store.durable import Reserve
from bridge.store.memory import MemoryBlobs
from bridge.store.spool import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.store.write import BlobWriter

ONE = parse_project("one@a.example")
TWO = parse_project("two@a.example")
LIMIT = 1_000_000
HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.fromtimestamp(os.stat("/proc/self").st_ctime, UTC)  # noqa: PTH116 - the kernel's clock, as files have it


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path, domain=parse_domain("a.example"))


@pytest.fixture
def files(layout: Layout) -> FileBlobs:
    return FileBlobs(layout, Reserve(layout.root, reserve=0), limit=LIMIT)


@pytest.fixture(params=["memory", "files"])
def blobs(request: pytest.FixtureRequest, files: FileBlobs) -> BlobWriter:
    return MemoryBlobs(now, limit=LIMIT) if request.param == "memory" else files


def chunked(content: bytes, size: int = 1000) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def everything(layout: Layout) -> list[str]:
    top = layout.blobs(ONE)
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 2000])
@pytest.mark.parametrize("streamed", [False, True])
def test_blob_is_named_by_its_content(blobs: BlobWriter, content: bytes, streamed: bool) -> None:
    digest = blobs.put(ONE, chunked(content) if streamed else content)
    assert digest == digest_of(content)
    assert blobs.exists(ONE, digest)
    assert blobs.size(ONE, digest) == len(content)
    assert blobs.read(ONE, digest) == content
    with blobs.open(ONE, digest) as stream:
        stream.seek(len(content) // 2)
        assert stream.read() == content[len(content) // 2 :]


def test_blob_belongs_to_its_project(blobs: BlobWriter) -> None:
    digest = blobs.put(ONE, b"x")
    assert not blobs.exists(TWO, digest)
    for use in (blobs.read, blobs.open, blobs.size):
        with pytest.raises(NotFound) as caught:
            use(TWO, digest)
        assert caught.value.code == "no-blob"


@pytest.mark.parametrize("streamed", [False, True])
def test_blob_above_the_limit_is_refused(
    blobs: BlobWriter,
    layout: Layout,
    streamed: bool,
) -> None:
    assert blobs.put(ONE, b"x" * LIMIT)
    content = b"x" * (LIMIT + 1)
    with pytest.raises(Invalid) as caught:
        blobs.put(ONE, chunked(content) if streamed else content)
    assert caught.value.code == "too-large"
    assert not blobs.exists(ONE, digest_of(content))
    assert len(everything(layout)) <= 1  # nothing half-written stays


def test_blob_with_another_digest_than_announced_is_refused(
    blobs: BlobWriter, layout: Layout
) -> None:
    with pytest.raises(Invalid) as caught:
        blobs.put(ONE, b"x", expected=digest_of(b"y"))
    assert caught.value.code == "bad-digest"
    assert not blobs.exists(ONE, digest_of(b"x"))
    assert everything(layout) == []
    assert blobs.put(ONE, b"y", expected=digest_of(b"y")) == digest_of(b"y")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../../etc/passwd",
        "sha256:../../../etc/passwd",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 64 + "\n",
        "a" * 64,
    ],
)
def test_only_a_digest_names_a_blob(blobs: BlobWriter, name: str) -> None:
    for use in (blobs.exists, blobs.size, blobs.open, blobs.read):
        with pytest.raises(Invalid) as caught:
            use(ONE, Digest(name))
        assert caught.value.code == "bad-digest"


def test_unreferenced_blob_is_removed_after_its_time(blobs: BlobWriter) -> None:
    kept, lost = blobs.put(ONE, b"kept"), blobs.put(ONE, b"lost")
    other = blobs.put(TWO, b"lost")
    assert blobs.remove_unreferenced(ONE, set(), now() - HOUR) == []
    assert blobs.remove_unreferenced(ONE, {kept}, now() + HOUR) == [lost]
    assert blobs.exists(ONE, kept)
    assert not blobs.exists(ONE, lost)
    assert blobs.exists(TWO, other)
    assert blobs.remove_unreferenced(parse_project("none@a.example"), set(), now()) == []


def age(path: Path, hours: int) -> None:
    then = (now() - hours * HOUR).timestamp()
    os.utime(path, (then, then))


def test_blob_is_kept_once_however_often_it_is_put(files: FileBlobs, layout: Layout) -> None:
    digest = files.put(ONE, b"same")
    path = layout.blobs(ONE) / digest[7:9] / digest[7:]
    inode = path.stat().st_ino
    assert files.put(ONE, chunked(b"same", 1)) == digest
    assert path.stat().st_ino == inode
    assert everything(layout) == [f"{digest[7:9]}/{digest[7:]}"]
    assert path.stat().st_mode & 0o777 == 0o640


def test_blob_put_again_starts_its_time_anew(files: FileBlobs, layout: Layout) -> None:
    digest = files.put(ONE, b"again")
    path = layout.blobs(ONE) / digest[7:9] / digest[7:]
    age(path, 48)
    files.put(ONE, b"again")
    assert files.remove_unreferenced(ONE, set(), now() - 24 * HOUR) == []
    age(path, 48)
    assert files.remove_unreferenced(ONE, set(), now() - 24 * HOUR) == [digest]


def test_damaged_blob_is_found_and_healed_by_the_next_put(files: FileBlobs, layout: Layout) -> None:
    digest = files.put(ONE, b"content")
    (layout.blobs(ONE) / digest[7:9] / digest[7:]).write_bytes(b"c0ntent")
    with pytest.raises(Corrupt) as caught:
        files.read(ONE, digest)
    assert caught.value.code == "blob-damaged"
    files.put(ONE, b"content")
    assert files.read(ONE, digest) == b"content"


def test_linked_blob_is_not_followed(files: FileBlobs, layout: Layout, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    digest = digest_of(b"secret")
    path = layout.blobs(ONE) / digest[7:9] / digest[7:]
    path.parent.mkdir(parents=True)
    path.symlink_to(secret)
    with pytest.raises(Unavailable):
        files.open(ONE, digest)


def test_left_over_temporary_files_are_removed_in_time(files: FileBlobs, layout: Layout) -> None:
    digest = files.put(ONE, b"x")
    fresh, old = layout.blobs(ONE) / ".tmp-fresh", layout.blobs(ONE) / ".tmp-old"
    fresh.write_bytes(b"")
    old.write_bytes(b"")
    age(old, 48)
    files.remove_unreferenced(ONE, {digest}, now() - 24 * HOUR)
    assert fresh.exists()
    assert not old.exists()


def test_damaged_blob_that_is_healed_is_not_removed_as_old(
    files: FileBlobs, layout: Layout
) -> None:
    digest = files.put(ONE, b"x")
    path = layout.blobs(ONE) / digest[7:9] / digest[7:]
    path.write_bytes(b"y")
    age(path, 48)
    files.put(ONE, b"x")
    assert files.remove_unreferenced(ONE, set(), now() - 24 * HOUR) == []
    assert files.read(ONE, digest) == b"x"


def test_broken_stream_leaves_nothing_and_is_not_the_disks_fault(
    files: FileBlobs, layout: Layout
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        files.put(ONE, broken())
    assert everything(layout) == []


def test_blob_that_would_take_the_reserve_is_refused(layout: Layout) -> None:
    files = FileBlobs(layout, Reserve(layout.root, reserve=1 << 60), limit=LIMIT)
    with pytest.raises(Unavailable) as caught:
        files.put(ONE, b"x")
    assert caught.value.code == "disk-full"
    assert not layout.blobs(ONE).exists()


def test_put_and_removal_side_by_side_never_lose_a_blob(files: FileBlobs, layout: Layout) -> None:
    """A put says that the blob is there: so it is, although removals run all the time."""
    digest = digest_of(b"contested")
    path = layout.blobs(ONE) / digest[7:9] / digest[7:]
    removed: list[Digest] = []
    done = threading.Event()

    def put() -> None:
        for _ in range(200):
            with contextlib.suppress(FileNotFoundError):
                age(path, 48)  # from here to the next put it may go
            assert files.put(ONE, b"contested") == digest
            assert files.size(ONE, digest) == 9

    def remove() -> None:
        while not done.is_set():
            removed.extend(files.remove_unreferenced(ONE, set(), now() - HOUR))

    with ThreadPoolExecutor(3) as pool:
        removals = [pool.submit(remove), pool.submit(remove)]
        try:
            pool.submit(put).result(timeout=30)
        finally:
            done.set()
        for job in removals:
            job.result(timeout=30)
    assert removed
