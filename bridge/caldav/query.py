"""Filters of a calendar-query: what the index can narrow, and the exact test (RFC 4791 9.7).

Read once into values. `plan` says what the index answers; `tester` is the exact test of each
text of which the index is not sure. Exact for
everything section 9.7 names, on VTODO and what is inside it (VALARM too): comp-filter,
prop-filter, param-filter, is-not-defined, text-match with its three collations, time-range.
Where a recurrence could keep a search running the task matches, because a task left out of
a listing is deleted by the client. Names are compared without case (Nextcloud sends lower
case).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bridge.caldav.multistatus import caldav
from bridge.errors import Invalid
from bridge.store.index_contract import Window
from bridge.store.index_shown import STATES
from bridge.wire import caldate, contentline, vtodo
from bridge.wire.ownlines import own_lines
from bridge.wire.vtodo_read import zones
from bridge.wire.vtodo_table import unescape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from xml.etree.ElementTree import Element

    from bridge.wire.contentline import Component, Line

_MOMENT = re.compile(r"\d{8}T\d{6}Z\Z", re.ASCII)
_COLLATIONS: Final = frozenset({"i;ascii-casemap", "i;octet", "i;unicode-casemap"})
_ASCII_LOWER: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_NODES_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A time-range: UTC seconds, None where it is open."""

    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMatch:
    """A text-match: substring under a collation (RFC 4791 section 9.7.5)."""

    text: str
    collation: str
    negate: bool

    def holds(self, value: str) -> bool:
        """Tell whether `value` passes."""
        if self.collation == "i;octet":
            found = self.text in value
        elif self.collation == "i;ascii-casemap":
            found = self.text.translate(_ASCII_LOWER) in value.translate(_ASCII_LOWER)
        else:
            found = self.text.casefold() in value.casefold()
        return found is not self.negate


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamFilter:
    """A param-filter; `absent` is is-not-defined."""

    name: str
    absent: bool = False
    match: TextMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PropFilter:
    """A prop-filter; without conditions the property has to be there."""

    name: str
    absent: bool = False
    match: TextMatch | None = None
    range: Range | None = None
    params: tuple[ParamFilter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompFilter:
    """A comp-filter; without conditions the component has to be there."""

    name: str
    absent: bool = False
    range: Range | None = None
    props: tuple[PropFilter, ...] = ()
    comps: tuple[CompFilter, ...] = ()

    @property
    def bare(self) -> bool:
        """True where existence is all that is asked."""
        return not (self.absent or self.range or self.props or self.comps)


# -- reading -----------------------------------------------------------------------------


def parse(filters: Iterable[Element]) -> CompFilter:
    """Return the filter of a calendar-query; none matches everything.

    Raises:
        Invalid: ``valid-filter``, ``supported-collation``.
    """
    found = list(filters)
    if not found or not len(found[0]):
        return CompFilter(name="VCALENDAR")
    top = found[0]
    if len(found) > 1 or len(top) != 1 or top[0].tag != caldav("comp-filter"):
        raise Invalid("valid-filter", "a filter holds exactly one comp-filter")
    if sum(1 for _ in top.iter()) > _NODES_MAX:
        raise Invalid("valid-filter", f"a filter may have at most {_NODES_MAX} elements")
    parsed = _comp(top[0])
    if parsed.name != "VCALENDAR":
        raise Invalid("valid-filter", "the outermost comp-filter names VCALENDAR")
    return parsed


def _named(element: Element) -> str:
    name = element.get("name", "").strip().upper()
    if not name:
        raise Invalid("valid-filter", "a filter needs a name")
    return name


def _comp(element: Element) -> CompFilter:
    return CompFilter(
        name=_named(element),
        absent=element.find(caldav("is-not-defined")) is not None,
        range=_range(element),
        props=tuple(_prop(child) for child in element.findall(caldav("prop-filter"))),
        comps=tuple(_comp(child) for child in element.findall(caldav("comp-filter"))),
    )


def _prop(element: Element) -> PropFilter:
    return PropFilter(
        name=_named(element),
        absent=element.find(caldav("is-not-defined")) is not None,
        match=_match(element),
        range=_range(element),
        params=tuple(_param(child) for child in element.findall(caldav("param-filter"))),
    )


def _param(element: Element) -> ParamFilter:
    return ParamFilter(
        name=_named(element),
        absent=element.find(caldav("is-not-defined")) is not None,
        match=_match(element),
    )


def _match(element: Element) -> TextMatch | None:
    found = element.find(caldav("text-match"))
    if found is None:
        return None
    collation = found.get("collation", "i;ascii-casemap")
    if collation == "default":
        collation = "i;ascii-casemap"
    if collation not in _COLLATIONS:
        raise Invalid("supported-collation", "this collation is not supported")
    negate = found.get("negate-condition", "no").lower() == "yes"
    return TextMatch(text=found.text or "", collation=collation, negate=negate)


def _range(element: Element) -> Range | None:
    found = element.find(caldav("time-range"))
    if found is None:
        return None
    start, end = _moment(found.get("start")), _moment(found.get("end"))
    if (start is None and end is None) or (start is not None and end is not None and end <= start):
        raise Invalid("valid-filter", "a time-range starts before it ends")
    return Range(start=start, end=end)


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    if not _MOMENT.match(text):
        raise Invalid("valid-filter", "a time-range is given in UTC")
    try:
        return int(datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise Invalid("valid-filter", "a time-range needs real dates") from None


# -- narrowing ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What of a filter the index answers.

    Attributes:
        window: what it has to look through, never too little.
        exact: the window says all that the filter does: only a task of which the index is
            not sure wants a look at its text.
    """

    window: Window
    exact: bool


def plan(wanted: CompFilter) -> Plan | None:
    """Return what the index can do for a filter; None if nothing can match."""
    if wanted.absent:
        return None
    exact, bounds = not wanted.props, wanted.range
    states: frozenset[int] | None = None
    for comp in wanted.comps:
        if comp.name != "VTODO":
            if comp.name not in _INSIDE and not comp.absent:
                return None
            exact = exact and comp.name in _FOREIGN
            continue
        if comp.absent:
            return None
        exact = exact and not comp.comps and (bounds is None or comp.range is None)
        bounds = comp.range or bounds
        if comp.props:
            found = frozenset(filter(_state_test(comp.props), range(len(STATES))))
            states = found if states is None else states & found
            exact = exact and all(map(_is_told, comp.props))
    start, end = (bounds.start, bounds.end) if bounds else (None, None)
    return Plan(window=Window(states=states, start=start, end=end), exact=exact)


_INSIDE: Final = frozenset({"VTIMEZONE", "VALARM"})
_FOREIGN: Final = frozenset({"VEVENT", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY"})


def _is_told(prop: PropFilter) -> bool:
    """Tell whether the number of a state decides a filter: `STATES` has no time."""
    if prop.range is not None:
        return False
    return prop.name == "STATUS" or (prop.name == "COMPLETED" and not (prop.match or prop.params))


def _state_test(props: tuple[PropFilter, ...]) -> Callable[[int], bool]:
    """Return the test whether a task of that state may pass all of `props`."""
    told = [
        prop if _is_told(prop) else PropFilter(name=prop.name, absent=prop.absent)
        for prop in props
        if prop.name in {"STATUS", "COMPLETED"}
    ]

    def test(number: int) -> bool:
        word, done = STATES[number]
        lines = {"STATUS": [contentline.Line("STATUS", (), word)]} if word else {}
        if done:
            lines["COMPLETED"] = [contentline.Line("COMPLETED", (), "")]
        return all(_prop_holds(prop, lines, _Task("")) for prop in told)

    return test


def _plain_todo(wanted: CompFilter) -> CompFilter | None:
    """Return the filter of the VTODO, if nothing but its lines and times is asked."""
    if wanted.range or wanted.props or wanted.absent or len(wanted.comps) != 1:
        return None
    todo = wanted.comps[0]
    return None if todo.name != "VTODO" or todo.comps or todo.absent else todo


# -- the exact test ----------------------------------------------------------------------


@dataclass(slots=True)
class _Task:
    """A task under test; its keys are read where a time decides."""

    text: str
    _facts: vtodo.Facts | None = None
    _lines: dict[int, dict[str, list[Line]]] = field(default_factory=dict)

    @property
    def keys(self) -> Mapping[str, str]:
        return _keys_of(self.text)

    @property
    def facts(self) -> vtodo.Facts:
        if self._facts is None:
            self._facts = vtodo.facts(self.keys)
        return self._facts

    def lines(self, component: Component) -> dict[str, list[Line]]:
        found = self._lines.get(component.start)
        if found is None:
            found = self._lines[component.start] = {}
            for raw in component.lines:
                line = contentline.split(raw)
                if line is not None:
                    found.setdefault(line.name, []).append(line)
        return found

    def epoch(self, line: Line) -> int | None:
        text = caldate.from_ical(line.value, line.param("TZID"))
        return caldate.epoch(text, zones(self.keys)) if text else None


def tester(wanted: CompFilter) -> Callable[[str], bool]:
    """Return the test of one task's text: what the filter alone decides is decided once."""
    plain = _plain_todo(wanted)
    if plain is None:
        return lambda text: matches(wanted, text)
    names = frozenset(prop.name for prop in plain.props) or _ANY

    def test(text: str) -> bool:
        lines = own_lines(text, names)
        if lines is None:
            return matches(wanted, text)
        task = _Task(text)
        return all(_prop_holds(prop, lines, task) for prop in plain.props) and (
            plain.range is None or _task_in_range(plain.range, task)
        )

    return test


_ANY: Final = frozenset({"UID"})


@lru_cache(maxsize=512)
def _keys_of(text: str) -> Mapping[str, str]:
    """Return the keys of a task; kept, because the recurring ones are asked about each time."""
    try:
        return vtodo.read(text).keys
    except Invalid:
        return {}


def matches(wanted: CompFilter, text: str) -> bool:
    """Tell whether a task that is served as `text` passes, by the whole text."""
    task = _Task(text)
    try:
        tree = contentline.parse(text)
    except Invalid:
        # Rendered by us or taken by the worker, so this is damage: better shown than lost.
        return True
    return any(_holds(wanted, top, task, None) for top in tree.top if top.name == wanted.name)


def _holds(wanted: CompFilter, component: Component, task: _Task, parent: Component | None) -> bool:
    """Tell whether one component of the right name passes."""
    if wanted.range is not None and not _in_range(wanted.range, component, task, parent):
        return False
    lines = task.lines(component) if wanted.props else {}
    if not all(_prop_holds(prop, lines, task) for prop in wanted.props):
        return False
    for inner in wanted.comps:
        among = [child for child in component.children if child.name == inner.name]
        if inner.absent:
            if among:
                return False
        elif not any(_holds(inner, child, task, component) for child in among):
            return False
    return True


def _prop_holds(wanted: PropFilter, lines: dict[str, list[Line]], task: _Task) -> bool:
    among = lines.get(wanted.name, ())
    if wanted.absent:
        return not among
    return any(_line_holds(wanted, line, task) for line in among)


def _line_holds(wanted: PropFilter, line: Line, task: _Task) -> bool:
    if wanted.match is not None and not wanted.match.holds(unescape(line.value)):
        return False
    if wanted.range is not None:
        moment = task.epoch(line)
        if moment is None or not _between(moment, wanted.range):
            return False
    return all(_param_holds(param, line) for param in wanted.params)


def _param_holds(wanted: ParamFilter, line: Line) -> bool:
    present = any(name == wanted.name for name, _ in line.params)
    if wanted.absent:
        return not present
    return present and (wanted.match is None or wanted.match.holds(line.param(wanted.name)))


def _between(moment: int, bounds: Range) -> bool:
    return (bounds.start is None or moment >= bounds.start) and (
        bounds.end is None or moment < bounds.end
    )


def _in_range(bounds: Range, component: Component, task: _Task, parent: Component | None) -> bool:
    if component.name == "VALARM" and parent is not None:
        return _alarm_in_range(bounds, component, task, parent)
    if component.name in {"VTODO", "VCALENDAR"}:
        return _task_in_range(bounds, task)
    return True


def _task_in_range(bounds: Range, task: _Task) -> bool:
    return vtodo.matches_time_range(task.facts, bounds.start, bounds.end, task.keys)


def _alarm_in_range(bounds: Range, alarm: Component, task: _Task, parent: Component) -> bool:
    """Tell whether an alarm goes off in the range (RFC 4791 section 9.9, VALARM)."""
    triggers = task.lines(alarm).get("TRIGGER")
    if not triggers:
        return False
    trigger = triggers[0]
    length = caldate.duration(trigger.value)
    if length is None:
        moment = task.epoch(trigger)
        return moment is None or _between(moment, bounds)
    if task.facts.recurring:
        return True  # which instances ring is not worked out: rather shown than lost
    own = task.lines(parent)
    names = ("DUE", "DTSTART") if trigger.param("RELATED").upper() == "END" else ("DTSTART", "DUE")
    for name in names:
        for line in own.get(name, ()):
            anchor = task.epoch(line)
            if anchor is not None:
                days, seconds = length
                return _between(anchor + days * 86_400 + seconds, bounds)
    return False
