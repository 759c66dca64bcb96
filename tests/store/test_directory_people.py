"""Users, credentials, dead properties: the same on every engine."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from bridge.errors import Invalid, NotFound
from bridge.model.ids import Address, ProjectId
from bridge.model.request import Level
from bridge.store.directory_records import Credential, Notice, Policy, User

if TYPE_CHECKING:
    from bridge.store.directory_contract import Directory

NOW = datetime(2026, 11, 20, 12, 0, 0, 123_000, tzinfo=UTC)
BOB = Address("bob@b.example")
CAROL = Address("carol@b.example")
TASKS = "p1@b.example"
HASH = "$argon2id$one"
HASH_2 = "$argon2id$two"
COLOUR = "{http://apple.com/ns/ical/}calendar-color"


def add(directory: Directory, *addresses: Address) -> None:
    for address in addresses:
        assert directory.people.add(User(address=address, name="", created=NOW))


def credential(number: int, user: Address = BOB) -> Credential:
    return Credential(id=uuid.UUID(int=number), user=user, label=f"phone {number}", created=NOW)


def test_a_user_comes_back_as_written(directory: Directory) -> None:
    policy = Policy(
        auto_accept_known=frozenset({Level.PERSON}), notice=Notice.NONE, say_blocked=True
    )
    user = User(
        address=BOB,
        name="Bób",
        created=NOW,
        language="pl",
        time_zone="Europe/Warsaw",
        default_project=ProjectId(TASKS),
        policy=policy,
    )
    assert directory.people.add(user)
    assert directory.people.get(BOB) == user
    assert directory.people.all() == (user,)


def test_a_taken_address_changes_nothing(directory: Directory) -> None:
    add(directory, BOB)
    assert not directory.people.add(User(address=BOB, name="Mallory", created=NOW))
    held = directory.people.get(BOB)
    assert held is not None
    assert held.name == ""


def test_changes_reach_one_user_only(directory: Directory) -> None:
    add(directory, BOB, CAROL)
    before = directory.people.get(CAROL)
    directory.people.describe(BOB, name="Bob", language="de", time_zone="Europe/Berlin")
    directory.people.set_policy(BOB, Policy(notice=Notice.NONE))
    directory.people.set_default_project(BOB, ProjectId(TASKS))
    directory.people.disable(BOB, NOW)
    held = directory.people.get(BOB)
    assert held is not None
    assert (held.name, held.language, held.time_zone) == ("Bob", "de", "Europe/Berlin")
    assert (held.policy.notice, held.default_project) == (Notice.NONE, TASKS)
    assert held.disabled == NOW
    assert directory.people.get(CAROL) == before
    directory.people.enable(BOB)
    directory.people.set_default_project(BOB, None)
    held = directory.people.get(BOB)
    assert held is not None
    assert held.disabled is None
    assert held.default_project is None


def test_changing_nobody_is_not_found(directory: Directory) -> None:
    with pytest.raises(NotFound):
        directory.people.disable(BOB, NOW)
    with pytest.raises(NotFound):
        directory.people.set_policy(BOB, Policy())
    with pytest.raises(NotFound):
        directory.passwords.add(credential(1), selector="abcde", password_hash=HASH)
    assert directory.passwords.changes_here == 0, "nothing was committed, so nothing changed"


def test_nobody_accepts_unproved_requests_unseen() -> None:
    with pytest.raises(Invalid):
        Policy(auto_accept_known=frozenset({Level.NONE}))


def test_times_of_other_zones_are_kept_in_utc(directory: Directory) -> None:
    east = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    directory.people.add(User(address=BOB, name="", created=east))
    held = directory.people.get(BOB)
    assert held is not None
    assert held.created == NOW
    assert held.created.tzinfo == UTC


def test_a_time_without_zone_is_a_mistake_of_the_program(directory: Directory) -> None:
    add(directory, BOB)
    with pytest.raises(Exception, match="without a zone"):
        directory.people.disable(BOB, datetime(2026, 1, 1))  # noqa: DTZ001 - that is the test


def test_a_credential_is_found_by_its_selector_until_revoked(directory: Directory) -> None:
    add(directory, BOB, CAROL)
    assert directory.passwords.add(credential(1), selector="abcde", password_hash=HASH)
    found = directory.passwords.find(BOB, "abcde")
    assert found is not None
    assert (found.credential, found.hash) == (credential(1), HASH)
    assert HASH not in repr(found)
    assert directory.passwords.find(BOB, "zzzzz") is None
    assert directory.passwords.find(CAROL, "abcde") is None
    assert directory.passwords.revoke(uuid.UUID(int=1), NOW)
    assert not directory.passwords.revoke(uuid.UUID(int=1), NOW)
    assert not directory.passwords.revoke(uuid.UUID(int=7), NOW)
    assert directory.passwords.find(BOB, "abcde") is None
    assert [held.revoked for held in directory.passwords.of(BOB)] == [NOW]


def test_a_selector_is_taken_only_while_its_credential_lives(directory: Directory) -> None:
    add(directory, BOB, CAROL)
    assert directory.passwords.add(credential(1), selector="abcde", password_hash=HASH)
    assert not directory.passwords.add(credential(2), selector="abcde", password_hash=HASH)
    assert directory.passwords.add(credential(3, CAROL), selector="abcde", password_hash=HASH)
    directory.passwords.revoke(uuid.UUID(int=1), NOW)
    assert directory.passwords.add(credential(2), selector="abcde", password_hash=HASH)


def test_a_disabled_user_has_no_credentials_to_check(directory: Directory) -> None:
    add(directory, BOB)
    directory.passwords.add(credential(1), selector="abcde", password_hash=HASH)
    directory.people.disable(BOB, NOW)
    assert directory.passwords.find(BOB, "abcde") is None
    directory.people.enable(BOB)
    assert directory.passwords.find(BOB, "abcde") is not None


def test_every_change_of_credentials_is_told_once(directory: Directory) -> None:
    add(directory, BOB, CAROL)
    start = directory.passwords.changed_since(0)
    assert start.users == frozenset()
    changes = directory.passwords.changes_here
    directory.passwords.add(credential(1), selector="abcde", password_hash=HASH)
    directory.people.disable(CAROL, NOW)
    later = directory.passwords.changed_since(start.generation)
    assert later.users == {BOB, CAROL}
    assert directory.passwords.changes_here == changes + 2
    directory.passwords.revoke(uuid.UUID(int=1), NOW)
    assert directory.passwords.changed_since(later.generation).users == {BOB}
    last = directory.passwords.changed_since(later.generation).generation
    directory.passwords.used(uuid.UUID(int=1), NOW, new_hash=HASH_2)
    assert directory.passwords.changed_since(last).users == frozenset(), "a login is no change"


def test_a_login_is_noted(directory: Directory) -> None:
    add(directory, BOB)
    directory.passwords.add(credential(1), selector="abcde", password_hash=HASH)
    directory.passwords.used(uuid.UUID(int=1), NOW)
    found = directory.passwords.find(BOB, "abcde")
    assert found is not None
    assert (found.credential.last_used, found.hash) == (NOW, HASH)
    directory.passwords.used(uuid.UUID(int=1), NOW, new_hash=HASH_2)
    found = directory.passwords.find(BOB, "abcde")
    assert found is not None
    assert found.hash == HASH_2


def test_dead_properties_are_each_users_own_and_come_back_as_sent(directory: Directory) -> None:
    add(directory, BOB, CAROL)
    xml = '<c:calendar-color xmlns:c="http://apple.com/ns/ical/" symbolic-color="red"> #F00 </c:calendar-color>'
    directory.properties.change(BOB, TASKS, {COLOUR: xml})
    assert directory.properties.of(BOB, TASKS) == {COLOUR: xml}
    assert directory.properties.of(CAROL, TASKS) == {}
    assert directory.properties.of(BOB, "p2@b.example") == {}


def test_properties_are_set_and_removed_in_one_go(directory: Directory) -> None:
    add(directory, BOB)
    directory.properties.change(BOB, TASKS, {COLOUR: "<a/>", "{}plain": "<b/>"})
    directory.properties.change(BOB, TASKS, {COLOUR: None, "{}plain": "<c/>", "{x}new": "<d/>"})
    assert directory.properties.of(BOB, TASKS) == {"{}plain": "<c/>", "{x}new": "<d/>"}
    directory.properties.change(BOB, TASKS, {"{x}never-there": None})
    directory.properties.drop(TASKS)
    assert directory.properties.of(BOB, TASKS) == {}


@pytest.mark.parametrize(
    "name", ["colour", "{}", "{ns}a b", "{n{s}a", "{ns}a\0", "{ns}" + "x" * 400]
)
def test_a_bad_property_name_changes_nothing(directory: Directory, name: str) -> None:
    add(directory, BOB)
    with pytest.raises(Invalid):
        directory.properties.change(BOB, TASKS, {COLOUR: "<a/>", name: "<b/>"})
    assert directory.properties.of(BOB, TASKS) == {}


def test_properties_are_bounded(directory: Directory) -> None:
    add(directory, BOB)
    directory.properties.change(BOB, TASKS, {COLOUR: "x" * 65_536})
    with pytest.raises(Invalid):
        directory.properties.change(BOB, TASKS, {COLOUR: "x" * 65_537})
    many: dict[str, str | None] = {f"{{n}}p{number}": "<p/>" for number in range(99)}
    directory.properties.change(BOB, TASKS, many)
    with pytest.raises(Invalid):
        directory.properties.change(BOB, TASKS, {"{n}one-more": "<p/>"})
    assert len(directory.properties.of(BOB, TASKS)) == 100


def test_properties_of_nobody_are_not_found(directory: Directory) -> None:
    with pytest.raises(NotFound):
        directory.properties.change(BOB, TASKS, {COLOUR: "<a/>"})
