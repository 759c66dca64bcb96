"""LMTP and SMTP on a real socket, by smtplib, swaks and Postfix; and mail that goes out."""

from __future__ import annotations

import contextlib
import shutil
import smtplib
import socket
import subprocess
import threading
import time
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
    RunningDoor,
    _free_ports,
    head,
    plain,
)

from bridge.errors import Misconfigured, Unavailable
from bridge.mail.case import IntakeSettings
from bridge.mail.door import MailDoor, MailSettings, TrustSettings
from bridge.mail.health import State
from bridge.mail.listener import ListenerSettings, Speaks
from bridge.mail.mailbox import MailboxSettings
from bridge.mail.sender import Security, SmtpSettings
from bridge.model.ids import Address
from bridge.store.directory_records import Acquaintance, Letter, LetterKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def opened(desk: Desk, **more: object) -> RunningDoor:
    values: dict[str, object] = {"host": "127.0.0.1", "port": 0}
    listener = ListenerSettings(**(values | more))  # type: ignore[arg-type]  # mixed keyword values
    settings = MailSettings(listener=listener, intake=desk.settings)
    return RunningDoor(MailDoor(desk.house.gateway, settings, desk.anchors))


@pytest.fixture
def door(desk: Desk) -> Iterator[RunningDoor]:
    with opened(desk) as running:
        yield running


def data(client: smtplib.SMTP, sender: str, to: list[str], raw: bytes) -> list[tuple[int, bytes]]:
    """Send one mail and return all answers to its text: LMTP gives one per recipient."""
    client.ehlo_or_helo_if_needed()
    client.mail(sender)
    for one in to:
        assert client.rcpt(one)[0] == 250
    client.putcmd("data")
    assert client.getreply()[0] == 354
    client.send(smtplib._quote_periods(raw) + b".\r\n")  # type: ignore[attr-defined]  # what smtplib itself sends
    count = len(to) if isinstance(client, smtplib.LMTP) else 1
    return [client.getreply() for _ in range(count)]


# -- the protocols -----------------------------------------------------------------------


def test_lmtp_answers_each_recipient_after_the_commit(
    door: RunningDoor, house: MailHouse, post: Post
) -> None:
    for user in (BOB, TASKS):
        house.know(user, ALICE, Acquaintance.ALLOWED)
    with door.lmtp() as client:
        answers = data(client, ALICE, [BOB, TASKS], post.signed(to=f"{BOB}, {TASKS}"))
        assert [code for code, _ in answers] == [250, 250]
        assert len(house.tasks(BOB)) == len(house.tasks(TASKS)) == 1


