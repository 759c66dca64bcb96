"""What people may type for a project, a task, a patch or a request.

A project: its id, its user's address, or its name where only one has it. A task: its id,
its 32 hex digits, or four or more of them from either end where only one task has them
(ids made within a minute begin alike, so tables show the end). A patch: its id or the
first digits of its hex. A request: its id or the first digits of it.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Final

from bridge.errors import Invalid, NotFound
from bridge.model.ids import TaskId, parse_project, parse_task, project_of, task_hex, task_id
from bridge.model.request import Direction, Side
from bridge.store.index_contract import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.model.ids import Address, ProjectId
    from bridge.model.request import Request
    from bridge.model.state import ProjectState, TaskState
    from bridge.store.rows import EntryRow
    from bridge.worker.gateway import Gateway

_PART: Final = re.compile(r"[0-9a-f-]{4,36}\Z")
_HEX_LENGTH: Final = 32
_SHORT: Final = 8
_PATCH_SHORT: Final = 12
_SCHEME: Final = "sha256:"
_PATCH: Final = re.compile(r"[0-9a-f]{4,64}\Z")


def short_task(task: TaskId) -> str:
    """Return the end of a task's hex digits."""
    return task_hex(task)[-_SHORT:]


def short_patch(patch: str) -> str:
    """Return the beginning of a patch id's hex digits."""
    return patch.removeprefix(_SCHEME)[:_PATCH_SHORT]


def find_project(gateway: Gateway, text: str) -> ProjectState:
    """Return the project that `text` names.

    Raises:
        NotFound: ``no-project``.
        Invalid: ``ambiguous``.
    """
    try:
        found = gateway.index.project(parse_project(text))
    except Invalid:
        found = None
    if found is not None:
        return found
    states = (gateway.index.project(one) for one in gateway.index.projects())
    named = [one for one in states if one is not None and one.policy.get("name") == text]
    if len(named) > 1:
        raise Invalid(
            "ambiguous",
            f"{len(named)} projects are called {text}",
            hint=f"give one of their ids: {', '.join(sorted(one.id for one in named))}",
        )
    if not named:
        raise NotFound(
            "no-project",
            f"there is no project {text}",
            hint="tx-bridge project list shows all",
        )
    return named[0]


def find_task(gateway: Gateway, text: str) -> TaskState:
    """Return the task that `text` names; by its whole id also a deleted one.

    Raises:
        NotFound: ``no-task``.
        Invalid: ``ambiguous``.
    """
    found = _by_id(gateway, text)
    part = text.lower().replace("-", "")
    if not found and _PART.match(text.lower()):
        ids = [one for one in _all_tasks(gateway) if _matches(one, part)]
        states = (gateway.index.task(one) for one in ids)
        found = [one for one in states if one is not None]
    if len(found) > 1:
        raise Invalid(
            "ambiguous",
            f"{len(found)} tasks match {text}",
            hint=f"give more digits, or one of: {', '.join(one.id for one in found[:5])}",
        )
    if not found:
        raise NotFound(
            "no-task", f"there is no task {text}", hint="tx-bridge task list shows the open ones"
        )
    return found[0]


def _matches(task: TaskId, part: str) -> bool:
    hexes = task_hex(task)
    return hexes.startswith(part) or hexes.endswith(part)


def _by_id(gateway: Gateway, text: str) -> list[TaskState]:
    if "@" in text:
        try:
            ids = [parse_task(text)]
        except Invalid:
            return []
    else:
        try:
            identity = uuid.UUID(hex=text)
        except ValueError:
            return []
        ids = [task_id(identity, project) for project in gateway.index.projects()]
    states = (gateway.index.task(one) for one in ids)
    return [one for one in states if one is not None]


def _all_tasks(gateway: Gateway) -> Iterator[TaskId]:
    for project in gateway.index.projects():
        for row in gateway.index.texts(project, Window()):
            yield row.task


def find_patch(gateway: Gateway, text: str) -> EntryRow:
    """Return the entry whose patch `text` names.

    Raises:
        NotFound: ``no-patch``.
        Invalid: ``ambiguous``.
    """
    prefix = text.lower().removeprefix(_SCHEME)
    found = gateway.index.find_patch(prefix) if _PATCH.match(prefix) else ()
    if len(found) > 1:
        raise Invalid(
            "ambiguous",
            f"more than one patch begins with {prefix}",
            hint="give more digits; tx-bridge log --json shows whole ids",
        )
    if not found:
        raise NotFound(
            "no-patch",
            f"there is no patch {text}",
            hint="tx-bridge log shows patches; give at least 4 digits",
        )
    return found[0]


def find_request(gateway: Gateway, text: str, user: Address | None) -> Request:
    """Return the received request that `text` names, of `user` or of anyone here.

    Raises:
        NotFound: ``no-request``.
        Invalid: ``ambiguous``.
    """
    people = [user] if user else [one.address for one in gateway.directory.people.all()]
    found: list[Request] = []
    prefix = text.lower().replace("-", "")
    for one in people:
        if len(prefix) == _HEX_LENGTH:
            side = Side(one, Direction.RECEIVED, _uuid(text))
            held = gateway.directory.requests.get(side)
            found += [held] if held else []
        elif _PART.match(text.lower()):
            waiting = gateway.directory.requests.waiting(one)
            found += [
                one
                for one in waiting
                if one.id.hex.startswith(prefix) or one.id.hex.endswith(prefix)
            ]
    if len(found) > 1:
        raise Invalid(
            "ambiguous",
            f"{len(found)} requests match {text}",
            hint="give the whole id, and --as ADDRESS for whom",
        )
    if not found:
        raise NotFound(
            "no-request",
            f"there is no request {text}",
            hint="tx-bridge request list shows those that wait",
        )
    return found[0]


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound("no-request", f"there is no request {text}") from None


def project_of_task(gateway: Gateway, task: TaskState) -> ProjectState:
    """Return the project of a task.

    Raises:
        NotFound: ``no-project``.
    """
    return find_project(gateway, project_of(task.id))


def home_of(gateway: Gateway, user: Address) -> tuple[ProjectId, ...]:
    """Return the projects of a user, archived ones left out."""
    return tuple(card.project for card in gateway.index.homes(user) if not card.archived)
