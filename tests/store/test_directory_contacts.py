"""Contacts, pins, lists: whose requests fall in which row of the accept policy."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from bridge.errors import Invalid, NotFound
from bridge.model.ids import Address
from bridge.model.request import (
    Decision,
    Direction,
    Kind,
    Level,
    Preview,
    Request,
    State,
    expires_at,
)
from bridge.store.directory_records import (
    Acquaintance,
    Contact,
    KeySight,
    Listing,
    ListName,
    Pin,
    PinKind,
    SenderKind,
    Standing,
    User,
)

if TYPE_CHECKING:
    from bridge.store.directory_contract import Directory

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
BOB = Address("bob@b.example")
ALICE = Address("alice@a.example")
EVE = Address("eve@sub.a.example")


def listing(name: ListName, kind: SenderKind, value: str) -> Listing:
    return Listing(list=name, kind=kind, value=value)


def pin(fingerprint: str) -> Pin:
    return Pin(
        kind=PinKind.SMIME, fingerprint=fingerprint, material="PEM", first_seen=NOW, last_seen=NOW
    )


def acquainted(
    directory: Directory, how: Acquaintance = Acquaintance.KNOWN, pinned: str = ""
) -> Contact:
    directory.people.add(User(address=BOB, name="", created=NOW))
    directory.contacts.remember(BOB, ALICE, how, NOW, name="Alice")
    if pinned:
        directory.contacts.pin(held(directory), pin(pinned))
    return held(directory)


def held(directory: Directory) -> Contact:
    contact = directory.contacts.get(BOB, ALICE)
    assert contact is not None
    return contact


def test_a_stranger_is_unknown(directory: Directory) -> None:
    directory.people.add(User(address=BOB, name="", created=NOW))
    assert directory.contacts.standing(BOB, ALICE) is Standing.UNKNOWN
    assert directory.contacts.standing(BOB, ALICE, "fp") is Standing.UNKNOWN


def test_a_contact_stands_as_it_was_remembered(directory: Directory) -> None:
    acquainted(directory)
    assert directory.contacts.standing(BOB, ALICE) is Standing.KNOWN
    assert directory.contacts.set_acquaintance(BOB, ALICE, Acquaintance.ALLOWED)
    assert directory.contacts.standing(BOB, ALICE) is Standing.ALLOWED
    assert not directory.contacts.set_acquaintance(BOB, EVE, Acquaintance.ALLOWED)


def test_meeting_again_keeps_first_sight_and_never_lowers(directory: Directory) -> None:
    acquainted(directory, Acquaintance.ALLOWED)
    directory.contacts.remember(BOB, ALICE, Acquaintance.KNOWN, LATER)
    contact = held(directory)
    assert contact.acquaintance is Acquaintance.ALLOWED
    assert (contact.first_seen, contact.last_seen, contact.name) == (NOW, LATER, "Alice")


def test_a_changed_key_falls_back_to_unknown_until_a_person_pins_it(directory: Directory) -> None:
    contact = acquainted(directory, Acquaintance.ALLOWED, pinned="fp1")
    assert directory.contacts.standing(BOB, ALICE, "fp1") is Standing.ALLOWED
    assert directory.contacts.standing(BOB, ALICE, "fp2") is Standing.UNKNOWN
    sight = directory.contacts.see_key(contact, PinKind.SMIME, "fp2", LATER)
    assert sight is KeySight.CHANGED
    assert held(directory).key_changed == LATER
    assert directory.contacts.standing(BOB, ALICE, "fp1") is Standing.UNKNOWN, "also for old keys"
    directory.contacts.pin(contact, pin("fp2"))
    assert held(directory).key_changed is None
    assert directory.contacts.standing(BOB, ALICE, "fp2") is Standing.ALLOWED
    assert [known.fingerprint for known in held(directory).pins] == ["fp1", "fp2"]


def test_a_known_key_is_noted_and_a_first_key_is_not_a_change(directory: Directory) -> None:
    contact = acquainted(directory)
    assert directory.contacts.see_key(contact, PinKind.SMIME, "fp1", NOW) is KeySight.FIRST
    directory.contacts.pin(contact, pin("fp1"))
    assert directory.contacts.see_key(contact, PinKind.SMIME, "fp1", LATER) is KeySight.PINNED
    assert held(directory).pins[0].last_seen == LATER
    # The same digits as a key of another kind are another key.
    assert directory.contacts.see_key(contact, PinKind.OPENPGP, "fp1", NOW) is KeySight.CHANGED


def test_an_unpinned_key_is_forgotten_and_pins_go_with_their_contact(directory: Directory) -> None:
    contact = acquainted(directory, pinned="fp1")
    assert directory.contacts.unpin(contact, PinKind.SMIME, "fp1")
    assert not directory.contacts.unpin(contact, PinKind.SMIME, "fp1")
    directory.contacts.pin(contact, pin("fp2"))
    assert directory.contacts.forget(BOB, ALICE)
    assert not directory.contacts.forget(BOB, ALICE)
    directory.contacts.remember(BOB, ALICE, Acquaintance.KNOWN, LATER)
    assert held(directory).pins == ()


def test_pinning_for_nobody_is_not_found(directory: Directory) -> None:
    contact = acquainted(directory)
    directory.contacts.forget(BOB, ALICE)
    with pytest.raises(NotFound):
        directory.contacts.pin(contact, pin("fp"))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (SenderKind.ADDRESS, "alice@a.example"),
        (SenderKind.DOMAIN, "a.example"),
        (SenderKind.DOMAIN, "example"),
        (SenderKind.KEY, "fp1"),
    ],
)
def test_blocked_wins_over_everything(directory: Directory, kind: SenderKind, value: str) -> None:
    acquainted(directory, Acquaintance.ALLOWED, pinned="fp1")
    directory.contacts.put_on_list(BOB, listing(ListName.BLOCK, kind, value), NOW)
    other = listing(ListName.IGNORE, SenderKind.ADDRESS, "alice@a.example")
    if kind is not SenderKind.ADDRESS:
        directory.contacts.put_on_list(BOB, other, NOW)
    assert directory.contacts.standing(BOB, ALICE, "fp1") is Standing.BLOCKED
    assert directory.contacts.take_off_list(BOB, listing(ListName.BLOCK, kind, value))
    directory.contacts.take_off_list(BOB, other)
    assert directory.contacts.standing(BOB, ALICE, "fp1") is Standing.ALLOWED


def test_blocking_a_domain_includes_subdomains_and_not_namesakes(directory: Directory) -> None:
    acquainted(directory)
    blocked = listing(ListName.BLOCK, SenderKind.DOMAIN, "a.example")
    directory.contacts.put_on_list(BOB, blocked, NOW)
    assert directory.contacts.standing(BOB, EVE) is Standing.BLOCKED
    assert directory.contacts.standing(BOB, Address("x@evila.example")) is Standing.UNKNOWN


def test_allowing_a_domain_does_not_include_subdomains(directory: Directory) -> None:
    acquainted(directory)
    allowed = listing(ListName.ALLOW, SenderKind.DOMAIN, "a.example")
    directory.contacts.put_on_list(BOB, allowed, NOW)
    assert directory.contacts.standing(BOB, ALICE) is Standing.ALLOWED
    assert directory.contacts.standing(BOB, EVE) is Standing.UNKNOWN


def test_allowing_a_domain_does_not_excuse_a_changed_key(directory: Directory) -> None:
    acquainted(directory, pinned="fp1")
    allowed = listing(ListName.ALLOW, SenderKind.DOMAIN, "a.example")
    directory.contacts.put_on_list(BOB, allowed, NOW)
    assert directory.contacts.standing(BOB, ALICE, "fp2") is Standing.UNKNOWN


def test_a_sender_is_on_one_list_at_a_time(directory: Directory) -> None:
    acquainted(directory)
    for name in ListName:
        directory.contacts.put_on_list(BOB, listing(name, SenderKind.ADDRESS, ALICE), NOW)
    assert directory.contacts.listed(BOB) == (listing(ListName.ALLOW, SenderKind.ADDRESS, ALICE),)
    wrong = listing(ListName.BLOCK, SenderKind.ADDRESS, ALICE)
    assert not directory.contacts.take_off_list(BOB, wrong)


def test_lists_are_each_users_own(directory: Directory) -> None:
    acquainted(directory)
    carol = Address("carol@b.example")
    directory.people.add(User(address=carol, name="", created=NOW))
    blocked = listing(ListName.BLOCK, SenderKind.ADDRESS, ALICE)
    directory.contacts.put_on_list(carol, blocked, NOW)
    assert directory.contacts.standing(BOB, ALICE) is Standing.KNOWN
    assert directory.contacts.of(carol) == ()
    assert directory.contacts.of(BOB) == (held(directory),)


def test_a_listing_names_somebody() -> None:
    with pytest.raises(Invalid):
        listing(ListName.BLOCK, SenderKind.KEY, "")


def waiting_request(number: int, sender: str, fingerprint: str = "") -> Request:
    return Request(
        id=uuid.UUID(int=number),
        kind=Kind.ASSIGN,
        direction=Direction.RECEIVED,
        recipient=BOB,
        sender=Address(sender),
        level=Level.DOMAIN,
        fingerprint=fingerprint,
        preview=Preview(title="t"),
        created=NOW,
        expires=expires_at(NOW, Level.DOMAIN),
    )


@pytest.mark.parametrize(
    ("kind", "value", "ended"),
    [
        (SenderKind.ADDRESS, "alice@a.example", {1}),
        (SenderKind.DOMAIN, "a.example", {1, 2}),
        (SenderKind.KEY, "fp", {3}),
    ],
)
def test_blocking_ends_what_waits_from_the_sender(
    directory: Directory, kind: SenderKind, value: str, ended: set[int]
) -> None:
    directory.people.add(User(address=BOB, name="", created=NOW))
    senders = [("alice@a.example", ""), ("eve@sub.a.example", ""), ("x@evila.example", "fp")]
    for number, (sender, fingerprint) in enumerate(senders, start=1):
        directory.requests.add(waiting_request(number, sender, fingerprint))
    decision = Decision(at=LATER, by=BOB)
    gone = directory.shut_out(BOB, listing(ListName.BLOCK, kind, value), decision)
    assert {request.id.int for request in gone} == ended
    assert {request.state for request in gone} == {State.BLOCKED}
    left = {request.id.int for request in directory.requests.waiting(BOB)}
    assert left == {1, 2, 3} - ended
    assert directory.contacts.listed(BOB) == (listing(ListName.BLOCK, kind, value),)


def test_the_allow_list_shuts_nobody_out(directory: Directory) -> None:
    allowed = listing(ListName.ALLOW, SenderKind.ADDRESS, ALICE)
    with pytest.raises(Invalid):
        directory.shut_out(BOB, allowed, Decision(at=NOW, by=BOB))
