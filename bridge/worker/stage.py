"""The next entries, before they are on disk.

A `Stage` sees the committed state (index and caches) with the commands of the current
batch laid over it, so that the second of two writes in one batch sees the first. It signs
drafts, has `decide` judge them and makes entries; nothing here touches the log.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bridge.errors import Invalid
from bridge.model.canonical import canonical
from bridge.model.ids import ZERO_HASH, Digest, TaskId, digest_of, domain_of, project_of
from bridge.model.log import MAX_LINE, Entry, body_of, head_of, read_own_entry
from bridge.model.merge import Accepted, Duplicate, Refusal, advance, apply, decide
from bridge.model.patch import MAX_PATCH, read_patch
from bridge.model.state import ProjectState
from bridge.store.rows import task_row
from bridge.trust.patchsig import ENTRY, PATCH, b64
from bridge.worker.refusal import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from bridge.model.ids import PatchId, ProjectId, ReplicaId
    from bridge.model.patch import Draft, Patch
    from bridge.model.state import TaskState
    from bridge.store import BlobReader, LogReader
    from bridge.store.index_contract import IndexReader
    from bridge.store.rows import EntryRow, TaskRow
    from bridge.trust.patchsig import DomainKey
    from bridge.wire.vtodo import Facts
    from bridge.worker.command import Refused

_NONCE: Final = 16
_HISTORY_PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An entry that is not committed yet, with what it leads to."""

    entry: Entry
    line: bytes
    project: ProjectState
    task: TaskState | None
    row: TaskRow | None
    facts: Facts | None


@dataclass(slots=True, kw_only=True)
class Layer:
    """What one command, or one batch, changes."""

    projects: dict[ProjectId, ProjectState] = field(default_factory=dict)
    tasks: dict[TaskId, tuple[TaskState, TaskRow]] = field(default_factory=dict)
    hrefs: dict[tuple[ProjectId, str], TaskId | None] = field(default_factory=dict)
    made: list[Made] = field(default_factory=list)
    patches: dict[PatchId, Entry] = field(default_factory=dict)

    def take(self, other: Layer) -> None:
        """Lay `other` on top of this."""
        self.projects.update(other.projects)
        self.tasks.update(other.tasks)
        self.hrefs.update(other.hrefs)
        self.made.extend(other.made)
        self.patches.update(other.patches)


