"""The directory in SQL, put together (what it promises: `bridge.store.directory_contract`).

SQLite now, ``<spool>/<domain>/directory.sqlite3``; PostgreSQL by URL where several hosts
share it. Tests use `open_memory`: the same code on a database that ends with the object.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.errors import Invalid
from bridge.model.request import Event
from bridge.store.contacts import SqlContacts
from bridge.store.directory_engine import open_database, open_file
from bridge.store.directory_migrations import migrate
from bridge.store.directory_records import ListName
from bridge.store.journal import SqlJournal
from bridge.store.known import SqlKnown
from bridge.store.outbox import SqlOutbox
from bridge.store.people import CredentialGeneration, SqlPasswords, SqlPeople, SqlProperties
from bridge.store.requests import SqlRequests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.model.ids import Address
    from bridge.model.request import Decision, Request
    from bridge.store.directory_contract import Directory
    from bridge.store.directory_engine import Database
    from bridge.store.directory_records import Listing

FILE_NAME = "directory.sqlite3"
_ENDS_WITH = {ListName.BLOCK: Event.BLOCK, ListName.IGNORE: Event.IGNORE}


class SqlDirectory:
    """All parts on one database; safe for threads, opened anew in each process."""

    def __init__(self, database: Database) -> None:
        """Serve from `database`, whose schema is up to date."""
        self._database = database
        generation = CredentialGeneration(database)
        self.people = SqlPeople(database, generation)
        self.passwords = SqlPasswords(database, generation)
        self.contacts = SqlContacts(database)
        self.requests = SqlRequests(database)
        self.journal = SqlJournal(database)
        self.outbox = SqlOutbox(database)
        self.properties = SqlProperties(database)
        self.known = SqlKnown(database)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the calls of this thread inside it one transaction."""
        with self._database.write():
            yield

    def shut_out(self, user: Address, listing: Listing, decision: Decision) -> tuple[Request, ...]:
        """Block or ignore a sender and end what waits from it."""
        event = _ENDS_WITH.get(listing.list)
        if event is None:
            raise Invalid("bad-list", "only the block and ignore lists shut a sender out")
        with self.transaction():
            self.contacts.put_on_list(user, listing, decision.at)
            return self.requests.end_all(user, listing, event, decision)

    def close(self) -> None:
        """Give back all connections and files."""
        self._database.close()


def open_directory(path: Path) -> Directory:
    """Open or make the directory in the SQLite file at `path`.

    Raises:
        Misconfigured: ``bad-directory``, ``directory-too-new``.
        Unavailable: ``busy``.
    """
    return _opened(open_file(path))


def open_url(url: str) -> Directory:
    """Open or make the directory in PostgreSQL, for example ``postgresql+psycopg://…``.

    Raises:
        Misconfigured: ``bad-directory``, ``directory-too-new``.
        Unavailable: ``directory-unavailable``.
    """
    return _opened(open_database(url))


def open_memory() -> Directory:
    """Make an empty directory in memory."""
    return _opened(open_database("sqlite://"))


def _opened(database: Database) -> Directory:
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    return SqlDirectory(database)
