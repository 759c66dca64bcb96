"""Many threads, one worker, real files: of writers with the same precondition one wins."""

from __future__ import annotations

import base64
import io
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from bridge_radicale import make_application
from davdoor import vtodo

from bridge import app
from bridge.config import Config
from bridge.model.ids import ProjectId, parse_address, parse_domain
from bridge.model.patch import Via
from bridge.store.directory_records import User
from bridge.trust.passwords import Passwords
from bridge.trust.passwords import Settings as PasswordSettings
from bridge.worker.command import Actor, CreateProject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WRITERS = 8
USER = parse_address("alice@home.example")
PATH = "/dav/alice@home.example/personal/u1.ics"


@pytest.fixture
def put(tmp_path: Path) -> Iterator[Callable[..., tuple[int, str]]]:
    config = Config(domain=parse_domain("home.example"), spool=tmp_path)
    app.initialise(config)
    with app.connect(config) as running:
        gateway = running.gateway
        gateway.directory.people.add(User(address=USER, name="", created=gateway.clock()))
        actor = Actor(user=USER, via=Via.WORKER)
        gateway.submit(CreateProject(actor=actor, project=ProjectId(USER))).result(10)
        passwords = Passwords(
            gateway.directory.passwords,
            PasswordSettings(time_cost=1, memory_kib=64),
            random_bytes=secrets.token_bytes,
            monotonic=time.monotonic,
        )
        password = passwords.create(USER, "test", gateway.new_id(), gateway.clock())
        application = make_application(gateway, passwords)

        def send(body: bytes, **headers: str) -> tuple[int, str]:
            login = base64.b64encode(f"{USER}:{password}".encode()).decode()
            environ: dict[str, Any] = {
                "REQUEST_METHOD": "PUT",
                "PATH_INFO": PATH,
                "CONTENT_TYPE": "text/calendar",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_AUTHORIZATION": f"Basic {login}",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "wsgi.input": io.BytesIO(body),
                "wsgi.errors": io.StringIO(),
                **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
            }
            started: list[Any] = []
            list(application(environ, lambda *args: started.append(args)))
            answered = dict(started[0][1])
            return int(started[0][0].split()[0]), answered.get("ETag", "")

        yield send


def at_once(put: Callable[..., tuple[int, str]], **headers: str) -> list[int]:
    with ThreadPoolExecutor(WRITERS) as pool:
        sent = [
            pool.submit(put, vtodo("u1", summary=f"Writer {n}"), **headers) for n in range(WRITERS)
        ]
        return sorted(future.result(20)[0] for future in sent)


def test_of_many_creations_one_wins(put: Callable[..., tuple[int, str]]) -> None:
    assert at_once(put, if_none_match="*") == [201] + [412] * (WRITERS - 1)


def test_of_many_overwrites_of_one_version_one_wins(put: Callable[..., tuple[int, str]]) -> None:
    _, etag = put(vtodo("u1"))
    assert etag
    assert at_once(put, if_match=etag) == [204] + [412] * (WRITERS - 1)


def test_blind_writers_all_get_through(put: Callable[..., tuple[int, str]]) -> None:
    put(vtodo("u1"))
    assert at_once(put) == [204] * WRITERS
