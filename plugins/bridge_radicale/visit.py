"""What belongs to the request that a thread is serving: login, reader.

Radicale hands its storage, auth and rights objects a user name only; all three need the same
credential and the same view of the roles. Each thread serves one request at a time, so the
place for it is the thread; one `Visits` per application, no globals.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.caldav.reader import Reader
from bridge.model.ids import Address

if TYPE_CHECKING:
    from bridge.caldav.call import Door
    from bridge.store.directory_records import Credential


@dataclass(slots=True)
class Visit:
    """One request: who came, by which password, and what was read so far."""

    credential: Credential | None = None
    reader: Reader | None = None


class Visits(threading.local):
    """The visit of this thread."""

    def __init__(self, door: Door) -> None:
        """Read through `door`."""
        self._door = door
        self.now = Visit()

    def begin(self) -> None:
        """Start a request: nothing is known of it yet."""
        self.now = Visit()

    def reader(self, user: str) -> Reader:
        """Return the reader of this request for `user`, who is logged in."""
        reader = self.now.reader
        if reader is None or reader.user != user:
            reader = Reader(self._door.gateway, self._door.segments, Address(user))
            self.now.reader = reader
        return reader
