"""Logs in files: segments, damage, and readers beside the writer."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.errors import BridgeError, Corrupt, Unavailable
from bridge.model.ids import ProjectId, parse_domain, parse_project
from bridge.store.durable import Reserve
from bridge.store.logfile import FileLog
from bridge.store.logreader import FileLogReader, LogSettings
from bridge.store.spool import Layout, SpoolLock

if TYPE_CHECKING:
    from collections.abc import Iterator

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


# Segments.


def test_segments_are_named_by_their_first_line(layout: Layout) -> None:
    with opened(layout, SMALL) as log:
        written = fill(log, 5)
        names = sorted(path.name for path in layout.log(ONE).iterdir())
        assert names == ["00000001.jsonl", "00000003.jsonl", "00000005.jsonl"]
        assert lines(log) == written
        assert [lines(log, after=n) for n in range(6)] == [written[n:] for n in range(6)]
    whole = b"".join((layout.log(ONE) / name).read_bytes() for name in names)
    assert whole == b"".join(line + b"\n" for line in written)


def test_line_above_the_segment_size_gets_a_segment_of_its_own(layout: Layout) -> None:
    with opened(layout, SMALL) as log:
        log.append(ONE, 0, [b"a"])
        log.append(ONE, 1, [b"b" * 500])
        log.append(ONE, 2, [b"c"])
        log.sync([ONE])
        assert lines(log) == [b"a", b"b" * 500, b"c"]
        assert len(list(layout.log(ONE).iterdir())) == 3


def test_reopened_segments_continue(layout: Layout) -> None:
    with opened(layout, SMALL) as log:
        written = fill(log, 5)
    with opened(layout, SMALL) as log:
        assert log.count(ONE) == 5
        log.append(ONE, 5, [b"six"])
        log.sync([ONE])
        assert lines(log) == [*written, b"six"]
        assert log.repairs() == []


def test_thousand_projects_cost_no_open_files(layout: Layout) -> None:
    with opened(layout, LogSettings(open_files=8)) as log:
        for number in range(1000):
            log.append(parse_project(f"p{number}@b.example"), 0, [b"x"])
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert before < 100
        log.sync(parse_project(f"p{number}@b.example") for number in range(1000))
        assert sum(1 for _ in log.projects()) == 1000


def test_reading_a_long_log_holds_little_memory(layout: Layout) -> None:
    import tracemalloc  # noqa: PLC0415 - only this test pays for it

    with opened(layout) as log:
        batch = [b"y" * 999] * 1000
        for number in range(20):
            log.append(ONE, number * 1000, batch)
        log.sync([ONE])
        tracemalloc.start()
        assert sum(len(line) for _, _, line in log.read(ONE)) == 20 * 999_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3_000_000


def test_files_and_directories_have_their_modes(layout: Layout) -> None:
    with opened(layout) as log:
        fill(log, 1)
    assert (layout.log(ONE) / "00000001.jsonl").stat().st_mode & 0o777 == 0o640
    assert layout.log(ONE).stat().st_mode & 0o777 == 0o750
    assert layout.container(ONE).stat().st_mode & 0o777 == 0o750


def test_foreign_names_beside_the_logs_are_passed_over(layout: Layout) -> None:
    with opened(layout) as log:
        written = fill(log, 2)
        (layout.log(ONE) / "1.jsonl").write_bytes(b"x\n")
        (layout.log(ONE) / "notes.txt").write_bytes(b"x\n")
        (layout.store / "A B").mkdir()
        (layout.store / "A B" / "c").mkdir()
        (layout.store / "a.example" / "empty").mkdir()
        log.reopen(ONE)
        assert lines(log) == written
        assert list(log.projects()) == [ONE]


# Damage.


def test_missing_segment_is_reported_as_a_gap(layout: Layout) -> None:
    with opened(layout, SMALL) as log:
        written = fill(log, 7)
    (layout.log(ONE) / "00000003.jsonl").unlink()
    with opened(layout, SMALL) as log:
        assert lines(log, after=5) == written[5:]  # what is there stays readable
        for after in range(4):
            with pytest.raises(Corrupt) as caught:
                list(log.read(ONE, after))
            assert caught.value.code == "log-gap"
        with pytest.raises(Corrupt):
            log.check(ONE)


def test_missing_first_segment_closes_the_log(layout: Layout) -> None:
    with opened(layout, SMALL) as log:
        fill(log, 3)
    (layout.log(ONE) / "00000001.jsonl").unlink()
    with opened(layout, SMALL) as log:
        for use in (lambda: log.count(ONE), lambda: log.append(ONE, 0, [b"x"])):
            with pytest.raises(Corrupt) as caught:
                use()
            assert caught.value.code == "log-gap"
        with pytest.raises(Corrupt):
            FileLogReader(layout).count(ONE)


def test_finished_segment_that_is_cut_off_is_reported(layout: Layout) -> None:
    with opened(layout, SMALL) as log:
        fill(log, 3)
    path = layout.log(ONE) / "00000001.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    with opened(layout, SMALL) as log, pytest.raises(Corrupt) as caught:
        log.count(ONE)
    assert caught.value.code == "torn-segment"
    assert not list(layout.log(ONE).glob("torn*"))


def test_place_within_a_line_is_refused(layout: Layout) -> None:
    with opened(layout) as log:
        fill(log, 2)
        for place in ("1:0:39", "1:1:39", "1:0:41", "1:0:81", "1:41:41", "2:0:40", "1:4100:40"):
            with pytest.raises(Corrupt) as caught:
                log.read_at(ONE, place)  # type: ignore[arg-type] # a made-up place
            assert caught.value.code == "bad-place"


@pytest.mark.parametrize("change", ["append", "remove", "replace"])
def test_segment_changed_by_another_program_takes_no_lines(layout: Layout, change: str) -> None:
    with opened(layout) as log:
        fill(log, 2)
        path = layout.log(ONE) / "00000001.jsonl"
        content = path.read_bytes()
        if change == "append":
            path.write_bytes(content + b"foreign\n")
        else:
            path.unlink()
        if change == "replace":
            path.write_bytes(content)
        with pytest.raises(Corrupt) as caught:
            log.append(ONE, 2, [b"x"])
        assert caught.value.code == "segment-changed"


# Who may write, and readers in other processes.


def test_log_needs_its_own_spools_lock(layout: Layout) -> None:
    other = Layout(root=layout.root, domain=parse_domain("b.example"))
    with SpoolLock(other) as lock, pytest.raises(ValueError, match="another spool"):
        FileLog(layout, lock, Reserve(layout.root))


def test_nothing_is_written_after_the_lock_was_released(layout: Layout) -> None:
    lock = SpoolLock(layout)
    log = FileLog(layout, lock, Reserve(layout.root, reserve=0))
    fill(log, 1)
    lock.release()
    for project in (ONE, TWO):
        with pytest.raises(Unavailable) as caught:
            log.append(project, log.count(ONE), [b"x"])
        assert caught.value.code == "spool-locked"
    log.close()


def test_reader_beside_the_writer_follows_it(layout: Layout) -> None:
    reader = FileLogReader(layout, SMALL)
    assert reader.count(ONE) == 0
    with opened(layout, SMALL) as log:
        for number in range(10):
            log.append(ONE, number, [b"%040d" % number])
            log.sync([ONE])
            assert reader.count(ONE) == number + 1
        assert list(reader.read(ONE)) == list(log.read(ONE))
        assert list(reader.read(ONE, 4)) == list(log.read(ONE, 4))
        assert reader.check(ONE) == 10
        assert list(reader.projects()) == [ONE]


def test_reader_passes_over_an_unfinished_line_and_leaves_it(layout: Layout) -> None:
    with opened(layout) as log:
        written = fill(log, 2)
    path = layout.log(ONE) / "00000001.jsonl"
    with path.open("ab") as file:
        file.write(b"half")
    reader = FileLogReader(layout)
    assert lines(reader) == written
    with path.open("ab") as file:
        file.write(b" and half\n")
    assert lines(reader) == [*written, b"half and half"]
    assert not list(layout.log(ONE).glob("torn*"))


@pytest.mark.parametrize("again", [b"other", b"gone!", b"a longer line than before"])
def test_reader_notices_lines_that_the_writer_took_back(layout: Layout, again: bytes) -> None:
    reader = FileLogReader(layout)
    with opened(layout) as log:
        written = fill(log, 2)
        log.append(ONE, 2, [b"gone.", b"gone!"])
        assert reader.count(ONE) == 4
        log.truncate_unsynced(ONE)
        log.append(ONE, 2, [again])
        log.sync([ONE])
        assert lines(reader) == [*written, again]


def test_unreadable_directory_is_an_error_of_ours(layout: Layout) -> None:
    layout.container(ONE).mkdir(parents=True)
    layout.log(ONE).write_bytes(b"a file where a directory belongs")
    with opened(layout) as log, pytest.raises(BridgeError):
        log.append(ONE, 0, [b"x"])
