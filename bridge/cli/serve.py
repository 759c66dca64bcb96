"""``tx-bridge serve``: the gateway; and ``serve-http``, which it starts for itself."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from bridge.cli.session import config_file, settings
from bridge.cli.shape import LISTEN, Command
from bridge.config import DEFAULT_FILE
from bridge.listener import free_port
from bridge.mail.listener import ListenerSettings

if TYPE_CHECKING:
    from bridge.config import Config

_LEVELS: Final = ("debug", "info", "warning", "error")


def _listen_option(text: str) -> click.Option:
    return click.Option(["--listen"], type=LISTEN, metavar="HOST:PORT", help=text)


@click.command(cls=Command, params=[_listen_option("Answer HTTP here.  [default: 127.0.0.1:5232]")])
@click.option("--lmtp", type=LISTEN, metavar="HOST:PORT", help="Take mail here, by LMTP or SMTP.")
@click.option(
    "--workers", type=click.IntRange(0, 64), metavar="N", help="HTTP processes beside this one."
)
@click.option(
    "--log-level", type=click.Choice(_LEVELS), default="info", show_default=True,
    help="What is logged to standard error.",
)  # fmt: skip
def serve(
    listen: tuple[str, int] | None,
    lmtp: tuple[str, int] | None,
    workers: int | None,
    log_level: str,
) -> None:
    """Run the gateway until Ctrl-C or SIGTERM.

    Prints one line with its address once it answers. Stopping finishes what is in hand;
    even a killed gateway has lost nothing that it acknowledged.
    """
    config = listening(settings(), listen=listen, lmtp=lmtp)
    if workers is not None:
        config = replace(config, http=replace(config.http, workers=workers))
    _log_to_stderr(log_level)
    from bridge.serve import serve as run  # noqa: PLC0415 - it loads every door

    file = config_file() or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    run(config, click.echo, config_file=file)


@click.command(cls=Command, hidden=True, params=[_listen_option("Answer HTTP here.")])
def serve_http(listen: tuple[str, int] | None) -> None:
    """Answer HTTP beside a running gateway; started by ``serve --workers``."""
    config = listening(settings(), listen=listen)
    _log_to_stderr("info")
    from bridge.serve import serve_http as run  # noqa: PLC0415 - it loads every door

    run(config)


def listening(
    config: Config,
    *,
    listen: tuple[str, int] | None = None,
    lmtp: tuple[str, int] | None = None,
) -> Config:
    """Return `config` with other addresses to listen on; port 0 becomes a free one."""
    if listen is not None:
        config = replace(config, http=replace(config.http, host=listen[0], port=listen[1]))
    if not config.http.port:
        # Chosen here: HTTP processes beside the first must listen on the same one.
        config = replace(config, http=replace(config.http, port=free_port(config.http.host)))
    if lmtp is not None:
        held = config.mail.listener or ListenerSettings()
        door = replace(config.mail, listener=replace(held, host=lmtp[0], port=lmtp[1]))
        config = replace(config, mail=door)
    return config


def _log_to_stderr(level: str) -> None:
    """Log in lines that the journal of systemd dates itself."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(levelname)s %(name)s: %(message)s",
    )
