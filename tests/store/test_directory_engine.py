"""Transactions: together or not at all, many threads and processes, crashes, old schemas."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, inspect, select, text

from bridge.errors import BridgeError, Corrupt, Invalid, Misconfigured, Unavailable
from bridge.model.ids import Address, digest_of
from bridge.model.request import (
    Direction,
    Kind,
    Level,
    Preview,
    Request,
    expires_at,
)
from bridge.store import directory_engine
from bridge.store.directory import FILE_NAME, SqlDirectory, open_directory, open_memory, open_url
from bridge.store.directory_engine import open_file
from bridge.store.directory_migrations import Migration, migrate
from bridge.store.directory_records import Arrival, Door, New, User
from bridge.store.directory_tables import metadata, schema_version

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from bridge.store.directory_contract import Directory

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOB = Address("bob@b.example")
EACH = 25


def bob() -> User:
    return User(address=BOB, name="", created=NOW)


def request(number: int) -> Request:
    return Request(
        id=uuid.UUID(int=number),
        kind=Kind.ASSIGN,
        direction=Direction.RECEIVED,
        recipient=BOB,
        sender=Address("alice@a.example"),
        level=Level.PERSON,
        preview=Preview(title="t"),
        created=NOW,
        expires=expires_at(NOW, Level.PERSON),
    )


def arrival(number: int) -> Arrival:
    content = digest_of(b"%d" % number)
    return Arrival(id=uuid.UUID(int=number), recipient=BOB, content=content, door=Door.LMTP)


def script(path: Path, body: str) -> list[str]:
    """A program of its own that has the directory at `path` open."""
    source = f"""
import os, signal, sys, uuid
from datetime import UTC, datetime
from pathlib import Path
from bridge.model.ids import Address, digest_of
from bridge.store.directory import open_directory
from bridge.store.directory_records import Arrival, Door, New, User
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOB = Address("bob@b.example")
directory = open_directory(Path({str(path)!r}))
def arrival(number):
    content = digest_of(b"%d" % number)
    return Arrival(id=uuid.UUID(int=number), recipient=BOB, content=content, door=Door.LMTP)
{body}
"""
    return [sys.executable, "-c", source]


def test_calls_in_a_transaction_stand_or_fall_together(directory: Directory) -> None:
    directory.people.add(bob())

    def broken() -> None:
        with directory.transaction():
            directory.requests.add(request(1))
            directory.journal.begin(arrival(1), NOW)
            assert directory.requests.head(BOB) == 1, "reads inside see its own writes"
            raise Invalid("test", "a refusal half way")

    with pytest.raises(Invalid):
        broken()
    assert directory.requests.waiting(BOB) == ()
    assert directory.requests.head(BOB) == 0
    assert directory.journal.pending() == ()
    with directory.transaction():
        directory.requests.add(request(1))
        directory.journal.begin(arrival(1), NOW)
    assert directory.requests.head(BOB) == 1
    assert len(directory.journal.pending()) == 1


def test_a_change_undone_is_not_told_to_the_memo(directory: Directory) -> None:
    directory.people.add(bob())

    def broken() -> None:
        with directory.transaction():
            directory.people.disable(BOB, NOW)
            raise Invalid("test", "a refusal half way")

    with pytest.raises(Invalid):
        broken()
    assert directory.passwords.changes_here == 0
    directory.people.enable(BOB)
    assert directory.passwords.changes_here == 1


def test_text_that_no_database_takes_is_refused_for_good(directory: Directory) -> None:
    with pytest.raises(Invalid):
        directory.people.add(User(address=BOB, name="\udcff", created=NOW))
    assert directory.people.add(bob()), "the next call is not affected"


def test_four_threads_lose_and_double_nothing(directory: Directory) -> None:
    directory.people.add(bob())
    start = threading.Barrier(4)

    def work(thread: int) -> list[int]:
        start.wait()
        fresh = []
        for number in range(EACH):
            directory.requests.add(request(thread * 1000 + number + 1))
            # All threads bring the same mails: each must be new for exactly one of them.
            if isinstance(directory.journal.begin(_again(thread, number), NOW), New):
                fresh.append(number)
        return fresh

    with ThreadPoolExecutor(4) as pool:
        fresh = [number for found in pool.map(work, range(4)) for number in found]
    assert sorted(fresh) == list(range(EACH))
    changes = directory.requests.changes(BOB, 0)
    assert [changed.seq for changed in changes.requests] == list(range(1, 4 * EACH + 1))
    assert len({changed.id for changed in changes.requests}) == 4 * EACH


def _again(thread: int, number: int) -> Arrival:
    content = digest_of(b"%d" % number)
    identity = uuid.UUID(int=(thread + 1) * 10_000 + number)
    return Arrival(id=identity, recipient=BOB, content=content, door=Door.LMTP)


def test_two_processes_and_this_one_lose_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    directory = open_directory(path)
    directory.people.add(bob())
    body = """
