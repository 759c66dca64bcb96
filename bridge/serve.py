"""`tx-bridge serve`: the gateway as one process, with HTTP processes beside it on demand.

In this process: Granian's WSGI threads (the main thread waits for them), one asyncio
thread for mail, the worker's thread, and threads for views and the control socket
(design section 5). Stopping is graceful: requests in flight are finished, then mail,
then the worker with what is queued. Being killed loses nothing that was acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import timedelta
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from bridge import app, heap, wsgi
from bridge.control import ControlServer, Desk
from bridge.errors import BridgeError, Misconfigured
from bridge.listener import Listener, check_free
from bridge.mail.door import MailDoor
from bridge.store.views import Views
from bridge.worker.outlet import ViewOutlet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from wsgiref.types import WSGIApplication

    from bridge.config import Config
    from bridge.worker.loop import Worker

log = logging.getLogger(__name__)

PLUGINS: Final = "bridge.plugins"
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0
_UPKEEP_SECONDS: Final = 3600.0
_KEPT_AFTER_END: Final = timedelta(days=30)
"""How long the preview of a request that ended is kept."""


def serve(config: Config, announce: Callable[[str], None], *, config_file: Path | None) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        config: all settings.
        announce: called once with a line that holds the address, when requests are taken.
        config_file: what HTTP processes read the same settings from; needed for them only.

    Raises:
        Unavailable: ``port-in-use``, ``spool-locked``, ``disk-error``.
        Misconfigured: no spool, no key, a bad certificate file.
    """
    heap.keep_lean()
    check_free(config.http.host, config.http.port)
    with app.open_writer(config) as running, ExitStack() as stack:
        worker = running.worker
        if worker is None:
            raise Misconfigured("no-worker", "serve must be the spool's writer")
        outlet = ViewOutlet(running.gateway, running.spool, Views(running.spool.layout))
        worker.on_commit.append(outlet.notify)
        outlet.start()
        stack.callback(outlet.stop)
        worker.start()
        stack.callback(worker.stop)
        desk = Desk(submit=worker.submit, keep_blob=worker.keep_blob)
        control = ControlServer(app.socket_of(config), desk)
        stack.callback(control.close)
        door = MailDoor(running.gateway, config.mail)
        mail = MailThread(door)
        mail.start()
        stack.callback(mail.stop)
        front = wsgi.Front(caldav(running, config), health_of(running, worker, mail))
        helpers = HttpProcesses(config, config_file)
        listener = Listener(front, config.http, lambda: _ready(config, door, helpers, announce))
        upkeep = Upkeep(running)
        stack.callback(upkeep.stop)
        watchdog = Watchdog(worker)
        stack.callback(watchdog.stop)
        stack.callback(helpers.stop)
        listener.serve()
        notify("STOPPING=1")


def serve_http(config: Config) -> None:
    """Serve HTTP beside the writer's process, on the same port, until SIGINT or SIGTERM.

    Also until the writer's process is gone, however it ended.
    """
    heap.keep_lean()
    with app.open_reader(config) as running:
        health = wsgi.Health(troubles=list, figures=dict)
        front = wsgi.Front(caldav(running, config), health)
        listener = Listener(front, config.http, lambda: None)
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            threading.Thread(target=_follow, args=(listener,), daemon=True).start()
        listener.serve()


def _follow(listener: Listener) -> None:
    """Stop when standard input ends: the writer's process holds its other end.

    A killed writer cannot stop us, and we would keep its port and refuse every change.
    """
    os.read(0, 1)
    listener.stop()


def caldav(running: app.Running, config: Config) -> WSGIApplication:
    """Return the CalDAV door, which is a plugin: the core knows no Radicale.

    Raises:
        Misconfigured: ``no-plugin``.
    """
    found = list(entry_points(group=PLUGINS, name="caldav"))
    if not found:
        raise Misconfigured(
            "no-plugin",
            "the CalDAV plugin is not installed",
            hint="install the package again, so that its entry points are registered",
        )
    make = found[0].load()
    application: WSGIApplication = make(running.gateway, app.passwords(running), config.caldav)
    return application


