"""Requests: somebody asks you to take a task (tx-protocol section 13, mail-trust section 6).

Promises: what a request is, which states it has and how it moves between them (one table),
how long it waits, and what its sender may learn of it. Pure: no clock, no storage.

A request is held once by the recipient's domain (direction ``received``) and once by the
sender's (``sent``), under the same id. Being ignored or blocked is invisible to the sender:
`seen_by_sender` shows such a request as any other that nobody has answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from bridge.errors import Invalid
from bridge.model.ids import domain_of

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping

    from bridge.model.ids import Address, Digest, Domain, TaskId

Json: TypeAlias = "None | bool | int | str | list[Json] | dict[str, Json]"
"""What JSON of version 1 may hold (tx-protocol section 3): no fractions."""

TITLE_MAX: Final = 500
"""Characters of a title (mail-trust rule 21)."""
NOTES_MAX_BYTES: Final = 4096
"""Bytes of a preview's notes in UTF-8 (tx-protocol section 13)."""
REASON_MAX: Final = 1000
"""Characters of a reason or of another free text about a request."""
LIFETIME: Final = timedelta(days=14)
UNVERIFIED_LIFETIME: Final = timedelta(days=30)
"""A request without proof of origin is only found in quarantine, so it is kept longer."""


class Kind(StrEnum):
    """What is asked for (tx-protocol section 13)."""

    ASSIGN = "assign"
    JOIN = "join"
    APPROVE = "approve"
    PURGE = "purge"


class Direction(StrEnum):
    """Whose side of the request this is."""

    RECEIVED = "received"
    SENT = "sent"


class Level(StrEnum):
    """How well the sender is proved: a person's signature, an aligned domain, nothing."""

    PERSON = "P"
    DOMAIN = "D"
    NONE = "N"


class State(StrEnum):
    """Where a request stands."""

    REQUESTED = "requested"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    IGNORED = "ignored"
    BLOCKED = "blocked"


