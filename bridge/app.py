"""The composition root: builds every part from the configuration, starts and stops them.

Three ways to run the same parts (design sections 4 and 5):

- `open_writer`: this process holds the spool's lock and is the worker (``serve``, or a CLI
  command while no gateway runs);
- `open_reader`: another process is the worker; this one reads the index and submits over
  the Unix socket (extra HTTP processes, a CLI command beside a running gateway);
- `connect`: whichever of the two is possible now.

The clock and the source of ids are read here and handed to everybody else.
"""

from __future__ import annotations

import os
import secrets
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

from bridge.control import ControlClient
from bridge.errors import Misconfigured, Unavailable
from bridge.model.ids import KeyId
from bridge.store.blobs import FileBlobs
from bridge.store.directory import open_directory, open_url
from bridge.store.durable import Reserve
from bridge.store.events import FileEvents
from bridge.store.index import Index
from bridge.store.index_engine import open_index_file, open_index_url
from bridge.store.logfile import FileLog
from bridge.store.logreader import FileLogReader
from bridge.store.spool import Layout, Spool, SpoolLock
from bridge.trust.passwords import Passwords
from bridge.trust.passwords import Settings as PasswordSettings
from bridge.trust.patchsig import DomainKey, b64, unb64
from bridge.worker.commit import Stores
from bridge.worker.gateway import Gateway
from bridge.worker.loop import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from bridge.config import Config
    from bridge.model.ids import ProjectId
    from bridge.store.directory_contract import Directory
    from bridge.store.index_engine import IndexEngine

KEY_NAME: Final = "k1"
_SEED_BYTES: Final = 32


def clock() -> datetime:
    """Return the time now, aware, UTC."""
    return datetime.now(UTC)


def new_id() -> uuid.UUID:
    """Return a UUIDv7 (RFC 9562 section 5.7): new ids sort by time."""
    milliseconds = time.time_ns() // 1_000_000
    tail = int.from_bytes(secrets.token_bytes(10), "big")
    number = (milliseconds & (2**48 - 1)) << 80 | 7 << 76 | (tail >> 68) << 64
    return uuid.UUID(int=number | 2 << 62 | tail & (2**62 - 1))


def layout_of(config: Config) -> Layout:
    """Return where things lie on disk."""
    return Layout(root=config.spool, domain=config.domain)


def socket_of(config: Config) -> Path:
    """Return the path of the worker's Unix socket."""
    return layout_of(config).home / "_control"


# -- keys --------------------------------------------------------------------------------


def key_file(config: Config) -> Path:
    """Return the file of the domain's private key."""
    return config.key_file or layout_of(config).keys / f"{KEY_NAME}.ed25519"


