"""One patch more: refuse it, or say what it changes (tx-protocol section 6).

`decide` is the master's rule; `apply` makes the next state from what was decided. A
replica, a rebuild and a check run the same two functions, so there is no state to
reconcile. Signatures are checked before, by `bridge.trust.patchsig`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from bridge.model import roles
from bridge.model.ids import KeyId, TaskId, domain_of, project_of
from bridge.model.patch import (
    MISSING,
    Create,
    DomainOp,
    Key,
    Member,
    Mode,
    Op,
    Patch,
    Policy,
    Role,
    Set,
)
from bridge.model.state import ANNOTATION, Cell, TaskState, Write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.model.ids import Digest, PatchId
    from bridge.model.state import ProjectState


class Ledger(Protocol):
    """What `decide` must know of the log behind the state."""

    def hash_at(self, seq: int) -> Digest | None:
        """Return the hash of the entry at `seq`; the zero hash at 0; None beyond the head."""

    def position_of(self, patch: PatchId) -> int | None:
        """Return the seq of the entry that holds `patch`, or None."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A patch that does not enter the log; `code` is of tx-protocol section 12."""

    code: str
    op: int | None = None

    def __str__(self) -> str:
        """Return ``code`` or ``code:<op index>``, as the conformance vectors write it."""
        return self.code if self.op is None else f"{self.code}:{self.op}"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The very patch is committed already, which counts as success."""

    seq: int


@dataclass(frozen=True, slots=True)
class Skip:
    """An op that did not take effect as written.

    ``exists``: create of an existing task. ``older``: a concurrent write won.
    ``rekeyed``: an annotation moved to the free second in `key`.
    """

    op: int
    why: str
    key: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the member of an entry's ``skipped`` list."""
        document: dict[str, Any] = {"i": self.op, "why": self.why}
        return document if self.key is None else {**document, "key": self.key}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Skip:
        """Return the skip in `document`."""
        return cls(document["i"], document["why"], document.get("key"))


@dataclass(frozen=True, slots=True)
class Accepted:
    """A patch that may enter the log, with the ops that lose.

    Attributes:
        folded: the task with the patch on it, where judging it led to that.
    """

    skipped: tuple[Skip, ...] = ()
    folded: TaskState | None = field(default=None, compare=False, repr=False)


def decide(
    patch: Patch, project: ProjectState, task: TaskState | None, ledger: Ledger, ts: str
) -> Accepted | Duplicate | Refusal:
    """Judge a patch whose signature is good, as the entry after `project`'s head.

    Args:
        patch: what somebody wants.
        project: the state at the head.
        task: the subject's state, or None if it was never created.
        ledger: the log behind `project`.
        ts: the master's time for the entry, not before `project.ts`.
    """
    refusal = _order(patch, project, ledger)
    if refusal is not None:
        return refusal
    if project.seq == 0:
        return _first(patch, project)
    if patch.author != domain_of(project.id) and project.role_of(patch.author) is None:
        return Refusal("not-a-member")
    if not patch.on_project and project_of(TaskId(patch.subject)) != project.id:
        return Refusal("bad-subject")
    return _ops_of_project(patch, project) if patch.on_project else _ops(patch, project, task, ts)


def _order(patch: Patch, project: ProjectState, ledger: Ledger) -> Duplicate | Refusal | None:
    if patch.project != project.id:
        return Refusal("bad-subject")
    if patch.n <= project.counters.get(patch.replica, 0):
        seq = ledger.position_of(patch.id)
        return Duplicate(seq) if seq is not None else Refusal("number-reused")
    if patch.base.seq > project.seq:
        return Refusal("base-ahead")
    if ledger.hash_at(patch.base.seq) != patch.base.hash:
        return Refusal("fork")
    return None


def _first(patch: Patch, project: ProjectState) -> Accepted | Refusal:
    """The first entry makes the project: its creator gives himself the role (section 5)."""
    if not patch.on_project:
        return Refusal("bad-subject")
    founder = patch.ops[0]
    if not isinstance(founder, Member) or founder.role is not Role.CREATOR:
        return Refusal("bad-op", 0)
    if founder.user != patch.author or domain_of(founder.user) != domain_of(project.id):
        return Refusal("forbidden", 0)
    return _ops_of_project(patch, project.with_member(founder, author=patch.author), skip=1)


def _ops_of_project(patch: Patch, project: ProjectState, skip: int = 0) -> Accepted | Refusal:
    for i, op in enumerate(patch.ops):
        if isinstance(op, Create | Set):
            return Refusal("bad-op", i)
        if i < skip:
            continue
        if not roles.allows(op, patch.author, project, None):
            return Refusal("forbidden", i)
        project = _next_project(op, patch, project)
    return Accepted()


def _ops(
    patch: Patch, project: ProjectState, task: TaskState | None, ts: str
) -> Accepted | Refusal:
    fold = _Fold(patch=patch, task=task, ts=ts, seq=project.seq + 1)
    for i, op in enumerate(patch.ops):
        code = _refusal_of(op, fold, project)
        if code:
            return Refusal(code, i)
        fold.decide(i, op)
    return Accepted(tuple(fold.skipped), fold.task)


def _refusal_of(op: Op, fold: _Fold, project: ProjectState) -> str | None:
    if not isinstance(op, Create | Set):
        return "bad-op"
    if isinstance(op, Set) and fold.task is None:
        return "no-task"
    if not roles.allows(fold.as_written(op), fold.patch.author, project, fold.task):
        return "forbidden"
    if fold.patch.mode is Mode.ATOMIC and isinstance(op, Set) and fold.moved_on(op):
        return "conflict"
    return None


