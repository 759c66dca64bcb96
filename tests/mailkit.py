"""What tests of the mail door share: a domain with a real worker, senders with real
certificates, mail signed by the openssl CLI, and the test bed of Postfix and Dovecot."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import os
import shutil
import smtplib
import socket
import subprocess
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bridge.app import clock, new_id
from bridge.mail.case import Incoming, IntakeSettings, Source, Taken
from bridge.mail.intake import Intake
from bridge.model.ids import Address, Domain, KeyId, ProjectId
from bridge.model.patch import Via
from bridge.store.directory import open_memory
from bridge.store.directory_records import Acquaintance, Pin, PinKind, Policy, User
from bridge.store.index import Index
from bridge.store.index_engine import open_index_memory
from bridge.store.memory import MemoryBlobs, MemoryEvents, MemoryLog
from bridge.trust.anchors import TrustAnchors, fingerprint_of
from bridge.trust.patchsig import DomainKey
from bridge.trust.testca import Issued, issue_certificate, make_test_ca
from bridge.worker.command import Actor, CreateProject
from bridge.worker.commit import Stores
from bridge.worker.gateway import Gateway
from bridge.worker.loop import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from bridge.mail.door import MailDoor
    from bridge.model.request import Request
    from bridge.store.directory_contract import Directory
    from bridge.worker.command import Command, Outcome

HOME = Domain("home.example")
BOB = Address("bob@home.example")
TASKS = Address("tasks@home.example")
ALICE = Address("alice@sender.example")
MALLORY = Address("mallory@evil.example")
BED = Path(__file__).parent / "testbed" / "mailbed.sh"


# -- a domain ----------------------------------------------------------------------------


class MailHouse:
    """One domain in memory with its worker; `submit` is answered in the caller's thread."""

    def __init__(self, domain: str = HOME, directory: Directory | None = None) -> None:
        engine = open_index_memory()
        engine.prepare_layout()
        self.directory = directory or open_memory()
        self.index = Index(engine)
        self.events = MemoryEvents()
        self.blobs = MemoryBlobs(clock)
        self.log = MemoryLog()
        self.ahead = timedelta()
        self.commands: list[Command] = []
        self.fail_submit: Outcome | Exception | None = None
        self._lock = threading.Lock()
        stores = Stores(
            log=self.log,
            index=self.index,
            blobs=self.blobs,
            directory=self.directory,
            events=self.events,
        )
        self.worker = Worker(
            stores,
            key=DomainKey.from_seed(KeyId(f"{domain}/k1"), b"k" * 32),
            clock=self.clock,
            random_bytes=os.urandom,
        )
        self.gateway = Gateway(
            domain=Domain(domain),
            index=self.index,
            log=self.log,
            blobs=self.blobs,
            directory=self.directory,
            events=self.events,
            submit=self.submit,
            keep_blob=self.worker.keep_blob,
            clock=self.clock,
            new_id=new_id,
            random_bytes=os.urandom,
        )

    def clock(self) -> datetime:
        return clock() + self.ahead

    def submit(self, command: Command) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        with self._lock:
            self.commands.append(command)
            if isinstance(self.fail_submit, Exception):
                future.set_exception(self.fail_submit)
            else:
                future.set_result(self.fail_submit or self.worker.run([command])[0])
        return future

    def add_user(self, address: Address, **more: Any) -> None:
        self.directory.people.add(User(address=address, name="", created=clock(), **more))
        actor = Actor(user=address, via=Via.WORKER)
        self.submit(CreateProject(actor=actor, project=ProjectId(address))).result()

    def know(
        self, user: Address, sender: Address, how: Acquaintance, pin: Issued | None = None
    ) -> None:
        contacts = self.directory.contacts
        contacts.remember(user, sender, how, clock())
        contact = contacts.get(user, sender)
        if pin is not None and contact is not None:
            pem = pin.certificate_pem.decode()
            name = fingerprint_of(pem.encode())
            now = clock()
            seen = {"first_seen": now, "last_seen": now}
            contacts.pin(contact, Pin(kind=PinKind.SMIME, fingerprint=name, material=pem, **seen))

    def tasks(self, project: str) -> list[dict[str, str]]:
        index, name = self.index, ProjectId(project)
        rows = index.rows(name, [one.href for one in index.listing(name)])
        states = [index.task(row.task) for row in rows.values()]
        return [state.keys for state in states if state is not None]

    def waiting(self, user: Address) -> tuple[Request, ...]:
        return self.directory.requests.waiting(user)

    def mail_events(self) -> list[dict[str, Any]]:
        return [dict(one) for one in self.events.tail(1000) if one.get("event") == "mail"]

    def letters(self) -> list[bytes]:
        """Return what waits to be sent, and note it as sent."""
        found = []
        outbox = self.directory.outbox
        while letter := outbox.claim(self.clock(), timedelta(minutes=1)):
            found.append(letter.raw)
            outbox.sent(letter.id, self.clock())
        return found


