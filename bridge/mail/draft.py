"""The task that a mail describes: title, notes, fields and files (mail-trust section 5).

Pure. Of a signed mail only the tree that the signature covers is read; the outer Subject
names the task where the signature protects none, because no classic S/MIME covers it. The
original always stays beside the task, so what is left out here (quotes, HTML) is not lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bridge.mail.grammar import read_request
from bridge.model.ids import Digest, digest_of
from bridge.wire.mailtext import attachments, body_text, headline, without_quotes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from bridge.model.ids import Address
    from bridge.store.directory_records import User
    from bridge.trust.verdict import Verdict
    from bridge.wire.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """An attachment, to be stored as a blob and named by a task key (tx-protocol section 8)."""

    name: str
    media_type: str
    content: bytes = field(repr=False)
    digest: Digest

    @property
    def key(self) -> str:
        """The task key that names it."""
        return f"attach_{self.digest.removeprefix('sha256:')}"

    def value(self) -> str:
        """Return the value of that key: small JSON, members sorted as CalDAV writes them."""
        facts = {"name": self.name, "size": len(self.content), "type": self.media_type}
        return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A task as a mail describes it.

    Attributes:
        keys: task keys, ``description`` and ``notes`` among them, without those of files.
        project: the project that the text names; empty where it names none.
        unread: fields that were meant but not understood, for the acknowledgement.
    """

    title: str
    keys: Mapping[str, str]
    project: str
    unread: tuple[str, ...]
    files: tuple[File, ...]


def read_draft(message: Message, verdict: Verdict, user: User, received: datetime) -> Draft:
    """Return the task that `message` describes for `user`, who got it at `received`."""
    content = verdict.content if verdict.content is not None else message.root
    head = headline(message, verdict.content)
    reading = read_request(
        head.subject,
        without_quotes(body_text(content)),
        is_answer=bool(message.in_reply_to or message.references),
        today=received.astimezone(_zone(user.time_zone)).date(),
        zone=user.time_zone,
    )
    keys = {"description": reading.title, **reading.keys}
    if reading.notes:
        keys["notes"] = reading.notes
    files = tuple(
        [
            File(
                name=one.name,
                media_type=one.media_type,
                content=one.content,
                digest=digest_of(one.content),
            )
            for one in attachments(content)
        ]
    )
    return Draft(
        title=reading.title,
        keys=keys,
        project=reading.project,
        unread=reading.unread,
        files=files,
    )


def addressed(message: Message, verdict: Verdict) -> frozenset[Address]:
    """Return the To and Cc of a mail, from inside the signed part where it protects them."""
    head = headline(message, verdict.content)
    return frozenset((*head.to, *head.cc))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
