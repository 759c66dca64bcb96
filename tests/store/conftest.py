"""Fixtures of the store tests: one directory on each engine that is there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text

from bridge.store.directory import FILE_NAME, open_directory, open_memory, open_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.store.directory_contract import Directory

POSTGRES = "TX_BRIDGE_TEST_POSTGRES"


def empty_postgres() -> str:
    """Empty the schema of the database that is meant for tests; its URL."""
    url = os.environ.get(POSTGRES)  # noqa: TID251 - a switch of the tests, not a setting
    if not url:
        pytest.skip(f"{POSTGRES} names no PostgreSQL database that may be emptied")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


@pytest.fixture(params=["file", "memory", "postgres"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Directory]:
    """An empty directory, once on each engine."""
    match request.param:
        case "file":
            opened = open_directory(tmp_path / FILE_NAME)
        case "memory":
            opened = open_memory()
        case _:
            opened = open_url(empty_postgres())
    yield opened
    opened.close()
