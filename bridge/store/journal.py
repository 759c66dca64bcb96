"""Mail that came, each once, and cursors of outlets (mail-trust section 8, rule 17).

The journal forgets nothing: a replay after years must still be recognised. It holds digests
and outcomes, no content.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, exists, or_, select, update
from sqlalchemy.exc import IntegrityError

from bridge.errors import Invalid, NotFound
from bridge.model.ids import Address, Digest, digest_of
from bridge.store.directory_engine import added
from bridge.store.directory_records import (
    Arrival,
    Door,
    JournalEntry,
    MailPlace,
    MailState,
    New,
    Seen,
)
from bridge.store.directory_tables import cursors, mail_places, mails

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from bridge.model.request import Json
    from bridge.store.directory_engine import Database

MESSAGE_ID_MAX: Final = 255
"""Characters of a Message-ID that is kept as written."""

# Built once: each mail runs these, and SQLAlchemy takes longer to build than SQLite to answer.
_SAME_CONTENT = select(mails.c.id).where(
    mails.c.recipient == bindparam("recipient"), mails.c.content == bindparam("content")
)
_RECIPIENT = select(mails.c.recipient).where(mails.c.id == bindparam("mail"))
_REUSED = select(
    exists().where(
        mails.c.message_id == bindparam("message_id"),
        mails.c.recipient == bindparam("recipient"),
        mails.c.content != bindparam("content"),
    )
)

_BIND = (
    update(mails)
    .where(mails.c.id == bindparam("mail"))
    .values(entity=bindparam("new_entity"), signer=bindparam("new_signer"))
)
_ELSEWHERE = select(mails.c.id).where(
    mails.c.entity == bindparam("new_entity"),
    mails.c.signer == bindparam("new_signer"),
    mails.c.recipient != bindparam("recipient"),
)
_FINISH = (
    update(mails)
    .where(mails.c.id == bindparam("mail"), mails.c.state == MailState.RECEIVED)
    .values(
        state=bindparam("new_state"),
        outcome=bindparam("new_outcome"),
        result_id=bindparam("new_result"),
    )
)


class SqlJournal:
    """`bridge.store.directory_contract.Journal` in SQL."""

    def __init__(self, database: Database) -> None:
        """Keep the journal in `database`."""
        self._database = database

    def begin(self, arrival: Arrival, now: datetime) -> New | Seen:
        """Record a mail, or find it."""
        values = {
            "id": arrival.id,
            "recipient": arrival.recipient,
            "content": arrival.content,
            "door": arrival.door,
            "message_id": _name(arrival.message_id),
            "signer": "",
            "state": MailState.RECEIVED,
            "outcome": "{}",
            "result_id": "",
            "received_at": now,
        }
        with self._database.write() as connection:
            if added(connection, self._database.insert(mails), values):
                self._put_place(connection, arrival, arrival.id)
                return New(id=arrival.id, message_id_reused=_reused(connection, arrival))
            row = connection.execute(_SAME_CONTENT, values).first()
            if row is None:
                raise Invalid("id-in-use", "the id names another mail")
            self._put_place(connection, arrival, row.id)
            entry = _first(connection, mails.c.id == row.id)
        if entry is None:  # pragma: no cover - the journal forgets nothing
            raise NotFound("no-mail", "there is no such mail in the journal")
        return Seen(entry=entry)

    def bind(self, mail: uuid.UUID, entity: Digest, signer: str) -> New | Seen:
        """Record the signed entity of a mail, or find the mail that brought it before."""
        values = {"mail": mail, "new_entity": entity, "new_signer": signer}
        with self._database.write() as connection:
            recipient = connection.execute(_RECIPIENT, values).scalar_one_or_none()
            if recipient is None:
                raise NotFound("no-mail", "there is no such mail in the journal")
            try:
                # The unique key decides, not a look before: two hosts may hold copies.
                with connection.begin_nested():
                    connection.execute(_BIND, values)
            except IntegrityError:
                earlier = _all(connection, _same_entity(entity, signer, recipient))
                if not earlier:
                    raise
                return Seen(entry=earlier[0])
            ids = connection.execute(_ELSEWHERE, {**values, "recipient": recipient}).scalars().all()
            elsewhere = _all(connection, mails.c.id.in_(ids)) if ids else ()
        return New(id=mail, elsewhere=elsewhere)

    def finish(
        self,
        mail: uuid.UUID,
        state: MailState,
        outcome: Mapping[str, Json],
        *,
        result_id: str = "",
    ) -> bool:
        """Record what became of a mail, once."""
        if state not in {MailState.COMMITTED, MailState.REJECTED}:
            raise Invalid("bad-state", "a mail ends as committed or rejected")
        values = {
            "mail": mail,
            "new_state": state,
            "new_outcome": json.dumps(dict(outcome), sort_keys=True),
            "new_result": result_id,
        }
        with self._database.write() as connection:
            if connection.execute(_FINISH, values).rowcount == 1:
                return True
            if _first(connection, mails.c.id == mail) is None:
                raise NotFound("no-mail", "there is no such mail in the journal")
            return False

    def at(self, place: MailPlace) -> JournalEntry | None:
        """Return the mail at a place."""
        query = select(mail_places.c.mail).where(_place(place))
        with self._database.read() as connection:
            return _first(connection, mails.c.id.in_(query))

    def get(self, mail: uuid.UUID) -> JournalEntry | None:
        """Return one mail."""
        with self._database.read() as connection:
            return _first(connection, mails.c.id == mail)

    def moved(self, place: MailPlace, now: datetime) -> None:
        """Note that a copy has left its mailbox; with the last one the mail is moved."""
        leave = (
            update(mail_places)
            .where(_place(place), mail_places.c.moved.is_(None))
            .values(moved=now)
            .returning(mail_places.c.mail)
        )
        with self._database.write() as connection:
            mail = connection.execute(leave).scalar_one_or_none()
            if mail is None:
                return
            connection.execute(
                update(mails)
                .where(mails.c.id == mail, mails.c.state == MailState.COMMITTED, ~_unmoved())
                .values(state=MailState.MOVED)
            )

    def pending(self, limit: int = 1000) -> tuple[JournalEntry, ...]:
        """Return mail without an outcome or with copies not moved, oldest first."""
        with self._database.read() as connection:
            return _all(connection, or_(mails.c.state == MailState.RECEIVED, _unmoved()), limit)

    def cursor(self, outlet: str) -> str | None:
        """Return the last value of an outlet's cursor."""
        query = select(cursors.c.value).where(cursors.c.outlet == outlet)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def set_cursor(self, outlet: str, value: str, now: datetime) -> None:
        """Move an outlet's cursor."""
        insert = self._database.insert(cursors).values(outlet=outlet, value=value, moved=now)
        put = insert.on_conflict_do_update(
            index_elements=[cursors.c.outlet], set_={"value": value, "moved": now}
        )
        with self._database.write() as connection:
            connection.execute(put)

    def _put_place(self, connection: Connection, arrival: Arrival, mail: uuid.UUID) -> None:
        place = arrival.place
        if place is None:
            return
        insert = self._database.insert(mail_places)
        # A server that reuses a UID against RFC 9051 gets the newer mail looked up.
        put = insert.on_conflict_do_update(
            index_elements=list(mail_places.primary_key),
            set_={"mail": insert.excluded.mail, "moved": None},
            where=mail_places.c.mail != insert.excluded.mail,
        )
        values = {"mailbox": place.mailbox, "uidvalidity": place.uidvalidity, "uid": place.uid}
        connection.execute(put, {**values, "mail": mail})


