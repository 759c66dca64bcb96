"""The CalDAV door over a real worker in memory, and a WSGI client for it."""

from __future__ import annotations

import base64
import io
import itertools
import threading
import uuid
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from xml.etree import ElementTree as ET

from bridge_radicale import make_application
from house import ALICE, BOB, CAROL, House, actor

from bridge.caldav.call import Settings
from bridge.errors import BridgeError
from bridge.model.ids import Domain, ProjectId
from bridge.trust.passwords import Passwords
from bridge.trust.passwords import Settings as PasswordSettings
from bridge.worker.command import CreateProject
from bridge.worker.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.model.ids import Address
    from bridge.worker.command import Command, Outcome

D = "{DAV:}"
C = "{urn:ietf:params:xml:ns:caldav}"
CS = "{http://calendarserver.org/ns/}"
A = "{http://apple.com/ns/ical/}"

PROPFIND = (
    '<D:propfind xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" '
    'xmlns:CS="http://calendarserver.org/ns/" xmlns:A="http://apple.com/ns/ical/">'
    "<D:prop>{}</D:prop></D:propfind>"
)


def vtodo(uid: str, *lines: str, summary: str = "Buy milk") -> bytes:
    """Return a whole VCALENDAR with one task."""
    inner = [f"UID:{uid}", "DTSTAMP:20261120T120000Z", f"SUMMARY:{summary}", *lines]
    return calendar("BEGIN:VTODO", *inner, "END:VTODO")


def calendar(*lines: str) -> bytes:
    """Return a VCALENDAR around content lines."""
    head = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN")
    return ("\r\n".join((*head, *lines, "END:VCALENDAR")) + "\r\n").encode()


@dataclass
class Reply:
    """An answer, with what tests look at."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def xml(self) -> ET.Element:
        return ET.fromstring(self.body)  # noqa: S314 - our own answer, read as clients do

    def members(self) -> dict[str, ET.Element]:
        """Return href (decoded) -> response element."""
        return {unquote(r.findtext(f"{D}href") or ""): r for r in self.xml.findall(f"{D}response")}

    def props(self, href: str | None = None) -> dict[str, ET.Element]:
        """Return the properties answered with 200, of one response."""
        found = self.members()
        response = found[href] if href else next(iter(found.values()))
        return {
            prop.tag: prop
            for stat in response.findall(f"{D}propstat")
            if " 200 " in (stat.findtext(f"{D}status") or "") + " "
            for prop in stat.findall(f"{D}prop/*")
        }

    def conditions(self) -> set[str]:
        """Return the precondition elements of an error body."""
        return {child.tag for child in self.xml}


@dataclass
class Door:
    """The whole door; `as_` picks who asks."""

    house: House = field(default_factory=House)
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        stores = self.house.stores
        numbers = itertools.count(1)
        self.gateway = Gateway(
            domain=Domain("home.example"),
            index=stores.index,
            log=stores.log,
            blobs=stores.blobs,
            directory=stores.directory,
            events=stores.events,
            submit=self._submit,
            keep_blob=self.house.worker.keep_blob,
            clock=self.house.tick,
            new_id=lambda: uuid.UUID(int=7 << 76 | next(numbers)),
            random_bytes=lambda n: bytes(next(self.house.numbers) % 251 for _ in range(n)),
        )
        self.passwords = Passwords(
            stores.directory.passwords,
            PasswordSettings(time_cost=1, memory_kib=64, notice_seconds=1.0),
            random_bytes=self.gateway.random_bytes,
            monotonic=self._monotonic,
        )
        self.logins: dict[Address, str] = {}
        for user in (ALICE, BOB, CAROL):
            self.house.done(CreateProject(actor=actor(user), project=ProjectId(user)))
            self.logins[user] = self.new_password(user)
        self.application = make_application(self.gateway, self.passwords, self.settings)

    def _monotonic(self) -> float:
        return self.house.now.timestamp()

    def new_password(self, user: Address) -> str:
        return self.passwords.create(user, "test", self.gateway.new_id(), self.house.tick())

    def _submit(self, command: Command) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        try:
            future.set_result(self.house.do(command))
        except BridgeError as error:
            future.set_exception(error)
        return future

    def login(self, user: Address, password: str = "") -> str:
        pair = f"{user}:{password or self.logins[user]}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        *,
        user: Address | None = ALICE,
        **headers: str,
    ) -> Reply:
        """Send one request; header names are given with underscores."""
        data = body.encode() if isinstance(body, str) else body
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote(urlsplit(path).path, "latin-1"),
            "SCRIPT_NAME": "",
            "QUERY_STRING": urlsplit(path).query,
            "SERVER_NAME": "home.example",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.1",
            "HTTP_HOST": "home.example",
            "wsgi.input": io.BytesIO(data),
            "wsgi.errors": io.StringIO(),
            "wsgi.url_scheme": "http",
        }
        if data:
            environ["CONTENT_LENGTH"] = str(len(data))
        if user is not None:
            environ["HTTP_AUTHORIZATION"] = self.login(user)
        for name, value in headers.items():
            key = name.upper()
            plain = key.startswith(("CONTENT_", "HTTP_"))
            environ[key if plain else f"HTTP_{key}"] = value
        if headers.get("content_length") == "":
            del environ["CONTENT_LENGTH"]
        started: list[Any] = []
        pieces = self.application(environ, lambda *args: started.append(args))
        status, sent = started[0][:2]
        return Reply(int(status.split()[0]), {k.lower(): v for k, v in sent}, b"".join(pieces))

    def propfind(self, path: str, props: str, depth: str = "0", **headers: Any) -> Reply:
        return self("PROPFIND", path, PROPFIND.format(props), depth=depth, **headers)

    def put(self, name: str, body: bytes, list_: str = "personal", **headers: Any) -> Reply:
        path = f"/dav/alice%40home.example/{list_}/{name}"
        return self("PUT", path, body, content_type="text/calendar; charset=utf-8", **headers)

    def report(self, list_: str, body: str, **headers: Any) -> Reply:
        return self("REPORT", f"/dav/alice%40home.example/{list_}/", body, **headers)

    def sync(
        self, list_: str = "personal", token: str = "", more: str = "", **headers: Any
    ) -> Reply:
        body = (
            f'<sync-collection xmlns="DAV:"><sync-token>{token}</sync-token>'
            f"<sync-level>1</sync-level>{more}<prop><getetag/></prop></sync-collection>"
        )
        return self.report(list_, body, **headers)


@contextmanager
def serving(application: Callable[..., Any]) -> Iterator[str]:
    """Serve a WSGI application on a free loopback port; yields ``http://127.0.0.1:port/``."""
    server = make_server("127.0.0.1", 0, application, server_class=WSGIServer, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