@dataclass(slots=True, kw_only=True)
class Stage:
    """The view of one command (`bridge.worker.view.View`) and the maker of its entries.

    Attributes:
        batch: what earlier commands of the batch changed.
        cached: states that are committed, kept by the worker between batches.
    """

    index: IndexReader
    log: LogReader
    blobs: BlobReader
    key: DomainKey
    replica: ReplicaId
    random_bytes: Callable[[int], bytes]
    batch: Layer
    cached: Layer
    mine: Layer = field(default_factory=Layer)
    missing: set[TaskId] = field(default_factory=set)
    """Tasks that the index does not have: asked once for each command."""

    # -- the view ------------------------------------------------------------------------

    def project(self, project: ProjectId) -> ProjectState | None:
        """Return a project's state."""
        for layer in (self.mine, self.batch, self.cached):
            if project in layer.projects:
                return layer.projects[project]
        state = self.index.project(project)
        if state is not None:
            self.cached.projects[project] = state
        return state

    def _task(self, task: TaskId) -> tuple[TaskState, TaskRow] | None:
        for layer in (self.mine, self.batch, self.cached):
            if task in layer.tasks:
                return layer.tasks[task]
        if task in self.missing:
            return None
        found = self.index.found(task)
        if found is None:
            self.missing.add(task)
            return None
        self.cached.tasks[task] = found
        return found

    def task(self, task: TaskId) -> TaskState | None:
        """Return a task's state, deleted ones too."""
        found = self._task(task)
        return found[0] if found else None

    def row(self, task: TaskId) -> TaskRow | None:
        """Return a task as it is served, deleted ones too."""
        found = self._task(task)
        return found[1] if found else None

    def named(self, project: ProjectId, href: str) -> TaskId | None:
        """Return the live task of that name."""
        names = ChainMap(self.mine.hrefs, self.batch.hrefs)
        if (project, href) in names:
            return names[project, href]
        row = self.index.row(project, href)
        return row.task if row else None

    def subject_of(self, project: ProjectId, patch: PatchId) -> TaskId | ProjectId | None:
        """Return what a committed patch concerns; None for one that the log does not have."""
        seq = self.index.position_of(project, patch)
        row = self.index.entry(project, seq) if seq else None
        return (row.task or project) if row else None

    def entries(self, subject: TaskId | ProjectId) -> Iterator[Entry]:
        """Yield all entries of a task, or of the project itself, oldest first."""
        project = project_of(subject)
        before: int | None = None
        rows: list[EntryRow] = []
        while page := self.index.history(project, subject, before=before, limit=_HISTORY_PAGE):
            rows += page
            before = page[-1].seq
        for row in reversed(rows):
            yield read_own_entry(self.log.read_at(project, row.place))
        yield from (made.entry for made in self.batch.made if made.entry.patch.subject == subject)

    # -- the ledger of `decide` ----------------------------------------------------------

    def _ledger(self, project: ProjectState) -> _Ledger:
        return _Ledger(project, self)

    # -- making entries ------------------------------------------------------------------

    def commit(self, draft: Draft, now: datetime) -> Made | Refused:
        """Sign `draft`, judge it and make its entry on top of this stage.

        Raises:
            Invalid: the patch breaks the form (too large, a bad key).
        """
        project = self.project(draft.project) or ProjectState(id=draft.project)
        ts = max(project.ts, stamp(now))
        replica = self.replica if "@" in draft.author else domain_replica(draft)
        document = draft.document(
            replica=replica,
            n=project.counters.get(replica, 0) + 1,
            base=project.base,
            at=ts,
            nonce=b64(self.random_bytes(_NONCE)),
        )
        data = canonical(document)
        signed = self.key.sign_canonical(PATCH, document, data)
        return self.admit(read_patch(signed, digest_of(data)), project, ts)

    def admit(self, patch: Patch, project: ProjectState, ts: str) -> Made | Refused:
        """Judge a signed patch and make its entry."""
        subject = None if patch.on_project else TaskId(patch.subject)
        task = self.task(subject) if subject else None
        verdict = decide(patch, project, task, self._ledger(project), ts)
        match verdict:
            case Refusal():
                return explain(verdict, patch, project)
            case Duplicate():
                return explain(Refusal("replay"), patch, project)
            case Accepted():
                return self._make(patch, verdict, project, task, ts)

    def _make(
        self,
        patch: Patch,
        verdict: Accepted,
        project: ProjectState,
        task: TaskState | None,
        ts: str,
    ) -> Made:
        body = body_of(patch, verdict.skipped)
        body_data = canonical(body)
        unsigned = head_of(patch, digest_of(body_data), project, ts)
        data = canonical(unsigned)
        head = self.key.sign_canonical(ENTRY, unsigned, data)
        entry = Entry(
            project=project.id,
            seq=project.seq + 1,
            prev=project.hash,
            hash=digest_of(data),
            ts=ts,
            patch=patch,
            skipped=verdict.skipped,
            head=head,
            body=body,
        )
        # `Entry.line` from the parts that are canonical already.
        line = b'{"body":' + body_data + b',"head":' + canonical(head) + b"}"
        if len(line) > min(MAX_LINE, 2 * MAX_PATCH):
            raise Invalid("too-large", f"a change has at most {MAX_PATCH} bytes", limit=MAX_PATCH)
        made = self.after(entry, line, project, task, verdict.folded)
        self.mine.made.append(made)
        self.mine.projects[project.id] = made.project
        self.mine.patches[patch.id] = entry
        if made.task is not None and made.row is not None:
            self._place(made.task, made.row)
        return made

    def after(
        self,
        entry: Entry,
        line: bytes,
        project: ProjectState,
        task: TaskState | None,
        folded: TaskState | None = None,
    ) -> Made:
        """Return what `entry` leads to on top of the given states."""
        patch, head, ts = entry.patch, entry.hash, entry.ts
        if folded is None:
            state, changed = apply(patch, entry.skipped, project, task, head=head, ts=ts)
        else:
            # `decide` has laid the same ops on the same task: twice leads to the same.
            state, changed = advance(patch, project, head=head, ts=ts), folded
        row = facts = None
        if changed is not None and not entry.patch.on_project:
            row, facts = task_row(changed, entry, self._text_of)
        return Made(
            entry=entry,
            line=line,
            project=state,
            task=None if entry.patch.on_project else changed,
            row=row,
            facts=facts,
        )

    def _place(self, task: TaskState, row: TaskRow) -> None:
        before = self.row(task.id)
        if before is not None and before.href != row.href:
            self.mine.hrefs[row.project, before.href] = None
        self.mine.hrefs[row.project, row.href] = None if row.deleted else task.id
        self.mine.tasks[task.id] = (task, row)

    def _text_of(self, project: ProjectId, digest: Digest) -> str:
        return self.blobs.read(project, digest).decode()


@dataclass(frozen=True, slots=True)
class _Ledger:
    """`bridge.model.merge.Ledger` over the index and the batch."""

    state: ProjectState
    stage: Stage

    def hash_at(self, seq: int) -> Digest | None:
        """Return the hash of the entry at `seq`."""
        if seq == self.state.seq:
            return self.state.hash
        if seq == 0:
            return ZERO_HASH
        for made in (*self.stage.mine.made, *self.stage.batch.made):
            if made.entry.project == self.state.id and made.entry.seq == seq:
                return made.entry.hash
        return self.stage.index.hash_at(self.state.id, seq)

    def position_of(self, patch: PatchId) -> int | None:
        """Return the seq of the entry that holds `patch`."""
        for layer in (self.stage.mine, self.stage.batch):
            if patch in layer.patches:
                return layer.patches[patch].seq
        return self.stage.index.position_of(self.state.id, patch)


def stamp(now: datetime) -> str:
    """Return `now` as documents hold a time: UTC, milliseconds."""
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def domain_replica(draft: Draft) -> ReplicaId:
    """Return the replica of a patch that the domain writes for itself (section 4)."""
    return domain_of(draft.author)  # type: ignore[return-value]  # a bare domain, as the vectors have it
