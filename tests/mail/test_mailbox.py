"""The fetcher against a real Dovecot: arrival, moves, reconnection, lost places."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from mailkit import (
    ALICE,
    BOB,
    TASKS,
    Bed,
    Desk,
    MailHouse,
    Post,
    missing_parts,
    plain,
    running_bed,
)

from bridge.errors import Misconfigured, Unavailable
from bridge.mail.fetcher import Fetcher
from bridge.mail.health import Pulse, State
from bridge.mail.mailbox import Mailbox, MailboxSettings, modified_utf7
from bridge.model.ids import ProjectId
from bridge.store.directory_records import Acquaintance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

pytestmark = pytest.mark.journey


def settings(bed: Bed, **more: object) -> MailboxSettings:
    values: dict[str, object] = {
        "host": "127.0.0.1",
        "port": bed.imap,
        "tls": False,
        "user": TASKS,
        "password": "secret",
        "timeout_seconds": 5.0,
    }
    return MailboxSettings(**(values | more))  # type: ignore[arg-type]  # mixed keyword values


def delivered(raw: bytes, to: str = TASKS) -> bytes:
    """Return a mail as the test bed's LMTP writes it into the mailbox."""
    return f"Return-Path: <{ALICE}>\r\nDelivered-To: {to}\r\n".encode() + raw


@contextlib.asynccontextmanager
async def fetching(desk: Desk, box: MailboxSettings) -> AsyncIterator[Pulse]:
    """Run a fetcher for as long as the block lasts."""
    stop = asyncio.Event()
    pulse = Pulse("mailbox", desk.house.clock)
    with ThreadPoolExecutor(4) as executor:
        fetcher = Fetcher(desk.house.gateway, desk.intake, box, executor, pulse)
        task = asyncio.create_task(fetcher.run(stop))
        try:
            yield pulse
        finally:
            stop.set()
            await asyncio.wait_for(task, 10)


