"""What queries ask about a task: open or done, when it starts and ends, does a range match.

Promises: never raises, whatever a client or another domain put into the keys, and always
ends: a recurrence rule that could keep the search running (rates below a day, filters that
may never meet) counts as "matches", because hiding a task from a client is deleting it.
Times are UTC seconds; dates and floating times count as UTC, zones by `bridge.wire.caldate`.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dateutil.rrule import rrulestr  # type: ignore[import-untyped]  # ships no types

from bridge.wire import caldate
from bridge.wire.vtodo_read import zones
from bridge.wire.vtodo_state import give_priority
from bridge.wire.vtodo_table import take_date, value_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DAY = 86_400
_INSTANCES = 40_000
_CLOSED = frozenset({"completed", "cancelled", "deleted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A task as the index keeps it; times are UTC seconds, None where there is none.

    Attributes:
        uid: UID of the client, "" for a native task.
        due: DUE, or DTSTART plus DURATION (then `by_duration`).
        first: no time-range that ends before it matches; None is unbounded.
        last: no time-range that starts after it matches; None is unbounded.
        priority: the PRIORITY number, 0 for none.
    """

    uid: str
    summary: str
    status: str
    is_open: bool
    completed: bool
    start: int | None
    due: int | None
    by_duration: bool
    ended: int | None
    created: int | None
    first: int | None
    last: int | None
    recurring: bool
    priority: int


def facts(keys: Mapping[str, str], *, created: str = "") -> Facts:
    """Return what the index needs of a task.

    Args:
        keys: the task.
        created: time of its first entry, where the task has no CREATED line of a client.
    """
    known = zones(keys)
    status = keys.get("status", "needs_action")
    start = caldate.epoch(keys.get("scheduled", ""), known)
    due = caldate.epoch(keys.get("due", ""), known)
    ended = caldate.epoch(keys.get("end", ""), known)
    line = take_date(keys["ical.CREATED"]) if "ical.CREATED" in keys else None
    made = caldate.epoch(line or created, known)
    recurring = "recur" in keys or any(key.startswith("ical.RDATE.") for key in keys)
    number = give_priority(keys.get("priority", ""), keys.get("priority.raw", ""))
    first, last = (None, None) if recurring else _window((start, due, ended, made))
    return Facts(
        uid=keys.get("ical.uid", ""),
        summary=keys.get("description", ""),
        status=status,
        is_open=status not in _CLOSED,
        completed=status == "completed" or (status not in _CLOSED and "ical.COMPLETED" in keys),
        start=start,
        due=due,
        by_duration="ical.DURATION" in keys and "ical.DUE" not in keys and due is not None,
        ended=ended,
        created=made,
        first=first,
        last=last,
        recurring=recurring,
        priority=int(number.partition(":")[2]) if number else 0,
    )


def _window(
    times: tuple[int | None, int | None, int | None, int | None],
) -> tuple[int | None, int | None]:
    """Return bounds outside of which no row of RFC 4791 section 9.9 matches."""
    start, due, ended, created = times
    dated = [t for t in (start, due) if t is not None]
    if dated:
        return min(dated), max(dated)
    if ended is not None:
        both = [t for t in (ended, created) if t is not None]
        return min(both), max(both)
    return created, None


def matches_time_range(
    task: Facts,
    start: int | None,
    end: int | None,
    keys: Mapping[str, str] | None = None,
) -> bool:
    """Tell whether a VTODO overlaps a time-range (RFC 4791 section 9.9, its table).

    Args:
        task: its facts.
        start: UTC second, None for no lower end.
        end: UTC second, None for no upper end.
        keys: the task, for the instances of a recurring one; without them it matches.
    """
    low = start if start is not None else -(1 << 62)
    high = end if end is not None else 1 << 62
    if not task.recurring:
        return _overlaps(task, low, high)
    return keys is None or _any_instance(task, keys, low, high)