def _place(place: MailPlace) -> ColumnElement[bool]:
    return and_(
        mail_places.c.mailbox == place.mailbox,
        mail_places.c.uidvalidity == place.uidvalidity,
        mail_places.c.uid == place.uid,
    )


def _same_entity(entity: Digest, signer: str, recipient: str) -> ColumnElement[bool]:
    return and_(mails.c.entity == entity, mails.c.signer == signer, mails.c.recipient == recipient)


def _unmoved() -> ColumnElement[bool]:
    return exists().where(mail_places.c.mail == mails.c.id, mail_places.c.moved.is_(None))


def _name(message_id: str) -> str:
    """Return a Message-ID as it is kept: an endless or odd one by its digest."""
    if len(message_id) <= MESSAGE_ID_MAX and message_id.isascii() and message_id.isprintable():
        return message_id
    return digest_of(message_id.encode(errors="surrogatepass"))


def _reused(connection: Connection, arrival: Arrival) -> bool:
    if not arrival.message_id:
        return False
    values = {
        "message_id": _name(arrival.message_id),
        "recipient": arrival.recipient,
        "content": arrival.content,
    }
    return bool(connection.execute(_REUSED, values).scalar_one())


def _first(connection: Connection, condition: ColumnElement[bool]) -> JournalEntry | None:
    found = _all(connection, condition, 1)
    return found[0] if found else None


def _all(
    connection: Connection, condition: ColumnElement[bool], limit: int = 1000
) -> tuple[JournalEntry, ...]:
    query = select(mails).where(condition).order_by(mails.c.received_at, mails.c.id).limit(limit)
    rows = connection.execute(query).all()
    places: dict[uuid.UUID, list[MailPlace]] = {row.id: [] for row in rows}
    left = select(mail_places).where(
        mail_places.c.mail.in_(list(places)), mail_places.c.moved.is_(None)
    )
    for row in connection.execute(left):
        places[row.mail].append(
            MailPlace(mailbox=row.mailbox, uidvalidity=row.uidvalidity, uid=row.uid)
        )
    return tuple(_entry(row, tuple(places[row.id])) for row in rows)


def _entry(row: Row[Any], unmoved: tuple[MailPlace, ...]) -> JournalEntry:
    return JournalEntry(
        id=row.id,
        recipient=Address(row.recipient),
        door=Door(row.door),
        content=Digest(row.content),
        message_id=row.message_id,
        state=MailState(row.state),
        outcome=json.loads(row.outcome),
        result_id=row.result_id,
        received_at=row.received_at,
        entity=None if row.entity is None else Digest(row.entity),
        signer=row.signer,
        unmoved=unmoved,
    )
