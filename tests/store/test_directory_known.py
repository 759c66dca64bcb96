"""The table of what clients know comes to directories that were made without it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import text

from bridge.model.ids import ProjectId
from bridge.store.directory import FILE_NAME, open_directory
from bridge.store.directory_engine import open_file
from bridge.store.known import Knowledge, Place

if TYPE_CHECKING:
    from pathlib import Path

PLACE = Place("c" * 40, ProjectId("alice@home.example"), "a.ics")


def test_a_directory_of_version_one_gets_the_table(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    open_directory(path).close()
    database = open_file(path)
    with database.write() as connection:
        connection.execute(text("DROP TABLE known"))
        connection.execute(text("UPDATE schema_version SET version = 1"))
    database.close()
    directory = open_directory(path)
    directory.known.put({PLACE: Knowledge('"e"')}, datetime(2026, 11, 20, tzinfo=UTC))
    directory.close()
    again = open_directory(path)
    assert again.known.get(PLACE) == Knowledge('"e"')
    again.known.put({PLACE: None}, datetime(2026, 11, 20, tzinfo=UTC))
    assert again.known.get(PLACE) is None
    again.close()
