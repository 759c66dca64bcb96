"""What a mail asks for: marks in the subject, a field block in the body (mail-trust section 5).

Pure. Marks count at the end of the subject only, fields in the first lines of the body
only; whatever is not understood stays text and is named in `Reading.unread`, so nothing a
person wrote is lost. Dates: ISO 8601, ``today``, ``tomorrow``, English weekday names (the
next such day); without a zone they are meant in the recipient's.

``Assign`` and ``Depends`` are read as text: by mail nobody is assigned but the recipient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bridge.wire import caldate
from bridge.wire.vtodo_sets import is_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

NO_SUBJECT: Final = "(no subject)"
FIELDS_MAX: Final = 40
"""Lines of a field block, and marks of a subject; what is beyond is text."""

_ANSWER: Final = re.compile(
    r"(?:(?:re|aw|fwd?|wg|antw|sv|vs|tr|rif|odp)(?:\[\d{1,3}\])?:|\[[^\[\]]{1,60}\])[ ]*",
    re.IGNORECASE,
)
_MARK: Final = re.compile(
    r"(?:(due):([^ ]{1,40})|!(high|normal|low)|#([^ #@!]{1,64})|@([^ #@!]{1,64}))\Z",
    re.IGNORECASE,
)
_FIELD: Final = re.compile(
    r"(due|start|wait|priority|tags?|project|status|assign|depends)[ \t]*:[ \t]*(.{0,500})\Z",
    re.IGNORECASE,
)
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?)(?: ?(Z|[+-]\d\d:\d\d))?\Z")
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PRIORITIES: Final = frozenset(("low", "normal", "high"))
_STATUSES: Final[Mapping[str, str]] = {
    "open": "needs_action",
    "needs_action": "needs_action",
    "started": "in_progress",
    "in_progress": "in_progress",
    "in progress": "in_progress",
    "blocked": "blocked",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was understood.

    Attributes:
        title: the subject without its marks; never empty.
        notes: the text without its field block.
        keys: task keys beside title and notes: due, start, wait, priority, status, tags.
        project: the name of a project, empty where none is named.
        unread: fields and marks that look meant but were not understood.
    """

    title: str
    notes: str
    keys: Mapping[str, str] = field(default_factory=dict)
    project: str = ""
    unread: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    """What was collected so far; the subject is read first and wins."""

    today: date
    zone: str
    keys: dict[str, str] = field(default_factory=dict)
    project: str = ""
    unread: list[str] = field(default_factory=list)

    def put(self, key: str, value: str | None) -> bool:
        if value is None:
            return False
        self.keys.setdefault(key, value)
        return True


def read_request(subject: str, text: str, *, is_answer: bool, today: date, zone: str) -> Reading:
    """Return what a mail asks for.

    Args:
        subject: cleaned, one line.
        text: cleaned body without quotes.
        is_answer: the mail refers to another; then ``Re:`` and list tags are cut.
        today: of the recipient, when the mail came.
        zone: IANA name of the recipient's time zone.
    """
    found = _Found(today=today, zone=zone)
    title = _read_marks(_without_prefixes(subject) if is_answer else subject, found)
    notes = _read_fields(text, found)
    if not title:
        title = next((line.strip()[:500] for line in notes.split("\n") if line.strip()), NO_SUBJECT)
    return Reading(
        title=title,
        notes=notes,
        keys=found.keys,
        project=found.project,
        unread=tuple(found.unread[:FIELDS_MAX]),
    )


def read_date(text: str, today: date, zone: str) -> str | None:
    """Return a date or time as a task key holds it (tx-protocol section 8); None if it is none."""
    word = text.strip()
    lowered = word.lower()
    if lowered == "today":
        return today.isoformat()
    if lowered == "tomorrow":
        return (today + timedelta(days=1)).isoformat()
    if lowered in _DAYS:
        ahead = (_DAYS.index(lowered) - today.weekday() - 1) % 7 + 1
        return (today + timedelta(days=ahead)).isoformat()
    moment = _MOMENT.match(word)
    if moment is None:
        plain = caldate.canonical(word)
        return plain if plain is not None and "T" not in plain else None
    day, clock, offset = moment.groups()
    return caldate.canonical(f"{day}T{clock}{offset or f'[{zone}]'}")


def _without_prefixes(subject: str) -> str:
    while found := _ANSWER.match(subject):
        subject = subject[found.end() :]
    return subject


def _read_marks(subject: str, found: _Found) -> str:
    """Take the marks off the end of `subject`; one that is not understood ends the search."""
    rest = subject.rstrip()
    for _ in range(FIELDS_MAX):
        before, _blank, word = rest.rpartition(" ")
        mark = _MARK.match(word)
        if mark is None:
            break
        due, date_text, priority, tag, project = mark.groups()
        if due:
            understood = found.put("due", read_date(date_text, found.today, found.zone))
        elif priority:
            understood = found.put("priority", priority.lower())
        elif tag:
            understood = _put_tag(tag, found)
        else:
            found.project = found.project or project
            understood = True
        if not understood:
            found.unread.append(word)
            break
        rest = before.rstrip()
    return rest


def _read_fields(text: str, found: _Found) -> str:
    """Read the field block; return the text without the lines that were understood."""
    lines = text.split("\n")
    kept: list[str] = []
    at = 0
    while at < len(lines) and not lines[at].strip():
        at += 1
    while at < len(lines) and at < FIELDS_MAX:
        line = _FIELD.match(lines[at].strip())
        if line is None:
            break
        name, value = line[1].lower(), line[2].strip()
        if not _READERS[name](name, value, found):
            found.unread.append(lines[at].strip())
            kept.append(lines[at])
        at += 1
    return "\n".join([*kept, *lines[at:]]).strip("\n")


def _read_moment(name: str, value: str, found: _Found) -> bool:
    return found.put(name, read_date(value, found.today, found.zone))


def _read_priority(_name: str, value: str, found: _Found) -> bool:
    word = value.lower()
    return found.put("priority", word if word in _PRIORITIES else None)


def _read_status(_name: str, value: str, found: _Found) -> bool:
    return found.put("status", _STATUSES.get(value.lower()))


def _read_tags(_name: str, value: str, found: _Found) -> bool:
    names = [name.lstrip("#") for name in re.split(r"[,\s]+", value) if name]
    # The understood ones count even where another is no tag.
    bad = [name for name in names if not _put_tag(name, found)]
    return bool(names) and not bad


def _read_project(_name: str, value: str, found: _Found) -> bool:
    found.project = found.project or value
    return bool(value)


def _unreadable(_name: str, _value: str, _found: _Found) -> bool:
    return False


def _put_tag(tag: str, found: _Found) -> bool:
    return is_tag(tag) and found.put(f"tag_{tag}", "")


_READERS: Final[Mapping[str, Callable[[str, str, _Found], bool]]] = {
    "due": _read_moment,
    "start": _read_moment,
    "wait": _read_moment,
    "priority": _read_priority,
    "status": _read_status,
    "tag": _read_tags,
    "tags": _read_tags,
    "project": _read_project,
    "assign": _unreadable,
    "depends": _unreadable,
}