def make_key(config: Config) -> bool:
    """Make the domain's key, readable by this user only; False if there is one.

    Raises:
        Unavailable: ``disk-error``.
    """
    path = key_file(config)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise Unavailable("disk-error", f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(fd, "w") as file:
        file.write(b64(secrets.token_bytes(_SEED_BYTES)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return True


def load_key(config: Config) -> DomainKey:
    """Return the domain's key.

    Raises:
        Misconfigured: ``no-key`` or ``bad-key``.
    """
    path = key_file(config)
    try:
        seed = unb64(path.read_text().strip())
    except FileNotFoundError:
        raise Misconfigured(
            "no-key",
            f"there is no key of {config.domain} at {path}",
            hint="run tx-bridge init, or restore the key from your backup",
        ) from None
    except (OSError, ValueError) as error:
        raise Misconfigured("bad-key", f"the key at {path} cannot be read: {error}") from None
    return DomainKey.from_seed(KeyId(f"{config.domain}/{KEY_NAME}"), seed)


# -- the parts ---------------------------------------------------------------------------


@dataclass(slots=True)
class Running:
    """The parts of one process; a context manager that closes them in order.

    `worker` is None where another process writes.
    """

    config: Config
    gateway: Gateway
    spool: Spool
    worker: Worker | None
    _stack: ExitStack

    def __enter__(self) -> Self:
        """Use the parts."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all parts, newest first."""
        self._stack.close()

    def close_with(self, close: Callable[[], object]) -> None:
        """Close something of the caller's before the parts that it uses."""
        self._stack.callback(close)


def _open_directory(config: Config, layout: Layout) -> Directory:
    if config.directory_url:
        return open_url(config.directory_url)
    return open_directory(layout.directory)


def _open_index(config: Config, layout: Layout) -> IndexEngine:
    if config.index_url:
        return open_index_url(config.index_url)
    return open_index_file(layout.index)


def initialise(config: Config) -> bool:
    """Make the spool's folders, key, directory and index; True if the key is new."""
    layout = layout_of(config)
    Spool(layout).create()
    made = make_key(config)
    with SpoolLock(layout):
        _open_directory(config, layout).close()
        engine = _open_index(config, layout)
        engine.prepare_layout()
        engine.close()
    return made


def open_writer(
    config: Config, progress: Callable[[ProjectId, int], None] | None = None
) -> Running:
    """Take the spool's lock and be its worker; the index is brought up to the logs.

    Raises:
        Unavailable: ``spool-locked``: another process is the worker.
        Misconfigured: there is no spool or key yet.
    """
    layout = layout_of(config)
    if not layout.store.is_dir():
        raise Misconfigured(
            "no-spool",
            f"there is no spool of {config.domain} in {config.spool}",
            hint="run tx-bridge init",
        )
    key = load_key(config)
    with ExitStack() as stack:
        lock = stack.enter_context(SpoolLock(layout))
        reserve = Reserve(layout.home, reserve=config.reserve)
        log = FileLog(layout, lock, reserve)
        stack.callback(log.close)
        engine = _open_index(config, layout)
        stack.callback(engine.close)
        engine.prepare_layout()
        directory = _open_directory(config, layout)
        stack.callback(directory.close)
        blobs = FileBlobs(layout, reserve, limit=config.max_attachment)
        events = FileEvents(layout.events)
        index = Index(engine)
        worker = Worker(
            Stores(log=log, index=index, blobs=blobs, directory=directory, events=events),
            key=key,
            clock=clock,
            random_bytes=secrets.token_bytes,
            caps=config.mail.intake.caps,
        )
        worker.recover(progress)
        gateway = Gateway(
            domain=config.domain,
            index=index,
            log=log,
            blobs=blobs,
            directory=directory,
            events=events,
            submit=worker.submit,
            keep_blob=worker.keep_blob,
            clock=clock,
            new_id=new_id,
            random_bytes=secrets.token_bytes,
        )
        return Running(config, gateway, Spool(layout), worker, stack.pop_all())


def open_reader(config: Config) -> Running:
    """Read beside a running gateway and submit over its socket.

    Raises:
        Unavailable: the index or the directory cannot be opened.
    """
    layout = layout_of(config)
    with ExitStack() as stack:
        log = FileLogReader(layout)
        stack.callback(log.close)
        engine = _open_index(config, layout)
        stack.callback(engine.close)
        directory = _open_directory(config, layout)
        stack.callback(directory.close)
        client = ControlClient(socket_of(config))
        stack.callback(client.close)
        gateway = Gateway(
            domain=config.domain,
            index=Index(engine),
            log=log,
            blobs=FileBlobs(layout, Reserve(layout.home, reserve=config.reserve)),
            directory=directory,
            events=FileEvents(layout.events),
            submit=client.submit,
            keep_blob=client.keep_blob,
            clock=clock,
            new_id=new_id,
            random_bytes=secrets.token_bytes,
        )
        return Running(config, gateway, Spool(layout), None, stack.pop_all())


def passwords(running: Running) -> Passwords:
    """Return the check of app passwords, with this process's memo of verified ones."""
    return Passwords(
        running.gateway.directory.passwords,
        PasswordSettings(),
        random_bytes=secrets.token_bytes,
        monotonic=time.monotonic,
    )


def connect(config: Config, progress: Callable[[ProjectId, int], None] | None = None) -> Running:
    """Become the worker if nobody is, else use the one that runs.

    Raises:
        Misconfigured: there is no spool or key yet.
    """
    try:
        running = open_writer(config, progress)
    except Unavailable as error:
        if error.code != "spool-locked":
            raise
        return open_reader(config)
    if running.worker is not None:
        running.worker.start()
        running.close_with(running.worker.stop)
    return running
