"""If-Match and If-None-Match."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.caldav import conditions
from bridge.worker.command import Expect


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ('"a"', ('"a"',)),
        ('"a", "b,c" ,W/"d"', ('"a"', '"b,c"', 'W/"d"')),
        ("*", ("*",)),
        ("nothing", ("nothing",)),
        ("", ()),
        ('"open', ('"open',)),
    ],
)
def test_a_list_of_tags_is_taken_apart(header: str, tags: tuple[str, ...]) -> None:
    assert conditions.tags(header) == tags


@given(st.text(max_size=300))
def test_any_header_ends_in_a_bounded_list(header: str) -> None:
    assert len(conditions.tags(header)) <= conditions.TAGS_MAX


@given(st.lists(st.text(st.characters(exclude_characters='"', codec="ascii")), max_size=9))
def test_quoted_tags_come_back(values: list[str]) -> None:
    quoted = tuple(f'"{value}"' for value in values)
    assert conditions.tags(", ".join(quoted)) == quoted


def test_expectations_are_told_to_the_worker() -> None:
    assert conditions.expectation(None, None) == Expect()
    assert conditions.expectation('"a"', None) == Expect(etags=('"a"',))
    assert conditions.expectation(None, "*") == Expect(absent=True)
    assert conditions.expectation(None, '"a"') == Expect()


@pytest.mark.parametrize(
    ("expect", "etag", "true"),
    [
        (Expect(), None, True),
        (Expect(), '"a"', True),
        (Expect(absent=True), None, True),
        (Expect(absent=True), '"a"', False),
        (Expect(etags=('"a"',)), '"a"', True),
        (Expect(etags=('W/"a"',)), '"a"', False),
        (Expect(etags=("*",)), '"a"', True),
        (Expect(etags=("*",)), None, False),
    ],
)
def test_a_condition_holds_or_not(expect: Expect, etag: str | None, *, true: bool) -> None:
    assert conditions.holds(expect, etag) is true


def test_not_modified_compares_weakly() -> None:
    assert conditions.unmodified('W/"a"', '"a"')
    assert not conditions.unmodified('"b"', '"a"')
    assert not conditions.unmodified(None, '"a"')
