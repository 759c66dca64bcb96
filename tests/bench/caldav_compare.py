"""Side by side: this door and stock Radicale 3.9 on the same work in the same run.

    python tests/bench/caldav_compare.py [--tasks 10000] [--json FILE]

One connection, loopback, basic auth, no TLS. Both servers hold the same tasks of about 850
bytes; stock Radicale (its own server, fsync on) gets them in one PUT of the whole list, because
single PUTs would take an hour. Each operation runs until `SECONDS` are over or `MOST` requests
are done; the median is shown. Every answer is checked for its number of members.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from bridge.listener import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS, MOST = 10.0, 300
USER = "alice@bench.example"
OPEN = 0.39
CALDAV = 'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:CS="http://calendarserver.org/ns/"'
WORDS = [
    "plan",
    "ring",
    "bread",
    "fix",
    "école",
    "send",
    "paper",
    "größer",
    "call",
    "write",
    "garden",
    "train",
    "買物",
    "visit",
    "test",
]


def task(number: int, *, revision: int = 0) -> str:
    """Return the VTODO of a task, always the same for its number."""
    rng = random.Random(number)  # noqa: S311 - sample data
    state = rng.random()
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(25, 60)))
    lines = [
        "BEGIN:VTODO",
        f"UID:bench-{number}",
        "DTSTAMP:20260101T000000Z",
        "CREATED:20260101T000000Z",
        f"SEQUENCE:{revision}",
        f"SUMMARY:Task {number} {' '.join(rng.sample(WORDS, 4))}",
        f"DESCRIPTION:{text}",
        f"DUE:2030{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}T120000Z",
        f"CATEGORIES:{rng.choice(WORDS)}",
        f"PRIORITY:{rng.choice((1, 5, 9))}",
        f"X-APPLE-SORT-ORDER:{816_000_000 + number}",
        "RELATED-TO;RELTYPE=PARENT:bench-1",
    ]
    if state < OPEN:
        lines.append("STATUS:NEEDS-ACTION")
    else:
        lines += ["STATUS:COMPLETED", "COMPLETED:20260201T000000Z", "PERCENT-COMPLETE:100"]
    lines += ["BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER;RELATED=END:-PT30M", "DESCRIPTION:ring"]
    lines += [f"X-WR-ALARMUID:alarm-{number}", "END:VALARM", "END:VTODO"]
    return "\r\n".join(lines) + "\r\n"


def calendar(*tasks: str) -> bytes:
    """Return a VCALENDAR around VTODOs."""
    head = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//bench//EN\r\n"
    return (head + "".join(tasks) + "END:VCALENDAR\r\n").encode()


def is_open(number: int) -> bool:
    """Tell whether a task is open."""
    return random.Random(number).random() < OPEN  # noqa: S311 - as above


@dataclass
class Client:
    """One connection to one server; opened anew where the server closes it."""

    port: int
    password: str
    base: str
    pid: int
    figures: dict[str, float] = field(default_factory=dict)
    _connection: http.client.HTTPConnection | None = None

    def __call__(
        self, method: str, path: str, body: bytes = b"", depth: str = "1"
    ) -> tuple[int, bytes]:
        """Send one request."""
        login = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        kind = "text/calendar" if method == "PUT" else "text/xml"
        headers = {"Authorization": f"Basic {login}", "Depth": depth, "Content-Type": kind}
        for fresh in (False, True):
            if self._connection is None or fresh:
                self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
            try:
                self._connection.request(method, path, body or None, headers)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, OSError):
                if fresh:
                    raise
        raise AssertionError

    def memory(self) -> int:
        """Return the resident memory in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) // 1024


# -- the servers -------------------------------------------------------------------------

SERVE = """
import sys
from pathlib import Path
from bridge import app
from bridge.config import Config
from bridge.listener import Listener, Settings
from bridge.model.ids import parse_address, parse_domain, ProjectId
from bridge.model.patch import Via
from bridge.store.directory_records import User
from bridge.trust.passwords import Passwords, Settings as PasswordSettings
from bridge.worker.command import Actor, CreateProject
from bridge_radicale import make_application
import secrets, time
config = Config(domain=parse_domain("bench.example"), spool=Path(sys.argv[1]))
app.initialise(config)
with app.connect(config) as running:
    gateway, user = running.gateway, parse_address("alice@bench.example")
    gateway.directory.people.add(User(address=user, name="Alice", created=gateway.clock()))
    actor = Actor(user=user, via=Via.WORKER)
    gateway.submit(CreateProject(actor=actor, project=ProjectId(user))).result(10)
    passwords = Passwords(gateway.directory.passwords, PasswordSettings(),
        random_bytes=secrets.token_bytes, monotonic=time.monotonic)
    password = passwords.create(user, "bench", gateway.new_id(), gateway.clock())
    application = make_application(gateway, passwords)
    ready = lambda: print(password, flush=True)
    Listener(application, Settings(port=int(sys.argv[2])), ready).serve()
"""


