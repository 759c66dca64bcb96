"""Transactions of the directory's database: who may write when, and what errors mean.

SQLite: WAL, ``synchronous=FULL``, foreign keys on, and one writer at a time by `Gate`, across
threads and processes. SQLite's own busy handler sleeps and polls for up to 100 ms
(``spec/performance.md``), and releases before 3.51.3 can damage the file when two
connections write and checkpoint at the same instant (the WAL-reset bug; Debian 12 has 3.40.1).
All our writes, and so all automatic checkpoints, pass the gate; keep other programs from
writing to a live file. Readers need no gate: WAL gives each a snapshot.

In memory (``sqlite://``): one connection for all threads, so reading passes the gate too.

PostgreSQL: READ COMMITTED; the tables' unique keys and counter rows order writers.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import StaticPool

from bridge.errors import BridgeError, Corrupt, Invalid, Misconfigured, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

Insert: TypeAlias = "sqlite.Insert | postgresql.Insert"

BUSY_SECONDS: Final = 10.0
"""How long a transaction waits for its turn before it is refused as busy."""
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.01
_WRITES: Final = "bridge_writes"
_POSTGRES_FOREIGN_KEY: Final = "23503"


class Gate:
    """One at a time: a lock among threads and, with a file, `flock` among processes.

    The kernel drops the file's lock when its process dies, so a crash leaves nothing behind.
    """

    def __init__(self, lock_file: Path | None) -> None:
        """Open the lock file; None for a database that no other process can reach."""
        # Threads must not share a flock (it belongs to the open file), hence both locks.
        self._threads = threading.Lock()
        self._pid = os.getpid()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = None if lock_file is None else os.open(lock_file, flags, 0o600)

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Wait for the turn and keep it.

        Raises:
            Unavailable: ``busy`` after `BUSY_SECONDS`.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("the directory was opened before a fork; open it in each process")
        deadline = time.monotonic() + BUSY_SECONDS
        if not self._threads.acquire(timeout=BUSY_SECONDS):
            raise _busy()
        try:
            self._lock_file(deadline)
            try:
                yield
            finally:
                if self._file is not None:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def _lock_file(self, deadline: float) -> None:
        if self._file is None:
            return
        pause = _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise _busy() from None
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                return

    def close(self) -> None:
        """Give the lock file back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _Joined(threading.local):
    """The transaction that this thread is in."""

    def __init__(self) -> None:
        """Begin outside of any; runs once in each thread."""
        self.connection: Connection | None = None
        self.writes = False
        self.after: list[Callable[[], None]] = []


class Database:
    """Short transactions on one engine; calls inside an open one join it."""

    def __init__(self, engine: Engine, gate: Gate | None, *, gate_reads: bool = False) -> None:
        """Use `engine`; `gate` (none on PostgreSQL) passes writers one by one."""
        self._engine = engine
        self._gate = gate
        self._gate_reads = gate_reads
        self._joined = _Joined()

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection with a steady view for a few selects."""
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection in a writing transaction; an exception rolls it back."""
        with self._transaction(writes=True) as connection:
            yield connection

    def after_commit(self, call: Callable[[], None]) -> None:
        """Run `call` once the transaction that this thread is in has been committed."""
        self._joined.after.append(call)

    def insert(self, table: Table) -> Insert:
        """Return an INSERT that knows ON CONFLICT; both engines spell it alike."""
        return sqlite.insert(table) if self.dialect == "sqlite" else postgresql.insert(table)

    def close(self) -> None:
        """Close all connections; the last one to close checkpoints, so in turn."""
        if self._gate is None:
            self._engine.dispose()
            return
        with self._gate.passed():
            self._engine.dispose()
        self._gate.close()

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        joined = self._joined
        if joined.connection is not None:
            if writes and not joined.writes:
                raise RuntimeError("a write inside a reading transaction")
            yield joined.connection
            return
        if self._gate is not None and (writes or self._gate_reads):
            with self._gate.passed(), self._outermost(writes=writes) as connection:
                yield connection
        else:
            with self._outermost(writes=writes) as connection:
                yield connection
        after, joined.after = joined.after, []
        for call in after:
            call()

    @contextmanager
    def _outermost(self, *, writes: bool) -> Iterator[Connection]:
        joined = self._joined
        with _translated(), self._engine.connect() as plain:
            connection = plain.execution_options(**{_WRITES: writes})
            with connection.begin():
                joined.connection, joined.writes, joined.after = connection, writes, []
                try:
                    yield connection
                finally:
                    joined.connection = None


