"""One mailbox over IMAP4rev1: the only file that knows aioimaplib (RFC 3501, 2177, 6851, 4315).

Promises what the library does not (mail-trust section 8): every wait ends, because it races
the loss of the connection and a clock; names are quoted and in modified UTF-7; only explicit
UIDs are fetched, few at a time; the library's log, which holds every byte received, is off.
Any failure raises `Unavailable` and ends the connection: open another one. Nothing here
deletes a mail except as the second half of a move on servers without MOVE.

TLS from the first byte by default; plain connections only to a loopback address, or where
the configuration insists.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
import re
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import aioimaplib

from bridge.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

FETCH_MAX: Final = 25
"""Mails in one FETCH: 14,300 a second; hundreds overflow the library's recursion."""
IDLE_SECONDS: Final = 9 * 60.0
"""IDLE is asked for again after that: some networks forget connections after 10 minutes."""

_TOLD_SECONDS: Final = 1.0
"""Pause before another look where the server told of mail while it searched."""
_FETCHED: Final = re.compile(rb"\d+ FETCH \((.*)", re.DOTALL)
_UID: Final = re.compile(rb"\bUID (\d+)")
_SIZE: Final = re.compile(rb"\bRFC822\.SIZE (\d+)")
_DATE: Final = re.compile(rb'\bINTERNALDATE "([^"]{20,30})"')
_VALIDITY: Final = re.compile(rb"\[UIDVALIDITY (\d+)\]")
_TEXT_AFTER: Final = re.compile(rb"BODY\[\] \{\d+\}\Z")
_TEXT_INLINE: Final = re.compile(rb'BODY\[\] (?:NIL|"((?:[^"\\]|\\.)*)")')

# Its debug log holds every byte received, its info log lines of other people's mail.
logging.getLogger("aioimaplib").setLevel(logging.ERROR)
logging.getLogger("aioimaplib.aioimaplib").setLevel(logging.ERROR)

