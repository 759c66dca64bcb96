"""Logs in files: crashes, flushes, full and failing disks."""

from __future__ import annotations

import errno
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.errors import Unavailable
from bridge.model.ids import ProjectId, parse_domain, parse_project
from bridge.store.durable import Reserve
from bridge.store.logfile import FileLog
from bridge.store.logreader import FileLogReader, LogSettings
from bridge.store.spool import Layout, SpoolLock
from bridge.store.write import NotDurable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ONE = parse_project("one@a.example")
TWO = parse_project("two@a.example")
SMALL = LogSettings(segment_bytes=100)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path, domain=parse_domain("a.example"))


@contextmanager
def opened(layout: Layout, settings: LogSettings | None = None) -> Iterator[FileLog]:
    with SpoolLock(layout) as lock:
        log = FileLog(layout, lock, Reserve(layout.root, reserve=0), settings)
        yield log
        log.close()


def fill(log: FileLog, count: int, project: ProjectId = ONE) -> list[bytes]:
    written = [b"%040d" % number for number in range(1, count + 1)]
    for number, line in enumerate(written):
        log.append(project, number, [line])
    log.sync([project])
    return written


def lines(log: FileLogReader, project: ProjectId = ONE, after: int = 0) -> list[bytes]:
    return [line for _, _, line in log.read(project, after)]


@pytest.mark.parametrize("kept", [1, 20, 40])
def test_unfinished_last_line_is_cut_and_saved(layout: Layout, kept: int) -> None:
    with opened(layout) as log:
        written = fill(log, 3)
    path = layout.log(ONE) / "00000001.jsonl"
    with path.open("r+b") as file:
        file.truncate(82 + kept)  # of the third line, at most all but its newline
    with opened(layout) as log:
        assert lines(log) == written[:2]
        (repair,) = log.repairs()
        assert (repair.project, repair.seq, repair.length) == (ONE, 3, kept)
        assert repair.saved == layout.log(ONE) / "torn-3.bin"
        assert repair.saved.read_bytes() == written[2][:kept]
        log.append(ONE, 2, [b"again"])
        log.sync([ONE])
    with opened(layout) as log:
        assert lines(log) == [*written[:2], b"again"]
        assert log.repairs() == []


def test_second_torn_line_does_not_overwrite_the_first(layout: Layout) -> None:
    with opened(layout) as log:
        fill(log, 1)
    for torn in (b"first", b"second"):
        with (layout.log(ONE) / "00000001.jsonl").open("ab") as file:
            file.write(torn)
        with opened(layout) as log:
            assert log.count(ONE) == 1
            assert log.repairs()[0].saved.read_bytes() == torn
    assert sorted(path.name for path in layout.log(ONE).glob("torn*")) == [
        "torn-2-2.bin",
        "torn-2.bin",
    ]


def test_torn_only_line_leaves_an_empty_log(layout: Layout) -> None:
    layout.log(ONE).mkdir(parents=True)
    (layout.log(ONE) / "00000001.jsonl").write_bytes(b"half")
    with opened(layout) as log:
        assert log.count(ONE) == 0
        log.append(ONE, 0, [b"whole"])
        log.sync([ONE])
        assert lines(log) == [b"whole"]


def test_damaged_line_with_its_newline_is_never_cut(layout: Layout) -> None:
    with opened(layout) as log:
        fill(log, 2)
    path = layout.log(ONE) / "00000001.jsonl"
    damaged = path.read_bytes()[:41] + b"\0" * 40 + b"\n"
    path.write_bytes(damaged)
    with opened(layout) as log:
        assert lines(log)[1] == b"\0" * 40
        assert log.repairs() == []
    assert path.read_bytes() == damaged


def test_crash_between_new_segment_and_its_first_line_is_harmless(layout: Layout) -> None:
    with opened(layout, SMALL) as log:
        written = fill(log, 2)
    (layout.log(ONE) / "00000003.jsonl").write_bytes(b"")
    with opened(layout, SMALL) as log:
        assert log.count(ONE) == 2
        log.append(ONE, 2, [b"three"])
        log.sync([ONE])
        assert lines(log) == [*written, b"three"]


