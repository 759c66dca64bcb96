"""A calendar object resource that a client sent -> task keys.

Promises: nothing in the VTODO is lost: what has no native key is kept line by line or
component by component under ``ical.*``; only DTSTAMP and LAST-MODIFIED are not, because the
log's times replace them (and a key that every PUT changes would make every merge a
conflict). Refuses what RFC 4791 section 4.1 forbids in a VTODO-only collection. No calendar
library runs here: one pass over the lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.errors import Invalid
from bridge.wire import caldate, contentline, vtodo_fields
from bridge.wire.vtodo_sets import SETS, take_comments, take_lines
from bridge.wire.vtodo_state import take_state
from bridge.wire.vtodo_table import (
    PRODID,
    REPEATED,
    UID_MAX,
    VALUES,
    digest,
    escape,
    take_date,
    unescape,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.ids import TaskId
    from bridge.wire.contentline import Component, Tree

BAD_OBJECT = "valid-calendar-object-resource"
BAD_COMPONENT = "supported-calendar-component"
LARGE = 64 * 1024
"""Octets above which a key's value belongs into a blob."""
_NAME_MAX = 200
_TAKEN = frozenset(
    {"UID", "DTSTAMP", "LAST-MODIFIED", "STATUS", "COMPLETED", "PERCENT-COMPLETE", "PRIORITY"}
    | {"X-TX-STATUS", "X-TX-END", "X-TX-ENTRIES"}
    | {row.name for row in VALUES}
)
_REPLACED = frozenset(
    {"UID", "DTSTAMP", "LAST-MODIFIED", "X-TX-STATUS", "X-TX-END", "X-TX-ENTRIES"}
)
# The last two name keys of the VCALENDAR: a line of a VTODO may not take their place.
_EACH = REPEATED | {"PRODID", "VCALENDAR"}
_GROUPED = frozenset(SETS) | {"COMMENT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What one PUT body says.

    Attributes:
        uid: the UID as text.
        keys: the complete key map of the task; ``parent`` and ``dep_`` name UIDs here
            (see `bridge.wire.vtodo_render.rename`).
        overrides: recurrence id -> VTODO text, as in ``ical.override.<recurrence id>``.
        text: the body as sent, cleaned.
        cleaned: True where cleaning changed it: no ETag may be answered.
        large: keys whose value exceeds 64 KiB; the worker moves them into blobs.
        modified: LAST-MODIFIED, else DTSTAMP, as typed date text, or "".
    """

    uid: str
    keys: dict[str, str]
    overrides: dict[str, str]
    text: str
    cleaned: bool
    large: tuple[str, ...]
    modified: str


def read(
    text: str, *, task: TaskId | None = None, max_octets: int = contentline.MAX_OCTETS
) -> Upload:
    """Return what a PUT body says (RFC 4791 section 4.1, caldav-clients section 1).

    Args:
        text: the body, decoded by `contentline.decode`.
        task: the task this resource is, if it exists. With its id as UID it is a native
            task, and the UID and CREATED lines are the gateway's own.
        max_octets: size limit of the collection.

    Raises:
        Invalid: ``valid-calendar-data``, ``max-resource-size``,
            ``valid-calendar-object-resource``, ``supported-calendar-component``.
    """
    text, cleaned = contentline.clean(text)
    tree = contentline.parse(text, max_octets)
    calendar = _calendar(tree)
    master, others = _todos(tree, calendar)
    keys: dict[str, str] = {}
    uid = _uid_of(tree, master, others)
    native = task is not None and uid == task
    _take_calendar(tree, calendar, keys)
    for child in (*master.children, *(c for c in calendar.children if c.name == "VALARM")):
        _put(keys, f"ical.{child.name}.{_component_id(tree, child)}", tree.text(child))
    lines = _take_lines(master, keys)
    if native:
        keys.pop("ical.CREATED", None)
    else:
        keys["ical.uid"] = uid
        if lines["UID"] != "UID:" + escape(uid):
            keys["ical.UID"] = lines["UID"]
    overrides: dict[str, str] = {}
    for other in others:
        _put(overrides, _recurrence_id(other), tree.text(other))
    keys.update({f"ical.override.{key}": value for key, value in overrides.items()})
    return Upload(
        uid=uid,
        keys=keys,
        overrides=overrides,
        text=text,
        cleaned=cleaned,
        large=_large(keys) if len(text) * 4 > LARGE else (),
        modified=_moment(lines),
    )


def _calendar(tree: Tree) -> Component:
    if len(tree.top) != 1 or tree.top[0].name != "VCALENDAR":
        raise Invalid(BAD_OBJECT, "the body is not exactly one VCALENDAR")
    calendar = tree.top[0]
    if "METHOD" in calendar.names:
        raise Invalid(BAD_OBJECT, "a calendar object resource has no METHOD")
    return calendar


def _todos(tree: Tree, calendar: Component) -> tuple[Component, list[Component]]:
    """Return the VTODO that stands for the task, and its overrides."""
    todos: list[Component] = []
    for child in calendar.children:
        if child.name == "VTODO":
            todos.append(child)
        # A VALARM beside its VTODO comes from clients too (nextcloud/tasks#2757).
        elif child.name not in {"VTIMEZONE", "VALARM"}:
            raise Invalid(BAD_COMPONENT, f"{child.name[:40]} does not belong into a task list")
    if not todos:
        raise Invalid(BAD_COMPONENT, "the body holds no VTODO")
    if len(todos) == 1:
        return todos[0], []
    masters = [todo for todo in todos if not _first(todo, "RECURRENCE-ID")]
    if len(masters) > 1:
        line = tree.lines[masters[1].start]
        raise Invalid(BAD_OBJECT, "the body holds two tasks", line=line)
    master = masters[0] if masters else todos[0]
    return master, [todo for todo in todos if todo is not master]


def _first(component: Component, name: str) -> str:
    return component.lines[component.names.index(name)] if name in component.names else ""


def _uid_of(tree: Tree, master: Component, others: list[Component]) -> str:
    uids = set()
    for todo in (master, *others):
        raws = {r for name, r in zip(todo.names, todo.lines, strict=True) if name == "UID"}
        if len(raws) != 1:
            what = "has no UID" if not raws else "has two UIDs"
            raise Invalid(BAD_OBJECT, f"the VTODO {what}", line=tree.lines[todo.start])
        uids.add(unescape(value_of(raws.pop())))
    uid = uids.pop()
    if uids:
        raise Invalid(BAD_OBJECT, "the VTODOs have different UIDs")
    if not uid.strip() or len(uid) > UID_MAX:
        raise Invalid(BAD_OBJECT, f"the UID is empty or longer than {UID_MAX} characters")
    return uid


def _take_calendar(tree: Tree, calendar: Component, keys: dict[str, str]) -> None:
    """Put PRODID, the other lines of VCALENDAR and its time zones into `keys`."""
    rest: list[str] = []
    for name, raw in zip(calendar.names, calendar.lines, strict=True):
        if name != "PRODID":
            rest.append(raw)
        elif raw != PRODID:
            _put(keys, "ical.PRODID", raw)
    if rest != ["VERSION:2.0"]:
        keys["ical.VCALENDAR"] = "\n".join(rest)
    for child in calendar.children:
        if child.name == "VTIMEZONE":
            raw = _first(child, "TZID")
            _put(keys, f"ical.VTIMEZONE.{_short(value_of(raw))}", tree.text(child))


def _take_lines(todo: Component, keys: dict[str, str]) -> dict[str, str]:
    """Put the lines of the VTODO into `keys`; return property name -> its first line."""
    first: dict[str, str] = {}
    grouped: dict[str, list[str]] = {}
    fields: list[tuple[str, str]] = []
    for name, raw in zip(todo.names, todo.lines, strict=True):
        if name in _GROUPED:
            grouped.setdefault(name, []).append(raw)
        elif name in vtodo_fields.NAMES:
            fields.append((name, raw))
        else:
            _keep(name, raw, first, keys)
    vtodo_fields.take_fields(fields, first, keys)
    take_state(first, keys)
    _take_values(first, keys)
    for name, lines in grouped.items():
        if name == "COMMENT":
            moment = caldate.epoch(_moment(first)) or 0
            take_comments(lines, value_of(first.get("X-TX-ENTRIES", "")), moment, keys)
        else:
            take_lines(name, lines, keys)
    return first


def _keep(name: str, raw: str, first: dict[str, str], keys: dict[str, str]) -> None:
    """Keep a line that is no element of a set; natives are read later from `first`."""
    if name in _EACH:
        keys[f"ical.{name}.{digest(raw)}"] = raw
    elif name not in first:
        first[name] = raw
        if name not in _TAKEN:
            keys["ical." + name] = raw
    elif raw != first[name] and name not in _REPLACED:
        keys[f"ical.{name}.{digest(raw)}"] = raw


def _take_values(first: Mapping[str, str], keys: dict[str, str]) -> None:
    """Put the keys of single-valued properties into `keys`, due from DURATION included."""
    for row in VALUES:
        raw = first.get(row.name)
        if raw is None:
            continue
        value = row.take(raw)
        if value is None:
            keys["ical." + row.name] = raw
            continue
        keys[row.key] = value
        if row.give(value) != raw:
            keys["ical." + row.name] = raw
    if "DURATION" in first:
        if "DUE" in first:
            # Illegal together; the kept DUE line says that both go out again.
            keys["ical.DUE"] = first["DUE"]
        elif due := due_of(keys):
            keys["due"] = due


def due_of(keys: Mapping[str, str]) -> str | None:
    """Return DTSTART plus DURATION as date text, or None."""
    start, raw = keys.get("scheduled"), keys.get("ical.DURATION")
    length = caldate.duration(value_of(raw)) if raw is not None else None
    return caldate.add(start, length, zones(keys)) if start and length else None


def zones(keys: Mapping[str, str]) -> dict[str, str]:
    """Return TZID -> VTIMEZONE text of a task."""
    mark = "ical.VTIMEZONE."
    return {key[len(mark) :]: text for key, text in keys.items() if key.startswith(mark)}


def _moment(first: Mapping[str, str]) -> str:
    """Return when the client wrote its text, as date text, or ""."""
    for name in ("LAST-MODIFIED", "DTSTAMP", "CREATED"):
        if name in first and (text := take_date(first[name])):
            return text
    return ""


def _component_id(tree: Tree, component: Component) -> str:
    """Return what names a component among its like, whatever a client adds to it.

    Evolution adds X- lines to alarms that have no UID: their name is what rings and when.
    """
    for name in ("UID", "X-WR-ALARMUID"):
        if raw := _first(component, name):
            return _short(value_of(raw))
    if component.name == "VALARM":
        what = [_first(component, name).upper() for name in ("ACTION", "TRIGGER")]
        return digest("\n".join(what))
    return digest(tree.text(component))


def _recurrence_id(todo: Component) -> str:
    raw = _first(todo, "RECURRENCE-ID")
    return take_date(raw) or digest(raw)


def _short(name: str) -> str:
    return name if 0 < len(name) <= _NAME_MAX and name.isprintable() else digest(name)


def _put(keys: dict[str, str], key: str, text: str) -> None:
    """Keep `text` under `key`; a second one gets its hash behind the key."""
    if keys.setdefault(key, text) != text:
        keys[f"{key}.{digest(text)}"] = text


def _large(keys: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        key
        for key, value in keys.items()
        if len(value) * 4 > LARGE and len(value.encode("utf-8", "replace")) > LARGE
    )