@contextmanager
def ours(folder: Path) -> Iterator[Client]:
    """Run this project's door in a process of its own."""
    port = free_port("127.0.0.1")
    command = [sys.executable, "-c", SERVE, str(folder / "spool"), str(port)]
    with running(command) as server:
        if server.stdout is None:
            raise AssertionError
        password = server.stdout.readline().decode().strip()
        yield Client(port, password, f"/dav/{quote(USER)}/personal/", server.pid)


@contextmanager
def stock(folder: Path) -> Iterator[Client]:
    """Run stock Radicale with its own server and storage."""
    port = free_port("127.0.0.1")
    (folder / "users").write_text(f"{USER}:secret\n")
    (folder / "config").write_text(
        f"[server]\nhosts = 127.0.0.1:{port}\nmax_content_length = 200000000\n"
        f"[auth]\ntype = htpasswd\nhtpasswd_filename = {folder}/users\nhtpasswd_encryption = plain\n"
        f"[storage]\nfilesystem_folder = {folder}/collections\n[logging]\nlevel = error\n"
        "[web]\ntype = none\n"
    )
    command = [sys.executable, "-m", "radicale", "--config", str(folder / "config")]
    with running(command) as server:
        client = Client(port, "secret", f"/{quote(USER)}/tasks/", server.pid)
        for _ in range(200):
            try:
                client("OPTIONS", "/")
                break
            except OSError:
                time.sleep(0.05)
        yield client


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603 - our own
    try:
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


# -- the work ----------------------------------------------------------------------------


def fill_ours(client: Client, tasks: int) -> None:
    """Fill by single PUTs."""
    for number in range(tasks):
        status, body = client("PUT", f"{client.base}{number}.ics", calendar(task(number)))
        if status != http.client.CREATED:
            raise AssertionError(body)


def fill_stock(client: Client, tasks: int) -> None:
    """Fill by one PUT of the whole list."""
    status, body = client("PUT", client.base, calendar(*map(task, range(tasks))))
    if status != http.client.CREATED:
        raise AssertionError(body)


