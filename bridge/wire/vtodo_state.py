"""A task's state: STATUS, COMPLETED, PERCENT-COMPLETE, and its PRIORITY.

Three lines make one ``status`` (caldav-clients section 1.1): clients send any of them, none,
or all in contradiction. `status_of` is that rule for one document, `new_status` between two:
the line that changed wins, then STATUS. States that iCalendar has no word for travel in
X-TX-STATUS beside the nearest word. ``deleted`` is never taken from a line: only a DELETE
may ask for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bridge.wire.vtodo_table import (
    ABSENT,
    escape,
    give_date,
    give_percent,
    take_date,
    take_percent,
    unescape,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_IN = {
    "NEEDS-ACTION": "needs_action",
    "IN-PROCESS": "in_progress",
    "COMPLETED": "completed",
    "CANCELLED": "cancelled",
    "DELETED": "needs_action",
}
_OUT = {
    "needs_action": "STATUS:NEEDS-ACTION",
    "in_progress": "STATUS:IN-PROCESS",
    "completed": "STATUS:COMPLETED",
    "cancelled": "STATUS:CANCELLED",
    # Not served, but a reader of history may ask for its text.
    "deleted": "STATUS:CANCELLED",
}
OPEN = frozenset({"needs_action", "in_progress"})
_WORD = re.compile(r"[^A-Za-z0-9]+")


def status_of(word: str | None, completed: bool, progress: str | None, beside: str) -> str:
    """Return the task status that one document's lines mean.

    Args:
        word: value of STATUS, None without such a line.
        completed: a COMPLETED line is there.
        progress: PERCENT-COMPLETE as 0 to 100, None without one.
        beside: the word of X-TX-STATUS, ``blocked`` for SUBSTATE:SUSPENDED, or "".
    """
    if word is not None:
        upper = word.strip().upper()
        status = _IN.get(upper) or _WORD.sub("_", upper.lower()).strip("_") or "needs_action"
    elif completed:
        status = "completed"
    else:
        started = progress not in {None, "0", "100"}
        status = "in_progress" if started else "needs_action"
    return beside if beside and status in OPEN else status


def beside_word(lines: Mapping[str, str]) -> str:
    """Return the state word that X-TX-STATUS or SUBSTATE adds, or ""."""
    raw = lines.get("X-TX-STATUS")
    if raw is not None:
        word = unescape(value_of(raw))
        lower = word.lower()
        return "" if lower in _OUT else ("blocked" if lower == "blocked" else word)
    raw = lines.get("SUBSTATE")
    return "blocked" if raw is not None and value_of(raw).upper() == "SUSPENDED" else ""


def take_state(lines: Mapping[str, str], keys: dict[str, str]) -> None:
    """Put status, end, progress and priority into `keys`.

    Args:
        lines: property name -> its first line.
        keys: gets the native keys, and the lines we would not write like that; holds
            ``start`` already.
    """
    done, share = lines.get("COMPLETED"), lines.get("PERCENT-COMPLETE")
    progress = take_percent(share) if share is not None else None
    stated = lines.get("STATUS")
    word = value_of(stated) if stated is not None else None
    status = status_of(word, done is not None, progress, beside_word(lines))
    keys["status"] = status
    if stated != _canonical(status, "start" in keys):
        keys["ical.STATUS"] = ABSENT if stated is None else stated
    _take_end(done, lines.get("X-TX-END"), keys)
    if progress is not None:
        keys["progress"] = progress
    if share is None and status == "completed":
        keys["ical.PERCENT-COMPLETE"] = ABSENT
    elif share is not None and share != _percent(status, progress):
        keys["ical.PERCENT-COMPLETE"] = share
    if "PRIORITY" in lines:
        _take_priority(lines["PRIORITY"], keys)


def _take_end(done: str | None, ours: str | None, keys: dict[str, str]) -> None:
    completed = keys["status"] == "completed"
    end = take_date(done) if done is not None else take_date(ours) if ours is not None else None
    if end is not None:
        keys["end"] = end
    if done is None:
        if completed:
            keys["ical.COMPLETED"] = ABSENT
    elif not completed or end is None or give_date("COMPLETED", end) != done:
        keys["ical.COMPLETED"] = done


def state_lines(keys: Mapping[str, str], modified: str) -> dict[str, str]:
    """Return property name -> line for the state of a task.

    Args:
        keys: the task.
        modified: time of the last commit, for a completed task without ``end``.
    """
    status = keys.get("status", "needs_action")
    progress, end = keys.get("progress"), keys.get("end")
    lines: dict[str, str] = {}
    raw = keys.get("ical.PERCENT-COMPLETE")
    if not (raw == ABSENT and progress is None):
        fits = raw is not None and raw != ABSENT and take_percent(raw) == progress
        if line := raw if fits else _percent(status, progress):
            lines["PERCENT-COMPLETE"] = line
    raw = keys.get("ical.COMPLETED")
    if not (raw == ABSENT and end is None):
        _give_end(lines, raw, status, (end, modified))
    _give_status(lines, keys, status)
    return lines


def _give_end(
    lines: dict[str, str], raw: str | None, status: str, times: tuple[str | None, str]
) -> None:
    end, modified = times
    if raw is not None and raw != ABSENT and take_date(raw) == end:
        lines["COMPLETED"] = raw
    elif status == "completed":
        if line := give_date("COMPLETED", end or modified):
            lines["COMPLETED"] = line
    elif end is not None and (line := give_date("X-TX-END", end)):
        # COMPLETED would make most clients show an open or cancelled task as done.
        lines["X-TX-END"] = line


def _give_status(lines: dict[str, str], keys: Mapping[str, str], status: str) -> None:
    raw = keys.get("ical.STATUS")
    if raw is not None:
        word = None if raw == ABSENT else value_of(raw)
        meant = status_of(word, "COMPLETED" in lines, keys.get("progress"), "")
        beside = status not in _OUT and meant in OPEN
        if meant == status or beside:
            if raw != ABSENT:
                lines["STATUS"] = raw
            if beside and meant != status:
                lines["X-TX-STATUS"] = _beside(status)
            return
    lines["STATUS"] = _canonical(status, "start" in keys)
    if status not in _OUT:
        lines["X-TX-STATUS"] = _beside(status)


def _beside(status: str) -> str:
    return "X-TX-STATUS:" + ("BLOCKED" if status == "blocked" else escape(status))


def _canonical(status: str, started: bool) -> str:
    """Return the STATUS line we would write; a started task that is blocked is in process."""
    return _OUT.get(status) or _OUT["in_progress" if started else "needs_action"]


def _percent(status: str, progress: str | None) -> str | None:
    if status == "completed":
        return "PERCENT-COMPLETE:100"
    return give_percent(progress) if progress is not None else None


def new_status(base: Mapping[str, str], sent: Mapping[str, str]) -> str | None:
    """Return the status a client set, or None: the line that changed wins, then STATUS."""
    before, now = _stated(base), _stated(sent)
    old, new = before[0], now[0]
    if new != old:
        # A client that does not know a word writes NEEDS-ACTION for it (DAVx5).
        if old not in _OUT and new == "needs_action" and not now[1]:
            return None
        fresh = now[1] != before[1] and new in OPEN
        return now[1] if fresh and now[1] else new
    if now[1] and now[1] != before[1] and new in OPEN:
        return now[1]
    return _contradicted(before, now)


def _contradicted(
    before: tuple[str, str, bool, str | None], now: tuple[str, str, bool, str | None]
) -> str | None:
    """Return the status that COMPLETED or PERCENT-COMPLETE, changed alone, asks for."""
    status, share = now[0], now[3]
    done = (now[2] and not before[2]) or (share == "100" and before[3] != "100")
    if status in OPEN and done:
        return "completed"
    if status == "completed" and share not in {None, "100", before[3]}:
        return "needs_action" if share == "0" else "in_progress"
    return None


def _stated(keys: Mapping[str, str]) -> tuple[str, str, bool, str | None]:
    """Return (status without X-TX-STATUS, its word, COMPLETED is there, progress)."""
    lines = state_lines(keys, "")
    raw = lines.get("STATUS")
    if "ical.SUBSTATE" in keys:
        lines.setdefault("SUBSTATE", keys["ical.SUBSTATE"])
    done, share = "COMPLETED" in lines, keys.get("progress")
    plain = status_of(value_of(raw) if raw is not None else None, done, share, "")
    return plain, beside_word(lines), done, share


# --- priority

_PRIORITY_OUT = {"high": "1", "normal": "5", "low": "9"}
_PRIORITY_IN = ("", "high", "high", "high", "high", "normal", "low", "low", "low", "low")


def take_priority(raw: str) -> tuple[str, str] | None:
    """Return (``priority``, ``priority.raw`` or ""); None for 0 and for what is no number."""
    value = value_of(raw)
    word = _PRIORITY_IN[int(value)] if len(value) == 1 and value in "123456789" else ""
    return (word, "" if _PRIORITY_OUT[word] == value else value) if word else None


def give_priority(word: str, number: str) -> str | None:
    """Return the PRIORITY line of the two keys; the number counts while it fits the word."""
    if take_priority("PRIORITY:" + number) == (word, number):
        return "PRIORITY:" + number
    known = _PRIORITY_OUT.get(word)
    return "PRIORITY:" + known if known else None


def _take_priority(raw: str, keys: dict[str, str]) -> None:
    taken = take_priority(raw)
    if taken is not None:
        keys["priority"] = taken[0]
        if taken[1]:
            keys["priority.raw"] = taken[1]
    if taken is None or give_priority(*taken) != raw:
        keys["ical.PRIORITY"] = raw


def priority_line(keys: Mapping[str, str]) -> str | None:
    """Return the PRIORITY line of a task, or None."""
    raw, word = keys.get("ical.PRIORITY"), keys.get("priority")
    if raw is not None:
        taken = take_priority(raw)
        if (taken[0] if taken else None) == word:
            return raw
    return give_priority(word, keys.get("priority.raw", "")) if word else None
