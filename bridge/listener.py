"""The HTTP listener: Granian's WSGI threads inside this process (design section 5).

Granian's own servers put each WSGI worker into a process of its own, or, with threads,
ask for a Python without the GIL. The gateway wants the worker's queue in the same process
as the requests (a Unix socket costs 0.1 ms a write), and the threaded server works under
the GIL as well: 6,800 requests/s on one connection and 42,000 on eight for an empty
answer on two cores. Hence this subclass of an inner class, and the narrow version range.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.mt import MTServer

from bridge.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_PROBE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where HTTP is answered.

    Attributes:
        host, port: the address; port 0 takes a free one.
        threads: how many requests of a process are worked on at once.
        workers: HTTP processes beside the writer's own (0: it answers alone).
    """

    host: str = "127.0.0.1"
    port: int = 5232
    threads: int = 16
    workers: int = 0


class _ThreadedServer(MTServer):
    def _check_gil(self) -> None:
        """Our application takes the GIL as any WSGI application does."""


def free_port(host: str) -> int:
    """Return a port of `host` that is free now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def check_free(host: str, port: int) -> None:
    """Refuse to start where somebody else answers.

    Raises:
        Unavailable: ``port-in-use`` or ``bad-listen``.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(
                "port-in-use",
                f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0).lower()}",
                hint="stop the other program, or choose another port with --listen HOST:PORT",
            ) from None


class Listener:
    """Serves one WSGI application until it is told to stop."""

    def __init__(
        self, application: Callable[..., Any], settings: Settings, on_ready: Callable[[], None]
    ) -> None:
        """Prepare to serve; `on_ready` is called once connections are accepted."""
        self.settings = settings
        self._application = application
        self._on_ready = on_ready
        self._server = _ThreadedServer(
            target="bridge",
            address=settings.host,
            port=settings.port,
            interface=Interfaces.WSGI,
            blocking_threads=settings.threads,
            backlog=_BACKLOG,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(max_buffer_size=1 << 20),
            websockets=False,
            log_enabled=False,
        )
        self._server.on_startup(self._watch)

    def serve(self) -> None:
        """Serve in this (the main) thread; SIGINT and SIGTERM end it after requests in flight."""
        self._server.serve(target_loader=lambda *_, **__: self._application, wrap_loader=False)

    def stop(self) -> None:
        """End `serve` from another thread."""
        self._server.signal_handler_interrupt()  # type: ignore[no-untyped-call]  # Granian's own

    def _watch(self) -> None:
        threading.Thread(target=self._announce, name="ready", daemon=True).start()

    def _announce(self) -> None:
        """Say "ready" only once a connection is taken, which Granian has no hook for."""
        while True:
            try:
                address = (self.settings.host, self.settings.port)
                with socket.create_connection(address, _PROBE_SECONDS):
                    break
            except OSError:
                threading.Event().wait(0.02)
        self._on_ready()
