"""Requests in the directory: numbers to sync by, expiry, caps."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from bridge.errors import Invalid, NotFound
from bridge.model.ids import Address, Digest, TaskId
from bridge.model.request import (
    Caps,
    Decision,
    Direction,
    Event,
    Kind,
    Level,
    OverCap,
    Preview,
    Request,
    State,
    expires_at,
)
from bridge.store.directory_records import Decided, NotPossible, User

if TYPE_CHECKING:
    from bridge.store.directory_contract import Directory

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOB = Address("bob@b.example")
CAROL = Address("carol@b.example")
ALICE = Address("alice@a.example")
YES = Decision(at=NOW + timedelta(hours=1), by=BOB, reason="gladly")


def request(number: int, **changes: object) -> Request:
    made = Request(
        id=uuid.UUID(int=number),
        kind=Kind.ASSIGN,
        direction=Direction.RECEIVED,
        recipient=BOB,
        sender=ALICE,
        level=Level.PERSON,
        preview=Preview(title=f"Task {number}", notes="n", due="2026-12-01", priority="high"),
        created=NOW,
        expires=expires_at(NOW, Level.PERSON),
        method="smime",
        fingerprint="ab:cd",
        proof_reason="chain to a known root",
        message=Digest("sha256:" + "0" * 64),
        project_hint="garden",
        fields={"mandate": "m1", "tags": ["a", "b"], "depth": {"n": 1}},
    )
    return replace(made, **changes)  # type: ignore[arg-type] # names are the fields above


@pytest.fixture
def people(directory: Directory) -> Directory:
    for address in (BOB, CAROL):
        directory.people.add(User(address=address, name="", created=NOW))
    return directory


def test_a_request_comes_back_as_written_with_its_number(people: Directory) -> None:
    stored = people.requests.add(request(1))
    assert stored == request(1, seq=1)
    assert people.requests.get(stored.side) == stored
    assert people.requests.waiting(BOB) == (stored,)
    assert people.requests.head(BOB) == 1
    assert people.requests.head(CAROL) == 0


def test_the_same_request_again_changes_nothing(people: Directory) -> None:
    stored = people.requests.add(request(1))
    again = people.requests.add(request(1, preview=Preview(title="other")))
    assert again == stored
    assert people.requests.head(BOB) == 1


def test_another_senders_id_is_not_overwritten_or_shown(people: Directory) -> None:
    people.requests.add(request(1))
    with pytest.raises(Invalid):
        people.requests.add(request(1, sender=Address("eve@e.example")))
    # The same id for another recipient is another request.
    assert people.requests.add(request(1, recipient=CAROL)).seq == 1


def test_both_sides_of_a_request_inside_a_domain_are_kept(people: Directory) -> None:
    received = people.requests.add(request(1, sender=CAROL))
    sent = people.requests.add(request(1, sender=CAROL, direction=Direction.SENT))
    assert (received.user, sent.user) == (BOB, CAROL)
    people.requests.decide(received.side, Event.DECLINE, YES)
    still = people.requests.get(sent.side)
    assert still is not None
    assert still.state is State.REQUESTED
    assert people.requests.sent(CAROL) == (sent,)
    assert people.requests.waiting(CAROL) == ()


def test_a_request_for_nobody_is_not_found(people: Directory) -> None:
    with pytest.raises(NotFound):
        people.requests.add(request(1, recipient=Address("nobody@b.example")))


def test_each_change_takes_the_next_number_and_leaves_a_tombstone(people: Directory) -> None:
    for number in (1, 2, 3):
        people.requests.add(request(number))
    start = people.requests.changes(BOB, 0)
    assert [changed.seq for changed in start.requests] == [1, 2, 3]
    assert (start.head, start.more) == (3, False)
    task = TaskId("0" * 32 + "-bob@b.example")
    outcome = people.requests.decide(request(2).side, Event.ACCEPT, YES, task=task)
    assert isinstance(outcome, Decided)
    assert outcome.changed
    assert (outcome.request.state, outcome.request.task) == (State.ACCEPTED, task)
    assert outcome.request.decision == YES
    later = people.requests.changes(BOB, start.head)
    assert later.requests == (outcome.request,)
    assert not later.requests[0].waits
    assert later.head == 4
    assert people.requests.changes(BOB, later.head).requests == ()
    assert people.requests.changes(BOB, later.head).head == 4


def test_changes_come_in_pages_without_gaps(people: Directory) -> None:
    for number in range(1, 8):
        people.requests.add(request(number))
    seen: list[int] = []
    token, more = 0, True
    while more:
        page = people.requests.changes(BOB, token, limit=3)
        seen += [changed.id.int for changed in page.requests]
        token, more = page.head, page.more
    assert seen == list(range(1, 8))
    assert token == people.requests.head(BOB)


def test_an_answer_is_final_and_the_same_answer_again_is_no_change(people: Directory) -> None:
    people.requests.add(request(1))
    people.requests.decide(request(1).side, Event.ACCEPT, YES)
    head = people.requests.head(BOB)
    again = people.requests.decide(request(1).side, Event.ACCEPT, YES)
    assert isinstance(again, Decided)
    assert not again.changed
    other = people.requests.decide(request(1).side, Event.DECLINE, YES)
    assert other == NotPossible(state=State.ACCEPTED)
    assert people.requests.head(BOB) == head


def test_deciding_nothing_is_not_found(people: Directory) -> None:
    with pytest.raises(NotFound):
        people.requests.decide(request(9).side, Event.ACCEPT, YES)


def test_an_answer_after_the_time_is_over_finds_it_expired(people: Directory) -> None:
    people.requests.add(request(1))
    late = Decision(at=NOW + timedelta(days=14), by=BOB)
    assert people.requests.decide(request(1).side, Event.ACCEPT, late) == NotPossible(
        state=State.EXPIRED
    )
    held = people.requests.get(request(1).side)
    assert held is not None
    assert held.state is State.EXPIRED
    assert held.seq == 2


def test_requests_expire_when_their_time_is_over_ignored_ones_too(people: Directory) -> None:
    unproved = expires_at(NOW, Level.NONE)
    people.requests.add(request(1))
    people.requests.add(request(2, level=Level.NONE, expires=unproved))
    people.requests.add(request(3, recipient=CAROL))
    people.requests.add(request(4))
    people.requests.decide(request(4).side, Event.IGNORE, YES)
    people.requests.add(request(5))
    people.requests.decide(request(5).side, Event.ACCEPT, YES)
    assert people.requests.expire(NOW + timedelta(days=14, milliseconds=-1)) == ()
    gone = people.requests.expire(NOW + timedelta(days=14))
    assert {ended.id.int for ended in gone} == {1, 3, 4}
    assert {ended.state for ended in gone} == {State.EXPIRED}
    assert {ended.decision.by for ended in gone if ended.decision} == {"tx-bridge"}
    assert [left.id.int for left in people.requests.waiting(BOB)] == [2]
    assert len(people.requests.expire(NOW + timedelta(days=30))) == 1
    numbers = [changed.seq for changed in people.requests.changes(BOB, 0).requests]
    assert len(set(numbers)) == len(numbers)


def test_expiry_goes_on_where_its_limit_cut_it(people: Directory) -> None:
    for number in range(1, 6):
        people.requests.add(request(number))
    when = NOW + timedelta(days=20)
    counts = [len(people.requests.expire(when, limit=2)) for _ in range(4)]
    assert counts == [2, 2, 1, 0]


def test_trimming_empties_what_ended_and_nothing_else(people: Directory) -> None:
    people.requests.add(request(1))
    people.requests.add(request(2))
    people.requests.decide(request(1).side, Event.DECLINE, YES)
    head = people.requests.head(BOB)
    assert people.requests.trim(YES.at) == 0
    assert people.requests.trim(YES.at + timedelta(seconds=1)) == 1
    assert people.requests.trim(YES.at + timedelta(seconds=1)) == 0
    ended, waits = people.requests.get(request(1).side), people.requests.get(request(2).side)
    assert ended is not None
    assert waits is not None
    assert (ended.preview.title, ended.fields, ended.state) == ("", {}, State.DECLINED)
    assert waits.preview.title == "Task 2"
    assert people.requests.head(BOB) == head


def test_a_domain_may_ask_about_its_own_requests_only(people: Directory) -> None:
    stored = people.requests.add(request(1))
    assert people.requests.from_domain(stored.sender_domain, stored.id) == (stored,)
    assert people.requests.from_domain(Address("e.example"), stored.id) == ()  # type: ignore[arg-type] # any text


def fill(people: Directory, count: int, **changes: object) -> None:
    start = people.requests.head(BOB) + people.requests.head(CAROL)
    with people.transaction():
        for number in range(count):
            people.requests.add(request(1000 + start + number, quarantined=True, **changes))


def cap(
    people: Directory, *, known: bool = False, sender: str = ALICE, after: timedelta = timedelta(0)
) -> OverCap | None:
    return people.requests.over_cap(BOB, Address(sender), known=known, now=NOW + after, caps=Caps())


def test_a_strange_domain_has_20_requests_an_hour_over_all_recipients(people: Directory) -> None:
    fill(people, 10, sender=Address("x@a.example"))
    fill(people, 9, sender=Address("y@a.example"), recipient=CAROL)
    assert cap(people) is None
    fill(people, 1, recipient=CAROL)
    assert cap(people) is OverCap.HOURLY
    assert cap(people, known=True) is None
    assert cap(people, sender="alice@other.example") is None
    assert cap(people, after=timedelta(hours=1)) is None


def test_a_known_domain_has_600_requests_an_hour(people: Directory) -> None:
    roomy = Caps(open_each=10_000, daily_each=10_000, known_hourly=30)
    fill(people, 30, sender=Address("colleague@a.example"))
    ask = {"now": NOW, "caps": roomy}
    assert people.requests.over_cap(BOB, ALICE, known=True, **ask) is OverCap.HOURLY  # type: ignore[arg-type] # the two above
    assert Caps().known_hourly == 600


def test_50_requests_of_strangers_wait_at_once_whatever_their_domains(people: Directory) -> None:
    for number in range(10):
        fill(people, 5, sender=Address(f"x@d{number}.example"))
    assert cap(people) is OverCap.WAITING
    assert cap(people, known=True) is None
    first = people.requests.waiting(BOB)[0]
    people.requests.decide(first.side, Event.DECLINE, YES)
    assert cap(people) is None


def test_an_author_has_20_unanswered_requests_known_or_not(people: Directory) -> None:
    fill(people, 19)
    assert cap(people, known=True) is None
    fill(people, 1)
    assert cap(people, known=True) is OverCap.OPEN
    assert cap(people, known=True, sender="colleague@a.example") is None
    # A stranger cannot go on under another name of the domain, even hours later.
    later = timedelta(hours=2)
    assert cap(people, sender="other@a.example", after=later) is OverCap.OPEN


def test_ignoring_does_not_show_in_the_caps_of_the_sender(people: Directory) -> None:
    fill(people, 20)
    for waiting in people.requests.waiting(BOB)[:10]:
        people.requests.decide(waiting.side, Event.IGNORE, YES)
    assert cap(people, known=True) is OverCap.OPEN


def test_an_author_has_100_requests_a_day_answered_or_not(people: Directory) -> None:
    fill(people, 100, recipient=CAROL)
    for waiting in people.requests.waiting(CAROL):
        people.requests.decide(waiting.side, Event.DECLINE, YES)
    assert cap(people, known=True) is OverCap.DAILY
    assert cap(people, sender="other@a.example", after=timedelta(hours=2)) is OverCap.DAILY
    assert cap(people, known=True, after=timedelta(days=1)) is None


def test_requests_that_users_send_count_for_no_cap(people: Directory) -> None:
    fill(people, 30, sender=BOB, recipient=CAROL, direction=Direction.SENT)
    assert cap(people, sender=BOB) is None
