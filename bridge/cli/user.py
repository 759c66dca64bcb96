"""``tx-bridge user``: people of the domain and their app passwords."""

from __future__ import annotations

import sys
import zoneinfo
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from bridge.cli import apppassword
from bridge.cli.names import find_project
from bridge.cli.session import Session, acting_for, session
from bridge.cli.shape import ADDRESS, DefaultGroup, Group, json_option
from bridge.cli.speech import advise, document, moment, note, say, table
from bridge.errors import Invalid, NotFound
from bridge.model.ids import Address, ProjectId, domain_of
from bridge.store.directory_records import Notice, Policy, User
from bridge.worker.command import CreateProject

if TYPE_CHECKING:
    import uuid

_FIRST: Final = "first password"


@click.group(cls=Group)
def user() -> None:
    """People of this domain and their app passwords."""


@user.command()
@click.argument("address", type=ADDRESS)
@click.option("--name", default="", help="What others are shown.")
@click.option("--language", default="en", show_default=True, help="Of notices (BCP 47).")
@click.option("--time-zone", default="UTC", show_default=True, help="For dates without a zone.")
@click.option(
    "--password-file",
    type=click.Path(allow_dash=True, dir_okay=False),
    metavar="FILE",
    help="Take this app password (- reads it from standard input) instead of making one.",
)
@json_option
def add(
    address: Address,
    name: str,
    language: str,
    time_zone: str,
    password_file: str | None,
    as_json: bool,
) -> None:
    """Add a user, with a personal project and an app password.

    Without --password-file a password is made and shown, this once. Repeating it after an
    interruption completes what is missing.
    """
    _check_zone(time_zone)
    given = apppassword.read(password_file) if password_file else None
    with session() as opened:
        config, gateway = opened.config, opened.gateway
        if domain_of(address) != config.domain:
            raise Invalid("not-here", f"{address} is not of this domain, {config.domain}")
        person = User(
            address=address,
            name=name,
            created=gateway.clock(),
            language=language,
            time_zone=time_zone,
        )
        added = gateway.directory.people.add(person)
        project = ProjectId(address)
        if not added and gateway.index.project(project) is not None:
            raise Invalid(
                "exists",
                f"{address} is a user already",
                hint=f"for another app password: tx-bridge user password {address}",
            )
        opened.do(CreateProject(actor=acting_for(address), project=project, policy=_titled(name)))
        if given is not None:
            apppassword.adopt(gateway, address, _FIRST, given)
        password = given or apppassword.make(gateway, address, _FIRST)
    shown = {"address": address, "project": project, "password": None if given else password}
    if as_json:
        document(shown)
        return
    say(f"user      {address}")
    if not given:
        say(f"password  {password}")
        advise("this password is shown only now; each client can have its own, and lose it alone")


def _titled(name: str) -> dict[str, str]:
    return {"name": name} if name else {}


@user.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show all users."""
    with session() as opened:
        people = opened.gateway.directory.people.all()
    if as_json:
        document([_described(person) for person in people])
        return
    table(
        ("ADDRESS", "NAME", "SINCE", "STATE"),
        [
            (one.address, one.name, moment(one.created), "disabled" if one.disabled else "")
            for one in people
        ],
        empty="there are no users yet; tx-bridge user add ADDRESS makes one",
    )


@user.command()
@click.argument("address", type=ADDRESS)
@json_option
def show(address: Address, as_json: bool) -> None:
    """Show a user, with projects and app passwords."""
    with session() as opened:
        person = opened.person(address)
        cards = opened.gateway.index.homes(address)
        passwords = opened.gateway.directory.passwords.of(address)
    described = _described(person) | {
        "projects": [
            {"project": card.project, "name": card.name, "role": card.role} for card in cards
        ],
        "passwords": [asdict(one) for one in passwords],
    }
    if as_json:
        document(described)
        return
    for key in ("address", "name", "language", "time_zone"):
        say(f"{key:<16} {described[key]}")
    say(f"{'created':<16} {moment(person.created)}")
    if person.disabled:
        say(f"{'disabled':<16} {moment(person.disabled)}")
    say(f"{'default_project':<16} {described['default_project'] or address}")
    for card in cards:
        say(f"{'project':<16} {card.name} ({card.role}) {card.project}")
    say(f"{'passwords':<16} {sum(one.revoked is None for one in passwords)}")


def _described(person: User) -> dict[str, Any]:
    return {
        "address": person.address,
        "name": person.name,
        "created": person.created,
        "language": person.language,
        "time_zone": person.time_zone,
        "disabled": person.disabled,
        "default_project": person.default_project,
        "accept_known": sorted(person.policy.auto_accept_known),
        "notice": person.policy.notice,
        "say_blocked": person.policy.say_blocked,
    }


@user.command("set")
@click.argument("address", type=ADDRESS)
@click.option("--name", help="What others are shown.")
@click.option("--language", help="Of notices (BCP 47).")
@click.option("--time-zone", help="For dates without a zone.")
@click.option("--default-project", metavar="PROJECT", help="Where tasks go that name none.")
@click.option(
    "--notice", type=click.Choice([one.value for one in Notice]), help="Mails about requests."
)
@click.option(
    "--say-blocked/--hide-blocked", default=None, help="Whether blocked senders are told."
)
def set_(address: Address, default_project: str | None, **changes: Any) -> None:
    """Change a user's name, language, time zone, default project or policies."""
    if changes["time_zone"]:
        _check_zone(changes["time_zone"])
    with session() as opened:
        person, people = opened.person(address), opened.gateway.directory.people
        described = {
            key: person_value if changes[key] is None else changes[key]
            for key, person_value in (
                ("name", person.name),
                ("language", person.language),
                ("time_zone", person.time_zone),
            )
        }
        people.describe(address, **described)
        notice, blocked = changes["notice"], changes["say_blocked"]
        policy = Policy(
            auto_accept_known=person.policy.auto_accept_known,
            notice=Notice(notice) if notice else person.policy.notice,
            say_blocked=person.policy.say_blocked if blocked is None else blocked,
        )
        people.set_policy(address, policy)
        if default_project is not None:
            people.set_default_project(address, _default(opened, address, default_project))


