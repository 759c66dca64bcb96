"""``tx-bridge contact``: whom users know, by which certificates, and whom they shut out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bridge.cli.session import session
from bridge.cli.shape import ADDRESS, FILE, Group, json_option
from bridge.cli.speech import document, moment, note, table
from bridge.errors import BridgeError, Invalid, NotFound
from bridge.model.ids import Address, parse_address, parse_domain
from bridge.model.request import Decision
from bridge.store.directory_records import (
    Acquaintance,
    Contact,
    Listing,
    ListName,
    Pin,
    PinKind,
    SenderKind,
)
from bridge.trust.anchors import LIBRARY_ERRORS, fingerprint_of_der

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_CERTIFICATE_MAX: Final = 64 * 1024
_PRIVATE: Final = b"PRIVATE KEY-----"


@click.group(cls=Group)
def contact() -> None:
    """Whom a user knows, and whom a user does not want to hear from."""


@contact.command()
@click.argument("user", type=ADDRESS)
@click.argument("address", type=ADDRESS)
@click.option(
    "--certificate", type=FILE, metavar="PEM", help="Believe mail signed with this certificate."
)
@click.option("--name", default="", help="What the user calls them.")
@click.option("--known", is_flag=True, help="Only known: tasks still come as requests.")
def add(user: Address, address: Address, certificate: Path | None, name: str, known: bool) -> None:
    """Let ADDRESS give USER tasks without asking, if the mail proves its sender.

    With --certificate that certificate is pinned: signatures by it prove the sender even if
    no configured authority has issued it, and signatures by others no longer do.
    """
    with session() as opened:
        opened.person(user)
        gateway, now = opened.gateway, opened.gateway.clock()
        pin = _pin(certificate, address, now) if certificate else None
        how = Acquaintance.KNOWN if known else Acquaintance.ALLOWED
        contacts = gateway.directory.contacts
        with gateway.directory.transaction():
            for shut in (ListName.BLOCK, ListName.IGNORE):
                listing = Listing(list=shut, kind=SenderKind.ADDRESS, value=address)
                if contacts.take_off_list(user, listing):
                    note(f"{address} is no longer on the {shut} list")
            contacts.remember(user, address, how, now, name=name)
            contacts.set_acquaintance(user, address, how)
            held = contacts.get(user, address)
            if pin is not None and held is not None:
                contacts.pin(held, pin)
    note(f"{address} is {how} to {user}" + (f", pinned {pin.fingerprint}" if pin else ""))


def _pin(file: Path, address: Address, now: datetime) -> Pin:
    with file.open("rb") as opened:
        content = opened.read(_CERTIFICATE_MAX + 1)
    if _PRIVATE in content:
        raise Invalid("bad-certificate", f"{file} holds a private key", hint="give the certificate")
    try:
        loaded = x509.load_pem_x509_certificate(content)
        named = _addresses(loaded)
    except LIBRARY_ERRORS:
        raise Invalid(
            "bad-certificate",
            f"{file} is not a certificate in PEM form",
            hint="it begins with -----BEGIN CERTIFICATE-----",
        ) from None
    if address not in named:
        raise Invalid(
            "other-address",
            f"the certificate in {file} is for {', '.join(named) or 'no address'}, not {address}",
        )
    if loaded.not_valid_after_utc < now:
        raise Invalid(
            "expired", f"the certificate in {file} ended on {moment(loaded.not_valid_after_utc)}"
        )
    return Pin(
        kind=PinKind.SMIME,
        fingerprint=fingerprint_of_der(loaded.public_bytes(Encoding.DER)),
        material=loaded.public_bytes(Encoding.PEM).decode(),
        first_seen=now,
        last_seen=now,
    )


def _addresses(certificate: x509.Certificate) -> list[Address]:
    """Return the addresses of a certificate; only alternative names count (mail-trust)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    found = []
    for text in names.get_values_for_type(x509.RFC822Name):
        try:
            found.append(parse_address(text))
        except BridgeError:
            continue
    return found


