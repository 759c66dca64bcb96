"""The directory: people, contacts, requests, mail cursors of one domain (design section 3).

What every implementation promises:

- Each call is one transaction: done and on disk when it returns, or not done at all. Calls
  made inside ``with directory.transaction():`` are one transaction together; a writing call
  inside it sees the writes before it.
- Calls may come from several threads and several processes at once. A transaction belongs
  to its thread: do not hold one across an ``await``.
- Time and ids are arguments. Times are aware; they are kept to the millisecond in UTC.
- What cannot be done now raises `Unavailable` with ``retry`` (busy, disk full); damage found
  in the database raises `Corrupt`. Writing for a user who does not exist raises `NotFound`.

There is no test double: `bridge.store.directory.open_memory` is the same code on an
in-memory database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta

    from bridge.model.ids import Address, Digest, Domain, ProjectId, TaskId
    from bridge.model.request import Caps, Decision, Event, Json, OverCap, Request, Side
    from bridge.store.directory_records import (
        Acquaintance,
        Arrival,
        Contact,
        Credential,
        CredentialChanges,
        Decided,
        JournalEntry,
        KeySight,
        Letter,
        Listing,
        MailPlace,
        MailState,
        New,
        NotPossible,
        Pin,
        PinKind,
        Policy,
        RequestChanges,
        Seen,
        Standing,
        User,
        Verifier,
    )
    from bridge.store.known import Knowledge, Place


class People(Protocol):
    """The users of the domain."""

    def add(self, user: User) -> bool:
        """Add `user`; False, and nothing changed, if the address is taken."""

    def get(self, address: Address) -> User | None:
        """Return the user, also a disabled one."""

    def all(self) -> tuple[User, ...]:
        """Return all users by address."""

    def describe(self, address: Address, *, name: str, language: str, time_zone: str) -> None:
        """Change what is shown of a user."""

    def set_policy(self, address: Address, policy: Policy) -> None:
        """Change what happens without a click."""

    def set_default_project(self, address: Address, project: ProjectId | None) -> None:
        """Change where tasks go that name no project."""

    def disable(self, address: Address, now: datetime) -> None:
        """Refuse the user's passwords from now on; nothing is deleted."""

    def enable(self, address: Address) -> None:
        """Take the user's passwords again."""


class Passwords(Protocol):
    """App passwords; checked and made by `bridge.trust.passwords`.

    Every change that may end or begin a login gets the next *generation*. In this process
    `changes_here` moves at once; other processes ask `changed_since`.
    """

    @property
    def changes_here(self) -> int:
        """Counts changes committed through this object: read without touching the database."""

    def add(self, credential: Credential, *, selector: str, password_hash: str) -> bool:
        """Store a credential; False if the user has an unrevoked one with this selector."""

    def find(self, user: Address, selector: str) -> Verifier | None:
        """Return what to check against; None for revoked ones and disabled users."""

    def of(self, user: Address) -> tuple[Credential, ...]:
        """Return a user's credentials, oldest first, revoked ones included."""

    def revoke(self, credential: uuid.UUID, now: datetime) -> bool:
        """End a credential; False if there is none that is not revoked yet."""

    def used(self, credential: uuid.UUID, now: datetime, *, new_hash: str = "") -> None:
        """Note a login; with `new_hash` also replace the hash (newer cost parameters)."""

    def changed_since(self, generation: int) -> CredentialChanges:
        """Return whose credentials changed after `generation`."""