def added(connection: Connection, insert: Insert, values: Mapping[str, object]) -> bool:
    """Insert one row unless a unique key is taken; tell whether it was."""
    # Drivers count inserted rows differently; a returned row is the same everywhere.
    first = next(iter(insert.table.primary_key))
    statement = insert.on_conflict_do_nothing().returning(first)
    return connection.execute(statement, values).first() is not None


def open_database(url: str) -> Database:
    """Connect to ``sqlite://`` (memory), ``sqlite:///<path>`` or ``postgresql+…://…``.

    Raises:
        Misconfigured: ``bad-directory``: another engine, a driver or a folder is missing.
    """
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        raise Misconfigured("bad-directory", "the directory's database URL is not one") from None
    name = parsed.get_backend_name()
    if name == "sqlite":
        if parsed.database not in {None, "", ":memory:"}:
            raise Misconfigured("bad-directory", "name a database file by its path, not by URL")
        return _memory()
    if name != "postgresql":
        raise Misconfigured("bad-directory", f"{name} is not an engine of the directory")
    try:
        # Several gateway hosts on one database: connections die with a failover.
        engine = create_engine(parsed, pool_pre_ping=True, isolation_level="READ COMMITTED")
    except (ImportError, SQLAlchemyError):
        raise Misconfigured(
            "bad-directory", "the driver for PostgreSQL is not installed", hint="install psycopg"
        ) from None
    return Database(engine, None)


def open_file(path: Path) -> Database:
    """Open or make the SQLite file at `path`, readable by this user only.

    Raises:
        Misconfigured: ``bad-directory``: its folder is missing or closed to us.
        Unavailable: ``busy``.
    """
    try:
        gate = Gate(path.with_name(path.name + ".lock"))
        # SQLite gives its -wal and -shm files the mode of the file itself.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Misconfigured(
            "bad-directory",
            "the directory's file cannot be opened",
            hint=f"does the folder of {path} exist, and may this user write there?",
            errno=error.errno,
        ) from None
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
        pool_size=16,
        max_overflow=64,
        pool_timeout=BUSY_SECONDS,
    )
    _prepare(engine)
    with gate.passed(), _translated(), engine.connect() as connection:
        # Kept in the file; outside of a transaction, hence the driver's own cursor.
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()
    return Database(engine, gate)


def _memory() -> Database:
    engine = create_engine(
        "sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool
    )
    _prepare(engine)
    return Database(engine, Gate(None), gate_reads=True)


def _prepare(engine: Engine) -> None:
    """Let us say BEGIN ourselves and set what SQLite forgets with each connection."""

    @event.listens_for(engine, "connect")
    def connected(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # A reader that turns writer may find its snapshot stale: writers say so at once.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _busy() -> Unavailable:
    return Unavailable("busy", "the directory is busy", retry=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise _integrity(error) from error
    except (DataError, UnicodeEncodeError) as error:
        # NUL (PostgreSQL), a lone surrogate, a name longer than its column: never retry.
        raise Invalid("bad-text", "a text cannot be stored") from error
    except DBAPIError as error:
        raise _failure(error) from error
    except PoolTimeout as error:
        raise _busy() from error


def _integrity(error: IntegrityError) -> BridgeError:
    foreign = "FOREIGN KEY" in str(error.orig)
    if foreign or getattr(error.orig, "sqlstate", None) == _POSTGRES_FOREIGN_KEY:
        return NotFound("no-user", "there is no such user")
    # Which key collided may be told; values are not.
    return Corrupt("directory-conflict", "the directory refuses a second entry of this kind")


def _failure(error: DBAPIError) -> BridgeError:
    text = str(error.orig)
    if "malformed" in text or "not a database" in text:
        return Corrupt("directory-damaged", "the directory's database is damaged")
    if "locked" in text or "busy" in text:
        return _busy()
    return Unavailable(
        "directory-unavailable", "the directory cannot be reached", retry=True, cause=text[:200]
    )
