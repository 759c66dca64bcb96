"""The index in SQL (`bridge.store.index_contract`); SQLite by file, PostgreSQL by URL."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from bridge.model.ids import (
    ZERO_HASH,
    Address,
    Digest,
    PatchId,
    ProjectId,
    TaskId,
    project_of,
    task_hex,
)
from bridge.model.patch import Role, Via
from bridge.model.state import ASSIGNEE, ProjectState, TaskState
from bridge.store import Place
from bridge.store import index_statements as statements
from bridge.store.index_contract import UNBOUNDED, UNTOLD, Changes, Window
from bridge.store.index_shown import STATES, shown
from bridge.store.index_tables import assignees, entries, members, projects, tasks
from bridge.store.rows import Applied, EntryRow, Listed, ProjectCard, TaskRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Table

    from bridge.store.index_engine import IndexEngine


class Index:
    """The index on one database (`IndexReader` and `IndexWriter`)."""

    def __init__(self, engine: IndexEngine) -> None:
        """Use `engine`, whose tables exist."""
        self._db = engine
        # Made once: building a statement costs more than running it.
        db = self._db
        put = [column.name for column in tasks.columns if column.name != "tid"]
        self._put_task = db.compiled(self._upsert(tasks, ["pid", "hex"], put), put)
        people = [column.name for column in assignees.columns]
        self._put_assignee = db.compiled(
            self._upsert(assignees, ["pid", "person", "hex"], ["active"]), people
        )
        moved = [column.name for column in projects.columns if column.name != "pid"]
        self._move_project = db.compiled(
            projects.update().where(projects.c.pid == bindparam("key")), [*moved, "key"]
        )
        self._add_entry = db.compiled(entries.insert(), [column.name for column in entries.columns])
        self._pids: dict[ProjectId, int] = {}
        self._members: dict[ProjectId, dict[str, str]] = {}

    # -- reading -------------------------------------------------------------------------

    def projects(self) -> Iterator[ProjectId]:
        """Yield every project of this store."""
        for (project,) in self._db.all(statements.PROJECTS):
            yield ProjectId(project)

    def homes(self, user: Address) -> tuple[ProjectCard, ...]:
        """Return the projects of which `user` is a member, by name."""
        return tuple(
            ProjectCard(
                project=ProjectId(project),
                role=Role(role),
                seq=seq,
                name=name,
                color=color,
                archived=bool(archived),
            )
            for project, role, seq, name, color, archived in self._db.all(
                statements.HOMES, person=user
            )
        )

    def project(self, project: ProjectId) -> ProjectState | None:
        """Return the state of a project at the index's position."""
        row = self._db.one(statements.STATE, project=project)
        return ProjectState.unpack(project, json.loads(row[0])) if row else None

    def head(self, project: ProjectId) -> int:
        """Return the position of the newest entry; 0 for none. One row is read."""
        row = self._db.one(statements.HEAD, project=project)
        return int(row[0]) if row else 0

    def task(self, task: TaskId) -> TaskState | None:
        """Return the state of a task, deleted ones too."""
        row = self._db.one(statements.TASK, project=project_of(task), hex=task_hex(task))
        return TaskState.unpack(task, json.loads(row[0])) if row else None

    def found(self, task: TaskId) -> tuple[TaskState, TaskRow] | None:
        """Return the state and the row of a task, deleted ones too."""
        project = project_of(task)
        found = self._db.one(statements.FOUND, project=project, hex=task_hex(task))
        if found is None:
            return None
        return TaskState.unpack(task, json.loads(found[-1])), _task_row(project, found[:-1])

    def row(self, project: ProjectId, href: str, viewer: Address | None = None) -> TaskRow | None:
        """Return the live task of that name."""
        found = (
            self._db.one(statements.ROW.all, project=project, href=href)
            if viewer is None
            else self._db.one(statements.ROW.own, project=project, href=href, viewer=viewer)
        )
        return _task_row(project, found) if found else None

    def row_of(self, task: TaskId) -> TaskRow | None:
        """Return the row of a task, deleted ones too."""
        project = project_of(task)
        found = self._db.one(statements.ROW_OF, project=project, hex=task_hex(task))
        return _task_row(project, found) if found else None

    def rows(
        self, project: ProjectId, hrefs: Sequence[str], viewer: Address | None = None
    ) -> dict[str, TaskRow]:
        """Return the live tasks of those names."""
        found: dict[str, TaskRow] = {}
        wanted = list(dict.fromkeys(hrefs))
        most = len(statements.HREF_NAMES)
        for start in range(0, len(wanted), most):
            part = wanted[start : start + most]
            part += part[-1:] * (most - len(part))
            names = dict(zip(statements.HREF_NAMES, part, strict=True))
            for row in self._for_viewer(statements.ROWS, project, viewer, names):
                found[row[2]] = _task_row(project, row)
        return found

    def named(self, project: ProjectId, uid: str) -> TaskRow | None:
        """Return the live task with an iCalendar UID."""
        found = self._db.one(statements.NAMED, project=project, uid=uid)
        return _task_row(project, found) if found else None

    def listing(self, project: ProjectId, viewer: Address | None = None) -> Iterator[Listed]:
        """Yield the live members without their texts."""
        return itertools.starmap(Listed, self._for_viewer(statements.LISTING, project, viewer, {}))

    def texts(
        self, project: ProjectId, window: Window, viewer: Address | None = None
    ) -> Iterator[TaskRow]:
        """Yield the live tasks that may match `window`."""
        for row in self._for_viewer(statements.WINDOW, project, viewer, _bounds(window)):
            yield _task_row(project, row)

    def matching(
        self, project: ProjectId, window: Window, viewer: Address | None = None, *, texts: bool
    ) -> Iterator[Listed]:
        """Yield the live tasks that may match `window`, those that surely do are `sure`."""
        form = statements.MATCHING_TEXTS if texts else statements.MATCHING
        doubts = {
            "by_state": window.states is not None,
            "by_time": window.start is not None or window.end is not None,
        }
        rows = self._for_viewer(form, project, viewer, _bounds(window) | doubts)
        return itertools.starmap(Listed, rows)

    def _for_viewer(
        self,
        form: statements.ForViewer,
        project: ProjectId,
        viewer: Address | None,
        values: Mapping[str, object],
    ) -> Iterator[tuple[Any, ...]]:
        if viewer is None:
            return self._db.stream(form.all, project=project, **values)
        return self._db.stream(form.own, project=project, viewer=viewer, **values)

    def changes(
        self, project: ProjectId, after: int, limit: int, viewer: Address | None = None
    ) -> Changes:
        """Return the members changed after position `after`, oldest change first."""
        # The head first: what is committed in between is then told twice, never lost.
        head = self.head(project)
        rows = (
            self._db.all(statements.CHANGES, project=project, after=after, limit=limit + 1)
            if viewer is None
            else self._db.all(
                statements.CHANGES_OWN, project=project, after=after, limit=limit + 1, viewer=viewer
            )
        )
        more = len(rows) > limit
        found = tuple(
            Listed(href=href, etag="" if gone else etag, seq=seq, size=size, modified=modified)
            for href, etag, seq, size, modified, gone in rows[:limit]
        )
        return Changes(seq=found[-1].seq if more else head, members=found, more=more)

    def entry(self, project: ProjectId, seq: int) -> EntryRow | None:
        """Return the facts of one entry."""
        row = self._db.one(statements.ENTRY, project=project, seq=seq)
        return _entry_row(row) if row else None

    def history(
        self,
        project: ProjectId,
        subject: TaskId | ProjectId | None = None,
        *,
        before: int | None,
        limit: int,
    ) -> tuple[EntryRow, ...]:
        """Return the newest entries first: all, or those of a task or of the project itself."""
        before = UNBOUNDED if before is None else before
        rows = (
            self._db.all(statements.HISTORY, project=project, before=before, limit=limit)
            if subject is None
            else self._db.all(
                statements.HISTORY_OF,
                project=project,
                before=before,
                limit=limit,
                hex="" if subject == project else subject[:32],
            )
        )
        return tuple(_entry_row(row) for row in rows)

    def position_of(self, project: ProjectId, patch: PatchId) -> int | None:
        """Return the position of the entry that holds `patch`."""
        row = self._db.one(statements.POSITION, project=project, patch=patch)
        return int(row[0]) if row else None

    def find_patch(self, prefix: str) -> tuple[EntryRow, ...]:
        """Return up to 10 entries whose patch id's hex starts with `prefix`."""
        low = f"sha256:{prefix.removeprefix('sha256:').lower()}"
        return tuple(
            _entry_row(row) for row in self._db.all(statements.FIND, low=low, high=low + "g")
        )

    def hash_at(self, project: ProjectId, seq: int) -> Digest | None:
        """Return the hash of the entry at `seq`; the zero hash at 0."""
        if seq == 0:
            return ZERO_HASH
        row = self._db.one(statements.HASH, project=project, seq=seq)
        return Digest(row[0]) if row else None

    def count(self, project: ProjectId) -> tuple[int, int]:
        """Return how many live tasks there are, and how many of them are open."""
        row = self._db.one(statements.COUNT, project=project)
        return (int(row[0]), int(row[1])) if row else (0, 0)

    # -- writing: the worker alone -------------------------------------------------------

    def apply(self, batch: Sequence[Applied]) -> None:
        """Take in committed entries, in order, all of them or none."""
        newest = {item.project.id: item.project for item in batch}
        try:
            with self._db.write() as connection:
                pids = {
                    project: self._put_project(connection, state)
                    for project, state in newest.items()
                }
                self._db.run(
                    connection,
                    self._add_entry,
                    [_entry_values(item, pids[item.project.id]) for item in batch],
                )
                self._put_tasks(connection, batch, pids)
        except Exception:
            self._pids.clear()
            self._members.clear()
            raise

    def _put_project(self, connection: Connection, state: ProjectState) -> int:
        values = {
            "project": state.id,
            "seq": state.seq,
            "name": state.name,
            "color": state.policy.get("color", ""),
            "archived": "archived" in state.policy,
            "state": json.dumps(state.pack(), ensure_ascii=False, separators=(",", ":")),
        }
        pid = self._pids.get(state.id)
        if pid is None:
            row = connection.execute(
                select(projects.c.pid).where(projects.c.project == state.id)
            ).first()
            pid = row[0] if row else None
        if pid is None:
            result = connection.execute(projects.insert().values(values))
            pid = result.inserted_primary_key[0] if result.inserted_primary_key else 0
        else:
            self._db.run(connection, self._move_project, [{**values, "key": pid}])
        self._pids[state.id] = pid
        self._put_members(connection, state, pid)
        return pid

    def _put_members(self, connection: Connection, state: ProjectState, pid: int) -> None:
        now = {str(user): member.role.value for user, member in state.members.items()}
        if self._members.get(state.id) == now:
            return
        connection.execute(delete(members).where(members.c.pid == pid))
        if now:
            connection.execute(
                members.insert(),
                [{"person": user, "pid": pid, "role": role} for user, role in now.items()],
            )
        self._members[state.id] = now

    def _put_tasks(
        self, connection: Connection, batch: Sequence[Applied], pids: dict[ProjectId, int]
    ) -> None:
        # A task that changed twice in one batch is written once.
        newest = {item.task.id: item for item in batch if item.task is not None}
        if not newest:
            return
        values = [_task_values(item, pids[item.project.id]) for item in newest.values()]
        self._db.run(connection, self._put_task, values)
        people = [row for item in newest.values() for row in _assignees(item, pids)]
        if people:
            self._db.run(connection, self._put_assignee, people)

    def _upsert(self, table: Table, keys: list[str], columns: list[str]) -> Any:
        dialect = sqlite if self._db.engine.dialect.name == "sqlite" else postgresql
        statement = dialect.insert(table)
        return statement.on_conflict_do_update(
            index_elements=keys,
            set_={name: statement.excluded[name] for name in columns if name not in keys},
        )

    def forget(self, project: ProjectId) -> None:
        """Drop all rows of a project, so that its log can be read in afresh."""
        with self._db.write() as connection:
            pid = connection.execute(
                select(projects.c.pid).where(projects.c.project == project)
            ).scalar()
            if pid is None:
                return
            for table in (members, tasks, assignees, entries, projects):
                connection.execute(delete(table).where(table.c.pid == pid))
        self._pids.pop(project, None)
        self._members.pop(project, None)

    def close(self) -> None:
        """Close all connections."""
        self._db.close()


