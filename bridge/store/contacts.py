"""Contacts, pinned keys and lists of senders (mail-trust section 6, step 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, or_, select, update

from bridge.model.ids import Address, domain_of
from bridge.store.directory_records import (
    Acquaintance,
    Contact,
    KeySight,
    Listing,
    ListName,
    Pin,
    PinKind,
    SenderKind,
    Standing,
)
from bridge.store.directory_tables import contacts, listings, pins

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from typing import Any

    from bridge.store.directory_engine import Database

_STANDINGS = {
    ListName.BLOCK: Standing.BLOCKED,
    ListName.IGNORE: Standing.IGNORED,
    ListName.ALLOW: Standing.ALLOWED,
}


def _pin(row: Row[Any]) -> Pin:
    return Pin(
        kind=PinKind(row.kind),
        fingerprint=row.fingerprint,
        material=row.material,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
    )


def _contact(row: Row[Any], held: Iterable[Row[Any]]) -> Contact:
    return Contact(
        user=Address(row.user),
        address=Address(row.address),
        name=row.name,
        acquaintance=Acquaintance(row.acquaintance),
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        key_changed=row.key_changed,
        pins=tuple(_pin(pin) for pin in held),
    )


def _that(user: Address, address: Address) -> ColumnElement[bool]:
    return and_(contacts.c.user == user, contacts.c.address == address)


def _pinned(contact: Contact) -> ColumnElement[bool]:
    return and_(pins.c.user == contact.user, pins.c.address == contact.address)


def ancestors(domain: str) -> list[str]:
    """Return a domain and the domains above it, nearest first."""
    labels = domain.split(".")
    return [".".join(labels[at:]) for at in range(len(labels))]


class SqlContacts:
    """`bridge.store.directory_contract.Contacts` in SQL."""

    def __init__(self, database: Database) -> None:
        """Keep contacts in `database`."""
        self._database = database

    def remember(
        self, user: Address, address: Address, how: Acquaintance, now: datetime, *, name: str = ""
    ) -> None:
        """Add a contact or note that it was met again."""
        insert = self._database.insert(contacts).values(
            user=user,
            address=address,
            name=name,
            acquaintance=how,
            first_seen=now,
            last_seen=now,
        )
        met: dict[str, object] = {"last_seen": now}
        if name:
            met["name"] = name
        if how is Acquaintance.ALLOWED:
            met["acquaintance"] = how
        key = [contacts.c.user, contacts.c.address]
        with self._database.write() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=key, set_=met))

    def set_acquaintance(self, user: Address, address: Address, how: Acquaintance) -> bool:
        """Raise or lower a contact."""
        change = update(contacts).where(_that(user, address)).values(acquaintance=how)
        with self._database.write() as connection:
            return connection.execute(change).rowcount == 1

    def get(self, user: Address, address: Address) -> Contact | None:
        """Return a contact with its pins."""
        with self._database.read() as connection:
            row = connection.execute(select(contacts).where(_that(user, address))).first()
            if row is None:
                return None
            held = connection.execute(
                select(pins)
                .where(pins.c.user == user, pins.c.address == address)
                .order_by(pins.c.first_seen, pins.c.fingerprint)
            ).all()
        return _contact(row, held)

    def of(self, user: Address) -> tuple[Contact, ...]:
        """Return a user's contacts by address, two selects in all."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(contacts).where(contacts.c.user == user).order_by(contacts.c.address)
            ).all()
            held = connection.execute(
                select(pins)
                .where(pins.c.user == user)
                .order_by(pins.c.first_seen, pins.c.fingerprint)
            ).all()
        by_address: dict[str, list[Row[Any]]] = {}
        for pin in held:
            by_address.setdefault(pin.address, []).append(pin)
        return tuple(_contact(row, by_address.get(row.address, ())) for row in rows)

    def forget(self, user: Address, address: Address) -> bool:
        """Remove a contact; its pins go with it."""
        with self._database.write() as connection:
            return connection.execute(delete(contacts).where(_that(user, address))).rowcount == 1

    def see_key(self, contact: Contact, kind: PinKind, fingerprint: str, now: datetime) -> KeySight:
        """Compare a key with the pins."""
        with self._database.write() as connection:
            held = connection.execute(
                select(pins.c.kind, pins.c.fingerprint).where(_pinned(contact))
            )
            known = {(row.kind, row.fingerprint) for row in held}
            if (kind, fingerprint) in known:
                connection.execute(
                    update(pins)
                    .where(_pinned(contact), pins.c.kind == kind, pins.c.fingerprint == fingerprint)
                    .values(last_seen=now)
                )
                return KeySight.PINNED
            if not known:
                return KeySight.FIRST
            connection.execute(
                update(contacts)
                .where(_that(contact.user, contact.address), contacts.c.key_changed.is_(None))
                .values(key_changed=now)
            )
            return KeySight.CHANGED

    def pin(self, contact: Contact, pin: Pin) -> None:
        """Pin a key and lower the flag."""
        insert = self._database.insert(pins).values(
            user=contact.user,
            address=contact.address,
            kind=pin.kind,
            fingerprint=pin.fingerprint,
            material=pin.material,
            first_seen=pin.first_seen,
            last_seen=pin.last_seen,
        )
        again = {"material": pin.material, "last_seen": pin.last_seen}
        put = insert.on_conflict_do_update(index_elements=list(pins.primary_key), set_=again)
        with self._database.write() as connection:
            connection.execute(put)
            connection.execute(
                update(contacts)
                .where(_that(contact.user, contact.address))
                .values(key_changed=None)
            )

    def unpin(self, contact: Contact, kind: PinKind, fingerprint: str) -> bool:
        """Remove a pin."""
        gone = delete(pins).where(
            _pinned(contact), pins.c.kind == kind, pins.c.fingerprint == fingerprint
        )
        with self._database.write() as connection:
            return connection.execute(gone).rowcount == 1

    def put_on_list(self, user: Address, listing: Listing, now: datetime) -> None:
        """List a sender; the key of the table lets it be on one list only."""
        insert = self._database.insert(listings).values(
            user=user, kind=listing.kind, value=listing.value, list=listing.list, since=now
        )
        put = insert.on_conflict_do_update(
            index_elements=list(listings.primary_key), set_={"list": listing.list, "since": now}
        )
        with self._database.write() as connection:
            connection.execute(put)

    def take_off_list(self, user: Address, listing: Listing) -> bool:
        """Remove a sender from a list."""
        gone = delete(listings).where(
            listings.c.user == user,
            listings.c.kind == listing.kind,
            listings.c.value == listing.value,
            listings.c.list == listing.list,
        )
        with self._database.write() as connection:
            return connection.execute(gone).rowcount == 1

    def listed(self, user: Address) -> tuple[Listing, ...]:
        """Return a user's lists."""
        query = select(listings).where(listings.c.user == user)
        order = (listings.c.list, listings.c.kind, listings.c.value)
        with self._database.read() as connection:
            return tuple(
                Listing(list=ListName(row.list), kind=SenderKind(row.kind), value=row.value)
                for row in connection.execute(query.order_by(*order))
            )

    def standing(self, user: Address, sender: Address, fingerprint: str = "") -> Standing:
        """Return the sender's row of the accept policy, first match wins."""
        with self._database.read() as connection:
            hit = _lists_hit(connection, user, sender, fingerprint)
            contact = self.get(user, sender)
        if hit & {Standing.BLOCKED, Standing.IGNORED}:
            return Standing.BLOCKED if Standing.BLOCKED in hit else Standing.IGNORED
        if contact is not None and _strange_key(contact, fingerprint):
            return Standing.UNKNOWN
        if Standing.ALLOWED in hit:
            return Standing.ALLOWED
        if contact is None:
            return Standing.UNKNOWN
        return Standing(contact.acquaintance)


def _strange_key(contact: Contact, fingerprint: str) -> bool:
    """Tell whether a person must look at the contact's keys first."""
    if contact.key_changed is not None:
        return True
    known = {pin.fingerprint for pin in contact.pins}
    return bool(fingerprint and known) and fingerprint not in known


def _lists_hit(
    connection: Connection, user: Address, sender: Address, fingerprint: str
) -> set[Standing]:
    domain = domain_of(sender)
    named = or_(
        and_(listings.c.kind == SenderKind.ADDRESS, listings.c.value == sender),
        and_(listings.c.kind == SenderKind.KEY, listings.c.value == fingerprint),
        and_(listings.c.kind == SenderKind.DOMAIN, listings.c.value.in_(ancestors(domain))),
    )
    rows = connection.execute(
        select(listings.c.list, listings.c.kind, listings.c.value).where(
            listings.c.user == user, named
        )
    )
    return {
        _STANDINGS[ListName(row.list)]
        for row in rows
        # Trust is not inherited: allowing example.com says nothing of a.example.com.
        if not (row.list == ListName.ALLOW and row.kind == SenderKind.DOMAIN) or row.value == domain
    }
