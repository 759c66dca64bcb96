"""The mapping table: one row per VTODO property, with its RFC section and its task key.

A row reads a content line into the value of its task key (`take`) and writes the value as
the one line this project would write (`give`). A line that `give` would not write like that
is kept raw beside the key, under ``ical.<NAME>``, and goes out as long as `take` still reads
the key's value from it. Properties without a row have no native key: their lines are kept
under ``ical.<NAME>`` (the first) and ``ical.<NAME>.<hash>`` (each further one). `Loss` says
what it means when a client's PUT has no such line (caldav-clients section 0 fact 1).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.wire import caldate, contentline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PRODID = "PRODID:-//TX Bridge//VTODO 1//EN"
"""What our own text says in PRODID; bytes of served tasks depend on it."""
ABSENT = "absent"
"""Value of ``ical.STATUS`` and its like where the client left out a line we would write."""
UID_MAX = 1024
ELEMENT_MAX = 255
"""Longest UID or name that becomes part of a key; longer ones stay in their line only."""


class Kind(StrEnum):
    """How the lines of a property are kept."""

    VALUE = "value"  # one native key
    STATE = "state"  # keys drawn from several lines together: `bridge.wire.vtodo_state`
    SET = "set"  # each line is one or more elements of a native set
    LINES = "lines"  # ``ical.<NAME>.<hash>`` for each line
    LINE = "line"  # ``ical.<NAME>``
    MADE = "made"  # written by the gateway; what a client sends is not kept


class Loss(StrEnum):
    """What a line missing from a PUT means."""

    MEANT = "meant"  # every client shows it: missing is a deletion
    KEPT = "kept"  # clients drop what they do not know: missing means nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One property: RFC and section, native key (a prefix for sets), how it is kept."""

    name: str
    section: str
    kind: Kind
    loss: Loss = Loss.KEPT
    key: str = ""
    take: Callable[[str], str | None] = lambda _: None
    give: Callable[[str], str | None] = lambda _: None


# --- text (RFC 5545 section 3.3.11)

_ESCAPED = re.compile(r"\\([\\;,nN])")
_PLAIN = {"\\": "\\", ";": ";", ",": ",", "n": "\n", "N": "\n"}
_TO_ESCAPE = re.compile(r"[\\;,\n\r]")
_ESCAPES = {"\\": "\\\\", ";": "\\;", ",": "\\,", "\n": "\\n", "\r": ""}
_LINE_ENDS = re.compile(r"[\r\n]+")


def escape(text: str) -> str:
    """Return `text` as a TEXT value."""
    if not _TO_ESCAPE.search(text):
        return text
    return _TO_ESCAPE.sub(lambda found: _ESCAPES[found[0]], text)


def unescape(value: str) -> str:
    """Return the text of a TEXT value; unknown escapes stay, bare commas are text."""
    return _ESCAPED.sub(lambda found: _PLAIN[found[1]], value) if "\\" in value else value


def value_of(raw: str) -> str:
    """Return the value of a sound content line."""
    head, _, value = raw.partition(":")
    if '"' in head:
        line = contentline.split(raw)
        return line.value if line else ""
    return value


