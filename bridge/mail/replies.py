"""Accepted or declined: the answer by mail to who asked by mail.

However a request was decided (a client's Requests list, the command line), its sender hears
of it once. This outlet follows the requests of each user by their sequence numbers; its
cursor and the letter are written in one transaction, and a letter's key names request and
decision, so that a crash or a second host answers neither twice nor never. Answered is only
what came by mail with proof of origin (levels P and D): an unproved address may be anybody's
(mail-trust section 4). Nothing is said of ignored and blocked requests, nor by or to
addresses that mail cannot carry, nor beyond the caps on mail to one address.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError
from bridge.mail.answer import encoded, threading_of
from bridge.mail.intake import OWN_ID_HOST
from bridge.model.ids import ProjectId
from bridge.model.request import Direction, Level, State
from bridge.store.directory_records import Letter, LetterKind
from bridge.wire.cleantext import clean_line
from bridge.wire.message import LOOP_HEADER, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from bridge.mail.case import IntakeSettings
    from bridge.model.ids import Address
    from bridge.model.request import Request
    from bridge.wire.message import Message
    from bridge.worker.gateway import Gateway

log = logging.getLogger(__name__)
LOOK_SECONDS: Final = 5.0
"""How long a decision may wait until its letter is queued."""
TOO_OLD: Final = timedelta(days=7)
"""Decisions of before are not answered: mail was perhaps not configured at the time."""
_PAGE: Final = 100
_BY_MAIL: Final = frozenset({"smime", "openpgp", "dkim"})
_SUPPRESS: Final = frozenset({"all", "autoreply"})
_WORDS: Final = {State.ACCEPTED: "accepted", State.DECLINED: "declined"}


class Replies:
    """Queues the answers to requests that were decided."""

    def __init__(
        self, gateway: Gateway, settings: IntakeSettings, queued: Callable[[], None] = lambda: None
    ) -> None:
        """Follow the directory of `gateway`; `queued` is called after a letter was queued."""
        self._gateway = gateway
        self._settings = settings
        self._queued = queued
        self._id_host = f"{OWN_ID_HOST}.{gateway.domain}"
        self._seen: dict[Address, int] = {}

    async def run(self, stop: asyncio.Event, executor: Executor) -> None:
        """Look for decisions until `stop` is set."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            try:
                await loop.run_in_executor(executor, self.catch_up)
            except BridgeError as error:
                log.warning("answers to requests wait: %s", error)
            except Exception:
                log.exception("answers to requests wait")
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue

    def catch_up(self) -> int:
        """Queue what is missing; return how many letters that were.

        Raises:
            Unavailable: the directory cannot be read or written now.
        """
        count = 0
        for user, head in self._gateway.directory.requests.heads().items():
            if self._seen.get(user) != head:
                count += self._of(user)
                self._seen[user] = head
        if count:
            self._queued()
        return count

    def _of(self, user: Address) -> int:
        directory, count, more = self._gateway.directory, 0, True
        name = f"replies:{user}"
        while more:
            now = self._gateway.clock()
            with directory.transaction():
                after = int(directory.journal.cursor(name) or 0)
                changes = directory.requests.changes(user, after, _PAGE)
                for request in changes.requests:
                    letter = self._letter(request)
                    if letter is not None and directory.outbox.put(letter, now):
                        count += 1
                if changes.head != after:
                    directory.journal.set_cursor(name, str(changes.head), now)
                more = changes.more
        return count

    def _letter(self, request: Request) -> Letter | None:
        """Return the answer to a request, None where it gets none."""
        now, settings = self._gateway.clock(), self._settings
        if not settings.answers or not _is_answered(request) or request.decision is None:
            return None
        if request.decision.at < now - TOO_OLD:
            return None
        original = self._original(request)
        if original is not None and _wants_none(original):
            return None
        may = self._gateway.directory.outbox.may_answer(
            request.sender, now, hourly=settings.answers_hourly, daily=settings.answers_daily
        )
        return self._written(request, original) if may else None

    def _original(self, request: Request) -> Message | None:
        if request.message is None:
            return None
        try:
            return read(self._gateway.blobs.read(ProjectId(request.recipient), request.message))
        except BridgeError:
            return None  # an answer without its thread is an answer still

    def _written(self, request: Request, original: Message | None) -> Letter:
        now, word = self._gateway.clock(), _WORDS[request.state]
        person = self._gateway.directory.people.get(request.recipient)
        who = clean_line(person.name, 100) if person and person.name else request.recipient
        title = clean_line(request.preview.title, 200)
        lines = [f"{who} has {word} your request.", "", f"  Title: {title}"]
        if request.state is State.ACCEPTED and request.task is not None:
            lines += ["", f"Task: {request.task}"]
        reason = clean_line(request.decision.reason, 500) if request.decision else ""
        if reason:
            lines += ["", f"Reason: {reason}"]
        lines += ["", "You need not answer this mail.", ""]
        headers = [
            ("From", request.recipient),
            ("To", original.mailbox if original is not None else request.sender),
            ("Subject", encoded(f"{word.title()}: {title}")),
            ("Date", format_datetime(now)),
            ("Message-ID", f"<{request.id.hex}.{word}@{self._id_host}>"),
            *(threading_of(original) if original is not None else []),
            ("Auto-Submitted", "auto-replied"),
            ("X-Auto-Response-Suppress", "All"),
            (LOOP_HEADER.title(), str(request.id)),
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", "quoted-printable"),
        ]
        head = "".join([f"{name}: {value}\r\n" for name, value in headers])
        body = binascii.b2a_qp("\n".join(lines).encode(), istext=True).replace(b"\n", b"\r\n")
        return Letter(
            id=self._gateway.new_id(),
            key=f"request:{request.id}:{word}",
            recipient=request.sender,
            sender="",
            kind=LetterKind.ANSWER,
            raw=head.encode() + b"\r\n" + body,
            not_before=now,
        )


def _is_answered(request: Request) -> bool:
    return (
        request.direction is Direction.RECEIVED
        and request.state in _WORDS
        and request.level is not Level.NONE
        and request.method in _BY_MAIL
        and request.sender.isascii()
        and request.recipient.isascii()
    )


def _wants_none(original: Message) -> bool:
    """Tell whether the author's own headers forbid an answer."""
    asked = (original.headers.raw("x-auto-response-suppress") or "").lower()
    suppressed = _SUPPRESS & {word.strip() for word in asked.split(",")}
    return bool(suppressed) or not original.mailbox.isascii() or bool(original.automatic())
