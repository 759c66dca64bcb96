"""Tasks that name other tasks: by id in TX, by UID in iCalendar (tx-protocol section 8).

``parent`` and ``dep_<task id>`` hold task ids. The UID that a calendar client knows a
target by cannot be had from the id (it is a hash), so it is kept beside it:
``ical.parent`` and the value of ``dep_<task id>``, empty where the id itself is the UID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import Invalid
from bridge.model.ids import TaskId, imported_task, parse_task, project_of
from bridge.model.state import DEPENDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.ids import ProjectId

PARENT = "parent"
PARENT_UID = "ical.parent"


def task_of_uid(project: ProjectId, uid: str) -> TaskId:
    """Return the id of the task of `project` that calendar clients know by `uid`."""
    try:
        native = parse_task(uid)
    except Invalid:
        return imported_task(project, uid)
    return native if project_of(native) == project else imported_task(project, uid)


def by_id(project: ProjectId, keys: Mapping[str, str]) -> dict[str, str]:
    """Return task keys read from iCalendar, with related tasks named by id."""
    named: dict[str, str] = {}
    for key, value in keys.items():
        if key == PARENT:
            task = task_of_uid(project, value)
            named[PARENT] = task
            if task != value:
                named[PARENT_UID] = value
        elif key.startswith(DEPENDS):
            uid = key.removeprefix(DEPENDS)
            task = task_of_uid(project, uid)
            named[DEPENDS + task] = "" if task == uid else uid
        else:
            named[key] = value
    return named


def by_uid(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the keys of a task for iCalendar, with related tasks named by UID."""
    named = {key: value for key, value in keys.items() if key != PARENT_UID}
    if PARENT in keys:
        named[PARENT] = keys.get(PARENT_UID) or keys[PARENT]
    for key in keys:
        if key.startswith(DEPENDS):
            uid = named.pop(key)
            # TaskChampion writes "x" as the value of a dependency.
            named[DEPENDS + (key.removeprefix(DEPENDS) if uid in ("", "x") else uid)] = ""
    return named