def health_of(running: app.Running, worker: Worker, mail: MailThread) -> wsgi.Health:
    """Return what the health pages ask of a running gateway."""

    def troubles() -> list[str]:
        found = [] if worker.alive else ["the worker has stopped"]
        if mail.failure is not None:
            found.append("the mail door has stopped; see the log")
        try:
            next(iter(running.gateway.index.projects()), None)
        except BridgeError as error:
            found.append(str(error))
        return found

    def figures() -> Mapping[str, float]:
        degraded = sum(state.state != "active" for state in mail.door.health())
        return {
            "commands_waiting": worker.waiting,
            "entries_total": worker.entries,
            "refused_total": worker.refused,
            "connectors_not_active": degraded,
        }

    return wsgi.Health(troubles=troubles, figures=figures)


class MailThread:
    """The asyncio thread: mail in and out."""

    def __init__(self, door: MailDoor) -> None:
        """Prepare to run `door`."""
        self.door = door
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mail", daemon=True)

    def start(self) -> None:
        """Start, and wait until mail can come in.

        Raises:
            Unavailable: ``listen``.
        """
        self._thread.start()
        self._ready.wait(_START_SECONDS)
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Finish what is in hand, then stop."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self.door.run(self._stop, lambda _: self._ready.set()))
        except BaseException as error:
            if self._ready.is_set():
                log.exception("the mail door has failed")
            self.failure = error
        finally:
            self._ready.set()
            self._loop.close()


class HttpProcesses:
    """HTTP processes that share the port with the writer's process (SO_REUSEPORT)."""

    def __init__(self, config: Config, config_file: Path | None) -> None:
        """Prepare ``config.http.workers`` of them; none starts yet."""
        self._config = config
        self._file = config_file
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start them.

        Raises:
            Misconfigured: ``no-config``: they need a file to read their settings from.
        """
        http = self._config.http
        if not http.workers:
            return
        if self._file is None:
            raise Misconfigured("no-config", "HTTP processes need a configuration file")
        command = [sys.executable, "-m", "bridge", "serve-http", "--config", str(self._file)]
        command += ["--listen", f"{http.host}:{http.port}"]
        for _ in range(http.workers):
            self._processes.append(
                subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own program
            )

    def stop(self) -> None:
        """Stop them and wait."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()


class Upkeep:
    """Ends requests whose time is over and empties old ones (tx-protocol section 16)."""

    def __init__(self, running: app.Running) -> None:
        """Start: once now, then every hour."""
        self._gateway = running.gateway
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after what is being done."""
        self._stop.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while True:
            try:
                self._once()
            except BridgeError as error:
                log.warning("upkeep will be tried again: %s", error)
            if self._stop.wait(_UPKEEP_SECONDS):
                return

    def _once(self) -> None:
        gateway = self._gateway
        now = gateway.clock()
        while ended := gateway.directory.requests.expire(now):
            events = [
                {"event": "expired", "request": str(request.id), "sender": request.sender}
                for request in ended
            ]
            gateway.events.append(now, events)
        gateway.directory.requests.trim(now - _KEPT_AFTER_END)


class Watchdog:
    """Tells systemd that the worker lives (sd_notify(3)); idle without systemd."""

    def __init__(self, worker: Worker) -> None:
        """Start if systemd asked for it."""
        self._worker = worker
        self._stop = threading.Event()
        interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000 / 2  # noqa: TID251 - systemd's protocol, no setting
        if interval:
            threading.Thread(target=self._run, args=(interval,), daemon=True).start()

    def stop(self) -> None:
        """Stop telling."""
        self._stop.set()

    def _run(self, interval: float) -> None:
        while not self._stop.wait(interval):
            if self._worker.alive:
                notify("WATCHDOG=1")


def notify(state: str) -> None:
    """Tell systemd `state` (sd_notify(3)); without systemd nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")  # noqa: TID251 - systemd's protocol, no setting
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        try:
            line.sendto(state.encode(), address)
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", state, error)


def _ready(
    config: Config, door: MailDoor, helpers: HttpProcesses, announce: Callable[[str], None]
) -> None:
    helpers.start()
    line = f"ready on http://{config.http.host}:{config.http.port}/dav/"
    if door.address is not None:
        line += f", mail on {door.address[0]}:{door.address[1]}"
    announce(line)
    notify("READY=1")