def apply(
    patch: Patch,
    skipped: tuple[Skip, ...],
    project: ProjectState,
    task: TaskState | None,
    *,
    head: Digest,
    ts: str,
) -> tuple[ProjectState, TaskState | None]:
    """Return the states after the entry that holds `patch`; `head` is the entry's hash."""
    seq = project.seq + 1
    if patch.on_project:
        for op in patch.ops:
            project = _next_project(op, patch, project)
    else:
        task = apply_to_task(patch, skipped, task, seq=seq, ts=ts)
    return advance(patch, project, head=head, ts=ts), task


def advance(patch: Patch, project: ProjectState, *, head: Digest, ts: str) -> ProjectState:
    """Return the project one entry further; what the patch's ops say is in it already."""
    counters = {**project.counters, patch.replica: patch.n}
    return replace(project, seq=project.seq + 1, hash=head, ts=ts, counters=counters)


def apply_to_task(
    patch: Patch, skipped: tuple[Skip, ...], task: TaskState | None, *, seq: int, ts: str
) -> TaskState | None:
    """Return the task after its entry at `seq`; entries of other tasks need not be folded."""
    fold = _Fold(patch=patch, task=task, ts=ts, seq=seq)
    notes = {skip.op: skip for skip in skipped}
    for i, op in enumerate(patch.ops):
        fold.write(op, notes.get(i))
    return fold.task


def _next_project(op: Op, patch: Patch, project: ProjectState) -> ProjectState:
    match op:
        case Member():
            return project.with_member(op, author=patch.author)
        case Policy(key, value):
            policy = {k: v for k, v in project.policy.items() if k != key}
            return replace(project, policy=policy if value is None else {**policy, key: value})
        case Key(kid, public, _):
            return replace(project, keys={**project.keys, KeyId(kid): public})
        case DomainOp() | Create() | Set():
            return project


@dataclass(slots=True)
class _Fold:
    """One patch being laid on one task, op by op."""

    patch: Patch
    task: TaskState | None
    ts: str
    seq: int
    skipped: list[Skip] = field(default_factory=list)
    mark: Write = field(init=False)
    cells: dict[str, Cell] | None = None

    def __post_init__(self) -> None:
        """A clock in the future cannot win for ever: e is cut to the master's time."""
        e = min(self.patch.at, self.ts)
        self.mark = Write(self.seq, e, self.patch.id, self.patch.replica)

    def concurrent(self, key: str) -> Cell | None:
        """Return the cell of `key` if its write was unknown to this patch's author."""
        cell = self.task.cells.get(key) if self.task else None
        if cell is None or cell.write.seq <= self.patch.base.seq:
            return None
        mine = cell.write.replica == self.patch.replica or cell.write.patch == self.patch.id
        return None if mine else cell

    def moved_on(self, op: Set) -> bool:
        """Tell whether an atomic op's ``was`` is no longer true."""
        return op.was is not MISSING and self.task is not None and self.task.value(op.key) != op.was

    def as_written(self, op: Create | Set) -> Create | Set:
        """Return `op` with the key that it will be written to."""
        if isinstance(op, Create) or not self._rekeys(op):
            return op
        return Set(self._free_second(op.key), op.value)

    def decide(self, i: int, op: Op) -> None:
        """Lay `op` on the task and note it where it is skipped."""
        skip = self._skip(i, op)
        if skip:
            self.skipped.append(skip)
        self.write(op, skip)

    def _skip(self, i: int, op: Op) -> Skip | None:
        if isinstance(op, Create):
            return Skip(i, "exists") if self.task else None
        if not isinstance(op, Set):
            return None
        if self._rekeys(op):
            return Skip(i, "rekeyed", self._free_second(op.key))
        cell = self.concurrent(op.key)
        if cell and (self.mark.e, self.patch.id) < (cell.write.e, cell.write.patch):
            return Skip(i, "older")
        return None

    def _rekeys(self, op: Set) -> bool:
        """Two comments made in the same second are both kept (section 6, rule 5)."""
        if not op.key.startswith(ANNOTATION) or op.value is None:
            return False
        cell = self.concurrent(op.key)
        return cell is not None and cell.value is not None and cell.value != op.value

    def _free_second(self, key: str) -> str:
        try:
            second = int(key.removeprefix(ANNOTATION))
        except ValueError:
            second = 0
        while self.task and self.task.value(f"{ANNOTATION}{second}") is not None:
            second += 1
        return f"{ANNOTATION}{second}"

    def write(self, op: Op, skip: Skip | None) -> None:
        """Lay `op` on the task unless `skip` says that it lost."""
        if skip and skip.why in ("older", "exists"):
            return
        if isinstance(op, Create):
            self.task = TaskState(
                id=TaskId(self.patch.subject),
                cells={},
                created_seq=self.seq,
                created_at=self.ts,
                created_by=self.patch.author,
                modified_seq=self.seq,
                modified_at=self.ts,
            )
        elif isinstance(op, Set) and self.task:
            key = skip.key if skip and skip.key else op.key
            self._put(self.task, key, op.value)

    def _put(self, task: TaskState, key: str, value: str | None) -> None:
        if self.cells is None:
            # One copy a patch: nobody else holds this mapping before the fold is over.
            self.cells = dict(task.cells)
            self.task = replace(task, cells=self.cells, modified_seq=self.seq, modified_at=self.ts)
        self.cells[key] = Cell(value, self.mark)