def auto_accept(*levels: Any) -> Policy:
    return Policy(auto_accept_known=frozenset(levels))


@dataclass
class Desk:
    """A house with its intake, as the doors have it."""

    house: MailHouse
    anchors: TrustAnchors
    settings: IntakeSettings = field(default_factory=IntakeSettings)

    @cached_property
    def intake(self) -> Intake:
        return Intake(self.house.gateway, self.anchors, self.settings)

    def take(
        self, raw: bytes, recipient: str = BOB, source: Source = Source.LMTP, **more: Any
    ) -> Taken:
        return self.intake.take(
            Incoming(
                raw=raw,
                recipients=(recipient,),
                received=more.pop("received", self.house.clock()),
                source=source,
                **more,
            )
        )


# -- senders -----------------------------------------------------------------------------


class Post:
    """An authority, certificates below it, and mail signed with them by openssl."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        now = clock()
        self._serials = iter(range(1000, 10**6))
        self._window = (now - timedelta(days=300), now + timedelta(days=300))
        self.authority = self._make_ca("Test CA")
        self.other_authority = self._make_ca("Other CA")
        self._certificates: dict[str, Issued] = {}

    @property
    def anchors(self) -> TrustAnchors:
        return TrustAnchors(self.authority.certificate_pem)

    def _make_ca(self, name: str) -> Issued:
        start, end = self._window
        return make_test_ca(name, serial=next(self._serials), not_before=start, not_after=end)

    def certificate(self, address: str, kind: str = "good") -> Issued:
        """Return the certificate of an address: ``good``, ``expired`` or ``stranger``."""
        name = f"{kind} {address}"
        if name not in self._certificates:
            start, end = self._window
            if kind == "expired":
                end = clock() - timedelta(days=1)
            ca = self.other_authority if kind == "stranger" else self.authority
            self._certificates[name] = issue_certificate(
                Address(address),
                ca,
                serial=next(self._serials),
                not_before=start,
                not_after=end,
            )
        return self._certificates[name]

    def signed(
        self,
        text: str | bytes = "Paint the fence.\n",
        *,
        key: Issued | None = None,
        opaque: bool = False,
        **fields: str,
    ) -> bytes:
        """Return a mail signed by ``openssl cms``; `text` bytes are a whole MIME entity.

        `fields` are those of `head`.
        """
        key = key or self.certificate(fields.get("sender", ALICE))
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            (folder / "cert.pem").write_bytes(key.certificate_pem)
            (folder / "key.pem").write_bytes(key.key_pem)
            if isinstance(text, str):
                text = (
                    b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
                    + text.replace("\n", "\r\n").encode()
                )
            (folder / "text").write_bytes(text)
            command = ["openssl", "cms", "-sign", "-binary", "-crlfeol", "-md", "sha256"]
            command += ["-in", "text", "-signer", "cert.pem", "-inkey", "key.pem"]
            command += ["-nodetach"] if opaque else []
            done = _run(*command, cwd=folder)
        body = done.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return head(**fields) + body


def head(*, sender: str = ALICE, to: str = BOB, subject: str = "Fence", extra: str = "") -> bytes:
    """Return the fields of a mail without MIME fields and without the blank line."""
    lines = [f"From: {sender}", f"To: {to}", f"Subject: {subject}"]
    lines += [f"Message-ID: <{new_id().hex}@mail.sender.example>"]
    lines += ["Date: Fri, 20 Nov 2026 12:00:00 +0000"]
    return "".join(f"{line}\r\n" for line in lines).encode() + extra.encode()


def plain(text: str = "Paint the fence.\n", **more: str) -> bytes:
    """Return an unsigned mail."""
    body = text.replace("\n", "\r\n").encode()
    return head(**more) + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body


# -- a running door ---------------------------------------------------------------------


class RunningDoor:
    """A mail door in a thread of its own, as the gateway runs it."""

    def __init__(self, door: MailDoor) -> None:
        self.door = door
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def main() -> None:
            self._stop = asyncio.Event()
            await self.door.run(self._stop, self._on_ready)

        try:
            self._loop.run_until_complete(main())
        except BaseException as error:  # noqa: BLE001 - shown to the test that waits
            self._error = error
            self._ready.set()

    def _on_ready(self, address: tuple[str, int] | None) -> None:
        self.port = address[1] if address else 0
        self._ready.set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        if self._stop is not None and self._error is None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._loop.close()
        assert self._error is None

    def lmtp(self) -> smtplib.LMTP:
        return smtplib.LMTP("127.0.0.1", self.port, timeout=10)

    def smtp(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, timeout=10)


# -- the test bed ------------------------------------------------------------------------


@dataclass(frozen=True)
class Bed:
    """Running servers; ports on 127.0.0.1."""

    folder: Path
    base: int

    @property
    def smtp(self) -> int:
        return self.base

    @property
    def lmtp(self) -> int:
        return self.base + 1

    @property
    def imap(self) -> int:
        return self.base + 2

    @property
    def gateway(self) -> int:
        return self.base + 3

    def restart_dovecot(self) -> None:
        _run(BED, "dovecot", self.folder)

    @contextlib.contextmanager
    def open(self, user: str = TASKS, folder: str = "INBOX") -> Iterator[imaplib.IMAP4]:
        """Another mail program on the same account."""
        client = imaplib.IMAP4("127.0.0.1", self.imap)
        client.login(user, "secret")
        client.select(folder)
        try:
            yield client
        finally:
            client.logout()

    def mails(self, folder: str, user: str = TASKS) -> list[bytes]:
        with self.open(user, folder) as client:
            if client.state != "SELECTED":
                return []  # There is no such folder.
            _, found = client.search(None, "ALL")
            numbers = found[0].split()
            texts = []
            for number in numbers:
                _, parts = client.fetch(number, "(BODY.PEEK[])")
                texts += [part[1] for part in parts if isinstance(part, tuple)]
            return texts

    def append(self, raws: list[bytes], user: str = TASKS) -> None:
        """Put mails into the mailbox as its own server would, Delivered-To on top."""
        with self.open(user) as client:
            for raw in raws:
                client.append("INBOX", "", "", raw)

    def empty(self, user: str = TASKS) -> None:
        for folder in ("INBOX", "Processed", "Rejected"):
            with self.open(user, folder) as client:
                if client.search(None, "ALL")[1][0]:
                    client.store("1:*", "+FLAGS", r"(\Deleted)")
                    client.expunge()


def missing_parts(*, postfix: bool = True) -> str:
    """Return why the test bed cannot start here; empty where it can."""
    if shutil.which("dovecot") is None or not Path("/usr/lib/dovecot/imap").exists():
        return "Dovecot is not installed (dovecot-core dovecot-imapd dovecot-lmtpd)"
    if postfix and (shutil.which("postfix") is None or os.geteuid() != 0):
        return "Postfix is not installed, or this is not root"
    return ""


@contextlib.contextmanager
def running_bed(capability: str = "", *, postfix: bool = True) -> Iterator[Bed]:
    """Start the servers on free ports; stopped and removed at the end."""
    # Not under pytest's folder: Dovecot's sockets need a short path that others may enter.
    folder = Path(tempfile.mkdtemp(prefix="bed", dir="/tmp"))
    folder.chmod(0o755)
    base = _free_ports(4)
    try:
        wishes = [f"BED_CAPABILITY={capability}", f"BED_POSTFIX={'yes' if postfix else ''}"]
        _run("env", *wishes, BED, "up", folder, base)
        yield Bed(folder, base)
    finally:
        _run(BED, "wipe", folder)
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: object, cwd: Path | None = None) -> bytes:
    """Return what a program of the test bed prints."""
    words = [str(word) for word in command]
    # To files: Dovecot and Postfix keep the handles, and a pipe would never end.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        done = subprocess.run(words, cwd=cwd, stdout=out, stderr=err, check=False)  # noqa: S603 - our own words
        out.seek(0)
        err.seek(0)
        assert done.returncode == 0, (words, err.read())
        return out.read()


def _free_ports(count: int) -> int:
    """Return the first of `count` neighbouring ports that are free now.

    Below the range that outgoing connections take theirs from: a port found here stays free.
    """
    for _ in range(1000):
        base = 20_000 + int.from_bytes(os.urandom(2), "big") % 12_000
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise RuntimeError("no neighbouring ports are free")
