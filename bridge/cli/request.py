"""``tx-bridge request``: what others ask of users, and what users answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bridge.cli.names import find_project, find_request, short_task
from bridge.cli.session import Session, acting_for, session
from bridge.cli.shape import ADDRESS, Group, json_option
from bridge.cli.speech import document, moment, note, say, short, table
from bridge.errors import Invalid
from bridge.model.request import Request, State
from bridge.store.directory_records import SenderKind
from bridge.worker.command import AcceptRequest, DeclineRequest, IgnoreRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.model.ids import Address

_PAGE = 500


def _for_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--as", "acting", type=ADDRESS, metavar="ADDRESS", help="Whose request it is."
    )(command)


@click.group(cls=Group)
def request() -> None:
    """Requests: tasks that somebody asks a user to take.

    REQUEST is an id, or four or more of its digits from either end, as lists show them.
    """


@request.command("list")
@click.argument("user", type=ADDRESS, required=False)
@click.option("--all", "ended", is_flag=True, help="Ended ones too.")
@click.option("--sent", is_flag=True, help="What users asked of others.")
@json_option
def list_(user: Address | None, ended: bool, sent: bool, as_json: bool) -> None:
    """Show the requests that wait, of one user or of all."""
    with session() as opened:
        people = opened.gateway.directory.people
        users = [opened.person(user).address] if user else [one.address for one in people.all()]
        found = [one for person in users for one in _of(opened, person, ended=ended, sent=sent)]
    if as_json:
        document([_described(one) for one in found])
        return
    table(
        ("REQUEST", "FOR", "FROM", "PROOF", "STATE", "SINCE", "TITLE"),
        [
            (
                one.id.hex[-8:],
                one.recipient,
                one.sender,
                one.method or "none",
                one.state,
                moment(one.created),
                short(one.preview.title),
            )
            for one in found
        ],
        empty="no requests wait",
    )


def _of(opened: Session, user: Address, *, ended: bool, sent: bool) -> Iterator[Request]:
    requests = opened.gateway.directory.requests
    if sent:
        yield from (one for one in requests.sent(user) if ended or one.state is State.REQUESTED)
        return
    if not ended:
        yield from requests.waiting(user)
        return
    head, more = 0, True
    while more:
        page = requests.changes(user, head, _PAGE)
        yield from page.requests
        head, more = page.head, page.more


def _described(one: Request) -> dict[str, Any]:
    decision = one.decision
    return {
        "request": one.id,
        "kind": one.kind,
        "direction": one.direction,
        "recipient": one.recipient,
        "sender": one.sender,
        "state": one.state,
        "level": one.level,
        "method": one.method,
        "fingerprint": one.fingerprint,
        "proof": one.proof_reason,
        "title": one.preview.title,
        "notes": one.preview.notes,
        "due": one.preview.due,
        "priority": one.preview.priority,
        "project": one.project_hint,
        "task": one.task,
        "message": one.message,
        "created": one.created,
        "expires": one.expires,
        "decided": decision.at if decision else None,
        "decided_by": decision.by if decision else None,
        "reason": decision.reason if decision else "",
    }


@request.command()
@click.argument("which", metavar="REQUEST")
@_for_option
@json_option
def show(which: str, acting: Address | None, as_json: bool) -> None:
    """Show what is asked, by whom, and how well that is proved."""
    with session() as opened:
        found = find_request(opened.gateway, which, acting)
    described = _described(found)
    if as_json:
        document(described)
        return
    for key, value in described.items():
        if value:
            say(f"{key:<12} {value}")


@request.command()
@click.argument("which", metavar="REQUEST")
@click.option("--project", "into", metavar="PROJECT", help="Where the task goes.")
@_for_option
def accept(which: str, into: str | None, acting: Address | None) -> None:
    """Take the task; its sender is known from then on."""
    with session() as opened:
        found = find_request(opened.gateway, which, acting)
        project = find_project(opened.gateway, into).id if into else None
        receipt = opened.do(
            AcceptRequest(actor=acting_for(found.recipient), request=found.id, project=project)
        )
    if receipt.task:
        say(receipt.task)
        note(f"accepted as task {short_task(receipt.task)}")


@request.command()
@click.argument("which", metavar="REQUEST")
@click.option("--reason", default="", help="Told to the sender.")
@_for_option
def decline(which: str, reason: str, acting: Address | None) -> None:
    """Say no; the sender is told."""
    with session() as opened:
        found = find_request(opened.gateway, which, acting)
        opened.do(
            DeclineRequest(actor=acting_for(found.recipient), request=found.id, reason=reason)
        )


@request.command()
@click.argument("which", metavar="REQUEST")
@_for_option
def ignore(which: str, acting: Address | None) -> None:
    """Put a request away; the sender is told nothing."""
    with session() as opened:
        found = find_request(opened.gateway, which, acting)
        opened.do(IgnoreRequest(actor=acting_for(found.recipient), request=found.id))


@request.command()
@click.argument("which", metavar="REQUEST")
@click.option("--domain", "what", flag_value="domain", help="The sender's whole domain.")
@click.option("--key", "what", flag_value="key", help="Whoever signs with this key.")
@_for_option
def block(which: str, what: str | None, acting: Address | None) -> None:
    """Put a request away and refuse its sender from now on."""
    kind = SenderKind(what or "address")
    with session() as opened:
        found = find_request(opened.gateway, which, acting)
        if kind is SenderKind.KEY and not found.fingerprint:
            raise Invalid("no-key", "the request was not signed, so there is no key to block")
        opened.do(
            IgnoreRequest(actor=acting_for(found.recipient), request=found.id, block=kind.value)
        )
