"""A series loses one date: the others stay, in the form they had, in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.wire import vtodo
from bridge.wire.vtodo_recur import is_series, like_series, without

RULES = [
    "FREQ=DAILY",
    "FREQ=DAILY;INTERVAL=3",
    "FREQ=WEEKLY",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE,SU;WKST=MO",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO;WKST=SU",
    "FREQ=MONTHLY",
    "FREQ=MONTHLY;BYDAY=2TU",
    "FREQ=MONTHLY;BYMONTHDAY=-1,15",
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
    "FREQ=YEARLY",
    "FREQ=YEARLY;BYMONTH=3,11;BYDAY=1SU",
    "FREQ=HOURLY;INTERVAL=5",
]
FORMS = [
    ("2026-12-31", "2027-01-02"),
    ("2026-12-31T09:00:00", "2026-12-31T10:30:00"),
    ("2026-12-31T09:00:00Z", "2026-12-31T10:30:00Z"),
    ("2026-12-31T09:00:00[Europe/Berlin]", "2027-01-01T00:30:00[Europe/Berlin]"),
]


def after(keys: dict[str, str], when: str) -> dict[str, str] | None:
    """Return the series without `when`, None where it ends."""
    lost = without(keys, when)
    if lost.ended:
        return None
    merged = {**keys, **lost.changes}
    return {key: value for key, value in merged.items() if value is not None}


def walk(keys: dict[str, str], most: int) -> list[dict[str, str]]:
    """Return the series as it is after each completion of its current date."""
    found = [keys]
    while len(found) < most:
        last = after(found[-1], found[-1].get("scheduled") or found[-1]["due"])
        if last is None:
            break
        found.append(last)
    return found


@given(
    rule=st.sampled_from(RULES),
    form=st.sampled_from(FORMS),
    count=st.integers(1, 12) | st.none(),
)
@settings(max_examples=120, deadline=None)
def test_completing_date_after_date_walks_exactly_the_dates_of_the_rule(
    rule: str, form: tuple[str, str], count: int | None
) -> None:
    if "HOURLY" in rule and len(form[0]) == len("2026-12-31"):
        return  # a DATE has no hours
    recur = rule + (f";COUNT={count}" if count else "")
    start = {"recur": "FREQ=DAILY", "scheduled": form[0], "due": form[1]}
    # DTSTART on a date of the rule: what lies off it counts differently in every library.
    first = without({**start, "recur": rule}, form[0]).changes.get("scheduled") or form[0]
    anchor = {**start, "scheduled": first, "recur": rule, "due": first}
    expected = [keys["scheduled"] for keys in walk(anchor, 13)]
    series = walk({**anchor, "recur": recur}, 13)
    got = [keys["scheduled"] for keys in series]
    assert got == expected[: count or 13]
    assert got == sorted(set(got))
    assert {text[10:] for text in got} == {form[0][10:]} or "HOURLY" in rule
    if count:
        assert [f"COUNT={count - i}" in keys["recur"] for i, keys in enumerate(series)] == [
            True
        ] * len(series)


@given(rule=st.sampled_from(RULES[:5]), done=st.sets(st.integers(0, 9), max_size=9))
@settings(max_examples=60, deadline=None)
def test_dates_completed_out_of_order_are_gone_and_no_other_is(rule: str, done: set[int]) -> None:
    keys = {"recur": rule + ";COUNT=10", "scheduled": "2026-12-27", "due": "2026-12-28"}
    dates = [each["scheduled"] for each in walk(keys, 20)]
    for number in sorted(done, reverse=True):
        keys = after(keys, dates[number]) or {}
    left = [each["scheduled"] for each in walk(keys, 20)]
    assert left == [date for number, date in enumerate(dates) if number not in done]
    assert [each["due"] > each["scheduled"] for each in walk(keys, 20)] == [True] * len(left)


def test_due_moves_with_the_start_and_keeps_its_own_form() -> None:
    keys = {
        "recur": "FREQ=WEEKLY",
        "scheduled": "2027-03-25T09:00:00[Europe/Berlin]",
        "due": "2027-03-26",
        "ical.DTSTART": "DTSTART;TZID=Europe/Berlin;X-P=1:20270325T090000",
    }
    new = after(keys, keys["scheduled"])
    assert new is not None
    # Over the change to summer time: nine o'clock stays nine o'clock.
    assert new["scheduled"] == "2027-04-01T09:00:00[Europe/Berlin]"
    assert new["due"] == "2027-04-02"
    assert "ical.DTSTART" not in new


def test_a_duration_stays_a_duration() -> None:
    text = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VTODO\r\nUID:u\r\nDTSTART:20261201T090000Z\r\n"
        "DURATION:PT2H\r\nRRULE:FREQ=DAILY\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
    )
    keys = vtodo.read(text).keys
    new = after(keys, "2026-12-01T09:00:00Z")
    assert new is not None
    assert new["due"] == "2026-12-02T11:00:00Z"
    assert new["ical.DURATION"] == "DURATION:PT2H"


def test_a_date_in_another_clients_spelling_is_the_same_date() -> None:
    zoned = {"recur": "FREQ=DAILY", "scheduled": "2026-12-01T09:00:00[Europe/Berlin]"}
    assert like_series(zoned, "2026-12-03T08:00:00Z") == "2026-12-03T09:00:00[Europe/Berlin]"
    assert like_series(zoned, "2026-12-03") == "2026-12-03T09:00:00[Europe/Berlin]"
    dated = {"recur": "FREQ=DAILY", "due": "2026-12-01"}
    assert like_series(dated, "2026-12-03T00:00:00") == "2026-12-03"
    floating = {"recur": "FREQ=DAILY", "due": "2026-12-01T09:00:00"}
    assert like_series(floating, "2026-12-03T09:00:00Z") == "2026-12-03T09:00:00Z"


def test_exdate_and_rdate_are_respected() -> None:
    keys = {
        "recur": "FREQ=DAILY;COUNT=4",
        "scheduled": "2026-12-01",
        "ical.EXDATE.1": "EXDATE;VALUE=DATE:20261202,20261203",
        "ical.RDATE.1": "RDATE;VALUE=DATE:20261215",
    }
    dates = [each["scheduled"] for each in walk(keys, 9)]
    assert dates == ["2026-12-01", "2026-12-04", "2026-12-15"]


def test_a_date_before_the_current_one_or_of_no_series_changes_nothing() -> None:
    assert without({"recur": "FREQ=DAILY", "due": "2026-12-05"}, "2026-12-01").changes == {}
    assert without({"due": "2026-12-05"}, "2026-12-05").changes == {}
    assert not is_series({"recur": "FREQ=DAILY"})


@pytest.mark.parametrize(
    "recur",
    [
        "FREQ=SECONDLY",
        "FREQ=SECONDLY;UNTIL=99991231T235959Z",
        "FREQ=SECONDLY;COUNT=999999999",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO;BYSETPOS=7",
        "FREQ=MINUTELY;INTERVAL=1;BYSECOND=61",
        "FREQ=NEVER;X=Y",
        "FREQ=MONTHLY;BYDAY=5MO;BYSETPOS=-1",
    ],
)
def test_no_rule_takes_long(recur: str) -> None:
    keys = {"recur": recur, "scheduled": "0001-01-01T00:00:00Z", "due": "9999-12-31T23:59:59Z"}
    started = time.perf_counter()
    lost = without(keys, "0001-01-01T00:00:00Z")
    assert time.perf_counter() - started < 0.5
    assert lost.ended or lost.changes


def test_a_rule_that_cannot_be_followed_loses_its_date_all_the_same() -> None:
    keys = {"recur": "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "scheduled": "2026-12-01"}
    lost = without(keys, "2026-12-01")
    assert list(lost.changes.values()) == ["EXDATE;VALUE=DATE:20261201"]
    many = {f"ical.EXDATE.{i}": f"EXDATE:{20260101 + i}T000000Z" for i in range(20)}
    assert "recur" not in without({**keys, **many}, "2026-12-01").changes
