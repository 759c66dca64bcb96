"""Task keys -> the text of a calendar object resource.

Promises: the same keys and times give the same bytes, whatever the order of the map and
whichever library versions are installed, so that a strong ETag survives restarts and
upgrades; one VCALENDAR comes out whatever the keys hold, because keys also come from other
domains: a raw line or component that is not exactly one sound line or component of its name
is left out, and so is what XML cannot carry. `bridge.wire.vtodo_read.read` of the text gives
the keys back. Time zones are written only as clients sent them (RFC 7809 section 3.1.3
lets a server leave standard ones out).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.errors import Invalid
from bridge.wire import contentline, vtodo_fields
from bridge.wire.vtodo_read import due_of
from bridge.wire.vtodo_sets import (
    PREFIXES,
    SETS,
    entry_second,
    give_comments,
    give_lines,
)
from bridge.wire.vtodo_state import priority_line, state_lines
from bridge.wire.vtodo_table import PRODID, VALUES, escape, give_date, unescape, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.ids import TaskId

_STATE = frozenset({"STATUS", "COMPLETED", "PERCENT-COMPLETE", "PRIORITY"})
# Bare ``ical.<NAME>`` keys that are written with their native key, or by name.
_BESIDE = _STATE | {row.name for row in VALUES} | {"UID", "PRODID", "VCALENDAR", "DURATION"}
_PLAIN_KEYS = frozenset({"status", "end", "progress", "priority", "priority.raw"}) | {
    row.key for row in VALUES
}
_NEVER = "19700101T000000Z"
_CACHED = 32 * 1024


@dataclass(slots=True)
class _Parts:
    """A task's keys sorted by where they are written."""

    zones: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    native: dict[str, dict[str, str]] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)
    annotations: dict[int, str] = field(default_factory=dict)
    comments: dict[int, str] = field(default_factory=dict)


def render(
    keys: Mapping[str, str],
    *,
    task: TaskId,
    created: str,
    modified: str,
    overrides: bool = True,
) -> str:
    """Return the VCALENDAR of a task, folded, with CRLF.

    Args:
        keys: the task; ``parent`` and ``dep_`` name UIDs (see `rename`).
        task: its id, the UID of a native task (one without ``ical.uid``).
        created: UTC time of its first entry; written for native tasks only, because
            clients that sent no CREATED get none (caldav-clients section 1).
        modified: UTC time of its last entry: DTSTAMP and LAST-MODIFIED.
        overrides: False leaves ``ical.override.*`` out, for one VTODO in the resource.
    """
    parts = _sort(keys)
    lines = ["BEGIN:VCALENDAR", *_calendar_lines(keys), *parts.zones, "BEGIN:VTODO"]
    moment = give_date("", modified)
    stamp = moment[1:] if moment and moment.endswith("Z") else _NEVER
    lines += (_uid_line(keys, task), "DTSTAMP:" + stamp)
    if "ical.uid" not in keys and (line := give_date("CREATED", created)):
        lines.append(line)
    lines.append("LAST-MODIFIED:" + stamp)
    lines += _value_lines(keys, parts)
    lines += state_lines(_sound_state(keys), modified).values()
    if line := priority_line(_sound_state(keys)):
        lines.append(line)
    for name in SETS:
        if name in parts.native or name in parts.kept:
            found, homeless = give_lines(name, parts.native.get(name, {}), parts.kept.get(name, []))
            lines += found
            parts.fields.update((key, keys[key]) for key in homeless)
    if parts.annotations:
        lines += give_comments(parts.annotations, parts.comments)
    if parts.fields:
        # Before the kept lines: the first of several lines of one field is the one that counts.
        lines += vtodo_fields.fields(parts.fields)
    lines += parts.lines
    lines += parts.children
    lines.append("END:VTODO")
    if overrides:
        lines += parts.overrides
    lines.append("END:VCALENDAR")
    return contentline.clean(contentline.fold(lines))[0]


