"""Versions of the directory's schema, and the way from each to the next.

A new database is made from `directory_tables` and stamped with the newest version; an older
one takes the steps after its own, in order, all in one transaction, so that a failed step
leaves the database as it was. A database newer than this program is refused, not guessed at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, MetaData, func, inspect, select, update

from bridge.errors import Misconfigured
from bridge.store import directory_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.store.directory_engine import Database

FIRST_VERSION: Final = 1
_POSTGRES_LOCK: Final = 0x54584449
"""Advisory lock "TXDI": two hosts that start at once must not both make the tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step: brings the schema to `version`."""

    version: int
    apply: Callable[[Connection], None]


def _add_known(connection: Connection) -> None:
    directory_tables.known.create(connection)


MIGRATIONS: Final[tuple[Migration, ...]] = (Migration(version=2, apply=_add_known),)
"""Steps after version 1, ascending without gaps."""


def migrate(
    database: Database,
    migrations: Sequence[Migration] = MIGRATIONS,
    metadata: MetaData = directory_tables.metadata,
) -> int:
    """Bring the schema up to date and return its version.

    Raises:
        Misconfigured: ``directory-too-new``.
    """
    newest = migrations[-1].version if migrations else FIRST_VERSION
    table = directory_tables.schema_version
    with database.write() as connection:
        if database.dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_POSTGRES_LOCK)))
        if not inspect(connection).has_table(table.name):
            metadata.create_all(connection)
            connection.execute(table.insert().values(single=1, version=newest))
            return newest
        found: int = connection.execute(select(table.c.version)).scalar_one()
        if found > newest:
            raise Misconfigured(
                "directory-too-new",
                f"the directory has version {found}, this program knows {newest}",
                hint="run the program that made it, or restore a backup",
            )
        for step in migrations:
            if step.version > found:
                step.apply(connection)
        connection.execute(update(table).values(version=newest))
    return newest
