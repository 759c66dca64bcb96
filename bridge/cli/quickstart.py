"""``tx-bridge quickstart``: an example domain, a signed mail, and the task it becomes.

What is shown is the real thing: the commands that an administrator types, the gateway as
``tx-bridge serve`` runs it, a mail over SMTP, and what the event log, the project's log
and a CalDAV request say of it afterwards. Each step that does not hold ends the command
with one sentence and exit status 1.
"""

from __future__ import annotations

import io
import json
import signal
import smtplib
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bridge import app
from bridge.cli.caldavread import CalDav
from bridge.cli.example import ALICE, BOB, DOMAIN, TITLE, Assignment, Example
from bridge.cli.gatewayprocess import GatewayProcess
from bridge.cli.shape import FILE, LISTEN, Command
from bridge.cli.speech import plain
from bridge.config import load
from bridge.errors import Invalid, NotFound, Unavailable
from bridge.listener import check_free, free_port
from bridge.model.ids import TaskId, parse_project, parse_task
from bridge.model.log import Entry, read_entry
from bridge.model.patch import Set
from bridge.store.events import FileEvents
from bridge.store.logreader import FileLogReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bridge.config import Config

_SMTP_SECONDS: Final = 30.0
_EVENTS: Final = 200
_LINE_LENGTH: Final = 200
_WIDTH: Final = 100
"""Columns where the output is no terminal."""


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Stop after the check instead of serving on.")
@click.option(
    "--directory",
    type=FILE,
    default=Path("var/quickstart"),
    show_default=True,
    metavar="DIR",
    help="Where the example domain lies; used again if it exists.",
)
@click.option(
    "--listen",
    type=LISTEN,
    default="127.0.0.1:5232",
    show_default=True,
    metavar="HOST:PORT",
    help="Answer calendar clients here.",
)
@click.option(
    "--smtp",
    type=LISTEN,
    default="127.0.0.1:2525",
    show_default=True,
    metavar="HOST:PORT",
    help="Take mail here.",
)
def quickstart(once: bool, directory: Path, listen: tuple[str, int], smtp: tuple[str, int]) -> None:
    """Try it out: an example domain with a user, a signed mail, the task in a calendar.

    The exit status is 0 if every step worked.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    web, mail = _free(listen, "--listen"), _free(smtp, "--smtp")
    _Tour(Example(directory), web, mail).run(once=once)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _free(address: tuple[str, int], option: str) -> tuple[str, int]:
    """Return `address` if nobody listens there, port 0 replaced by a free one.

    Raises:
        Unavailable: ``port-in-use``.
    """
    host, port = address
    try:
        if port == 0:
            return host, free_port(host)
        check_free(host, port)
    except Unavailable as error:
        hint = f"stop the other program, or choose another port with {option} HOST:PORT"
        raise Unavailable(error.code, error.public, hint=hint) from None
    except OSError as error:
        raise Unavailable(
            "bad-listen", f"cannot listen on {host}: {error.strerror}", hint=f"see {option}"
        ) from None
    return address


class _Tour:
    """The steps in their order; `run` shows each as it is done."""

    def __init__(self, example: Example, web: tuple[str, int], mail: tuple[str, int]) -> None:
        self._example = example
        self._web = web
        self._mail = mail
        width = None if sys.stdout.isatty() else _WIDTH
        self._console = Console(highlight=False, width=width)
        self._number = 0

    def run(self, *, once: bool) -> None:
        """Do all steps; without `once` serve on until the gateway or the person stops."""
        config, password = self._set_up()
        with self._serving() as gateway:
            assignment = self._send()
            task = self._show_verification(config, assignment)
            self._show_patch(config, task)
            self._show_read_back(task, password)
            self._show_next(password)
            if not once:
                self._console.print("Serving until Ctrl-C.")
                gateway.wait()
        self._console.print(Text("every step worked" if once else "stopped", style="bold green"))

    def _step(self, title: str) -> None:
        self._number += 1
        self._console.print()
        self._console.print(Text(f"{self._number}. {title}", style="bold"))

    def _note(self, text: str, style: str = "") -> None:
        self._console.print(Text(f"   {plain(text)}", style=style), soft_wrap=True)

    def _facts(self, facts: Mapping[str, object]) -> None:
        for name, value in facts.items():
            line = Text.assemble((f"   {name:<12}", "cyan"), plain(str(value)))
            self._console.print(line, soft_wrap=True)

    # -- setting up ----------------------------------------------------------------------

    def _set_up(self) -> tuple[Config, str]:
        self._step(f"An example domain in {self._example.directory}")
        self._example.prepare(app.clock())
        self._command("init", "--domain", DOMAIN, "--yes")
        password = self._alice()
        self._command("contact", "add", ALICE, BOB)
        self._note(f"{BOB} is on another domain; a test authority issued his certificate")
        return load(self._example.config), password

    def _alice(self) -> str:
        stored = self._example.stored_password()
        if stored:
            self._note(f"{ALICE} exists from an earlier run")
            return stored
        people = json.loads(self._command("user", "list", "--json", quiet=True))
        if any(person["address"] == ALICE for person in people):
            made = json.loads(self._command("user", "password", ALICE, "--json"))
        else:
            made = json.loads(self._command("user", "add", ALICE, "--name", "Alice", "--json"))
        password = str(made["password"])
        self._example.keep_password(password)
        return password

    def _command(self, *arguments: str, quiet: bool = False) -> str:
        """Run a command of this program and return what it prints; its errors are ours."""
        given = [*arguments, "--config", str(self._example.config)]
        if not quiet:
            self._note("$ tx-bridge " + " ".join(given), "dim")
        root = click.get_current_context().find_root().command
        output, said = io.StringIO(), io.StringIO()
        try:
            with (
                redirect_stdout(output),
                redirect_stderr(said),
                root.make_context("tx-bridge", given) as context,
            ):
                root.invoke(context)
        except click.exceptions.Exit as end:
            if end.exit_code:
                raise Unavailable(
                    "step-failed", f"tx-bridge {arguments[0]}: {said.getvalue()}"
                ) from None
        return output.getvalue()

    @contextmanager
    def _serving(self) -> Iterator[GatewayProcess]:
        self._step("The gateway, as tx-bridge serve runs it")
        gateway = GatewayProcess(self._example.config, self._example.log, self._web, self._mail)
        try:
            self._note(gateway.start())
            yield gateway
        except KeyboardInterrupt:
            self._console.print()
        finally:
            gateway.stop()

    # -- the steps -----------------------------------------------------------------------

    def _send(self) -> Assignment:
        host, port = self._mail
        self._step(f"A signed mail over SMTP to {host}:{port}")
        assignment = self._example.assignment(app.clock(), app.new_id())
        head, _, signed = assignment.raw.decode().partition("\r\nContent-Type: multipart")
        text = f"{head}\r\nContent-Type: multipart{signed}".replace("\r\n", "\n")
        self._console.print(Panel(Text(_without_signature(text)), expand=False))
        try:
            with smtplib.SMTP(host, port, "quickstart.partner.example", _SMTP_SECONDS) as client:
                client.sendmail(BOB, [ALICE], assignment.raw)
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable("step-failed", f"the mail was not taken: {error}") from error
        self._note("250: it is committed and on disk", "green")
        return assignment

    def _show_verification(self, config: Config, assignment: Assignment) -> TaskId:
        self._step("The verification, as the event log has it")
        events = FileEvents(app.layout_of(config).events).tail(_EVENTS)
        wanted = assignment.message_id.strip("<>")
        event = next((e for e in reversed(events) if wanted in str(e.get("message_id", ""))), None)
        if event is None:
            raise NotFound("step-failed", "the event log does not mention the mail")
        names = ("at", "door", "sender", "method", "level", "fingerprint", "kind", "reason")
        self._facts({name: event[name] for name in names if event.get(name)})
        if event.get("level") != "P" or not event.get("task"):
            raise Invalid(
                "step-failed",
                f"the mail was not accepted as a signed assignment: {event.get('reason')}",
                hint=f"{self._example.directory} may hold older state: remove it and start again",
            )
        self._note(
            "a person's own signature, by a known contact: straight into the project", "green"
        )
        return parse_task(str(event["task"]))

    def _show_patch(self, config: Config, task: TaskId) -> None:
        self._step("The committed patch, as the project's log has it")
        log = FileLogReader(app.layout_of(config))
        try:
            found = _entry_of(log, parse_project(ALICE), task)
        finally:
            log.close()
        patch = found.patch
        evidence = patch.document.get("evidence") or [{}]
        self._facts(
            {
                "entry": f"{found.seq}  {found.hash}",
                "after": found.prev,
                "patch": patch.id,
                "author": f"{patch.author} via {patch.via}",
                "proof": " ".join(f"{name}={value}" for name, value in evidence[0].items()),
                "signed by": " ".join(one["kid"] for one in found.head.get("sigs", [])),
            }
        )
        for key, value in _set_by(patch.ops):
            self._note(f"  {key} = {json.dumps(value, ensure_ascii=False)[:_LINE_LENGTH]}")
        self._command("verify", ALICE)
        self._note("chain and signatures hold", "green")

    def _show_read_back(self, task: TaskId, password: str) -> None:
        self._step("The task, as a calendar client reads it")
        client = CalDav(self._web, ALICE, password)
        found = client.find(task)
        self._note(f"REPORT {client.collection} (calendar-query) names it:")
        self._note(f"GET {found.path}")
        self._console.print(Panel(Text(found.text.replace("\r\n", "\n").strip()), expand=False))
        if f"SUMMARY:{TITLE}" not in found.text:
            raise Invalid("step-failed", "the task read back has another title")
        self._note(f"ETag {found.etag}", "green")

    def _show_next(self, password: str) -> None:
        host, port = self._web
        url = f"http://{host}:{port}/dav/"
        self._console.print()
        rows = Table.grid(padding=(0, 2))
        for name, value in (("URL", url), ("user", ALICE), ("app password", password)):
            rows.add_row(Text(name, style="cyan"), Text(value, style="bold"))
        self._console.print(Panel(rows, title="For your calendar client", expand=False))
        self._console.print(
            "In Thunderbird: Calendar > New Calendar > On the Network; user name and location\n"
            "as above; then the app password; choose Personal. Edit or complete the task there\n"
            "and look at its history:"
        )
        self._note(f"tx-bridge log {ALICE} --config {self._example.config}")


def _without_signature(text: str) -> str:
    """Return the mail with its base64 lines replaced by a few words."""
    head, line, rest = text.partition("\nContent-Disposition: attachment")
    name, _, encoded = rest.partition("\n\n")
    length = len(encoded)
    return f"{head}{line}{name}\n\n… {length} characters of signature …" if line else text


def _entry_of(log: FileLogReader, project: Any, task: TaskId) -> Entry:
    """Return the newest entry on `task`.

    Raises:
        NotFound: ``step-failed``.
    """
    newest: Entry | None = None
    for _seq, _place, line in log.read(project):
        entry = read_entry(line)
        if entry.patch.subject == task:
            newest = entry
    if newest is None:
        raise NotFound("step-failed", f"the log of {project} has no patch on {task}")
    return newest


def _set_by(ops: Sequence[object]) -> Iterator[tuple[str, object]]:
    for op in ops:
        if isinstance(op, Set):
            yield op.key, op.value
