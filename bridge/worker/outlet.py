"""What follows from the log on disk: views of tasks and the members' links.

An outlet remembers, per project, the last entry it has handled (a cursor in the
directory); after a crash it goes on there, so nothing is missed and a view written twice
is the same view. It works beside the worker, never in front of it: an answer does not
wait for a view (design section 4).
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError
from bridge.model.ids import domain_of
from bridge.model.roles import sees, sees_all
from bridge.model.view import came_by_request, project_document, task_document
from bridge.store.views import PROJECT_VIEW, Box, task_view

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.model.ids import Address, ProjectId, TaskId
    from bridge.model.state import ProjectState, TaskState
    from bridge.store.spool import Spool
    from bridge.store.views import Views
    from bridge.worker.gateway import Gateway

log = logging.getLogger(__name__)

PAUSE: Final = 0.5
"""Seconds that changes are collected, so that a burst on one task is one view."""
_PAGE: Final = 500


class ViewOutlet:
    """Keeps ``tasks/…/*.json``, ``project.json`` and members' links up to the log."""

    def __init__(self, gateway: Gateway, spool: Spool, views: Views) -> None:
        """Write below the spool of `gateway`."""
        self._gateway = gateway
        self._spool = spool
        self._views = views
        self._moved: set[ProjectId] = set()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; it first makes up for what a crash left undone."""
        self.notify(self._gateway.index.projects())
        self._thread = threading.Thread(target=self._run, name="views", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is waiting, then stop."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread:
            self._thread.join()

    def notify(self, projects: Iterable[ProjectId]) -> None:
        """Note that `projects` moved; returns at once."""
        with self._wake:
            self._moved.update(projects)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._moved or self._stopping)
                if not self._stopping:
                    self._wake.wait_for(lambda: self._stopping, timeout=PAUSE)
                moved, self._moved = self._moved, set()
                last = self._stopping
            for project in sorted(moved):
                try:
                    self.catch_up(project)
                except BridgeError as error:
                    # A view is a copy: the next change of the project tries again.
                    log.warning("views of %s could not be written: %s", project, error)
            if last:
                return

    def catch_up(self, project: ProjectId) -> int:
        """Write the views of what changed since the cursor; return how many tasks did."""
        journal = self._gateway.directory.journal
        name = f"views:{project}"
        after = int(journal.cursor(name) or 0)
        state = self._gateway.index.project(project)
        if state is None or state.seq == after:
            return 0
        changed, project_changed = self._changed(project, after if after < state.seq else 0)
        limited = self._members(state) if project_changed or not after else self._limited(state)
        if project_changed and limited:
            # Whose views are filtered, and by what, may have changed: write them all.
            changed, _ = self._changed(project, 0)
        self._views.write_view(project, PROJECT_VIEW, project_document(state))
        for task in changed:
            found = self._gateway.index.task(task)
            if found is not None:
                self._write(state, found, limited)
        journal.set_cursor(name, str(state.seq), self._gateway.clock())
        return len(changed)

    def _changed(self, project: ProjectId, after: int) -> tuple[set[TaskId], bool]:
        tasks: set[TaskId] = set()
        project_changed = False
        before: int | None = None
        while rows := self._gateway.index.history(project, before=before, limit=_PAGE):
            for row in rows:
                if row.seq <= after:
                    return tasks, project_changed
                if row.task is None:
                    project_changed = True
                else:
                    tasks.add(row.task)
            before = rows[-1].seq
        return tasks, project_changed

    def _write(self, project: ProjectState, task: TaskState, limited: list[Address]) -> None:
        box = Box.INBOUND if came_by_request(task) else Box.OUTBOUND
        name = task_view(box, task.id)
        document = task_document(task)
        if task.is_deleted:
            self._views.remove_view(project.id, name)
        else:
            self._views.write_view(project.id, name, document)
        for member in limited:
            if task.is_deleted or not sees(member, project, task):
                self._views.remove_view(project.id, name, member=member)
            else:
                self._views.write_view(project.id, name, document, member=member)

    def _limited(self, project: ProjectState) -> list[Address]:
        """Return the members of this domain who get filtered copies."""
        return [
            user
            for user in project.members
            if domain_of(user) == self._gateway.domain and not sees_all(user, project)
        ]

    def _members(self, project: ProjectState) -> list[Address]:
        """Link members who see all to the container; unlink those who left."""
        limited = self._limited(project)
        for person in self._gateway.directory.people.all():
            user = person.address
            if user in project.members and user not in limited:
                if not self._spool.layout.member(user, project.id).is_symlink():
                    self._views.remove_member(user, project.id)
                self._spool.link_member(user, project.id)
            else:
                self._spool.unlink_member(user, project.id)
                if user not in project.members:
                    self._views.remove_member(user, project.id)
        return limited
