"""Mail straight from a server or a program: LMTP (RFC 2033) and SMTP (RFC 5321) in one class.

A client that says LHLO speaks LMTP and hears one answer per recipient; one that says EHLO
or HELO speaks SMTP. Either can be switched off. 250 is said after the commit, never before.

- LMTP: 250 for what has an outcome, refused mail too, which is then kept here: a 5xx would
  make our own mail server send a bounce to whoever was forged as sender. 451 for "not now".
- SMTP with several recipients has one answer: 250 only if every recipient has an outcome;
  if one must wait, all hear 451 and the mail comes again, which the journal makes harmless;
  5xx only if every recipient refuses for a reason that the client may hear.
- 550 5.1.1 at RCPT for users who do not exist; nothing is relayed, for anybody.

Our hop is written on top: Return-Path and Delivered-To (which the pipeline reads, so that
ones sent along do not count), and Received with the protocol and our clock.

Bounds: connections, mails taken in at once, bytes held by all unfinished mails, recipients,
commands, seconds per command. Loopback by default: without TLS and names of clients it
belongs behind a mail server or on the machine that sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from dataclasses import dataclass
from email.utils import format_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, AnyStr, Final

from aiosmtpd.smtp import SMTP, syntax

from bridge.errors import Unavailable
from bridge.mail import smtpreply as reply
from bridge.mail.case import Disposition, Incoming, Source, Taken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from aiosmtpd.smtp import Envelope, Session

    from bridge.mail.health import Pulse
    from bridge.mail.intake import Intake
    from bridge.worker.gateway import Gateway

LINE_MAX: Final = 64 * 1024
"""Bytes of a line of mail; RFC 5321 says 1,000, but real mail has longer ones."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.:\[\]_-]")
_FAREWELL_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)
# Its logs hold every line received.
logging.getLogger("mail.log").setLevel(logging.ERROR)
logging.getLogger("mail.debug").setLevel(logging.ERROR)


