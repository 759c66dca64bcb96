"""Views: JSON files in a container for readers that know nothing of logs.

Written after the commit and never read back (design section 3), so an edit of one of these
files changes no task and is overwritten by the next change. Losing one costs nothing either:
they are rebuilt from the log, hence no flush unless asked for.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, NewType

from bridge.errors import Invalid
from bridge.model.ids import task_hex
from bridge.store.durable import disk_error, make_directory, replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bridge.model.ids import Address, ProjectId, TaskId
    from bridge.store.spool import Layout

ViewName = NewType("ViewName", str)
"""Path of a view within its container."""

PROJECT_VIEW = ViewName("project.json")

_NAME = re.compile(r"project\.json|tasks/(?:inbound|outbound)/[0-9a-f-]{36}\.json")


class Box(StrEnum):
    """Where a task's view lies (second seed)."""

    INBOUND = "inbound"
    """Came by request."""
    OUTBOUND = "outbound"
    """Issued by the container."""


def task_view(box: Box, task: TaskId) -> ViewName:
    """Return the name of a task's view: ``tasks/inbound/<uuid>.json``."""
    return ViewName(f"tasks/{box}/{uuid.UUID(hex=task_hex(task))}.json")


class Views:
    """The views of all containers, and the filtered ones of members with a limited scope."""

    def __init__(self, layout: Layout, *, flush: bool = False) -> None:
        """Write below `layout`; with `flush` each view also survives a power failure."""
        self._layout = layout
        self._flush = flush

    def write_view(
        self,
        project: ProjectId,
        name: ViewName,
        document: Mapping[str, object],
        *,
        member: Address | None = None,
    ) -> None:
        """Replace view `name` in one step; UTF-8, two spaces of indent, members in order.

        Args:
            project: whose view.
            name: from `task_view`, or `PROJECT_VIEW`.
            document: JSON members.
            member: write that member's filtered copy instead.

        Raises:
            Invalid: ``bad-name``, or ``linked`` where the member has a link to the whole
                container (remove it first).
            Unavailable: ``disk-full`` or ``disk-error``.
        """
        path = self._path(project, name, member)
        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
        try:
            make_directory(path.parent)
            replace_file(path, text.encode(errors="replace"), flush=self._flush)
        except OSError as error:
            raise disk_error(error, path) from error

    def remove_view(
        self, project: ProjectId, name: ViewName, *, member: Address | None = None
    ) -> bool:
        """Remove view `name`; return whether it was there."""
        path = self._path(project, name, member)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise disk_error(error, path) from error
        return True

    def names(self, project: ProjectId, *, member: Address | None = None) -> list[ViewName]:
        """Return the views that exist, sorted, so that a rebuild can remove stale ones."""
        top = self._top(project, member)
        found = [path.relative_to(top) for path in top.glob("tasks/*/*.json")]
        found += [path.relative_to(top) for path in top.glob("project.json")]
        return [ViewName(name) for name in sorted(map(str, found)) if _NAME.fullmatch(name)]

    def remove_member(self, member: Address, project: ProjectId) -> None:
        """Remove a member's filtered views and the directories that this leaves empty.

        Files of other origin, and their directories, stay.
        """
        for name in self.names(project, member=member):
            self.remove_view(project, name, member=member)
        top = self._top(project, member)
        for part in ("tasks/inbound", "tasks/outbound", "tasks", ""):
            with contextlib.suppress(OSError):  # refused where something is left, as wanted
                (top / part).rmdir()

    def _path(self, project: ProjectId, name: ViewName, member: Address | None) -> Path:
        if not _NAME.fullmatch(name):
            raise Invalid("bad-name", "this is not the name of a view")
        return self._top(project, member) / name

    def _top(self, project: ProjectId, member: Address | None) -> Path:
        if member is None:
            return self._layout.container(project)
        top = self._layout.member(member, project)
        if top.is_symlink():
            # Following it would put a filtered view in the place of the full one.
            raise Invalid("linked", "this member sees the whole project by a link")
        return top