for number in range(100):
    identity = uuid.UUID(int=int(sys.argv[1]) * 10_000 + number)
    content = digest_of(b"%d" % number)
    mail = Arrival(id=identity, recipient=BOB, content=content, door=Door.LMTP)
    if isinstance(directory.journal.begin(mail, NOW), New):
        print(number)
directory.close()
"""
    command = script(path, body)
    others = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own program
        for number in (7, 8)
    ]
    fresh = [
        number
        for number in range(100)
        if isinstance(directory.journal.begin(_again(0, number), NOW), New)
    ]
    for other in others:
        output, _ = other.communicate(timeout=60)
        assert other.returncode == 0
        fresh += [int(line) for line in output.split()]
    assert sorted(fresh) == list(range(100))
    assert len(directory.journal.pending()) == 100
    directory.close()
    assert _intact(path)


def _intact(path: Path) -> bool:
    connection = sqlite3.connect(path)
    answer: tuple[str] = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return answer[0] == "ok"


def test_a_crash_in_a_transaction_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    body = """
directory.people.add(User(address=BOB, name="", created=NOW))
directory.journal.begin(arrival(1), NOW)
with directory.transaction():
    directory.journal.begin(arrival(2), NOW)
    directory.journal.set_cursor("views", "9", NOW)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(script(path, body), check=False, timeout=60)  # noqa: S603 - our own program
    assert done.returncode == -signal.SIGKILL
    directory = open_directory(path)
    assert [entry.id.int for entry in directory.journal.pending()] == [1]
    assert directory.journal.cursor("views") is None
    directory.journal.begin(arrival(3), NOW)
    directory.close()
    assert _intact(path)


def test_what_was_acknowledged_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    body = """
for number in range(1, 1_000_000):
    with directory.transaction():
        directory.journal.begin(arrival(number), NOW)
        directory.journal.set_cursor("mail", str(number), NOW)
    print(number, flush=True)
"""
    command = script(path, body)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:  # noqa: S603 - our own program
        assert writer.stdout is not None
        lines = [int(writer.stdout.readline()) for _ in range(50)]
        writer.kill()
        lines += [int(line) for line in writer.stdout.read().split()]
    directory = open_directory(path)
    held = {entry.id.int for entry in directory.journal.pending(1_000_000)}
    assert set(lines) <= held
    assert held == set(range(1, len(held) + 1))
    assert directory.journal.cursor("mail") == str(len(held)), "both parts of each or none"
    directory.close()


def test_a_writer_that_gets_no_turn_is_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE_NAME
    directory = open_directory(path)
    body = """
with directory.transaction():
    print("in", flush=True)
    sys.stdin.read()
"""
    monkeypatch.setattr(directory_engine, "BUSY_SECONDS", 0.2)
    with subprocess.Popen(  # noqa: S603 - our own program
        script(path, body), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(Unavailable) as refused:
            directory.people.add(bob())
        assert (refused.value.code, refused.value.retry) == ("busy", True)
        assert directory.people.get(BOB) is None, "readers do not wait for a writer"
        other.stdin.close()
    assert directory.people.add(bob())
    directory.close()


def test_an_inherited_directory_is_not_used_after_a_fork(tmp_path: Path) -> None:
    directory = open_directory(tmp_path / FILE_NAME)
    child = os.fork()
    if child == 0:
        try:
            directory.people.add(bob())
        except RuntimeError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    directory.close()


def test_a_file_is_durable_private_and_checked(tmp_path: Path) -> None:
    database = open_file(tmp_path / FILE_NAME)
    with database.write() as connection:
        settings = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
        connection.execute(text("CREATE TABLE t (a INTEGER)"))
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {0o600}
    assert len(list(tmp_path.iterdir())) == 4
    database.close()


def test_a_damaged_file_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(Corrupt):
        open_directory(path)


def test_a_missing_folder_is_a_matter_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured):
        open_directory(tmp_path / "missing" / FILE_NAME)