def _default(opened: Session, address: Address, text: str) -> ProjectId | None:
    project = find_project(opened.gateway, text)
    if project.role_of(address) is None:
        raise Invalid("not-a-member", f"{address} is not a member of {project.name}")
    return None if str(project.id) == address else project.id


def _check_zone(name: str) -> None:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise click.BadParameter(
            f"{name!r} is not a time zone, for example Europe/Berlin", param_hint="--time-zone"
        ) from None


@user.command()
@click.argument("address", type=ADDRESS)
def disable(address: Address) -> None:
    """Refuse a user's passwords from now on; nothing is deleted."""
    with session() as opened:
        opened.person(address)
        opened.gateway.directory.people.disable(address, opened.gateway.clock())


@user.command()
@click.argument("address", type=ADDRESS)
def enable(address: Address) -> None:
    """Take a disabled user's passwords again."""
    with session() as opened:
        opened.person(address)
        opened.gateway.directory.people.enable(address)


class _Password(DefaultGroup):
    default = "new"


@user.group(cls=_Password)
def password() -> None:
    """App passwords: user password ADDRESS makes another one.

    One for each client, so that each can be revoked alone.
    """


@password.command()
@click.argument("address", type=ADDRESS)
@click.option("--label", default="", help="Which client it is for.")
@click.option(
    "--password-file",
    type=click.Path(allow_dash=True, dir_okay=False),
    metavar="FILE",
    help="Take this app password instead of making one.",
)
@json_option
def new(address: Address, label: str, password_file: str | None, as_json: bool) -> None:
    """Make an app password and show it, this once."""
    given = apppassword.read(password_file) if password_file else None
    with session() as opened:
        opened.person(address)
        gateway = opened.gateway
        label = label or f"made {moment(gateway.clock())}"
        if given is not None:
            apppassword.adopt(gateway, address, label, given)
        made = given or apppassword.make(gateway, address, label)
    if as_json:
        document({"address": address, "label": label, "password": None if given else made})
    elif not given:
        say(made)
        if sys.stdout.isatty():
            advise("this password is shown only now")


@password.command("list")
@click.argument("address", type=ADDRESS)
@json_option
def list_passwords(address: Address, as_json: bool) -> None:
    """Show a user's app passwords, without the secret."""
    with session() as opened:
        opened.person(address)
        held = opened.gateway.directory.passwords.of(address)
    if as_json:
        document([asdict(one) for one in held])
        return
    table(
        ("ID", "LABEL", "MADE", "LAST USED", "REVOKED"),
        [
            (one.id, one.label, moment(one.created), moment(one.last_used), moment(one.revoked))
            for one in held
        ],
        empty=f"{address} has no app passwords",
    )


@password.command()
@click.argument("address", type=ADDRESS)
@click.argument("which", metavar="ID-OR-LABEL")
def revoke(address: Address, which: str) -> None:
    """End an app password; its client is refused within seconds."""
    with session() as opened:
        opened.person(address)
        store = opened.gateway.directory.passwords
        identity = _one_of(
            {one.id: one.label for one in store.of(address) if one.revoked is None}, which
        )
        store.revoke(identity, opened.gateway.clock())
    note("revoked")


def _one_of(held: dict[uuid.UUID, str], which: str) -> uuid.UUID:
    found = [
        identity
        for identity, label in held.items()
        if label == which or str(identity).startswith(which.lower())
    ]
    if len(found) > 1:
        raise Invalid("ambiguous", f"{len(found)} app passwords match {which}", hint="give the id")
    if not found:
        raise NotFound("no-password", f"there is no app password {which} in use")
    return found[0]
