"""What CalDAV clients know, for merges after a restart: an ETag for each client and task.

A cache beside the log: it may be dropped at any time, and then a blind PUT is merged as if
its client knew the task as it is now. The text is kept only where the log cannot give it
back: what a client sent and what was stored otherwise than sent. Rows are written in
batches by `bridge.caldav.served`, never while a client waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import ColumnElement, bindparam, delete, select

from bridge.store.directory_tables import known

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from bridge.model.ids import ProjectId
    from bridge.store.directory_engine import Database

KEPT: Final = timedelta(days=180)
"""After this time without a read a client is taken for one that starts anew."""
TEXT_MAX: Final = 64 * 1024
"""Characters of a kept text; of a longer one nothing is kept."""


# Built once: every blind PUT runs it, and SQLAlchemy takes longer to build than SQLite to answer.
_GET: Final = select(known.c.etag, known.c.text).where(
    known.c.client == bindparam("of_client"),
    known.c.project == bindparam("of_project"),
    known.c.href == bindparam("of_href"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A task's name in a list, as one client sees it; `client` has at most 64 characters."""

    client: str
    project: ProjectId
    href: str


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a client knows of a task: `text` is empty where the ETag finds it in the log."""

    etag: str
    text: str = ""


class SqlKnown:
    """`bridge.store.directory_contract.Known` in SQL."""

    def __init__(self, database: Database) -> None:
        """Keep rows in `database`."""
        self._database = database

    def put(self, notes: Mapping[Place, Knowledge | None], now: datetime) -> None:
        """Note what clients know now; None where a task went."""
        gone = [place for place, knowledge in notes.items() if knowledge is None]
        kept = [
            {
                "client": place.client,
                "project": place.project,
                "href": place.href,
                "etag": knowledge.etag,
                "text": knowledge.text,
                "noted": now,
            }
            for place, knowledge in notes.items()
            if knowledge is not None
        ]
        with self._database.write() as connection:
            for place in gone:
                connection.execute(delete(known).where(*_at(place)))
            if kept:
                insert = self._database.insert(known)
                new = {name: insert.excluded[name] for name in ("etag", "text", "noted")}
                keys = list(known.primary_key)
                connection.execute(
                    insert.on_conflict_do_update(index_elements=keys, set_=new), kept
                )

    def get(self, place: Place) -> Knowledge | None:
        """Return what a client knows of a task."""
        names = {"of_client": place.client, "of_project": place.project, "of_href": place.href}
        with self._database.read() as connection:
            row = connection.execute(_GET, names).first()
        return Knowledge(row.etag, row.text) if row else None

    def prune(self, now: datetime) -> int:
        """Drop what has not been noted again for long; return how many rows."""
        with self._database.write() as connection:
            return connection.execute(delete(known).where(known.c.noted < now - KEPT)).rowcount


def _at(place: Place) -> tuple[ColumnElement[bool], ...]:
    return (
        known.c.client == place.client,
        known.c.project == place.project,
        known.c.href == place.href,
    )
