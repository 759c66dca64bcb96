"""Requests: their states, the numbers that clients sync by, and caps (tx-protocol section 13).

Each change takes the next number of its user in the same transaction, with the user's head
row locked until the commit: numbers become visible in their order. A request that ended
stays as its own tombstone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    or_,
    select,
    update,
)

from bridge.errors import Invalid, NotFound
from bridge.model.ids import Address, Digest, TaskId
from bridge.model.request import (
    OPEN,
    Decision,
    Direction,
    Event,
    Kind,
    Level,
    OverCap,
    Preview,
    Request,
    Side,
    State,
    advance,
)
from bridge.store.directory_records import (
    Decided,
    Listing,
    NotPossible,
    RequestChanges,
    SenderKind,
)
from bridge.store.directory_tables import request_heads, requests
from bridge.store.request_counts import request_counts

if TYPE_CHECKING:
    import uuid
    from datetime import datetime
    from typing import Any

    from bridge.model.ids import Domain
    from bridge.model.request import Caps
    from bridge.store.directory_engine import Database

TIMER: Final = "tx-bridge"
"""Who ended a request whose time was over."""
FIELDS_MAX: Final = 64 * 1024
"""Characters of `fields` as JSON (tx-protocol section 18: message 64 KiB)."""


class SqlRequests:
    """`bridge.store.directory_contract.Requests` in SQL."""

    def __init__(self, database: Database) -> None:
        """Keep requests in `database`."""
        self._database = database
        self._locked = (
            database.insert(request_heads)
            .on_conflict_do_update(
                index_elements=[request_heads.c.user], set_={"seq": request_heads.c.seq}
            )
            .returning(request_heads.c.seq)
        )

    def add(self, request: Request) -> Request:
        """Store a request with the next number of its user."""
        values = _values(request)
        with self._database.write() as connection:
            seq = self._lock_head(connection, request.user) + 1
            held = _one(connection, request.side)
            if held is not None:
                if held.sender != request.sender:
                    raise Invalid("id-in-use", "the id names another request")
                return held
            row = connection.execute(_INSERT, {**values, "seq": seq}).one()
            _set_head(connection, request.user, seq)
        return _request(row)

    def get(self, side: Side) -> Request | None:
        """Return one side of a request."""
        with self._database.read() as connection:
            return _one(connection, side)

    def from_domain(self, sender_domain: Domain, request: uuid.UUID) -> tuple[Request, ...]:
        """Return received requests with this id from a domain."""
        return self._list(
            select(requests).where(
                requests.c.id == request,
                requests.c.direction == Direction.RECEIVED,
                requests.c.sender_domain == sender_domain,
            )
        )

    def waiting(self, user: Address) -> tuple[Request, ...]:
        """Return the members of the user's Requests collection, oldest first."""
        return self._list(
            select(requests)
            .where(_received(user), requests.c.state == State.REQUESTED)
            .order_by(requests.c.created, requests.c.id)
        )

    def sent(self, user: Address) -> tuple[Request, ...]:
        """Return what the user asked of others, newest first."""
        return self._list(
            select(requests)
            .where(requests.c.user == user, requests.c.direction == Direction.SENT)
            .order_by(requests.c.created.desc(), requests.c.id)
        )

    def head(self, user: Address) -> int:
        """Return the number of the user's last change."""
        with self._database.read() as connection:
            return _head(connection, user)

    def heads(self) -> dict[Address, int]:
        """Return the number of every user's last change."""
        query = select(request_heads.c.user, request_heads.c.seq)
        with self._database.read() as connection:
            return {Address(row.user): row.seq for row in connection.execute(query)}

    def changes(self, user: Address, after: int, limit: int = 1000) -> RequestChanges:
        """Return what changed after `after`."""
        query = (
            select(requests)
            .where(requests.c.user == user, requests.c.seq > after)
            .order_by(requests.c.seq)
            .limit(limit + 1)
        )
        with self._database.read() as connection:
            head = _head(connection, user)
            # Read second: what came in between is below no token that was given out.
            rows = [_request(row) for row in connection.execute(query)]
        kept = tuple(rows[:limit])
        more = len(rows) > limit
        if kept:
            head = kept[-1].seq if more else max(head, kept[-1].seq)
        return RequestChanges(head=head, requests=kept, more=more)

    def decide(
        self, side: Side, event: Event, decision: Decision, *, task: TaskId | None = None
    ) -> Decided | NotPossible:
        """Move a request."""
        with self._database.write() as connection:
            self._lock_head(connection, side.user)
            held = _one(connection, side)
            if held is None:
                raise NotFound("no-request", "there is no such request")
            if held.state in OPEN and decision.at >= held.expires:
                by_timer = Decision(at=decision.at, by=TIMER)
                ended = self._move(connection, held, State.EXPIRED, by_timer)
                if event is Event.EXPIRE:
                    return Decided(request=ended, changed=True)
                return NotPossible(state=ended.state)
            after = advance(held.state, event)
            if after is None:
                return NotPossible(state=held.state)
            if after is held.state:
                return Decided(request=held, changed=False)
            moved = self._move(connection, held, after, decision, task=task)
            return Decided(request=moved, changed=True)

    def end_all(
        self, user: Address, listing: Listing, event: Event, decision: Decision
    ) -> tuple[Request, ...]:
        """Move all received requests of a listed sender."""
        query = select(requests).where(_received(user), _from(listing), requests.c.state.in_(OPEN))
        ended = []
        with self._database.write() as connection:
            self._lock_head(connection, user)
            for row in connection.execute(query.order_by(requests.c.seq)).all():
                held = _request(row)
                after = advance(held.state, event)
                if after is not None and after is not held.state:
                    ended.append(self._move(connection, held, after, decision))
        return tuple(ended)

    def expire(self, now: datetime, limit: int = 1000) -> tuple[Request, ...]:
        """End the requests whose time is over."""
        due = and_(requests.c.state.in_(OPEN), requests.c.expires <= now)
        ended: list[Request] = []
        with self._database.write() as connection:
            sides = select(requests).where(due).order_by(requests.c.user, requests.c.seq)
            late = [_request(row) for row in connection.execute(sides.limit(limit)).all()]
            # By user, so that two timers lock heads in one order.
            for user in sorted({request.user for request in late}):
                self._lock_head(connection, user)
            for side in (request.side for request in late):
                held = _one(connection, side)
                if held is not None and held.state in OPEN:
                    by_timer = Decision(at=now, by=TIMER)
                    ended.append(self._move(connection, held, State.EXPIRED, by_timer))
        return tuple(ended)

    def trim(self, before: datetime) -> int:
        """Empty what ended requests said."""
        empty = (
            update(requests)
            .where(
                requests.c.state.not_in(OPEN),
                requests.c.decided_at < before,
                or_(requests.c.title != "", requests.c.notes != "", requests.c.fields != "{}"),
            )
            .values(title="", notes="", fields="{}")
        )
        with self._database.write() as connection:
            return connection.execute(empty).rowcount

    def over_cap(
        self, recipient: Address, sender: Address, *, known: bool, now: datetime, caps: Caps
    ) -> OverCap | None:
        """Return the cap that one more request would break."""
        with self._database.read() as connection:
            counts = request_counts(connection, recipient, sender, known=known, now=now)
        limits = (
            (counts.hour, caps.known_hourly if known else caps.stranger_hourly, OverCap.HOURLY),
            (counts.unanswered, caps.open_each, OverCap.OPEN),
            (counts.day, caps.daily_each, OverCap.DAILY),
            (counts.waiting, caps.stranger_waiting, OverCap.WAITING),
        )
        return next((cap for count, limit, cap in limits if count >= limit), None)

    def _list(self, query: Select[Any]) -> tuple[Request, ...]:
        with self._database.read() as connection:
            return tuple(_request(row) for row in connection.execute(query))

    def _lock_head(self, connection: Connection, user: Address) -> int:
        """Return the user's head and keep others from moving it until the commit."""
        head: int = connection.execute(self._locked, {"user": user, "seq": 0}).scalar_one()
        return head

    def _move(
        self,
        connection: Connection,
        held: Request,
        state: State,
        decision: Decision,
        *,
        task: TaskId | None = None,
    ) -> Request:
        seq = _head(connection, held.user) + 1
        connection.execute(
            update(requests)
            .where(_at(held.side))
            .values(
                state=state,
                decided_at=decision.at,
                decided_by=decision.by,
                decision_reason=decision.reason,
                task=task or held.task,
                seq=seq,
            )
        )
        _set_head(connection, held.user, seq)
        moved = _one(connection, held.side)
        if moved is None:  # pragma: no cover - its row was just written
            raise NotFound("no-request", "there is no such request")
        return moved


