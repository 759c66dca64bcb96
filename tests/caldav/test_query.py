"""What the index may narrow, and that the short way of testing finds what the long one does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.caldav import query, requestxml
from bridge.caldav.query import CompFilter, PropFilter, Range, TextMatch
from bridge.store.index_contract import Window
from bridge.store.index_shown import STATES
from bridge.wire import contentline
from bridge.wire.ownlines import own_lines

NEGATED = {"collation": "i;ascii-casemap", "negate": True}


def parsed(inner: str) -> CompFilter:
    body = (
        '<C:filter xmlns:C="urn:ietf:params:xml:ns:caldav"><C:comp-filter name="VCALENDAR">'
        f"{inner}</C:comp-filter></C:filter>"
    )
    root = requestxml.parse(body.encode())
    assert root is not None
    return query.parse([root])


def todo(*props: PropFilter) -> CompFilter:
    return CompFilter(name="VCALENDAR", comps=(CompFilter(name="VTODO", props=props),))


COMPLETED_ABSENT = PropFilter(name="COMPLETED", absent=True)


def status_not(word: str) -> PropFilter:
    return PropFilter(name="STATUS", match=TextMatch(text=word, **NEGATED))  # type: ignore[arg-type]  # a mixed mapping


def states(*wanted: tuple[str | None, bool]) -> Window:
    return Window(states=frozenset(map(STATES.index, wanted)))


NOT_DONE = [(word, done) for word, done in STATES if not done]
STATUS_ABSENT = PropFilter(name="STATUS", absent=True)
SUMMARY = PropFilter(name="SUMMARY", match=TextMatch(text="x", **NEGATED))  # type: ignore[arg-type]  # a mixed mapping
SPAN = Range(start=1, end=2)


@pytest.mark.parametrize(
    ("wanted", "window", "exact"),
    [
        (CompFilter(name="VCALENDAR"), Window(), True),
        (parsed('<C:comp-filter name="VTODO"/>'), Window(), True),
        (todo(), Window(), True),
        (todo(COMPLETED_ABSENT), states(*NOT_DONE), True),
        (
            todo(COMPLETED_ABSENT, status_not("CANCELLED")),
            states(*((w, d) for w, d in NOT_DONE if w not in {None, "CANCELLED"})),
            True,
        ),
        (
            todo(COMPLETED_ABSENT, status_not("CANCELLED"), status_not("completed")),
            states(("NEEDS-ACTION", False), ("IN-PROCESS", False)),
            True,
        ),
        (todo(COMPLETED_ABSENT, STATUS_ABSENT), states((None, False)), True),
        (todo(PropFilter(name="COMPLETED", absent=True), SUMMARY), states(*NOT_DONE), False),
        (
            todo(PropFilter(name="COMPLETED", range=SPAN)),
            states(*((word, done) for word, done in STATES if done)),
            False,
        ),
        (
            CompFilter(name="VCALENDAR", comps=(CompFilter(name="VTODO", range=SPAN),)),
            Window(start=1, end=2),
            True,
        ),
        (
            CompFilter(name="VCALENDAR", range=SPAN, comps=(CompFilter(name="VTODO", range=SPAN),)),
            Window(start=1, end=2),
            False,
        ),
        (parsed('<C:comp-filter name="VALARM"/>'), Window(), False),
        (CompFilter(name="VCALENDAR", props=(SUMMARY,)), Window(), False),
    ],
)
def test_the_index_is_asked_for_no_less_than_the_filter(
    wanted: CompFilter, window: Window, *, exact: bool
) -> None:
    assert query.plan(wanted) == query.Plan(window=window, exact=exact)


@pytest.mark.parametrize(
    "wanted",
    [
        CompFilter(name="VCALENDAR", comps=(CompFilter(name="VEVENT"),)),
        CompFilter(name="VCALENDAR", comps=(CompFilter(name="VTODO", absent=True),)),
        CompFilter(name="VCALENDAR", absent=True),
    ],
)
def test_what_no_list_holds_is_not_searched_for(wanted: CompFilter) -> None:
    assert query.plan(wanted) is None


@pytest.mark.parametrize(
    ("collation", "text", "value", "found"),
    [
        ("i;ascii-casemap", "ABC", "xabcx", True),
        ("i;ascii-casemap", "Ä", "ä", False),
        ("i;unicode-casemap", "Ä", "ä", True),
        ("i;octet", "ABC", "abc", False),
    ],
)
def test_collations_differ(collation: str, text: str, value: str, *, found: bool) -> None:
    assert TextMatch(text=text, collation=collation, negate=False).holds(value) is found
    assert TextMatch(text=text, collation=collation, negate=True).holds(value) is not found


LINE = st.sampled_from(
    [
        "STATUS:NEEDS-ACTION",
        "status:completed",
        "STATUS;X-A=1:CANCELLED",
        "COMPLETED:20260101T000000Z",
        "SUMMARY:STATUS:x",
        "DESCRIPTION:a\r\n STATUS:folded",
        "DESCRIPTION:BEGIN:VTODO",
        "X-END:VTODO",
    ]
)
CHILD = st.sampled_from(
    [
        ("BEGIN:VALARM", "STATUS:INSIDE", "END:VALARM"),
        ("begin:valarm", "STATUS:INSIDE", "end:valarm"),
        ("BEGIN:A", "BEGIN:B", "STATUS:DEEP", "END:B", "END:A"),
        ("BEGIN:A", "BEGIN:A", "STATUS:DEEP", "END:A", "STATUS:LESS", "END:A"),
    ]
)


@given(
    parts=st.lists(st.one_of(LINE.map(lambda line: (line,)), CHILD), max_size=6),
    crlf=st.booleans(),
)
def test_the_short_way_finds_the_same_lines(*, parts: list[tuple[str, ...]], crlf: bool) -> None:
    inner = [line for part in parts for line in part]
    lines = ["BEGIN:VCALENDAR", "BEGIN:VTODO", "UID:1", *inner, "END:VTODO", "END:VCALENDAR", ""]
    text = "\r\n".join(lines) if crlf else "\n".join(lines).replace("\r\n", "\n")
    short = own_lines(text, frozenset({"STATUS", "COMPLETED"}))
    component = contentline.parse(text).top[0].children[0]
    long: dict[str, list[contentline.Line]] = {}
    for raw in component.lines:
        line = contentline.split(raw)
        if line is not None and line.name in {"STATUS", "COMPLETED"}:
            long.setdefault(line.name, []).append(line)
    assert short is None or short == long
