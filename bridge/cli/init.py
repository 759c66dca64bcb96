"""``tx-bridge init``: the configuration file, the spool, the domain's key."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bridge import app
from bridge.cli.session import config_file
from bridge.cli.shape import FILE, Command
from bridge.cli.speech import advise, say
from bridge.config import DEFAULT_FILE, load
from bridge.errors import BridgeError, Misconfigured
from bridge.model.ids import parse_domain
from bridge.store.durable import make_directory, replace_file

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.model.ids import Domain

_NAME: Final = re.compile(r'(?m)^name = ".*"$')
_SPOOL: Final = re.compile(r'(?m)^spool = ".*"$')
_MODE: Final = 0o640


def template() -> str:
    """Return the documented configuration file: in the package, or beside it in a checkout.

    Raises:
        Misconfigured: ``no-template``.
    """
    for place in (
        Path(str(files("bridge.cli"))) / "bridge.toml",
        Path(str(files("bridge"))).parent / "config" / "bridge.toml",
    ):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise Misconfigured(
        "no-template",
        "the documented configuration file is not installed",
        hint="install the package again, or write the file yourself and run init again",
    )


def configuration(domain: Domain, spool: Path | None) -> str:
    """Return the text of a configuration file for `domain` with all else at its default."""
    text = _NAME.sub(f'name = "{domain}"', template(), count=1)
    if spool is not None:
        text = _SPOOL.sub(lambda _: f"spool = {_quoted(str(spool))}", text, count=1)
    return text


def _quoted(text: str) -> str:
    """Return `text` as a TOML basic string (TOML 1.0)."""
    if any(not c.isprintable() for c in text):
        raise click.BadParameter("a path holds a character that cannot be printed")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@click.command(cls=Command)
@click.option("--spool", type=FILE, metavar="DIR", help="Where projects lie.")
@click.option("--domain", metavar="DOMAIN", help="Whose users and projects these are.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
def init(spool: Path | None, domain: str | None, yes: bool) -> None:
    """Make configuration, spool and domain key.

    Nothing that exists is changed: run again, it completes what is missing. The file is
    written from a template that explains every key.
    """
    file = config_file() or DEFAULT_FILE
    spool = spool.absolute() if spool else None
    if file.exists():
        config = load(file)
        _check_same(file, config, domain, spool)
        written = False
    else:
        name = _parsed(domain or _asked(yes))
        text = configuration(name, spool)
        if not yes:
            click.confirm(f"Write {file} for {name}?", default=True, abort=True, err=True)
        make_directory(file.absolute().parent)
        replace_file(file.absolute(), text.encode(), flush=True)
        file.chmod(_MODE)
        config, written = load(file), True
    made = app.initialise(config)
    layout = app.layout_of(config)
    say(f"configuration  {file}{'' if written else ' (as it was)'}")
    say(f"spool          {layout.home}")
    say(f"key            {app.key_file(config)}{'' if made else ' (as it was)'}")
    if made:
        advise("keep a copy of the key apart: without it the domain's logs take no more changes")
    advise(f"next: tx-bridge user add NAME@{config.domain}, then tx-bridge serve")


def _asked(yes: bool) -> str:
    if yes:
        raise click.UsageError("say for which domain: --domain DOMAIN")
    answer: str = click.prompt("Domain of your users' addresses", err=True)
    return answer


def _parsed(text: str) -> Domain:
    try:
        return parse_domain(text)
    except BridgeError as error:
        raise click.BadParameter(error.public, param_hint="--domain") from None


def _check_same(file: Path, config: Config, domain: str | None, spool: Path | None) -> None:
    """Refuse to initialise something else than what the file says."""
    if domain is not None and _parsed(domain) != config.domain:
        raise Misconfigured(
            "other-domain",
            f"{file} is for {config.domain}, not {domain}",
            hint="change the file, or name another with --config",
        )
    if spool is not None and spool.resolve() != config.spool.resolve():
        raise Misconfigured(
            "other-spool",
            f"{file} has its spool in {config.spool}, not {spool}",
            hint="change the file, or name another with --config",
        )
