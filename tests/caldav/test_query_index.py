"""The index finds exactly what a reader of all texts finds, whatever filter is asked."""

from __future__ import annotations

import random
import uuid
from http import HTTPStatus

import pytest
from davdoor import Door
from house import ALICE, HOME, actor
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.caldav import query
from bridge.caldav.collection import Collection
from bridge.caldav.query import CompFilter, ParamFilter, PropFilter, Range, TextMatch
from bridge.caldav.reader import Reader
from bridge.caldav.segments import Segments
from bridge.model.ids import task_id
from bridge.store.index_contract import UNTOLD, Window
from bridge.store.index_shown import STATES, shown
from bridge.wire import vtodo
from bridge.worker.command import CompleteTask, CreateTask, SetKeys

# 2026-01-01 to 2026-01-09, the hours at which the sample's tasks start and end.
FIRST, DAY = 1767225600, 86_400
STATUS = (None, None, *(f"STATUS:{w}" for w in ("NEEDS-ACTION", "IN-PROCESS", "COMPLETED")))
ODD_STATUS = ("STATUS:CANCELLED", "STATUS:completed", "STATUS;X-A=1:CANCELLED", "status:WAITING")
CHOICES = (
    (*STATUS, *ODD_STATUS),
    (None, None, "COMPLETED:20260105T000000Z", "COMPLETED;X-A=1:20260104", "COMPLETED:never"),
    (None, "DTSTART:20260103T000000Z", "DTSTART;VALUE=DATE:20260104", "DTSTART:20260105T000000"),
    (None, "DUE:20260103T000000Z", "DUE:20260105T000000Z", "DUE:soon", "DURATION:PT36H"),
    (None, "CREATED:20260102T000000Z", "CREATED:20260108T000000Z", "CREATED:once"),
    (None, None, None, "RRULE:FREQ=DAILY;COUNT=3", "X-TX-END:20260106T000000Z"),
    (None, "SUMMARY:Bread", "SUMMARY:bread\r\nSTATUS:CANCELLED", "DESCRIPTION:a\r\n STATUS:x"),
    (None, "BEGIN:VALARM\r\nACTION:DISPLAY\r\nTRIGGER:-PT1H\r\nSTATUS:X\r\nEND:VALARM"),
)


@pytest.fixture(scope="module")
def dav() -> Door:
    """A list with tasks of every kind, some of them changed by other doors."""
    door = Door()
    rng = random.Random(7)  # noqa: S311 - sample data
    for number in range(160):
        picked = [line for line in map(rng.choice, CHOICES) if line is not None]
        lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//EN", "BEGIN:VTODO"]
        lines += [f"UID:{number}", "DTSTAMP:20260101T000000Z", *picked]
        body = "\r\n".join([*lines, "END:VTODO", "END:VCALENDAR", ""])
        reply = door("PUT", f"/dav/{ALICE}/personal/{number}.ics", body)
        assert reply.status == HTTPStatus.CREATED, reply
    for number, row in enumerate(list(door.gateway.index.texts(HOME, Window()))):
        if number % 4 == 0:
            door.house.done(CompleteTask(actor=actor(), task=row.task))
        if number % 4 == 1:
            changes = {"status": rng.choice(["needs_action", "blocked"]), "due": "2026-01-06"}
            door.house.done(SetKeys(actor=actor(), task=row.task, changes=changes))
    for number in range(12):
        task = task_id(uuid.UUID(int=number + 1), HOME)
        status = rng.choice(["needs_action", "completed", "blocked"])
        keys = {"description": "native", "status": status}
        door.house.done(CreateTask(actor=actor(), task=task, keys=keys))
    return door


bounds = st.integers(0, 36).map(lambda quarter: FIRST + quarter * DAY // 4)
ranges = st.one_of(
    st.builds(lambda start: Range(start=start, end=None), bounds),
    st.builds(lambda end: Range(start=None, end=end), bounds),
    st.tuples(bounds, bounds)
    .filter(lambda pair: pair[0] < pair[1])
    .map(lambda pair: Range(start=pair[0], end=pair[1])),
)
texts = st.builds(
    TextMatch,
    text=st.sampled_from(["COMPLETED", "cancelled", "NEEDS-ACTION", "IN", "", "bread", "2026"]),
    collation=st.sampled_from(["i;octet", "i;ascii-casemap", "i;unicode-casemap"]),
    negate=st.booleans(),
)
params = st.builds(ParamFilter, name=st.just("X-A"), absent=st.booleans())
names = st.sampled_from(["STATUS", "STATUS", "COMPLETED", "COMPLETED", "SUMMARY", "DUE"])
props = st.one_of(
    st.builds(PropFilter, name=names, absent=st.just(True)),
    st.builds(PropFilter, name=names),
    st.builds(PropFilter, name=names, match=texts),
    st.builds(PropFilter, name=names, params=st.tuples(params)),
    st.builds(PropFilter, name=st.sampled_from(["COMPLETED", "DUE"]), range=ranges),
)
alarms = st.builds(CompFilter, name=st.just("VALARM"), absent=st.booleans())
todos = st.builds(
    CompFilter,
    name=st.just("VTODO"),
    range=st.none() | ranges,
    props=st.lists(props, max_size=3).map(tuple),
    comps=st.lists(alarms, max_size=1).map(tuple),
)
filters = st.builds(
    CompFilter,
    name=st.just("VCALENDAR"),
    range=st.none() | st.none() | ranges,
    comps=st.lists(todos, min_size=1, max_size=2).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(wanted=filters)
def test_a_query_finds_what_a_look_at_each_text_finds(dav: Door, wanted: CompFilter) -> None:
    segments = Segments(dav.gateway.domain, dav.gateway.directory.properties)
    reader = Reader(dav.gateway, segments, ALICE)
    collection = reader.task_list("personal")
    assert isinstance(collection, Collection)
    slow = {
        row.href: row.etag
        for row in dav.gateway.index.texts(HOME, Window())
        if query.matches(wanted, row.text)
    }
    for with_texts in (True, False):
        found = list(reader.matching(collection, wanted, texts=with_texts))
        assert {member.href: member.etag for member in found} == slow
        assert len(found) == len(slow)


def test_the_sample_is_told_apart_by_the_index_and_by_texts(dav: Door) -> None:
    """What the property above says of nothing is worth nothing."""
    rows = list(dav.gateway.index.texts(HOME, Window()))
    seen = []
    for row in rows:
        keys = vtodo.read(row.text).keys
        seen.append(shown(row.text, keys, vtodo.facts(keys)))
    assert {STATES[each.state] for each in seen if each.state != UNTOLD} >= {
        (None, True),
        ("NEEDS-ACTION", False),
        ("COMPLETED", True),
        ("CANCELLED", True),
    }
    assert any(each.state == UNTOLD for each in seen)
    assert any(each.vague for each in seen)
    assert any(not each.vague for each in seen)
    assert len(rows) > 100
