"""Tables of the index. Disposable: a new layout gets a new `LAYOUT` and a rebuild."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

LAYOUT: Final = 3
"""Raised with each change of a table or of what a row holds."""

_LISTED: Final = ("href", "etag", "seq", "size", "modified")
metadata = MetaData()
# SQLite numbers rows only where the key is spelled INTEGER.
_Key = BigInteger().with_variant(Integer, "sqlite")

layout = Table("layout", metadata, Column("number", Integer, primary_key=True))

projects = Table(
    "project",
    metadata,
    Column("pid", _Key, primary_key=True, autoincrement=True),
    Column("project", Text, nullable=False, unique=True),
    Column("seq", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("color", Text, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("state", Text, nullable=False),
)

members = Table(
    "member",
    metadata,
    Column("person", Text, primary_key=True),
    Column("pid", BigInteger, primary_key=True),
    Column("role", Text, nullable=False),
    Index("member_pid", "pid"),
)

tasks = Table(
    "task",
    metadata,
    Column("tid", _Key, primary_key=True, autoincrement=True),
    Column("pid", BigInteger, nullable=False),
    Column("hex", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("href", Text, nullable=False),
    Column("uid", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("is_open", Boolean, nullable=False),
    # `bridge.store.index_shown.Shown`: what filters ask, without a look at the text.
    Column("shown", Integer, nullable=False),
    Column("vague", Boolean, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("created", Text, nullable=False),
    Column("modified", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("state", Text, nullable=False),
    UniqueConstraint("pid", "hex", name="task_hex"),
    # With every column of the condition, or SQLite takes an index of fewer (task_due).
    Index("task_href", "pid", "href", "deleted"),
    Index("task_uid", "pid", "uid", "deleted"),
    # These cover syncs, listings and filters, so that they do not touch the rows with the texts.
    Index("task_seq", "pid", "seq", "deleted", "href", "etag", "size", "modified"),
    Index("task_shown", "pid", "deleted", "shown", "last", "first", "vague", *_LISTED),
)

assignees = Table(
    "assignee",
    metadata,
    Column("pid", BigInteger, primary_key=True),
    Column("person", Text, primary_key=True),
    Column("hex", Text, primary_key=True),
    # False once the task was taken from the person: a limited reader sees it go.
    Column("active", Boolean, nullable=False),
)

entries = Table(
    "entry",
    metadata,
    Column("pid", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("patch", Text, nullable=False),
    Column("hex", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("ts", Text, nullable=False),
    Column("place", Text, nullable=False),
    Index("entry_patch", "patch", "pid"),
    Index("entry_task", "pid", "hex", "seq"),
)
