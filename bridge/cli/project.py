"""``tx-bridge project``: folders of tasks and who works in them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.names import find_project
from bridge.cli.session import acting_for, session
from bridge.cli.shape import ADDRESS, Group, as_option, json_option
from bridge.cli.speech import document, note, say, table
from bridge.model.ids import Address, ProjectId
from bridge.model.patch import Role
from bridge.worker.command import ArchiveProject, CreateProject, SetMember, SetPolicy

if TYPE_CHECKING:
    import uuid

    from bridge.model.ids import Domain
    from bridge.model.state import ProjectState
    from bridge.worker.gateway import Gateway

_ROLES = click.Choice([role.value for role in Role if role is not Role.CREATOR])


@click.group(cls=Group)
def project() -> None:
    """Projects and their members.

    PROJECT is an id, a user's address (the personal project), or a name that only one has.
    """


def new_project_id(identity: uuid.UUID, domain: Domain) -> ProjectId:
    """Return the id of a new project: 26 base32 characters of a UUIDv7 (tx-protocol 1)."""
    unique = base64.b32encode(identity.bytes).rstrip(b"=").decode().lower()
    return ProjectId(f"{unique}@{domain}")


@project.command()
@click.argument("name")
@click.option(
    "--as", "acting", type=ADDRESS, metavar="ADDRESS", required=True, help="Who creates it."
)
@click.option("--color", metavar="#RRGGBB", help="Shown by calendar clients.")
@json_option
def create(name: str, acting: Address, color: str | None, as_json: bool) -> None:
    """Make a project called NAME and print its id."""
    with session() as opened:
        opened.person(acting)
        made = new_project_id(opened.gateway.new_id(), opened.config.domain)
        policy = {"name": name} | ({"color": color} if color else {})
        opened.do(CreateProject(actor=acting_for(acting), project=made, policy=policy))
    if as_json:
        document({"project": made, "name": name, "creator": acting})
    else:
        say(made)


@project.command("list")
@click.option("--user", type=ADDRESS, metavar="ADDRESS", help="Only those of a user.")
@click.option("--all", "archived", is_flag=True, help="Archived ones too.")
@json_option
def list_(user: Address | None, archived: bool, as_json: bool) -> None:
    """Show projects with their number of open tasks."""
    with session() as opened:
        gateway = opened.gateway
        if user is not None:
            opened.person(user)
        states = [gateway.index.project(one) for one in gateway.index.projects()]
        shown = [
            _summary(gateway, one)
            for one in states
            if one is not None
            and (user is None or user in one.members)
            and (archived or "archived" not in one.policy)
        ]
    shown.sort(key=lambda one: (one["name"], one["project"]))
    if as_json:
        document(shown)
        return
    columns = ("name", "project", "creator", "members", "open", "tasks", "head")
    table(
        [column.upper() for column in columns],
        [[one[column] for column in columns] for one in shown],
        empty="there are no projects",
    )


def _summary(gateway: Gateway, state: ProjectState) -> dict[str, Any]:
    tasks, still_open = gateway.index.count(state.id)
    return {
        "project": state.id,
        "name": state.name,
        "creator": state.creator,
        "members": len(state.members),
        "tasks": tasks,
        "open": still_open,
        "head": state.seq,
        "changed": state.ts,
        "archived": "archived" in state.policy,
    }


@project.command()
@click.argument("which", metavar="PROJECT")
@json_option
def show(which: str, as_json: bool) -> None:
    """Show a project with its members and settings."""
    with session() as opened:
        state = find_project(opened.gateway, which)
        summary = _summary(opened.gateway, state)
    members = [
        {"user": user, "role": held.role, "scope": held.scope}
        for user, held in sorted(state.members.items())
    ]
    if as_json:
        keys = dict(state.keys)
        document(
            summary
            | {"members": members, "policy": dict(state.policy), "keys": keys, "hash": state.hash}
        )
        return
    for key in ("name", "project", "head", "changed", "tasks", "open"):
        say(f"{key:<10} {summary[key]}")
    for key, value in sorted(state.policy.items()):
        if key != "name":
            say(f"{key:<10} {value}")
    say()
    table(
        ("MEMBER", "ROLE", "SEES"),
        [(one["user"], one["role"], _scope(one["scope"])) for one in members],
    )


def _scope(scope: object) -> str:
    return ", ".join(scope) if isinstance(scope, tuple) else str(scope or "")


@project.command()
@click.argument("which", metavar="PROJECT")
@click.argument("name")
@as_option
def rename(which: str, name: str, acting: Address | None) -> None:
    """Give a project another name."""
    with session() as opened:
        state = find_project(opened.gateway, which)
        actor = opened.actor(state, acting)
        opened.do(SetPolicy(actor=actor, project=state.id, policy={"name": name}))


@project.command("set")
@click.argument("which", metavar="PROJECT")
@click.argument("settings", metavar="KEY=VALUE...", nargs=-1, required=True)
@as_option
def set_(which: str, settings: tuple[str, ...], acting: Address | None) -> None:
    """Change settings, for example color=#2E7D32; KEY= takes one away."""
    policy = pairs(settings)
    with session() as opened:
        state = find_project(opened.gateway, which)
        actor = opened.actor(state, acting)
        opened.do(SetPolicy(actor=actor, project=state.id, policy=policy))


