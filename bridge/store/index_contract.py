"""The index: everything that CalDAV, web and search read (design section 3).

Promises of every implementation: rows follow from the log and may be deleted and rebuilt
at any time; a reader sees whole entries only; `head` never goes back; what a call reads
is in proportion to what it returns, not to the size of the project. Readers may come from
many threads and processes, the one writer is the worker.

Members with a limited scope see only tasks that name them as assignee: such readers pass
`viewer`, all others None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.model.ids import Address, Digest, PatchId, ProjectId, TaskId
    from bridge.model.state import ProjectState, TaskState
    from bridge.store.rows import Applied, EntryRow, Listed, ProjectCard, TaskRow


UNBOUNDED: Final = 2**62
"""Further away than any time of a task, in seconds; the same below zero."""
UNTOLD: Final = -1
"""The state of a task whose text alone tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What changed after a position: each member once, as it is now.

    `seq` is where the next call goes on; `more` is True where the limit cut the list.
    """

    seq: int
    members: tuple[Listed, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A query that the index answers itself.

    Attributes:
        states: numbers in `bridge.store.index_shown.STATES`; None for all. Tasks whose
            state is `UNTOLD` are always among the answer.
        start, end: epoch seconds; tasks that RFC 4791 section 9.9 counts as overlapping,
            and all of which only the text tells. None is unbounded.
    """

    states: frozenset[int] | None = None
    start: int | None = None
    end: int | None = None


class IndexReader(Protocol):
    """Reading the index."""

    def projects(self) -> Iterator[ProjectId]:
        """Yield every project of this store."""

    def homes(self, user: Address) -> tuple[ProjectCard, ...]:
        """Return the projects of which `user` is a member, by name."""

    def project(self, project: ProjectId) -> ProjectState | None:
        """Return the state of a project at the index's position."""

    def head(self, project: ProjectId) -> int:
        """Return the position of the newest entry; 0 for none. One row is read."""

    def task(self, task: TaskId) -> TaskState | None:
        """Return the state of a task, deleted ones too."""

    def found(self, task: TaskId) -> tuple[TaskState, TaskRow] | None:
        """Return the state and the row of a task, deleted ones too."""

    def row(self, project: ProjectId, href: str, viewer: Address | None = None) -> TaskRow | None:
        """Return the live task of that name."""

    def row_of(self, task: TaskId) -> TaskRow | None:
        """Return the row of a task, deleted ones too."""

    def rows(
        self, project: ProjectId, hrefs: Sequence[str], viewer: Address | None = None
    ) -> dict[str, TaskRow]:
        """Return the live tasks of those names."""

    def named(self, project: ProjectId, uid: str) -> TaskRow | None:
        """Return the live task with an iCalendar UID."""

    def listing(self, project: ProjectId, viewer: Address | None = None) -> Iterator[Listed]:
        """Yield the live members without their texts."""

    def texts(
        self, project: ProjectId, window: Window, viewer: Address | None = None
    ) -> Iterator[TaskRow]:
        """Yield the live tasks that may match `window`."""

    def matching(
        self, project: ProjectId, window: Window, viewer: Address | None = None, *, texts: bool
    ) -> Iterator[Listed]:
        """Yield the live tasks that may match `window`, those that surely do are `sure`.

        With `texts` False only those that are not sure bring their text.
        """

    def changes(
        self, project: ProjectId, after: int, limit: int, viewer: Address | None = None
    ) -> Changes:
        """Return the members changed after position `after`, oldest change first."""

    def entry(self, project: ProjectId, seq: int) -> EntryRow | None:
        """Return the facts of one entry."""

    def history(
        self,
        project: ProjectId,
        subject: TaskId | ProjectId | None = None,
        *,
        before: int | None,
        limit: int,
    ) -> tuple[EntryRow, ...]:
        """Return the newest entries first: all, or those of a task or of the project itself."""

    def position_of(self, project: ProjectId, patch: PatchId) -> int | None:
        """Return the position of the entry that holds `patch`."""

    def find_patch(self, prefix: str) -> tuple[EntryRow, ...]:
        """Return up to 10 entries whose patch id's hex starts with `prefix`."""

    def hash_at(self, project: ProjectId, seq: int) -> Digest | None:
        """Return the hash of the entry at `seq`; the zero hash at 0."""

    def count(self, project: ProjectId) -> tuple[int, int]:
        """Return how many live tasks there are, and how many of them are open."""


class IndexWriter(IndexReader, Protocol):
    """Writing the index; for the worker alone."""

    def apply(self, batch: Sequence[Applied]) -> None:
        """Take in committed entries, in order, all of them or none."""

    def forget(self, project: ProjectId) -> None:
        """Drop all rows of a project, so that its log can be read in afresh."""