def digest(text: str) -> str:
    """Return 12 hex digits that name a line or a component among its like."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


# --- takers and givers


def _take_text(raw: str) -> str:
    return unescape(value_of(raw))


def _take_title(raw: str) -> str:
    text = unescape(value_of(raw))
    return _LINE_ENDS.sub(" ", text) if "\n" in text else text


def _give_title(value: str) -> str:
    return "SUMMARY:" + escape(_LINE_ENDS.sub(" ", value) if "\n" in value else value)


def _give_notes(value: str) -> str:
    return "DESCRIPTION:" + escape(value)


_ZONED = re.compile(r"[A-Z-]+;TZID=([A-Za-z0-9/_+-]+):(.*)\Z")


def take_date(raw: str) -> str | None:
    """Return the key text of a DATE or DATE-TIME line; parameters other than TZID are ignored."""
    head, _, value = raw.partition(":")
    if ";" not in head:
        return caldate.from_ical(value)
    if found := _ZONED.match(raw):
        return caldate.from_ical(found[2], found[1])
    line = contentline.split(raw)
    return caldate.from_ical(line.value, line.param("TZID")) if line else None


def give_date(name: str, text: str) -> str | None:
    """Return the line of a date key, or None where the text is no date."""
    parts = caldate.to_ical(text)
    return f"{name}{parts[0]}:{parts[1]}" if parts else None


_RULE = re.compile(r"(?:[A-Za-z0-9-]+=[A-Za-z0-9,+:-]+;?)+\Z")


def _take_rule(raw: str) -> str | None:
    value = value_of(raw)
    return value if is_rule(value) else None


def is_rule(text: str) -> bool:
    """Tell whether `text` is written like an RRULE (RFC 5545 section 3.3.10)."""
    return "FREQ=" in text.upper() and _RULE.match(text) is not None


def _give_rule(value: str) -> str | None:
    return "RRULE:" + value if is_rule(value) else None


_NUMBER = re.compile(r"\d{1,9}\Z", re.ASCII)
_HUNDRED = 100


def take_percent(raw: str) -> str | None:
    """Return 0 to 100 as text."""
    value = value_of(raw).strip()
    number = int(value) if _NUMBER.match(value) else -1
    return str(number) if 0 <= number <= _HUNDRED else None


def give_percent(value: str) -> str | None:
    """Return the PERCENT-COMPLETE line of ``progress``."""
    line = "PERCENT-COMPLETE:" + value
    return line if take_percent(line) == value else None


# --- rows


def _line(section: str, *names: str, loss: Loss = Loss.KEPT) -> Iterable[Row]:
    return (Row(name=name, section=section, kind=Kind.LINE, loss=loss) for name in names)


def _lines(section: str, *names: str, loss: Loss = Loss.KEPT) -> Iterable[Row]:
    return (Row(name=name, section=section, kind=Kind.LINES, loss=loss) for name in names)


def _date(name: str, section: str, key: str) -> Row:
    return Row(
        name=name,
        section=section,
        kind=Kind.VALUE,
        loss=Loss.MEANT,
        key=key,
        take=take_date,
        give=lambda text: give_date(name, text),
    )


_MEANT = Loss.MEANT
_ROWS: tuple[Row, ...] = (
    Row(name="UID", section="5545 3.8.4.7", kind=Kind.MADE, key="ical.uid"),
    Row(
        name="SUMMARY", section="5545 3.8.1.12", kind=Kind.VALUE, loss=_MEANT,
        key="description", take=_take_title, give=_give_title,
    ),
    Row(
        name="DESCRIPTION", section="5545 3.8.1.5", kind=Kind.VALUE, loss=_MEANT,
        key="notes", take=_take_text, give=_give_notes,
    ),
    _date("DUE", "5545 3.8.2.3", "due"),
    _date("DTSTART", "5545 3.8.2.4", "scheduled"),
    Row(
        name="RRULE", section="5545 3.8.5.3", kind=Kind.VALUE, loss=_MEANT,
        key="recur", take=_take_rule, give=_give_rule,
    ),
    Row(name="PRIORITY", section="5545 3.8.1.9", kind=Kind.STATE, loss=_MEANT, key="priority"),
    Row(name="STATUS", section="5545 3.8.1.11", kind=Kind.STATE, loss=_MEANT, key="status"),
    Row(name="COMPLETED", section="5545 3.8.2.1", kind=Kind.STATE, loss=_MEANT, key="end"),
    Row(
        name="PERCENT-COMPLETE", section="5545 3.8.1.8", kind=Kind.STATE, loss=_MEANT,
        key="progress",
    ),
    Row(name="CATEGORIES", section="5545 3.8.1.2", kind=Kind.SET, loss=_MEANT, key="tag_"),
    Row(name="RELATED-TO", section="5545 3.8.4.5, 9253 5", kind=Kind.SET, key="dep_"),
    Row(name="ATTENDEE", section="5545 3.8.4.1", kind=Kind.SET, key="assignee_"),
    Row(name="COMMENT", section="5545 3.8.1.4", kind=Kind.SET, key="annotation_"),
    Row(name="ATTACH", section="5545 3.8.1.1, 8607", kind=Kind.SET, key="attach_"),
    Row(name="DTSTAMP", section="5545 3.8.7.2", kind=Kind.MADE),
    Row(name="LAST-MODIFIED", section="5545 3.8.7.3", kind=Kind.MADE),
    *_line("5545 3.8.7.1", "CREATED"),
    *_line("5545 3.8.7.4", "SEQUENCE"),
    *_line("5545 3.8.2.5", "DURATION", loss=_MEANT),
    *_line("5545 3.8.1.3", "CLASS"),
    *_line("5545 3.8.1.6", "GEO"),
    *_line("5545 3.8.1.7", "LOCATION", loss=_MEANT),
    *_line("5545 3.8.4.6", "URL", loss=_MEANT),
    *_line("5545 3.8.4.3", "ORGANIZER"),
    *_line("5545 3.8.4.4", "RECURRENCE-ID"),
    *_lines("5545 3.8.5.1", "EXDATE", loss=_MEANT),
    *_lines("5545 3.8.5.2", "RDATE", loss=_MEANT),
    *_lines("5545 3.8.4.2", "CONTACT"),
    *_lines("5545 3.8.1.10", "RESOURCES"),
    *_lines("5545 3.8.8.3", "REQUEST-STATUS"),
    *_line("7986 5.9", "COLOR", loss=_MEANT),
    *_lines("7986 5.10", "IMAGE"),
    *_lines("7986 5.11", "CONFERENCE"),
    *_lines("9073 6.5", "STYLED-DESCRIPTION"),
    *_lines("9073 6.6", "STRUCTURED-DATA"),
    *_lines("9253 8.1", "CONCEPT"),
    *_lines("9253 8.2", "LINK"),
    *_lines("9253 8.3", "REFID"),
    *_line("draft ical-tasks 6", "ESTIMATED-DURATION", "SUBSTATE", "TASK-MODE"),
    *_lines("draft ical-tasks 6", "REASON"),
)  # fmt: skip

ROWS: Mapping[str, Row] = {row.name: row for row in _ROWS}
"""Property name -> row."""
VALUES: tuple[Row, ...] = tuple(row for row in _ROWS if row.kind is Kind.VALUE)
REPEATED = frozenset(row.name for row in _ROWS if row.kind is Kind.LINES)
_UNKNOWN = Row(name="", section="5545 3.8.8", kind=Kind.LINE)


def row(name: str) -> Row:
    """Return the row of a property; X- and unknown IANA names share one."""
    return ROWS.get(name, _UNKNOWN)