T = TypeVar("T")
Lines = list[bytes | bytearray]
"""An answer; texts of mails (literals) are the bytearrays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxSettings:
    """One mailbox to fetch from.

    Attributes:
        tls: TLS from the first byte (port 993). Without it, only loopback hosts are spoken
            to, unless `insecure` is set.
        user, password: of the account.
        folder: where mail arrives; handled mail goes to `processed`, refused to `rejected`,
            which are made if they do not exist.
        recipient: whose mail it is where no Delivered-To names a user; empty means `user`.
        poll_seconds: how often to look without being told (IDLE is only a hint).
        timeout_seconds: for each answer of the server.
    """

    host: str
    user: str
    password: str = field(repr=False)
    port: int = 993
    tls: bool = True
    insecure: bool = False
    ca_file: str = ""
    folder: str = "INBOX"
    processed: str = "Processed"
    rejected: str = "Rejected"
    recipient: str = ""
    poll_seconds: float = 300.0
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse to send a password in the clear over a network.

        Raises:
            Misconfigured: ``plain-imap``.
        """
        if not (self.tls or self.insecure or is_loopback(self.host)):
            raise Misconfigured(
                "plain-imap",
                f"the mailbox on {self.host} is to be read without TLS",
                hint="set tls = true",
            )

    @property
    def name(self) -> str:
        """What the journal calls this mailbox; no port, which may change."""
        return f"{self.user}@{self.host}/{self.folder}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """A mail as the server describes it before it is fetched; `received` in UTC."""

    uid: int
    size: int
    received: datetime


class Mailbox:
    """An open connection with one folder selected; made by `open`, used by one task."""

    def __init__(self, settings: MailboxSettings) -> None:
        """Connect to nothing yet."""
        self._settings = settings
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._client: Any = None
        self._told = False
        self.uidvalidity = 0

    @classmethod
    async def open(cls, settings: MailboxSettings) -> Self:
        """Connect, log in, make the folders that are missing and select the one to read.

        Raises:
            Unavailable: ``imap``.
        """
        mailbox = cls(settings)
        try:
            await mailbox._connect()
            for folder in (settings.processed, settings.rejected):
                # "NO" where it exists already, which a server need not say in a standard way.
                await mailbox._run(mailbox._client.create(_quoted(folder)), "CREATE", ok=False)
            await mailbox._select(settings.folder)
        except BaseException:
            await mailbox.close()
            raise
        return mailbox

    @property
    def can_idle(self) -> bool:
        """True if the server can tell of new mail by itself."""
        return bool(self._client.has_capability("IDLE"))

    async def search(self, after: int = 0) -> list[int]:
        """Return the UIDs above `after`, ascending.

        Raises:
            Unavailable: ``imap``; so do all methods here.
        """
        self._told = False
        search = self._client.uid_search("UID", f"{after + 1}:*", charset=None)
        lines = await self._run(search, "SEARCH")
        # The last line is the server's comment, which may hold numbers of its own.
        found = {int(word) for line in lines[:-1] for word in line.split() if word.isdigit()}
        return sorted(uid for uid in found if uid > after)

    async def describe(self, uids: Iterable[int]) -> list[Stub]:
        """Return size and time of arrival of at most `FETCH_MAX` mails, by UID."""
        lines = await self._fetch(uids, "(UID RFC822.SIZE INTERNALDATE)")
        stubs = []
        for line in lines:
            found = _FETCHED.match(line)
            uid, size, date = (
                (_UID.search(found[1]), _SIZE.search(found[1]), _DATE.search(found[1]))
                if found
                else (None, None, None)
            )
            if uid and size and date:
                stubs.append(Stub(uid=int(uid[1]), size=int(size[1]), received=_moment(date[1])))
        return sorted(stubs, key=lambda stub: stub.uid)

    async def fetch(self, uids: Iterable[int]) -> dict[int, bytes]:
        """Return the bytes of at most `FETCH_MAX` mails; those that have gone are missing."""
        lines = await self._fetch(uids, "(UID BODY.PEEK[])")
        mails: dict[int, bytes] = {}
        for at, line in enumerate(lines):
            # The UID may stand before the text or after it (RFC 3501 leaves the order open).
            found = _FETCHED.match(line) if isinstance(line, bytes) else None
            if found is None:
                continue
            inline = _TEXT_INLINE.search(line)
            if _TEXT_AFTER.search(line) and at + 2 < len(lines):
                text, tail = bytes(lines[at + 1]), lines[at + 2]
            elif inline:
                text, tail = re.sub(rb"\\(.)", rb"\1", inline[1] or b""), b""
            else:
                continue
            uid = _UID.search(line.partition(b"BODY[]")[0]) or _UID.search(bytes(tail))
            if uid:
                mails[int(uid[1])] = text
        return mails

    async def move(self, uids: Iterable[int], folder: str) -> None:
        """Move mails to `folder`, making it if somebody has removed it since."""
        wanted = _uid_set(uids)
        if not wanted:
            return
        try:
            await self._move(wanted, folder)
        except _Refused:
            await self._run(self._client.create(_quoted(folder)), "CREATE", ok=False)
            await self._move(wanted, folder)

    async def wait(self, seconds: float) -> None:
        """Return when the server says that something changed, at the latest after `seconds`.

        Also soon, if it did so since the last search was asked for: it says it only once.
        """
        if self._told:
            await self._pause(min(seconds, _TOLD_SECONDS))
            return
        if not self.can_idle:
            await self._pause(seconds)
            await self._run(self._client.noop(), "NOOP")
            return
        seconds = min(seconds, IDLE_SECONDS)
        idle: asyncio.Future[Any] = await self._race(
            self._client.idle_start(timeout=seconds + 60), "IDLE"
        )
        push: asyncio.Future[Any] = asyncio.ensure_future(
            self._client.wait_server_push(seconds + 60)
        )
        watched: set[asyncio.Future[Any]] = {push, self._lost, idle}
        try:
            await asyncio.wait(watched, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(push)
            if not self._lost.done():
                self._client.idle_done()
        await self._race(idle, "DONE")

    async def close(self) -> None:
        """End the connection; a server that does not answer is left behind."""
        client, self._client = self._client, None
        if client is None:
            return
        if not self._lost.done():
            try:
                async with asyncio.timeout(2):
                    await client.logout()
            except (TimeoutError, OSError, aioimaplib.AioImapException, ssl.SSLError):
                logging.getLogger(__name__).debug("no farewell from %s", self._settings.host)
        transport = client.protocol.transport
        if transport is not None:
            transport.abort()
        client._client_task.cancel()  # noqa: SLF001 - a connection attempt outlives its object

    # -- inside --------------------------------------------------------------------------

    async def _connect(self) -> None:
        settings = self._settings
        context = None
        if settings.tls:
            context = ssl.create_default_context(cafile=settings.ca_file or None)
        # IMAP4_SSL would drop the callback that tells of a lost connection.
        self._client = aioimaplib.IMAP4(
            settings.host,
            settings.port,
            timeout=settings.timeout_seconds,
            conn_lost_cb=self._on_lost,
            ssl_context=context,
        )
        self._listen()
        await self._race(self._client.wait_hello_from_server(), "greeting")
        await self._log_in()
        await self._race(self._client.protocol.capability(), "CAPABILITY")

    def _listen(self) -> None:
        """Notice new mail that the server tells of beside an answer (RFC 3501 section 7.3.1).

        Dovecot searches what it has told of and tells of more after that; the library would
        drop the line, and IDLE does not repeat it.
        """
        protocol = self._client.protocol
        handle = protocol._untagged_response  # noqa: SLF001 - the library has no callback for it

        def untagged(line: bytes) -> Any:  # as the library's own
            self._told = self._told or line.rstrip().endswith(b" EXISTS")
            return handle(line)

        protocol._untagged_response = untagged  # noqa: SLF001 - as above

    async def _log_in(self) -> None:
        """Log in with the password; XOAUTH2 (`self._client.xoauth2`) gets its place here."""
        settings = self._settings
        login = self._client.login(aioimaplib.quoted(settings.user), settings.password)
        await self._run(login, "LOGIN")

    async def _select(self, folder: str) -> None:
        lines = await self._run(self._client.select(_quoted(folder)), "SELECT")
        for line in lines:
            found = _VALIDITY.search(line)
            if found:
                self.uidvalidity = int(found[1])
                return
        raise Unavailable("imap", f"{self._settings.host} gives no UIDVALIDITY", retry=True)

    async def _fetch(self, uids: Iterable[int], parts: str) -> Lines:
        wanted = _uid_set(uids)
        if not wanted:
            return []
        if wanted.count(",") >= FETCH_MAX:
            raise ValueError("more mails than one FETCH may ask for")
        return await self._run(self._client.uid("FETCH", wanted, parts), "FETCH")

    async def _move(self, wanted: str, folder: str) -> None:
        client, target = self._client, _quoted(folder)
        if client.has_capability("MOVE"):
            await self._run(client.uid("MOVE", wanted, target), "MOVE")
            return
        await self._run(client.uid("COPY", wanted, target), "COPY")
        await self._run(client.uid("STORE", wanted, "+FLAGS.SILENT", r"(\Deleted)"), "STORE")
        if client.has_capability("UIDPLUS"):
            await self._run(client.uid("EXPUNGE", wanted), "EXPUNGE")
        # Without UIDPLUS an EXPUNGE could take others' mail: it stays, marked.

    async def _run(self, command: Awaitable[Any], name: str, *, ok: bool = True) -> Lines:
        """Return the lines of an answer; with `ok`, one that says NO raises."""
        response = await self._race(command, name)
        lines: Lines = list(response.lines)
        if ok and response.result != "OK":
            said = lines[-1][:200].decode("ascii", "replace") if lines else ""
            raise _Refused("imap", f"{self._settings.host} refuses {name}", retry=True, said=said)
        return lines

    async def _race(self, awaitable: Awaitable[T], name: str) -> T:
        """Await something of the library, which may never come back by itself."""
        task = asyncio.ensure_future(awaitable)
        host, seconds = self._settings.host, self._settings.timeout_seconds
        watched: set[asyncio.Future[Any]] = {task, self._lost}
        try:
            await asyncio.wait(watched, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(task)
        if task.cancelled():
            lost = "closed the connection" if self._lost.done() else "does not answer"
            raise Unavailable("imap", f"{host} {lost} ({name})", retry=True)
        error = task.exception()
        if error is None:
            return task.result()
        # Whatever the library stumbles over; its texts may hold what was received.
        raise Unavailable(
            "imap", f"{host} cannot be used ({name}, {type(error).__name__})", retry=True
        )

    async def _pause(self, seconds: float) -> None:
        await asyncio.wait({self._lost}, timeout=seconds)
        if self._lost.done():
            raise Unavailable("imap", f"{self._settings.host} closed the connection", retry=True)

    def _on_lost(self, _error: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_result(None)


class _Refused(Unavailable):
    """The server said NO or BAD; the connection can go on."""


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine, by what it says, without asking DNS."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def modified_utf7(name: str) -> str:
    """Return a mailbox name as IMAP spells it (RFC 3501 section 5.1.3)."""
    out: list[str] = []
    for part in re.findall(r"[ -~]+|[^ -~]+", name):
        if " " <= part[0] <= "~":
            out.append(part.replace("&", "&-"))
        else:
            encoded = base64.b64encode(part.encode("utf-16-be")).decode("ascii")
            out.append(f"&{encoded.rstrip('=').replace('/', ',')}-")
    return "".join(out)


def _quoted(folder: str) -> str:
    return str(aioimaplib.quoted(modified_utf7(folder)))


def _uid_set(uids: Iterable[int]) -> str:
    return ",".join(str(uid) for uid in uids)


def _moment(date: bytes) -> datetime:
    """Return an INTERNALDATE such as `` 1-Dec-2026 09:00:00 +0100`` in UTC."""
    text = date.decode("ascii", "replace").strip()
    try:
        return datetime.strptime(text, "%d-%b-%Y %H:%M:%S %z").astimezone(UTC)
    except ValueError:
        raise Unavailable("imap", "the server gives a date that is none", retry=True) from None


async def _ended(task: asyncio.Future[Any]) -> None:
    """End a task of ours that is no longer wanted, and look at its error."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
