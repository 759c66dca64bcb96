"""Entries: the master's record of patches, chained by hash (tx-protocol section 5).

One line of a log is the canonical JSON of ``{"head": …, "body": …}``. The head is what
is chained and signed; the body may be withheld from a replica or purged, the head never.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bridge.errors import Corrupt, Invalid
from bridge.model import canonical
from bridge.model.ids import ZERO_HASH, Digest, PatchId, ProjectId, TaskId
from bridge.model.merge import Accepted, Skip, apply, decide
from bridge.model.patch import MAX_PATCH, Patch, read_patch, read_time
from bridge.model.state import ProjectState, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_LINE = 4 * MAX_PATCH
"""Bytes of one log line: a patch, its signatures and the entry around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One link of a log; `head` and `body` are the JSON objects as stored."""

    project: ProjectId
    seq: int
    prev: Digest
    hash: Digest
    ts: str
    patch: Patch
    skipped: tuple[Skip, ...]
    head: dict[str, Any] = field(repr=False)
    body: dict[str, Any] = field(repr=False)

    @property
    def line(self) -> bytes:
        """The bytes of this entry in the log, without the newline."""
        return canonical.canonical({"head": self.head, "body": self.body})


def unsigned_head(
    patch: Patch, skipped: tuple[Skip, ...], project: ProjectState, ts: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return head (without ``sigs``) and body of the entry after `project`'s head."""
    body = body_of(patch, skipped)
    return head_of(patch, canonical.hash_of(body), project, ts), body


def body_of(patch: Patch, skipped: tuple[Skip, ...]) -> dict[str, Any]:
    """Return the body of an entry: the patch, and what of it lost."""
    return {"patch": patch.document, "skipped": [skip.document() for skip in skipped]}


def head_of(patch: Patch, body: Digest, project: ProjectState, ts: str) -> dict[str, Any]:
    """Return the head (without ``sigs``) of the entry after `project`'s head.

    `body` is the hash of the entry's body.
    """
    return {
        "tx": 1,
        "type": "entry",
        "project": project.id,
        "seq": project.seq + 1,
        "prev": project.hash,
        "patch": patch.id,
        "body": body,
        "ts": ts,
    }


def read_entry(line: bytes) -> Entry:
    """Return the entry in a log line; neither its hashes nor its place are checked yet.

    Raises:
        Invalid: ``too-large``, ``bad-json`` or a code of `read_patch`.
    """
    document = canonical.parse(line, limit=MAX_LINE)
    return entry_of(document)


def read_own_entry(line: bytes) -> Entry:
    """Return the entry in a line of a log that this program wrote and has checked once.

    What is not looked at again (sizes, depth, doubled names) the chain covers: a line that
    was changed since has another hash.

    Raises:
        Invalid: ``bad-json`` or a code of `read_patch`.
    """
    try:
        document = canonical.parse_trusted(line)
    except ValueError as error:
        raise Invalid("bad-json", f"not a JSON document: {error}") from None
    return entry_of(document)


