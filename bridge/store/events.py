"""The event log in files ``_events/YYYY-MM-DD.jsonl`` (tx-protocol section 17).

One line an event, one write a batch, in append mode, so several processes may write. Not
flushed: an event may be lost with the power, never with the process. Nothing here raises
for a full disk, because what happened must not undo what was done.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from bridge.store.durable import FILE_MODE, make_directory, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bridge.model.ids import ProjectId

MAX_EVENT = 8 * 1024
"""Longest line in bytes."""
_KEPT = ("event", "project", "seq", "request", "mandate")
_KEPT_LENGTH = 512
_BLOCK = 64 * 1024
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl", re.ASCII)
_log = logging.getLogger(__name__)


def event_line(at: datetime, event: Mapping[str, object], limit: int = MAX_EVENT) -> bytes:
    """Return `event` as one line without newline, its time first, at most `limit` bytes.

    A larger event, or one that JSON cannot hold, keeps only the members that say what it
    concerns, and ``cut`` is true.
    """
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        line = _encode({"at": stamp, **event})
    except (TypeError, ValueError, RecursionError):
        line = b""
    if line and len(line) <= limit:
        return line
    kept = {name: str(event[name])[:_KEPT_LENGTH] for name in _KEPT if name in event}
    return _encode({"at": stamp, **kept, "cut": True})


def _encode(event: Mapping[str, object]) -> bytes:
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode(errors="replace")


def matches(event: Mapping[str, object], kind: str | None, project: ProjectId | None) -> bool:
    """Return whether `event` is of `kind` and `project`, None standing for any."""
    return (kind is None or event.get("event") == kind) and (
        project is None or event.get("project") == project
    )


class FileEvents:
    """The event log of a domain; implements `bridge.store.EventLog`."""

    def __init__(self, directory: Path) -> None:
        """Keep the days' files in `directory`, made when first needed."""
        self._directory = directory
        # Two threads' repairs of one torn line would otherwise leave an empty line.
        self._lock = threading.Lock()
        self._failing = False

    def append(self, at: datetime, events: Sequence[Mapping[str, object]]) -> bool:
        """See `bridge.store.EventLog.append`."""
        if not events:
            return True
        content = b"".join(event_line(at, event) + b"\n" for event in events)
        path = self._directory / f"{at.astimezone(UTC).date().isoformat()}.jsonl"
        try:
            with self._lock:
                _append(path, content)
        except OSError as error:
            if not self._failing:  # one line in the process log, not one an event
                _log.warning("events cannot be written: %s", error, extra={"path": str(path)})
            self._failing = True
            return False
        self._failing = False
        return True

    def read(
        self, first: date, last: date, *, kind: str | None = None, project: ProjectId | None = None
    ) -> Iterator[Mapping[str, object]]:
        """See `bridge.store.EventLog.read`."""
        for day, path in self._days():
            if first <= day <= last:
                for event in _events_in(path):
                    if matches(event, kind, project):
                        yield event

    def tail(self, limit: int) -> list[Mapping[str, object]]:
        """See `bridge.store.EventLog.tail`."""
        newest: list[Mapping[str, object]] = []
        for _day, path in reversed(self._days()):
            if len(newest) >= limit:
                break
            newest = _last_events(path, limit - len(newest)) + newest
        return newest

    def _days(self) -> list[tuple[date, Path]]:
        days = []
        try:
            for path in self._directory.iterdir():
                named = _NAME.fullmatch(path.name)
                if named:
                    days.append((date.fromisoformat(named[1]), path))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            _log.warning("events cannot be read: %s", error)
        return sorted(days)


def _append(path: Path, content: bytes) -> None:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags, FILE_MODE)
    except FileNotFoundError:
        make_directory(path.parent)
        fd = os.open(path, flags, FILE_MODE)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            content = b"\n" + content  # a write that was cut short keeps to its own line
        write_all(fd, content)
    finally:
        os.close(fd)


def _events_in(path: Path) -> Iterator[Mapping[str, object]]:
    damaged = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_EVENT + 2):
                event = decode_event(line)
                if event is None:
                    damaged += 1
                else:
                    yield event
    except OSError as error:
        _log.warning("events cannot be read: %s", error, extra={"path": str(path)})
    if damaged:
        _log.warning("%d damaged events passed over", damaged, extra={"path": str(path)})


def _last_events(path: Path, limit: int) -> list[Mapping[str, object]]:
    """Return the last `limit` events of a day, reading from its end."""
    try:
        with path.open("rb") as file:
            start = size = file.seek(0, os.SEEK_END)
            block = _BLOCK
            while True:
                start = max(size - block, 0)
                file.seek(start)
                lines = file.read(size - start).split(b"\n")
                # The first piece is perhaps half a line, the last one what follows the newline.
                whole = lines if start == 0 else lines[1:]
                events = [event for event in map(decode_event, whole) if event is not None]
                if start == 0 or len(events) >= limit:
                    return events[-limit:]
                block *= 4
    except OSError as error:
        _log.warning("events cannot be read: %s", error, extra={"path": str(path)})
        return []


def decode_event(line: bytes) -> Mapping[str, object] | None:
    """Return the event of `line`, or None when it is damaged."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