def rename(keys: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Return `keys` with the tasks in ``parent`` and ``dep_`` called by other names.

    The log calls tasks by id, clients by UID: rename UIDs to ids after `read`, ids to UIDs
    before `render`. Names not in `names` stay as they are: targets may be unknown.
    """
    renamed: dict[str, str] = {}
    for key, value in keys.items():
        if key == "parent":
            renamed[key] = names.get(value, value)
        elif key.startswith("dep_"):
            renamed["dep_" + names.get(key[4:], key[4:])] = value
        else:
            renamed[key] = value
    return renamed


def references(keys: Mapping[str, str]) -> set[str]:
    """Return the names of other tasks in ``parent`` and ``dep_``."""
    found = {key[4:] for key in keys if key.startswith("dep_")}
    return found | {keys["parent"]} if "parent" in keys else found


def sound(raw: str, name: str) -> bool:
    """Tell whether `raw` is exactly one content line called `name`."""
    if "\n" in raw or "\r" in raw or name in {"BEGIN", "END"}:
        return False
    return contentline.name_of(raw) == name


def component_lines(text: str, name: str) -> tuple[str, ...]:
    """Return the lines of `text` where it is exactly one sound component `name`, else none."""
    return _known_lines(text, name) if len(text) < _CACHED else _lines_of(text, name)


def _lines_of(text: str, name: str) -> tuple[str, ...]:
    try:
        tree = contentline.parse(text)
    except Invalid:
        return ()
    return tuple(tree.lines) if [c.name for c in tree.top] == [name] else ()


_known_lines = functools.lru_cache(maxsize=512)(_lines_of)


def _sort(keys: Mapping[str, str]) -> _Parts:
    parts = _Parts()
    for key in sorted(keys):
        if key.startswith("ical."):
            _sort_kept(parts, key, keys[key])
        elif key not in _PLAIN_KEYS:
            _sort_native(parts, key, keys[key])
    return parts


def _sort_native(parts: _Parts, key: str, value: str) -> None:
    prefix, mark, rest = key.partition("_")
    name = PREFIXES.get(prefix) if mark and rest else "RELATED-TO" if key == "parent" else None
    if name is not None:
        # The value of a tag or dependency says nothing: TaskChampion writes "x".
        value = "" if prefix in {"tag", "dep"} else value
        parts.native.setdefault(name, {})[key] = value
    elif prefix == "annotation" and (second := entry_second(key)) is not None:
        parts.annotations[second] = value
    else:
        parts.fields[key] = value


def _sort_kept(parts: _Parts, key: str, value: str) -> None:
    name, mark, rest = key[5:].partition(".")
    if value.startswith("BEGIN:"):
        _sort_component(parts, name, value)
    elif (name in _BESIDE and not mark) or not sound(value, name):
        return
    elif name in SETS and not rest.startswith("other."):
        parts.kept.setdefault(name, []).append(value)
    elif name == "COMMENT":
        second = entry_second("annotation_" + rest)
        if second is not None:
            parts.comments[second] = value
    else:
        parts.lines.append(value)


def _sort_component(parts: _Parts, name: str, text: str) -> None:
    if name == "override":
        parts.overrides += component_lines(text, "VTODO")
    elif name == "VTIMEZONE":
        parts.zones += component_lines(text, name)
    elif name not in {"VTODO", "VCALENDAR", "VEVENT", "VJOURNAL"}:
        parts.children += component_lines(text, name)


def _calendar_lines(keys: Mapping[str, str]) -> list[str]:
    raw = keys.get("ical.PRODID")
    prodid = raw if raw is not None and sound(raw, "PRODID") else PRODID
    text = keys.get("ical.VCALENDAR")
    if text is None:
        return ["VERSION:2.0", prodid]
    kept = [
        line
        for line in text.split("\n")
        if (name := contentline.name_of(line)) not in {"", "METHOD", "PRODID"} and sound(line, name)
    ]
    return [*kept, prodid]


def _uid_line(keys: Mapping[str, str], task: TaskId) -> str:
    uid = keys.get("ical.uid", task)
    raw = keys.get("ical.UID")
    if raw is not None and sound(raw, "UID") and unescape(value_of(raw)) == uid:
        return raw
    return "UID:" + escape(uid)


def _value_lines(keys: Mapping[str, str], parts: _Parts) -> list[str]:
    lines: list[str] = []
    for row in VALUES:
        value, raw = keys.get(row.key), keys.get("ical." + row.name)
        if raw is not None and sound(raw, row.name) and row.take(raw) == value:
            lines.append(raw)
        elif value is not None and not (row.name == "DUE" and _by_duration(keys)):
            if line := row.give(value):
                lines.append(line)
            else:
                parts.fields[row.key] = value
    raw = keys.get("ical.DURATION")
    if raw is not None and sound(raw, "DURATION") and (_by_duration(keys) or _has_due(keys)):
        lines.append(raw)
    return lines


def _by_duration(keys: Mapping[str, str]) -> bool:
    """Tell whether DTSTART and DURATION say the due time (or that there is none to say)."""
    return "ical.DURATION" in keys and "ical.DUE" not in keys and due_of(keys) == keys.get("due")


def _has_due(keys: Mapping[str, str]) -> bool:
    """Tell whether the client sent DUE beside DURATION and the DUE line still holds."""
    raw = keys.get("ical.DUE")
    row = next(row for row in VALUES if row.name == "DUE")
    return raw is not None and row.take(raw) == keys.get("due")


def _sound_state(keys: Mapping[str, str]) -> Mapping[str, str]:
    """Return `keys` without state lines that are not sound."""
    bad = [
        key
        for name in _STATE
        if (raw := keys.get(key := "ical." + name)) is not None
        and not sound(raw, name)
        and raw != "absent"
    ]
    return {key: value for key, value in keys.items() if key not in bad} if bad else keys
