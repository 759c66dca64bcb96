"""Who asked by mail hears of the decision, once."""

from __future__ import annotations

import email
import email.policy
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from mailkit import ALICE, BOB, Desk, MailHouse, Post, RunningDoor, plain

from bridge.mail import replies as replies_file
from bridge.mail.case import IntakeSettings
from bridge.mail.door import MailDoor, MailSettings
from bridge.mail.replies import TOO_OLD, Replies
from bridge.mail.sender import Security, SmtpSettings
from bridge.model.patch import Via
from bridge.model.request import State
from bridge.worker.command import AcceptRequest, Actor, DeclineRequest, IgnoreRequest, Receipt

if TYPE_CHECKING:
    from email.message import EmailMessage

    from bridge.worker.command import Command

ACTOR = Actor(user=BOB, via=Via.CALDAV)


@pytest.fixture
def replies(house: MailHouse) -> Replies:
    return Replies(house.gateway, IntakeSettings())


def ask(desk: Desk, house: MailHouse, post: Post) -> None:
    desk.take(post.signed())
    house.letters()  # the acknowledgement


def decide(house: MailHouse, command: Command) -> None:
    assert isinstance(house.submit(command).result(), Receipt)


def letters(house: MailHouse) -> list[EmailMessage]:
    return [email.message_from_bytes(raw, policy=email.policy.default) for raw in house.letters()]


@pytest.mark.parametrize("word", ["accepted", "declined"])
def test_a_decision_is_answered_to_the_sender_once(
    desk: Desk, house: MailHouse, post: Post, replies: Replies, word: str
) -> None:
    ask(desk, house, post)
    [request] = house.waiting(BOB)
    assert replies.catch_up() == 0
    if word == "accepted":
        decide(house, AcceptRequest(actor=ACTOR, request=request.id))
    else:
        decide(house, DeclineRequest(actor=ACTOR, request=request.id, reason="no\r\nBcc: x"))
    assert replies.catch_up() == 1
    [letter] = letters(house)
    assert letter["To"] == ALICE
    assert letter["From"] == BOB
    assert letter["Subject"] == f"{word.title()}: Fence"
    assert letter["Auto-Submitted"] == "auto-replied"
    assert letter["In-Reply-To"].endswith("@mail.sender.example>")
    assert letter["Bcc"] is None
    body = letter.get_content()
    assert f"has {word} your request" in body
    assert ("Reason: no Bcc: x" in body) == (word == "declined")
    # Again, after a restart, and by a host that lost the cursor: nothing more.
    assert replies.catch_up() == 0
    assert Replies(house.gateway, IntakeSettings()).catch_up() == 0
    house.directory.journal.set_cursor(f"replies:{BOB}", "0", house.clock())
    assert Replies(house.gateway, IntakeSettings()).catch_up() == 0
    assert house.letters() == []


def test_an_unproved_sender_hears_nothing(desk: Desk, house: MailHouse, replies: Replies) -> None:
    desk.take(plain())
    [request] = house.waiting(BOB)
    decide(house, DeclineRequest(actor=ACTOR, request=request.id))
    assert replies.catch_up() == 0
    assert house.letters() == []


def test_being_ignored_or_blocked_is_not_told(
    desk: Desk, house: MailHouse, post: Post, replies: Replies
) -> None:
    ask(desk, house, post)
    [request] = house.waiting(BOB)
    decide(house, IgnoreRequest(actor=ACTOR, request=request.id, block="address"))
    assert replies.catch_up() == 0
    assert house.letters() == []


def test_a_decision_of_long_ago_is_not_answered(
    desk: Desk, house: MailHouse, post: Post, replies: Replies
) -> None:
    ask(desk, house, post)
    [request] = house.waiting(BOB)
    decide(house, DeclineRequest(actor=ACTOR, request=request.id))
    house.ahead = TOO_OLD + timedelta(minutes=1)
    assert replies.catch_up() == 0


def test_who_wants_no_automatic_mail_gets_none(
    desk: Desk, house: MailHouse, post: Post, replies: Replies
) -> None:
    desk.take(post.signed(extra="X-Auto-Response-Suppress: All\r\n"))
    [request] = house.waiting(BOB)
    decide(house, DeclineRequest(actor=ACTOR, request=request.id))
    assert replies.catch_up() == 0


def test_a_letter_and_its_cursor_are_one_transaction(
    desk: Desk, house: MailHouse, post: Post, replies: Replies, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(desk, house, post)
    [request] = house.waiting(BOB)
    decide(house, DeclineRequest(actor=ACTOR, request=request.id))
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise OSError("the power is gone")

        broken.setattr(house.directory.journal, "set_cursor", fail)
        with pytest.raises(OSError, match="power"):
            replies.catch_up()
    assert house.letters() == []
    assert replies.catch_up() == 1
    assert len(house.letters()) == 1
    held = house.directory.requests.get(request.side)
    assert held is not None
    assert held.state is State.DECLINED


def test_the_running_mail_door_queues_and_sends_the_answer(
    desk: Desk, house: MailHouse, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody listens for our mail the answer waits in the outbox, with its error."""
    monkeypatch.setattr(replies_file, "LOOK_SECONDS", 0.05)
    ask(desk, house, post)
    [request] = house.waiting(BOB)
    tried = threading.Event()
    retry = house.directory.outbox.retry
    letters_tried: list[object] = []

    def noted(letter: object, *more: object) -> None:
        retry(letter, *more)  # type: ignore[arg-type]  # passed on as they are
        letters_tried.append(letter)
        tried.set()

    monkeypatch.setattr(house.directory.outbox, "retry", noted)
    smtp = SmtpSettings(host="127.0.0.1", port=9, security=Security.NONE)
    with RunningDoor(MailDoor(house.gateway, MailSettings(smtp=smtp))):
        decide(house, DeclineRequest(actor=ACTOR, request=request.id))
        assert tried.wait(10)
        time.sleep(0.2)  # several more looks at the same decision
    assert len(letters_tried) == 1
    due = house.directory.outbox.next_due()
    assert due is not None