@pytest.mark.parametrize(
    "url", ["mysql://h/d", "sqlite:////tmp/x", "nonsense", "postgresql+no://h/d"]
)
def test_an_engine_that_is_not_ours_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured):
        open_url(url)


def test_directories_in_memory_are_apart() -> None:
    one, other = open_memory(), open_memory()
    one.people.add(bob())
    assert other.people.get(BOB) is None
    one.close()
    other.close()


def test_a_write_inside_a_reading_transaction_is_a_mistake(tmp_path: Path) -> None:
    database = open_file(tmp_path / FILE_NAME)
    with database.read(), pytest.raises(RuntimeError), database.write():
        pass
    database.close()


# -- migrations --------------------------------------------------------------------------


def first_version() -> MetaData:
    old = MetaData()
    schema_version.to_metadata(old)
    Table("things", old, Column("a", Integer))
    return old


def add_column(name: str) -> Migration:
    def apply(connection: Connection) -> None:
        connection.execute(text(f"ALTER TABLE things ADD COLUMN {name} INTEGER"))
        # Fails unless the steps before it have been taken, in order.
        order = {"b": "a", "c": "b", "d": "c"}[name]
        connection.execute(text(f"UPDATE things SET {name} = {order} + 1"))  # noqa: S608 - ours

    return Migration(version={"b": 2, "c": 3, "d": 4}[name], apply=apply)


def test_steps_are_taken_in_order_each_once(tmp_path: Path) -> None:
    database = open_file(tmp_path / FILE_NAME)
    assert migrate(database, (), first_version()) == 1
    with database.write() as connection:
        connection.execute(text("INSERT INTO things (a) VALUES (10)"))
    assert migrate(database, (add_column("b"),), first_version()) == 2
    steps = (add_column("b"), add_column("c"), add_column("d"))
    for _ in range(2):
        assert migrate(database, steps, first_version()) == 4
    with database.read() as connection:
        assert connection.execute(text("SELECT a, b, c, d FROM things")).one() == (10, 11, 12, 13)
        assert connection.execute(select(schema_version.c.version)).scalar_one() == 4
    database.close()


def test_a_failed_step_leaves_the_schema_as_it_was(tmp_path: Path) -> None:
    database = open_file(tmp_path / FILE_NAME)
    migrate(database, (), first_version())

    def fail(connection: Connection) -> None:
        connection.execute(text("UPDATE nowhere SET a = 1"))

    with pytest.raises(BridgeError):
        migrate(database, (add_column("b"), Migration(version=3, apply=fail)), first_version())
    with database.read() as connection:
        columns = [column["name"] for column in inspect(connection).get_columns("things")]
        assert columns == ["a"]
        assert connection.execute(select(schema_version.c.version)).scalar_one() == 1
    database.close()


def test_a_directory_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    database = open_file(path)
    migrate(database)
    with database.write() as connection:
        connection.execute(schema_version.update().values(version=99))
    database.close()
    with pytest.raises(Misconfigured) as refused:
        open_directory(path)
    assert refused.value.code == "directory-too-new"


def test_a_new_directory_has_every_table_and_index_of_its_version(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    open_directory(path).close()
    database = open_file(path)
    with database.read() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == set(metadata.tables)
        for name, table in metadata.tables.items():
            indexes = {index["name"] for index in found.get_indexes(name)}
            assert {index.name for index in table.indexes} <= indexes
    SqlDirectory(database).close()


def test_two_programs_may_make_the_directory_at_once(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    command = script(path, "directory.close()")
    makers = [subprocess.Popen(command) for _ in range(3)]  # noqa: S603 - our own program
    assert [maker.wait(timeout=60) for maker in makers] == [0, 0, 0]
