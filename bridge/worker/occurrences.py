"""Occurrences of a recurring task that a client keeps as overrides: tasks of their own. Pure.

Thunderbird, Nextcloud and KDE complete one occurrence by a second VTODO with RECURRENCE-ID
in the same resource; Tasks.org stops syncing a list that holds such a resource. So every
override of a PUT, completed or only changed, becomes a task (caldav-clients section 1.2)
and the series loses that date (`bridge.wire.vtodo_recur`). The same override sent again by
a client that did not read yet is the same task: its id is drawn from the series' UID and
the date. A task of an occurrence that somebody deleted stays deleted.

The new task names its series in ``tx.occurrence-of`` and its date in ``tx.occurrence``,
not in RELATED-TO: PARENT is the default relation, and clients would show it as an open or
done subtask of the series, indent it, or complete it together with the series.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bridge.errors import Invalid
from bridge.model import related
from bridge.model.ids import imported_task, task_hex
from bridge.model.patch import Create, Draft, Op, Set
from bridge.wire import caldate, vtodo, vtodo_recur, vtodo_sequence
from bridge.worker.view import draft_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.model.ids import ProjectId, TaskId
    from bridge.wire.vtodo import Upload
    from bridge.worker.command import Actor
    from bridge.worker.view import View

OVERRIDE: Final = "ical.override."
SERIES: Final = "tx.occurrence-of"
"""The task whose occurrence this was."""
DATE: Final = "tx.occurrence"
"""Which occurrence, as typed date text."""
MOST: Final = 100
"""Overrides of one PUT; a person ticks a few, a program that sends more is refused."""
_RULES: Final = ("recur", "ical.RRULE", "ical.RECURRENCE-ID")
_RULE_LINES: Final = ("ical.RDATE.", "ical.EXDATE.", "ical.RECURRENCE-ID.")


@dataclass(slots=True, kw_only=True)
class Apart:
    """What the overrides of one PUT come to.

    Attributes:
        series: the series' keys, with what was found so far.
        changes: what changes in the series: key -> value, None where the key goes.
        drafts: patches that make or change tasks of occurrences.
    """

    series: dict[str, str]
    changes: dict[str, str | None] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)

    def take(self, changes: Mapping[str, str | None]) -> None:
        """Change the series."""
        self.changes.update(changes)
        for key, value in changes.items():
            if value is None:
                self.series.pop(key, None)
            else:
                self.series[key] = value


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The recurring task of a PUT.

    Attributes:
        sent: the body; `known`: what the client was last served, if it says anything.
        keys: the task as it would be without the overrides.
        short: replaces values too long for a patch.
    """

    actor: Actor
    project: ProjectId
    task: TaskId
    batch: str
    sent: Upload
    known: Upload | None
    keys: Mapping[str, str]
    short: Callable[[Mapping[str, str]], dict[str, str]]


def without_overrides(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the keys of a series alone."""
    return {key: value for key, value in keys.items() if not key.startswith(OVERRIDE)}


def take_apart(series: Series, view: View) -> Apart:
    """Return the tasks that the overrides become, and what the series loses.

    Raises:
        Invalid: ``too-many`` overrides; what `vtodo.read` refuses.
    """
    if len(series.sent.overrides) > MOST:
        raise Invalid("too-many", f"a task may come with at most {MOST} changed occurrences")
    apart = Apart(series=dict(series.keys))
    # The last date first: those after the current one are known when the series moves on.
    latest = sorted(
        series.sent.overrides,
        key=lambda when: (caldate.epoch(when) or 0, when),
        reverse=True,
    )
    for when in latest:
        _take(series, when, apart, view)
    line = vtodo_sequence.advanced(series.keys, apart.changes)
    if line:
        apart.take({vtodo_sequence.KEY: line})
    return apart


def _take(series: Series, when: str, apart: Apart, view: View) -> None:
    date = vtodo_recur.like_series(series.keys, when)
    uid = _uid(series, date)
    task = imported_task(series.project, uid)
    state = view.task(task)
    sent = _keys(series, series.sent, when) | {
        "ical.uid": uid,
        SERIES: str(series.task),
        DATE: date,
    }
    if state is None:
        ops: list[Op] = [Create(), *(Set(key, value) for key, value in sorted(sent.items()))]
    elif state.is_deleted:
        ops = []
    else:
        base = _known(series, when)
        changes = vtodo.changes(base if base is not None else state.keys, sent, state.keys)
        ops = [Set(k, v) for k, v in sorted(changes.items()) if state.value(k) != v]
    if ops:
        apart.drafts.append(draft_of(series.actor, task, ops, batch=series.batch))
    lost = vtodo_recur.without(apart.series, date)
    apart.take(lost.changes)
    if lost.ended:
        apart.take(_ended(sent))


def _uid(series: Series, date: str) -> str:
    """Return the UID of an occurrence: no client has it, and it is always the same."""
    name = f"{series.sent.uid}\n{date}"
    return str(uuid.UUID(hex=task_hex(imported_task(series.project, name))))


def _keys(series: Series, upload: Upload, when: str) -> dict[str, str]:
    """Return the keys of an override as of a task that happens once."""
    zones = (text for key, text in upload.keys.items() if key.startswith("ical.VTIMEZONE."))
    prodid = upload.keys.get("ical.PRODID", vtodo.PRODID)
    parts = ("BEGIN:VCALENDAR", "VERSION:2.0", prodid, *zones, upload.overrides[when])
    read = vtodo.read("\r\n".join((*parts, "END:VCALENDAR")) + "\r\n").keys
    plain = {
        key: value
        for key, value in read.items()
        if key not in _RULES and not key.startswith(_RULE_LINES) and key != "ical.UID"
    }
    return related.by_id(series.project, series.short(plain))


def _known(series: Series, when: str) -> dict[str, str] | None:
    """Return the override as this client last sent it, None if it has not."""
    if series.known is None or when not in series.known.overrides:
        return None
    return _keys(series, series.known, when)


def _ended(last: Mapping[str, str]) -> dict[str, str | None]:
    """Return what completes a series that has no further date."""
    return {
        "status": "completed",
        "end": last.get("end"),
        "progress": "100",
        "ical.STATUS": None,
        "ical.COMPLETED": None,
        "ical.PERCENT-COMPLETE": None,
    }