def entry_of(document: Mapping[str, Any]) -> Entry:
    """Return the entry in a parsed line.

    Raises:
        Invalid: ``bad-json`` or a code of `read_patch`.
    """
    try:
        head, body = document["head"], document["body"]
        return Entry(
            project=ProjectId(head["project"]),
            seq=int(head["seq"]),
            prev=Digest(head["prev"]),
            hash=canonical.hash_of(head),
            ts=read_time(head["ts"]),
            patch=read_patch(body["patch"]),
            skipped=tuple(Skip.read(item) for item in body["skipped"]),
            head=head,
            body=body,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid("bad-json", f"an entry lacks or misspells a member: {error}") from None


class Checker(Protocol):
    """Signatures, which the model cannot check: see `bridge.trust.patchsig`."""

    def entry(self, entry: Entry, project: ProjectState) -> str | None:
        """Return None if the master signed `entry`, else ``bad-entry-signature``."""

    def patch(self, patch: Patch, project: ProjectState) -> str | None:
        """Return None, ``bad-patch-signature`` or ``bad-patch-signer``."""


@dataclass(slots=True)
class Fold:
    """A log being read from its first entry: state, chain and damage.

    With a `Checker`, each signature is verified and each decision of the master is made
    again; without one, only the chain of hashes is followed (a rebuild: section 5).
    """

    project: ProjectState
    checker: Checker | None = None
    tasks: dict[TaskId, TaskState] = field(default_factory=dict)
    hashes: list[Digest] = field(default_factory=lambda: [ZERO_HASH])
    patches: dict[PatchId, int] = field(default_factory=dict)

    def hash_at(self, seq: int) -> Digest | None:
        """Return the hash of the entry at `seq` (`bridge.model.merge.Ledger`)."""
        return self.hashes[seq] if 0 <= seq < len(self.hashes) else None

    def position_of(self, patch: PatchId) -> int | None:
        """Return the seq of the entry that holds `patch` (`bridge.model.merge.Ledger`)."""
        return self.patches.get(patch)

    def add(self, entry: Entry) -> TaskState | None:
        """Take the next entry and return the task it changed.

        Raises:
            Corrupt: the damage by name: ``bad-seq``, ``bad-prev``, ``bad-project``,
                ``bad-ts``, ``bad-body``, ``bad-patch``, ``bad-entry-signature``,
                ``bad-patch-signature``, ``bad-patch-signer``, ``bad-skipped`` or
                ``bad-admission``; ``fields["seq"]`` names the place.
        """
        code = chain_damage(entry, self.project) or self._breach(entry)
        if code:
            raise Corrupt(
                code,
                f"entry {entry.seq} of {self.project.id} is damaged: {code}",
                seq=self.project.seq + 1,
            )
        subject = None if entry.patch.on_project else TaskId(entry.patch.subject)
        before = self.tasks.get(subject) if subject else None
        self.project, after = apply(
            entry.patch, entry.skipped, self.project, before, head=entry.hash, ts=entry.ts
        )
        self.hashes.append(entry.hash)
        self.patches[entry.patch.id] = entry.seq
        if subject and after:
            self.tasks[subject] = after
        return after

    def _breach(self, entry: Entry) -> str | None:
        if self.checker is None:
            return None
        code = self.checker.entry(entry, self.project)
        code = code or self.checker.patch(entry.patch, self.project)
        if code:
            return code
        task = None if entry.patch.on_project else self.tasks.get(TaskId(entry.patch.subject))
        verdict = decide(entry.patch, self.project, task, self, entry.ts)
        if not isinstance(verdict, Accepted):
            return "bad-admission"
        return None if verdict.skipped == entry.skipped else "bad-skipped"


def chain_damage(entry: Entry, project: ProjectState) -> str | None:
    """Return what is wrong with `entry` as the one after `project`'s head, or None."""
    if entry.project != project.id or entry.patch.project != project.id:
        return "bad-project"
    if entry.seq != project.seq + 1:
        return "bad-seq"
    if entry.prev != project.hash:
        return "bad-prev"
    if entry.ts < project.ts:
        return "bad-ts"
    if canonical.hash_of(entry.body) != entry.head["body"]:
        return "bad-body"
    return None if entry.patch.id == entry.head["patch"] else "bad-patch"


def replay(project: ProjectId, lines: Iterable[bytes], checker: Checker | None = None) -> Fold:
    """Return the fold of a whole log.

    Raises:
        Corrupt: as `Fold.add`, or ``bad-line`` where a line cannot be read.
    """
    fold = Fold(project=ProjectState(id=project), checker=checker)
    for line in lines:
        try:
            entry = read_entry(line)
        except Invalid as error:
            seq = fold.project.seq + 1
            raise Corrupt(
                "bad-line", f"line {seq} of {project} cannot be read: {error}", seq=seq
            ) from None
        fold.add(entry)
    return fold
