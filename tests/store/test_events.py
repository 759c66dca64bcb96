"""The event log: one contract over memory and files, then what only files can show."""

from __future__ import annotations

import logging
import resource
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from bridge.model.ids import parse_project
from bridge.store.events import MAX_EVENT, FileEvents
from bridge.store.memory import MemoryEvents

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.store import EventLog

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = NOON.date()
NEXT = DAY + timedelta(days=1)
PROJECT = parse_project("p1@a.example")


@pytest.fixture(params=["memory", "files"])
def events(request: pytest.FixtureRequest, tmp_path: Path) -> EventLog:
    return MemoryEvents() if request.param == "memory" else FileEvents(tmp_path / "_events")


def test_event_is_read_back_with_its_time(events: EventLog) -> None:
    assert list(events.read(DAY, DAY)) == []
    assert events.tail(3) == []
    assert events.append(NOON, [{"event": "issued", "project": PROJECT, "seq": 7}])
    expected = {
        "at": "2026-11-20T12:00:00.000Z",
        "event": "issued",
        "project": "p1@a.example",
        "seq": 7,
    }
    assert list(events.read(DAY, DAY)) == [expected]
    assert events.tail(3) == [expected]


def test_day_is_the_utc_day(events: EventLog) -> None:
    late = datetime(2026, 11, 20, 22, 0, tzinfo=timezone(timedelta(hours=-5)))
    events.append(late, [{"event": "issued"}])
    assert list(events.read(DAY, DAY)) == []
    assert [event["at"] for event in events.read(NEXT, NEXT)] == ["2026-11-21T03:00:00.000Z"]


def test_range_kind_and_project_select(events: EventLog) -> None:
    for number in range(4):
        at = NOON + timedelta(days=number)
        events.append(
            at,
            [
                {"event": "issued", "n": number, "project": PROJECT},
                {"event": "refused", "n": number},
            ],
        )
    last = DAY + timedelta(days=2)
    assert [event["n"] for event in events.read(NEXT, last)] == [1, 1, 2, 2]
    assert [event["n"] for event in events.read(NEXT, last, kind="refused")] == [1, 2]
    assert len(list(events.read(DAY, date.max, project=PROJECT))) == 4
    assert list(events.read(DAY, date.max, kind="refused", project=PROJECT)) == []


def test_tail_crosses_days_and_is_oldest_first(events: EventLog) -> None:
    for number in range(10):
        events.append(NOON + timedelta(days=number // 4), [{"event": "x", "n": number}])
    for limit in (0, 1, 2, 3, 7, 10, 50):
        assert [event["n"] for event in events.tail(limit)] == list(range(10))[
            10 - min(limit, 10) :
        ]


def test_empty_batch_is_fine(events: EventLog) -> None:
    assert events.append(NOON, [])
    assert events.tail(1) == []


def test_too_large_event_keeps_what_it_concerns(events: EventLog) -> None:
    events.append(
        NOON,
        [
            {"event": "refused", "project": PROJECT, "detail": "x" * MAX_EVENT, "mandate": "m"},
            {"event": "next"},
        ],
    )
    first, second = events.read(DAY, DAY)
    assert first == {
        "at": "2026-11-20T12:00:00.000Z",
        "event": "refused",
        "project": PROJECT,
        "mandate": "m",
        "cut": True,
    }
    assert second["event"] == "next"


def test_event_that_json_cannot_hold_is_still_noted(events: EventLog) -> None:
    loop: dict[str, object] = {"event": "loop"}
    loop["self"] = loop
    odd = {"event": "odd", "when": DAY, "text": "a\ud800\n\u2028b"}
    assert events.append(NOON, [loop, odd])
    first, second = events.read(DAY, DAY)
    assert (first["event"], first["cut"]) == ("loop", True)
    assert second["when"] == "2026-11-20"
    assert second["text"] == "a?\n\u2028b"


def test_file_is_one_json_line_an_event(tmp_path: Path) -> None:
    events = FileEvents(tmp_path / "_events")
    events.append(NOON, [{"event": "issued", "n": 1}, {"event": "a\nb"}])
    path = tmp_path / "_events" / "2026-11-20.jsonl"
    assert path.read_bytes() == (
        b'{"at":"2026-11-20T12:00:00.000Z","event":"issued","n":1}\n'
        b'{"at":"2026-11-20T12:00:00.000Z","event":"a\\nb"}\n'
    )
    assert path.stat().st_mode & 0o777 == 0o640


def test_damaged_line_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = FileEvents(tmp_path)
    events.append(NOON, [{"event": "before"}])
    path = tmp_path / "2026-11-20.jsonl"
    with path.open("ab") as file:
        file.write(b"garbage\n[1]\n" + b"[" * 5000 + b"\n" + b"y" * (3 * MAX_EVENT) + b"\n")
        file.write(b'{"event":"torn by a cra')
    events.append(NOON, [{"event": "after"}])
    with caplog.at_level(logging.WARNING):
        assert [event["event"] for event in events.read(DAY, DAY)] == ["before", "after"]
    assert "damaged" in caplog.text
    assert [event["event"] for event in events.tail(5)] == ["before", "after"]


def test_tail_of_a_long_day_reads_its_end(tmp_path: Path) -> None:
    events = FileEvents(tmp_path)
    events.append(NOON, [{"event": "x", "n": n, "pad": "p" * 200} for n in range(2000)])
    for limit in (1, 300, 1999, 2000):
        assert [event["n"] for event in events.tail(limit)] == list(range(2000 - limit, 2000))


def test_full_disk_is_an_answer_not_an_exception(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = FileEvents(tmp_path)
    assert events.append(NOON, [{"event": "before"}])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80, hard))  # a real short write, then an error
    try:
        with caplog.at_level(logging.WARNING):
            assert not events.append(NOON, [{"event": "lost", "pad": "x" * 100}])
            assert not events.append(NOON, [{"event": "lost", "pad": "x" * 100}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len([record for record in caplog.records if "written" in record.message]) == 1
    assert events.append(NOON, [{"event": "after"}])
    assert [event["event"] for event in events.read(DAY, DAY)] == ["before", "after"]


def test_unusable_directory_is_an_answer_too(tmp_path: Path) -> None:
    (tmp_path / "_events").write_text("a file")
    events = FileEvents(tmp_path / "_events")
    assert not events.append(NOON, [{"event": "x"}])
    assert list(events.read(DAY, DAY)) == []
    assert events.tail(1) == []


def test_batches_of_several_threads_stay_whole(tmp_path: Path) -> None:
    one, two = FileEvents(tmp_path), FileEvents(tmp_path)  # as two processes would have

    def write(writer: int) -> None:
        log = (one, two)[writer % 2]
        for batch in range(50):
            log.append(NOON, [{"event": "x", "by": (writer, batch), "n": n} for n in range(5)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found = list(one.read(DAY, DAY))
    assert len(found) == 4 * 50 * 5
    for start in range(0, len(found), 5):
        batch = found[start : start + 5]
        assert [event["n"] for event in batch] == [0, 1, 2, 3, 4]
        assert len({str(event["by"]) for event in batch}) == 1
