"""Builds the CalDAV door as one WSGI callable.

Radicale's configuration is made in code: its storage, auth and rights are closures over the
running gateway, nothing is read from its files or from the environment.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from radicale import config

from bridge.caldav.call import Door, Settings, split_path
from bridge.errors import Invalid
from bridge_radicale.application import (
    CONTENT_TYPE,
    FORWARDED_HOST,
    HREF,
    PATH,
    QUERY,
    BridgeApplication,
)
from bridge_radicale.auth import Auth
from bridge_radicale.rights import Rights
from bridge_radicale.storage import Storage
from bridge_radicale.visit import Visits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from radicale.config import Configuration

    from bridge.trust.passwords import Passwords
    from bridge.worker.gateway import Gateway

_NO_TEXT: Final = "\x00"
"""Stands for a path that is no UTF-8: no name of ours has it."""
_WELL_KNOWN: Final = "/.well-known/caldav"
# What account set-ups try beside /.well-known (Apple, caldav-clients section 2.2).
_LADDER: Final = ("/principals", "/calendar/dav")
_NOT_AT_ROOT: Final = frozenset({"GET", "HEAD", "POST"})


def make_application(
    gateway: Gateway, passwords: Passwords, settings: Settings | None = None
) -> Mount:
    """Return the CalDAV door over `gateway`, a WSGI application for all its paths."""
    door = Door(gateway, settings or Settings())
    visits = Visits(door)
    configuration = config.load()
    configuration.update(_configuration(door, passwords, visits), "tx-bridge", privileged=True)
    # Radicale logs each request and login; the gateway logs its own decisions.
    logging.getLogger("radicale").setLevel(logging.ERROR)
    return Mount(BridgeApplication(configuration, door, visits), door.settings)


def _configuration(door: Door, passwords: Passwords, visits: Visits) -> dict[str, dict[str, Any]]:
    def storage(configuration: Configuration) -> Storage:
        return Storage(configuration, door, visits)

    def auth(configuration: Configuration) -> Auth:
        return Auth(configuration, door, passwords, visits)

    def rights(configuration: Configuration) -> Rights:
        return Rights(configuration, visits)

    return {
        "server": {
            "delay_on_error": 0.0,
            "max_content_length": door.settings.max_body_octets,
            "max_resource_size": door.settings.max_resource_octets,
            # Addresses and names are any text; what breaks a path is refused by the mount.
            "validate_user_value": "none",
            "validate_path_value": "none",
        },
        "auth": {"type": auth, "delay": 0.0, "realm": door.settings.realm, "lc_username": True},
        "rights": {"type": rights},
        "storage": {"type": storage},
        "web": {"type": "none"},
        "logging": {"mask_passwords": True},
    }


class Mount:
    """Finds the CalDAV door's own paths and prepares them for Radicale.

    Paths that no name of ours can hold (no text, dot segments, empty segments, backslashes,
    control characters, endless names) never reach Radicale: it would tidy them up.
    """

    def __init__(self, application: BridgeApplication, settings: Settings) -> None:
        """Serve `application` under the prefix of `settings`."""
        self._application = application
        self._prefix = settings.prefix

    def claims(self, environ: dict[str, Any]) -> bool:
        """Tell whether a request is the CalDAV door's; the rest of ``/`` is the web's."""
        path = str(environ.get("PATH_INFO", ""))
        if path == self._prefix or path.startswith(self._prefix + "/"):
            return True
        if path.rstrip("/") == _WELL_KNOWN or _on_ladder(path):
            return True
        return path in {"", "/"} and environ.get("REQUEST_METHOD") not in _NOT_AT_ROOT

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        try:
            path = str(environ.get("PATH_INFO", "")).encode("latin-1").decode()
        except UnicodeError:
            path = f"{self._prefix}/{_NO_TEXT}"
        if path.rstrip("/") == _WELL_KNOWN:
            headers = [("Location", f"{self._prefix}/"), ("Content-Length", "0")]
            start_response("301 Moved Permanently", headers)
            return []
        if path == self._prefix or path.startswith(self._prefix + "/"):
            inner = path[len(self._prefix) :] or "/"
        elif path in {"", "/"} or _on_ladder(path):
            inner = "/"
        else:
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        prepared = self._prepare(environ, inner, quote(path or "/"))
        answer: Iterable[bytes] = self._application(prepared, start_response)
        return answer

    def _prepare(self, environ: dict[str, Any], inner: str, href: str) -> dict[str, Any]:
        prepared = {
            key: value
            for key, value in environ.items()
            # Radicale believes these from anybody, and cuts paths by them.
            if not key.startswith(("HTTP_X_FORWARDED_", "HTTP_X_SCRIPT_NAME", "HTTP_X_REMOTE_"))
        }
        try:
            split_path(inner)
        except Invalid:
            # Refused after the login, so that the event log says who tried.
            shown = "/"
        else:
            shown = inner
        prepared |= {
            "SCRIPT_NAME": self._prefix,
            "PATH_INFO": shown,
            PATH: inner,
            "QUERY_STRING": "",
            QUERY: str(environ.get("QUERY_STRING", "")),
            "CONTENT_TYPE": "",
            CONTENT_TYPE: environ.get("CONTENT_TYPE", ""),
            HREF: href,
            "REMOTE_ADDR": _remote(environ),
        }
        prepared[FORWARDED_HOST] = environ.get("HTTP_X_FORWARDED_HOST", "")
        return prepared


def _on_ladder(path: str) -> bool:
    return any(path == rung or path.startswith(rung + "/") for rung in _LADDER)


def _remote(environ: dict[str, Any]) -> str:
    """Return the address of the client; a proxy on this machine is believed."""
    near = str(environ.get("REMOTE_ADDR", ""))
    told = str(environ.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip()
    return told if told and near in {"127.0.0.1", "::1", ""} else near


__all__ = ["Mount", "Settings", "make_application"]
