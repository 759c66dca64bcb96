"""A recurring task loses one occurrence: what its DTSTART, DUE, RRULE and EXDATE become. Pure.

A resource that we serve holds one VTODO (caldav-clients sections 0.7 and 1.2), so an
occurrence that a client completed or changed leaves its series and becomes a task of its
own. The series then loses exactly that date: the current one by moving on to the next
(COUNT less what was passed), a later one by an EXDATE; no other occurrence is lost. DATE,
floating, zoned and UTC times keep their form: they move by the calendar, never by an
offset. A rule that cannot be followed in bounded time gets an EXDATE instead of a move.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bridge.wire import caldate
from bridge.wire.vtodo_facts import excluded_by, instances, is_bounded, text_like
from bridge.wire.vtodo_read import due_of, zones
from bridge.wire.vtodo_table import digest, give_date, take_date, value_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STEPS_MAX: Final = 5000
"""Occurrences of a rule that are looked through for the next one."""
_SUB_DAILY = re.compile(
    r"FREQ=(?:SECONDLY|MINUTELY|HOURLY)(?:;(?:INTERVAL=[1-9]\d{0,5}|COUNT=\d{1,9}|"
    r"UNTIL=[0-9TZ]{8,16}|WKST=[A-Z]{2}))*;?\Z"
)
_COUNT = re.compile(r"(?i)(\bCOUNT=)(\d{1,9})(?=;|\Z)")
_NEXT_TO_LAST = re.compile(r"BYSETPOS=-?[1-4]\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """A series without one occurrence.

    Attributes:
        changes: key -> new value, or None where the key goes.
        ended: no occurrence is left.
    """

    changes: Mapping[str, str | None] = field(default_factory=dict)
    ended: bool = False


@dataclass(frozen=True, slots=True)
class _Next:
    """The occurrence after the current one, and how many of the rule's lie before it.

    The text is "" where the search was cut short.
    """

    text: str
    passed: int


def is_series(keys: Mapping[str, str]) -> bool:
    """Tell whether a task recurs and says from when."""
    recurs = "recur" in keys or any(key.startswith("ical.RDATE.") for key in keys)
    return recurs and _anchor(keys)[1] != ""


def like_series(keys: Mapping[str, str], when: str) -> str:
    """Return an occurrence's date in the form of its series: zone, floating, UTC or DATE.

    Args:
        keys: the series.
        when: date text, such as a RECURRENCE-ID in another client's spelling.
    """
    _, anchor = _anchor(keys)
    plain = caldate.canonical(when)
    if plain is None or not anchor or _form(plain) == _form(anchor):
        return plain or when
    if caldate.is_date(anchor):
        return plain[: len(anchor)]
    local, bracket, zone = anchor.partition("[")
    if caldate.is_date(plain):
        return plain + anchor[len(plain) :]
    second = caldate.epoch(plain, zones(keys))
    tz = caldate.timezone(zone[:-1], zones(keys).get(zone[:-1], "")) if bracket else dt.UTC
    if second is None or tz is None or not (bracket or local.endswith("Z")):
        return plain
    try:
        moment = dt.datetime.fromtimestamp(second, dt.UTC).astimezone(tz).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        return plain
    return text_like(moment, anchor)


def without(keys: Mapping[str, str], when: str) -> Without:
    """Return what changes in a series when its occurrence `when` becomes a task of its own.

    Args:
        keys: the series; nothing changes in a task that is none.
        when: the occurrence as `like_series` spells it; one before the current occurrence
            is gone already.
    """
    if not is_series(keys):
        return Without()
    known = zones(keys)
    _, anchor = _anchor(keys)
    this, current = caldate.epoch(when, known), caldate.epoch(anchor, known)
    if this is None or current is None or this < current:
        return Without()
    if this > current or not _can_follow(keys):
        return _excluding(keys, anchor if this == current else when)
    found = _following(keys, anchor)
    if found is None:
        return Without(ended=True)
    return _moved(keys, found) if found.text else _excluding(keys, anchor)


def _anchor(keys: Mapping[str, str]) -> tuple[str, str]:
    """Return the key that says when the current occurrence is, and its text, "" for none."""
    for key in ("scheduled", "due"):
        text = caldate.canonical(keys.get(key, ""))
        if text is not None:
            return key, text
    return "", ""


def _form(text: str) -> tuple[bool, str]:
    """Return what two date texts share that differ in their date and time only."""
    zone = text.partition("[")[2]
    return caldate.is_date(text), "Z" if text.endswith("Z") else zone


def _excluding(keys: Mapping[str, str], when: str) -> Without:
    raw = give_date("EXDATE", when)
    if raw is None or when in excluded_by(keys):
        return Without()
    return Without(changes={f"ical.EXDATE.{digest(raw)}": raw})


def _can_follow(keys: Mapping[str, str]) -> bool:
    """Tell whether the next occurrence can be had in bounded time."""
    if "ical.RRULE" in keys and "recur" not in keys:
        return False  # a rule that nobody can read
    recur = keys.get("recur", "").upper()
    if not recur or is_bounded(recur) or _SUB_DAILY.match(recur):
        return True
    # The last workday of the month: every month has four of each weekday.
    parts = recur.rstrip(";").split(";")
    rest = [part for part in parts if not _NEXT_TO_LAST.match(part)]
    names = {part.partition("=")[0] for part in rest}
    plain = all(not re.search(r"\d", part) for part in rest if part.startswith("BYDAY="))
    monthly = "FREQ=MONTHLY" in rest and "BYDAY" in names and "BYMONTHDAY" not in names
    return len(parts) - len(rest) == 1 and monthly and plain and is_bounded(";".join(rest))


def _following(keys: Mapping[str, str], anchor: str) -> _Next | None:
    """Return the next occurrence that EXDATE leaves, None where the series ends."""
    known = zones(keys)
    gone = {caldate.epoch(text, known) for text in excluded_by(keys)}
    here = caldate.epoch(anchor, known) or 0
    extra = sorted(
        (second, text)
        for text in _rdates(keys)
        if (second := caldate.epoch(text, known) or 0) > here and second not in gone
    )
    passed = 0
    rule = instances(anchor, keys["recur"], known) if "recur" in keys else iter(())
    for moment in itertools.islice(rule, STEPS_MAX):
        text = text_like(moment, anchor)
        second = caldate.epoch(text, known) or 0
        if extra and extra[0][0] <= second:
            break
        if second > here and second not in gone:
            return _Next(text, passed)
        passed += 1
    if passed == STEPS_MAX:
        return _Next("", passed)
    return _Next(like_series(keys, extra[0][1]), passed) if extra else None


def _rdates(keys: Mapping[str, str]) -> Iterator[str]:
    for key, raw in keys.items():
        if not key.startswith("ical.RDATE."):
            continue
        value = value_of(raw)
        head = raw[: len(raw) - len(value)]
        for each in value.split(","):
            if text := take_date(head + each):
                yield text


def _moved(keys: Mapping[str, str], found: _Next) -> Without:
    """Return the series with the next occurrence as its current one."""
    key, anchor = _anchor(keys)
    line = {"scheduled": "ical.DTSTART", "due": "ical.DUE"}
    changes: dict[str, str | None] = {key: found.text, line[key]: None}
    due = keys.get("due")
    if key == "scheduled" and due is not None:
        after = {**keys, "scheduled": found.text}
        if "ical.DURATION" in keys and "ical.DUE" not in keys and due_of(keys) == due:
            new = due_of(after)
        else:
            new = caldate.add(due, _between(anchor, found.text), zones(keys))
        if new is None:
            return Without(ended=True)
        both = "ical.DURATION" in keys and "ical.DUE" in keys
        changes |= {"due": new, "ical.DUE": give_date("DUE", new) if both else None}
    count = _COUNT.search(keys.get("recur", ""))
    if count and found.passed:
        left = max(int(count[2]) - found.passed, 1)
        changes["recur"] = _COUNT.sub(rf"\g<1>{left}", keys["recur"])
        changes["ical.RRULE"] = None
    return Without(changes={k: v for k, v in changes.items() if keys.get(k) != v})


def _between(before: str, after: str) -> tuple[int, int]:
    """Return days and seconds from one wall time to another of the same form."""
    old, new = (
        dt.datetime.fromisoformat(text.partition("[")[0].removesuffix("Z").replace(":60", ":59"))
        for text in (before, after)
    )
    gap = new - old
    return gap.days, gap.seconds