def _at(side: Side) -> ColumnElement[bool]:
    return and_(
        requests.c.user == side.user,
        requests.c.direction == side.direction,
        requests.c.id == side.id,
    )


def _received(user: Address) -> ColumnElement[bool]:
    return and_(requests.c.user == user, requests.c.direction == Direction.RECEIVED)


def _from(listing: Listing) -> ColumnElement[bool]:
    """Match a listed sender; a domain with its subdomains, as `Contacts.standing` does."""
    match listing.kind:
        case SenderKind.ADDRESS:
            return requests.c.sender == listing.value
        case SenderKind.KEY:
            return requests.c.fingerprint == listing.value
        case SenderKind.DOMAIN:
            below = requests.c.sender_domain.endswith(f".{listing.value}", autoescape=True)
            return or_(requests.c.sender_domain == listing.value, below)


def _one(connection: Connection, side: Side) -> Request | None:
    names = {"of_user": side.user, "direction": side.direction, "id": side.id}
    row = connection.execute(_ONE, names).first()
    return None if row is None else _request(row)


def _head(connection: Connection, user: Address) -> int:
    return connection.execute(_HEAD, {"of_user": user}).scalar_one_or_none() or 0


def _set_head(connection: Connection, user: Address, seq: int) -> None:
    connection.execute(_SET_HEAD, {"of_user": user, "new_seq": seq})


