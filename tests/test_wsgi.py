"""The front of the listener: health pages, metrics, and who gets the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

from bridge.wsgi import Front, Health

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse


def dav(_environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("207 Multi-Status", [])
    return [b"dav"]


def ask(method: str, path: str, troubles: list[str] | None = None) -> tuple[str, str]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update(REQUEST_METHOD=method, PATH_INFO=path, HTTP_HOST="tasks.example")
    said: list[str] = []
    health = Health(troubles=lambda: troubles or [], figures=lambda: {"entries_total": 7})
    answer = Front(dav, health)(environ, lambda status, *_: said.append(status))  # type: ignore[arg-type]  # a recorder
    return said[0], b"".join(answer).decode()


def test_healthz_says_that_the_process_answers() -> None:
    assert ask("GET", "/healthz", ["broken"]) == ("200 OK", "ok\n")


def test_readyz_names_what_is_wrong() -> None:
    assert ask("GET", "/readyz") == ("200 OK", "ready\n")
    status, text = ask("GET", "/readyz", ["the worker has stopped"])
    assert status == "503 Service Unavailable"
    assert text == "the worker has stopped\n"


def test_metrics_are_in_prometheus_text_format() -> None:
    assert ask("GET", "/metrics") == ("200 OK", "tx_bridge_entries_total 7\n")


def test_the_first_page_names_the_address_for_clients() -> None:
    status, text = ask("GET", "/")
    assert status == "200 OK"
    assert "http://tasks.example/dav/" in text
    assert ask("HEAD", "/") == ("200 OK", "")


def test_everything_else_belongs_to_the_caldav_door() -> None:
    for method, path in (("PROPFIND", "/"), ("GET", "/dav/"), ("PUT", "/healthz"), ("GET", "/x")):
        assert ask(method, path) == ("207 Multi-Status", "dav")
