"""What a plan may look at, and what it returns. Pure values and Protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bridge.model.ids import project_of
from bridge.model.patch import Draft, Mode
from bridge.worker.command import Conflict, Receipt, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.model.ids import Domain, KeyId, PatchId, ProjectId, TaskId
    from bridge.model.log import Entry
    from bridge.model.patch import Op
    from bridge.model.state import ProjectState, TaskState
    from bridge.store.rows import TaskRow
    from bridge.worker.command import Actor, Expect


class View(Protocol):
    """The state after all commands before this one."""

    def project(self, project: ProjectId) -> ProjectState | None:
        """Return a project's state."""

    def task(self, task: TaskId) -> TaskState | None:
        """Return a task's state, deleted ones too."""

    def row(self, task: TaskId) -> TaskRow | None:
        """Return a task as it is served, deleted ones too."""

    def named(self, project: ProjectId, href: str) -> TaskId | None:
        """Return the live task of that name."""

    def subject_of(self, project: ProjectId, patch: PatchId) -> TaskId | ProjectId | None:
        """Return what a committed patch concerns; None for one that the log does not have."""

    def entries(self, subject: TaskId | ProjectId) -> Iterable[Entry]:
        """Return all entries of a task, or of the project itself, oldest first."""


class Keep(Protocol):
    """Stores a value too long for a patch as a blob of the project (design section 3)."""

    def __call__(self, project: ProjectId, data: bytes) -> str:
        """Return the digest that names `data`, once it is on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Patches to commit, all or none, and what the receipt says beside them.

    Attributes:
        task: the task whose new state the receipt shows.
        sent: the text a client sent, to be compared with what is served now.
        conflicts: keys that a revert leaves alone.
    """

    drafts: tuple[Draft, ...]
    task: TaskId | None = None
    sent: str | None = None
    conflicts: tuple[str, ...] = ()


Answer = Plan | Receipt | Conflict | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Facts of this domain that plans need."""

    domain: Domain
    key: KeyId
    public: str


def draft_of(  # noqa: PLR0913 - all but two are optional and named
    actor: Actor,
    subject: TaskId,
    ops: Iterable[Op],
    *,
    mode: Mode = Mode.MERGE,
    reverts: PatchId | None = None,
    batch: str | None = None,
    text: str | None = None,
) -> Draft:
    """Return the draft of a patch on one task, written for `actor`."""
    return Draft(
        project=project_of(subject),
        subject=subject,
        author=actor.user,
        via=actor.via,
        ops=tuple(ops),
        mode=mode,
        cause=actor.cause,
        evidence=actor.evidence,
        reverts=reverts,
        batch=batch,
        text=text,
    )


def unmet(expect: Expect, etag: str | None) -> Conflict | None:
    """Return the conflict if preconditions do not hold for a task with `etag` (or none)."""
    if expect.absent and etag is not None:
        return Conflict(reason="a task of this name exists already", etag=etag)
    if not expect.etags or (etag is not None and not {"*", etag}.isdisjoint(expect.etags)):
        return None
    if etag is None:
        return Conflict(reason="there is no task of this name")
    return Conflict(reason="the task has changed since it was read", etag=etag)


def no_task() -> Refused:
    """Return the answer where a task does not exist, or may not be known of."""
    return Refused(code="no-task", reason="there is no such task")


def no_project() -> Refused:
    """Return the answer where a project does not exist, or may not be known of."""
    return Refused(code="no-project", reason="there is no such project")
