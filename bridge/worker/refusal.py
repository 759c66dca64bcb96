"""Refusals of the log's rules in sentences that a person understands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.model.patch import Create, Member, Policy, Role, Set
from bridge.worker.command import Need, Refused

if TYPE_CHECKING:
    from bridge.model.merge import Refusal
    from bridge.model.patch import Op, Patch
    from bridge.model.state import ProjectState

_PLAIN: Final = {
    "not-a-member": "you are not a member of this project",
    "no-task": "there is no such task",
    "conflict": "the task has changed meanwhile",
    "replay": "this change was made already",
    "bad-subject": "the change names a task of another project",
    "number-reused": "this change was numbered like an earlier one",
    "base-ahead": "the change builds on history that this server does not have",
    "fork": "the change builds on another history than this server's",
}
_ROLE: Final = {
    None: "you are not a member of this project",
    Role.GUEST: "as a guest you may comment, and work on tasks assigned to you",
    Role.MEMBER: "as a member you may not do this",
    Role.OWNER: "as an owner you may not do this",
    Role.CREATOR: "not even its creator may do this to the project",
}


def explain(refusal: Refusal, patch: Patch, project: ProjectState) -> Refused:
    """Return `refusal` with a sentence and, for missing rights, the privilege."""
    if refusal.code == "forbidden":
        op = patch.ops[refusal.op or 0]
        return Refused(
            code="forbidden",
            reason=_why(op, project.role_of(patch.author)),
            need=_need(op),
        )
    need = Need.WRITE_CONTENT if refusal.code == "not-a-member" else None
    reason = _PLAIN.get(refusal.code, f"the change breaks a rule of the log: {refusal}")
    return Refused(code=refusal.code, reason=reason, need=need)


def _why(op: Op, role: Role | None) -> str:
    if role is Role.MEMBER and _deletes(op):
        return "as a member you may delete only tasks that you made"
    if isinstance(op, Policy):
        return "only owners may change the project's settings"
    if isinstance(op, Member):
        return "only owners may change members, and only the creator may change owners"
    return _ROLE[role]


def _need(op: Op) -> Need:
    if isinstance(op, Create):
        return Need.BIND
    if _deletes(op):
        return Need.UNBIND
    return Need.WRITE_PROPERTIES if isinstance(op, Policy | Member) else Need.WRITE_CONTENT


def _deletes(op: Op) -> bool:
    return isinstance(op, Set) and op.key == "status" and op.value == "deleted"