class Contacts(Protocol):
    """Whom users know, by which keys, and whom they do not want to hear from."""

    def remember(
        self, user: Address, address: Address, how: Acquaintance, now: datetime, *, name: str = ""
    ) -> None:
        """Add a contact or note that it was met again; an *allowed* one stays allowed."""

    def set_acquaintance(self, user: Address, address: Address, how: Acquaintance) -> bool:
        """Raise or lower a contact; False if there is none."""

    def get(self, user: Address, address: Address) -> Contact | None:
        """Return a contact with its pins."""

    def of(self, user: Address) -> tuple[Contact, ...]:
        """Return a user's contacts by address."""

    def forget(self, user: Address, address: Address) -> bool:
        """Remove a contact and its pins; False if there is none."""

    def see_key(self, contact: Contact, kind: PinKind, fingerprint: str, now: datetime) -> KeySight:
        """Compare a key with the pins; raises the contact's flag when it changed."""

    def pin(self, contact: Contact, pin: Pin) -> None:
        """Pin a key, a person's decision: lowers the flag."""

    def unpin(self, contact: Contact, kind: PinKind, fingerprint: str) -> bool:
        """Remove a pin; False if there is none."""

    def put_on_list(self, user: Address, listing: Listing, now: datetime) -> None:
        """List a sender; it leaves the other lists (see also `Directory.shut_out`)."""

    def take_off_list(self, user: Address, listing: Listing) -> bool:
        """Remove a sender from a list; False if it was not there."""

    def listed(self, user: Address) -> tuple[Listing, ...]:
        """Return a user's lists."""

    def standing(self, user: Address, sender: Address, fingerprint: str = "") -> Standing:
        """Return the sender's row of the accept policy (mail-trust section 6, step 3).

        With `fingerprint` (a proved signature's key) a contact who has pins, none of them
        this one, stands as unknown.
        """


class Requests(Protocol):
    """Requests received and sent; states move as `bridge.model.request.TRANSITIONS` says."""

    def add(self, request: Request) -> Request:
        """Store a request and return it with its `seq`; the same side again changes nothing.

        Raises:
            Invalid: ``id-in-use``: the id names a request of another sender to this user.
        """

    def get(self, side: Side) -> Request | None:
        """Return one side of a request."""

    def from_domain(self, sender_domain: Domain, request: uuid.UUID) -> tuple[Request, ...]:
        """Return received requests with this id from a domain: all that domain may ask about."""

    def waiting(self, user: Address) -> tuple[Request, ...]:
        """Return the members of the user's Requests collection, oldest first."""

    def sent(self, user: Address) -> tuple[Request, ...]:
        """Return what the user asked of others, newest first, ended ones included."""

    def head(self, user: Address) -> int:
        """Return the sequence number of the user's last change; 0 before any."""

    def heads(self) -> Mapping[Address, int]:
        """Return the same of every user who ever had a request."""

    def changes(self, user: Address, after: int, limit: int = 1000) -> RequestChanges:
        """Return what changed after `after`, in both directions."""

    def decide(
        self, side: Side, event: Event, decision: Decision, *, task: TaskId | None = None
    ) -> Decided | NotPossible:
        """Move a request. One past its time expires instead, and the event is not possible.

        Raises:
            NotFound: ``no-request``.
        """

    def end_all(
        self, user: Address, listing: Listing, event: Event, decision: Decision
    ) -> tuple[Request, ...]:
        """Move all received requests of a listed sender for which `event` is possible."""

    def expire(self, now: datetime, limit: int = 1000) -> tuple[Request, ...]:
        """End the requests whose time is over; call again while it returns `limit` of them."""

    def trim(self, before: datetime) -> int:
        """Empty previews and fields of requests that ended before; ids and states stay."""

    def over_cap(
        self, recipient: Address, sender: Address, *, known: bool, now: datetime, caps: Caps
    ) -> OverCap | None:
        """Return the cap that one more request would break (see `Caps`), or None.

        Exact only inside the transaction that also adds the request.
        """


