"""SEQUENCE counts our changes of dates and status, and never goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from house import HOME, House, actor

from bridge.wire.vtodo_sequence import advanced
from bridge.worker.command import Annotate, CompleteTask, PutTask, Revert, SetKeys

if TYPE_CHECKING:
    from bridge.model.ids import TaskId

LINES = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Test//EN", "BEGIN:VTODO", "UID:u1")


def put(house: House, *lines: str) -> TaskId:
    text = "\r\n".join((*LINES, "SUMMARY:x", *lines, "END:VTODO", "END:VCALENDAR", ""))
    receipt = house.done(PutTask(actor=actor(), project=HOME, href="a.ics", text=text))
    assert receipt.task
    return receipt.task


def line(house: House, task: TaskId) -> str | None:
    state = house.stores.index.task(task)
    assert state is not None
    return state.value("ical.SEQUENCE")


def test_our_changes_of_dates_and_status_count_one_each(house: House) -> None:
    task = put(house, "SEQUENCE:4")
    house.done(SetKeys(actor=actor(), task=task, changes={"due": "2026-12-01"}))
    assert line(house, task) == "SEQUENCE:5"
    house.done(CompleteTask(actor=actor(), task=task))
    assert line(house, task) == "SEQUENCE:6"
    row = house.stores.index.row_of(task)
    assert row is not None
    assert row.text.count("SEQUENCE:") == 1


def test_other_changes_count_nothing(house: House) -> None:
    task = put(house)
    house.done(SetKeys(actor=actor(), task=task, changes={"description": "y"}))
    house.done(Annotate(actor=actor(), task=task, text="hello"))
    assert line(house, task) is None


def test_taking_a_change_back_counts_on_and_not_back(house: House) -> None:
    task = put(house, "SEQUENCE:1")
    change = house.done(SetKeys(actor=actor(), task=task, changes={"due": "2026-12-01"}))
    assert change.patch
    house.done(Revert(actor=actor(), project=HOME, patch=change.patch))
    state = house.stores.index.task(task)
    assert state is not None
    assert state.value("due") is None
    assert line(house, task) == "SEQUENCE:3"
    # Neither its number nor another's is in the way of taking back an older change.
    first = house.done(SetKeys(actor=actor(), task=task, changes={"due": "2026-12-02"}))
    house.done(SetKeys(actor=actor(), task=task, changes={"scheduled": "2026-12-01"}))
    assert first.patch
    back = house.done(Revert(actor=actor(), project=HOME, patch=first.patch))
    assert back.conflicts == ()
    assert line(house, task) == "SEQUENCE:6"


def test_a_client_that_counts_from_an_old_number_does_not_set_it_back(house: House) -> None:
    task = put(house, "SEQUENCE:1")
    house.done(CompleteTask(actor=actor(), task=task))
    house.done(CompleteTask(actor=actor(), task=house.new_task()))
    put(house, "SEQUENCE:1", "LOCATION:z")
    assert line(house, task) == "SEQUENCE:2"


def test_a_task_of_ours_needs_no_number(house: House) -> None:
    task = house.new_task()
    house.done(CompleteTask(actor=actor(), task=task))
    assert line(house, task) is None


@pytest.mark.parametrize(
    ("raw", "after"),
    [
        ("SEQUENCE:7", "SEQUENCE:8"),
        ("SEQUENCE;X-A=b:7", "SEQUENCE:8"),
        ("SEQUENCE:x", None),
        ("SEQUENCE:99999999999", None),
        ("SEQUENCE:-1", None),
    ],
)
def test_a_number_that_cannot_be_read_stays_as_it_is(raw: str, after: str | None) -> None:
    assert advanced({"ical.uid": "u", "ical.SEQUENCE": raw}, ["due"]) == after
