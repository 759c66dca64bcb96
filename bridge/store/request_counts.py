"""How many requests came from whom: what `bridge.model.request.Caps` limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
)

from bridge.model.ids import Address, domain_of
from bridge.model.request import OPEN, Direction, State
from bridge.store.directory_tables import Instant, requests

if TYPE_CHECKING:
    from datetime import datetime

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCounts:
    """Requests of the last hour and day over all recipients, unanswered and waiting at one."""

    hour: int
    unanswered: int
    day: int
    waiting: int


def request_counts(
    connection: Connection, recipient: Address, sender: Address, *, known: bool, now: datetime
) -> RequestCounts:
    """Count what `sender`, known to `recipient` or not, has asked until `now`."""
    values = {
        "recipient": recipient,
        "author": sender,
        "domain": domain_of(sender),
        "an_hour_ago": now - _HOUR,
        "a_day_ago": now - _DAY,
    }
    hour, unanswered, day, waiting = connection.execute(_COUNTS[known], values).one()
    return RequestCounts(hour=hour, unanswered=unanswered, day=day, waiting=waiting)


def _counts(*, known: bool) -> Select[int, int, int, int]:
    """Return the query for what `Caps` limits: an hour, unanswered, a day, waiting."""
    r = requests.c
    mine = r.user == bindparam("recipient")
    domain = r.sender_domain == bindparam("domain")
    author = r.sender == bindparam("author")
    strange = and_(domain, r.quarantined.is_(True))
    # An unproved author may change his name within his domain.
    ours = author if known else or_(author, strange)
    waiting = and_(mine, r.state == State.REQUESTED, r.quarantined.is_(True))
    return select(
        _count(
            and_(domain if known else strange, r.created > bindparam("an_hour_ago", type_=Instant))
        ),
        _count(and_(mine, ours, r.state.in_(OPEN))),
        _count(and_(ours, r.created > bindparam("a_day_ago", type_=Instant))),
        literal(0) if known else _count(waiting),
    )


def _count(condition: ColumnElement[bool]) -> ScalarSelect[int]:
    received = requests.c.direction == Direction.RECEIVED
    return select(func.count()).select_from(requests).where(received, condition).scalar_subquery()


# Built once: SQLAlchemy takes longer to build these than SQLite to answer them.
_COUNTS: Final = {known: _counts(known=known) for known in (False, True)}