def _overlaps(task: Facts, low: int, high: int) -> bool:
    """Apply the table's eight rows to a task that happens once."""
    start, due, ended, created = task.start, task.due, task.ended, task.created
    if start is not None or due is not None:
        return _dated(start, due, (low, high), by_duration=task.by_duration)
    if ended is not None and created is not None:
        return (low <= created or low <= ended) and (high >= created or high >= ended)
    if ended is not None:
        return low <= ended <= high
    return created is None or high > created


def _dated(start: int | None, due: int | None, span: tuple[int, int], *, by_duration: bool) -> bool:
    """Apply the rows with DTSTART, DUE or DURATION."""
    low, high = span
    if start is not None and due is not None:
        if by_duration:
            return low <= due and (high > start or high >= due)
        return (low < due or low <= start) and (high > start or high >= due)
    if start is not None:
        return low <= start < high
    return due is not None and low < due <= high


# --- recurrence

_PART = re.compile(r"([A-Z]+)=([A-Z0-9,+:-]+)\Z")
# Filters whose combination with the rate always meets again within a few years.
_SAFE = {
    "DAILY": frozenset({"BYMONTH", "BYDAY"}),
    "WEEKLY": frozenset({"BYDAY"}),
    "MONTHLY": frozenset({"BYDAY", "BYMONTHDAY"}),
    "YEARLY": frozenset({"BYMONTH", "BYDAY", "BYMONTHDAY"}),
}
_NO_FILTER = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST"})
_VALUES = {
    "BYMONTHDAY": re.compile(r"-?[1-9]\d?(?:,-?[1-9]\d?)*\Z"),
    "BYMONTH": re.compile(r"(?:[1-9]|1[0-2])(?:,(?:[1-9]|1[0-2]))*\Z"),
    "BYDAY": re.compile(r"(?:(?:[+-]?[1-5])?(?:MO|TU|WE|TH|FR|SA|SU)(?:,|\Z))+\Z"),
    "INTERVAL": re.compile(r"[1-9]\d{0,2}\Z"),
}
_DIGIT = re.compile(r"\d")
_SHORTEST = 28


def is_bounded(recur: str) -> bool:
    """Tell whether expanding the rule always yields or ends soon."""
    parts: dict[str, str] = {}
    for part in recur.upper().rstrip(";").split(";"):
        found = _PART.match(part)
        if not found or found[1] in parts:
            return False
        parts[found[1]] = found[2]
    if {"COUNT", "UNTIL"} <= parts.keys():
        return False
    rate = parts.get("FREQ", "")
    filters = parts.keys() - _NO_FILTER
    if not filters <= _SAFE.get(rate, frozenset()) or rate not in _SAFE:
        return False
    if not all(_VALUES[name].match(parts[name]) for name in parts.keys() & _VALUES.keys()):
        return False
    return _meets(rate, parts)


def _meets(rate: str, parts: dict[str, str]) -> bool:
    """Tell whether the filters of a rule let an instance through every few years."""
    numbered = _DIGIT.search(parts.get("BYDAY", "")) is not None
    if numbered and (rate in {"DAILY", "WEEKLY"} or "BYMONTHDAY" in parts):
        return False
    # Every other day that is a Monday, every twelfth month with 31 days: may never come.
    filtered = not {"BYMONTH", "BYDAY", "BYMONTHDAY"}.isdisjoint(parts)
    if filtered and rate in {"DAILY", "MONTHLY"} and parts.get("INTERVAL", "1") != "1":
        return rate == "MONTHLY" and "BYMONTHDAY" not in parts
    days = parts.get("BYMONTHDAY", "1")
    return any(abs(int(day)) <= _SHORTEST for day in days.split(","))


def _any_instance(task: Facts, keys: Mapping[str, str], low: int, high: int) -> bool:
    """Tell whether one instance of a recurring task overlaps the range."""
    if _overlaps(task, low, high):
        return True
    anchor = keys.get("scheduled") or keys.get("due", "")
    recur = keys.get("recur", "")
    if caldate.canonical(anchor) is None or any(key.startswith("ical.RDATE.") for key in keys):
        return True
    if not is_bounded(recur):
        return True
    return next(_overlapping(task, keys, low, high), None) is not None


