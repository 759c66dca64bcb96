"""Requests: the table of states and the limits of what strangers may say."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bridge.errors import Invalid
from bridge.model.ids import parse_address
from bridge.model.request import (
    HIDDEN,
    OPEN,
    OUTCOME,
    TRANSITIONS,
    Decision,
    Direction,
    Event,
    Kind,
    Level,
    Preview,
    Request,
    State,
    advance,
    expires_at,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def request(**changes: object) -> Request:
    made = Request(
        id=uuid.UUID(int=1),
        kind=Kind.ASSIGN,
        direction=Direction.RECEIVED,
        recipient=parse_address("bob@b.example"),
        sender=parse_address("alice@a.example"),
        level=Level.PERSON,
        preview=Preview(title="Buy milk"),
        created=NOW,
        expires=expires_at(NOW, Level.PERSON),
    )
    return replace(made, **changes)  # type: ignore[arg-type] # names are the fields above


@pytest.mark.parametrize("event", Event)
def test_every_event_ends_a_waiting_request(event: Event) -> None:
    assert advance(State.REQUESTED, event) is OUTCOME[event]


@pytest.mark.parametrize("event", Event)
def test_an_event_that_comes_twice_changes_nothing(event: Event) -> None:
    assert advance(OUTCOME[event], event) is OUTCOME[event]


@pytest.mark.parametrize("state", [State.ACCEPTED, State.DECLINED, State.CANCELLED, State.EXPIRED])
@pytest.mark.parametrize("event", Event)
def test_an_answered_request_stays_as_it_is(state: State, event: Event) -> None:
    expected = state if OUTCOME[event] is state else None
    assert advance(state, event) is expected


def test_no_move_leads_back_to_waiting() -> None:
    assert State.REQUESTED not in TRANSITIONS.values()


def test_an_ignored_or_blocked_request_cannot_be_accepted() -> None:
    for state in HIDDEN:
        assert advance(state, Event.ACCEPT) is None
        assert advance(state, Event.DECLINE) is None


@pytest.mark.parametrize("state", sorted(HIDDEN))
def test_the_sender_cannot_tell_ignored_from_unanswered(state: State) -> None:
    hidden, plain = request(state=state), request()
    for when in (NOW, hidden.expires - timedelta(seconds=1), hidden.expires):
        assert hidden.seen_by_sender(when) is plain.seen_by_sender(when)
    # Both end alike when the sender withdraws or the time is over.
    for event in (Event.CANCEL, Event.EXPIRE):
        assert advance(state, event) is advance(State.REQUESTED, event)


def test_the_sender_learns_of_an_answer() -> None:
    assert request(state=State.DECLINED).seen_by_sender(NOW) is State.DECLINED
    assert request().seen_by_sender(NOW) is State.REQUESTED
    assert request().seen_by_sender(NOW + timedelta(days=14)) is State.EXPIRED


def test_a_request_waits_14_days_and_an_unverified_one_30() -> None:
    assert expires_at(NOW, Level.PERSON) == NOW + timedelta(days=14)
    assert expires_at(NOW, Level.DOMAIN) == NOW + timedelta(days=14)
    assert expires_at(NOW, Level.NONE) == NOW + timedelta(days=30)


def test_only_received_requests_wait_in_the_collection() -> None:
    assert request().waits
    assert not request(direction=Direction.SENT).waits
    assert not any(request(state=state).waits for state in set(State) - {State.REQUESTED})
    assert {State.REQUESTED} == OPEN - HIDDEN


def test_the_side_belongs_to_the_local_user() -> None:
    assert request().user == "bob@b.example"
    assert request(direction=Direction.SENT).user == "alice@a.example"


def test_texts_longer_than_the_protocol_allows_are_refused() -> None:
    Preview(title="x" * 500, notes="ä" * 2048)
    with pytest.raises(Invalid):
        Preview(title="x" * 501)
    with pytest.raises(Invalid):
        Preview(title="", notes="ä" * 2048 + "x")
    with pytest.raises(Invalid):
        request(proof_reason="x" * 1001)
    with pytest.raises(Invalid):
        Decision(at=NOW, by="tx-bridge", reason="x" * 1001)
