"""Users, their app passwords and their dead properties (the `people` part of the directory)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from bridge.errors import Invalid, NotFound
from bridge.model.ids import Address, ProjectId
from bridge.model.request import Level
from bridge.store.directory_engine import added
from bridge.store.directory_records import (
    Credential,
    CredentialChanges,
    Notice,
    Policy,
    User,
    Verifier,
)
from bridge.store.directory_tables import counters, credentials, properties, users

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from bridge.store.directory_engine import Database

PROPERTY_MAX_BYTES: Final = 64 * 1024
"""Of one property's XML: Apple's calendar-timezone holds a whole VTIMEZONE history."""
PROPERTIES_MAX: Final = 100
"""Of one user on one collection."""
_NAME_MAX: Final = 400
_PROPERTY = re.compile(r"\{[^{}\x00-\x20]*\}[^{}\x00-\x20]+\Z")
_CREDENTIALS: Final = "credentials"


def _policy_text(policy: Policy) -> str:
    return json.dumps(
        {
            "auto_accept_known": sorted(policy.auto_accept_known),
            "notice": policy.notice,
            "say_blocked": policy.say_blocked,
        },
        sort_keys=True,
    )


def _policy(text: str) -> Policy:
    held = json.loads(text)
    return Policy(
        auto_accept_known=frozenset(Level(level) for level in held["auto_accept_known"]),
        notice=Notice(held["notice"]),
        say_blocked=held["say_blocked"],
    )


def _user(row: Row[Any]) -> User:
    return User(
        address=Address(row.address),
        name=row.name,
        created=row.created,
        language=row.language,
        time_zone=row.time_zone,
        disabled=row.disabled,
        default_project=None if row.default_project is None else ProjectId(row.default_project),
        policy=_policy(row.policy),
    )


def _credential(row: Row[Any]) -> Credential:
    return Credential(
        id=row.id,
        user=Address(row.user),
        label=row.label,
        created=row.created,
        last_used=row.last_used,
        revoked=row.revoked,
    )


class CredentialGeneration:
    """Numbers the changes that end or begin a login; part of the same transaction."""

    def __init__(self, database: Database) -> None:
        """Count for `database`."""
        self._database = database
        self.changes_here = 0

    def touch(self, connection: Connection, user: str) -> None:
        """Give `user` the next generation; its row stays locked until the commit."""
        insert = self._database.insert(counters).values(name=_CREDENTIALS, value=1)
        bumped = insert.on_conflict_do_update(
            index_elements=[counters.c.name], set_={"value": counters.c.value + 1}
        ).returning(counters.c.value)
        generation = connection.execute(bumped).scalar_one()
        connection.execute(
            update(users).where(users.c.address == user).values(credentials_generation=generation)
        )
        self._database.after_commit(self._changed)

    def _changed(self) -> None:
        # Two threads may meet here and count one: any other number than before is enough.
        self.changes_here += 1


class SqlPeople:
    """`bridge.store.directory_contract.People` in SQL."""

    def __init__(self, database: Database, generation: CredentialGeneration) -> None:
        """Keep users in `database`."""
        self._database = database
        self._generation = generation

    def add(self, user: User) -> bool:
        """Add `user` unless the address is taken."""
        values = {
            "address": user.address,
            "name": user.name,
            "language": user.language,
            "time_zone": user.time_zone,
            "created": user.created,
            "disabled": user.disabled,
            "default_project": user.default_project,
            "policy": _policy_text(user.policy),
        }
        with self._database.write() as connection:
            return added(connection, self._database.insert(users), values)

    def get(self, address: Address) -> User | None:
        """Return one user."""
        with self._database.read() as connection:
            row = connection.execute(select(users).where(users.c.address == address)).first()
        return None if row is None else _user(row)

    def all(self) -> tuple[User, ...]:
        """Return all users by address."""
        with self._database.read() as connection:
            rows = connection.execute(select(users).order_by(users.c.address)).all()
        return tuple(_user(row) for row in rows)

    def describe(self, address: Address, *, name: str, language: str, time_zone: str) -> None:
        """Change name, language and time zone."""
        self._set(address, name=name, language=language, time_zone=time_zone)

    def set_policy(self, address: Address, policy: Policy) -> None:
        """Change the policy."""
        self._set(address, policy=_policy_text(policy))

    def set_default_project(self, address: Address, project: ProjectId | None) -> None:
        """Change the default project."""
        self._set(address, default_project=project)

    def disable(self, address: Address, now: datetime) -> None:
        """Refuse the user's passwords."""
        with self._database.write() as connection:
            self._set(address, disabled=now)
            self._generation.touch(connection, address)

    def enable(self, address: Address) -> None:
        """Take the user's passwords again."""
        with self._database.write() as connection:
            self._set(address, disabled=None)
            self._generation.touch(connection, address)

    def _set(self, address: Address, **values: object) -> None:
        with self._database.write() as connection:
            change = update(users).where(users.c.address == address).values(**values)
            if connection.execute(change).rowcount != 1:
                raise NotFound("no-user", "there is no such user")


