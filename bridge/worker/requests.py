"""Requests through the worker: received, accepted, declined, ignored (tx-protocol section 13).

A request lives in the directory, the task that it becomes in a log. Accepting writes the
log first: the task's id is the request's, so that an acceptance that broke off in between
meets its own task when it is repeated, and cannot make a second one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bridge.errors import Invalid
from bridge.model.ids import ProjectId, domain_of, parse_digest, project_of, task_id
from bridge.model.request import (
    Caps,
    Decision,
    Direction,
    Event,
    Kind,
    Level,
    Preview,
    Request,
    Side,
    State,
    expires_at,
)
from bridge.model.state import ASSIGNEE, ATTACHMENT
from bridge.store.directory_records import (
    Acquaintance,
    Listing,
    ListName,
    NotPossible,
    SenderKind,
    Standing,
)
from bridge.worker.command import (
    AcceptRequest,
    Actor,
    CreateTask,
    DeclineRequest,
    IgnoreRequest,
    Receipt,
    ReceiveRequest,
    Refused,
)

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from bridge.model.ids import Address, Digest, TaskId
    from bridge.store import BlobReader
    from bridge.store.directory_contract import Directory
    from bridge.worker.command import Outcome
    from bridge.worker.view import House, Keep, View

RequestCommand = ReceiveRequest | AcceptRequest | DeclineRequest | IgnoreRequest
_PROOFS: Final = frozenset({"smime", "openpgp", "dkim"})
_NOTES: Final = 4096
_TITLE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a request command comes to.

    Attributes:
        command: the task to make, if any.
        then: what the directory must learn once the log has it; its outcome is the answer
            where no task was made.
        outcome: the answer where there is nothing to do.
    """

    command: CreateTask | None = None
    then: Callable[[], Outcome] | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Where requests are kept."""

    directory: Directory
    blobs: BlobReader
    keep: Keep
    house: House
    caps: Caps
    now: datetime


def home_of(command: RequestCommand) -> ProjectId:
    """Return the personal project of the user whose request it is."""
    user = command.recipient if isinstance(command, ReceiveRequest) else command.actor.user
    return ProjectId(user)


def prepare(command: RequestCommand, office: Office, view: View) -> Step:
    """Return what `command` comes to.

    Raises:
        Invalid: a preview too long, a request of another sender under this id.
    """
    if isinstance(command, ReceiveRequest):
        return _receive(command, office)
    found = office.directory.requests.get(_side(command.actor.user, command.request))
    if found is None:
        return Step(outcome=_none())
    if isinstance(command, AcceptRequest):
        return _accept(command, found, office, view)
    event = Event.DECLINE if isinstance(command, DeclineRequest) else Event.IGNORE
    if isinstance(command, IgnoreRequest) and command.block:
        return Step(then=lambda: _shut_out(command, found, office))
    reason = command.reason if isinstance(command, DeclineRequest) else ""
    return Step(then=lambda: _decide(found, event, command.actor.user, office, reason))


def _side(user: Address, request: uuid.UUID) -> Side:
    return Side(user, Direction.RECEIVED, request)


def _none() -> Refused:
    return Refused(code="no-request", reason="there is no such request")


def _receive(command: ReceiveRequest, office: Office) -> Step:
    if domain_of(command.recipient) != office.house.domain:
        return Step(outcome=Refused(code="not-here", reason="the recipient is no user here"))
    level = Level(command.level)
    request = Request(
        id=command.id,
        kind=Kind.ASSIGN,
        direction=Direction.RECEIVED,
        recipient=command.recipient,
        sender=command.sender,
        level=level,
        preview=_preview(command.keys),
        created=office.now,
        expires=expires_at(office.now, level),
        method=command.method,
        fingerprint=command.fingerprint,
        proof_reason=command.reason,
        message=command.message,
        project_hint=command.project or "",
        fields={"keys": dict(command.keys)},
    )
    return Step(then=lambda: _add(request, office))


def _preview(keys: Mapping[str, str]) -> Preview:
    notes = keys.get("notes", "").encode()[:_NOTES].decode(errors="ignore")
    return Preview(
        title=keys.get("description", "")[:_TITLE],
        notes=notes,
        due=keys.get("due", ""),
        priority=keys.get("priority", ""),
    )


def _add(request: Request, office: Office) -> Outcome:
    directory, home = office.directory, ProjectId(request.recipient)
    with directory.transaction():
        held = directory.requests.get(request.side)
        if held is None:
            standing = directory.contacts.standing(
                request.recipient, request.sender, request.fingerprint
            )
            known = standing in (Standing.KNOWN, Standing.ALLOWED)
            over = directory.requests.over_cap(
                request.recipient, request.sender, known=known, now=office.now, caps=office.caps
            )
            if over:
                return Refused(code="too-many", reason=over.value, retry=True)
            strange = not known or request.level is Level.NONE
            directory.requests.add(replace(request, quarantined=strange))
    return Receipt(project=home, created=held is None, request=request.id)


def _accept(command: AcceptRequest, request: Request, office: Office, view: View) -> Step:
    if request.state is State.ACCEPTED and request.task is not None:
        return Step(
            outcome=Receipt(project=project_of(request.task), task=request.task, request=request.id)
        )
    if request.state is not State.REQUESTED:
        return Step(
            outcome=Refused(code="conflict", reason=f"the request is {request.state.value}")
        )
    user = command.actor.user
    person = office.directory.people.get(user)
    default = person.default_project if person else None
    project = command.project or default or ProjectId(user)
    task = task_id(request.id, project)
    keys = _keys(command, request)
    if view.project(project) is not None:
        _carry_blobs(keys, ProjectId(user), project, office)
    actor = Actor(
        user=user,
        via=command.actor.via,
        credential=command.actor.credential,
        cause={**command.actor.cause, "rfa": str(request.id)},
        evidence=_evidence(request),
    )
    return Step(
        command=CreateTask(actor=actor, task=task, keys=keys),
        then=lambda: _accepted(request, task, user, office),
    )


def _keys(command: AcceptRequest, request: Request) -> dict[str, str]:
    asked = request.fields.get("keys")
    keys: dict[str, str | None] = {
        str(key): str(value) for key, value in (asked.items() if isinstance(asked, dict) else ())
    }
    keys |= {
        "requester": request.sender,
        "rfa": str(request.id),
        ASSIGNEE + command.actor.user: "accepted",
    }
    if command.href is not None:
        keys["ical.href"] = command.href
    keys |= command.changes
    return {key: value for key, value in keys.items() if value is not None}


def _evidence(request: Request) -> tuple[Mapping[str, str], ...]:
    if request.method not in _PROOFS or request.message is None:
        return ()
    return ({"kind": request.method, "signer": request.sender, "ref": request.message},)


def _carry_blobs(
    keys: Mapping[str, str], source: ProjectId, target: ProjectId, office: Office
) -> None:
    """A container holds its own attachments: copy those of the request."""
    for key in keys:
        if not key.startswith(ATTACHMENT) or source == target:
            continue
        digest = _digest(key.removeprefix(ATTACHMENT))
        if not office.blobs.exists(target, digest) and office.blobs.exists(source, digest):
            office.keep(target, office.blobs.read(source, digest))


def _digest(hexes: str) -> Digest:
    return parse_digest(f"sha256:{hexes}")


def _accepted(request: Request, task: TaskId, user: Address, office: Office) -> Outcome:
    directory = office.directory
    with directory.transaction():
        outcome = _decide(request, Event.ACCEPT, user, office, "", task)
        if isinstance(outcome, Receipt) and request.level is not Level.NONE:
            directory.contacts.remember(user, request.sender, Acquaintance.KNOWN, office.now)
    return outcome


def _decide(
    request: Request,
    event: Event,
    by: Address,
    office: Office,
    reason: str = "",
    task: TaskId | None = None,
) -> Outcome:
    decision = Decision(at=office.now, by=by, reason=reason)
    decided = office.directory.requests.decide(request.side, event, decision, task=task)
    if isinstance(decided, NotPossible):
        return Refused(code="conflict", reason=f"the request is {decided.state.value}")
    home = project_of(task) if task else ProjectId(request.recipient)
    return Receipt(project=home, task=task, request=request.id)


def _shut_out(command: IgnoreRequest, request: Request, office: Office) -> Outcome:
    kind = SenderKind(command.block)
    value = {
        SenderKind.ADDRESS: request.sender,
        SenderKind.DOMAIN: request.sender_domain,
        SenderKind.KEY: request.fingerprint,
    }[kind]
    if not value:
        raise Invalid("no-key", "the request was not signed, so there is no key to block")
    office.directory.shut_out(
        command.actor.user,
        Listing(list=ListName.BLOCK, kind=kind, value=value),
        Decision(at=office.now, by=command.actor.user),
    )
    return Receipt(project=home_of(command), request=request.id)