class Speaks(StrEnum):
    """What the listener lets clients speak."""

    AUTO = "auto"
    LMTP = "lmtp"
    SMTP = "smtp"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Where mail is listened for.

    Attributes:
        host, port: of the socket; port 0 takes a free one.
        size_max: bytes of a mail.
        connections: open at once; more hear 421.
        parallel: mails taken in at once; as many more may wait, the rest hear 451.
        bytes_held: of all mails that are being received or taken in.
        recipients: of one mail.
        timeout_seconds: for one command, or for one mail's text.
    """

    host: str = "127.0.0.1"
    port: int = 2525
    protocol: Speaks = Speaks.AUTO
    size_max: int = 25 * 1024 * 1024
    connections: int = 50
    parallel: int = 8
    bytes_held: int = 256 * 1024 * 1024
    recipients: int = 50
    timeout_seconds: float = 120.0


class Listener:
    """A socket that takes mail; made and run in the event loop's thread."""

    def __init__(
        self,
        gateway: Gateway,
        intake: Intake,
        settings: ListenerSettings,
        executor: Executor,
        pulse: Pulse,
    ) -> None:
        """Listen as `settings` say; mail is taken in by threads of `executor`."""
        self.settings = settings
        self.domain = gateway.domain
        self._gateway = gateway
        self._intake = intake
        self._executor = executor
        self._pulse = pulse
        self._server: asyncio.Server | None = None
        self._turns = asyncio.Semaphore(settings.parallel)
        self._waiting = 0
        self._sessions: set[_Session] = set()
        self.held = 0

    async def start(self) -> tuple[str, int]:
        """Open the socket and return its address.

        Raises:
            Unavailable: ``listen``: the port is taken or not allowed.
        """
        settings = self.settings
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Session(self, loop), settings.host, settings.port, backlog=128
            )
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else "no such address"
            self._pulse.fail(f"cannot listen: {why}")
            raise Unavailable(
                "listen",
                f"cannot listen for mail on {settings.host}:{settings.port} ({why})",
                hint="another program may use this port",
            ) from None
        self._pulse.beat()
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def stop(self, grace_seconds: float = 10.0) -> None:
        """Take no more connections, let mails in hand be answered, then close."""
        if self._server is not None:
            self._server.close()
        try:
            async with asyncio.timeout(grace_seconds):
                while self._waiting:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            _log.warning("mails were still being taken in at the end")
        for session in list(self._sessions):
            session.hang_up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                while self._sessions:
                    await asyncio.sleep(0.01)

    # -- for the sessions ----------------------------------------------------------------

    def enter(self, session: _Session) -> bool:
        """Count a connection in; False if there are too many."""
        self._sessions.add(session)
        return len(self._sessions) <= self.settings.connections

    def leave(self, session: _Session) -> None:
        """Count a connection out."""
        self._sessions.discard(session)

    async def knows(self, recipient: str) -> bool:
        """Tell whether mail is taken for an address.

        Raises:
            Unavailable: the directory is busy.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._intake.knows, recipient)

    async def note_refusal(self, recipients: Sequence[str], source: Source, answer: str) -> None:
        """Tell the event log why a mail was refused before it could be taken in."""
        *status, reason = answer.split(" ", 2)
        code = reply.code_of(" ".join(status))
        what = {"outcome": "deferred" if code == "busy" else "rejected", "door": source}
        why = {"mail": "", "code": code, "reason": reason}
        events = [{"event": "mail", **what, "recipient": one[:254], **why} for one in recipients]
        now, loop = self._gateway.clock(), asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._gateway.events.append, now, events)

    async def take(self, envelope: Envelope, source: Source, client: str) -> list[Taken]:
        """Take a mail in for each of its recipients, in their order."""
        if self._waiting >= 2 * self.settings.parallel:
            return [_busy() for _ in envelope.rcpt_tos]
        self._waiting += 1
        try:
            async with self._turns:
                loop = asyncio.get_running_loop()
                # Shielded: a client that hangs up must not leave a commit without its record.
                work = loop.run_in_executor(
                    self._executor, self._take_all, envelope, source, client
                )
                taken = await asyncio.shield(work)
        finally:
            self._waiting -= 1
        self._pulse.beat()
        return taken

    def _take_all(self, envelope: Envelope, source: Source, client: str) -> list[Taken]:
        now = self._gateway.clock()
        content = envelope.content
        raw = content if isinstance(content, bytes) else b""
        sender = _field((envelope.mail_from or "").strip("<>"))
        taken = []
        for recipient in envelope.rcpt_tos:
            hop = (
                f"Return-Path: <{sender}>\r\n"
                f"Delivered-To: {_field(recipient)}\r\n"
                f"Received: from {client} by {self.domain} with {source.value.upper()};"
                f" {format_datetime(now)}\r\n"
            )
            incoming = Incoming(
                raw=hop.encode("utf-8", "surrogateescape") + raw,
                recipients=(recipient,),
                received=now,
                source=source,
            )
            try:
                taken.append(self._intake.take(incoming))
            except Exception:  # noqa: BLE001 - the client must hear 451, not a broken connection
                _log.exception("a mail could not be handled")
                taken.append(_busy())
        return taken


class _Session(SMTP):
    """One connection. aiosmtpd speaks the protocol; what it does not bound is done here."""

    line_length_limit = LINE_MAX

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        settings = listener.settings
        self._listener = listener
        self._source = Source.LMTP if settings.protocol is Speaks.LMTP else Source.SMTP
        super().__init__(
            self,
            data_size_limit=settings.size_max,
            enable_SMTPUTF8=True,
            hostname=str(listener.domain),
            ident="TX Bridge",
            timeout=settings.timeout_seconds,
            command_call_limit={"*": 1000, "NOOP": 100, "VRFY": 20, "HELP": 10},
            loop=loop,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or turn away."""
        if not self._listener.enter(self) and isinstance(transport, asyncio.Transport):
            transport.write(b"421 4.3.2 too many connections, try again later\r\n")
            transport.close()
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Count out."""
        self._listener.leave(self)
        super().connection_lost(error)

    def hang_up(self) -> None:
        """Close the connection."""
        if self.transport is not None:
            self.transport.close()

    async def push(self, status: AnyStr) -> None:
        """Write an answer, unless the connection is gone."""
        if self.transport is not None and not self.transport.is_closing():
            await super().push(status)

    # -- greetings -----------------------------------------------------------------------

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, hostname: str) -> None:  # noqa: N802 - aiosmtpd finds commands by name
        """Greet an LMTP client."""
        if self._listener.settings.protocol is Speaks.SMTP:
            await self.push("500 5.5.1 this is SMTP: say EHLO")
            return
        self._source = Source.LMTP
        await super().smtp_EHLO(hostname)

    @syntax("EHLO hostname")
    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802 - aiosmtpd finds commands by name
        """Greet an SMTP client."""
        if await self._is_smtp():
            await super().smtp_EHLO(hostname)

    @syntax("HELO hostname")
    async def smtp_HELO(self, hostname: str) -> None:  # noqa: N802 - aiosmtpd finds commands by name
        """Greet an old SMTP client."""
        if await self._is_smtp():
            await super().smtp_HELO(hostname)

    async def _is_smtp(self) -> bool:
        if self._listener.settings.protocol is Speaks.LMTP:
            await self.push("500 5.5.1 this is LMTP: say LHLO")
            return False
        self._source = Source.SMTP
        return True

    async def handle_EHLO(  # noqa: N802 - aiosmtpd finds hooks by name
        self,
        _server: SMTP,
        session: Session,
        _envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        """Add the extensions that cost nothing to keep."""
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", responses[-1]]

    # -- a mail --------------------------------------------------------------------------

    async def handle_RCPT(  # noqa: N802 - aiosmtpd finds hooks by name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """Take users of ours, refuse everybody else."""
        if len(envelope.rcpt_tos) >= self._listener.settings.recipients:
            return "452 4.5.3 too many recipients"
        try:
            known = await self._listener.knows(address)
        except Unavailable:
            return reply.LATER
        if not known:
            await self._listener.note_refusal([address], self._source, reply.NOBODY)
            return reply.NOBODY
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd finds commands by name
        """Read the text of a mail into one buffer.

        aiosmtpd keeps an object per line: 25 MiB of empty lines would cost it 1 GB. And for
        LMTP it would say once what must be said once for each recipient.
        """
        if await self.check_helo_needed():
            return
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos:
            await self.push("503 5.5.1 send RCPT first")
            return
        if arg:
            await self.push("501 5.5.4 DATA takes no argument")
            return
        await self.push("354 end the mail with a dot on a line of its own")
        text = bytearray()
        try:
            failure = await self._read_text(text)
            if failure:
                await self._listener.note_refusal(envelope.rcpt_tos, self._source, failure)
                answers = [failure] * len(envelope.rcpt_tos)
            else:
                envelope.content = bytes(text)
                client = self._client()
                taken = await self._listener.take(envelope, self._source, client)
                answers = [reply.to_recipient(one, self._source) for one in taken]
        finally:
            self._listener.held -= len(text)
            self.envelope = self._create_envelope()
        if self._source is Source.LMTP:
            await self.push("\r\n".join(answers))
        else:
            await self.push(reply.to_all(answers))

    async def _read_text(self, text: bytearray) -> str:
        """Read up to the final dot; return why the text cannot be used, or nothing.

        Only CRLF ends a line here (CVE-2023-51764): a bare LF is content, and
        `bridge.wire.message` refuses it later.
        """
        failure = ""
        settings = self._listener.settings
        at_start = True
        while True:
            try:
                line = await self._reader.readuntil(b"\r\n")
                whole = True
            except asyncio.LimitOverrunError as error:
                line, whole = await self._reader.read(error.consumed), False
                failure = failure or "500 5.5.2 a line of the mail is too long"
            if at_start and whole and line == b".\r\n":
                return failure
            kept = line[1:] if at_start and line.startswith(b".") else line
            at_start = whole
            if failure:
                continue
            if len(text) + len(kept) > settings.size_max:
                failure = f"552 5.3.4 the mail is larger than {settings.size_max} bytes"
            elif self._listener.held + len(kept) > settings.bytes_held:
                failure = reply.LATER
            if failure:
                # Read on, keep nothing: the answer can only be given at the end.
                self._listener.held -= len(text)
                text.clear()
                continue
            text += kept
            self._listener.held += len(kept)

    def _client(self) -> str:
        session = self.session
        name = _field(str(session.host_name)) if session and session.host_name else "unknown"
        peer: object = session.peer if session else None
        address = peer[0] if isinstance(peer, tuple) and peer else "local"
        return f"{name} ([{_field(str(address))}])"

    async def handle_exception(self, _error: Exception) -> str:
        """Say nothing of what went wrong inside to a stranger."""
        _log.exception("mail session")
        return "451 4.3.0 the command cannot be handled"


def _busy() -> Taken:
    return Taken(disposition=Disposition.LATER, code="busy", reason="the gateway is busy")


def _field(text: str) -> str:
    """Return a name from the network as it may stand in a header field of ours."""
    local, at, domain = text[:320].rpartition("@")
    if not at:
        return _UNSAFE.sub("?", text[:255])
    kept = "".join([char for char in local if char.isprintable() and char not in ' <>()\\"'])
    return f"{kept}@{_UNSAFE.sub('?', domain)}"
