"""What each client was last served, so that a blind PUT can be merged (three ways).

Most clients write without a precondition and none sends back all it got (caldav-clients
section 0): the worker needs the text that this credential knows. A client is told apart by
its app password and its User-Agent. Texts are in memory, bounded; beside them the directory
keeps an ETag for each client and task, written a moment later by a thread of its own (no
read waits for it), so that a restart or another HTTP process knows it too: the text of that
ETag comes from the log's history. What is known nowhere is taken for the task as it is
now, which is what every other server always does.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from bridge.errors import BridgeError
from bridge.store.known import TEXT_MAX, Knowledge, Place
from bridge.store.rows import etag_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from bridge.model.ids import ProjectId
    from bridge.store.directory_contract import Known

log = logging.getLogger(__name__)
OCTETS_MAX: Final = 32 * 1024 * 1024
PAUSE_SECONDS: Final = 1.0
"""How long notes are collected before they are written in one batch."""
DIRTY_MAX: Final = 50_000
"""Notes that wait to be written; beyond it (a directory that is away) the oldest go."""
_OVERHEAD: Final = 400
_AT_ONCE: Final = 500
"""Notes in one transaction: a first listing of a long list must not keep others from writing."""
_PRUNE_EVERY: Final = 1000
_IDLE_SECONDS: Final = 10.0


class Client(NamedTuple):
    """Who is served: the id of the credential, and the program's name of itself."""

    credential: str
    agent: str

    @property
    def name(self) -> str:
        """The same in 40 characters, whatever the program calls itself."""
        return hashlib.sha256(f"{self.credential}\n{self.agent}".encode()).hexdigest()[:40]


class Past(Protocol):
    """Finds the text that a task once had."""

    def __call__(self, project: ProjectId, href: str, etag: str) -> str | None:
        """Return the text with this ETag, None if the task never had it."""


_Key = tuple[Client, "ProjectId", str]


class Served:
    """Remembers texts by client, project and name; safe for threads."""

    def __init__(
        self,
        known: Known,
        past: Past,
        clock: Callable[[], datetime],
        octets_max: int = OCTETS_MAX,
    ) -> None:
        """Keep about `octets_max` octets, the oldest go first; the rest is in `known`."""
        self._known = known
        self._past = past
        self._clock = clock
        self._max = octets_max
        self._held = 0
        # Held for dictionary work only.
        self._lock = threading.Lock()
        self._texts: OrderedDict[_Key, str] = OrderedDict()
        # Key -> whether the text is the client's own, so that no history has it; None: it
        # knows that the task is gone; or what is to be written.
        self._dirty: OrderedDict[_Key, bool | Knowledge | None] = OrderedDict()
        self._waits = threading.Event()
        self._writer: threading.Thread | None = None
        self._writing = threading.Lock()
        self._batches = 0

    def note(
        self, client: Client, project: ProjectId, href: str, text: str, *, own: bool = False
    ) -> None:
        """Note that `client` knows `text` now.

        Args:
            client: who.
            project: the list.
            href: the task's name in it.
            text: what it was served; with `own`, what it sent and was not stored like that.
            own: see there.
        """
        key = (client, project, href)
        with self._lock:
            old = self._texts.pop(key, None)
            if old is not None:
                self._held -= len(old) + _OVERHEAD
            self._texts[key] = text
            self._held += len(text) + _OVERHEAD
            if old != text:
                self._dirty[key] = own
            while self._held > self._max and self._texts:
                gone, lost = self._texts.popitem(last=False)
                self._held -= len(lost) + _OVERHEAD
                if self._dirty.get(gone) is False:
                    # Its ETag is all that is written of it.
                    self._dirty[gone] = Knowledge(etag_of(lost))
                else:
                    self._dirty.pop(gone, None)
        if old != text:
            self._wake()

    def held(self, client: Client, project: ProjectId, href: str) -> str | None:
        """Return what this process served `client` last under this name."""
        with self._lock:
            return self._texts.get((client, project, href))

    def known(self, client: Client, project: ProjectId, href: str) -> str | None:
        """Return what `client` was last served under this name, here or elsewhere."""
        key = (client, project, href)
        with self._lock:
            text = self._texts.get(key)
            if key in self._dirty:
                return text
        try:
            noted = self._known.get(Place(client.name, project, href))
        except BridgeError:
            return text
        if noted is None or (text is not None and noted.etag == etag_of(text)):
            return text
        return noted.text or self._past(project, href, noted.etag)

    def forget(self, client: Client, project: ProjectId, href: str) -> None:
        """Note that `client` knows that the task is gone."""
        key = (client, project, href)
        with self._lock:
            old = self._texts.pop(key, None)
            if old is not None:
                self._held -= len(old) + _OVERHEAD
            self._dirty[key] = None
        self._wake()

    # -- writing -------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._waits.is_set():
            return
        self._waits.set()
        with self._lock:
            # Begun by a note: a process that was forked has no other's threads.
            if self._writer is None:
                self._writer = threading.Thread(target=self._run, name="served", daemon=True)
                self._writer.start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            if not self._waits.wait(_IDLE_SECONDS):
                with self._lock:
                    if not self._waits.is_set():
                        self._writer = None
                        return
            pause.wait(PAUSE_SECONDS)
            try:
                self.flush()
            except BridgeError as error:
                log.warning("what clients know could not be written: %s", error)
                pause.wait(PAUSE_SECONDS * 30)
            except Exception:
                log.exception("what clients know could not be written")
                pause.wait(PAUSE_SECONDS * 30)

    def flush(self) -> None:
        """Write what was noted since the last time.

        Raises:
            Unavailable: the directory cannot be written; the notes wait.
        """
        with self._writing:
            self._waits.clear()
            with self._lock:
                waiting = [(key, own, self._texts.get(key, "")) for key, own in self._dirty.items()]
                while len(self._dirty) > DIRTY_MAX:
                    self._dirty.popitem(last=False)
            for first in range(0, len(waiting), _AT_ONCE):
                self._write(waiting[first : first + _AT_ONCE])

    def _write(self, waiting: list[tuple[_Key, bool | Knowledge | None, str]]) -> None:
        notes = {
            Place(client.name, project, href): _knowledge(text, own)
            for (client, project, href), own, text in waiting
        }
        self._known.put(notes, self._clock())
        self._batches += 1
        if self._batches % _PRUNE_EVERY == 0:
            self._known.prune(self._clock())
        with self._lock:
            for key, own, text in waiting:
                if self._dirty.get(key, ...) == own and self._texts.get(key, "") == text:
                    del self._dirty[key]


def _knowledge(text: str, own: bool | Knowledge | None) -> Knowledge | None:
    if isinstance(own, Knowledge):
        return own
    if own is None or (own and len(text) > TEXT_MAX):
        return None
    return Knowledge(etag_of(text), text if own else "")
