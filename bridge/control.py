"""The worker's Unix socket: `submit` from another process (design section 4).

Extra HTTP processes and the CLI of a running gateway send commands here. One frame is a
length (4 bytes, big-endian) and JSON; a connection carries one command at a time. The
socket is made with mode 0600 in the spool, and the kernel is asked who is calling: only
the gateway's own user (and root) is answered.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import select
import socket
import struct
import threading
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union

from bridge.errors import BridgeError, Invalid, Unavailable
from bridge.model.ids import Digest, ProjectId, parse_digest, parse_project
from bridge.worker.command import Command, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bridge.worker.gateway import Submit

log = logging.getLogger(__name__)

MAX_FRAME: Final = 48 * 1024 * 1024
"""Bytes: a 25 MiB attachment in base64, with room."""
SECONDS: Final = 60.0
"""How long a caller waits for an answer."""
_LENGTH: Final = struct.Struct(">I")
_PEER: Final = struct.Struct("3i")

_converter = make_converter()
_converter.register_unstructure_hook(uuid.UUID, str)
_converter.register_structure_hook(uuid.UUID, lambda text, _: uuid.UUID(text))
# A member's scope: one word, or the tuple of what is seen.
_converter.register_structure_hook(
    str | tuple[str, ...] | None, lambda v, _: tuple(v) if isinstance(v, list) else v
)
configure_tagged_union(Command, _converter)
configure_tagged_union(Outcome, _converter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the socket offers."""

    submit: Submit
    keep_blob: Callable[[ProjectId, bytes], Digest]


class ControlServer:
    """Answers on the socket, in threads of its own."""

    def __init__(self, path: Path, desk: Desk) -> None:
        """Listen on `path`; a socket left by a crash is replaced."""
        self._path = path
        self._desk = desk
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        try:
            with _short(path) as address:
                self._listener.bind(address)
        finally:
            os.umask(old)
        self._listener.listen(128)
        self._calls: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and hang up."""
        self._path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            # With the lock held no call leaves the set, so none of them is closed already.
            for call in self._calls:
                with suppress(OSError):  # the other end may have hung up first
                    call.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                call, _ = self._listener.accept()
            except OSError:
                return
            if not _is_ours(call):
                call.close()
                continue
            with self._lock:
                self._calls.add(call)
            threading.Thread(target=self._serve, args=(call,), daemon=True).start()

    def _serve(self, call: socket.socket) -> None:
        try:
            while (frame := _receive(call)) is not None:
                _send(call, self._answer(frame))
        except OSError as error:
            log.debug("a caller hung up: %s", error)
        finally:
            with self._lock:
                self._calls.discard(call)
            call.close()

    def _answer(self, frame: bytes) -> dict[str, Any]:
        try:
            request = json.loads(frame)
            if "blob" in request:
                project = parse_project(request["project"])
                digest = self._desk.keep_blob(project, base64.b64decode(request["blob"]))
                return {"digest": digest}
            command: Command = _converter.structure(request["command"], Command)  # type: ignore[arg-type]  # a union
            outcome = self._desk.submit(command).result(SECONDS)
            return {"outcome": _converter.unstructure(outcome, unstructure_as=Outcome)}
        except BridgeError as error:
            return {"error": [error.code, error.public, error.retry, error.hint]}
        except TimeoutError:
            return {"error": ["unavailable", "the worker does not answer", True, ""]}
        except Exception:  # the other end is ours: a fault here is a fault of the program
            log.exception("a command could not be read")
            return {"error": ["bad-command", "the worker could not read the command", False, ""]}


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give an address for `path`, which may be longer than the 107 bytes of unix(7)."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _is_ours(call: socket.socket) -> bool:
    credentials = call.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, _ = _PEER.unpack(credentials)
    return uid in (0, os.getuid())


class ControlClient:
    """`submit` over the socket; each calling thread has a connection of its own."""

    def __init__(self, path: Path, *, threads: int = 16) -> None:
        """Call the worker behind `path`; nothing is opened before the first call."""
        self._path = path
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="submit")

    def submit(self, command: Command) -> Future[Outcome]:
        """Send `command` (`bridge.worker.gateway.Submit`)."""
        return self._pool.submit(self._submit, command)

    def _submit(self, command: Command) -> Outcome:
        document = _converter.unstructure(command, unstructure_as=Command)
        answer = self._call({"command": document})
        outcome: Outcome = _converter.structure(answer["outcome"], Outcome)  # type: ignore[arg-type]  # a union
        return outcome

    def keep_blob(self, project: ProjectId, data: bytes) -> Digest:
        """Store bytes in a project's container and return their name.

        Raises:
            Invalid: ``too-large``.
            Unavailable: nobody answers, or the disk is full.
        """
        text = base64.b64encode(data).decode()
        return parse_digest(self._call({"project": project, "blob": text})["digest"])

    def close(self) -> None:
        """Finish the calls under way."""
        self._pool.shutdown()

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._exchange(json.dumps(request).encode())
        except OSError as error:
            # Not repeated: whether the command was carried out is not known here.
            self._hang_up()
            raise Unavailable(
                "unavailable",
                "the gateway does not answer",
                retry=True,
                hint="is tx-bridge serve running?",
                cause=str(error),
            ) from None
        if "error" in answer:
            code, public, retry, hint = answer["error"]
            kind = Unavailable if retry else Invalid
            raise kind(code, public, retry=retry, hint=hint)
        return answer

    def _exchange(self, frame: bytes) -> dict[str, Any]:
        call = getattr(self._local, "call", None)
        if call is not None and _is_closed(call):
            # The gateway was restarted since the last command.
            self._hang_up()
            call = None
        if call is None:
            call = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            call.settimeout(SECONDS + 5)
            with _short(self._path) as address:
                call.connect(address)
            self._local.call = call
        _send_frame(call, frame)
        answer = _receive(call)
        if answer is None:
            raise ConnectionResetError("the worker hung up")
        document: dict[str, Any] = json.loads(answer)
        return document

    def _hang_up(self) -> None:
        call = getattr(self._local, "call", None)
        if call is not None:
            call.close()
            self._local.call = None


def _is_closed(call: socket.socket) -> bool:
    """Tell whether the other end hung up; between commands nothing else makes it readable."""
    return bool(select.select([call], [], [], 0)[0])


def _send(call: socket.socket, document: dict[str, Any]) -> None:
    _send_frame(call, json.dumps(document).encode())


def _send_frame(call: socket.socket, frame: bytes) -> None:
    call.sendall(_LENGTH.pack(len(frame)) + frame)


def _receive(call: socket.socket) -> bytes | None:
    head = _exactly(call, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME:
        raise OSError(f"a frame of {length} bytes")
    return _exactly(call, length)


def _exactly(call: socket.socket, length: int) -> bytes | None:
    parts: list[bytes] = []
    while length:
        part = call.recv(min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