# Built once: SQLAlchemy takes longer to build these than SQLite to answer them.
_INSERT = requests.insert().returning(requests)
_ONE = select(requests).where(
    requests.c.user == bindparam("of_user"),
    requests.c.direction == bindparam("direction"),
    requests.c.id == bindparam("id"),
)
_HEAD = select(request_heads.c.seq).where(request_heads.c.user == bindparam("of_user"))
_SET_HEAD = (
    update(request_heads)
    .where(request_heads.c.user == bindparam("of_user"))
    .values(seq=bindparam("new_seq"))
)


def _values(request: Request) -> dict[str, object]:
    fields = json.dumps(dict(request.fields), sort_keys=True, separators=(",", ":"))
    if len(fields) > FIELDS_MAX:
        raise Invalid("too-large", f"the fields are longer than {FIELDS_MAX} characters")
    decision = request.decision
    return {
        "user": request.user,
        "direction": request.direction,
        "id": request.id,
        "kind": request.kind,
        "recipient": request.recipient,
        "sender": request.sender,
        "sender_domain": request.sender_domain,
        "level": request.level,
        "method": request.method,
        "fingerprint": request.fingerprint,
        "proof_reason": request.proof_reason,
        "quarantined": request.quarantined,
        "message": request.message,
        "project_hint": request.project_hint,
        "task": request.task,
        "title": request.preview.title,
        "notes": request.preview.notes,
        "due": request.preview.due,
        "priority": request.preview.priority,
        "fields": fields,
        "state": request.state,
        "created": request.created,
        "expires": request.expires,
        "decided_at": None if decision is None else decision.at,
        "decided_by": "" if decision is None else decision.by,
        "decision_reason": "" if decision is None else decision.reason,
    }


def _request(row: Row[Any]) -> Request:
    decision = None
    if row.decided_at is not None:
        decision = Decision(at=row.decided_at, by=row.decided_by, reason=row.decision_reason)
    return Request(
        id=row.id,
        kind=Kind(row.kind),
        direction=Direction(row.direction),
        recipient=Address(row.recipient),
        sender=Address(row.sender),
        level=Level(row.level),
        preview=Preview(title=row.title, notes=row.notes, due=row.due, priority=row.priority),
        created=row.created,
        expires=row.expires,
        method=row.method,
        fingerprint=row.fingerprint,
        proof_reason=row.proof_reason,
        quarantined=row.quarantined,
        message=None if row.message is None else Digest(row.message),
        project_hint=row.project_hint,
        task=None if row.task is None else TaskId(row.task),
        fields=json.loads(row.fields),
        state=State(row.state),
        decision=decision,
        seq=row.seq,
    )
