"""The main job: a signed mail becomes a task in a calendar client, and every step is history.

Postfix takes the mail, Dovecot keeps it, IDLE tells the gateway; or Postfix hands it over by
LMTP. Answers go back through Postfix into the sender's mailbox. Signatures are openssl's.
"""

from __future__ import annotations

import hashlib
import re
import smtplib
import subprocess
from base64 import encodebytes, urlsafe_b64decode
from email import message_from_bytes
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from caldav.davclient import DAVClient
from journeys.gatewaykit import ALICE, BOB, Gateway, until
from mailkit import MALLORY, head, plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path

    from mailkit import Bed, Post

pytestmark = pytest.mark.journey

EVE = "eve@gw.example"
DRAWING = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
ENTITY = (
    b'Content-Type: multipart/mixed; boundary="b1"\r\n\r\n'
    b"--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    b"Please use the green one.\r\nDue before winter, \xc3\xa4h.\r\n"
    b'--b1\r\nContent-Type: image/png; name="fence.png"\r\n'
    b'Content-Disposition: attachment; filename="fence.png"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\n"
    + encodebytes(DRAWING).replace(b"\n", b"\r\n")
    + b"--b1--\r\n"
)


@pytest.fixture(scope="module")
def office(
    tmp_path_factory: pytest.TempPathFactory, session_bed: Bed, post: Post
) -> Iterator[Gateway]:
    """Return the gateway of home.example, which fetches Bob's mailbox by IMAP."""
    for user in (BOB, ALICE):
        session_bed.empty(user)
    gateway = Gateway(tmp_path_factory.mktemp("office"))
    gateway.add_user(BOB)
    gateway.trust(post)
    gateway.fetch_from(session_bed, BOB)
    with gateway.serving():
        gateway.run("contact", "add", BOB, ALICE)
        yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def relay(
    tmp_path_factory: pytest.TempPathFactory, session_bed: Bed, post: Post
) -> Iterator[Gateway]:
    """Return the gateway of gw.example, to which Postfix hands mail by LMTP."""
    gateway = Gateway(tmp_path_factory.mktemp("relay"), domain="gw.example")
    gateway.mail_port = session_bed.gateway
    gateway.add_user(EVE)
    gateway.trust(post)
    gateway.send_over(session_bed)
    gateway.run("contact", "add", EVE, ALICE)
    with gateway.serving():
        yield gateway
    gateway.close()


# -- senders -----------------------------------------------------------------------------


def send(bed: Bed, raw: bytes, to: str = BOB, sender: str = ALICE) -> None:
    with smtplib.SMTP("127.0.0.1", bed.smtp, timeout=30) as client:
        client.sendmail(sender, [to], raw)