def pairs(items: tuple[str, ...]) -> dict[str, str | None]:
    """Return ``KEY=VALUE`` arguments; an empty value is None.

    Raises:
        click.BadParameter: an argument without ``=``.
    """
    found: dict[str, str | None] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{item!r} is not KEY=VALUE")
        found[key] = value or None
    return found


@project.command()
@click.argument("which", metavar="PROJECT")
@as_option
def archive(which: str, acting: Address | None) -> None:
    """Hide a project from everybody's clients; nothing is deleted."""
    with session() as opened:
        state = find_project(opened.gateway, which)
        opened.do(ArchiveProject(actor=opened.actor(state, acting), project=state.id))
    note(f"archived; tx-bridge project set {state.id} archived= brings it back")


@project.group(cls=Group)
def member() -> None:
    """Who works in a project."""


@member.command()
@click.argument("which", metavar="PROJECT")
@click.argument("user", type=ADDRESS)
@click.option("--role", type=_ROLES, default=Role.MEMBER.value, show_default=True)
@click.option(
    "--sees",
    metavar="WHAT",
    multiple=True,
    help="all, assigned, or tags and task ids (repeat).  [default: by role]",
)
@as_option
def add(
    which: str, user: Address, role: str, sees: tuple[str, ...], acting: Address | None
) -> None:
    """Add a member, or change the role of one."""
    scope: str | tuple[str, ...] | None = sees or None
    if len(sees) == 1 and sees[0] in ("all", "assigned"):
        scope = sees[0]
    elif sees:
        scope = tuple(one if one.startswith(("tag_", "task:")) else _part(one) for one in sees)
    with session() as opened:
        state = find_project(opened.gateway, which)
        actor = opened.actor(state, acting)
        opened.do(SetMember(actor=actor, project=state.id, user=user, role=Role(role), scope=scope))


def _part(text: str) -> str:
    return f"task:{text}" if "@" in text else f"tag_{text}"


@member.command()
@click.argument("which", metavar="PROJECT")
@click.argument("user", type=ADDRESS)
@as_option
def remove(which: str, user: Address, acting: Address | None) -> None:
    """Take a member out of a project; what they did stays."""
    with session() as opened:
        state = find_project(opened.gateway, which)
        actor = opened.actor(state, acting)
        if user not in state.members:
            note(f"{user} is not a member of {state.name}")
            return
        opened.do(SetMember(actor=actor, project=state.id, user=user, role=None))
