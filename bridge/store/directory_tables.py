"""The tables of the directory, version 2 (SQLAlchemy Core, the same for SQLite and PostgreSQL).

Times are text ``YYYY-MM-DDTHH:MM:SS.sssZ`` (tx-protocol section 3), so text order is time
order on every engine and in every dump. JSON is text: it is carried here, never queried.
A change here needs the next step in `bridge.store.directory_migrations`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect


def instant_text(when: datetime) -> str:
    """Return `when` as text in UTC, cut to milliseconds.

    Raises:
        ValueError: `when` has no zone: a mistake of the program.
    """
    if when.tzinfo is None:
        raise ValueError("a time without a zone")
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Instant(TypeDecorator[datetime]):
    """An aware time, kept as text."""

    impl = String(24)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Give the database text."""
        return None if value is None else instant_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Give the program a time."""
        return None if value is None else datetime.fromisoformat(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

schema_version = Table(
    "schema_version",
    metadata,
    # One row: the key can only be 1.
    Column(
        "single",
        Integer,
        CheckConstraint("single = 1", name="single"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("version", Integer, nullable=False),
)

# Row locks on these two tables also order commits, so that a reader who has seen a
# number never finds a smaller one later, on PostgreSQL as well.
counters = Table(
    "counters",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
request_heads = Table(
    "request_heads",
    metadata,
    Column("user", ForeignKey("users.address"), primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("address", String(254), primary_key=True),
    Column("name", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("created", Instant, nullable=False),
    Column("disabled", Instant),
    Column("default_project", Text),
    Column("policy", Text, nullable=False),
    # Generation of the last change to this user's credentials (see `Passwords`).
    Column("credentials_generation", BigInteger, nullable=False, server_default="0", index=True),
)

credentials = Table(
    "credentials",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user", ForeignKey("users.address"), nullable=False),
    Column("selector", String(32), nullable=False),
    Column("hash", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("created", Instant, nullable=False),
    Column("last_used", Instant),
    Column("revoked", Instant),
)
Index(
    "uq_credentials_selector",
    credentials.c.user,
    credentials.c.selector,
    unique=True,
    sqlite_where=credentials.c.revoked.is_(None),
    postgresql_where=credentials.c.revoked.is_(None),
)

contacts = Table(
    "contacts",
    metadata,
    Column("user", ForeignKey("users.address"), primary_key=True),
    Column("address", String(254), primary_key=True),
    Column("name", Text, nullable=False),
    Column("acquaintance", String(16), nullable=False),
    Column("first_seen", Instant, nullable=False),
    Column("last_seen", Instant, nullable=False),
    Column("key_changed", Instant),
)

pins = Table(
    "pins",
    metadata,
    Column("user", String(254), primary_key=True),
    Column("address", String(254), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("fingerprint", String(200), primary_key=True),
    Column("material", Text, nullable=False),
    Column("first_seen", Instant, nullable=False),
    Column("last_seen", Instant, nullable=False),
    ForeignKeyConstraint(
        ["user", "address"], ["contacts.user", "contacts.address"], ondelete="CASCADE"
    ),
)

listings = Table(
    "listings",
    metadata,
    Column("user", ForeignKey("users.address"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("value", String(254), primary_key=True),
    Column("list", String(16), nullable=False),
    Column("since", Instant, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("user", ForeignKey("users.address"), primary_key=True),
    Column("direction", String(16), primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("recipient", String(254), nullable=False),
    Column("sender", String(254), nullable=False),
    Column("sender_domain", String(253), nullable=False),
    Column("level", String(1), nullable=False),
    Column("method", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("proof_reason", Text, nullable=False),
    Column("quarantined", Boolean, nullable=False),
    Column("message", String(71)),
    Column("project_hint", Text, nullable=False),
    Column("task", Text),
    Column("title", Text, nullable=False),
    Column("notes", Text, nullable=False),
    Column("due", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("fields", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created", Instant, nullable=False),
    Column("expires", Instant, nullable=False),
    Column("decided_at", Instant),
    Column("decided_by", Text, nullable=False),
    Column("decision_reason", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    UniqueConstraint("user", "seq"),
    Index(None, "user", "direction", "state"),
    Index(None, "id"),
    Index(None, "state", "expires"),
    Index(None, "sender_domain", "created"),
    Index(None, "sender", "created"),
)

mails = Table(
    "mails",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("recipient", String(254), nullable=False),
    Column("content", String(71), nullable=False),
    Column("door", String(16), nullable=False),
    Column("message_id", Text, nullable=False),
    Column("entity", String(71)),
    Column("signer", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("result_id", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    UniqueConstraint("recipient", "content"),
    # Rows without an entity never meet here: NULLs differ on both engines.
    UniqueConstraint("entity", "signer", "recipient"),
    Index(None, "message_id", "recipient"),
    Index(None, "state", "received_at"),
)

mail_places = Table(
    "mail_places",
    metadata,
    Column("mailbox", String(255), primary_key=True),
    Column("uidvalidity", BigInteger, primary_key=True),
    Column("uid", BigInteger, primary_key=True),
    Column("mail", ForeignKey("mails.id"), nullable=False, index=True),
    Column("moved", Instant),
)
Index(
    "ix_mail_places_unmoved",
    mail_places.c.mail,
    sqlite_where=mail_places.c.moved.is_(None),
    postgresql_where=mail_places.c.moved.is_(None),
)

cursors = Table(
    "cursors",
    metadata,
    Column("outlet", String(200), primary_key=True),
    Column("value", Text, nullable=False),
    Column("moved", Instant, nullable=False),
)

letters = Table(
    "letters",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("key", String(255), nullable=False),
    Column("recipient", String(254), nullable=False),
    Column("sender", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("created", Instant, nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("ended", Instant),
    Column("last_error", Text, nullable=False),
    UniqueConstraint("key", "recipient"),
    Index(None, "state", "not_before"),
    Index(None, "recipient", "created"),
)

properties = Table(
    "properties",
    metadata,
    Column("user", ForeignKey("users.address"), primary_key=True),
    Column("collection", String(400), primary_key=True),
    Column("name", String(400), primary_key=True),
    Column("xml", Text, nullable=False),
)

known = Table(
    "known",
    metadata,
    Column("client", String(64), primary_key=True),
    Column("project", String(320), primary_key=True),
    Column("href", String(400), primary_key=True),
    Column("etag", String(64), nullable=False),
    Column("text", Text, nullable=False),
    Column("noted", Instant, nullable=False),
    Index(None, "noted"),
)