def _bounds(window: Window) -> dict[str, object]:
    """Return the parameters of a window; a state that is not wanted asks for `UNTOLD` again."""
    wanted = range(len(STATES)) if window.states is None else window.states
    states = {
        name: number if number in wanted else UNTOLD
        for number, name in enumerate(statements.STATE_NAMES)
    }
    return {
        **states,
        "start": -UNBOUNDED if window.start is None else window.start,
        "end": UNBOUNDED if window.end is None else window.end,
    }


def _task_row(project: ProjectId, row: tuple[Any, ...]) -> TaskRow:
    hexes, seq, href, uid, etag, text, deleted, created, modified = row
    return TaskRow(
        project=project,
        task=TaskId(f"{hexes}-{project}"),
        seq=seq,
        href=href,
        uid=uid,
        etag=etag,
        text=text,
        deleted=bool(deleted),
        created=created,
        modified=modified,
    )


def _entry_row(row: tuple[Any, ...]) -> EntryRow:
    project, seq, digest, patch, hexes, author, via, ts, place = row
    return EntryRow(
        project=ProjectId(project),
        seq=seq,
        hash=Digest(digest),
        patch=PatchId(patch),
        task=TaskId(f"{hexes}-{project}") if hexes else None,
        author=Address(author),
        via=Via(via),
        ts=ts,
        place=Place(place),
    )