WRITER = """
import os, sys
from pathlib import Path
from bridge.model.ids import parse_domain, parse_project
from bridge.store.durable import Reserve
from bridge.store.logfile import FileLog
from bridge.store.logreader import LogSettings
from bridge.store.spool import Layout, SpoolLock

layout = Layout(root=Path(sys.argv[1]), domain=parse_domain("a.example"))
settings = LogSettings(segment_bytes=5000)
log = FileLog(layout, SpoolLock(layout), Reserve(layout.root, reserve=0), settings)
projects = [parse_project(name) for name in ("one@a.example", "two@a.example")]
while True:
    for project in projects:
        seq = log.count(project)
        size = seq % 3 + 1
        log.append(project, seq, [b"%d " % (seq + n + 1) + b"x" * (seq % 700) for n in range(size)])
    log.sync(projects)
    os.write(1, b" ".join(b"%d" % log.count(project) for project in projects) + b"\\n")
"""


def test_killed_writer_loses_nothing_it_acknowledged(layout: Layout) -> None:
    chance = random.Random(20)  # noqa: S311 - a moment to kill at, not a secret
    for _round in range(10):
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-c", WRITER, str(layout.root)], stdout=subprocess.PIPE
        )
        with child:
            assert child.stdout
            acknowledged = [child.stdout.readline() for _ in range(chance.randint(1, 150))]
            child.send_signal(signal.SIGKILL)
            acknowledged += child.stdout.read().splitlines(keepends=True)
        whole = [line for line in acknowledged if line.endswith(b"\n")]
        counts = [int(number) for number in whole[-1].split()]
        with opened(layout, LogSettings(segment_bytes=5000)) as log:
            for project, count in zip((ONE, TWO), counts, strict=True):
                found = lines(log, project)
                assert len(found) >= count
                numbers = [int(line.split()[0]) for line in found]
                assert numbers == list(range(1, len(found) + 1))
                assert log.check(project) == len(found)
    assert len(list(layout.log(ONE).glob("*.jsonl"))) > 1


