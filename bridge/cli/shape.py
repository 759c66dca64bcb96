"""What all commands share: their options and the types of their arguments.

A command made by these classes takes ``--config`` and ``--debug`` anywhere; arguments are
checked as they are read, so that a wrong one is a usage error that names it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from bridge.errors import BridgeError
from bridge.model.ids import parse_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.model.ids import Address

CONFIG: Final = "bridge.config-file"
_PORT_MAX: Final = 65_535
_F = TypeVar("_F", bound="Callable[..., Any] | click.Command")


def _remember(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.meta[CONFIG] = value


def _common() -> list[click.Parameter]:
    return [
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            expose_value=False,
            callback=_remember,
            help="Configuration file.  [default: /etc/tx-bridge/bridge.toml]",
        ),
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, help="Show a trace if it fails."
        ),
    ]


class Command(click.Command):
    """A command with the options that every one has."""

    def __init__(self, name: str | None, **attributes: Any) -> None:
        """Add the common options to those given."""
        super().__init__(name, **attributes)
        self.params += _common()


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type

    def __init__(self, name: str | None = None, **attributes: Any) -> None:
        """Add the common options to those given."""
        super().__init__(name, **attributes)
        self.params += _common()


class DefaultGroup(Group):
    """A group whose first command is meant where none is named: ``user password ADDRESS``."""

    default: str = ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front of arguments that name no other."""
        named = any(one in self.commands for one in args)
        if args and not named and not {"-h", "--help"} & set(args):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class _AddressType(click.ParamType[Any]):
    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        try:
            return parse_address(str(value))
        except BridgeError as error:
            self.fail(error.public, param, ctx)


class _Listen(click.ParamType[Any]):
    """``HOST:PORT``, ``[IPv6]:PORT`` or ``:PORT`` (this machine)."""

    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > _PORT_MAX:
            self.fail(f"{value!r} is not HOST:PORT, for example 127.0.0.1:5232", param, ctx)
        return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


ADDRESS: Final = _AddressType()
LISTEN: Final = _Listen()
FILE: Final = click.Path(path_type=Path)


def json_option(command: _F) -> _F:
    """Give a reading command ``--json``, as the argument `as_json`."""
    add: Callable[[_F], _F] = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document."
    )
    return add(command)


def as_option(command: _F) -> _F:
    """Give a command ``--as ADDRESS``, as the argument `acting`."""
    add: Callable[[_F], _F] = click.option(
        "--as",
        "acting",
        type=ADDRESS,
        metavar="ADDRESS",
        help="Act for this user.  [default: the project's creator]",
    )
    return add(command)
