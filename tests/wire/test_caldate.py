"""Rules of date texts: exact, never shifted, never raising."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire import caldate

if TYPE_CHECKING:
    import datetime as dt

BERLIN = """BEGIN:VTIMEZONE
TZID:Customized
BEGIN:STANDARD
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
DTSTART:19961027T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
END:STANDARD
BEGIN:DAYLIGHT
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
DTSTART:19810329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
END:VTIMEZONE"""


@pytest.mark.parametrize(
    ("value", "tzid", "text", "line"),
    [
        ("20261201", "", "2026-12-01", (";VALUE=DATE", "20261201")),
        ("20261201T090000Z", "", "2026-12-01T09:00:00Z", ("", "20261201T090000Z")),
        ("20261201T090000", "", "2026-12-01T09:00:00", ("", "20261201T090000")),
        (
            "20261201T090000",
            "Europe/Berlin",
            "2026-12-01T09:00:00[Europe/Berlin]",
            (";TZID=Europe/Berlin", "20261201T090000"),
        ),
        (
            "20261201T090000",
            "(UTC+01:00) Berlin, Bern",
            "2026-12-01T09:00:00[(UTC+01:00) Berlin, Bern]",
            (';TZID="(UTC+01:00) Berlin, Bern"', "20261201T090000"),
        ),
        ("20161231T235960Z", "", "2016-12-31T23:59:60Z", ("", "20161231T235960Z")),
    ],
)
def test_each_form_has_one_text_and_one_value(
    value: str, tzid: str, text: str, line: tuple[str, str]
) -> None:
    assert caldate.from_ical(value, tzid) == text
    assert caldate.to_ical(text) == line


@pytest.mark.parametrize(
    "value", ["", "20260230", "20261301", "20260101T240000", "00000101", "2026-01-01", "20260101Z"]
)
def test_what_is_no_date_is_none(value: str) -> None:
    assert caldate.from_ical(value) is None


@given(st.text(max_size=40))
def test_no_text_raises(text: str) -> None:
    caldate.from_ical(text, text)
    caldate.canonical(text)
    caldate.to_ical(text)
    caldate.epoch(text)
    caldate.duration(text)
    caldate.add(text, (1, 1))
    caldate.timezone(text)


@given(st.datetimes(), st.sampled_from("zfid"))
def test_ical_values_survive_the_way_through_the_key(moment: dt.datetime, form: str) -> None:
    value = moment.strftime("%m%dT%H%M%S")
    value = f"{moment.year:04}{value}"
    tzid = "America/New_York" if form == "z" else ""
    value = value[:8] if form == "d" else value + ("Z" if form == "i" else "")
    text = caldate.from_ical(value, tzid)
    assert text is not None
    assert caldate.canonical(text) == text
    params, again = caldate.to_ical(text) or ("", "")
    assert again == value
    assert ("TZID" in params, "VALUE=DATE" in params) == (bool(tzid), form == "d")


@given(st.integers(0, 4_000_000_000))
def test_seconds_survive(second: int) -> None:
    assert caldate.epoch(caldate.from_epoch(second)) == second


def test_other_spellings_have_one_canonical_form() -> None:
    assert caldate.canonical("2026-01-01T00:00:01.500Z") == "2026-01-01T00:00:01Z"
    assert caldate.canonical("2026-01-01t09:00+01:00") == "2026-01-01T08:00:00Z"
    assert (
        caldate.canonical("2026-01-01T09:00:00+01:00[Europe/Berlin]")
        == "2026-01-01T09:00:00[Europe/Berlin]"
    )


def test_zones_count_dates_and_floating_times_are_utc() -> None:
    noon = caldate.epoch("2026-07-01T12:00:00Z")
    assert noon is not None
    assert caldate.epoch("2026-07-01T12:00:00") == noon
    assert caldate.epoch("2026-07-01T12:00:00[Europe/Berlin]") == noon - 7200
    assert caldate.epoch("2026-07-01") == noon - 12 * 3600


def test_an_unknown_zone_is_read_from_its_vtimezone() -> None:
    known = {"Customized": BERLIN}
    for month in ("01", "07"):
        text = f"2026-{month}-01T12:00:00"
        assert caldate.epoch(f"{text}[Customized]", known) == caldate.epoch(
            f"{text}[Europe/Berlin]"
        )
    assert caldate.epoch("2026-07-01T12:00:00[Nowhere]") == caldate.epoch("2026-07-01T12:00:00Z")


def test_libical_names_are_known_zones() -> None:
    name = "/freeassociation.sourceforge.net/Europe/Vienna"
    assert str(caldate.timezone(name)) == "Europe/Vienna"


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "/etc/passwd", "Europe", "a" * 5000, "x\0"]
)
def test_zone_names_reach_no_files(name: str) -> None:
    assert caldate.timezone(name) is None


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYSETPOS=5",
        "FREQ=DAILY",
    ],
)
def test_zones_that_could_run_for_ever_are_not_computed(rule: str) -> None:
    hostile = BERLIN.replace("FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", rule)
    assert caldate.timezone("Hostile", hostile) is None


@pytest.mark.parametrize(
    ("value", "length"),
    [("PT15M", (0, 900)), ("-P1DT1H", (-1, -3600)), ("P2W", (14, 0)), ("P", None), ("15M", None)],
)
def test_durations_are_days_and_seconds(value: str, length: tuple[int, int] | None) -> None:
    assert caldate.duration(value) == length


def test_days_go_by_the_calendar_and_hours_by_the_clock() -> None:
    before = "2026-03-28T12:00:00[Europe/Berlin]"
    assert caldate.add(before, (1, 0)) == "2026-03-29T12:00:00[Europe/Berlin]"
    assert caldate.add(before, (0, 86_400)) == "2026-03-29T13:00:00[Europe/Berlin]"
    assert caldate.add("2026-03-28", (1, 0)) == "2026-03-29"
    assert caldate.add("9999-12-31T00:00:00Z", (1, 0)) is None
