"""Connections of the index, and statements prepared once.

SQLite: WAL with ``synchronous=NORMAL``: after a power cut the newest rows may be missing,
and the worker reads them in again from the log (design section 4). One writer; each
reading thread has a connection of its own, and a read is one statement, so no transaction
is held between requests. SQLAlchemy Core writes every statement; it is compiled once and
given to the driver as it is, because SQLAlchemy's own execution costs a GET more than
the query does (spec/performance: "a hot read may use the driver directly").
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from bridge.errors import Unavailable
from bridge.store.index_tables import LAYOUT, layout, metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import DBAPICursor
    from sqlalchemy.sql import ClauseElement, Select

_CACHE_KIB: Final = 2 * 1024
"""Of each thread's connection: the system's page cache holds the rest, once for all."""
_BUSY_SECONDS: Final = 10.0
_AT_ONCE: Final = 256


class Statement:
    """A Core statement as text for the driver, with its parameters in order."""

    def __init__(
        self, engine: Engine, statement: ClauseElement, columns: Sequence[str] | None = None
    ) -> None:
        """Compile `statement`; its `bindparam` names become the arguments.

        `columns` are those that an INSERT or UPDATE sets.
        """
        compiled: Any = statement.compile(dialect=engine.dialect, column_keys=columns)
        self.sql = str(compiled)
        self._order = tuple(compiled.positiontup or ())
        self._fixed = dict(compiled.params)
        self._named = compiled.positiontup is None

    def arguments(self, values: dict[str, Any]) -> Any:  # what the driver takes: tuple or dict
        """Return `values`, filled up with the statement's constants, as the driver wants them."""
        full = {**self._fixed, **values}
        return full if self._named else tuple(full[name] for name in self._order)


class IndexEngine:
    """The index's database."""

    def __init__(self, engine: Engine, *, shared: bool) -> None:
        """Use `engine`; `shared` where all threads have one connection (memory)."""
        self.engine = engine
        self._local = threading.local()
        self._one_at_a_time = threading.RLock() if shared else None
        self._writing = self._one_at_a_time or threading.RLock()
        self._writer: Connection | None = None
        self._prepared: dict[Select[*tuple[Any, ...]], Statement] = {}
        self._open: list[Any] = []
        self._kept: list[Any] = []
        self._closing = threading.Lock()

    def prepared(self, statement: Select[*tuple[Any, ...]]) -> Statement:
        """Return `statement` compiled; the same object is compiled once."""
        found = self._prepared.get(statement)
        if found is None:
            found = self._prepared[statement] = Statement(self.engine, statement)
        return found

    def compiled(self, statement: ClauseElement, columns: Sequence[str]) -> Statement:
        """Return a writing statement that sets `columns`, for `run`."""
        return Statement(self.engine, statement, columns)

    def run(
        self, connection: Connection, statement: Statement, rows: Sequence[dict[str, Any]]
    ) -> None:
        """Run a writing statement for each of `rows`, in the transaction of `connection`."""
        cursor = connection.connection.cursor()
        cursor.executemany(statement.sql, [statement.arguments(row) for row in rows])
        cursor.close()

    def one(self, statement: Select[*tuple[Any, ...]], **values: object) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        with self._cursor(statement, values) as cursor:
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row

    def all(
        self, statement: Select[*tuple[Any, ...]], **values: object
    ) -> Sequence[tuple[Any, ...]]:
        """Return all rows."""
        with self._cursor(statement, values) as cursor:
            rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def stream(
        self, statement: Select[*tuple[Any, ...]], **values: object
    ) -> Iterator[tuple[Any, ...]]:
        """Yield all rows, holding few of them: a list with its texts is large."""
        with self._cursor(statement, values) as cursor:
            if self._one_at_a_time:
                yield from cursor.fetchall()
            while rows := cursor.fetchmany(_AT_ONCE):
                yield from rows

    @contextmanager
    def _cursor(
        self, statement: Select[*tuple[Any, ...]], values: dict[str, object]
    ) -> Iterator[DBAPICursor]:
        prepared = self.prepared(statement)
        if self._one_at_a_time:
            with self._one_at_a_time:
                yield self._execute(prepared, values)
        else:
            yield self._execute(prepared, values)

    def _execute(self, prepared: Statement, values: dict[str, object]) -> DBAPICursor:
        cursor: DBAPICursor = self._connection().cursor()
        try:
            cursor.execute(prepared.sql, prepared.arguments(values))
        except self.engine.dialect.loaded_dbapi.OperationalError as error:
            raise _unavailable(error) from error
        return cursor

    def _connection(self) -> Any:  # the driver's own connection
        connection = getattr(self._local, "connection", None)
        if connection is None:
            pooled = self.engine.raw_connection()
            connection = pooled.driver_connection
            if self._one_at_a_time is None:
                # Kept for the thread's life; detached so that the pool does not wait for it.
                pooled.detach()
                with self._closing:
                    self._open.append(connection)
            else:
                # Kept checked out: giving it back would roll back what another thread writes.
                self._kept.append(pooled)
            self._local.connection = connection
        return connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give the worker a transaction, always on the same connection.

        Raises:
            Unavailable: ``index-unavailable``; nothing was written.
        """
        try:
            with self._writing:
                if self._writer is None:
                    self._writer = self.engine.connect()
                with self._writer.begin():
                    yield self._writer
        except (DBAPIError, self.engine.dialect.loaded_dbapi.Error) as error:
            self._end_writer()
            raise _unavailable(error) from error

    def _end_writer(self) -> None:
        """Close the writing connection: another one may work, or there is no more to write."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def prepare_layout(self) -> bool:
        """Make the tables; True if an index of another layout had to be dropped."""
        old = False
        with self.write() as connection:
            if inspect(connection).has_table("layout"):
                number = connection.execute(select(layout.c.number)).scalar()
                old = number != LAYOUT
            if old:
                metadata.reflect(connection)
                metadata.drop_all(connection)
            metadata.create_all(connection)
            if connection.execute(select(layout.c.number)).first() is None:
                connection.execute(insert(layout).values(number=LAYOUT))
        return old

    def close(self) -> None:
        """Close all connections."""
        self._end_writer()
        with self._closing:
            for connection in self._open:
                connection.close()
            self._open.clear()
        self.engine.dispose()


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(
        "index-unavailable",
        "the index cannot be read or written",
        retry=True,
        hint="tx-bridge rebuild makes a new one from the logs",
        cause=str(error)[:200],
    )


def open_index_file(path: Path) -> IndexEngine:
    """Open or make the SQLite index at `path`."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"check_same_thread": False, "timeout": _BUSY_SECONDS},
    )
    _prepare(engine, "WAL")
    return IndexEngine(engine, shared=False)


def open_index_memory() -> IndexEngine:
    """Make an index in memory: the same code as on disk, for tests and small tools."""
    engine = create_engine(
        "sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool
    )
    _prepare(engine, "MEMORY")
    return IndexEngine(engine, shared=True)


def open_index_url(url: str) -> IndexEngine:
    """Connect to another engine (``postgresql+psycopg://…``)."""
    return IndexEngine(create_engine(url, pool_pre_ping=True), shared=False)


def _prepare(engine: Engine, journal: str) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _entry: object) -> None:
        # Statements outside of `write` are single reads: no BEGIN of the driver's own.
        connection.isolation_level = None
        for pragma in (
            f"journal_mode={journal}",
            "synchronous=NORMAL",
            f"cache_size=-{_CACHE_KIB}",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
