"""``tx-bridge key`` and ``dns``: the domain's public key and the records that announce it.

The records are those of spec/dns-discovery: where the server is (SRV and TXT at
``_tx._tcp``), the key that speaks for the domain (``<kid>._txkey``), and, for calendar
clients, RFC 6764's ``_caldavs._tcp``.
"""

from __future__ import annotations

import base64
import stat
from typing import TYPE_CHECKING, Any, Final

import click

from bridge import app
from bridge.cli.session import settings
from bridge.cli.shape import Command, json_option
from bridge.cli.speech import advise, document, say
from bridge.errors import BridgeError
from bridge.model.ids import parse_domain
from bridge.trust.patchsig import unb64

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.trust.patchsig import DomainKey

TTL: Final = 300
_PATH: Final = "/tx"
_MAX: Final = 1_048_576
"""Bytes of the largest message to the inbox (tx-protocol section 18)."""
_HTTPS: Final = 443


def _host_options(command: Any) -> Any:  # a click decorator
    host = click.option(
        "--host", metavar="NAME", help="Where clients reach the server.  [default: domain.host]"
    )
    port = click.option(
        "--port", type=click.IntRange(1, 65535), default=_HTTPS, show_default=True,
        help="Its public port.",
    )  # fmt: skip
    return host(port(command))


@click.command(cls=Command)
@_host_options
@json_option
def key(host: str | None, port: int, as_json: bool) -> None:
    """Show the domain's public key and the DNS records to publish."""
    config = settings()
    held = app.load_key(config)
    records = zone(config, held, host, port)
    file = app.key_file(config)
    if as_json:
        document(
            {
                "key": held.id,
                "alg": "ed25519",
                "public": held.public,
                "file": file,
                "records": records,
            }
        )
        return
    say(f"key     {held.id} (ed25519)")
    say(f"public  {held.public}")
    say(f"file    {file}")
    say()
    for line in records:
        say(line)
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        advise(f"others can read the private key: chmod 600 {file}")


@click.command(cls=Command)
@_host_options
@json_option
def dns(host: str | None, port: int, as_json: bool) -> None:
    """Print the DNS records to publish, as lines of a zone file."""
    config = settings()
    records = zone(config, app.load_key(config), host, port)
    if as_json:
        document(records)
        return
    for line in records:
        say(line)


def zone(config: Config, key: DomainKey, host: str | None, port: int) -> list[str]:
    """Return the records of a domain as lines of a zone file (RFC 1035 section 5).

    Raises:
        click.BadParameter: `host` is no name of a host.
    """
    domain = config.domain
    try:
        target = parse_domain(host or config.host or domain)
    except BridgeError as error:
        raise click.BadParameter(error.public, param_hint="--host") from None
    public = base64.b64encode(unb64(key.public)).decode()
    kid = key.id.partition("/")[2]
    tx, calendar = f"_tx._tcp.{domain}.", f"_caldavs._tcp.{domain}."
    return [
        f"{tx} {TTL} IN SRV 10 60 {port} {target}.",
        f'{tx} {TTL} IN TXT "v=TX1; path={_PATH}; req=open; max={_MAX}"',
        f'{kid}._txkey.{domain}. {TTL} IN TXT "v=TXKEY1; k=ed25519; p={public}"',
        f"{calendar} {TTL} IN SRV 0 1 {port} {target}.",
        f'{calendar} {TTL} IN TXT "path={config.caldav.prefix}/"',
    ]
