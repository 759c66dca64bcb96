"""Marks, fields and dates of a mail (mail-trust section 5)."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mail.grammar import Reading, read_date, read_request
from bridge.wire import caldate

FRIDAY = date(2026, 11, 20)
ZONE = "Europe/Berlin"


def reading(subject: str = "Fence", text: str = "", *, is_answer: bool = False) -> Reading:
    return read_request(subject, text, is_answer=is_answer, today=FRIDAY, zone=ZONE)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("2026-12-01", "2026-12-01"),
        ("today", "2026-11-20"),
        ("Tomorrow", "2026-11-21"),
        ("friday", "2026-11-27"),
        ("Saturday", "2026-11-21"),
        ("2026-12-01 09:30", "2026-12-01T09:30:00[Europe/Berlin]"),
        ("2026-12-01T09:30:15Z", "2026-12-01T09:30:15Z"),
        ("2026-12-01T09:30+01:00", "2026-12-01T08:30:00Z"),
        ("2026-02-30", None),
        ("someday", None),
        ("1/12/2026", None),
        ("", None),
    ],
)
def test_dates_are_iso_or_words(text: str, key: str | None) -> None:
    assert read_date(text, FRIDAY, ZONE) == key


def test_marks_at_the_end_of_the_subject_are_fields() -> None:
    found = reading("Paint #1 fence due:2026-12-01 !high #garden #home @Work")
    assert found.title == "Paint #1 fence"
    assert found.keys == {
        "due": "2026-12-01",
        "priority": "high",
        "tag_garden": "",
        "tag_home": "",
    }
    assert found.project == "Work"


@pytest.mark.parametrize(
    "subject", ["!high prices at #home today", "Mail bob@x.example", "C# or F#", "Wait for it!"]
)
def test_marks_elsewhere_are_text(subject: str) -> None:
    assert reading(subject).title == subject
    assert reading(subject).keys == {}


def test_mark_that_is_not_understood_stays_and_is_named() -> None:
    found = reading("Paint due:whenever #home")
    assert found.title == "Paint due:whenever"
    assert found.unread == ("due:whenever",)
    assert "tag_home" in found.keys


def test_first_lines_of_the_body_are_fields_until_another_line() -> None:
    found = reading(text="\nDue: tomorrow\nPRIORITY: Low\nTags: a, b #c\n\nText\nDue: 2020-01-01\n")
    assert found.keys == {
        "due": "2026-11-21",
        "priority": "low",
        "tag_a": "",
        "tag_b": "",
        "tag_c": "",
    }
    assert found.notes == "Text\nDue: 2020-01-01"


def test_unknown_names_and_bad_values_stay_text() -> None:
    found = reading(
        text="Due: soon\nStatus: done\nAssign: x@y.example\nStart: today\nColour: red\n"
    )
    assert found.keys == {"start": "2026-11-20"}
    assert found.unread == ("Due: soon", "Status: done", "Assign: x@y.example")
    assert found.notes == "Due: soon\nStatus: done\nAssign: x@y.example\nColour: red"


def test_subject_wins_over_the_body() -> None:
    assert reading("Fence !low", "Priority: high\n").keys == {"priority": "low"}


def test_prefixes_are_cut_from_answers_only() -> None:
    subject = "Re: AW: [garden] Fwd: Fence"
    assert reading(subject, is_answer=True).title == "Fence"
    assert reading(subject).title == subject


@pytest.mark.parametrize(
    ("subject", "text", "title"),
    [
        ("", "\n Paint it \nand more", "Paint it"),
        ("#home", "Paint it", "Paint it"),
        ("", "", "(no subject)"),
        ("Re:", "", "(no subject)"),
    ],
)
def test_empty_title_comes_from_the_text(subject: str, text: str, title: str) -> None:
    assert reading(subject, text, is_answer=True).title == title


@given(st.text(max_size=200), st.text(max_size=400))
def test_no_text_is_lost_and_keys_are_well_formed(subject: str, text: str) -> None:
    found = reading(subject, text)
    assert found.title
    for name in ("due", "start", "wait"):
        if name in found.keys:
            assert caldate.canonical(found.keys[name]) == found.keys[name]
    kept = set(found.notes.split("\n"))
    lost = [line for line in text.split("\n") if line.strip() and line not in kept]
    assert len(lost) <= len(found.keys) + 2


@given(st.integers(1, 4000))
def test_reading_takes_linear_time(count: int) -> None:
    reading("#a " * count, "Due: x\n" * count)
