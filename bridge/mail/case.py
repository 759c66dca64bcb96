"""Values of the mail door: a mail as it comes in, on its way, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.mail.checks import Kind
from bridge.model.request import Caps, Level

if TYPE_CHECKING:
    import uuid
    from datetime import datetime

    from bridge.mail.address import Recipient
    from bridge.mail.checks import Decision
    from bridge.mail.draft import Draft
    from bridge.model.ids import Digest, ProjectId, TaskId
    from bridge.model.request import Json
    from bridge.store.directory_records import Contact, MailPlace
    from bridge.trust.verdict import Verdict
    from bridge.wire.message import Message


class Source(StrEnum):
    """How a mail came, as far as it decides who keeps it and who is told."""

    IMAP = "imap"
    LMTP = "lmtp"
    SMTP = "smtp"


class Disposition(StrEnum):
    """What the door does with its copy."""

    DONE = "done"
    REJECTED = "rejected"
    UNKNOWN_RECIPIENT = "unknown-recipient"
    LATER = "later"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeSettings:
    """How mail is taken in.

    Attributes:
        caps: how much may be asked of one recipient.
        commit_seconds: how long the worker may take for one command.
        answers: queue acknowledgements and notices (there is a way to send them).
        answers_hourly, answers_daily: caps on mail to one address (rule 23).
    """

    caps: Caps = field(default_factory=Caps)
    commit_seconds: float = 30.0
    answers: bool = True
    answers_hourly: int = 5
    answers_daily: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A mail as a door has it.

    Attributes:
        raw: the bytes, trace headers of our own hop included.
        recipients: envelope recipient, or candidates in their order (IMAP).
        received: when we got it: our clock at LMTP, INTERNALDATE at IMAP; aware.
        place: where its copy lies; None for LMTP and SMTP.
    """

    raw: bytes = field(repr=False)
    recipients: tuple[str | None, ...]
    received: datetime
    source: Source
    place: MailPlace | None = None

    @property
    def wanted(self) -> str:
        """The first recipient named, for the event log; may be nobody."""
        return next((one for one in self.recipients if one), "")[:254]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a mail.

    Attributes:
        code, reason: of the decision; `reason` is safe for a stranger.
        tell: the reason may be given to the client of an SMTP session (5xx).
    """

    disposition: Disposition
    code: str
    reason: str
    tell: bool = False
    mail: uuid.UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One mail on its way through the steps.

    Attributes:
        id: its name in the journal.
        origin: what ids of new things are derived from: another mail's name where that
            one brought the same signed text and broke off.
    """

    id: uuid.UUID
    origin: uuid.UUID
    incoming: Incoming
    recipient: Recipient
    message: Message
    verdict: Verdict
    contact: Contact | None
    now: datetime
    message_id_reused: bool = False
    key_changed: bool = False

    @property
    def level(self) -> Level:
        """The level of proof, as requests keep it."""
        return Level(self.verdict.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was committed for a case, to be recorded.

    `original` names the stored mail, `draft` is None where nothing came of it.
    """

    decision: Decision
    original: Digest | None = None
    draft: Draft | None = None
    project: ProjectId | None = None
    task: TaskId | None = None
    request: uuid.UUID | None = None

    @property
    def result_id(self) -> str:
        """The id of the task or request; empty without one."""
        return self.task or (str(self.request) if self.request else "")


def tells(decision: Decision) -> bool:
    """Tell whether an SMTP client may hear the reason: not what a user decided about people."""
    return decision.kind is Kind.REJECT and decision.code not in {"automatic", "not-permitted"}


def outcome_of(case: Case, result: Result) -> dict[str, Json]:
    """Return what the journal and the event log keep of a case; no text of the mail."""
    decision = result.decision
    outcome: dict[str, Json] = {
        "kind": decision.kind.value,
        "code": decision.code,
        "reason": decision.reason,
        "step": decision.step,
        "tell": tells(decision),
        "sender": case.message.author,
        "level": case.level.value,
        "method": case.verdict.method.value,
        "fingerprint": case.verdict.fingerprint,
        "message_id": case.message.message_id[:300],
    }
    for name, value in (
        ("original", result.original),
        ("project", result.project),
        ("task", result.task),
        ("request", str(result.request) if result.request else None),
    ):
        if value is not None:
            outcome[name] = value
    return outcome
