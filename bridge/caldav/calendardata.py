"""CALDAV:calendar-data with conditions: parts of a task, its instances (RFC 4791 section 9.6).

Promises: `comp` and `prop` leave only what was named (VERSION and PRODID stay, without them
it is no iCalendar); `expand` writes each instance of a recurring task in a time range as a
VTODO of its own with a RECURRENCE-ID, in UTC; `limit-recurrence-set` leaves overrides out
that lie elsewhere. A rule whose instances cannot be told in bounded time, or that has more
than `INSTANCES_MAX` of them in the range, is served as it is stored: rather shown than
lost. Times without a zone stay so. `limit-freebusy-set` is about free-busy; tasks have none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bridge.caldav.multistatus import caldav
from bridge.errors import Invalid
from bridge.wire import caldate, contentline, vtodo
from bridge.wire.vtodo_facts import occurrences
from bridge.wire.vtodo_read import zones

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from xml.etree.ElementTree import Element

    from bridge.wire.contentline import Component

INSTANCES_MAX: Final = 1000
_NODES_MAX: Final = 500
_MOMENT = re.compile(r"\d{8}T\d{6}Z\Z", re.ASCII)
_ALWAYS: Final = {"VCALENDAR": frozenset({"VERSION", "PRODID"})}
_RULES: Final = frozenset({"RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"})
_TIMES: Final = frozenset({"DTSTART", "DUE", "RECURRENCE-ID"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Comp:
    """A `comp`: property names to whether their value is wanted; None stands for all."""

    name: str
    props: Mapping[str, bool] | None = None
    comps: Mapping[str, Comp] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time range in UTC seconds, its end not included."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of each text; at most one of `expand` and `limit`."""

    comp: Comp | None = None
    expand: Span | None = None
    limit: Span | None = None


# -- reading -----------------------------------------------------------------------------


def parse(element: Element) -> Wanted | None:
    """Return what a CALDAV:calendar-data element asks; None for the whole text as it is.

    Raises:
        Invalid: ``calendar-data-type`` for another format, ``bad-xml``.
    """
    kind = element.get("content-type", "text/calendar").strip().lower()
    if kind != "text/calendar" or element.get("version", "2.0").strip() != "2.0":
        raise Invalid("calendar-data-type", "tasks are served as text/calendar 2.0 only")
    if not len(element):
        return None
    if sum(1 for _ in element.iter()) > _NODES_MAX:
        raise Invalid("bad-xml", f"calendar-data may have at most {_NODES_MAX} elements")
    comp = element.find(caldav("comp"))
    expand = _span(element.find(caldav("expand")))
    limit = _span(element.find(caldav("limit-recurrence-set")))
    if expand and limit:
        raise Invalid("bad-xml", "expand and limit-recurrence-set exclude each other")
    wanted = Wanted(comp=_comp(comp) if comp is not None else None, expand=expand, limit=limit)
    return None if wanted == Wanted() else wanted


def _comp(element: Element) -> Comp:
    named = element.findall(caldav("prop"))
    inner = element.findall(caldav("comp"))
    # An empty comp is the whole component (RFC 4791 section 7.8.1 asks for VTIMEZONE so).
    whole = not len(element)
    props = {_name(each): each.get("novalue", "no").lower() != "yes" for each in named}
    comps = {_name(each): _comp(each) for each in inner}
    return Comp(
        name=_name(element),
        props=None if whole or element.find(caldav("allprop")) is not None else props,
        comps=None if whole or element.find(caldav("allcomp")) is not None else comps,
    )


def _name(element: Element) -> str:
    name = element.get("name", "").strip().upper()
    if not name:
        raise Invalid("bad-xml", "calendar-data names its parts")
    return name


def _span(element: Element | None) -> Span | None:
    if element is None:
        return None
    start, end = _moment(element.get("start", "")), _moment(element.get("end", ""))
    if start is None or end is None or start >= end:
        raise Invalid("bad-xml", "expansion has a start and a later end, in UTC")
    return Span(start=start, end=end)


def _moment(text: str) -> int | None:
    return caldate.epoch(caldate.from_ical(text) or "") if _MOMENT.match(text) else None


# -- writing -----------------------------------------------------------------------------


def render(wanted: Wanted, text: str) -> str:
    """Return what `wanted` leaves of a task's text, with CRLF, folded."""
    try:
        tree = contentline.parse(text)
        keys = vtodo.read(text).keys
    except Invalid:
        return text  # damage in the store: better shown than lost
    lines: list[str] = []
    for top in tree.top:
        shaped = top
        if wanted.expand and top.name == "VCALENDAR":
            shaped = _expanded(top, keys, wanted.expand)
        elif wanted.limit and top.name == "VCALENDAR":
            shaped = _limited(top, keys, wanted.limit)
        asked = wanted.comp
        if asked is None or asked.name == top.name:
            lines.extend(_written(shaped, asked))
    return contentline.fold(lines)


