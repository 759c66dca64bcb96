"""``tx-bridge apple-profile``: a configuration profile for iPhone, iPad and Mac.

The profile (com.apple.caldav.account, Apple's "Configuration Profile Reference") sets up the
account with one tap; the device asks for the app password, so no secret is in the file. The
same user and server give the same identifiers: a newer profile replaces an older one. Given
a certificate and its key it is signed (CMS, the content enclosed), and devices show by whom.
"""

from __future__ import annotations

import plistlib
import sys
import uuid
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs7

from bridge.cli.session import session
from bridge.cli.shape import ADDRESS, FILE, Command
from bridge.cli.speech import advise, say
from bridge.errors import BridgeError, Invalid, NotFound
from bridge.model.ids import Address, Domain, parse_domain

if TYPE_CHECKING:
    from pathlib import Path

_HTTPS: Final = 443
_READ_MAX: Final = 256 * 1024
_SPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:tx-bridge:apple-profile")
_RSA_MIN: Final = 2048


@click.command("apple-profile", cls=Command)
@click.argument("user", type=ADDRESS, metavar="ADDRESS")
@click.option("--output", type=FILE, help="The file to write.  [default: standard output]")
@click.option("--host", metavar="NAME", help="Where devices reach it.  [default: domain.host]")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=_HTTPS, show_default=True,
    help="Its public port.",
)  # fmt: skip
@click.option("--certificate", type=FILE, help="PEM: the signer's certificate, then its chain.")
@click.option("--key", "key_file", type=FILE, help="PEM: the certificate's private key.")
def apple_profile(
    user: Address,
    output: Path | None,
    host: str | None,
    port: int,
    certificate: Path | None,
    key_file: Path | None,
) -> None:
    """Write a profile that sets up the account on Apple's devices."""
    if (certificate is None) != (key_file is None):
        raise click.UsageError("--certificate and --key belong together")
    with session() as opened:
        person = opened.gateway.directory.people.get(user)
        if person is None or person.disabled is not None:
            raise NotFound("no-user", f"there is no user {user}")
        config = opened.config
        try:
            server = parse_domain(host or config.host or config.domain)
        except BridgeError as error:
            raise click.BadParameter(error.public, param_hint="--host") from None
        content = profile(user, server, port, config.caldav.prefix)
    if certificate is not None and key_file is not None:
        content = signed(content, _read(certificate), _read(key_file))
    else:
        advise("the profile is not signed: devices say so; --certificate and --key sign it")
    if output is None:
        sys.stdout.buffer.write(content)
        return
    output.write_bytes(content)
    say(f"wrote {output}: open it on the device, which asks for an app password")


def profile(user: Address, server: Domain, port: int, prefix: str) -> bytes:
    """Return the profile of a user's account as an XML property list."""
    reversed_name = ".".join(reversed(server.split(".")))
    identifier = f"{reversed_name}.tx-bridge.{user.replace('@', '.at.')}"
    identity = f"{server}:{port}{prefix} {user}"
    account: dict[str, Any] = {
        "PayloadType": "com.apple.caldav.account",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{identifier}.caldav",
        "PayloadUUID": str(uuid.uuid5(_SPACE, f"account {identity}")).upper(),
        "PayloadDisplayName": "Tasks",
        "CalDAVAccountDescription": f"Tasks of {user}",
        "CalDAVHostName": server,
        "CalDAVPort": port,
        "CalDAVUseSSL": True,
        "CalDAVUsername": user,
        "CalDAVPrincipalURL": f"{prefix}/{quote(user, safe='')}/",
    }
    whole: dict[str, Any] = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": identifier,
        "PayloadUUID": str(uuid.uuid5(_SPACE, identity)).upper(),
        "PayloadDisplayName": f"Tasks of {user}",
        "PayloadDescription": f"Task lists of {user} on {server}, in Reminders.",
        "PayloadOrganization": server,
        "PayloadRemovalDisallowed": False,
        "PayloadContent": [account],
    }
    return plistlib.dumps(whole)


def signed(content: bytes, certificates: bytes, key: bytes) -> bytes:
    """Return `content` inside a CMS SignedData (DER), as Apple's devices take it.

    Args:
        content: the profile.
        certificates: PEM, the signer's first, then its chain.
        key: PEM without a passphrase; RSA from 2048 bits, or ECDSA.

    Raises:
        Invalid: ``bad-certificate`` or ``bad-key``.
    """
    try:
        chain = x509.load_pem_x509_certificates(certificates)
    except ValueError:
        raise Invalid("bad-certificate", "this is no certificate in PEM") from None
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        raise Invalid("bad-key", "this is no private key in PEM without a passphrase") from None
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise Invalid("bad-key", "profiles are signed with RSA or ECDSA keys")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < _RSA_MIN:
        raise Invalid("bad-key", f"an RSA key has at least {_RSA_MIN} bits")
    if private.public_key() != chain[0].public_key():
        raise Invalid("bad-key", "the key is not that of the first certificate")
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
    builder = builder.add_signer(chain[0], private, hashes.SHA256())
    for link in chain[1:]:
        builder = builder.add_certificate(link)
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary])


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_READ_MAX)
