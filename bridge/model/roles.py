"""Who may do what in a project (tx-protocol section 2).

`allows` is asked with the roles at the patch's place in the log, not at its claimed
time: a removed member's late patch is refused. One forbidden op refuses the whole patch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.model.ids import domain_of
from bridge.model.patch import Create, DomainOp, Key, Member, Op, Policy, Role, Set
from bridge.model.state import ANNOTATION, ASSIGNEE, ATTACHMENT

if TYPE_CHECKING:
    from bridge.model.state import ProjectState, TaskState

_BELOW_OWNER = (None, Role.MEMBER, Role.GUEST)
_ASSIGNEE_KEYS = frozenset({"status", "start", "end", "progress"})


def allows(op: Op, author: str, project: ProjectState, task: TaskState | None) -> bool:
    """Tell whether `author`, a member of `project`, may do `op`.

    `task` is the subject before this op, or None for an op on the project or before
    ``create``. A rekeyed annotation is asked for with the key it moves to.
    """
    role = project.role_of(author)
    match op:
        case Create():
            return role in (Role.CREATOR, Role.OWNER, Role.MEMBER)
        case Set():
            return task is not None and _may_set(op, author, role, task)
        case Member():
            return _may_change_member(op, author, role, project)
        case Policy():
            return role in (Role.CREATOR, Role.OWNER)
        case Key() | DomainOp():
            return author == domain_of(project.id)


def _may_set(op: Set, author: str, role: Role | None, task: TaskState) -> bool:
    deletes = op.key == "status" and op.value == "deleted"
    if role in (Role.CREATOR, Role.OWNER):
        return True
    if role is Role.MEMBER:
        return not deletes or task.created_by == author
    if op.key.startswith(ANNOTATION) and op.value is not None and task.value(op.key) is None:
        return True
    if not task.is_assignee(author) or deletes:
        return False
    return (
        op.key in _ASSIGNEE_KEYS
        or op.key == ASSIGNEE + author
        or op.key.startswith((ANNOTATION, ATTACHMENT))
    )


def _may_change_member(op: Member, author: str, role: Role | None, project: ProjectState) -> bool:
    current = project.role_of(op.user)
    if current is Role.CREATOR:
        return False
    if op.user == author:
        return op.role is None
    if role is Role.CREATOR:
        return op.role is not Role.CREATOR or domain_of(op.user) == domain_of(project.id)
    return role is Role.OWNER and current in _BELOW_OWNER and op.role in _BELOW_OWNER


def sees(user: str, project: ProjectState, task: TaskState) -> bool:
    """Tell whether `user` may read `task`: by role and scope, or as its assignee."""
    member = project.members.get(user)  # type: ignore[call-overload]  # any text may ask
    if member is None:
        return False
    scope = member.scope or ("assigned" if member.role is Role.GUEST else "all")
    if member.role in (Role.CREATOR, Role.OWNER) or scope == "all" or task.is_assignee(user):
        return True
    if isinstance(scope, str):
        return False
    return any(part == f"task:{task.id}" or task.value(part) is not None for part in scope)


def sees_all(user: str, project: ProjectState) -> bool:
    """Tell whether `user` may read every task, so that no task needs a look."""
    member = project.members.get(user)  # type: ignore[call-overload]  # any text may ask
    if member is None:
        return False
    if member.role in (Role.CREATOR, Role.OWNER):
        return True
    return member.scope == "all" or (member.scope is None and member.role is Role.MEMBER)
