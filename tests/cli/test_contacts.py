"""contact and request: whom users know, and what others ask of them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from bridge.model.ids import Address
from bridge.store.directory_records import Standing
from bridge.trust.anchors import fingerprint_of
from bridge.trust.testca import issue_certificate, make_test_ca
from bridge.worker.command import Receipt, ReceiveRequest

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Terminal

CAROL = Address("carol@far.example")
NOW = datetime.now(UTC)  # noqa: TID251 - the program under test looks at the same clock
KEY = "sha256:" + "a" * 64


def certificate(directory: Path, address: str = CAROL, days: int = 30) -> Path:
    """Return a file with a certificate of `address` that ends in so many days."""
    start, end = NOW - timedelta(days=60), NOW + timedelta(days=days)
    authority = make_test_ca("Test", serial=1, not_before=start, not_after=end)
    issued = issue_certificate(
        Address(address), authority, serial=2, not_before=start, not_after=end
    )
    file = directory / "carol.pem"
    file.write_bytes(issued.certificate_pem)
    return file


def standing(terminal: Terminal, sender: str = CAROL, fingerprint: str = "") -> Standing:
    with terminal.running() as running:
        contacts = running.gateway.directory.contacts
        return contacts.standing(Address(terminal.alice), Address(sender), fingerprint)


def receive(terminal: Terminal, number: int, sender: str = CAROL, **more: str) -> str:
    """Put a request into Alice's quarantine as the mail door does; return its id."""
    identity = uuid.UUID(int=(number + 0xABCD0000) << 96 | 1)
    with terminal.running() as running:
        command = ReceiveRequest(
            id=identity,
            recipient=Address(terminal.alice),
            sender=Address(sender),
            level="P" if more.get("fingerprint") else "N",
            method="smime" if more.get("fingerprint") else "",
            fingerprint=more.get("fingerprint", ""),
            keys={"description": more.get("title", "Please do"), "due": "2026-12-01"},
        )
        assert isinstance(running.gateway.submit(command).result(10), Receipt)
    return str(identity)


# -- contacts ----------------------------------------------------------------------------


def test_a_contact_may_assign_directly(terminal: Terminal) -> None:
    terminal.ok("contact", "add", terminal.alice, CAROL, "--name", "Carol")
    assert standing(terminal) is Standing.ALLOWED
    assert standing(terminal, "other@far.example") is Standing.UNKNOWN
    (held,) = terminal.json("contact", "list", terminal.alice)["contacts"]
    assert (held["address"], held["name"], held["standing"]) == (CAROL, "Carol", "allowed")
    terminal.ok("contact", "add", terminal.alice, CAROL, "--known")
    assert standing(terminal) is Standing.KNOWN


def test_a_certificate_is_pinned(terminal: Terminal) -> None:
    file = certificate(terminal.directory)
    terminal.ok("contact", "add", terminal.alice, CAROL, "--certificate", file)
    pinned = fingerprint_of(file.read_bytes())
    (held,) = terminal.json("contact", "list", terminal.alice)["contacts"]
    assert held["pins"] == [{"kind": "smime", "fingerprint": pinned}]
    assert standing(terminal, fingerprint=pinned) is Standing.ALLOWED
    assert standing(terminal, fingerprint=KEY) is Standing.UNKNOWN


def test_a_certificate_of_somebody_else_is_refused(terminal: Terminal) -> None:
    file = certificate(terminal.directory, "mallory@evil.example")
    said = terminal.refused("contact", "add", terminal.alice, CAROL, "--certificate", file)
    assert "is for mallory@evil.example, not carol@far.example" in said
    assert terminal.json("contact", "list", terminal.alice)["contacts"] == []


def test_an_expired_certificate_is_refused(terminal: Terminal) -> None:
    file = certificate(terminal.directory, days=-1)
    said = terminal.refused("contact", "add", terminal.alice, CAROL, "--certificate", file)
    assert "ended on" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a certificate in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a certificate"),
        (b"\x30\x82" * 100, "not a certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n", "holds a private key"),
    ],
)
def test_what_is_no_certificate_is_refused(terminal: Terminal, content: bytes, said: str) -> None:
    file = terminal.directory / "x.pem"
    file.write_bytes(content)
    assert said in terminal.refused("contact", "add", terminal.alice, CAROL, "--certificate", file)
    assert (
        "no such file"
        in terminal.refused(
            "contact", "add", terminal.alice, CAROL, "--certificate", "/none.pem"
        ).lower()
    )


def test_a_contact_can_be_forgotten(terminal: Terminal) -> None:
    terminal.ok("contact", "add", terminal.alice, CAROL)
    terminal.ok("contact", "remove", terminal.alice, CAROL)
    assert standing(terminal) is Standing.UNKNOWN
    assert "is not a contact" in terminal.refused("contact", "remove", terminal.alice, CAROL)