class SqlPasswords:
    """`bridge.store.directory_contract.Passwords` in SQL."""

    def __init__(self, database: Database, generation: CredentialGeneration) -> None:
        """Keep credentials in `database`."""
        self._database = database
        self._generation = generation

    @property
    def changes_here(self) -> int:
        """Counts this process's own changes."""
        return self._generation.changes_here

    def add(self, credential: Credential, *, selector: str, password_hash: str) -> bool:
        """Store a credential unless its selector is in use."""
        values = {
            "id": credential.id,
            "user": credential.user,
            "selector": selector,
            "hash": password_hash,
            "label": credential.label,
            "created": credential.created,
        }
        with self._database.write() as connection:
            if not added(connection, self._database.insert(credentials), values):
                return False
            self._generation.touch(connection, credential.user)
        return True

    def find(self, user: Address, selector: str) -> Verifier | None:
        """Return the live credential of an enabled user."""
        query = (
            select(credentials)
            .join(users, users.c.address == credentials.c.user)
            .where(
                credentials.c.user == user,
                credentials.c.selector == selector,
                credentials.c.revoked.is_(None),
                users.c.disabled.is_(None),
            )
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else Verifier(credential=_credential(row), hash=row.hash)

    def of(self, user: Address) -> tuple[Credential, ...]:
        """Return a user's credentials, oldest first."""
        query = select(credentials).where(credentials.c.user == user)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(credentials.c.created, credentials.c.id))
            return tuple(_credential(row) for row in rows)

    def revoke(self, credential: uuid.UUID, now: datetime) -> bool:
        """End a credential."""
        end = (
            update(credentials)
            .where(credentials.c.id == credential, credentials.c.revoked.is_(None))
            .values(revoked=now)
            .returning(credentials.c.user)
        )
        with self._database.write() as connection:
            user = connection.execute(end).scalar_one_or_none()
            if user is not None:
                self._generation.touch(connection, user)
        return user is not None

    def used(self, credential: uuid.UUID, now: datetime, *, new_hash: str = "") -> None:
        """Note a login."""
        values: dict[str, object] = {"last_used": now}
        if new_hash:
            values["hash"] = new_hash
        with self._database.write() as connection:
            connection.execute(
                update(credentials).where(credentials.c.id == credential).values(values)
            )

    def changed_since(self, generation: int) -> CredentialChanges:
        """Return whose credentials changed."""
        query = select(users.c.address, users.c.credentials_generation).where(
            users.c.credentials_generation > generation
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return CredentialChanges(
            generation=max((row[1] for row in rows), default=generation),
            users=frozenset(row[0] for row in rows),
        )


class SqlProperties:
    """`bridge.store.directory_contract.Properties` in SQL."""

    def __init__(self, database: Database) -> None:
        """Keep properties in `database`."""
        self._database = database

    def of(self, user: Address, collection: str) -> dict[str, str]:
        """Return a user's properties of a collection."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(properties.c.name, properties.c.xml).where(_mine(user, collection))
            )
            return {row.name: row.xml for row in rows}

    def change(self, user: Address, collection: str, changes: Mapping[str, str | None]) -> None:
        """Set and remove properties, all or none."""
        for name, xml in changes.items():
            _check_property(name, xml)
        with self._database.write() as connection:
            gone = [name for name, xml in changes.items() if xml is None]
            connection.execute(
                delete(properties).where(_mine(user, collection), properties.c.name.in_(gone))
            )
            kept = [
                {"user": user, "collection": collection, "name": name, "xml": xml}
                for name, xml in changes.items()
                if xml is not None
            ]
            if not kept:
                return
            insert = self._database.insert(properties)
            put = insert.on_conflict_do_update(
                index_elements=list(properties.primary_key), set_={"xml": insert.excluded.xml}
            )
            connection.execute(put, kept)
            count = select(func.count()).select_from(properties).where(_mine(user, collection))
            if connection.execute(count).scalar_one() > PROPERTIES_MAX:
                raise Invalid("too-many", f"a collection keeps at most {PROPERTIES_MAX} properties")

    def drop(self, collection: str) -> None:
        """Remove all users' properties of a collection."""
        with self._database.write() as connection:
            connection.execute(delete(properties).where(properties.c.collection == collection))


def _mine(user: Address, collection: str) -> ColumnElement[bool]:
    return (properties.c.user == user) & (properties.c.collection == collection)


def _check_property(name: str, xml: str | None) -> None:
    if len(name) > _NAME_MAX or not _PROPERTY.match(name):
        raise Invalid("bad-property", "a property name is {namespace}name")
    if xml is not None and len(xml.encode(errors="replace")) > PROPERTY_MAX_BYTES:
        raise Invalid("too-large", f"a property holds at most {PROPERTY_MAX_BYTES} bytes")
