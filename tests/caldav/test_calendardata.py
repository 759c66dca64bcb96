"""Overrides in a stored text, and text that is none, under calendar-data's conditions."""

from __future__ import annotations

import pytest

from bridge.caldav.calendardata import Comp, Span, Wanted, render

LINES = (
    "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN",
    "BEGIN:VTODO", "UID:t", "DTSTAMP:20261120T120000Z", "SUMMARY:Water",
    "DTSTART:20270101T090000Z", "RRULE:FREQ=DAILY;COUNT=4", "END:VTODO",
    "BEGIN:VTODO", "UID:t", "DTSTAMP:20261120T120000Z", "SUMMARY:Later",
    "RECURRENCE-ID:20270103T090000Z", "DTSTART:20270103T150000Z", "END:VTODO",
    "END:VCALENDAR", "",
)  # fmt: skip
TEXT = "\r\n".join(LINES)
DAY = 86_400
FIRST = 1_798_761_600  # 2027-01-01T00:00:00Z


def summaries(text: str) -> list[str]:
    return [line[8:] for line in text.split("\r\n") if line.startswith("SUMMARY:")]


def test_an_override_takes_the_place_of_its_instance() -> None:
    text = render(Wanted(expand=Span(start=FIRST, end=FIRST + 4 * DAY)), TEXT)
    assert sorted(summaries(text)) == ["Later", "Water", "Water", "Water"]
    assert text.count("RECURRENCE-ID:20270103T090000Z") == 1
    assert "DTSTART:20270103T150000Z" in text
    assert "DTSTART:20270103T090000Z" not in text


def test_an_override_outside_the_range_is_left_out() -> None:
    inside = Span(start=FIRST + 2 * DAY, end=FIRST + 3 * DAY)
    outside = Span(start=FIRST, end=FIRST + DAY)
    assert summaries(render(Wanted(limit=inside), TEXT)) == ["Water", "Later"]
    assert summaries(render(Wanted(limit=outside), TEXT)) == ["Water"]
    assert summaries(render(Wanted(expand=outside), TEXT)) == ["Water"]


@pytest.mark.parametrize("text", ["", "no calendar", "BEGIN:VCALENDAR\r\nX:1\r\n"])
def test_damaged_text_is_shown_as_it_is(text: str) -> None:
    assert render(Wanted(comp=Comp(name="VCALENDAR")), text) == text