async def until(check: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something that comes by itself."""
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(check):
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await test()

    asyncio.run(whole())


def placed(bed: Bed) -> tuple[int, int, int]:
    """Return how many mails lie in INBOX, Processed and Rejected."""
    return tuple(len(bed.mails(name)) for name in ("INBOX", "Processed", "Rejected"))  # type: ignore[return-value]  # three names


def test_mail_that_waits_is_taken_in_and_moved(
    bed: Bed, desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(TASKS, ALICE, Acquaintance.ALLOWED)
    forged = post.signed("Pay Alice.\n", to=TASKS).replace(b"Pay Alice.", b"Pay Mally.")
    bed.append([delivered(one) for one in (post.signed(to=TASKS), plain(to=TASKS), forged)])
    bed.append([delivered(b"\xff\xfe broken\r\n\r\n")])

    async def test() -> None:
        async with fetching(desk, settings(bed)) as pulse:
            await until(lambda: placed(bed) == (0, 2, 2))
            assert pulse.read().state is State.ACTIVE

    run(test)
    assert len(house.tasks(TASKS)) == 1
    assert len(house.waiting(TASKS)) == 1
    assert house.directory.journal.pending() == ()
    codes = {event["code"] for event in house.mail_events() if event["outcome"] == "rejected"}
    assert "cms-digest" in codes


def test_mail_that_arrives_is_told_by_idle(
    bed: Bed, desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(TASKS, ALICE, Acquaintance.ALLOWED)

    async def test() -> None:
        # Polling alone would take five minutes.
        async with fetching(desk, settings(bed)) as pulse:
            await until(lambda: pulse.read().state is State.ACTIVE)
            for number in range(3):
                raw = post.signed(f"{number}\n", to=TASKS)
                await asyncio.to_thread(bed.append, [delivered(raw)])
                await until(lambda n=number: len(house.tasks(TASKS)) == n + 1)  # type: ignore[misc]  # n is bound now

    run(test)


def test_server_without_idle_and_move_is_polled(house: MailHouse, post: Post) -> None:
    reason = missing_parts(postfix=False)
    if reason:
        pytest.skip(reason)
    house.know(TASKS, ALICE, Acquaintance.ALLOWED)
    desk = Desk(house, post.anchors)

    async def test(bed: Bed) -> None:
        async with fetching(desk, settings(bed, poll_seconds=0.2)) as pulse:
            await until(lambda: pulse.read().state is State.ACTIVE)
            await asyncio.to_thread(bed.append, [delivered(post.signed(to=TASKS))])
            await until(lambda: placed(bed) == (0, 1, 0))

    with running_bed(capability="IMAP4rev1 UIDPLUS LITERAL+", postfix=False) as bed:
        run(lambda: test(bed))
    assert len(house.tasks(TASKS)) == 1


def test_restarted_server_is_found_again(
    bed: Bed, desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(TASKS, ALICE, Acquaintance.ALLOWED)

    async def test() -> None:
        async with fetching(desk, settings(bed)) as pulse:
            await until(lambda: pulse.read().state is State.ACTIVE)
            await asyncio.to_thread(bed.restart_dovecot)
            await asyncio.to_thread(bed.append, [delivered(post.signed(to=TASKS))])
            await until(lambda: len(house.tasks(TASKS)) == 1)
            await until(lambda: pulse.read().state is State.ACTIVE)
            assert pulse.read().last_error

    run(test)


def test_new_uidvalidity_reads_again_and_doubles_nothing(
    bed: Bed, desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(TASKS, ALICE, Acquaintance.ALLOWED)
    raw = delivered(post.signed(to=TASKS))
    box = settings(bed, folder="Arrivals", processed="Done tasks", rejected="Zurück & weg")

    def recreate() -> int:
        with bed.open() as client:
            client.delete("Arrivals")
            client.create("Arrivals")
            client.append("Arrivals", "", "", raw)
            client.select("Arrivals")
            return int(bytes(client.response("UIDVALIDITY")[1][0]))

    async def once() -> None:
        async with fetching(desk, box):
            await until(lambda: len(bed.mails('"Done tasks"')) == 1)

    before = recreate()
    run(once)
    time.sleep(1.1)  # Dovecot's UIDVALIDITY is the second of creation
    assert recreate() != before

    async def again() -> None:
        async with fetching(desk, box):
            await until(lambda: len(bed.mails('"Done tasks"')) == 2)

    run(again)
    assert len(house.tasks(TASKS)) == 1
    assert len(house.mail_events()) == 1
    with bed.open() as client:
        for name in ("Arrivals", '"Done tasks"', f'"{modified_utf7("Zurück & weg")}"'):
            assert client.delete(name)[0] == "OK"


def test_mail_left_by_a_crash_after_the_commit_is_only_moved(
    bed: Bed, desk: Desk, house: MailHouse, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.know(TASKS, ALICE, Acquaintance.ALLOWED)
    bed.append([delivered(post.signed(to=TASKS))])

    async def broken() -> None:
        async def no_move(*_: object) -> None:
            raise Unavailable("imap", "the connection is lost", retry=True)

        with monkeypatch.context() as patch:
            patch.setattr(Mailbox, "move", no_move)
            async with fetching(desk, settings(bed)) as pulse:
                await until(lambda: pulse.read().state is State.DEGRADED)

    async def repaired() -> None:
        async def no_fetch(*_: object) -> dict[int, bytes]:
            raise AssertionError("the journal knows this mail")

        with monkeypatch.context() as patch:
            patch.setattr(Mailbox, "fetch", no_fetch)
            async with fetching(desk, settings(bed)):
                await until(lambda: placed(bed) == (0, 1, 0))

    run(broken)
    assert placed(bed) == (1, 0, 0)
    run(repaired)
    assert len(house.tasks(TASKS)) == 1


def test_move_that_was_not_noted_is_noted_on_the_next_connection(
    bed: Bed, desk: Desk, house: MailHouse, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.know(TASKS, ALICE, Acquaintance.ALLOWED)
    bed.append([delivered(post.signed(to=TASKS))])

    async def crashed() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Fetcher, "_moved", lambda *_: None)
            async with fetching(desk, settings(bed)):
                await until(lambda: placed(bed) == (0, 1, 0))

    async def later() -> None:
        async with fetching(desk, settings(bed)):
            await until(lambda: house.directory.journal.pending() == ())

    run(crashed)
    assert len(house.directory.journal.pending()) == 1
    run(later)


def test_mail_over_the_limit_is_set_aside_without_being_fetched(
    bed: Bed, desk: Desk, house: MailHouse
) -> None:
    large = delivered(plain(to=TASKS) + b"x" * 76 + b"\r\n" * 1)
    large += (b"x" * 998 + b"\r\n") * 26_500
    bed.append([large])

    async def test() -> None:
        async with fetching(desk, settings(bed)):
            await until(lambda: placed(bed) == (0, 0, 1), 20)

    run(test)
    [event] = house.mail_events()
    assert (event["outcome"], event["code"]) == ("rejected", "too-large")


def test_mail_of_nobody_here_is_set_aside(bed: Bed, desk: Desk, house: MailHouse) -> None:
    bed.append([delivered(plain(), to="nobody@home.example")])

    async def test() -> None:
        async with fetching(desk, settings(bed)):
            await until(lambda: placed(bed) == (0, 0, 1))

    run(test)
    assert house.mail_events()[0]["code"] == "unknown-recipient"


def test_mail_waits_in_the_mailbox_while_the_worker_is_busy(
    bed: Bed, desk: Desk, house: MailHouse, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.know(TASKS, ALICE, Acquaintance.ALLOWED)
    monkeypatch.setattr("bridge.mail.fetcher._RETRY_SECONDS", 0.2)
    bed.append([delivered(post.signed(to=TASKS))])
    house.fail_submit = Unavailable("queue-full", "the gateway is busy", retry=True)

    async def test() -> None:
        async with fetching(desk, settings(bed)):
            await until(lambda: len(house.mail_events()) >= 2)
            assert placed(bed) == (1, 0, 0)
            house.fail_submit = None
            await until(lambda: placed(bed) == (0, 1, 0))

    run(test)
    assert len(house.tasks(TASKS)) == 1


def test_delivered_to_decides_whose_task_it_is(
    bed: Bed, desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    bed.append([delivered(post.signed(to=BOB), to=BOB)])

    async def test() -> None:
        async with fetching(desk, settings(bed)):
            await until(lambda: placed(bed) == (0, 1, 0))

    run(test)
    assert len(house.tasks(BOB)) == 1
    assert house.index.project(ProjectId(TASKS)) is not None
    assert house.tasks(TASKS) == []


def test_wrong_password_degrades_the_connector_and_says_why(bed: Bed, desk: Desk) -> None:
    async def test() -> None:
        async with fetching(desk, settings(bed, password="wrong")) as pulse:  # noqa: S106 - it is wrong
            await until(lambda: pulse.read().state is State.DEGRADED)
            assert "LOGIN" in pulse.read().last_error

    run(test)


def test_many_mails_come_in_batches(bed: Bed, desk: Desk, house: MailHouse) -> None:
    house.directory.people.get(TASKS)
    bed.append([delivered(plain(f"{number}\n", to=TASKS)) for number in range(60)])

    async def test() -> None:
        async with fetching(desk, settings(bed)):
            # 20 is the cap on one stranger; the others are set aside with that reason.
            await until(lambda: placed(bed) == (0, 20, 40))

    run(test)
    assert len(house.waiting(TASKS)) == 20


# -- pieces ------------------------------------------------------------------------------


def test_password_is_never_sent_in_the_clear_over_a_network() -> None:
    with pytest.raises(Misconfigured):
        MailboxSettings(host="mail.example", user="a", password="b", tls=False)  # noqa: S106 - an example


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and says nothing, ever."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_silent_server_ends_the_wait(silent_port: int) -> None:
    async def test() -> None:
        box = MailboxSettings(
            host="127.0.0.1",
            port=silent_port,
            tls=False,
            user="a",
            password="b",  # noqa: S106 - an example
            timeout_seconds=0.3,
        )
        with pytest.raises(Unavailable):
            await Mailbox.open(box)

    run(test)


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("INBOX", "INBOX"),
        ("Zurück", "Zur&APw-ck"),
        ("a & b", "a &- b"),
        ("台北", "&U,BTFw-"),
        ("~peter/mail/日本語", "~peter/mail/&ZeVnLIqe-"),
    ],
)
def test_mailbox_names_go_out_in_modified_utf7(name: str, wire: str) -> None:
    assert modified_utf7(name) == wire
