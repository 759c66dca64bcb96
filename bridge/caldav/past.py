"""The text that a task once had, made again from its history in the log.

Rows are a pure function of the log (`bridge.store.rows`), so what a client was served long
ago is found by its ETag, as long as rendering has not changed since.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError
from bridge.model import history
from bridge.model.log import read_own_entry
from bridge.store.rows import task_row

if TYPE_CHECKING:
    from bridge.model.ids import Digest, ProjectId
    from bridge.worker.gateway import Gateway

ENTRIES_MAX: Final = 1000
"""Longest history that is looked through while a client waits for its PUT."""
VERSIONS_MAX: Final = 200
"""Versions of a task that are tried, the newest first."""


def text_with(gateway: Gateway, project: ProjectId, href: str, etag: str) -> str | None:
    """Return the text of a task when it had this ETag, None if it cannot be found."""
    row = gateway.index.row(project, href)
    if row is None:
        return None
    if row.etag == etag:
        return row.text
    places = gateway.index.history(project, row.task, before=None, limit=ENTRIES_MAX + 1)
    if len(places) > ENTRIES_MAX:
        return None

    def blob(of: ProjectId, digest: Digest) -> str:
        return gateway.blobs.read(of, digest).decode()

    try:
        entries = [read_own_entry(gateway.log.read_at(project, e.place)) for e in reversed(places)]
        versions = list(history.of_task(entries))
        for version in islice(reversed(versions), VERSIONS_MAX):
            before, _ = task_row(version.task, version.entry, blob)
            if before.etag == etag:
                return before.text
    except BridgeError:
        # A damaged log is for `verify` to report; this client is merged as others are.
        return None
    return None
