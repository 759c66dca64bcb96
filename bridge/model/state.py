"""What the log says now: cells of tasks, members, policies and keys of a project.

Values only. A state is replaced, never changed in place, so a reader may keep one while
the worker goes on. `bridge.model.merge` makes the next state from an entry.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bridge.model.ids import ZERO_HASH, Address, Digest, KeyId, PatchId, ProjectId, ReplicaId
from bridge.model.patch import Base, Member, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.ids import Domain, TaskId

ASSIGNEE = "assignee_"
ANNOTATION = "annotation_"
ATTACHMENT = "attach_"
TAG = "tag_"
DEPENDS = "dep_"


class Write(NamedTuple):
    """Who wrote a cell: the facts that a merge compares (tx-protocol section 6)."""

    seq: int
    e: str
    """min(patch.at, entry.ts)"""
    patch: PatchId
    replica: ReplicaId


class Cell(NamedTuple):
    """The value of one key of one task; None once it was dropped."""

    value: str | None
    write: Write


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """One task as the log has it; the times are those of the master's entries."""

    id: TaskId
    cells: Mapping[str, Cell]
    created_seq: int
    created_at: str
    created_by: Address | Domain
    modified_seq: int
    modified_at: str

    def value(self, key: str) -> str | None:
        """Return the value of `key`, or None."""
        cell = self.cells.get(key)
        return cell.value if cell else None

    @property
    def keys(self) -> dict[str, str]:
        """The task as a plain string map (tx-protocol section 8)."""
        return {key: cell.value for key, cell in self.cells.items() if cell.value is not None}

    @property
    def is_deleted(self) -> bool:
        """True once ``status`` is ``deleted``: hidden, and restorable by a new status."""
        return self.value("status") == "deleted"

    def is_assignee(self, user: str) -> bool:
        """Tell whether `user` was asked to do this task or has accepted it."""
        return self.value(ASSIGNEE + user) in ("requested", "accepted")

    def pack(self) -> dict[str, Any]:
        """Return a compact JSON form; cells written together share their `Write`."""
        writes: dict[Write, int] = {}
        cells = {
            key: [cell.value, writes.setdefault(cell.write, len(writes))]
            for key, cell in self.cells.items()
        }
        return {
            "created": [self.created_seq, self.created_at, self.created_by],
            "modified": [self.modified_seq, self.modified_at],
            "writes": [list(write) for write in writes],
            "cells": cells,
        }

    @classmethod
    def unpack(cls, task: TaskId, packed: Mapping[str, Any]) -> TaskState:
        """Return the state that `pack` wrote."""
        writes = [Write(*write) for write in packed["writes"]]
        created, modified = packed["created"], packed["modified"]
        return cls(
            id=task,
            cells={key: Cell(value, writes[i]) for key, (value, i) in packed["cells"].items()},
            created_seq=created[0],
            created_at=created[1],
            created_by=created[2],
            modified_seq=modified[0],
            modified_at=modified[1],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A member's role and what the member sees: ``all``, ``assigned`` or a tuple of parts."""

    role: Role
    scope: str | tuple[str, ...] | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectState:
    """All of a project but its tasks; small, so it may be copied for each entry."""

    id: ProjectId
    seq: int = 0
    hash: Digest = ZERO_HASH
    ts: str = ""
    members: Mapping[Address, Membership] = field(default_factory=dict)
    policy: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[KeyId, str] = field(default_factory=dict)
    counters: Mapping[ReplicaId, int] = field(default_factory=dict)

    @property
    def base(self) -> Base:
        """The head, as a patch made now names it."""
        return Base(seq=self.seq, hash=self.hash)

    @property
    def name(self) -> str:
        """What people call the project."""
        return self.policy.get("name") or self.id

    @property
    def creator(self) -> Address | None:
        """The one CREATOR, once the first entry is there."""
        return next((u for u, m in self.members.items() if m.role is Role.CREATOR), None)

    def role_of(self, user: str) -> Role | None:
        """Return the role of `user` at this point of the log."""
        member = self.members.get(Address(user))
        return member.role if member else None

    def with_member(self, op: Member, *, author: str) -> ProjectState:
        """Return the state after a ``member`` op that was allowed."""
        members = dict(self.members)
        if op.role is None:
            members.pop(op.user, None)
        else:
            if op.role is Role.CREATOR and self.members and op.user != author:
                # Handing over: the old creator stays as an owner (tx-protocol section 2).
                members[Address(author)] = Membership(role=Role.OWNER)
            members[op.user] = Membership(role=op.role, scope=op.scope, key=op.key)
        return replace(self, members=members)

    def pack(self) -> dict[str, Any]:
        """Return the JSON form that the index keeps."""
        return {
            "seq": self.seq,
            "hash": self.hash,
            "ts": self.ts,
            "members": {
                user: [
                    m.role.value,
                    list(m.scope) if isinstance(m.scope, tuple) else m.scope,
                    m.key,
                ]
                for user, m in self.members.items()
            },
            "policy": dict(self.policy),
            "keys": dict(self.keys),
            "counters": dict(self.counters),
        }

    @classmethod
    def unpack(cls, project: ProjectId, packed: Mapping[str, Any]) -> ProjectState:
        """Return the state that `pack` wrote."""
        members = {
            Address(user): Membership(
                role=Role(role), scope=tuple(scope) if isinstance(scope, list) else scope, key=key
            )
            for user, (role, scope, key) in packed["members"].items()
        }
        return cls(
            id=project,
            seq=packed["seq"],
            hash=packed["hash"],
            ts=packed["ts"],
            members=members,
            policy=packed["policy"],
            keys=packed["keys"],
            counters=packed["counters"],
        )
