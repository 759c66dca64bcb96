"""Mail to send, queued where it is caused and sent at least once (mail-trust section 6, rule 23)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Row, func, select, update

from bridge.errors import NotFound
from bridge.model.ids import Address
from bridge.store.directory_engine import added
from bridge.store.directory_records import Letter, LetterKind, LetterState
from bridge.store.directory_tables import letters

if TYPE_CHECKING:
    import uuid
    from datetime import datetime
    from typing import Any

    from bridge.store.directory_engine import Database

ERROR_MAX: Final = 1000
"""Characters kept of another server's complaint."""


class SqlOutbox:
    """`bridge.store.directory_contract.Outbox` in SQL."""

    def __init__(self, database: Database) -> None:
        """Keep letters in `database`."""
        self._database = database

    def put(self, letter: Letter, now: datetime) -> bool:
        """Queue a letter once."""
        values = {
            "id": letter.id,
            "key": letter.key,
            "recipient": letter.recipient,
            "sender": letter.sender,
            "kind": letter.kind,
            "raw": letter.raw,
            "created": now,
            "not_before": letter.not_before,
            "attempts": 0,
            "state": LetterState.QUEUED,
            "last_error": "",
        }
        with self._database.write() as connection:
            return added(connection, self._database.insert(letters), values)

    def claim(self, now: datetime, lease: timedelta) -> Letter | None:
        """Take the next letter that is due."""
        # Other hosts' claims are skipped, not waited for (SQLite knows no row locks).
        due = (
            select(letters)
            .where(letters.c.state == LetterState.QUEUED, letters.c.not_before <= now)
            .order_by(letters.c.not_before, letters.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self._database.write() as connection:
            row = connection.execute(due).first()
            if row is None:
                return None
            taken = (
                update(letters)
                .where(letters.c.id == row.id)
                .values(attempts=letters.c.attempts + 1, not_before=now + lease)
                .returning(letters)
            )
            return _letter(connection.execute(taken).one())

    def next_due(self) -> datetime | None:
        """Return when the next letter is due."""
        query = (
            select(letters.c.not_before)
            .where(letters.c.state == LetterState.QUEUED)
            .order_by(letters.c.not_before)
            .limit(1)
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def sent(self, letter: uuid.UUID, now: datetime) -> None:
        """Note a delivery and drop the bytes."""
        with self._database.write() as connection:
            _change(connection, letter, state=LetterState.SENT, raw=b"", ended=now, last_error="")

    def retry(self, letter: uuid.UUID, error: str, not_before: datetime) -> None:
        """Note a failure that may pass."""
        with self._database.write() as connection:
            _change(connection, letter, not_before=not_before, last_error=error[:ERROR_MAX])

    def failed(self, letter: uuid.UUID, error: str, now: datetime) -> None:
        """Note a failure for good."""
        ended = {"state": LetterState.FAILED, "ended": now, "last_error": error[:ERROR_MAX]}
        with self._database.write() as connection:
            _change(connection, letter, **ended)

    def failures(self, limit: int = 1000) -> tuple[Letter, ...]:
        """Return letters given up, newest first."""
        query = (
            select(letters)
            .where(letters.c.state == LetterState.FAILED)
            .order_by(letters.c.ended.desc(), letters.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(_letter(row) for row in connection.execute(query))

    def may_answer(self, recipient: Address, now: datetime, *, hourly: int, daily: int) -> bool:
        """Tell whether one more answer is within the caps; queued answers count."""
        with self._database.read() as connection:
            return all(
                _answers(connection, recipient, now - span) < cap
                for span, cap in ((timedelta(hours=1), hourly), (timedelta(days=1), daily))
            )


def _answers(connection: Connection, recipient: Address, after: datetime) -> int:
    query = (
        select(func.count())
        .select_from(letters)
        .where(
            letters.c.recipient == recipient,
            letters.c.kind == LetterKind.ANSWER,
            letters.c.created > after,
        )
    )
    return connection.execute(query).scalar_one()


def _change(connection: Connection, letter: uuid.UUID, **values: object) -> None:
    change = update(letters).where(letters.c.id == letter, letters.c.state == LetterState.QUEUED)
    if connection.execute(change.values(**values)).rowcount != 1:
        raise NotFound("no-letter", "there is no such letter in the queue")


def _letter(row: Row[Any]) -> Letter:
    return Letter(
        id=row.id,
        key=row.key,
        recipient=Address(row.recipient),
        sender=row.sender,
        kind=LetterKind(row.kind),
        raw=row.raw,
        not_before=row.not_before,
        attempts=row.attempts,
        state=LetterState(row.state),
        last_error=row.last_error,
    )
