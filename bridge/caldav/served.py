"""What each client was last served, so that a blind PUT can be merged (three ways).

Most clients write without a precondition and none sends back all it got (caldav-clients
section 0): the worker needs the text that this credential knows. A client is told apart by
its app password and its User-Agent. Kept in memory, bounded; what was forgotten is taken for
the task as it is now, which is what every other server always does.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from bridge.model.ids import ProjectId

OCTETS_MAX: Final = 32 * 1024 * 1024
_OVERHEAD: Final = 400


class Client(NamedTuple):
    """Who is served: the id of the credential, and the program's name of itself."""

    credential: str
    agent: str


class Served:
    """Remembers texts by client, project and name; safe for threads."""

    def __init__(self, octets_max: int = OCTETS_MAX) -> None:
        """Keep about `octets_max` octets, the oldest go first."""
        self._max = octets_max
        self._held = 0
        # Held for dictionary work only.
        self._lock = threading.Lock()
        self._texts: OrderedDict[tuple[Client, ProjectId, str], str] = OrderedDict()

    def note(self, client: Client, project: ProjectId, href: str, text: str) -> None:
        """Note that `client` knows `text` now."""
        key = (client, project, href)
        with self._lock:
            old = self._texts.pop(key, None)
            if old is not None:
                self._held -= len(old) + _OVERHEAD
            self._texts[key] = text
            self._held += len(text) + _OVERHEAD
            while self._held > self._max and self._texts:
                _, gone = self._texts.popitem(last=False)
                self._held -= len(gone) + _OVERHEAD

    def known(self, client: Client, project: ProjectId, href: str) -> str | None:
        """Return what `client` was last served under this name."""
        with self._lock:
            return self._texts.get((client, project, href))

    def forget(self, client: Client, project: ProjectId, href: str) -> None:
        """Note that `client` knows that the task is gone."""
        with self._lock:
            old = self._texts.pop((client, project, href), None)
            if old is not None:
                self._held -= len(old) + _OVERHEAD