class Journal(Protocol):
    """Each mail once (mail-trust section 8); cursors of outlets. Kept for good (rule 17)."""

    def begin(self, arrival: Arrival, now: datetime) -> New | Seen:
        """Record a mail before its sender hears OK; same recipient and content is the same."""

    def bind(self, mail: uuid.UUID, entity: Digest, signer: str) -> New | Seen:
        """Record the signed entity of a mail once it is verified: replays stop here.

        `Seen` names another mail of the same recipient with the same entity and signer.

        Raises:
            NotFound: ``no-mail``.
        """

    def finish(
        self,
        mail: uuid.UUID,
        state: MailState,
        outcome: Mapping[str, Json],
        *,
        result_id: str = "",
    ) -> bool:
        """Record what became of a mail; False, and nothing changed, if that is recorded.

        Raises:
            NotFound: ``no-mail``.
            Invalid: ``bad-state`` for a state other than committed or rejected.
        """

    def at(self, place: MailPlace) -> JournalEntry | None:
        """Return the mail at a place, so that a restart need not fetch it again."""

    def get(self, mail: uuid.UUID) -> JournalEntry | None:
        """Return one mail."""

    def moved(self, place: MailPlace, now: datetime) -> None:
        """Note that the copy at `place` has left the mailbox."""

    def pending(self, limit: int = 1000) -> tuple[JournalEntry, ...]:
        """Return mail without an outcome or with copies not moved, oldest first."""

    def cursor(self, outlet: str) -> str | None:
        """Return the last value of an outlet's cursor."""

    def set_cursor(self, outlet: str, value: str, now: datetime) -> None:
        """Move an outlet's cursor."""


class Outbox(Protocol):
    """Mail to send: queued in the transaction that causes it, sent at least once."""

    def put(self, letter: Letter, now: datetime) -> bool:
        """Queue a letter; False if its key was queued before for this recipient."""

    def claim(self, now: datetime, lease: timedelta) -> Letter | None:
        """Take the next letter that is due and count an attempt.

        If nothing is heard of it within `lease`, it is due again.
        """

    def next_due(self) -> datetime | None:
        """Return when the next letter is due."""

    def sent(self, letter: uuid.UUID, now: datetime) -> None:
        """Note a delivery; the bytes are dropped, the key stays."""

    def retry(self, letter: uuid.UUID, error: str, not_before: datetime) -> None:
        """Note a failure that may pass."""

    def failed(self, letter: uuid.UUID, error: str, now: datetime) -> None:
        """Note a failure for good."""

    def failures(self, limit: int = 1000) -> tuple[Letter, ...]:
        """Return letters given up, newest first."""

    def may_answer(self, recipient: Address, now: datetime, *, hourly: int, daily: int) -> bool:
        """Tell whether one more answer to an address is within the caps (rule 23)."""


class Properties(Protocol):
    """Dead properties of collections, each user's own (RFC 4918 section 4.1)."""

    def of(self, user: Address, collection: str) -> dict[str, str]:
        """Return ``{namespace}name`` to XML text, as it was sent."""

    def change(self, user: Address, collection: str, changes: Mapping[str, str | None]) -> None:
        """Set and (None) remove properties, all or none (RFC 4918 section 9.2).

        Raises:
            Invalid: ``bad-property``, ``too-large`` or ``too-many``.
        """

    def drop(self, collection: str) -> None:
        """Remove all users' properties of a collection."""


class Known(Protocol):
    """What CalDAV clients know of tasks: a cache that may be lost."""

    def put(self, notes: Mapping[Place, Knowledge | None], now: datetime) -> None:
        """Note what clients know now, in one transaction; None where a task went."""

    def get(self, place: Place) -> Knowledge | None:
        """Return what a client knows of a task."""

    def prune(self, now: datetime) -> int:
        """Drop what has not been noted for half a year; return how many rows."""


class Directory(Protocol):
    """The whole directory of one domain."""

    @property
    def people(self) -> People:
        """The users."""

    @property
    def passwords(self) -> Passwords:
        """Their app passwords."""

    @property
    def contacts(self) -> Contacts:
        """Whom they know."""

    @property
    def requests(self) -> Requests:
        """What is asked of them and by them."""

    @property
    def journal(self) -> Journal:
        """Mail that came."""

    @property
    def outbox(self) -> Outbox:
        """Mail that goes."""

    @property
    def properties(self) -> Properties:
        """Dead properties."""

    @property
    def known(self) -> Known:
        """What clients know of tasks."""

    def transaction(self) -> AbstractContextManager[None]:
        """Make the calls of this thread inside it one transaction; an exception undoes all."""

    def shut_out(self, user: Address, listing: Listing, decision: Decision) -> tuple[Request, ...]:
        """Block or ignore a sender and end what waits from it; returns the ended requests.

        Raises:
            Invalid: ``bad-list`` for the allow list.
        """

    def close(self) -> None:
        """Give back all connections and files."""
