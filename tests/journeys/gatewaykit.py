"""What journeys share: a gateway run as its users run it, and a client on its socket.

Everything goes through the front doors: `tx-bridge` in processes of its own, HTTP, LMTP,
SMTP and IMAP on loopback ports, a spool on disk. Nothing is patched, nothing is in memory.
"""

from __future__ import annotations

import base64
import http.client
import json
import select
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from davdoor import C, D, Reply

from bridge.listener import free_port
from bridge.model.ids import Domain
from bridge.store.events import FileEvents
from bridge.store.spool import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mailkit import Bed, Post

BOB = "bob@home.example"
TASKS = "tasks@home.example"
ALICE = "alice@sender.example"
START_SECONDS = 30.0
STOP_SECONDS = 30.0
_EVENTS = 10_000


def until(check: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait for something that comes by itself."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"it did not happen in time: {what}"
        time.sleep(0.05)


# -- commands ----------------------------------------------------------------------------


class Shell:
    """Runs `tx-bridge` commands, each in a process of its own; not for several threads at once.

    The processes are forked off one that has read the program already: starting an
    interpreter for each would take most of the journeys' time.
    """

    def __init__(self, folder: Path, config: Path) -> None:
        self._config = config
        self._folder = Path(tempfile.mkdtemp(prefix="shell", dir=folder))
        self._process = subprocess.Popen(  # noqa: S603 - the program under test
            [sys.executable, "-c", _SHELL, str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> str:
        """Run one command, which must succeed, and return what it prints."""
        said, asked = self._process.stdout, self._process.stdin
        assert said is not None
        assert asked is not None
        asked.write(json.dumps([*words, "--config", str(self._config)]) + "\n")
        asked.flush()
        status = said.readline().strip()
        out, err = [(self._folder / name).read_text() for name in ("out", "err")]
        assert status == "0", (words, status, out, err)
        assert "Traceback" not in err, err
        return out

    def close(self) -> None:
        self._process.communicate()


_SHELL = """
import json, os, pathlib, sys
import bridge.cli.log, bridge.cli.task, bridge.cli.user, bridge.cli.verify
from bridge.cli import root
folder = pathlib.Path(sys.argv[1])
for line in sys.stdin:
    child = os.fork()
    if not child:
        for fd, name in ((0, os.devnull), (1, folder / "out"), (2, folder / "err")):
            flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if fd else 0)
            os.dup2(os.open(name, flags, 0o600), fd)
        root.main(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


# -- the gateway -------------------------------------------------------------------------


@dataclass
class Gateway:
    """One domain on disk, and the process that serves it while it runs."""

    folder: Path
    domain: str = "home.example"
    passwords: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.config = self.folder / "bridge.toml"
        self.port = free_port("127.0.0.1")
        self.mail_port = free_port("127.0.0.1")
        self.log_file = self.folder / "serve.log"
        spool = self.folder / "spool"
        self.layout = Layout(root=spool, domain=Domain(self.domain))
        self.shell = Shell(self.folder, self.config)
        self.run("init", "--spool", str(spool), "--domain", self.domain, "--yes")

    def close(self) -> None:
        """End what still runs."""
        if self.process is not None:
            self.kill()
        self.shell.close()

    # -- set up --------------------------------------------------------------------------

    def run(self, *words: str) -> str:
        """Run one `tx-bridge` command in a process of its own and return what it prints."""
        return self.shell.run(*words)

    def json(self, *words: str) -> Any:
        """Run a reading command and return its document."""
        return json.loads(self.run(*words, "--json"))

    def check(self) -> None:
        """Verify every log, as an auditor does: chain, signatures, decisions, attachments."""
        found = self.json("verify")
        assert found["ok"] is True, found
        assert found["projects"]

    def add_user(self, address: str) -> None:
        made = self.json("user", "add", address)
        self.passwords[address] = made["password"]

    def trust(self, post: Post) -> None:
        """Believe certificates of the authority of `post`, as an administrator configures it."""
        (self.folder / "ca.pem").write_bytes(post.authority.certificate_pem)
        self._edit("#ca_files = []", 'ca_files = ["ca.pem"]')

    def send_over(self, bed: Bed) -> None:
        """Send answers over the mail server of the test bed."""
        self._edit("#[mail.smtp]", _SMTP.format(port=bed.smtp) + "#")

    def fetch_from(self, bed: Bed, user: str = TASKS) -> None:
        """Fetch from a mailbox of the test bed, and send answers over its mail server."""
        self.send_over(bed)
        (self.folder / "imap.password").write_text("secret\n")
        self._edit("#[[mail.mailbox]]", _MAILBOX.format(port=bed.imap, user=user) + "#")

    def _edit(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert text.count(old) == 1, old
        self.config.write_text(text.replace(old, new))

    # -- run -----------------------------------------------------------------------------

    def start(self, *options: str) -> str:
        """Serve; return the line that says so."""
        listen = ["--listen", f"127.0.0.1:{self.port}", "--lmtp", f"127.0.0.1:{self.mail_port}"]
        command = [sys.executable, "-m", "bridge", "serve", "--config", str(self.config)]
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(  # noqa: S603 - the program under test
                [*command, *listen, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        output = self.process.stdout
        assert output is not None
        assert select.select([output], [], [], START_SECONDS)[0], self.said()
        line = output.readline()
        assert line.startswith("ready on http://127.0.0.1:"), (line, self.said())
        return line

    def stop(self) -> None:
        """Let it finish and end, as a service manager does."""
        process = self._taken()
        process.terminate()
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        assert status == 0, (status, self.said())
        assert "Traceback" not in self.said(), self.said()

    def kill(self) -> None:
        """End it at once, as a power cut does for a process."""
        process = self._taken()
        process.kill()
        process.wait(STOP_SECONDS)

    def _taken(self) -> subprocess.Popen[str]:
        process, self.process = self.process, None
        assert process is not None
        if process.stdout is not None:
            process.stdout.close()
        return process

    @contextmanager
    def serving(self, *options: str) -> Iterator[Self]:
        """Serve while the block lasts; it may kill and start again inside."""
        self.start(*options)
        try:
            yield self
        except BaseException:
            if self.process is not None:
                self.kill()
            raise
        if self.process is not None:
            self.stop()

    def said(self) -> str:
        """Return what all its processes logged."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def told(self, which: str = BOB) -> list[Any]:
        """Return the history of a project, oldest first."""
        return list(reversed(self.json("log", which, "--limit", "100000")))

    # -- look ----------------------------------------------------------------------------

    def dav(self, user: str = BOB) -> Dav:
        return Dav(self.port, user, self.passwords[user])

    def events(self, kind: str) -> list[Mapping[str, object]]:
        """Return the events of one kind, oldest first."""
        found = FileEvents(self.layout.events).tail(_EVENTS)
        return [event for event in found if event.get("event") == kind]

    def refusals(self) -> list[str]:
        """Return the codes of what was refused, oldest first."""
        return [str(event.get("code")) for event in self.events("refused")]

    def mail_outcomes(self) -> list[tuple[str, str]]:
        """Return (outcome, code) of each mail, oldest first."""
        return [(str(one["outcome"]), str(one.get("code"))) for one in self.events("mail")]

    def lmtp(self) -> smtplib.LMTP:
        return smtplib.LMTP("127.0.0.1", self.mail_port, timeout=30)

    def smtp(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.mail_port, timeout=30)


_SMTP = """[mail.smtp]
host = "127.0.0.1"
port = {port}
security = "none"
"""
_MAILBOX = """[[mail.mailbox]]
host = "127.0.0.1"
port = {port}
tls = false
user = "{user}"
password_file = "imap.password"
"""


# -- a CalDAV client ---------------------------------------------------------------------


class Dav:
    """One kept connection to the CalDAV door; not for several threads at once."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.user = user
        self.home = f"/dav/{quote(user, safe='')}"
        self.url = f"http://127.0.0.1:{port}/"
        self.password = password
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._login = {"Authorization": f"Basic {pair}"}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __call__(self, method: str, path: str, body: bytes | str = b"", **headers: str) -> Reply:
        """Send one request; header names are given with underscores.

        Raises:
            OSError, http.client.HTTPException: the connection broke; no answer was read.
        """
        sent = self._login | {name.replace("_", "-"): value for name, value in headers.items()}
        data = body.encode() if isinstance(body, str) else body
        self._connection.request(method, path, data or None, sent)
        answer = self._connection.getresponse()
        content = answer.read()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, content)

    def path(self, name: str, list_: str = "personal") -> str:
        return f"{self.home}/{list_}/{name}"

    def put(self, name: str, body: bytes, list_: str = "personal", **headers: str) -> Reply:
        return self(
            "PUT",
            self.path(name, list_),
            body,
            content_type="text/calendar; charset=utf-8",
            **headers,
        )

    def get(self, name: str, list_: str = "personal") -> Reply:
        return self("GET", self.path(name, list_))

    def texts(self, list_: str = "personal") -> dict[str, tuple[str, str]]:
        """Return name -> (ETag, iCalendar) of a whole list."""
        reply = self("REPORT", self.path("", list_), _QUERY, depth="1", content_type=_XML)
        assert reply.status == 207, reply.body
        found: dict[str, tuple[str, str]] = {}
        for href, response in reply.members().items():
            name = href.rpartition("/")[2]
            assert name not in found, "a task is listed twice"
            found[name] = (
                response.findtext(f".//{D}getetag") or "",
                response.findtext(f".//{C}calendar-data") or "",
            )
        return found

    def etags(self, list_: str = "personal") -> dict[str, str]:
        """Return name -> ETag of a whole list, by PROPFIND."""
        body = '<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>'
        path = self.path("", list_)
        reply = self("PROPFIND", path, body, depth="1", content_type=_XML)
        assert reply.status == 207, reply.body
        names = {
            href.rpartition("/")[2]: response.findtext(f".//{D}getetag") or ""
            for href, response in reply.members().items()
        }
        assert len(reply.xml.findall(f"{D}response")) == len(names), "a task is listed twice"
        return {name: etag for name, etag in names.items() if name}

    def sync(self, token: str = "", list_: str = "personal") -> tuple[str, dict[str, str | None]]:
        """Return the new token and name -> ETag of what changed, None for what is gone."""
        body = (
            f'<sync-collection xmlns="DAV:"><sync-token>{token}</sync-token>'
            "<sync-level>1</sync-level><prop><getetag/></prop></sync-collection>"
        )
        reply = self("REPORT", self.path("", list_), body, content_type=_XML)
        assert reply.status == 207, reply.body
        changes = {
            href.rpartition("/")[2]: response.findtext(f".//{D}getetag")
            for href, response in reply.members().items()
        }
        return reply.xml.findtext(f"{D}sync-token") or "", changes


_XML = "application/xml; charset=utf-8"
_QUERY = (
    '<C:calendar-query xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">'
    "<prop><getetag/><C:calendar-data/></prop>"
    '<C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VTODO"/>'
    "</C:comp-filter></C:filter></C:calendar-query>"
)


# -- writers at the same time ------------------------------------------------------------


def together(*jobs: Callable[[], None]) -> None:
    """Run jobs in threads of their own and raise the first failure."""
    failures: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - told to the test that waits
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