def smime_signed(post: Post, folder: Path, entity: bytes, **fields: str) -> bytes:
    """Return a mail signed by ``openssl smime``, the older of the two commands."""
    key = post.certificate(ALICE)
    (folder / "cert.pem").write_bytes(key.certificate_pem)
    (folder / "key.pem").write_bytes(key.key_pem)
    (folder / "entity").write_bytes(entity)
    command = ["openssl", "smime", "-sign", "-binary", "-crlfeol", "-md", "sha256"]
    command += ["-in", "entity", "-signer", "cert.pem", "-inkey", "key.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True)  # noqa: S603 - openssl
    body = done.stdout.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return head(**fields) + body


def id_of(raw: bytes) -> str:
    found = re.search(rb"^Message-ID: (<[^>]+>)", raw, re.MULTILINE)
    assert found is not None
    return found[1].decode()


def renamed(raw: bytes) -> bytes:
    """Return the same mail under another Message-ID."""
    return raw.replace(b"Message-ID: <", b"Message-ID: <again-", 1)


def answers_to(bed: Bed, raw: bytes) -> list[Message]:
    """Return what lies in the sender's mailbox as an answer to `raw`."""
    inbox = [message_from_bytes(one) for one in bed.mails("INBOX", ALICE)]
    return [one for one in inbox if one["In-Reply-To"] == id_of(raw)]


def lies_in(bed: Bed, folder: str, raw: bytes) -> bool:
    return any(id_of(raw).encode() in one for one in bed.mails(folder, BOB))


# -- a calendar client -------------------------------------------------------------------


def client_of(gateway: Gateway, user: str) -> DAVClient:
    url = f"http://127.0.0.1:{gateway.port}/"
    return DAVClient(url=url, username=user, password=gateway.passwords[user])


def list_of(gateway: Gateway, user: str, segment: str) -> Any:
    client: Any = client_of(gateway, user)  # only half of the library has types
    lists = client.principal().calendars()
    (found,) = [one for one in lists if str(one.url).rstrip("/").endswith(f"/{segment}")]
    return found


def titled(tasks: Any, title: str) -> list[Any]:
    every = tasks.todos(include_completed=True)
    return [one for one in every if str(one.icalendar_component["SUMMARY"]) == title]


# -- the journey -------------------------------------------------------------------------


def test_a_signed_mail_becomes_a_task_that_clients_edit_and_history_explains(
    office: Gateway, session_bed: Bed, post: Post, tmp_path: Path
) -> None:
    bed = session_bed
    raw = smime_signed(post, tmp_path, ENTITY, subject="Paint the fence")
    (tmp_path / "mail").write_bytes(raw)
    swaks = ["swaks", "--server", f"127.0.0.1:{bed.smtp}", "--from", ALICE, "--to", BOB]
    subprocess.run(  # noqa: S603 - the words are ours
        [*swaks, "--data", f"@{tmp_path / 'mail'}", "--suppress-data"],
        capture_output=True,
        check=True,
        timeout=30,
    )

    personal = list_of(office, BOB, "personal")
    until(lambda: len(titled(personal, "Paint the fence")) == 1, "the task is in the list")
    until(lambda: lies_in(bed, "Processed", raw), "the mail is filed")
    (todo,) = titled(personal, "Paint the fence")
    notes = str(todo.icalendar_component["DESCRIPTION"])
    assert "Please use the green one." in notes
    assert "Due before winter, äh." in notes
    (made,) = [one for one in office.told() if one["title"] == "Paint the fence"]
    keys = office.json("task", "show", made["task"])["keys"]
    attached = [key for key in keys if key.startswith("attach_")]
    assert [len(key) for key in attached] == [len("attach_") + 64]
    assert '"fence.png"' in keys[attached[0]]
    # RFC 6920: the same digest, as clients see it.
    scheme, _, digest = str(todo.icalendar_component["ATTACH"]).rpartition(";")
    assert scheme == "ni:///sha-256"
    assert urlsafe_b64decode(digest + "=").hex() == attached[0].removeprefix("attach_")
    assert urlsafe_b64decode(digest + "=") == hashlib.sha256(DRAWING).digest()

    todo.icalendar_component["SUMMARY"] = "Paint the fence twice"
    todo.save()
    todo.load()
    todo.complete()
    assert titled(personal, "Paint the fence") == []

    first, edit, done = [one for one in office.told() if one["task"] == made["task"]]
    assert (first["via"], first["author"], first["created"]) == ("mail", BOB, True)
    (proof,) = first["evidence"]
    assert (proof["kind"], proof["signer"]) == ("smime", ALICE)
    assert (edit["via"], edit["author"]) == ("caldav", BOB)
    assert (done["via"], done["author"]) == ("caldav", BOB)
    assert {"key": "description", "old": "Paint the fence", "new": "Paint the fence twice"} in edit[
        "changes"
    ]
    assert "completed" in {one["new"] for one in done["changes"] if one["key"] == "status"}

    office.run("revert", edit["patch"])
    (again,) = titled(personal, "Paint the fence")
    assert str(again.icalendar_component["STATUS"]) == "COMPLETED"
    taken_back = office.told()[-1]
    assert taken_back["reverts"] == edit["patch"]
    office.check()

    until(lambda: bool(answers_to(bed, raw)), "an acknowledgement has come")
    (answer,) = answers_to(bed, raw)
    assert answer["Auto-Submitted"] == "auto-replied"
    assert "Paint the fence" in answer.get_payload(decode=True).decode()  # type: ignore[union-attr]  # a text part
    assert not lies_in(bed, "INBOX", raw)


def test_the_same_signed_mail_under_another_id_makes_nothing(
    office: Gateway, session_bed: Bed, post: Post
) -> None:
    bed = session_bed
    raw = post.signed("Once only.\n", subject="Replayed")
    send(bed, raw)
    until(lambda: lies_in(bed, "Processed", raw), "the first one is filed")
    until(lambda: bool(answers_to(bed, raw)), "an acknowledgement has come")
    send(bed, renamed(raw))
    until(lambda: lies_in(bed, "Processed", renamed(raw)), "the second one is filed")
    assert [one["created"] for one in office.told() if one["title"] == "Replayed"] == [True]
    assert ("replay", "replay") in office.mail_outcomes()
    assert office.json("request", "list", BOB) == []
    assert len(answers_to(bed, raw)) == 1
    assert answers_to(bed, renamed(raw)) == []


def test_a_tampered_mail_is_set_aside_with_its_reason_and_never_answered(
    office: Gateway, session_bed: Bed, post: Post
) -> None:
    bed = session_bed
    signed = post.signed("Pay Alice 10 euro.\n", subject="Forged")
    raw = signed.replace(b"10 euro", b"99 euro")
    assert raw != signed
    seq = len(office.told())
    send(bed, raw)
    until(lambda: lies_in(bed, "Rejected", raw), "the mail is set aside")
    (event,) = [one for one in office.events("mail") if one.get("code") == "cms-digest"]
    assert event["outcome"] == "rejected"
    assert event["reason"]
    assert len(office.told()) == seq
    assert office.json("request", "list", BOB) == []
    # A mail that comes later has its answer: this one had time enough for one.
    later = post.signed("After it.\n", subject="Later")
    send(bed, later)
    until(lambda: bool(answers_to(bed, later)), "a later mail is answered")
    assert answers_to(bed, raw) == []


def test_a_mail_of_a_stranger_waits_as_a_request_until_it_is_moved_into_a_list(
    office: Gateway, session_bed: Bed
) -> None:
    bed = session_bed
    raw = plain("You do not know me.\n", sender=MALLORY, subject="Buy my fence")
    send(bed, raw, sender=MALLORY)
    until(lambda: lies_in(bed, "Processed", raw), "the mail is filed")
    requests, personal = list_of(office, BOB, "requests"), list_of(office, BOB, "personal")
    (todo,) = requests.todos()
    assert "Buy my fence" in str(todo.icalendar_component["SUMMARY"])
    assert titled(personal, "Buy my fence") == []
    assert [one["sender"] for one in office.json("request", "list", BOB)] == [MALLORY]

    home = f"/dav/{quote(BOB, safe='')}"
    reply = client_of(office, BOB).request(
        str(todo.url), "MOVE", headers={"Destination": f"{home}/personal/fence-offer.ics"}
    )
    assert reply.status == 201
    assert requests.todos() == []
    (task,) = titled(personal, "Buy my fence")
    assert str(task.url).endswith("/personal/fence-offer.ics")
    (accepted,) = [one for one in office.told() if one["title"] == "Buy my fence"]
    assert (accepted["author"], accepted["via"]) == (BOB, "caldav")
    assert accepted["cause"]["rfa"]
    assert office.json("request", "list", BOB) == []
    office.check()


def test_postfix_hands_a_mail_over_by_lmtp_and_its_sender_is_answered_once(
    relay: Gateway, session_bed: Bed, post: Post
) -> None:
    bed = session_bed
    raw = post.signed("By the short way.\n", to=EVE, subject="Short way", opaque=True)
    # Postfix hands these over at the same time, on connections of their own.
    send(bed, raw, to=EVE)
    send(bed, raw, to=EVE)
    send(bed, renamed(raw), to=EVE)
    forged = post.signed("Trust me.\n", to=EVE, subject="Short forgery")
    send(bed, forged.replace(b"Trust me.", b"Trust it."), to=EVE)
    send(bed, plain("Hello.\n", to=EVE, sender=MALLORY, subject="Hello"), to=EVE, sender=MALLORY)
    until(lambda: ("rejected", "cms-digest") in relay.mail_outcomes(), "the forgery is seen")
    until(lambda: ("taken", "unsigned") in relay.mail_outcomes(), "the stranger is heard")
    until(lambda: ("taken", "allowed") in relay.mail_outcomes(), "the mail is taken in")
    send(bed, renamed(renamed(raw)), to=EVE)
    until(lambda: ("replay", "replay") in relay.mail_outcomes(), "the replay is seen")
    personal = list_of(relay, EVE, "personal")
    assert len(titled(personal, "Short way")) == 1
    assert titled(personal, "Short forgery") == []
    (made,) = [one for one in relay.told(EVE) if one["title"] == "Short way"]
    assert (made["via"], made["evidence"][0]["signer"]) == ("mail", ALICE)
    assert [one["sender"] for one in relay.json("request", "list", EVE)] == [MALLORY]
    assert len(list_of(relay, EVE, "requests").todos()) == 1

    def answers() -> list[Message]:
        # Any of the copies may have been the first.
        return [*answers_to(bed, raw), *answers_to(bed, renamed(raw))]

    until(lambda: bool(answers()), "the sender is answered")
    later = post.signed("After it.\n", to=EVE, subject="Later way")
    send(bed, later, to=EVE)
    until(lambda: bool(answers_to(bed, later)), "a later mail is answered")
    assert len(answers()) == 1
    assert answers_to(bed, renamed(renamed(raw))) == []
    relay.check()


def test_an_address_of_nobody_is_refused_to_the_sending_server(
    relay: Gateway, session_bed: Bed, post: Post
) -> None:
    raw = post.signed("Anybody there?\n", to="nobody@gw.example", subject="Nobody")
    send(session_bed, raw, to="nobody@gw.example")

    def bounced() -> bool:
        inbox = session_bed.mails("INBOX", ALICE)
        return any(b"5.1.1" in one and b"nobody@gw.example" in one for one in inbox)

    until(bounced, "Postfix returns the mail")
    assert all(one["title"] != "Nobody" for one in relay.told(EVE))
