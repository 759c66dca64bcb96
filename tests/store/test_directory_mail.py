"""Journal and outbox: each mail once in, each letter once queued."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from bridge.errors import Invalid, NotFound
from bridge.model.ids import Address, digest_of
from bridge.store.directory_records import (
    Arrival,
    Door,
    Letter,
    LetterKind,
    LetterState,
    MailPlace,
    MailState,
    New,
    Seen,
)

if TYPE_CHECKING:
    from bridge.store.directory_contract import Directory

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
BOB = Address("bob@b.example")
CAROL = Address("carol@b.example")
ENTITY = digest_of(b"signed part")
LEASE = timedelta(minutes=5)


def place(uid: int) -> MailPlace:
    return MailPlace(mailbox="INBOX", uidvalidity=4_294_967_295, uid=uid)


def arrival(
    number: int,
    content: bytes = b"mail",
    *,
    recipient: Address = BOB,
    uid: int | None = None,
    message_id: str = "",
) -> Arrival:
    return Arrival(
        id=uuid.UUID(int=number),
        recipient=recipient,
        content=digest_of(content),
        door=Door.LMTP if uid is None else Door.IMAP,
        message_id=message_id,
        place=None if uid is None else place(uid),
    )


def letter(number: int, key: str = "", *, kind: LetterKind = LetterKind.ANSWER) -> Letter:
    return Letter(
        id=uuid.UUID(int=number),
        key=key or f"task.{number}",
        recipient=BOB,
        sender="",
        kind=kind,
        raw=b"From: x\r\n\r\n\xff\x00",
        not_before=NOW,
    )


def test_a_new_mail_is_recorded_and_the_same_again_is_seen(directory: Directory) -> None:
    assert directory.journal.begin(arrival(1), NOW) == New(id=uuid.UUID(int=1))
    seen = directory.journal.begin(arrival(2), LATER)
    assert isinstance(seen, Seen)
    assert seen.unfinished
    assert (seen.entry.id.int, seen.entry.received_at) == (1, NOW)
    assert directory.journal.finish(uuid.UUID(int=1), MailState.COMMITTED, {"a": 1}, result_id="t")
    seen = directory.journal.begin(arrival(3), LATER)
    assert isinstance(seen, Seen)
    assert not seen.unfinished
    assert (seen.entry.outcome, seen.entry.result_id) == ({"a": 1}, "t")


def test_one_mail_to_two_recipients_is_new_for_each(directory: Directory) -> None:
    assert isinstance(directory.journal.begin(arrival(1), NOW), New)
    assert isinstance(directory.journal.begin(arrival(2, recipient=CAROL), NOW), New)


def test_other_bytes_under_the_same_message_id_are_new_and_flagged(directory: Directory) -> None:
    for message_id in ("<a@b>", "<" + "ä" * 500 + "\0\udcff>"):
        directory.journal.begin(
            arrival(
                1 + len(message_id), message_id.encode(errors="replace"), message_id=message_id
            ),
            NOW,
        )
        other = directory.journal.begin(
            arrival(2 + len(message_id), b"x" + message_id[:9].encode(), message_id=message_id), NOW
        )
        assert other == New(id=uuid.UUID(int=2 + len(message_id)), message_id_reused=True)
    without = directory.journal.begin(arrival(8, b"no id"), NOW)
    assert without == New(id=uuid.UUID(int=8))
    assert directory.journal.begin(arrival(9, b"no id either"), NOW) == New(id=uuid.UUID(int=9))


def test_an_outcome_is_recorded_once(directory: Directory) -> None:
    directory.journal.begin(arrival(1), NOW)
    assert directory.journal.finish(uuid.UUID(int=1), MailState.REJECTED, {"why": "virus"})
    assert not directory.journal.finish(uuid.UUID(int=1), MailState.COMMITTED, {})
    entry = directory.journal.get(uuid.UUID(int=1))
    assert entry is not None
    assert (entry.state, entry.outcome) == (MailState.REJECTED, {"why": "virus"})
    with pytest.raises(NotFound):
        directory.journal.finish(uuid.UUID(int=7), MailState.COMMITTED, {})
    with pytest.raises(Invalid):
        directory.journal.finish(uuid.UUID(int=1), MailState.MOVED, {})


def test_a_replayed_entity_in_another_envelope_is_seen(directory: Directory) -> None:
    directory.journal.begin(arrival(1, b"first"), NOW)
    assert directory.journal.bind(uuid.UUID(int=1), ENTITY, "alice") == New(id=uuid.UUID(int=1))
    assert isinstance(directory.journal.bind(uuid.UUID(int=1), ENTITY, "alice"), New), "resumed"
    directory.journal.finish(uuid.UUID(int=1), MailState.COMMITTED, {}, result_id="task")
    directory.journal.begin(arrival(2, b"new headers"), LATER)
    seen = directory.journal.bind(uuid.UUID(int=2), ENTITY, "alice")
    assert isinstance(seen, Seen)
    assert (seen.entry.id.int, seen.entry.result_id) == (1, "task")
    # The refusal did not spoil the transaction it was found in.
    assert directory.journal.finish(uuid.UUID(int=2), MailState.REJECTED, {"replay": True})


def test_the_same_bytes_signed_by_somebody_else_are_another_entity(directory: Directory) -> None:
    for number, signer in ((1, "alice"), (2, "eve")):
        directory.journal.begin(arrival(number, signer.encode()), NOW)
        bound = directory.journal.bind(uuid.UUID(int=number), ENTITY, signer)
        assert bound == New(id=uuid.UUID(int=number))


def test_an_entity_for_two_recipients_names_the_other_one(directory: Directory) -> None:
    directory.journal.begin(arrival(1), NOW)
    directory.journal.bind(uuid.UUID(int=1), ENTITY, "alice")
    directory.journal.begin(arrival(2, recipient=CAROL), NOW)
    bound = directory.journal.bind(uuid.UUID(int=2), ENTITY, "alice")
    assert isinstance(bound, New)
    assert [entry.recipient for entry in bound.elsewhere] == [BOB]


def test_binding_nothing_is_not_found(directory: Directory) -> None:
    with pytest.raises(NotFound):
        directory.journal.bind(uuid.UUID(int=1), ENTITY, "alice")


def test_every_copy_is_moved_before_a_mail_leaves_the_list(directory: Directory) -> None:
    directory.journal.begin(arrival(1, uid=10), NOW)
    directory.journal.begin(arrival(2, uid=11), LATER)
    for uid in (10, 11):
        found = directory.journal.at(place(uid))
        assert found is not None
        assert found.id.int == 1
    directory.journal.finish(uuid.UUID(int=1), MailState.COMMITTED, {})
    directory.journal.moved(place(10), LATER)
    (entry,) = directory.journal.pending()
    assert (entry.state, entry.unmoved) == (MailState.COMMITTED, (place(11),))
    directory.journal.moved(place(11), LATER)
    directory.journal.moved(place(11), LATER)
    assert directory.journal.pending() == ()
    done = directory.journal.get(uuid.UUID(int=1))
    assert done is not None
    assert done.state is MailState.MOVED
    # A further copy after that is seen, and only has to be moved.
    directory.journal.begin(arrival(3, uid=12), LATER)
    (entry,) = directory.journal.pending()
    assert entry.unmoved == (place(12),)


def test_rejected_mail_stays_rejected_when_moved(directory: Directory) -> None:
    directory.journal.begin(arrival(1, uid=10), NOW)
    directory.journal.finish(uuid.UUID(int=1), MailState.REJECTED, {})
    assert len(directory.journal.pending()) == 1
    directory.journal.moved(place(10), LATER)
    assert directory.journal.pending() == ()
    entry = directory.journal.get(uuid.UUID(int=1))
    assert entry is not None
    assert entry.state is MailState.REJECTED


def test_pending_mail_comes_oldest_first(directory: Directory) -> None:
    directory.journal.begin(arrival(2, b"late"), LATER)
    directory.journal.begin(arrival(1, b"early"), NOW)
    directory.journal.begin(arrival(3, b"done"), NOW)
    directory.journal.finish(uuid.UUID(int=3), MailState.COMMITTED, {})
    assert [entry.id.int for entry in directory.journal.pending()] == [1, 2]
    assert [entry.id.int for entry in directory.journal.pending(1)] == [1]


def test_an_unknown_place_holds_nothing(directory: Directory) -> None:
    assert directory.journal.at(place(1)) is None
    directory.journal.moved(place(1), NOW)
    assert directory.journal.pending() == ()


def test_a_used_id_for_another_mail_is_refused(directory: Directory) -> None:
    directory.journal.begin(arrival(1), NOW)
    with pytest.raises(Invalid):
        directory.journal.begin(arrival(1, b"other"), NOW)


def test_a_cursor_is_where_its_outlet_left_it(directory: Directory) -> None:
    assert directory.journal.cursor("views") is None
    directory.journal.set_cursor("views", "41", NOW)
    directory.journal.set_cursor("peers", "7", NOW)
    directory.journal.set_cursor("views", "42", LATER)
    assert directory.journal.cursor("views") == "42"
    assert directory.journal.cursor("peers") == "7"


def test_a_letter_is_queued_once_and_claimed_when_due(directory: Directory) -> None:
    assert directory.outbox.put(letter(1, "k"), NOW)
    assert not directory.outbox.put(letter(2, "k"), NOW)
    assert directory.outbox.next_due() == NOW
    assert directory.outbox.claim(NOW - timedelta(seconds=1), LEASE) is None
    claimed = directory.outbox.claim(NOW, LEASE)
    assert claimed is not None
    assert (claimed.id.int, claimed.attempts, claimed.raw) == (1, 1, letter(1).raw)
    assert directory.outbox.claim(NOW, LEASE) is None, "one sender at a time"
    assert directory.outbox.next_due() == NOW + LEASE


def test_a_letter_whose_sender_died_is_due_again(directory: Directory) -> None:
    directory.outbox.put(letter(1), NOW)
    directory.outbox.claim(NOW, LEASE)
    again = directory.outbox.claim(NOW + LEASE, LEASE)
    assert again is not None
    assert again.attempts == 2


def test_a_sent_letter_keeps_its_key_and_loses_its_bytes(directory: Directory) -> None:
    directory.outbox.put(letter(1, "k"), NOW)
    directory.outbox.sent(uuid.UUID(int=1), NOW)
    assert directory.outbox.next_due() is None
    assert directory.outbox.claim(NOW + timedelta(days=1), LEASE) is None
    assert not directory.outbox.put(letter(2, "k"), NOW)
    with pytest.raises(NotFound):
        directory.outbox.sent(uuid.UUID(int=1), NOW)


def test_a_failure_waits_or_ends(directory: Directory) -> None:
    directory.outbox.put(letter(1), NOW)
    directory.outbox.retry(uuid.UUID(int=1), "451 busy", LATER)
    assert directory.outbox.claim(NOW, LEASE) is None
    claimed = directory.outbox.claim(LATER, LEASE)
    assert claimed is not None
    assert claimed.last_error == "451 busy"
    directory.outbox.failed(uuid.UUID(int=1), "550 " + "x" * 5000, LATER)
    (failed,) = directory.outbox.failures()
    assert (failed.state, len(failed.last_error)) == (LetterState.FAILED, 1000)
    assert directory.outbox.next_due() is None


def test_letters_go_in_the_order_they_are_due(directory: Directory) -> None:
    for number in (3, 1, 2):
        directory.outbox.put(letter(number), NOW)
    directory.outbox.retry(uuid.UUID(int=1), "later", LATER)
    order = [directory.outbox.claim(LATER, LEASE) for _ in range(3)]
    assert [claimed.id.int for claimed in order if claimed] == [2, 3, 1]


def test_answers_to_one_address_are_capped_by_hour_and_day(directory: Directory) -> None:
    def allowed(after: timedelta, hourly: int = 5, daily: int = 7) -> bool:
        return directory.outbox.may_answer(BOB, NOW + after, hourly=hourly, daily=daily)

    for number in range(4):
        directory.outbox.put(letter(number), NOW)
    for number in (20, 21):
        directory.outbox.put(letter(number, kind=LetterKind.ITIP), NOW)
    assert allowed(timedelta(0))
    directory.outbox.put(letter(4), NOW)
    directory.outbox.sent(uuid.UUID(int=4), NOW)
    assert not allowed(timedelta(0)), "sent and queued answers count alike"
    assert directory.outbox.may_answer(CAROL, NOW, hourly=5, daily=7)
    assert allowed(timedelta(hours=1))
    for number in (5, 6):
        directory.outbox.put(letter(number), NOW + timedelta(hours=2))
    assert not allowed(timedelta(hours=3))
    assert allowed(timedelta(hours=24))