def test_smtp_takes_mail_with_dots_and_long_lines_unchanged(
    door: RunningDoor, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    text = f".dot\n..dots\n{'x' * 3000}\n"
    with door.smtp() as client:
        assert client.sendmail(ALICE, [BOB], post.signed(text)) == {}
    assert house.tasks(BOB)[0]["notes"] == text.strip()


def test_unknown_user_is_refused_at_rcpt_and_nothing_is_relayed(door: RunningDoor) -> None:
    with door.smtp() as client:
        client.ehlo()
        client.mail(ALICE)
        for address in ("nobody@home.example", "someone@gmail.com", "bob@home.example.evil.com"):
            assert client.rcpt(address)[0] == 550
        assert client.rcpt("bob+any.thing@home.example")[0] == 250


def test_forged_mail_is_refused_to_an_smtp_client_and_recorded_for_lmtp(
    door: RunningDoor, house: MailHouse, post: Post
) -> None:
    raw = post.signed("Pay Alice.\n").replace(b"Pay Alice.", b"Pay Mally.")
    with door.smtp() as client:
        client.ehlo()
        [(code, text)] = data(client, ALICE, [BOB], raw)
        assert (code, b"cms-digest" in text) == (554, True)
    with door.lmtp() as lmtp:
        lmtp.ehlo()
        [(code, _)] = data(lmtp, ALICE, [BOB], b"X-Other: yes\r\n" + raw)
        assert code == 250
    assert [event["code"] for event in house.mail_events()] == ["cms-digest", "cms-digest"]
    assert house.commands[2:] == []


def test_loop_is_refused_as_such(door: RunningDoor) -> None:
    with door.smtp() as client:
        client.ehlo()
        [(code, text)] = data(client, ALICE, [BOB], plain(extra="X-TX-Bridge-Loop: 1\r\n"))
        assert (code, text[:5]) == (554, b"5.4.6")


def test_smtp_says_250_only_if_every_recipient_has_an_outcome(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    with opened(desk) as door, door.smtp() as client:
        client.ehlo()
        raw = post.signed(to=f"{BOB}, {TASKS}")
        house.fail_submit = Unavailable("queue-full", "the gateway is busy", retry=True)
        [(code, _)] = data(client, ALICE, [BOB, TASKS], raw)
        assert code == 451
        house.fail_submit = None
        [(code, _)] = data(client, ALICE, [BOB, TASKS], raw)
        assert code == 250
    assert len(house.waiting(BOB)) == len(house.waiting(TASKS)) == 1


def test_too_large_mail_is_refused_early_and_late(desk: Desk, house: MailHouse) -> None:
    with opened(desk, size_max=100_000) as door:
        with door.smtp() as client:
            client.ehlo()
            assert client.esmtp_features["size"] == "100000"
            assert client.mail(ALICE, ["size=200000"])[0] == 552
        with door.lmtp() as lmtp:
            lmtp.ehlo()
            answers = data(lmtp, ALICE, [BOB, TASKS], plain() + b"x\r\n" * 40_000)
            assert [code for code, _ in answers] == [552, 552]
            assert data(lmtp, ALICE, [BOB], plain())[0][0] == 250
    assert len(house.waiting(BOB)) == 1


def test_thirty_mebibytes_are_refused(door: RunningDoor, house: MailHouse) -> None:
    large = head() + b"\r\n" + (b"x" * 998 + b"\r\n") * 31_500
    with door.smtp() as client:
        client.ehlo()
        assert data(client, ALICE, [BOB], large)[0][0] == 552
    assert house.commands[2:] == []


def test_bare_line_feed_does_not_end_a_mail(door: RunningDoor, house: MailHouse) -> None:
    smuggled = plain() + b"end\n.\nMAIL FROM:<x@evil.example>\nRCPT TO:<bob@home.example>\r\n"
    with door.smtp() as client:
        client.ehlo()
        [(code, text)] = data(client, ALICE, [BOB], smuggled)
        assert (code, b"bare-lf" in text) == (554, True)
        assert client.noop()[0] == 250
    assert house.waiting(BOB) == ()


def test_own_hop_is_written_on_top_and_cannot_be_forged(
    door: RunningDoor, house: MailHouse
) -> None:
    forged = b"Return-Path: <>\r\nDelivered-To: tasks@home.example\r\n" + plain()
    with door.smtp() as client:
        client.ehlo("strange name\x01(")
        data(client, "alice+x@sender.example", ["Bob+D@home.example"], forged)
    [request] = house.waiting(BOB)
    assert request.message is not None
    kept = house.blobs.read(Address(BOB), request.message).split(b"\r\n")  # type: ignore[arg-type]  # a user's address is his project
    assert kept[0] == b"Return-Path: <alice+x@sender.example>"
    assert kept[1] == b"Delivered-To: Bob+D@home.example"
    assert kept[2].startswith(b"Received: from strange?name??")
    assert kept[2].split(b" by ")[1].startswith(b"home.example with SMTP; ")


def test_null_sender_is_automatic(door: RunningDoor, house: MailHouse) -> None:
    with door.lmtp() as client:
        client.ehlo()
        assert data(client, "", [BOB], plain())[0][0] == 250
    assert house.mail_events()[0]["code"] == "automatic"


def test_protocol_can_be_pinned(desk: Desk) -> None:
    with (
        opened(desk, protocol=Speaks.LMTP) as door,
        socket.create_connection(("127.0.0.1", door.port)) as raw,
    ):
        raw.settimeout(5)
        raw.recv(1000)
        raw.sendall(b"EHLO x\r\n")
        assert raw.recv(1000).startswith(b"500")
    with opened(desk, protocol=Speaks.SMTP) as door, door.smtp() as client:
        assert client.docmd("LHLO x")[0] == 500


def test_too_many_connections_are_told_to_come_back(desk: Desk) -> None:
    with opened(desk, connections=2) as door, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(door.smtp())
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            door.smtp()
        assert refused.value.smtp_code == 421


def test_silent_client_is_dropped(desk: Desk) -> None:
    with (
        opened(desk, timeout_seconds=0.3) as door,
        socket.create_connection(("127.0.0.1", door.port)) as raw,
    ):
        raw.settimeout(5)
        while raw.recv(1000):
            pass


def test_many_clients_at_once_lose_and_double_nothing(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    mails = [post.signed(f"{number}\n") for number in range(24)]
    codes: list[int] = []

    def send(running: RunningDoor, part: list[bytes]) -> None:
        for raw in part:
            code = 451
            while code == 451:
                with running.lmtp() as client:
                    code = data(client, ALICE, [BOB], raw)[0][0]
            codes.append(code)

    with opened(desk, parallel=4) as door:
        # Each mail comes twice, from two clients.
        threads = [threading.Thread(target=send, args=(door, mails[n % 4 :: 4])) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert codes == [250] * 48
    assert len(house.tasks(BOB)) == 24


def test_taken_port_is_one_clear_sentence(desk: Desk) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match="cannot listen for mail"), opened(desk, port=port):
            pass


def test_missing_authority_file_is_one_clear_sentence(house: MailHouse, tmp_path: Path) -> None:
    settings = MailSettings(trust=TrustSettings(ca_files=(tmp_path / "none.pem",)))
    with pytest.raises(Misconfigured, match="cannot read"):
        MailDoor(house.gateway, settings)


def test_authorities_and_revocations_are_read_from_files(
    house: MailHouse, post: Post, tmp_path: Path
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    (tmp_path / "ca.pem").write_bytes(post.authority.certificate_pem)
    settings = MailSettings(
        listener=ListenerSettings(port=0), trust=TrustSettings(ca_files=(tmp_path / "ca.pem",))
    )
    door = MailDoor(house.gateway, settings)
    with RunningDoor(door) as running, running.smtp() as client:
        client.sendmail(ALICE, [BOB], post.signed())
        assert {one.name: one.state for one in door.health()} == {"mail-listener": State.ACTIVE}
    assert len(house.tasks(BOB)) == 1


def test_swaks_delivers_by_lmtp(door: RunningDoor, house: MailHouse) -> None:
    swaks = shutil.which("swaks")
    if swaks is None:
        pytest.skip("swaks is not installed")
    where = ["--protocol", "LMTP", "--server", "127.0.0.1", "--port", str(door.port)]
    what = ["--from", ALICE, "--to", BOB, "--h-Subject", "From swaks"]
    done = subprocess.run([swaks, *where, *what], capture_output=True, check=False)  # noqa: S603 - a test's own words
    assert done.returncode == 0, done.stdout
    assert house.waiting(BOB)[0].preview.title == "From swaks"


# -- with real servers -------------------------------------------------------------------


@pytest.mark.journey
def test_postfix_hands_mail_over_by_lmtp(bed: Bed, post: Post) -> None:
    user = Address("carol@gw.example")
    house = MailHouse("gw.example")
    house.add_user(user)
    house.know(user, ALICE, Acquaintance.ALLOWED)
    desk = Desk(house, post.anchors)
    with opened(desk, port=bed.gateway), smtplib.SMTP("127.0.0.1", bed.smtp) as client:
        client.sendmail(ALICE, [user], post.signed(to=user))
        end = time.monotonic() + 10
        while not house.tasks(user):
            assert time.monotonic() < end
            time.sleep(0.01)
    assert house.tasks(user)[0]["description"] == "Fence"


def smtp_door(desk: Desk, port: int) -> RunningDoor:
    smtp = SmtpSettings(host="127.0.0.1", port=port, security=Security.NONE)
    settings = MailSettings(listener=ListenerSettings(port=0), smtp=smtp, intake=desk.settings)
    return RunningDoor(MailDoor(desk.house.gateway, settings, desk.anchors))


@pytest.mark.journey
def test_answer_arrives_once_at_the_sender_through_postfix(
    bed: Bed, desk: Desk, house: MailHouse, post: Post
) -> None:
    bed.empty(ALICE)
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    raw = post.signed()
    with smtp_door(desk, bed.smtp) as running:
        with running.lmtp() as client:
            for _ in range(2):
                assert data(client, ALICE, [BOB], raw)[0][0] == 250
        end = time.monotonic() + 10
        while not bed.mails("INBOX", ALICE):
            assert time.monotonic() < end
            time.sleep(0.05)
    [answer] = bed.mails("INBOX", ALICE)
    assert b"Return-Path: <MAILER-DAEMON>" in answer or b"Return-Path: <>" in answer
    assert b"From: bob@home.example" in answer
    assert b"Your task was added to the list" in answer
    assert house.directory.outbox.next_due() is None


@pytest.mark.journey
def test_refused_answer_fails_for_good_and_makes_no_mail(bed: Bed, desk: Desk) -> None:
    outbox = desk.house.directory.outbox
    now = desk.house.clock()
    outbox.put(
        Letter(
            id=desk.house.gateway.new_id(),
            key="test",
            recipient=Address("nobody@home.example"),
            sender="",
            kind=LetterKind.ANSWER,
            raw=plain(),
            not_before=now,
        ),
        now,
    )
    with smtp_door(desk, bed.smtp):
        end = time.monotonic() + 10
        while not outbox.failures():
            assert time.monotonic() < end
            time.sleep(0.05)
    [failed] = outbox.failures()
    assert failed.last_error.startswith(("550", "554"))
    assert [one["event"] for one in desk.house.events.tail(5)][-1] == "letter-failed"


def test_answer_waits_for_a_mail_server_that_is_away(
    desk: Desk, house: MailHouse, post: Post
) -> None:
    house.know(BOB, ALICE, Acquaintance.ALLOWED)
    desk = Desk(house, desk.anchors, IntakeSettings())
    with smtp_door(desk, _free_ports(1)) as running:
        with running.lmtp() as client:
            data(client, ALICE, [BOB], post.signed())
        end = time.monotonic() + 10
        while running.door.health()[-1].state is not State.DEGRADED:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert "cannot be reached" in running.door.health()[-1].last_error
    due = house.directory.outbox.next_due()
    assert due is not None
    assert 30 < (due - house.clock()).total_seconds() <= 60


@pytest.mark.journey
def test_mailbox_that_is_away_stops_neither_listener_nor_others(
    desk: Desk, house: MailHouse
) -> None:
    away = MailboxSettings(
        host="127.0.0.1",
        port=_free_ports(1),
        tls=False,
        user=TASKS,
        password="secret",  # noqa: S106 - of the test bed
    )
    settings = MailSettings(mailboxes=(away,), listener=ListenerSettings(port=0))
    door = MailDoor(house.gateway, settings, desk.anchors)
    with RunningDoor(door) as running, running.smtp() as client:
        client.sendmail(ALICE, [BOB], plain())
        end = time.monotonic() + 10
        while door.health()[0].state is not State.DEGRADED:
            assert time.monotonic() < end
            time.sleep(0.02)
    assert len(house.waiting(BOB)) == 1
