"""CALDAV:calendar-data with conditions: parts, expansion, limits (RFC 4791 section 9.6)."""

from __future__ import annotations

import pytest
from davdoor import C, D, Door, calendar, vtodo

HOME = "/dav/alice@home.example"
ROW = f"{HOME}/personal/t.ics"
BERLIN = (
    "BEGIN:VTIMEZONE", "TZID:Europe/Berlin", "BEGIN:STANDARD", "DTSTART:19701025T030000",
    "TZOFFSETFROM:+0200", "TZOFFSETTO:+0100", "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU",
    "END:STANDARD", "BEGIN:DAYLIGHT", "DTSTART:19700329T020000", "TZOFFSETFROM:+0100",
    "TZOFFSETTO:+0200", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", "END:DAYLIGHT",
    "END:VTIMEZONE",
)  # fmt: skip


def data(dav: Door, inner: str, attributes: str = "") -> str:
    """Return what a multiget of the task gives for calendar-data with conditions."""
    reply = dav.report("personal", body(inner, attributes))
    assert reply.status == 207, reply.body
    text = reply.props()[C + "calendar-data"].text or ""
    return text.replace("\r\n", "\n").replace("\n ", "")


def body(inner: str, attributes: str = "") -> str:
    return (
        '<C:calendar-multiget xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">'
        f"<D:prop><D:getetag/><C:calendar-data{attributes}>{inner}</C:calendar-data></D:prop>"
        f"<D:href>{HOME}/personal/t.ics</D:href></C:calendar-multiget>"
    )


def expand(start: str, end: str) -> str:
    return f'<C:expand start="{start}" end="{end}"/>'


def values(text: str, name: str) -> list[str]:
    return [line for line in text.split("\n") if line.partition(":")[0].partition(";")[0] == name]


ALARM = ("BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT30M", "END:VALARM")


# -- parts -------------------------------------------------------------------------------


def test_only_the_named_properties_are_served(dav: Door) -> None:
    dav.put("t.ics", vtodo("t", "DUE:20300101T000000Z", "DESCRIPTION:long", *ALARM))
    text = data(
        dav,
        '<C:comp name="VCALENDAR"><C:comp name="vtodo"><C:prop name="uid"/>'
        '<C:prop name="DUE" novalue="yes"/></C:comp></C:comp>',
    )
    assert text.split("\n") == [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", "BEGIN:VTODO", "UID:t",
        "DUE:", "END:VTODO", "END:VCALENDAR", "",
    ]  # fmt: skip


def test_allprop_and_allcomp_and_an_empty_comp_mean_all(dav: Door) -> None:
    whole = vtodo("t", "DUE:20300101T000000Z", *ALARM).decode().replace("\r\n", "\n")
    dav.put("t.ics", vtodo("t", "DUE:20300101T000000Z", *ALARM))
    assert data(dav, '<C:comp name="VCALENDAR"/>') == whole
    assert data(dav, '<C:comp name="VCALENDAR"><C:allprop/><C:allcomp/></C:comp>') == whole
    without = data(
        dav,
        '<C:comp name="VCALENDAR"><C:allprop/><C:comp name="VTODO"><C:allprop/></C:comp></C:comp>',
    )
    assert "DUE:20300101T000000Z" in without
    assert "VALARM" not in without
    alarm = data(
        dav,
        '<C:comp name="VCALENDAR"><C:comp name="VTODO"><C:comp name="VALARM"/></C:comp></C:comp>',
    )
    assert "ACTION:DISPLAY" in alarm
    assert "SUMMARY" not in alarm


def test_queries_and_syncs_give_parts_too(dav: Door) -> None:
    dav.put("t.ics", vtodo("t"))
    part = (
        '<C:calendar-data><C:comp name="VCALENDAR"><C:comp name="VTODO"><C:prop name="UID"/>'
        "</C:comp></C:comp></C:calendar-data>"
    )
    spaces = 'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"'
    asked = f"<D:prop>{part}</D:prop>"
    filter_ = '<C:filter><C:comp-filter name="VCALENDAR"/></C:filter>'
    for report in (
        f"<C:calendar-query {spaces}>{asked}{filter_}</C:calendar-query>",
        f"<D:sync-collection {spaces}><D:sync-token/>{asked}</D:sync-collection>",
    ):
        reply = dav.report("personal", report)
        text = reply.props(ROW)[C + "calendar-data"].text or ""
        assert "UID:t" in text
        assert "SUMMARY" not in text


def test_who_read_a_part_does_not_delete_the_rest_by_a_blind_put(dav: Door) -> None:
    old = vtodo("t", "LOCATION:Here")
    dav.put("t.ics", old)
    other = dav("GET", ROW, user_agent="other/1").body.replace(b"SUMMARY:Buy milk", b"SUMMARY:Oats")
    assert dav.put("t.ics", other, user_agent="other/1").status == 204
    data(
        dav, '<C:comp name="VCALENDAR"><C:comp name="VTODO"><C:prop name="UID"/></C:comp></C:comp>'
    )
    # Based on what it knew before the part: the other program's title stays.
    assert dav.put("t.ics", old.replace(b"Here", b"There")).status == 204
    now = dav("GET", ROW).body
    assert b"SUMMARY:Oats" in now
    assert b"LOCATION:There" in now


# -- expansion ---------------------------------------------------------------------------


