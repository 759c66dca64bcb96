"""One HTTP listener: health, metrics, a first page, and the doors behind it.

``/healthz`` says that the process answers, ``/readyz`` that it can also read and write,
``/metrics`` counts in Prometheus' text format. All other paths belong to the CalDAV door,
which also answers discovery on ``/`` and ``/.well-known/caldav``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIApplication

log = logging.getLogger(__name__)

_TEXT: Final = "text/plain; charset=utf-8"
_PAGE: Final = """\
This is a TX Bridge.

CalDAV address for your client: {base}/dav/
Sign in with your e-mail address and an app password (tx-bridge user password ADDRESS).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the health pages ask.

    Attributes:
        troubles: reasons why the gateway cannot work now, in words; empty when it can.
        figures: metric name to value; names get the prefix ``tx_bridge_``.
    """

    troubles: Callable[[], list[str]]
    figures: Callable[[], Mapping[str, float]]


class Front:
    """The WSGI application of the listener."""

    def __init__(self, dav: WSGIApplication, health: Health) -> None:
        """Answer health pages and hand everything else to `dav`."""
        self._dav = dav
        self._health = health
        self._pages: dict[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/": self._first_page,
        }

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        page = self._pages.get(environ.get("PATH_INFO", ""))
        if page is None or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return self._dav(environ, start_response)
        status, text = page(environ)
        body = text.encode()
        headers = [("Content-Type", _TEXT), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _healthz(self, _environ: Mapping[str, Any]) -> tuple[str, str]:
        return "200 OK", "ok\n"

    def _readyz(self, _environ: Mapping[str, Any]) -> tuple[str, str]:
        troubles = self._health.troubles()
        if troubles:
            return "503 Service Unavailable", "".join(f"{trouble}\n" for trouble in troubles)
        return "200 OK", "ready\n"

    def _metrics(self, _environ: Mapping[str, Any]) -> tuple[str, str]:
        figures = self._health.figures()
        return "200 OK", "".join(f"tx_bridge_{name} {value:g}\n" for name, value in figures.items())

    def _first_page(self, environ: Mapping[str, Any]) -> tuple[str, str]:
        host = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
        return "200 OK", _PAGE.format(base=f"{environ['wsgi.url_scheme']}://{host}")
