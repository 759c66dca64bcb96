"""Measures the directory: ``python tests/bench/directory_bench.py [folder]``.

The folder decides the disk; without one a temporary folder is used. Times are the median of
single calls in microseconds, so that a busy machine shows less.
"""

from __future__ import annotations

import base64
import secrets
import statistics
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.model.ids import Address, digest_of
from bridge.model.request import Caps, Direction, Kind, Level, Preview, Request, expires_at
from bridge.store.directory import FILE_NAME, open_directory
from bridge.store.directory_records import Arrival, Door, Letter, LetterKind, MailState, User
from bridge.trust.passwords import Passwords, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.store.directory_contract import Directory

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOB = Address("bob@b.example")
ALICE = Address("alice@a.example")


def show(what: str, call: Callable[[int], object], times: int) -> None:
    """Print the median and the 99th percentile of `call`, given the number of each call."""
    call(0)
    took = []
    for number in range(1, times + 1):
        start = time.perf_counter_ns()
        call(number)
        took.append((time.perf_counter_ns() - start) / 1000)
    took.sort()
    median, late = statistics.median(took), took[int(len(took) * 0.99)]
    sys.stdout.write(f"{what:<44} {median:>10.1f} {late:>10.1f}\n")


def request(number: int) -> Request:
    """A request as it comes by mail."""
    return Request(
        id=uuid.UUID(int=number + 1),
        kind=Kind.ASSIGN,
        direction=Direction.RECEIVED,
        recipient=BOB,
        sender=ALICE,
        level=Level.PERSON,
        preview=Preview(title="Water the plants", notes="twice a week " * 20),
        created=NOW + timedelta(seconds=number),
        expires=expires_at(NOW, Level.PERSON),
    )


def arrival(number: int) -> Arrival:
    """A mail of its own."""
    return Arrival(
        id=uuid.UUID(int=number + 1),
        recipient=BOB,
        content=digest_of(b"%d" % number),
        door=Door.LMTP,
        message_id=f"<{number}@a.example>",
    )


def logins(directory: Directory) -> None:
    """What each HTTP request pays."""
    passwords = Passwords(
        directory.passwords,
        Settings(),
        random_bytes=secrets.token_bytes,
        monotonic=time.monotonic,
    )
    password = passwords.create(BOB, "bench", uuid.UUID(int=1), NOW)
    header = "Basic " + base64.b64encode(f"{BOB}:{password}".encode()).decode()
    wrong = password[:-5] + "22222"
    show("check, wrong password (argon2id)", lambda _: passwords.check(BOB, wrong, NOW), 20)
    show("check, unknown user", lambda _: passwords.check("x@b.example", wrong, NOW), 20)
    show("check, memo hit", lambda _: passwords.check(BOB, password, NOW), 20_000)
    show("check_basic, memo hit", lambda _: passwords.check_basic(header, NOW), 20_000)
    show("changed_since (every 2 s)", lambda _: directory.passwords.changed_since(1), 2000)


def mail(directory: Directory) -> None:
    """What a mail pays."""
    show("journal.begin, new", lambda n: directory.journal.begin(arrival(n), NOW), 1000)
    show("journal.begin, seen", lambda n: directory.journal.begin(arrival(n), NOW), 1000)

    def whole(number: int) -> None:
        new = arrival(number + 100_000)
        with directory.transaction():
            directory.journal.begin(new, NOW)
            directory.journal.bind(new.id, new.content, ALICE)
            directory.requests.over_cap(BOB, ALICE, known=True, now=NOW, caps=Caps())
            directory.requests.add(request(number + 100_000))
            directory.outbox.put(letter(number), NOW)
            directory.journal.finish(new.id, MailState.COMMITTED, {})

    show("mail: begin to finish, one transaction", whole, 500)


def letter(number: int) -> Letter:
    """An answer."""
    return Letter(
        id=uuid.UUID(int=number + 1),
        key=str(number),
        recipient=ALICE,
        sender="",
        kind=LetterKind.ANSWER,
        raw=b"x" * 2000,
        not_before=NOW,
    )


def sync(directory: Directory) -> None:
    """What the Requests collection pays."""
    show("requests.add", lambda n: directory.requests.add(request(n)), 1000)
    show("requests.head", lambda _: directory.requests.head(BOB), 2000)
    head = directory.requests.head(BOB)
    show(
        "requests.changes, one of 1,500", lambda _: directory.requests.changes(BOB, head - 1), 1000
    )
    show("contacts.standing", lambda _: directory.contacts.standing(BOB, ALICE), 1000)


def writers(directory: Directory) -> None:
    """How writers share: no long waits."""
    waits: list[float] = []
    guard = threading.Lock()

    def work(thread: int) -> None:
        for number in range(250):
            start = time.perf_counter()
            directory.journal.begin(arrival(1_000_000 * (thread + 1) + number), NOW)
            with guard:
                waits.append((time.perf_counter() - start) * 1e6)

    start = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    rate = len(waits) / (time.perf_counter() - start)
    waits.sort()
    late = waits[int(len(waits) * 0.99)]
    sys.stdout.write(
        f"{'4 threads begin: a call':<44} {statistics.median(waits):>10.1f} {late:>10.1f}\n"
    )
    sys.stdout.write(f"{'4 threads begin: rate':<44} {rate:>10.0f} /s\n")


def main(folder: Path) -> None:
    """Measure in `folder`."""
    directory = open_directory(folder / FILE_NAME)
    directory.people.add(User(address=BOB, name="", created=NOW))
    sys.stdout.write(f"{'microseconds':<44} {'median':>10} {'p99':>10}\n")
    for part in (logins, mail, sync, writers):
        part(directory)
    directory.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