class Event(StrEnum):
    """What happens to a request."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"
    EXPIRE = "expire"
    IGNORE = "ignore"
    BLOCK = "block"


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.REQUESTED, Event.ACCEPT): State.ACCEPTED,
    (State.REQUESTED, Event.DECLINE): State.DECLINED,
    (State.REQUESTED, Event.CANCEL): State.CANCELLED,
    (State.REQUESTED, Event.EXPIRE): State.EXPIRED,
    (State.REQUESTED, Event.IGNORE): State.IGNORED,
    (State.REQUESTED, Event.BLOCK): State.BLOCKED,
    # The sender of an ignored request believes it waits: it must end for him as others do.
    (State.IGNORED, Event.CANCEL): State.CANCELLED,
    (State.IGNORED, Event.EXPIRE): State.EXPIRED,
    (State.IGNORED, Event.BLOCK): State.BLOCKED,
    (State.BLOCKED, Event.CANCEL): State.CANCELLED,
    (State.BLOCKED, Event.EXPIRE): State.EXPIRED,
}
"""Every move there is. Whatever is not in it is refused."""

OUTCOME: Final[Mapping[Event, State]] = {
    event: state for (origin, event), state in TRANSITIONS.items() if origin is State.REQUESTED
}
"""Where an event leads: asking for it again there changes nothing and is no error."""

HIDDEN: Final = frozenset({State.IGNORED, State.BLOCKED})
"""Shown to the sender as `State.REQUESTED`."""
OPEN: Final = HIDDEN | {State.REQUESTED}
"""Unanswered as far as the sender can tell."""


def advance(state: State, event: Event) -> State | None:
    """Return the state after `event`, or None where the table has no such move.

    An event repeated in the state that it led to returns that state: a reply that arrives
    twice is harmless.
    """
    if OUTCOME[event] is state:
        return state
    return TRANSITIONS.get((state, event))


def expires_at(created: datetime, level: Level) -> datetime:
    """Return when a request of `level` ends by itself."""
    return created + (UNVERIFIED_LIFETIME if level is Level.NONE else LIFETIME)


def _bounded(text: str, limit: int, what: str) -> None:
    if len(text) > limit:
        raise Invalid("too-large", f"{what} is longer than {limit} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What the recipient sees before accepting; plain text, already cleaned by the door.

    Attributes:
        title: one line, at most `TITLE_MAX` characters.
        notes: at most `NOTES_MAX_BYTES` bytes of UTF-8.
        due: a date or time as in task keys (tx-protocol section 8), empty where there is none.
        priority: ``low``, ``normal``, ``high`` or empty.

    Raises:
        Invalid: ``too-large``.
    """

    title: str
    notes: str = ""
    due: str = ""
    priority: str = ""

    def __post_init__(self) -> None:
        """Refuse what is longer than the protocol allows."""
        _bounded(self.title, TITLE_MAX, "the title")
        _bounded(self.due, REASON_MAX, "the due date")
        _bounded(self.priority, REASON_MAX, "the priority")
        if len(self.notes.encode(errors="replace")) > NOTES_MAX_BYTES:
            raise Invalid("too-large", f"the notes are longer than {NOTES_MAX_BYTES} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Who ended a request, when and why; `by` is an address or ``tx-bridge`` for a timer."""

    at: datetime
    by: str
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse an endless reason."""
        _bounded(self.reason, REASON_MAX, "the reason")


@dataclass(frozen=True, slots=True)
class Side:
    """Names one side of a request: `id` alone is chosen by the sender."""

    user: Address
    direction: Direction
    id: uuid.UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One side of a request.

    Attributes:
        id: the same on both sides.
        recipient: who is asked.
        sender: who asks; proved as far as `level` says.
        level: strength of that proof; `method` (``smime``, ``openpgp``, ``dkim``, ``tx``,
            ``local``), `fingerprint` and `proof_reason` say what it rests on.
        quarantined: the recipient did not know the sender when it came.
        message: name of the original mail, kept as a blob.
        project_hint: the project that the sender named.
        task: the task that it became, once accepted.
        fields: the rest of what was asked, for example ``mandate`` and tags.
        created: UTC.
        expires: UTC; see `expires_at`.
        decision: how it ended; None while it waits.
        seq: number of its last change among its user's requests; 0 before it is stored.
    """

    id: uuid.UUID
    kind: Kind
    direction: Direction
    recipient: Address
    sender: Address
    level: Level
    preview: Preview
    created: datetime
    expires: datetime
    method: str = ""
    fingerprint: str = ""
    proof_reason: str = ""
    quarantined: bool = False
    message: Digest | None = None
    project_hint: str = ""
    task: TaskId | None = None
    fields: Mapping[str, Json] = field(default_factory=dict)
    state: State = State.REQUESTED
    decision: Decision | None = None
    seq: int = 0

    def __post_init__(self) -> None:
        """Refuse endless texts: they may come from the network."""
        _bounded(self.proof_reason, REASON_MAX, "the reason")
        _bounded(self.project_hint, REASON_MAX, "the project")
        _bounded(self.fingerprint, REASON_MAX, "the fingerprint")

    @property
    def user(self) -> Address:
        """The local user whose side this is."""
        return self.recipient if self.direction is Direction.RECEIVED else self.sender

    @property
    def side(self) -> Side:
        """The name of this side."""
        return Side(self.user, self.direction, self.id)

    @property
    def sender_domain(self) -> Domain:
        """The domain that the sender claims."""
        return domain_of(self.sender)

    @property
    def waits(self) -> bool:
        """True while it is a member of the recipient's Requests collection."""
        return self.direction is Direction.RECEIVED and self.state is State.REQUESTED

    def seen_by_sender(self, now: datetime) -> State:
        """Return the state that the sender may learn at `now` (tx-protocol section 13)."""
        if self.state in OPEN and now >= self.expires:
            return State.EXPIRED
        return State.REQUESTED if self.state in HIDDEN else self.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How much strangers and acquaintances may ask (tx-protocol section 13, mail-trust 6).

    Attributes:
        stranger_hourly: requests an hour from one unknown domain, over all recipients.
        known_hourly: the same for a domain whose sender the recipient knows.
        stranger_waiting: requests of strangers, whatever their domain, that wait at once
            in one quarantine. Over all domains, because domains are cheap.
        open_each: unanswered requests of one author to one recipient; for strangers also of
            one domain to one recipient, because an unproved author may change his name.
        daily_each: requests a day of one author over all recipients; for strangers also of
            one domain.
    """

    stranger_hourly: int = 20
    known_hourly: int = 600
    stranger_waiting: int = 50
    open_each: int = 20
    daily_each: int = 100


class OverCap(StrEnum):
    """Which cap a further request would break; safe to tell the sender."""

    HOURLY = "too many requests from this domain in an hour"
    WAITING = "too many requests wait for this recipient"
    OPEN = "too many unanswered requests to this recipient"
    DAILY = "too many requests in a day"