def _written(component: Component, asked: Comp | None) -> Iterator[str]:
    yield f"BEGIN:{component.name}"
    props = asked.props if asked else None
    always = _ALWAYS.get(component.name, frozenset())
    for name, raw in zip(component.names, component.lines, strict=True):
        if props is None or name in always or props.get(name):
            yield raw
        elif name in props:
            yield _without_value(raw)
    for child in component.children:
        if asked is None or asked.comps is None:
            yield from _written(child, None)
        elif child.name in asked.comps:
            yield from _written(child, asked.comps[child.name])
    yield f"END:{component.name}"


def _without_value(raw: str) -> str:
    line = contentline.split(raw)
    return contentline.join(line.name, line.params, "") if line else raw


# -- recurrence --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Clock:
    """Turns times into UTC by the zones that the task brings."""

    known: Mapping[str, str]

    def text(self, component: Component, name: str) -> str:
        """Return the time of a property as a key's text, or ""."""
        for each, raw in zip(component.names, component.lines, strict=True):
            line = contentline.split(raw) if each == name else None
            if line:
                return caldate.from_ical(line.value, line.param("TZID")) or ""
        return ""

    def second(self, text: str) -> int | None:
        return caldate.epoch(text, self.known) if text else None

    def utc(self, raw: str) -> str:
        """Return a line with a zone as one in UTC; of a zone nobody knows as it is."""
        line = contentline.split(raw)
        zone = line.param("TZID") if line else ""
        if line is None or not zone or caldate.timezone(zone, self.known.get(zone, "")) is None:
            return raw
        second = self.second(caldate.from_ical(line.value, zone) or "")
        return raw if second is None else _line(line.name, second, "Z")


def _line(name: str, second: int, like: str) -> str:
    """Return a time as a line: a date, floating, or in UTC, as the text `like` is."""
    text = caldate.from_epoch(second)
    if like and caldate.is_date(like):
        text = text[: len("2026-12-01")]
    elif not like.endswith(("Z", "]")):
        text = text.removesuffix("Z")
    params, value = caldate.to_ical(text) or ("", "")
    return f"{name}{params}:{value}"


def _expanded(top: Component, keys: Mapping[str, str], span: Span) -> Component:
    clock = _Clock(zones(keys))
    todos = [child for child in top.children if child.name == "VTODO"]
    children: list[Component] = []
    for todo in todos:
        if "RECURRENCE-ID" in todo.names:
            if _touches(todo, clock, span):
                children.append(_in_utc(todo, clock))
        elif not {"RRULE", "RDATE"} & set(todo.names):
            children.append(_in_utc(todo, clock))
        else:
            found = occurrences(keys, span.start, span.end, INSTANCES_MAX)
            if found is None:
                return top
            children += [_instance(todo, clock, moment) for moment in found]
    # What is left without its zone in UTC (one that nobody knows) still needs it.
    needed = any(";TZID=" in raw.upper() for child in children for raw in child.lines)
    kept = [c for c in top.children if c.name != "VTODO" and (needed or c.name != "VTIMEZONE")]
    return replace(top, children=kept + children)


def _touches(todo: Component, clock: _Clock, span: Span) -> bool:
    """Tell whether an override concerns the range, by its own times or by the replaced one's."""
    times = [clock.second(clock.text(todo, name)) for name in sorted(_TIMES)]
    told = [time for time in times if time is not None]
    return not told or any(span.start <= time <= span.end for time in told)


def _in_utc(todo: Component, clock: _Clock) -> Component:
    pairs = zip(todo.names, todo.lines, strict=True)
    lines = [clock.utc(raw) if name in _TIMES else raw for name, raw in pairs]
    return replace(todo, lines=lines)


def _instance(todo: Component, clock: _Clock, moment: str) -> Component:
    """Return one instance: its times moved as far as its anchor lies from the first one."""
    start, due = clock.text(todo, "DTSTART"), clock.text(todo, "DUE")
    anchor = start or due
    here = clock.second(moment) or 0
    shift = here - (clock.second(anchor) or 0)
    names, lines = [], []
    for name, raw in zip(todo.names, todo.lines, strict=True):
        if name in _RULES:
            continue
        names.append(name)
        own = start if name == "DTSTART" else due
        at = clock.second(own)
        if name not in _TIMES or at is None:
            lines.append(raw)
        else:
            lines.append(_line(name, at + shift, own))
    names.append("RECURRENCE-ID")
    lines.append(_line("RECURRENCE-ID", here, anchor))
    return replace(todo, names=names, lines=lines)


def _limited(top: Component, keys: Mapping[str, str], span: Span) -> Component:
    clock = _Clock(zones(keys))
    kept = [
        child
        for child in top.children
        if child.name != "VTODO"
        or "RECURRENCE-ID" not in child.names
        or _touches(child, clock, span)
    ]
    return replace(top, children=kept)
