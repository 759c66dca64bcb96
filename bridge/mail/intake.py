"""From a mail to its one outcome: the pipeline behind IMAP, LMTP and SMTP.

`Intake.take` promises exactly one outcome for one mail to one recipient, however often and
by whatever way it comes, and whenever the process is killed (mail-trust section 8): the
journal names the mail by its content, every id is derived from that name or from what was
signed, and the outcome is recorded in the transaction that queues the answer. It blocks
(disk, worker), so doors call it in a thread. Nothing is believed of the mail but what
`bridge.trust.smime` proves and `bridge.mail.checks` allows; nothing in it names a path.

A mail's content never makes it raise. `Disposition.LATER` stands for a queue, a disk or a
database that says "not now"; then the mail must stay where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError, Invalid, Unavailable
from bridge.mail import answer, checks
from bridge.mail.address import first_recipient, may_create
from bridge.mail.case import Case, Disposition, Source, Taken, outcome_of, tells
from bridge.mail.checks import Kind
from bridge.mail.delivery import Delivery
from bridge.mail.draft import addressed
from bridge.model.ids import digest_of
from bridge.model.request import Level
from bridge.store.directory_records import (
    Arrival,
    Door,
    KeySight,
    MailState,
    Notice,
    PinKind,
    Seen,
    Standing,
)
from bridge.trust import smime
from bridge.wire.message import canonical, read, without_trace

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

    from bridge.mail.address import Recipient
    from bridge.mail.case import Incoming, IntakeSettings, Result
    from bridge.mail.checks import Facts
    from bridge.model.ids import Digest
    from bridge.model.request import Json
    from bridge.store.directory_records import Contact, JournalEntry, Letter, New
    from bridge.trust.anchors import TrustAnchors
    from bridge.trust.verdict import Verdict
    from bridge.wire.message import Message
    from bridge.worker.gateway import Gateway

OWN_ID_HOST: Final = "tx-bridge"
"""Host below our domain in the Message-IDs we write: no other program writes those."""


class Intake:
    """Takes mail for one domain; any thread may call, several at once."""

    def __init__(
        self,
        gateway: Gateway,
        anchors: TrustAnchors,
        settings: IntakeSettings,
        queued: Callable[[], None] = lambda: None,
    ) -> None:
        """Work on `gateway`; `queued` is called after a letter was put in the outbox."""
        self._gateway = gateway
        self._anchors = anchors
        self._settings = settings
        self._queued = queued
        self._delivery = Delivery(gateway, settings)
        self._id_host = f"{OWN_ID_HOST}.{gateway.domain}"

    def knows(self, recipient: str) -> bool:
        """Tell whether an envelope address is one of ours."""
        return self._recipient((recipient,)) is not None

    def take(self, incoming: Incoming) -> Taken:
        """Take one mail in and say what became of it."""
        return self._guarded(incoming, lambda recipient: self._take(incoming, recipient))

    def reject(self, incoming: Incoming, code: str, reason: str) -> Taken:
        """Record that a mail is refused unread; `incoming.raw` only needs to name it."""
        refusal = Invalid(code, reason)
        return self._guarded(
            incoming, lambda recipient: self._unreadable(incoming, recipient, refusal)
        )

    def _guarded(self, incoming: Incoming, take: Callable[[Recipient], Taken]) -> Taken:
        try:
            recipient = self._recipient(incoming.recipients)
            return take(recipient) if recipient is not None else self._nobody(incoming)
        except Unavailable as error:
            facts: dict[str, Json] = {"code": error.code, "reason": error.public}
            self._event(incoming, incoming.wanted, "deferred", None, facts)
            return Taken(disposition=Disposition.LATER, code=error.code, reason=error.public)

    def _recipient(self, candidates: tuple[str | None, ...]) -> Recipient | None:
        return first_recipient(candidates, self._gateway.directory.people, self._gateway.domain)

    def _take(self, incoming: Incoming, recipient: Recipient) -> Taken:
        try:
            message = read(incoming.raw)
        except Invalid as error:
            return self._unreadable(incoming, recipient, error)
        contact = self._gateway.directory.contacts.get(recipient.user.address, message.author)
        verdict = smime.verify(
            message,
            self._anchors,
            incoming.received,
            recipients=(recipient.address,),
            pinned=_pinned(contact),
        )
        # One transaction: each has a price of its own, a flush to disk among it.
        with self._gateway.directory.transaction():
            opened = self._open(incoming, recipient, message, verdict, contact)
            if isinstance(opened, Taken):
                return opened
            facts = self._facts(opened)
        return self._finish(opened, self._delivery.carry_out(opened, checks.decide(facts)))

    def _open(
        self,
        incoming: Incoming,
        recipient: Recipient,
        message: Message,
        verdict: Verdict,
        contact: Contact | None,
    ) -> Case | Taken:
        """Record the mail and what it carries signed; the caller holds the transaction."""
        directory, now = self._gateway.directory, self._gateway.clock()
        arrival = self._arrival(incoming, recipient, message.content_digest, message.message_id)
        sight = KeySight.PINNED
        begun = directory.journal.begin(arrival, now)
        if isinstance(begun, Seen) and not begun.unfinished:
            return _repeated(begun.entry)
        mail = origin = _id_of(begun)
        if verdict.proven and verdict.digest is not None:
            bound = directory.journal.bind(mail, verdict.digest, verdict.fingerprint)
            if isinstance(bound, Seen):
                if not bound.unfinished:
                    return self._replayed(incoming, mail, bound.entry)
                origin = bound.entry.id
            if contact is not None and contact.pins:
                key = verdict.fingerprint
                sight = directory.contacts.see_key(contact, PinKind.SMIME, key, now)
        return Case(
            id=mail,
            origin=origin,
            incoming=incoming,
            recipient=recipient,
            message=message,
            verdict=verdict,
            contact=contact,
            now=now,
            message_id_reused=not isinstance(begun, Seen) and begun.message_id_reused,
            key_changed=sight is KeySight.CHANGED or _flagged(contact),
        )

    def _facts(self, case: Case) -> Facts:
        user, verdict, message = case.recipient.user, case.verdict, case.message
        key = verdict.fingerprint if verdict.proven else ""
        standing = self._gateway.directory.contacts.standing(user.address, message.author, key)
        project = self._delivery.project_of(case, case.recipient.detail)
        index = self._gateway.index
        return checks.Facts(
            level=case.level,
            code=verdict.code,
            reason=verdict.reason,
            standing=standing,
            auto_accept=user.policy.auto_accept_known,
            bound=verdict.bound or case.recipient.address in addressed(message, verdict),
            fresh=verdict.fresh,
            automatic=message.automatic((self._id_host,)) or "",
            key_changed=case.key_changed and verdict.proven,
            member=project is not None and may_create(message.author, project, index),
            message_id_reused=case.message_id_reused,
        )

    # -- the record ----------------------------------------------------------------------

    def _arrival(
        self, incoming: Incoming, recipient: Recipient, content: Digest, message_id: str
    ) -> Arrival:
        return Arrival(
            id=self._gateway.new_id(),
            recipient=recipient.address,
            content=content,
            door=Door.IMAP if incoming.source is Source.IMAP else Door.LMTP,
            message_id=message_id,
            place=incoming.place,
        )

    def _nobody(self, incoming: Incoming) -> Taken:
        """Refuse a mail whose recipient is nobody here: there is no journal to keep it in."""
        code, reason = Disposition.UNKNOWN_RECIPIENT.value, "there is no such user here"
        facts: dict[str, Json] = {"code": code, "reason": reason}
        self._event(incoming, incoming.wanted, "rejected", None, facts)
        return Taken(disposition=Disposition.UNKNOWN_RECIPIENT, code=code, reason=reason, tell=True)

    def _unreadable(self, incoming: Incoming, recipient: Recipient, error: BridgeError) -> Taken:
        """Refuse a mail that breaks the rules of its form, so that no author can be named."""
        directory = self._gateway.directory
        arrival = self._arrival(incoming, recipient, _digest_of_any(incoming.raw), "")
        original = self._delivery.keep_refused(incoming, recipient, tell=True)
        outcome: dict[str, Json] = {"code": error.code, "reason": error.public, "tell": True}
        if original is not None:
            outcome["original"] = original
        with directory.transaction():
            begun = directory.journal.begin(arrival, self._gateway.clock())
            if isinstance(begun, Seen) and not begun.unfinished:
                return _repeated(begun.entry)
            mail = _id_of(begun)
            directory.journal.finish(mail, MailState.REJECTED, outcome)
        self._event(incoming, recipient.address, "rejected", mail, outcome)
        return Taken(
            disposition=Disposition.REJECTED,
            code=error.code,
            reason=error.public,
            tell=True,
            mail=mail,
        )

    def _replayed(self, incoming: Incoming, mail: uuid.UUID, first: JournalEntry) -> Taken:
        """Record that the same signed text came again in another mail (rule 17)."""
        reason = "the same signed text came before"
        outcome: dict[str, Json] = {"code": "replay", "reason": reason, "first": str(first.id)}
        self._gateway.directory.journal.finish(
            mail, MailState.COMMITTED, outcome, result_id=first.result_id
        )
        self._event(incoming, first.recipient, "replay", mail, outcome)
        return Taken(disposition=Disposition.DONE, code="replay", reason=reason, mail=mail)

    def _finish(self, case: Case, result: Result) -> Taken:
        """Record the outcome and queue what is said of it, in one transaction."""
        directory, decision = self._gateway.directory, result.decision
        refused = decision.kind is Kind.REJECT or decision.code == Standing.BLOCKED
        state = MailState.REJECTED if refused else MailState.COMMITTED
        outcome = outcome_of(case, result)
        letters: list[Letter] = []
        with directory.transaction():
            if directory.journal.finish(case.id, state, outcome, result_id=result.result_id):
                letters = self._letters(case, result)
                for letter in letters:
                    directory.outbox.put(letter, case.now)
        if letters:
            self._queued()
        kind = "hidden" if decision.kind is Kind.HIDE else "rejected" if refused else "taken"
        self._event(case.incoming, case.recipient.address, kind, case.id, outcome)
        return Taken(
            disposition=Disposition.REJECTED if refused else Disposition.DONE,
            code=decision.code,
            reason=decision.reason,
            tell=tells(decision),
            mail=case.id,
        )

    def _letters(self, case: Case, result: Result) -> list[Letter]:
        """Return the acknowledgement to the author and the notice to the recipient."""
        if not self._settings.answers or result.draft is None:
            return []
        about = answer.About(case=case, result=result, draft=result.draft, id_host=self._id_host)
        letters = []
        if result.decision.answer and self._may_answer(case):
            letters.append(answer.acknowledgement(about, self._gateway.new_id()))
        if _is_noticed(case, result):
            letters.append(answer.notice(about, self._gateway.new_id()))
        return letters

    def _may_answer(self, case: Case) -> bool:
        settings = self._settings
        return answer.may_be_answered(case) and self._gateway.directory.outbox.may_answer(
            case.message.author,
            case.now,
            hourly=settings.answers_hourly,
            daily=settings.answers_daily,
        )

    def _event(
        self,
        incoming: Incoming,
        recipient: str,
        outcome: str,
        mail: uuid.UUID | None,
        facts: dict[str, Json],
    ) -> None:
        event: dict[str, object] = {"event": "mail", "outcome": outcome, "door": incoming.source}
        event |= {"recipient": recipient, "mail": str(mail) if mail else ""}
        self._gateway.events.append(self._gateway.clock(), [event | facts])


def _repeated(entry: JournalEntry) -> Taken:
    """Say again what was said when this mail came first."""
    rejected = entry.state is MailState.REJECTED
    return Taken(
        disposition=Disposition.REJECTED if rejected else Disposition.DONE,
        code=str(entry.outcome.get("code", "seen")),
        reason=str(entry.outcome.get("reason", "")),
        tell=entry.outcome.get("tell") is True,
        mail=entry.id,
    )


def _is_noticed(case: Case, result: Result) -> bool:
    """Tell whether the recipient gets a mail: never about strangers (tx-protocol 13)."""
    return (
        result.request is not None
        and not result.decision.quarantined
        and case.level is not Level.NONE
        and case.recipient.user.policy.notice is Notice.KNOWN
    )


def _pinned(contact: Contact | None) -> frozenset[str]:
    pins = contact.pins if contact is not None else ()
    return frozenset(pin.fingerprint for pin in pins if pin.kind is PinKind.SMIME)


def _flagged(contact: Contact | None) -> bool:
    return contact is not None and contact.key_changed is not None


def _id_of(begun: New | Seen) -> uuid.UUID:
    return begun.entry.id if isinstance(begun, Seen) else begun.id


def _digest_of_any(raw: bytes) -> Digest:
    try:
        return digest_of(without_trace(canonical(raw)))
    except Invalid:
        return digest_of(raw)