def occurrences(keys: Mapping[str, str], low: int, high: int, most: int) -> list[str] | None:
    """Return when a recurring task happens in a time-range, its overrides left out.

    Args:
        keys: the task.
        low: UTC second where the range starts.
        high: UTC second where it ends.
        most: how many to return.

    Returns:
        Texts like the first one's DTSTART (without it DUE), in order; None where that
        cannot be told in bounded time (as for `matches_time_range`) or are too many.
    """
    anchor = caldate.canonical(keys.get("scheduled") or keys.get("due", ""))
    rdates = any(key.startswith("ical.RDATE.") for key in keys)
    if anchor is None or rdates or not is_bounded(keys.get("recur", "")):
        return None
    task = facts(keys)
    found: list[str] = []
    if _dated(task.start, task.due, (low, high), by_duration=task.by_duration) and (
        anchor not in excluded_by(keys)
    ):
        # DTSTART is the first instance also where the rule would not give it (RFC 5545 3.8.5.3).
        found.append(anchor)
    for text in _overlapping(task, keys, low, high):
        if not text or len(found) > most:
            return None
        if text != anchor:
            found.append(text)
    return found if len(found) <= most else None


def _overlapping(task: Facts, keys: Mapping[str, str], low: int, high: int) -> Iterator[str]:
    """Yield the instances of a safe rule in a range, then "" if the search was cut short."""
    anchor, recur = keys.get("scheduled") or keys.get("due", ""), keys.get("recur", "")
    excluded, known = excluded_by(keys), zones(keys)
    count = 0
    length = abs((task.due or 0) - (task.start or 0)) if task.start and task.due else 0
    far = low - length - 2 * _DAY
    for moment in itertools.islice(instances(anchor, recur, known), _INSTANCES):
        count += 1
        if moment.replace(tzinfo=dt.UTC).timestamp() < far:
            continue  # before the range in any zone
        text = text_like(moment, anchor)
        second = caldate.epoch(text, known) or 0
        if second >= high + _DAY:
            return
        shift = second - (task.start if task.start is not None else task.due or 0)
        start = None if task.start is None else task.start + shift
        due = None if task.due is None else task.due + shift
        if text not in excluded and _dated(start, due, (low, high), by_duration=task.by_duration):
            yield text
    if count in (_INSTANCES, 0):
        yield ""


def instances(anchor: str, recur: str, known: caldate.Zones) -> Iterator[dt.datetime]:
    """Yield the wall times of a rule, the first one included."""
    local, _, zone = (caldate.canonical(anchor) or "").partition("[")
    first = dt.datetime.fromisoformat(local.removesuffix("Z").replace(":60", ":59"))
    tz = caldate.timezone(zone[:-1], known.get(zone[:-1], "")) if zone else None

    def wall(found: re.Match[str]) -> str:
        # dateutil wants UNTIL like DTSTART: without a zone, so in wall time.
        until = dt.datetime.strptime(found[1], "%Y%m%dT%H%M%S%z").astimezone(tz or dt.UTC)
        return f"UNTIL={until:%Y%m%dT%H%M%S}"

    try:
        rule = re.sub(r"UNTIL=(\d{8}T\d{6}Z)", wall, recur.upper())
        yield from rrulestr(rule, dtstart=first)
    except (ValueError, LookupError, TypeError, OverflowError):
        return


def text_like(moment: dt.datetime, anchor: str) -> str:
    """Return a wall time as date text of the form that `anchor` has."""
    plain = caldate.canonical(anchor) or ""
    if caldate.is_date(plain):
        return moment.date().isoformat()
    _, bracket, zone = plain.partition("[")
    tail = "Z" if plain.endswith("Z") else bracket + zone
    return moment.isoformat(timespec="seconds") + tail


def excluded_by(keys: Mapping[str, str]) -> set[str]:
    """Return the instances that EXDATE or an override takes out."""
    found: set[str] = set()
    for key, raw in keys.items():
        if key.startswith("ical.override."):
            found.add(key.removeprefix("ical.override."))
        elif key.startswith("ical.EXDATE."):
            head = raw[: len(raw) - len(value_of(raw))]
            for value in value_of(raw).split(","):
                if text := take_date(head + value):
                    found.add(text)
    return found
