"""The index's reading statements, written once in SQLAlchemy Core.

`ForViewer` holds one statement twice: for those who see all of a project, and for those
who see what is assigned to them.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Boolean, and_, bindparam, case, func, null, or_, select

from bridge.store.index_contract import UNTOLD
from bridge.store.index_shown import STATES
from bridge.store.index_tables import assignees, entries, members, projects, tasks

_NAMESAKES: Final = 10
HREF_NAMES: Final = tuple(f"href{number}" for number in range(100))
"""Of as many names as one statement looks up; fewer are filled up by repeating one."""
STATE_NAMES: Final = tuple(f"state{number}" for number in range(len(STATES)))

p = bindparam
_of_project = projects.c.project == p("project")
_joined = tasks.join(projects, tasks.c.pid == projects.c.pid)
_seen = _joined.join(
    assignees,
    (assignees.c.pid == tasks.c.pid)
    & (assignees.c.hex == tasks.c.hex)
    & (assignees.c.person == p("viewer")),
)
_row = (
    tasks.c.hex,
    tasks.c.seq,
    tasks.c.href,
    tasks.c.uid,
    tasks.c.etag,
    tasks.c.text,
    tasks.c.deleted,
    tasks.c.created,
    tasks.c.modified,
)
_listed = (tasks.c.href, tasks.c.etag, tasks.c.seq, tasks.c.size, tasks.c.modified)
_live = tasks.c.deleted.is_(False)
_entry = (
    projects.c.project,
    entries.c.seq,
    entries.c.hash,
    entries.c.patch,
    entries.c.hex,
    entries.c.author,
    entries.c.via,
    entries.c.ts,
    entries.c.place,
)
_entries = entries.join(projects, entries.c.pid == projects.c.pid)

HEAD = select(projects.c.seq).where(_of_project)
STATE = select(projects.c.state).where(_of_project)
PROJECTS = select(projects.c.project).order_by(projects.c.project)
HOMES = (
    select(
        projects.c.project,
        members.c.role,
        projects.c.seq,
        projects.c.name,
        projects.c.color,
        projects.c.archived,
    )
    .select_from(members.join(projects, members.c.pid == projects.c.pid))
    .where(members.c.person == p("person"))
    .order_by(projects.c.name, projects.c.project)
)
TASK = select(tasks.c.state).select_from(_joined).where(_of_project, tasks.c.hex == p("hex"))
FOUND = (
    select(*_row, tasks.c.state).select_from(_joined).where(_of_project, tasks.c.hex == p("hex"))
)
ROW_OF = select(*_row).select_from(_joined).where(_of_project, tasks.c.hex == p("hex"))
NAMED = select(*_row).select_from(_joined).where(_of_project, tasks.c.uid == p("uid"), _live)
ENTRY = select(*_entry).select_from(_entries).where(_of_project, entries.c.seq == p("seq"))
POSITION = (
    select(entries.c.seq).select_from(_entries).where(entries.c.patch == p("patch"), _of_project)
)
FIND = (
    select(*_entry)
    .select_from(_entries)
    .where(entries.c.patch >= p("low"), entries.c.patch < p("high"))
    .limit(_NAMESAKES)
)
HASH = select(entries.c.hash).select_from(_entries).where(_of_project, entries.c.seq == p("seq"))
_history = (
    select(*_entry)
    .select_from(_entries)
    .where(_of_project, entries.c.seq < p("before"))
    .order_by(entries.c.seq.desc())
    .limit(p("limit"))
)
HISTORY = _history
HISTORY_OF = _history.where(entries.c.hex == p("hex"))
COUNT = (
    select(func.count(), func.count().filter(tasks.c.is_open))
    .select_from(_joined)
    .where(_of_project, _live)
)


class ForViewer:
    """One statement for those who see all, and the same for those who see what is theirs."""

    def __init__(self, build: Any) -> None:
        """Write both by `build(source, conditions)`."""
        self.all = build(_joined, ())
        self.own = build(_seen, (assignees.c.active.is_(True),))


ROW = ForViewer(
    lambda source, more: (
        select(*_row)
        .select_from(source)
        .where(_of_project, tasks.c.href == p("href"), _live, *more)
    )
)
ROWS = ForViewer(
    lambda source, more: (
        select(*_row)
        .select_from(source)
        .where(_of_project, tasks.c.href.in_([p(name) for name in HREF_NAMES]), _live, *more)
    )
)
LISTING = ForViewer(
    lambda source, more: select(*_listed).select_from(source).where(_of_project, _live, *more)
)


# One search for each state wanted, within it by time: `task_shown` answers all of it.
_in_window = and_(
    _live,
    tasks.c.shown.in_([UNTOLD, *map(p, STATE_NAMES)]),
    tasks.c.last >= p("start"),
    tasks.c.first <= p("end"),
)
_unsure = or_(
    and_(tasks.c.shown == UNTOLD, p("by_state", type_=Boolean)),
    and_(tasks.c.vague, p("by_time", type_=Boolean)),
)
WINDOW = ForViewer(
    lambda source, more: select(*_row).select_from(source).where(_of_project, _in_window, *more)
)
MATCHING = ForViewer(
    lambda source, more: (
        select(*_listed, case((_unsure, tasks.c.text), else_=null()), ~_unsure)
        .select_from(source)
        .where(_of_project, _in_window, *more)
    )
)
MATCHING_TEXTS = ForViewer(
    lambda source, more: (
        select(*_listed, tasks.c.text, ~_unsure)
        .select_from(source)
        .where(_of_project, _in_window, *more)
    )
)
_changed = (*_listed, tasks.c.deleted)
CHANGES = (
    select(*_changed)
    .select_from(_joined)
    .where(_of_project, tasks.c.seq > p("after"))
    .order_by(tasks.c.seq)
    .limit(p("limit"))
)
CHANGES_OWN = (
    select(*_listed, tasks.c.deleted | ~assignees.c.active)
    .select_from(_seen)
    .where(_of_project, tasks.c.seq > p("after"))
    .order_by(tasks.c.seq)
    .limit(p("limit"))
)
