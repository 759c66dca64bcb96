"""The command line: ``tx-bridge`` and ``python -m bridge``.

How the program speaks (all of it here and in `bridge.cli.speech`): results go to standard
output, as tables and lines for people or, with ``--json``, as one document with stable
names; all else goes to standard error. What went wrong is one line, ``tx-bridge: error: …``,
what to do about it another, ``tx-bridge: hint: …``, without capital and full stop. A wrong
input never shows a trace. Exit status: 0 done, 1 refused or failed, 2 usage, 78 configuration.
"""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from bridge import __version__
from bridge.cli.shape import Group
from bridge.cli.speech import fail
from bridge.errors import BridgeError, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

_DONE: Final = 0
_FAILED: Final = 1
_USAGE: Final = 2
_CONFIG: Final = 78
_SIGNALLED: Final = 128 + 2

# Name to module; the object is called as the command, hyphens being underscores. Modules
# are read when they are asked for, so that each command starts fast.
_COMMANDS: Final = {
    "init": "init",
    "serve": "serve",
    "serve-http": "serve",
    "quickstart": "quickstart",
    "doctor": "doctor",
    "user": "user",
    "project": "project",
    "task": "task",
    "request": "request",
    "contact": "contact",
    "log": "log",
    "revert": "log",
    "verify": "verify",
    "rebuild": "rebuild",
    "export": "archive",
    "import": "archive",
    "key": "key",
    "dns": "key",
    "apple-profile": "apple_profile",
}


class Program(Group):
    """The root of all commands; turns every failure into a line and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which people need them."""
        del ctx
        return [name for name, module in _COMMANDS.items() if find_spec(_module(module))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, reading its module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(_module(_COMMANDS[cmd_name]))
        name = cmd_name.replace("-", "_")
        found = getattr(module, name, None) or getattr(module, f"{name}_")
        return found if isinstance(found, click.Command) else None

    def main(  # type: ignore[override]  # always ends the program, as click's default does
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run one command and exit."""
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            code = super().main(given, prog_name or "tx-bridge", **extra)
        except Exception as error:  # noqa: BLE001 - the last line of defence: told, not raised
            if "--debug" in given:
                traceback.print_exc()
            code = _told(error)
        sys.exit(code if isinstance(code, int) else _DONE)


def _module(name: str) -> str:
    return f"bridge.cli.{name}"


def _told(error: Exception) -> int:
    """Say what went wrong and return the exit status."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return _USAGE
    status, sentence, hint = _FAILED, str(error), ""
    match error:
        case Misconfigured():
            status, sentence, hint = _CONFIG, error.public, error.hint
        case BridgeError():
            sentence, hint = error.public, error.hint
        case click.UsageError():
            name = error.ctx.command_path if error.ctx else "tx-bridge"
            status, sentence = _USAGE, error.format_message()
            hint = f"{name} --help explains"
        case click.ClickException():
            status, sentence = error.exit_code, error.format_message()
        case click.Abort():
            status, sentence = _SIGNALLED, "stopped"
        case OSError():
            sentence = f"{error.filename or 'the system'}: {error.strerror or error}"
            if isinstance(error, PermissionError):
                hint = "run it as the user that the gateway runs as"
        case _:
            sentence = f"this should not have happened: {type(error).__name__}: {error}"
            hint = "--debug shows the trace"
    fail(sentence, hint)
    return status


@click.group("tx-bridge", cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tx-bridge")
def root() -> None:
    """Tasks between calendar clients, mail and other servers.

    Every command takes --config FILE; every command that reads takes --json. While a
    gateway runs, changes go through it; otherwise the command does the work itself.
    """


def main() -> NoReturn:
    """Run the program."""
    root.main()
