"""What the directory holds, as frozen values (design section 3; requests: `bridge.model.request`).

No value here carries a secret except `Verifier`, which never leaves the check of a password.
All times are UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.errors import Invalid
from bridge.model.request import Level

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping
    from datetime import datetime

    from bridge.model.ids import Address, Digest, ProjectId
    from bridge.model.request import Json, Request, State

_LISTED_MAX = 254


# -- people ------------------------------------------------------------------------------


class Notice(StrEnum):
    """About which requests a user gets a mail (tx-protocol section 13: never from strangers)."""

    NONE = "none"
    KNOWN = "known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a user lets happen without a click (mail-trust section 6, step 3).

    Attributes:
        auto_accept_known: levels of proof at which a *known* sender's request is accepted at
            once; *allowed* senders always are. Without proof nobody ever is.
        notice: which requests are announced by mail.
        say_blocked: tell a blocked sender (tx-protocol section 13); silent by default.

    Raises:
        Invalid: ``unproved-accept`` when `auto_accept_known` holds level N.
    """

    auto_accept_known: frozenset[Level] = frozenset()
    notice: Notice = Notice.KNOWN
    say_blocked: bool = False

    def __post_init__(self) -> None:
        """Refuse what would let a forged sender in."""
        if Level.NONE in self.auto_accept_known:
            raise Invalid("unproved-accept", "requests without proof cannot be accepted unseen")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of this domain.

    Attributes:
        language: BCP 47 tag of notices and answers.
        time_zone: IANA name; dates without a zone are meant in it.
        disabled: since when, or None.
        default_project: where tasks go that name no project; None means the personal one.
    """

    address: Address
    name: str
    created: datetime
    language: str = "en"
    time_zone: str = "UTC"
    disabled: datetime | None = None
    default_project: ProjectId | None = None
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An app password without its secret: one for each client, revocable alone.

    `last_used` is coarse: it is written at most once an hour.
    """

    id: uuid.UUID
    user: Address
    label: str
    created: datetime
    last_used: datetime | None = None
    revoked: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """A credential with the argon2id hash to check a password against."""

    credential: Credential
    hash: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialChanges:
    """Whose credentials changed after some generation, and the generation reached."""

    generation: int
    users: frozenset[str]


# -- contacts ----------------------------------------------------------------------------


class Acquaintance(StrEnum):
    """How well a user knows a contact: may assign directly, or was accepted before."""

    ALLOWED = "allowed"
    KNOWN = "known"


class Standing(StrEnum):
    """The row of the accept policy that a sender falls in; first match wins."""

    BLOCKED = "blocked"
    IGNORED = "ignored"
    ALLOWED = "allowed"
    KNOWN = "known"
    UNKNOWN = "unknown"


class ListName(StrEnum):
    """The lists of senders that a user keeps."""

    BLOCK = "block"
    IGNORE = "ignore"
    ALLOW = "allow"


class SenderKind(StrEnum):
    """What a listed value names; a blocked or ignored domain includes its subdomains."""

    ADDRESS = "address"
    DOMAIN = "domain"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A sender on a list. `value` is an address, a domain or a key's fingerprint.

    Raises:
        Invalid: ``bad-listing`` for an empty or endless value.
    """

    list: ListName
    kind: SenderKind
    value: str

    def __post_init__(self) -> None:
        """Refuse a value that would name nobody: it could match a sender without a key."""
        if not self.value or len(self.value) > _LISTED_MAX:
            raise Invalid("bad-listing", "a list names an address, a domain or a fingerprint")


class PinKind(StrEnum):
    """Which kind of key is pinned."""

    SMIME = "smime"
    OPENPGP = "openpgp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A key that a contact is known by: PEM certificate or armored OpenPGP key."""

    kind: PinKind
    fingerprint: str
    material: str
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Somebody a user has accepted from before.

    Attributes:
        key_changed: when a key that is not pinned was first seen; until a person pins it or
            clears the flag the contact stands as unknown.
    """

    user: Address
    address: Address
    name: str
    acquaintance: Acquaintance
    first_seen: datetime
    last_seen: datetime
    key_changed: datetime | None = None
    pins: tuple[Pin, ...] = ()


class KeySight(StrEnum):
    """What a key seen on a contact's message means."""

    PINNED = "pinned"
    FIRST = "first"
    CHANGED = "changed"


# -- requests ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The request after an event; `changed` is False for one that had happened before."""

    request: Request
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPossible:
    """The event has no place in the state that the request is in."""

    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestChanges:
    """Requests changed after a sequence number, oldest change first.

    One that no longer waits is a removal for the Requests collection (its tombstone).
    `head` is where the next call goes on; `more` is True where the limit cut the list.
    """

    head: int
    requests: tuple[Request, ...]
    more: bool


# -- mail --------------------------------------------------------------------------------


class Door(StrEnum):
    """Where mail came in."""

    IMAP = "imap"
    LMTP = "lmtp"


class MailState(StrEnum):
    """How far a mail got; `MOVED` is committed mail that has left its mailbox."""

    RECEIVED = "received"
    COMMITTED = "committed"
    MOVED = "moved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailPlace:
    """Where a copy of a mail lies: never reused by IMAP (RFC 9051 section 2.3.1.1)."""

    mailbox: str
    uidvalidity: int
    uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A mail as it comes in, before anything is believed of it.

    Attributes:
        id: idempotency key: ids of what the mail makes are derived from the id in the journal.
        content: digest of the bytes without the trace headers of our own hop.
        message_id: as written, empty where there is none; can be chosen by anybody.
        place: for IMAP; None at LMTP.
    """

    id: uuid.UUID
    recipient: Address
    content: Digest
    door: Door
    message_id: str = ""
    place: MailPlace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """What the journal knows of one mail to one recipient."""

    id: uuid.UUID
    recipient: Address
    door: Door
    content: Digest
    message_id: str
    state: MailState
    outcome: Mapping[str, Json]
    result_id: str
    received_at: datetime
    entity: Digest | None = None
    signer: str = ""
    unmoved: tuple[MailPlace, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """Not seen before.

    Attributes:
        message_id_reused: other bytes came under this Message-ID: flag the request (rule 17).
        elsewhere: the same signed entity at other recipients: it is the same task.
    """

    id: uuid.UUID
    message_id_reused: bool = False
    elsewhere: tuple[JournalEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Had before: repeat the outcome, make nothing new.

    Where `unfinished`, an earlier attempt broke off before its commit: go on with
    ``entry.id``, so that whatever did get written is met again and not doubled.
    """

    entry: JournalEntry

    @property
    def unfinished(self) -> bool:
        """True if no outcome was recorded."""
        return self.entry.state is MailState.RECEIVED


class LetterState(StrEnum):
    """How far outgoing mail got."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"


class LetterKind(StrEnum):
    """Why mail leaves; only answers and notices count for the caps on one address."""

    ANSWER = "answer"
    NOTICE = "notice"
    ITIP = "itip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A mail to send to one recipient.

    Attributes:
        key: names the reason for it; a second letter with the same key and recipient is
            the same letter and is not queued.
        sender: envelope sender, empty for the null sender (mail-trust rule 23).
        raw: RFC 5322 bytes; emptied once the letter is sent.
        attempts: deliveries begun.
    """

    id: uuid.UUID
    key: str
    recipient: Address
    sender: str
    kind: LetterKind
    raw: bytes = field(repr=False)
    not_before: datetime
    attempts: int = 0
    state: LetterState = LetterState.QUEUED
    last_error: str = ""
