"""A command's way to the gateway: configuration, the stores, and `do` for changes.

While a gateway runs, commands are submitted to it over its socket; else this process
becomes the worker for as long as it takes (`bridge.app.connect`). Two commands at once
without a gateway take turns.
"""

from __future__ import annotations

import threading
from concurrent.futures import TimeoutError as Late
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click

from bridge import app
from bridge.cli.shape import CONFIG
from bridge.cli.speech import catching_up, note
from bridge.config import load
from bridge.errors import BridgeError, Invalid, Misconfigured, NotFound, Unavailable
from bridge.model.ids import domain_of
from bridge.model.patch import Via
from bridge.store.spool import SpoolLock
from bridge.store.views import Views
from bridge.worker.command import Actor, Conflict, Receipt, Refused
from bridge.worker.outlet import ViewOutlet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.config import Config
    from bridge.model.ids import Address, ProjectId
    from bridge.model.state import ProjectState
    from bridge.store.directory_records import User
    from bridge.worker.command import Command
    from bridge.worker.gateway import Gateway

_ANSWER_SECONDS: Final = 60.0
_TURNS: Final = 100
_TURN_SECONDS: Final = 0.1


def config_file() -> Path | None:
    """Return the file that ``--config`` names, or None."""
    found: Path | None = click.get_current_context().meta.get(CONFIG)
    return found


def settings() -> Config:
    """Return the configuration of this command.

    Raises:
        Misconfigured: as `bridge.config.load`.
    """
    return load(config_file())


@dataclass(slots=True)
class Session:
    """The gateway of one command."""

    config: Config
    running: app.Running
    moved: set[ProjectId] = field(default_factory=set)

    @property
    def gateway(self) -> Gateway:
        """The parts to read from."""
        return self.running.gateway

    def do(self, command: Command) -> Receipt:
        """Carry out a change and return its receipt.

        Raises:
            Invalid: refused, or a precondition does not hold; the reason is in the sentence.
            Unavailable: not now.
        """
        try:
            outcome = self.gateway.submit(command).result(_ANSWER_SECONDS)
        except Late:
            raise Unavailable("unavailable", "the worker does not answer", retry=True) from None
        match outcome:
            case Receipt():
                for lost in outcome.skipped:
                    note(f"lost against a newer change: {lost}")
                return outcome
            case Conflict():
                raise Invalid("conflict", outcome.reason)
            case Refused():
                kind = Unavailable if outcome.retry else Invalid
                raise kind(outcome.code, outcome.reason)

    def person(self, address: Address) -> User:
        """Return a user of this domain.

        Raises:
            NotFound: ``no-user``.
        """
        found = self.gateway.directory.people.get(address)
        if found is None:
            raise NotFound(
                "no-user",
                f"there is no user {address}",
                hint="tx-bridge user list shows all, tx-bridge user add ADDRESS makes one",
            )
        return found

    def actor(self, project: ProjectState, acting: Address | None = None) -> Actor:
        """Return who asks: `acting`, or else the project's creator.

        Raises:
            Invalid: ``not-here``: neither is a user of this domain.
        """
        user = acting or project.creator
        if user is None or domain_of(user) != self.gateway.domain:
            raise Invalid(
                "not-here",
                f"{user or 'nobody'} is not a user of {self.gateway.domain}",
                hint="say for whom you act: --as ADDRESS",
            )
        self.person(user)
        return acting_for(user)


def acting_for(user: Address) -> Actor:
    """Return `user` as the actor of a command given on the command line."""
    return Actor(user=user, via=Via.WORKER, credential="command line")


@contextmanager
def session() -> Iterator[Session]:
    """Open the gateway of the configuration that the command was given.

    Raises:
        Misconfigured: no configuration, spool or key.
        Unavailable: ``spool-locked``: another process writes and takes no commands.
    """
    config = settings()
    with _connected(config) as running:
        opened = Session(config, running)
        if running.worker is not None:
            running.worker.on_commit.append(opened.moved.update)
        yield opened
        if running.worker is not None:
            running.worker.stop()  # it tells what moved only after it has answered
            _show(running, opened.moved)


@contextmanager
def alone(config: Config) -> Iterator[SpoolLock]:
    """Hold the spool for work that a gateway must not see half-done.

    Raises:
        Misconfigured: ``no-spool``.
        Unavailable: ``spool-locked``.
    """
    layout = app.layout_of(config)
    check_spool(config)
    try:
        lock = SpoolLock(layout)
    except Unavailable as error:
        raise Unavailable(
            error.code, error.public, hint="stop the gateway, repeat this, start it again"
        ) from None
    with lock:
        yield lock


def check_spool(config: Config) -> None:
    """Refuse to work where there is no spool.

    Raises:
        Misconfigured: ``no-spool``.
    """
    if not app.layout_of(config).store.is_dir():
        raise Misconfigured(
            "no-spool",
            f"there is no spool of {config.domain} in {config.spool}",
            hint="run tx-bridge init",
        )


def _connected(config: Config) -> app.Running:
    for _ in range(_TURNS):
        running = app.connect(config, catching_up)
        if running.worker is not None or app.socket_of(config).is_socket():
            return running
        # Another command is the worker for a moment, or a gateway is starting.
        running.__exit__(None, None, None)
        threading.Event().wait(_TURN_SECONDS)
    return app.open_writer(config, catching_up)


def _show(running: app.Running, moved: set[ProjectId]) -> None:
    """Write the views and links that follow from this command's changes."""
    outlet = ViewOutlet(running.gateway, running.spool, Views(running.spool.layout))
    for project in sorted(moved):
        try:
            outlet.catch_up(project)
        except BridgeError as error:
            note(f"the views of {project} are not up to date: {error}")
