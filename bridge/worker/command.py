"""What a door may ask of the worker, and what it hears back. Pure values.

Every write is one of these commands, given to `submit` (design section 4). A command
names who asks (`Actor`), through which door and with what proof; the worker trusts
nothing else a door says. Times and random values are the worker's; ids of new things
come from the door, derived from what caused them, so that asking twice is harmless.

Expected outcomes are values: `Receipt`, `Conflict` (a true precondition failed, 412) and
`Refused` (never, 403, or with `retry` not now, 503).
"""

from __future__ import annotations

import uuid  # noqa: TC003 - the socket's codec reads these annotations at run time
from collections.abc import Mapping  # noqa: TC003 - as above
from dataclasses import dataclass, field
from enum import StrEnum

from bridge.model.ids import Address, Digest, PatchId, ProjectId, TaskId  # noqa: TC001 - as above
from bridge.model.patch import Role, Via  # noqa: TC001 - as above


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks.

    Attributes:
        user: the address the patch is written for; its rights are what counts.
        via: the door.
        credential: label of the app password or device, for the event log.
        evidence: proofs that explain a patch made on somebody's behalf, as the patch
            carries them: ``kind``, ``signer``, ``ref`` (tx-protocol section 4).
        cause: ``rfa`` (request id) and ``mandate``, where there are any.
    """

    user: Address
    via: Via
    credential: str = ""
    evidence: tuple[Mapping[str, str], ...] = ()
    cause: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """Preconditions of a conditional request (RFC 9110 section 13).

    Attributes:
        etags: the task must exist with one of these ETags (quoted); ``*`` is any.
        absent: the name must be free (``If-None-Match: *``).
    """

    etags: tuple[str, ...] = ()
    absent: bool = False


ANYTHING = Expect()


# -- projects ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateProject:
    """Make a project of which the actor is the CREATOR.

    `policy` may hold ``name``, ``color`` and others.
    """

    actor: Actor
    project: ProjectId
    policy: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPolicy:
    """Change policies of a project, its name and colour among them; None takes one away."""

    actor: Actor
    project: ProjectId
    policy: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMember:
    """Give a user a role, or none (which a user may also do to himself: leave)."""

    actor: Actor
    project: ProjectId
    user: Address
    role: Role | None
    scope: str | tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveProject:
    """Hide a project from every home; only its CREATOR may, and nothing is deleted.

    The personal project stays. `SetPolicy` with ``archived`` None brings it back.
    """

    actor: Actor
    project: ProjectId


# -- tasks -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTask:
    """Make a task of plain keys (tx-protocol section 8); an id that exists is met again."""

    actor: Actor
    task: TaskId
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetKeys:
    """Give keys of a task other values; None takes one away.

    With `was`, nothing changes unless those keys still have those values (atomic).
    """

    actor: Actor
    task: TaskId
    changes: Mapping[str, str | None]
    was: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteTask:
    """Mark a task completed now."""

    actor: Actor
    task: TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTask:
    """Hide a task (``status=deleted``); it can be restored."""

    actor: Actor
    task: TaskId
    expect: Expect = ANYTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotate:
    """Add a comment; two in one second are both kept."""

    actor: Actor
    task: TaskId
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Attach a blob that `keep_blob` stored before."""

    actor: Actor
    task: TaskId
    digest: Digest
    name: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PutTask:
    """Store what a CalDAV client sent under a name.

    Attributes:
        href: last segment of the resource's path, percent-decoded.
        text: the body as sent (UTF-8, CRLF or LF); read by `bridge.wire.vtodo`.
        base: text that this credential was last served, for the three-way merge; None
            means the task as it is now.
    """

    actor: Actor
    project: ProjectId
    href: str
    text: str
    expect: Expect = ANYTHING
    base: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveTask:
    """Move a task into another project under a name; both patches share a batch."""

    actor: Actor
    task: TaskId
    project: ProjectId
    href: str
    overwrite: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """Take a patch back by a new one.

    Keys written since are left out and named in `Receipt.conflicts`, unless `force`.
    """

    actor: Actor
    project: ProjectId
    patch: PatchId
    force: bool = False


# -- requests ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveRequest:
    """Put a request into a user's quarantine.

    Attributes:
        id: derived from what caused it, so that the same mail is the same request.
        recipient: a user of this domain.
        sender: who asks, as far as `level` proves it.
        level, method, fingerprint, reason: the verdict (`bridge.trust.verdict`), in words.
        message: digest of the stored original.
        project: where the sender would like it.
        keys: the whole task it would become; the preview is drawn from it. Attachments are
            blobs of the recipient's personal project.
    """

    id: uuid.UUID
    recipient: Address
    sender: Address
    level: str
    method: str
    fingerprint: str = ""
    reason: str = ""
    message: Digest | None = None
    project: ProjectId | None = None
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRequest:
    """Turn a request into a task of the actor's; `project` None means the default one.

    `changes` are keys that the recipient's client changed while accepting (started,
    completed, another due date).
    """

    actor: Actor
    request: uuid.UUID
    project: ProjectId | None = None
    href: str | None = None
    changes: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclineRequest:
    """Say no; the sender hears it, with `reason`."""

    actor: Actor
    request: uuid.UUID
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRequest:
    """Say nothing; with `block`, neither now nor ever again to this sender.

    `block` is ``address``, ``domain``, ``key`` or empty.
    """

    actor: Actor
    request: uuid.UUID
    block: str = ""


Command = (
    CreateProject
    | SetPolicy
    | SetMember
    | ArchiveProject
    | CreateTask
    | SetKeys
    | CompleteTask
    | DeleteTask
    | Annotate
    | Attach
    | PutTask
    | MoveTask
    | Revert
    | ReceiveRequest
    | AcceptRequest
    | DeclineRequest
    | IgnoreRequest
)


# -- answers -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Done, and on disk.

    Attributes:
        project, seq, patch: the entry; seq 0 where nothing had to change.
        task: the task concerned.
        created: True if the task (or project, or request) did not exist before.
        etag: the strong ETag of the task as it is now served, quoted.
        exact: True if what is served equals what `PutTask` sent, so `etag` may be told.
        skipped: ops that lost against a concurrent write, ``<key>: <why>``.
        conflicts: keys that `Revert` left alone.
        request: the request concerned.
    """

    project: ProjectId
    seq: int = 0
    patch: PatchId | None = None
    task: TaskId | None = None
    created: bool = False
    etag: str = ""
    exact: bool = False
    href: str = ""
    skipped: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    request: uuid.UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A precondition of the command is not true (412); `etag` is what is there now."""

    reason: str
    etag: str = ""


class Need(StrEnum):
    """The privilege that is missing, for the ``need-privileges`` body (RFC 3744)."""

    WRITE_CONTENT = "write-content"
    BIND = "bind"
    UNBIND = "unbind"
    WRITE_PROPERTIES = "write-properties"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Not done, and nothing is half-written.

    Attributes:
        code: of tx-protocol section 12, or an RFC's precondition (``no-uid-conflict``,
            ``valid-calendar-data``, ``supported-calendar-component`` …).
        reason: one sentence for a person.
        retry: True for "not now" (503, SMTP 4xx).
        need: for ``forbidden``: the privilege.
        href: for ``no-uid-conflict``: the name that holds the UID.
    """

    code: str
    reason: str
    retry: bool = False
    need: Need | None = None
    href: str = ""


Outcome = Receipt | Conflict | Refused
