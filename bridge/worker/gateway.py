"""What a door gets to work with: reading, one way to write, a clock and ids.

The composition root (`bridge.app`) makes one `Gateway` per process. In the worker's
process `submit` is a queue, in any other a Unix socket (design section 4); a door cannot
tell the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable
    from concurrent.futures import Future
    from datetime import datetime

    from bridge.model.ids import Digest, Domain, ProjectId
    from bridge.store import BlobReader, EventLog, LogReader
    from bridge.store.directory_contract import Directory
    from bridge.store.index_contract import IndexReader
    from bridge.worker.command import Command, Outcome


class Submit(Protocol):
    """The one way in for every write."""

    def __call__(self, command: Command) -> Future[Outcome]:
        """Queue `command`; the future holds its outcome once that is on disk.

        The future raises `Unavailable` where the worker cannot be reached or its queue is
        full. Threads call ``.result(timeout)``, the event loop ``asyncio.wrap_future``.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The running gateway as its doors see it.

    Attributes:
        domain: whose users and projects these are.
        keep_blob: stores bytes in a project's container, durably, and returns their name;
            raises Invalid ``too-large`` or Unavailable ``disk-full``.
        clock: the time now, aware, UTC.
        new_id: a fresh UUIDv7.
        random_bytes: that many bytes from the system's generator.
    """

    domain: Domain
    index: IndexReader
    log: LogReader
    blobs: BlobReader
    directory: Directory
    events: EventLog
    submit: Submit
    keep_blob: Callable[[ProjectId, bytes], Digest]
    clock: Callable[[], datetime]
    new_id: Callable[[], uuid.UUID]
    random_bytes: Callable[[int], bytes]
