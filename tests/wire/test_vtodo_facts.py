"""Rules of what queries see: the time-range table of RFC 4791 section 9.9, and no surprises."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.wire import caldate, vtodo

DAY = 86_400


def at(text: str) -> int:
    second = caldate.epoch(text)
    assert second is not None
    return second


START, DUE = "2026-06-10T10:00:00Z", "2026-06-12T10:00:00Z"
DONE, MADE = "2026-06-11T10:00:00Z", "2026-06-01T10:00:00Z"


def keys(*names: str) -> dict[str, str]:
    known = {
        "start": ("scheduled", START),
        "due": ("due", DUE),
        "done": ("end", DONE),
        "made": ("ical.CREATED", "CREATED:20260601T100000Z"),
        "length": ("ical.DURATION", "DURATION:P2D"),
    }
    found = dict(known[name] for name in names)
    if "length" in names:
        found["due"] = DUE
    return found


def rfc(names: tuple[str, ...], low: int, high: int) -> bool:  # noqa: PLR0911 - one per row
    """The table of RFC 4791 section 9.9, written down again row by row."""
    start, due, done, made = at(START), at(DUE), at(DONE), at(MADE)
    if "start" in names and "length" in names:
        return low <= due and (high > start or high >= due)
    if "start" in names and "due" in names:
        return (low < due or low <= start) and (high > start or high >= due)
    if "start" in names:
        return low <= start and high > start
    if "due" in names:
        return low < due and high >= due
    if "done" in names and "made" in names:
        return (low <= made or low <= done) and (high >= made or high >= done)
    if "done" in names:
        return low <= done and high >= done
    return "made" not in names or high > made


COMBINATIONS = [
    ("start", "length", "done", "made"), ("start", "due", "made"), ("start", "due"), ("start",),
    ("due",), ("due", "done", "made"), ("done", "made"), ("done",), ("made",), (),
]  # fmt: skip
EDGES = sorted({at(t) + d for t in (START, DUE, DONE, MADE) for d in (-1, 0, 1)})


@pytest.mark.parametrize("names", COMBINATIONS, ids="-".join)
def test_the_table_holds_at_every_edge(names: tuple[str, ...]) -> None:
    task = keys(*names)
    known = vtodo.facts(task)
    for low in EDGES:
        for high in (edge for edge in EDGES if edge > low):
            found = vtodo.matches_time_range(known, low, high, task)
            assert found == rfc(names, low, high), (low, high)
            if found:
                assert known.first is None or high >= known.first
                assert known.last is None or low <= known.last


def test_open_ranges_have_no_end() -> None:
    known = vtodo.facts(keys("due"))
    assert vtodo.matches_time_range(known, at(DUE) - 1, None)
    assert not vtodo.matches_time_range(known, at(DUE), None)
    assert vtodo.matches_time_range(known, None, at(DUE))
    assert not vtodo.matches_time_range(known, None, at(DUE) - 1)


def test_the_log_time_stands_for_a_missing_created_line() -> None:
    assert vtodo.facts({}, created=MADE).created == at(MADE)
    assert vtodo.facts({}).created is None


def test_facts_are_what_the_index_needs() -> None:
    known = vtodo.facts(
        {
            "ical.uid": "u1",
            "description": "Title",
            "status": "completed",
            "priority": "low",
            "priority.raw": "7",
            "due": "2026-06-12T12:00:00[Europe/Berlin]",
            "end": DONE,
        }
    )
    assert (known.uid, known.summary, known.status, known.priority) == (
        "u1",
        "Title",
        "completed",
        7,
    )
    assert (known.is_open, known.completed, known.recurring) == (False, True, False)
    assert (known.due, known.ended) == (at(DUE), at(DONE))
    assert vtodo.facts({"status": "blocked"}).is_open


def test_a_recurring_task_matches_where_an_instance_does() -> None:
    task = {
        "scheduled": "2026-03-02T09:00:00[Europe/Berlin]",
        "due": "2026-03-02T10:00:00[Europe/Berlin]",
        "recur": "FREQ=WEEKLY;COUNT=10",
        "ical.EXDATE.1": "EXDATE;TZID=Europe/Berlin:20260309T090000",
        "ical.override.2026-03-16T09:00:00[Europe/Berlin]": "BEGIN:VTODO",
    }
    known = vtodo.facts(task)
    assert (known.recurring, known.first, known.last) == (True, None, None)

    def on(day: str) -> bool:
        low = at(f"{day}T00:00:00Z")
        return vtodo.matches_time_range(known, low, low + DAY, task)

    days = ["2026-03-02", "2026-03-03", "2026-03-09", "2026-03-16", "2026-03-23", "2026-05-04"]
    assert [on(day) for day in days] == [True, False, False, False, True, True]
    assert not on("2026-05-11")
    assert vtodo.matches_time_range(known, at("2026-05-11T00:00:00Z"), None)
    # The clock changed on 29 March: 09:00 in Berlin is 07:00 UTC.
    seven = at("2026-03-30T07:00:00Z")
    assert vtodo.matches_time_range(known, seven, seven + 1, task)
    assert not vtodo.matches_time_range(known, seven - 3600, seven, task)


def test_until_in_utc_is_compared_in_the_zone_of_the_task() -> None:
    task = {
        "scheduled": "2026-06-01T09:00:00[Europe/Berlin]",
        "recur": "FREQ=DAILY;UNTIL=20260603T070000Z",
    }
    known = vtodo.facts(task)
    last = at("2026-06-03T07:00:00Z")
    assert vtodo.matches_time_range(known, last, last + 1, task)
    assert not vtodo.matches_time_range(known, last + 1, last + 10 * DAY, task)


def test_dates_recur_as_dates() -> None:
    task = {"due": "2026-01-31", "recur": "FREQ=MONTHLY"}
    known = vtodo.facts(task)
    march, april = at("2026-03-31"), at("2026-04-30")
    assert vtodo.matches_time_range(known, march - 1, march, task)
    assert not vtodo.matches_time_range(known, april - 1, april, task)


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=31",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6",
        "FREQ=DAILY;INTERVAL=99999999999999999999",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=DAILY;UNTIL=99999999T999999Z",
        "FREQ=DAILY;BYMONTH=13",
        "FREQ=MONTHLY;BYDAY=99MO",
        "FREQ=MONTHLY;BYDAY=5MO;BYMONTHDAY=1",
        "nonsense",
    ],
)
def test_rules_that_could_run_for_ever_match_at_once(rule: str) -> None:
    task = {"scheduled": "1970-01-05T00:00:00Z", "recur": rule}
    began = time.perf_counter()
    assert vtodo.matches_time_range(vtodo.facts(task), at(START), at(DUE), task)
    assert time.perf_counter() - began < 0.5


RULES = st.lists(
    st.sampled_from(
        ["FREQ=DAILY", "FREQ=WEEKLY", "FREQ=MONTHLY", "FREQ=YEARLY", "INTERVAL=2", "INTERVAL=1000"]
        + ["COUNT=3", "COUNT=99999", "UNTIL=20260101", "UNTIL=20260101T000000Z", "BYMONTH=2"]
        + ["BYMONTHDAY=29", "BYMONTHDAY=30,31", "BYMONTHDAY=-1", "BYDAY=MO", "BYDAY=5MO,-5SU"]
        + ["BYDAY=1MO", "WKST=SU", "BYSETPOS=2", "BYMONTH=13", "BYDAY=99MO"]
    ),
    max_size=5,
).map(";".join)


@settings(max_examples=150, deadline=2000)
@given(
    RULES,
    st.sampled_from(["2024-02-29", "1971-01-31T23:59:60Z", "2026-05-05T01:00:00[Asia/Tokyo]"]),
)
def test_every_rule_gives_an_answer_in_time(rule: str, first: str) -> None:
    for key in ("scheduled", "due"):
        task = {key: first, "recur": rule}
        vtodo.matches_time_range(vtodo.facts(task), at(START), at(DUE), task)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "due",
                "scheduled",
                "end",
                "status",
                "priority",
                "priority.raw",
                "recur",
                "description",
            ]
            + ["ical.CREATED", "ical.DURATION", "ical.EXDATE.1", "ical.VTIMEZONE.x", "ical.RDATE.1"]
        ),
        st.text(max_size=20) | st.sampled_from([START, "2026-01-01T00:00:00[x]", "EXDATE:1,2,,"]),
    )
)
def test_no_keys_make_facts_raise(task: dict[str, str]) -> None:
    known = vtodo.facts(task)
    vtodo.matches_time_range(known, 0, 1, task)
