"""One VTODO in each resource: what a client completes of a series becomes a task of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from house import BOB, HOME, TEAM, House, actor

from bridge.model.patch import Role
from bridge.wire import vtodo as wire
from bridge.worker.command import DeleteTask, PutTask, Receipt, Refused, SetKeys

if TYPE_CHECKING:
    from bridge.model.ids import ProjectId, TaskId

HEAD = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Mozilla.org/NONSGML Mozilla Calendar V1.1//EN")
BERLIN = (
    "BEGIN:VTIMEZONE", "TZID:Europe/Berlin", "BEGIN:STANDARD", "DTSTART:19701025T030000",
    "TZOFFSETFROM:+0200", "TZOFFSETTO:+0100", "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU",
    "END:STANDARD", "END:VTIMEZONE",
)  # fmt: skip


def todo(*lines: str) -> tuple[str, ...]:
    return ("BEGIN:VTODO", "UID:u1", "DTSTAMP:20261120T120000Z", *lines, "END:VTODO")


def text(*parts: tuple[str, ...]) -> str:
    inner = [line for part in parts for line in part]
    return "\r\n".join((*HEAD, *inner, "END:VCALENDAR", ""))


def at(day: str, name: str = "DTSTART", hour: str = "09") -> str:
    return f"{name};TZID=Europe/Berlin:{day}T{hour}0000"


def series(day: str = "20300107", rule: str = "FREQ=WEEKLY;COUNT=5") -> tuple[str, ...]:
    return todo("SUMMARY:Every week", f"RRULE:{rule}", at(day), at(day, "DUE", "10"), "X-ODD:kept")


def done(day: str, *more: str) -> tuple[str, ...]:
    lines = ("SUMMARY:Every week", "STATUS:COMPLETED", "COMPLETED:20261120T171910Z")
    dates = (at(day, "RECURRENCE-ID"), at(day), at(day, "DUE", "10"))
    return todo(*lines, *dates, "PERCENT-COMPLETE:100", "CREATED:20261120T171910Z", *more)


def put(house: House, body: str, base: str | None = None, project: ProjectId = HOME) -> Receipt:
    return house.done(PutTask(actor=actor(), project=project, href="a.ics", text=body, base=base))


def keys_of(house: House, task: TaskId | None) -> dict[str, str]:
    assert task
    state = house.stores.index.task(task)
    assert state is not None
    return state.keys


def others(house: House, of: TaskId | None) -> list[dict[str, str]]:
    """Return the keys of all live tasks but one, by occurrence."""
    rows = [house.stores.index.row(HOME, m.href) for m in house.stores.index.listing(HOME)]
    found = [keys_of(house, row.task) for row in rows if row and row.task != of]
    return sorted(found, key=lambda keys: keys.get("tx.occurrence", ""))


def test_a_completed_occurrence_becomes_a_task_and_the_series_moves_on(house: House) -> None:
    put(house, text(BERLIN, series()))
    receipt = put(house, text(BERLIN, series(), done("20300107")))
    assert not receipt.exact
    row = house.stores.index.row(HOME, "a.ics")
    assert row is not None
    assert row.text.count("BEGIN:VTODO") == 1
    assert "DTSTART;TZID=Europe/Berlin:20300114T090000" in row.text
    assert "DUE;TZID=Europe/Berlin:20300114T100000" in row.text
    assert "RRULE:FREQ=WEEKLY;COUNT=4" in row.text
    assert "STATUS:COMPLETED" not in row.text
    assert "X-ODD:kept" in row.text
    (once,) = others(house, receipt.task)
    assert once["status"] == "completed"
    assert once["end"] == "2026-11-20T17:19:10Z"
    assert once["scheduled"] == "2030-01-07T09:00:00[Europe/Berlin]"
    assert once["tx.occurrence-of"] == receipt.task
    assert not {"recur", "parent", "ical.RECURRENCE-ID"} & once.keys()
    for member in house.stores.index.listing(HOME):
        shown = house.stores.index.row(HOME, member.href)
        assert shown is not None
        assert shown.text.count("BEGIN:VTODO") == 1
        assert "RELATED-TO" not in shown.text
        assert wire.read(shown.text, task=shown.task).uid == shown.uid
        assert shown.text.count("CREATED:") <= 1


def test_an_occurrence_completed_before_its_turn_loses_no_other(house: House) -> None:
    """The trace of Thunderbird: the second date is ticked while the first is still open."""
    put(house, text(BERLIN, series()))
    receipt = put(house, text(BERLIN, series(), done("20300114")))
    row = house.stores.index.row(HOME, "a.ics")
    assert row is not None
    assert "DTSTART;TZID=Europe/Berlin:20300107T090000" in row.text
    assert "EXDATE;TZID=Europe/Berlin:20300114T090000" in row.text
    served = row.text
    # Then the first: the series goes on at the third.
    first = served.replace(
        "END:VCALENDAR\r\n", "\r\n".join((*done("20300107"), "END:VCALENDAR", ""))
    )
    put(house, first, base=served)
    row = house.stores.index.row(HOME, "a.ics")
    assert row is not None
    assert "DTSTART;TZID=Europe/Berlin:20300121T090000" in row.text
    assert "COUNT=3" in row.text
    assert len(others(house, receipt.task)) == 2


def test_the_same_overrides_sent_again_are_the_same_tasks(house: House) -> None:
    put(house, text(BERLIN, series()))
    body = text(BERLIN, series(), done("20300107"))
    receipt = put(house, body)
    for base in (body, None, text(BERLIN, series())):
        put(house, body, base=base)
        keys = keys_of(house, receipt.task)
        assert keys["scheduled"] == "2030-01-14T09:00:00[Europe/Berlin]"
        assert keys["recur"] == "FREQ=WEEKLY;COUNT=4"
        assert len(others(house, receipt.task)) == 1


def test_another_spelling_of_the_date_is_the_same_occurrence(house: House) -> None:
    put(house, text(BERLIN, series()))
    receipt = put(house, text(BERLIN, series(), done("20300114")))
    utc = [
        "RECURRENCE-ID:20300114T080000Z" if line.startswith("RECURRENCE") else line
        for line in done("20300114")
    ]
    put(house, text(BERLIN, series(), tuple(utc)))
    assert len(others(house, receipt.task)) == 1


def test_an_occurrence_that_is_only_changed_is_a_task_too_and_keeps_all_its_lines(
    house: House,
) -> None:
    put(house, text(BERLIN, series()))
    moved = todo(
        "SUMMARY:Later this time", at("20300121", "RECURRENCE-ID"), at("20300122"), "X-SEEN:1",
        "BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT5M", "DESCRIPTION:x", "END:VALARM",
    )  # fmt: skip
    receipt = put(house, text(BERLIN, series(), moved))
    (once,) = others(house, receipt.task)
    assert once["status"] == "needs_action"
    assert once["description"] == "Later this time"
    assert once["scheduled"] == "2030-01-22T09:00:00[Europe/Berlin]"
    assert once["ical.X-SEEN"] == "X-SEEN:1"
    assert any(key.startswith("ical.VALARM.") for key in once)
    assert "EXDATE;TZID=Europe/Berlin:20300121T090000" in keys_of(house, receipt.task).values()


def test_what_others_changed_in_an_occurrence_stays_when_it_is_sent_again(house: House) -> None:
    put(house, text(BERLIN, series()))
    body = text(BERLIN, series(), done("20300107"))
    receipt = put(house, body)
    row = next(m for m in house.stores.index.listing(HOME) if m.href != "a.ics")
    task = house.stores.index.row(HOME, row.href)
    assert task is not None
    house.done(SetKeys(actor=actor(), task=task.task, changes={"description": "By hand"}))
    put(house, body, base=body)
    assert others(house, receipt.task)[0]["description"] == "By hand"
    house.done(DeleteTask(actor=actor(), task=task.task))
    put(house, body, base=body)
    assert others(house, receipt.task) == []


def test_the_last_occurrence_completes_the_series(house: House) -> None:
    body = series(rule="FREQ=WEEKLY;COUNT=1")
    put(house, text(BERLIN, body))
    receipt = put(house, text(BERLIN, body, done("20300107")))
    keys = keys_of(house, receipt.task)
    assert keys["status"] == "completed"
    assert keys["end"] == "2026-11-20T17:19:10Z"
    row = house.stores.index.row(HOME, "a.ics")
    assert row is not None
    assert "STATUS:COMPLETED" in row.text


def test_a_new_resource_with_overrides_comes_apart_at_once(house: House) -> None:
    receipt = put(house, text(BERLIN, series(), done("20300114"), done("20300107")))
    assert receipt.created
    assert keys_of(house, receipt.task)["scheduled"] == "2030-01-21T09:00:00[Europe/Berlin]"
    assert len(others(house, receipt.task)) == 2


def test_all_or_nothing_where_the_role_does_not_allow_it(house: House) -> None:
    house.team(bob=Role.GUEST)
    body = text(BERLIN, series(), done("20300107"))
    outcome = house.do(PutTask(actor=actor(BOB), project=TEAM, href="a.ics", text=body))
    assert isinstance(outcome, Refused)
    assert not list(house.stores.index.listing(TEAM))


def test_more_overrides_than_a_person_makes_are_refused(house: House) -> None:
    many = [done(f"2031{month:02}{day:02}") for month in range(1, 6) for day in range(1, 22)]
    outcome = house.do(
        PutTask(actor=actor(), project=HOME, href="a.ics", text=text(BERLIN, series(), *many))
    )
    assert isinstance(outcome, Refused)
    assert outcome.code == "too-many"