def test_senders_are_shut_out_by_address_domain_or_key(terminal: Terminal) -> None:
    terminal.ok("contact", "block", terminal.alice, "mallory@evil.example")
    terminal.ok("contact", "ignore", terminal.alice, "Spam.Example")
    terminal.ok("contact", "block", terminal.alice, KEY)
    assert standing(terminal, "mallory@evil.example") is Standing.BLOCKED
    assert standing(terminal, "x@sub.spam.example") is Standing.IGNORED
    assert standing(terminal, fingerprint=KEY) is Standing.BLOCKED
    assert {one["kind"] for one in terminal.json("contact", "list", terminal.alice)["lists"]} == {
        "address",
        "domain",
        "key",
    }
    terminal.ok("contact", "unblock", terminal.alice, "mallory@evil.example")
    assert standing(terminal, "mallory@evil.example") is Standing.UNKNOWN
    assert "is on no list" in terminal.refused("contact", "unblock", terminal.alice, CAROL)
    assert "not a domain" in terminal.refused("contact", "block", terminal.alice, "a b")


def test_adding_a_blocked_contact_takes_the_block_away(terminal: Terminal) -> None:
    terminal.ok("contact", "block", terminal.alice, CAROL)
    result = terminal.run("contact", "add", terminal.alice, CAROL)
    assert "no longer on the block list" in result.stderr
    assert standing(terminal) is Standing.ALLOWED


def test_contacts_of_nobody_are_refused(terminal: Terminal) -> None:
    for command in ("list", "add", "remove", "block", "ignore", "unblock"):
        more = [] if command == "list" else [CAROL]
        said = terminal.refused("contact", command, "nobody@home.example", *more)
        assert "there is no user nobody@home.example" in said


# -- requests ----------------------------------------------------------------------------


def test_a_request_is_shown_and_accepted(terminal: Terminal) -> None:
    identity = receive(terminal, 1, title="Check the figures")
    (waiting,) = terminal.json("request", "list", terminal.alice)
    assert (waiting["request"], waiting["sender"]) == (identity, CAROL)
    assert terminal.json("request", "list", terminal.bob) == []
    assert "Check the figures" in terminal.ok("request", "list")
    assert "Check the figures" in terminal.ok("request", "show", identity[:8])
    task = terminal.ok("request", "accept", identity[:8])
    keys = terminal.json("task", "show", task)["keys"]
    assert (keys["description"], keys["requester"]) == ("Check the figures", CAROL)
    assert terminal.json("request", "list") == []
    (ended,) = terminal.json("request", "list", terminal.alice, "--all")
    assert (ended["state"], ended["task"]) == ("accepted", task)
    assert terminal.json("log", task)[0]["cause"]["rfa"] == identity


def test_a_request_is_accepted_into_a_project(terminal: Terminal) -> None:
    project = terminal.team()
    task = terminal.ok("request", "accept", receive(terminal, 1), "--project", "Team")
    assert task.endswith(project)


def test_a_request_is_declined_with_a_reason(terminal: Terminal) -> None:
    identity = receive(terminal, 1)
    terminal.ok("request", "decline", identity, "--reason", "no time")
    shown = terminal.json("request", "show", identity)
    assert (shown["state"], shown["reason"]) == ("declined", "no time")
    assert "the request is declined" in terminal.refused("request", "accept", identity)


def test_a_request_is_ignored_silently(terminal: Terminal) -> None:
    identity = receive(terminal, 1)
    terminal.ok("request", "ignore", identity)
    assert terminal.json("request", "show", identity)["state"] == "ignored"
    assert standing(terminal) is Standing.UNKNOWN


@pytest.mark.parametrize(
    ("flag", "sender", "fingerprint"),
    [((), CAROL, ""), (("--domain",), "dave@far.example", ""), (("--key",), "x@y.example", KEY)],
)
def test_a_sender_is_blocked_with_a_request(
    terminal: Terminal, flag: tuple[str, ...], sender: str, fingerprint: str
) -> None:
    identity = receive(terminal, 1, fingerprint=fingerprint)
    terminal.ok("request", "block", identity, *flag)
    assert standing(terminal, sender, fingerprint) is Standing.BLOCKED
    assert terminal.json("request", "list") == []


def test_an_unsigned_request_has_no_key_to_block(terminal: Terminal) -> None:
    assert "was not signed" in terminal.refused("request", "block", receive(terminal, 1), "--key")


def test_requests_that_are_not_there_are_refused(terminal: Terminal) -> None:
    first, second = receive(terminal, 1), receive(terminal, 2, "dave@far.example")
    assert "2 requests match" in terminal.refused("request", "accept", first[:4])
    assert "there is no request" in terminal.refused("request", "accept", "ffff")
    assert "there is no request" in terminal.refused("request", "accept", str(uuid.UUID(int=9)))
    assert "there is no request" in terminal.refused(
        "request", "show", second, "--as", terminal.bob
    )
    assert "there is no request" in terminal.refused("request", "show", "../x")


def test_texts_of_strangers_cannot_move_the_cursor(terminal: Terminal) -> None:
    receive(terminal, 1, title="\x1b]0;pwned\x07 \u202egnol \x9b2J end")
    for words in (["request", "list"], ["request", "show", "abcd0001"]):
        said = terminal.ok(*words)
        assert "pwned" in said
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(said)