def test_expansion_gives_each_instance_of_the_range_in_utc(dav: Door) -> None:
    dav.put("t.ics", calendar(
        *BERLIN, "BEGIN:VTODO", "UID:t", "DTSTAMP:20261120T120000Z", "SUMMARY:Water",
        "DTSTART;TZID=Europe/Berlin:20270325T090000", "DUE;TZID=Europe/Berlin:20270325T100000",
        "RRULE:FREQ=DAILY", "EXDATE;TZID=Europe/Berlin:20270327T090000", *ALARM, "END:VTODO",
    ))  # fmt: skip
    text = data(dav, expand("20270326T000000Z", "20270330T000000Z"))
    # The clocks change on the 28th: nine o'clock stays nine o'clock there.
    assert values(text, "DTSTART") == [
        "DTSTART:20270326T080000Z", "DTSTART:20270328T070000Z", "DTSTART:20270329T070000Z",
    ]  # fmt: skip
    assert values(text, "DUE")[1] == "DUE:20270328T080000Z"
    assert values(text, "RECURRENCE-ID")[0] == "RECURRENCE-ID:20270326T080000Z"
    assert text.count("BEGIN:VALARM") == 3
    assert not values(text, "RRULE")
    assert not values(text, "EXDATE")
    assert "VTIMEZONE" not in text


def test_dates_are_expanded_as_dates_and_floating_times_stay(dav: Door) -> None:
    dav.put("t.ics", vtodo("t", "DUE;VALUE=DATE:20270101", "RRULE:FREQ=WEEKLY;COUNT=9"))
    text = data(dav, expand("20270105T000000Z", "20270116T000000Z"))
    assert values(text, "DUE") == ["DUE;VALUE=DATE:20270108", "DUE;VALUE=DATE:20270115"]
    assert values(text, "RECURRENCE-ID")[0] == "RECURRENCE-ID;VALUE=DATE:20270108"
    dav.put("t.ics", vtodo("t", "DTSTART:20270101T090000", "RRULE:FREQ=WEEKLY;COUNT=9"))
    text = data(dav, expand("20270105T000000Z", "20270109T000000Z"))
    assert values(text, "DTSTART") == ["DTSTART:20270108T090000"]


def test_a_task_that_happens_once_is_expanded_to_itself_in_utc(dav: Door) -> None:
    dav.put("t.ics", calendar(
        *BERLIN, "BEGIN:VTODO", "UID:t", "DTSTAMP:20261120T120000Z", "SUMMARY:Once",
        "DUE;TZID=Europe/Berlin:20270325T090000", "END:VTODO",
    ))  # fmt: skip
    text = data(dav, expand("20270101T000000Z", "20280101T000000Z"))
    assert values(text, "DUE") == ["DUE:20270325T080000Z"]
    assert not values(text, "RECURRENCE-ID")


def test_parts_are_taken_after_the_expansion(dav: Door) -> None:
    dav.put("t.ics", vtodo("t", "DTSTART:20270101T090000Z", "RRULE:FREQ=DAILY"))
    comp = '<C:comp name="VCALENDAR"><C:comp name="VTODO"><C:prop name="RECURRENCE-ID"/></C:comp></C:comp>'
    text = data(dav, comp + expand("20270102T000000Z", "20270104T000000Z"))
    assert values(text, "RECURRENCE-ID") == [
        "RECURRENCE-ID:20270102T090000Z", "RECURRENCE-ID:20270103T090000Z",
    ]  # fmt: skip
    assert not values(text, "UID")


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("rule", "span"),
    [
        ("RRULE:FREQ=SECONDLY", ("20270101T000000Z", "99990101T000000Z")),
        ("RRULE:FREQ=DAILY", ("20270101T000000Z", "99990101T000000Z")),
        ("RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", ("20270101T000000Z", "20280101T000000Z")),
    ],
)
def test_what_cannot_be_expanded_in_bounds_is_served_as_it_is(
    dav: Door, rule: str, span: tuple[str, str]
) -> None:
    dav.put("t.ics", vtodo("t", "DTSTART:20270101T090000Z", rule))
    text = data(dav, expand(*span))
    assert values(text, "RRULE") == [rule]
    assert text.count("BEGIN:VTODO") == 1


def test_a_limited_recurrence_set_keeps_the_master(dav: Door) -> None:
    dav.put("t.ics", vtodo("t", "DTSTART:20270101T090000Z", "RRULE:FREQ=DAILY"))
    limit = '<C:limit-recurrence-set start="20270201T000000Z" end="20270202T000000Z"/>'
    assert values(data(dav, limit), "RRULE") == ["RRULE:FREQ=DAILY"]


# -- refusals ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inner",
    [
        expand("20270102T000000Z", "20270101T000000Z"),
        expand("2027-01-01", "20270102T000000Z"),
        '<C:expand start="20270101T000000Z"/>',
        '<C:limit-recurrence-set end="20270101T000000Z"/>',
        expand("20270101T000000Z", "20270102T000000Z")
        + '<C:limit-recurrence-set start="20270101T000000Z" end="20270102T000000Z"/>',
        "<C:comp/>",
        '<C:comp name="VCALENDAR">' + '<C:prop name="A"/>' * 600 + "</C:comp>",
    ],
)
def test_conditions_that_cannot_be_are_refused(dav: Door, inner: str) -> None:
    assert dav.report("personal", body(inner)).status == 400


@pytest.mark.parametrize(
    "attributes", [' content-type="application/calendar+json"', ' version="3"']
)
def test_another_format_is_refused_by_name(dav: Door, attributes: str) -> None:
    reply = dav.report("personal", body("", attributes))
    assert reply.status == 403
    assert C + "supported-calendar-data" in reply.conditions()
    dav.put("t.ics", vtodo("t"))
    named = ' content-type="text/calendar" version="2.0"'
    assert "UID:t" in data(dav, "", named)
    assert D + "getetag" in dav.report("personal", body("", named)).props(ROW)
