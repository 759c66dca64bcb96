"""App passwords: made from entropy, checked at equal cost, remembered and forgotten in time."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import statistics
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from bridge.errors import Invalid, NotFound, Unavailable
from bridge.model.ids import Address
from bridge.store.directory import open_directory, open_memory
from bridge.store.directory_records import User
from bridge.trust.passwords import ALPHABET, Passwords, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bridge.store.directory_contract import Directory
    from bridge.store.directory_records import CredentialChanges, Verifier

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOB = Address("bob@b.example")
CAROL = Address("carol@b.example")
CHEAP = Settings(time_cost=1, memory_kib=8)


def seeded(seed: bytes) -> Callable[[int], bytes]:
    """A random source that says the same at each run."""
    count = itertools.count()

    def random_bytes(length: int) -> bytes:
        return hashlib.shake_128(seed + b"%d" % next(count)).digest(length)

    return random_bytes


@dataclass
class Clock:
    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Place:
    """A process: its directory, clock and checker."""

    directory: Directory
    clock: Clock = field(default_factory=Clock)
    settings: Settings = CHEAP

    def __post_init__(self) -> None:
        self.passwords = Passwords(
            self.directory.passwords,
            self.settings,
            random_bytes=seeded(b"seed"),
            monotonic=self.clock,
        )

    def create(self, number: int = 1, user: Address = BOB) -> str:
        return self.passwords.create(user, "phone", uuid.UUID(int=number), NOW)

    def good(self, password: str, user: str = BOB, now: datetime = NOW) -> bool:
        return self.passwords.check(user, password, now) is not None


@pytest.fixture
def place() -> Iterator[Place]:
    directory = open_memory()
    for address in (BOB, CAROL):
        directory.people.add(User(address=address, name="", created=NOW))
    yield Place(directory)
    directory.close()


def count_verifications(place: Place, monkeypatch: pytest.MonkeyPatch) -> Counter[bool]:
    """Count the argon2id verifications from here on, by whether they were good."""
    counts: Counter[bool] = Counter()
    real = place.passwords._matches

    def matches(expected: str, letters: str) -> bool:
        good = real(expected, letters)
        counts[good] += 1
        return good

    monkeypatch.setattr(place.passwords, "_matches", matches)
    return counts


def test_a_password_is_four_groups_of_clear_letters_and_is_stored_nowhere(place: Place) -> None:
    password = place.create()
    assert re.fullmatch(rf"([{ALPHABET}]{{5}}-){{3}}[{ALPHABET}]{{5}}", password)
    assert not set(ALPHABET) & set("0o1li")
    verifier = place.directory.passwords.find(BOB, password[:5])
    assert verifier is not None
    assert verifier.hash.startswith("$argon2id$")
    assert password[6:] not in repr(verifier) + verifier.hash


def test_letters_are_evenly_likely(place: Place) -> None:
    counts = Counter("".join(place.passwords._letters() for _ in range(500)))
    expected = 500 * 20 / len(ALPHABET)
    chi_squared = sum((counts[letter] - expected) ** 2 / expected for letter in ALPHABET)
    assert chi_squared < 60, "30 degrees of freedom: 1 in 1,000 seeds would exceed 59.7"


def test_a_stuck_random_source_is_refused() -> None:
    directory = open_memory()
    directory.people.add(User(address=BOB, name="", created=NOW))
    stuck = Passwords(
        directory.passwords, CHEAP, random_bytes=lambda n: b"\xff" * n, monotonic=Clock()
    )
    with pytest.raises(Unavailable):
        stuck.create(BOB, "phone", uuid.UUID(int=1), NOW)
    same = Passwords(
        directory.passwords, CHEAP, random_bytes=lambda n: b"\x01" * n, monotonic=Clock()
    )
    same.create(BOB, "phone", uuid.UUID(int=1), NOW)
    with pytest.raises(Unavailable):
        same.create(BOB, "tablet", uuid.UUID(int=2), NOW)


def test_nobody_gets_no_password(place: Place) -> None:
    with pytest.raises(NotFound):
        place.create(user=Address("nobody@b.example"))


def test_a_password_is_taken_as_people_type_it(place: Place) -> None:
    password = place.create()
    for typed in (
        password,
        password.upper(),
        password.replace("-", ""),
        password.replace("-", " "),
    ):
        credential = place.passwords.check("Bob@B.example", typed, NOW)
        assert credential is not None
        assert (credential.user, credential.label) == (BOB, "phone")


def test_anything_else_is_refused(place: Place) -> None:
    password = place.create()
    other = place.create(2, CAROL)
    wrong = password[:-1] + ("2" if password[-1] != "2" else "3")
    for user, shown in (
        (BOB, wrong),
        (BOB, other),
        (CAROL, password),
        (BOB, ""),
        (BOB, password[:5]),
        (BOB, password + "x"),
        ("nobody@b.example", password),
        ("not an address", password),
        ("", ""),
        (BOB, "x" * 100_000),
        (BOB, "\0\udcff"),
    ):
        assert not place.good(shown, user), (user, shown[:30])


def test_every_kind_of_refusal_costs_one_verification(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    password, revoked = place.create(), place.create(2)
    place.create(3)
    disabled = place.create(4, CAROL)
    place.directory.passwords.revoke(uuid.UUID(int=2), NOW)
    place.directory.people.disable(CAROL, NOW)
    counts = count_verifications(place, monkeypatch)
    wrong = password[:-5] + "22222"
    for user, shown in (
        (BOB, wrong),
        (BOB, revoked),
        (CAROL, disabled),
        ("nobody@b.example", password),
        ("not an address", password),
        (BOB, "zzzzz"),
    ):
        before = sum(counts.values())
        assert not place.good(shown, user)
        assert sum(counts.values()) == before + 1, (user, shown)


def test_an_unknown_user_takes_as_long_as_a_wrong_password() -> None:
    directory = open_memory()
    directory.people.add(User(address=BOB, name="", created=NOW))
    place = Place(directory, settings=Settings(time_cost=2, memory_kib=4096))
    wrong = place.create()[:-5] + "22222"

    def took(user: str) -> float:
        start = time.perf_counter()
        assert not place.good(wrong, user)
        return time.perf_counter() - start

    pairs = [(took(BOB), took("nobody@b.example")) for _ in range(15)]
    known, unknown = (statistics.median(side) for side in zip(*pairs, strict=True))
    assert 0.5 < known / unknown < 2
    directory.close()


def test_a_verified_password_is_remembered_for_its_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = place.create()
    counts = count_verifications(place, monkeypatch)
    for _ in range(5):
        assert place.good(password)
    assert counts[True] == 1
    place.clock.at += CHEAP.memo_seconds - 1
    assert place.good(password)
    assert counts[True] == 1
    place.clock.at += 1
    assert place.good(password)
    assert counts[True] == 2


def test_a_wrong_password_is_not_remembered_as_good(place: Place) -> None:
    password = place.create()
    wrong = password[:-5] + "22222"
    assert not place.good(wrong)
    assert place.good(password)
    assert not place.good(wrong)


def test_the_memo_is_bounded_and_keeps_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = open_memory()
    directory.people.add(User(address=BOB, name="", created=NOW))
    place = Place(directory, settings=Settings(time_cost=1, memory_kib=8, memo_entries=2))
    one, two, three = (place.create(number) for number in (1, 2, 3))
    counts = count_verifications(place, monkeypatch)
    for password in (one, two, one, three, one):
        assert place.good(password)
    assert counts[True] == 3
    assert len(place.passwords._memo) == 2
    assert place.good(two)
    assert counts[True] == 4
    directory.close()


def test_the_memo_holds_no_password(place: Place) -> None:
    password = place.create()
    assert place.good(password)
    assert password not in repr(place.passwords._memo)
    assert password.replace("-", "") not in repr(place.passwords._memo)


def test_revoking_ends_logins_at_once_here(place: Place) -> None:
    password, other = place.create(), place.create(2)
    assert place.good(password)
    assert place.good(other)
    place.directory.passwords.revoke(uuid.UUID(int=1), NOW)
    assert not place.good(password)
    assert place.good(other)
    place.directory.people.disable(BOB, NOW)
    assert not place.good(other)


def test_a_revocation_undone_with_its_transaction_changes_nothing(place: Place) -> None:
    password = place.create()

    def broken() -> None:
        with place.directory.transaction():
            place.directory.passwords.revoke(uuid.UUID(int=1), NOW)
            raise Invalid("test", "a refusal half way")

    with pytest.raises(Invalid):
        broken()
    assert place.good(password)


def test_another_process_learns_of_a_revocation_within_its_time(tmp_path: Path) -> None:
    here = Place(open_directory(tmp_path / "directory.sqlite3"))
    there = Place(open_directory(tmp_path / "directory.sqlite3"))
    here.directory.people.add(User(address=BOB, name="", created=NOW))
    password = here.create()
    assert there.good(password)
    there.clock.at += 10
    assert there.good(password)
    here.directory.passwords.revoke(uuid.UUID(int=1), NOW)
    there.clock.at += CHEAP.notice_seconds
    assert not there.good(password)
    assert CHEAP.notice_seconds <= 5
    here.directory.close()
    there.directory.close()


def test_a_later_notice_than_promised_is_refused() -> None:
    with pytest.raises(Invalid):
        Settings(notice_seconds=5.1)
    with pytest.raises(Invalid):
        Settings(parallel=0)


def test_another_users_change_keeps_the_memo(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    password = place.create()
    assert place.good(password)
    counts = count_verifications(place, monkeypatch)
    place.create(2, CAROL)
    place.clock.at += 60
    assert place.good(password)
    assert counts[True] == 0


def test_a_revocation_during_a_check_is_not_outlived_by_the_memo(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = place.create()
    real = place.passwords._matches

    def matches(expected: str, letters: str) -> bool:
        place.directory.passwords.revoke(uuid.UUID(int=1), NOW)
        # Another thread's request hears of it first, so the next check will not ask again.
        place.passwords._ask(place.clock())
        return real(expected, letters)

    monkeypatch.setattr(place.passwords, "_matches", matches)
    place.good(password)  # may pass: it began before
    assert not place.good(password)


def test_the_last_use_is_written_once_an_hour(place: Place) -> None:
    password = place.create()

    def last_used() -> datetime | None:
        return place.directory.passwords.of(BOB)[0].last_used

    assert place.good(password)
    assert last_used() == NOW
    place.clock.at += 1000
    assert place.good(password, now=NOW + timedelta(minutes=59))
    assert last_used() == NOW
    place.clock.at += 1000
    assert place.good(password, now=NOW + timedelta(hours=1))
    assert last_used() == NOW + timedelta(hours=1)


def test_new_costs_are_taken_at_the_next_login(place: Place) -> None:
    password = place.create()
    dearer = Place(place.directory, settings=Settings(time_cost=2, memory_kib=16))
    assert dearer.good(password)
    verifier = place.directory.passwords.find(BOB, password[:5])
    assert verifier is not None
    assert "m=16,t=2" in verifier.hash
    assert place.good(password)


def header(user: str, password: str, scheme: str = "Basic") -> str:
    return f"{scheme} " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_basic_header_is_checked_and_remembered(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = place.create()
    counts = count_verifications(place, monkeypatch)
    for scheme in ("Basic", "Basic", "basic", "BASIC"):
        assert place.passwords.check_basic(header(BOB, password, scheme), NOW) is not None
    assert counts[True] == 3, "the header's spelling is what is remembered"
    place.directory.passwords.revoke(uuid.UUID(int=1), NOW)
    assert place.passwords.check_basic(header(BOB, password), NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic YQ=",
        "Basic ü",
        "Bearer " + base64.b64encode(b"a:b").decode(),
        "Basic " + "A" * 100_000,
        "Basic \udcff",
    ],
)
def test_a_header_that_is_none_is_refused(place: Place, text: str) -> None:
    assert place.passwords.check_basic(text, NOW) is None


def test_many_threads_get_right_answers(place: Place) -> None:
    password = place.create()
    wrong = password[:-5] + "22222"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(place.good, [password, wrong] * 100))
    assert answers == [True, False] * 100


def test_too_many_logins_at_once_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = open_memory()
    directory.people.add(User(address=BOB, name="", created=NOW))
    settings = Settings(time_cost=1, memory_kib=8, parallel=1, wait_seconds=0.05)
    place = Place(directory, settings=settings)
    password = place.create()
    inside, leave = threading.Event(), threading.Event()

    def matches(_expected: str, _letters: str) -> bool:
        inside.set()
        return leave.wait(10)

    monkeypatch.setattr(place.passwords, "_matches", matches)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(place.good, password)
        assert inside.wait(10)
        with pytest.raises(Unavailable) as refused:
            place.good(password)
        leave.set()
        assert first.result()
    assert (refused.value.code, refused.value.retry) == ("busy", True)
    directory.close()


class Failing:
    """The store of a directory whose disk is full: reads work, writes do not."""

    def __init__(self, directory: Directory) -> None:
        self.real = directory.passwords
        self.changes_here = 0

    def changed_since(self, generation: int) -> CredentialChanges:
        return self.real.changed_since(generation)

    def find(self, user: Address, selector: str) -> Verifier | None:
        return self.real.find(user, selector)

    def used(self, *_: object, **__: object) -> None:
        raise Unavailable("directory-unavailable", "the directory cannot be reached", retry=True)


def test_a_full_disk_does_not_stop_logins(place: Place) -> None:
    password = place.create()
    passwords = Passwords(
        Failing(place.directory),  # type: ignore[arg-type] # what a check uses of it
        CHEAP,
        random_bytes=seeded(b"x"),
        monotonic=place.clock,
    )
    assert passwords.check(BOB, password, NOW) is not None