def _entry_values(item: Applied, pid: int) -> dict[str, Any]:
    patch = item.entry.patch
    return {
        "pid": pid,
        "seq": item.entry.seq,
        "hash": item.entry.hash,
        "patch": patch.id,
        "hex": "" if patch.on_project else patch.subject[:32],
        "author": patch.author,
        "via": patch.via.value,
        "ts": item.entry.ts,
        "place": item.place,
    }


def _task_values(item: Applied, pid: int) -> dict[str, Any]:
    row, facts, state = item.row, item.facts, item.task
    if row is None or facts is None or state is None:
        raise TypeError("a changed task comes with its row")
    seen = shown(row.text, state.keys, facts)
    return {
        "pid": pid,
        "hex": task_hex(row.task),
        "seq": row.seq,
        "href": row.href,
        "uid": row.uid,
        "etag": row.etag,
        "size": len(row.text.encode()),
        "deleted": row.deleted,
        "is_open": facts.is_open,
        "shown": seen.state,
        "vague": seen.vague,
        "first": seen.first,
        "last": seen.last,
        "created": row.created,
        "modified": row.modified,
        "text": row.text,
        "state": json.dumps(state.pack(), ensure_ascii=False, separators=(",", ":")),
    }


def _assignees(item: Applied, pids: dict[ProjectId, int]) -> Iterator[dict[str, Any]]:
    state = item.task
    if state is None:
        return
    for key, cell in state.cells.items():
        if key.startswith(ASSIGNEE):
            person = key.removeprefix(ASSIGNEE)
            yield {
                "pid": pids[item.project.id],
                "person": person,
                "hex": task_hex(state.id),
                "active": cell.value in ("requested", "accepted"),
            }