class Recorded:
    """The paths flushed, in order; the flushes are done as well."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self.wrap(getattr(os, name)))

    def wrap(self, flush: Callable[[int], None]) -> Callable[[int], None]:
        def record(fd: int) -> None:
            self.paths.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
            flush(fd)

        return record

    def taken(self) -> list[str]:
        paths, self.paths = self.paths, []
        return paths


def test_each_name_on_the_way_to_a_new_log_is_flushed_and_then_one_file_a_sync(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(layout, SMALL) as log:
        flushed = Recorded(monkeypatch)
        container, segment = layout.container(ONE), str(layout.log(ONE) / "00000001.jsonl")
        log.append(ONE, 0, [b"x" * 50])
        names = {segment, str(container / "log"), str(container), str(container.parent)}
        assert names | {str(layout.store), str(layout.home)} <= set(flushed.taken())
        log.sync([ONE])
        assert flushed.taken() == [segment]
        log.append(TWO, 0, [b"y"])
        assert str(layout.store / "a.example") in flushed.taken()
        log.sync([ONE, TWO])
        flushed.taken()
        for number in range(2, 5):
            log.append(ONE, number - 1, [b"z"])
        assert flushed.taken() == []
        log.sync([ONE, TWO])
        assert flushed.taken() == [segment]
        log.append(ONE, 4, [b"w" * 90])  # a new segment, after the old one is safe
        second = str(layout.log(ONE) / "00000005.jsonl")
        assert flushed.taken() == [segment, second, str(container / "log")]


def test_lines_found_at_the_start_are_flushed_before_they_are_shown(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(layout) as log:
        fill(log, 1)
    segment = layout.log(ONE) / "00000001.jsonl"
    with segment.open("ab") as file:
        file.write(b"whole, but was it flushed?\n")
    with opened(layout) as log:
        flushed = Recorded(monkeypatch)
        assert log.count(ONE) == 2
        assert {str(segment), str(segment.parent)} <= set(flushed.taken())


# Full and failing disks.


def test_append_into_the_reserve_is_refused_before_a_byte_is_written(layout: Layout) -> None:
    with opened(layout) as log:
        written = fill(log, 1)
    with SpoolLock(layout) as lock:
        log = FileLog(layout, lock, Reserve(layout.root, reserve=1 << 60))
        with pytest.raises(Unavailable) as caught:
            log.append(ONE, 1, [b"x"])
        assert caught.value.code == "disk-full"
        assert caught.value.retry
        assert lines(log) == written
        log.close()
    assert (layout.log(ONE) / "00000001.jsonl").stat().st_size == 41


def test_reserve_asks_the_system_rarely_but_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    asked = []
    free = 1000

    def answer(self: Reserve) -> int:
        asked.append(self)
        return free

    monkeypatch.setattr(Reserve, "free", answer)
    reserve = Reserve(
        tmp_path, reserve=100, stride=50, seconds=100, monotonic=lambda: float(next(clock))
    )
    for _ in range(10):
        reserve.require(10)
    assert len(asked) == 2  # once in 50 bytes
    free = 105
    with pytest.raises(Unavailable):
        reserve.require(10)
    reserve.require(5)
    free = 0
    for _ in range(200):
        next(clock)
    with pytest.raises(Unavailable):
        reserve.require(0)


def test_short_writes_are_continued(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with opened(layout) as log:
        fill(log, 1)
        monkeypatch.setattr(os, "write", lambda fd, content: write(fd, bytes(content[:7])))
        log.append(ONE, 1, [b"twenty bytes or so...", b"more"])
        log.sync([ONE])
        assert lines(log, after=1) == [b"twenty bytes or so...", b"more"]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A real short write followed by a real error: the system's limit on file sizes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_failed_append_leaves_the_log_at_its_old_end(layout: Layout) -> None:
    with opened(layout) as log:
        written = fill(log, 2)
        log.append(ONE, 2, [b"waiting"])
        with file_size_limit(100), pytest.raises(Unavailable) as caught:
            log.append(ONE, 3, [b"x" * 50])
        assert caught.value.code == "disk-error"
        assert (layout.log(ONE) / "00000001.jsonl").stat().st_size == 90
        log.append(ONE, 3, [b"later"])
        log.sync([ONE])
        assert lines(log) == [*written, b"waiting", b"later"]


def test_full_disk_during_a_write_is_named(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, _content: bytes) -> int:
        os.pwrite(fd, b"half", os.fstat(fd).st_size)
        raise OSError(errno.ENOSPC, "No space left on device")

    with opened(layout) as log:
        fill(log, 1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(Unavailable) as caught:
                log.append(ONE, 1, [b"x"])
        assert caught.value.code == "disk-full"
        assert (layout.log(ONE) / "00000001.jsonl").stat().st_size == 41


class FailingFlush:
    """os.fdatasync that fails for the files whose path holds `part`, `times` times."""

    def __init__(self, part: str, times: int = 1) -> None:
        self.part, self.times, self.real = part, times, os.fdatasync

    def __call__(self, fd: int) -> None:
        if self.times and self.part in str(Path(f"/proc/self/fd/{fd}").readlink()):
            self.times -= 1
            raise OSError(errno.EIO, "Input/output error")
        self.real(fd)


def test_failed_sync_takes_back_its_lines_and_names_the_project(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(layout, SMALL) as log:
        written = fill(log, 3)
        log.append(ONE, 3, [b"lost" * 20])
        log.append(ONE, 4, [b"lost too" * 10])
        log.append(TWO, 0, [b"kept"])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", FailingFlush("/one/"))
            with pytest.raises(NotDurable) as caught:
                log.sync([ONE, TWO])
        assert set(caught.value.failed) == {ONE}
        assert lines(log) == written
        assert lines(log, TWO) == [b"kept"]
        log.append(ONE, 3, [b"again"])
        log.sync([ONE, TWO])
    with opened(layout, SMALL) as log:
        assert lines(log) == [*written, b"again"]


def test_log_that_cannot_be_taken_back_is_closed_until_reopened(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(layout) as log:
        written = fill(log, 2)
        log.append(ONE, 2, [b"three"])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", FailingFlush("/one/", times=2))
            with pytest.raises(NotDurable):
                log.sync([ONE])
        for use in (lambda: log.append(ONE, 2, [b"x"]), lambda: log.truncate_unsynced(ONE)):
            with pytest.raises(Unavailable) as caught:
                use()
            assert caught.value.code == "log-closed"
        with pytest.raises(NotDurable):
            log.sync([ONE])
        assert lines(log) == written  # reading goes on
        log.reopen(ONE)
        log.append(ONE, 2, [b"three again"])
        log.sync([ONE])
        assert lines(log) == [*written, b"three again"]


def test_failed_flush_of_a_full_segment_is_not_forgotten(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines wait for `sync`, which would flush only the next segment and say yes."""
    with opened(layout, SMALL) as log:
        written = fill(log, 1)
        log.append(ONE, 1, [b"waiting"])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", FailingFlush("/one/"))
            with pytest.raises(Unavailable):
                log.append(ONE, 2, [b"x" * 90])
        with pytest.raises(NotDurable):
            log.sync([ONE])
        log.reopen(ONE)
        assert lines(log) == written
