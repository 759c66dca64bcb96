"""What every log promises, checked on each back end alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from bridge.errors import Corrupt, Invalid
from bridge.model.ids import ProjectId, parse_domain, parse_project
from bridge.store import Place
from bridge.store.durable import Reserve
from bridge.store.logfile import FileLog
from bridge.store.logreader import LogSettings
from bridge.store.memory import MemoryLog
from bridge.store.spool import Layout, SpoolLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.store.write import LogWriter

ONE = parse_project("one@a.example")
TWO = parse_project("two@b.example")
MAX_LINE = 4096


@pytest.fixture(params=["memory", "files", "files, small segments"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogWriter]:
    if request.param == "memory":
        yield MemoryLog(max_line=MAX_LINE)
        return
    layout = Layout(root=tmp_path, domain=parse_domain("a.example"))
    settings = LogSettings(
        segment_bytes=100 if "small" in request.param else 1 << 20, max_line=MAX_LINE, open_files=3
    )
    with SpoolLock(layout) as lock:
        files = FileLog(layout, lock, Reserve(tmp_path, reserve=0), settings)
        yield files
        files.close()


def lines(log: LogWriter, project: ProjectId = ONE, after: int = 0) -> list[bytes]:
    return [line for _, _, line in log.read(project, after)]


def test_unknown_project_is_an_empty_log(log: LogWriter) -> None:
    assert log.count(ONE) == 0
    assert lines(log) == []
    assert list(log.projects()) == []


def test_lines_are_numbered_from_one_without_a_gap(log: LogWriter) -> None:
    log.append(ONE, 0, [b"a", b"b"])
    log.append(ONE, 2, [b"c"])
    log.sync([ONE])
    assert [(seq, line) for seq, _, line in log.read(ONE)] == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert log.count(ONE) == 3


def test_line_is_invisible_before_its_sync(log: LogWriter) -> None:
    log.append(ONE, 0, [b"a"])
    assert log.count(ONE) == 0
    assert lines(log) == []
    assert list(log.projects()) == []
    log.sync([ONE])
    log.append(ONE, 1, [b"b"])
    assert lines(log) == [b"a"]


def test_sync_of_one_project_leaves_the_other_waiting(log: LogWriter) -> None:
    log.append(ONE, 0, [b"a"])
    log.append(TWO, 0, [b"b"])
    log.sync([TWO])
    assert (log.count(ONE), log.count(TWO)) == (0, 1)
    log.sync([ONE, TWO, ONE])
    assert (log.count(ONE), log.count(TWO)) == (1, 1)


def test_sync_of_many_projects_at_once_makes_all_durable(log: LogWriter) -> None:
    projects = [parse_project(f"p{number}@b.example") for number in range(20)]
    for number, project in enumerate(projects):
        log.append(project, 0, [b"%d" % number])
    log.sync(projects)
    assert [lines(log, project) for project in projects] == [[b"%d" % n] for n in range(20)]
    assert set(log.projects()) == set(projects)


def test_sync_of_nothing_is_fine(log: LogWriter) -> None:
    log.sync([])
    log.sync([ONE])
    assert log.count(ONE) == 0


def test_append_at_another_position_is_refused(log: LogWriter) -> None:
    log.append(ONE, 0, [b"a"])
    for expected in (0, 2):
        with pytest.raises(Corrupt) as caught:
            log.append(ONE, expected, [b"b"])
        assert caught.value.code == "log-moved"
    log.sync([ONE])
    assert lines(log) == [b"a"]


@pytest.mark.parametrize(
    ("line", "code"),
    [(b"", "bad-line"), (b"a\nb", "bad-line"), (b"a\n", "bad-line"), (b"x" * 4097, "too-large")],
)
def test_bad_line_refuses_the_whole_append(log: LogWriter, line: bytes, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        log.append(ONE, 0, [b"good", line])
    assert caught.value.code == code
    log.append(ONE, 0, [b"x" * MAX_LINE])
    log.sync([ONE])
    assert lines(log) == [b"x" * MAX_LINE]


def test_append_of_no_lines_changes_nothing(log: LogWriter) -> None:
    assert log.append(ONE, 0, []) == []
    log.sync([ONE])
    assert list(log.projects()) == []


def test_read_starts_after_any_line(log: LogWriter) -> None:
    written = [b"line %d" % number for number in range(1, 301)]
    for start in range(0, 300, 7):
        log.append(ONE, start, written[start : start + 7])
    log.sync([ONE])
    for after in (0, 1, 63, 64, 65, 128, 299, 300, 301):
        found = list(log.read(ONE, after))
        assert [seq for seq, _, _ in found] == list(range(after + 1, 301))
        assert [line for _, _, line in found] == written[after:]


def test_each_place_leads_to_its_line(log: LogWriter) -> None:
    written = [b"line %d" % number for number in range(100)]
    places = [log.append(ONE, number, [line])[0] for number, line in enumerate(written)]
    log.sync([ONE])
    assert [place for _, place, _ in log.read(ONE)] == places
    assert [log.read_at(ONE, place) for place in places] == written
    assert len(set(places)) == 100


@pytest.mark.parametrize(
    "place", ["", "0", "9", "1:0:9", "-1", "1:-1:1", "../x", "1:0:99999999999"]
)
def test_made_up_place_is_found_out(log: LogWriter, place: str) -> None:
    log.append(ONE, 0, [b"one", b"two"])
    log.sync([ONE])
    with pytest.raises(Corrupt) as caught:
        log.read_at(ONE, Place(place))
    assert caught.value.code == "bad-place"


def test_truncation_drops_exactly_what_was_not_synced(log: LogWriter) -> None:
    log.append(ONE, 0, [b"a" * 90])
    log.sync([ONE])
    log.append(ONE, 1, [b"b" * 90])
    log.append(ONE, 2, [b"c" * 90, b"d" * 90])
    log.truncate_unsynced(ONE)
    log.sync([ONE])
    assert lines(log) == [b"a" * 90]
    log.append(ONE, 1, [b"e"])
    log.sync([ONE])
    assert lines(log) == [b"a" * 90, b"e"]


def test_truncation_of_a_new_log_leaves_none(log: LogWriter) -> None:
    log.append(ONE, 0, [b"a"])
    log.truncate_unsynced(ONE)
    log.truncate_unsynced(TWO)
    assert list(log.projects()) == []
    log.append(ONE, 0, [b"b"])
    log.sync([ONE])
    assert lines(log) == [b"b"]


def test_reopened_log_has_what_was_durable(log: LogWriter) -> None:
    log.append(ONE, 0, [b"a", b"b"])
    log.sync([ONE])
    log.append(ONE, 2, [b"c"])
    log.reopen(ONE)
    log.reopen(TWO)
    assert lines(log) == [b"a", b"b"]
    log.append(ONE, 2, [b"d"])
    log.sync([ONE])
    assert lines(log) == [b"a", b"b", b"d"]


def test_read_under_way_shows_the_log_as_it_was(log: LogWriter) -> None:
    log.append(ONE, 0, [b"a", b"b"])
    log.sync([ONE])
    under_way = log.read(ONE)
    log.append(ONE, 2, [b"c"])
    log.sync([ONE])
    assert [line for _, _, line in under_way] == [b"a", b"b"]


def test_readers_beside_the_writer_see_a_growing_prefix(log: LogWriter) -> None:
    total = 60

    def read_all() -> list[int]:
        counts: list[int] = []
        while not counts or counts[-1] < total:
            found = list(log.read(ONE))
            assert [line for _, _, line in found] == [b"%d" % n for n in range(len(found))]
            if found:
                assert log.read_at(ONE, found[-1][1]) == found[-1][2]
            counts.append(len(found))
        return counts

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read_all) for _ in range(3)]
        for number in range(total):
            log.append(ONE, number, [b"%d" % number])
            log.sync([ONE])
        for reader in readers:
            counts = reader.result(timeout=30)
            assert counts == sorted(counts)


@pytest.mark.parametrize("kept", [1, 63, 64, 65, 200])
def test_read_after_a_truncation_starts_at_the_right_line(log: LogWriter, kept: int) -> None:
    log.append(ONE, 0, [b"kept %d" % number for number in range(kept)])
    log.sync([ONE])
    log.append(ONE, kept, [b"a longer line that goes"] * 150)
    log.truncate_unsynced(ONE)
    log.append(ONE, kept, [b"%d" % number for number in range(150)])
    log.sync([ONE])
    for after in range(kept, kept + 150, 16):
        assert lines(log, after=after) == [b"%d" % n for n in range(after - kept, 150)]