def measure(client: Client, name: str, once: Callable[[int], None]) -> None:
    """Repeat `once` and keep the median in milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < MOST and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        once(len(times))
        times.append(time.perf_counter() - start)
    client.figures[name] = statistics.median(times) * 1000


def names_of(client: Client) -> list[str]:
    """Return the hrefs of all members (stock Radicale names them by itself)."""
    _, body = client("PROPFIND", client.base, propfind("<D:getetag/>"))
    hrefs = [
        piece.partition(b"<")[0].decode()
        for piece in body.replace(b"D:href", b"href").split(b"<href>")[1:]
    ]
    return [href for href in hrefs if not href.endswith("/")]


def propfind(props: str) -> bytes:
    """Return a PROPFIND body."""
    return f"<D:propfind {CALDAV}><D:prop>{props}</D:prop></D:propfind>".encode()


def sync_body(token: str) -> bytes:
    """Return a sync-collection body."""
    return (
        f"<D:sync-collection {CALDAV}><D:sync-token>{token}</D:sync-token>"
        "<D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"
    ).encode()


QUERY = (
    f"<C:calendar-query {CALDAV}><D:prop><D:getetag/><C:calendar-data/></D:prop><C:filter>"
    '<C:comp-filter name="VCALENDAR"><C:comp-filter name="VTODO"><C:prop-filter name="COMPLETED">'
    '<C:is-not-defined/></C:prop-filter><C:prop-filter name="STATUS"><C:text-match '
    'negate-condition="yes">CANCELLED</C:text-match></C:prop-filter></C:comp-filter>'
    "</C:comp-filter></C:filter></C:calendar-query>"
).encode()


def responses(body: bytes) -> int:
    """Count the members of a multistatus."""
    return body.count(b"response>") // 2


def token_in(body: bytes) -> str:
    """Return the sync token of an answer."""
    return (
        body.replace(b"D:sync-token", b"sync-token")
        .partition(b"<sync-token>")[2]
        .partition(b"<")[0]
        .decode()
    )


def work(client: Client, tasks: int) -> None:  # noqa: PLR0915 - one list of operations
    """Run every operation once on a filled list."""
    names = names_of(client)
    check(len(names) == tasks, f"{len(names)} members instead of {tasks}")
    base = client.base

    def report(body: bytes, members: int) -> bytes:
        status, answer = client("REPORT", base, body)
        check(status == http.client.MULTI_STATUS, answer[:300].decode())
        check(responses(answer) == members, f"{responses(answer)} instead of {members} members")
        return answer

    def get(i: int) -> None:
        status, _ = client("GET", names[i * 7 % tasks])
        check(status == http.client.OK, "GET")

    def poll(_: int) -> None:
        status, _body = client("PROPFIND", base, propfind("<CS:getctag/><D:sync-token/>"), "0")
        check(status == http.client.MULTI_STATUS, "poll")

    def overwrite(i: int) -> None:
        path = names[i * 11 % tasks]
        _, old = client("GET", path)
        number = int(old.partition(b"UID:bench-")[2].split()[0])
        start = time.perf_counter()
        status, body = client("PUT", path, calendar(task(number, revision=i + 1)))
        spent.append(time.perf_counter() - start)
        check(status in {http.client.CREATED, http.client.NO_CONTENT}, body[:300].decode())

    def change_and_sync(i: int) -> None:
        path = names[i * 13 % tasks]
        _, old = client("GET", path)
        number = int(old.partition(b"UID:bench-")[2].split()[0])
        client("PUT", path, calendar(task(number, revision=1000 + i)))
        start = time.perf_counter()
        tokens.append(token_in(report(sync_body(tokens[-1]), 1)))
        spent.append(time.perf_counter() - start)

    def multiget(i: int) -> None:
        hrefs = "".join(f"<D:href>{names[(i * 100 + k) % tasks]}</D:href>" for k in range(100))
        props = "<D:prop><D:getetag/><C:calendar-data/></D:prop>"
        body = f"<C:calendar-multiget {CALDAV}>{props}{hrefs}</C:calendar-multiget>"
        report(body.encode(), 100)

    def put_new(i: int) -> None:
        number = 1_000_000 + i
        status, body = client("PUT", f"{base}{number}.ics", calendar(task(number)))
        check(status == http.client.CREATED, body[:300].decode())

    measure(client, "GET", get)
    measure(client, "ctag poll", poll)
    measure(client, "PROPFIND 1", lambda _: check(len(names_of(client)) == tasks, "PROPFIND 1"))
    tokens = [""]
    measure(client, "initial sync", lambda _: tokens.append(token_in(report(sync_body(""), tasks))))
    measure(client, "multiget 100", multiget)
    opened = sum(map(is_open, range(tasks)))
    measure(client, "query open", lambda _: check(bool(report(QUERY, opened)), "query"))
    spent: list[float] = []
    measure(client, "overwrite", overwrite)
    client.figures["overwrite"] = statistics.median(spent) * 1000
    spent.clear()
    tokens.append(token_in(report(sync_body(""), tasks)))
    measure(client, "sync after 1", change_and_sync)
    client.figures["sync after 1"] = statistics.median(spent) * 1000
    measure(client, "PUT new", put_new)
    client.figures["memory MiB"] = client.memory()


def check(good: bool, what: str) -> None:
    """Stop over a wrong answer."""
    if not good:
        raise AssertionError(what)


def main() -> None:
    """Run both servers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=("ours", "stock"))
    arguments = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for name, serve, fill in (("ours", ours, fill_ours), ("stock", stock, fill_stock)):
        if arguments.only not in {None, name}:
            continue
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
            client = stack.enter_context(serve(folder))
            start = time.perf_counter()
            fill(client, arguments.tasks)
            client.figures["fill s"] = time.perf_counter() - start
            work(client, arguments.tasks)
            results[name] = client.figures
    lines = [
        f"{arguments.tasks} tasks of {len(calendar(task(5)))} bytes; median milliseconds",
        f"{'operation':<16}{'ours':>10}{'Radicale':>12}{'ratio':>9}",
    ]
    for operation in results[next(iter(results))]:
        mine = results.get("ours", {}).get(operation, float("nan"))
        theirs = results.get("stock", {}).get(operation, float("nan"))
        lines.append(f"{operation:<16}{mine:>10.2f}{theirs:>12.2f}{theirs / mine:>9.1f}")
    sys.stdout.write("\n".join(lines) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