@contact.command("list")
@click.argument("user", type=ADDRESS)
@json_option
def list_(user: Address, as_json: bool) -> None:
    """Show a user's contacts, pins and lists."""
    with session() as opened:
        opened.person(user)
        contacts = opened.gateway.directory.contacts.of(user)
        listed = opened.gateway.directory.contacts.listed(user)
    lists = [{"list": one.list, "kind": one.kind, "value": one.value} for one in listed]
    if as_json:
        document({"contacts": [_described(one) for one in contacts], "lists": lists})
        return
    rows: list[tuple[str, ...]] = [
        (
            one.address,
            "key changed" if one.key_changed else one.acquaintance,
            one.name,
            moment(one.last_seen),
            " ".join(pin.fingerprint[:19] for pin in one.pins),
        )
        for one in contacts
    ]
    rows += [(one["value"], f"{one['list']} {one['kind']}", "", "", "") for one in lists]
    table(
        ("WHO", "STANDING", "NAME", "LAST SEEN", "PINNED"), rows, empty=f"{user} knows nobody yet"
    )


def _described(held: Contact) -> dict[str, Any]:
    return {
        "address": held.address,
        "name": held.name,
        "standing": held.acquaintance,
        "first_seen": held.first_seen,
        "last_seen": held.last_seen,
        "key_changed": held.key_changed,
        "pins": [{"kind": one.kind, "fingerprint": one.fingerprint} for one in held.pins],
    }


@contact.command()
@click.argument("user", type=ADDRESS)
@click.argument("address", type=ADDRESS)
def remove(user: Address, address: Address) -> None:
    """Forget a contact and its pins."""
    with session() as opened:
        opened.person(user)
        if not opened.gateway.directory.contacts.forget(user, address):
            raise NotFound("no-contact", f"{address} is not a contact of {user}")


def listing_of(shut: ListName, sender: str) -> Listing:
    """Return the listing of an address, a domain or a key's fingerprint.

    Raises:
        Invalid: ``bad-domain`` or ``bad-address``.
    """
    if "@" in sender:
        return Listing(list=shut, kind=SenderKind.ADDRESS, value=parse_address(sender))
    if sender.startswith("sha256:"):
        return Listing(list=shut, kind=SenderKind.KEY, value=sender.lower())
    return Listing(list=shut, kind=SenderKind.DOMAIN, value=parse_domain(sender))


def _shut_out(user: Address, sender: str, shut: ListName) -> None:
    with session() as opened:
        opened.person(user)
        now = opened.gateway.clock()
        ended = opened.gateway.directory.shut_out(
            user, listing_of(shut, sender), Decision(at=now, by=user)
        )
    note(f"{sender} is on the {shut} list; {len(ended)} waiting requests ended")


@contact.command()
@click.argument("user", type=ADDRESS)
@click.argument("sender")
def block(user: Address, sender: str) -> None:
    """Refuse SENDER (an address, a domain or a key) for USER from now on."""
    _shut_out(user, sender, ListName.BLOCK)


@contact.command()
@click.argument("user", type=ADDRESS)
@click.argument("sender")
def ignore(user: Address, sender: str) -> None:
    """Put aside silently whatever SENDER sends to USER."""
    _shut_out(user, sender, ListName.IGNORE)


@contact.command()
@click.argument("user", type=ADDRESS)
@click.argument("sender")
def unblock(user: Address, sender: str) -> None:
    """Take SENDER off USER's block and ignore lists."""
    with session() as opened:
        opened.person(user)
        contacts = opened.gateway.directory.contacts
        found = [
            contacts.take_off_list(user, listing_of(shut, sender))
            for shut in (ListName.BLOCK, ListName.IGNORE)
        ]
    if not any(found):
        raise NotFound("not-listed", f"{sender} is on no list of {user}")
