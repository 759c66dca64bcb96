"""S/MIME verdicts, each case also shown to `openssl cms -verify`.

The certificates and most signatures are written by the small `Forge` below, because the
interesting ones are those that no honest tool makes; the rest come from the openssl CLI.
`CASES` is the table of mail-trust section 2; `DISAGREE` lists where openssl decides
otherwise, and why we do not follow it.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import BridgeError, Misconfigured
from bridge.model.ids import Address
from bridge.trust.anchors import SMTP_UTF8_MAILBOX, TrustAnchors, fingerprint_of
from bridge.trust.smime import verify
from bridge.trust.smime_sign import sign
from bridge.trust.testca import issue_certificate, issue_revocations, make_test_ca
from bridge.trust.verdict import Method, Proof, Verdict
from bridge.wire.mailtext import body_text, headline
from bridge.wire.message import read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
ALICE = Address("alice@example.org")
ENTITY = b"Content-Type: text/plain; charset=utf-8\r\n\r\nPaint the fence.\r\n"
MAIL = ExtendedKeyUsageOID.EMAIL_PROTECTION
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

# --- a writer of certificates and CMS objects --------------------------------------------------


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 128 + len(size))) + size + body


def oid(text: str) -> bytes:
    first, second, *rest = [int(arc) for arc in text.split(".")]
    out = [first * 40 + second]
    for arc in rest:
        groups = [arc & 127]
        while arc := arc >> 7:
            groups.insert(0, 128 | arc & 127)
        out += groups
    return tlv(6, bytes(out))


NULL = tlv(5)
SHA = {
    "sha256": oid("2.16.840.1.101.3.4.2.1"), "sha384": oid("2.16.840.1.101.3.4.2.2"),
    "sha512": oid("2.16.840.1.101.3.4.2.3"), "sha224": oid("2.16.840.1.101.3.4.2.4"),
    "sha1": oid("1.3.14.3.2.26"), "md5": oid("1.2.840.113549.2.5"),
}  # fmt: skip
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512(),
    "sha224": hashes.SHA224(), "sha1": hashes.SHA1(),  # noqa: S303 - must be refused
    "md5": hashes.MD5(),  # noqa: S303 - must be refused
}  # fmt: skip
RSA = tlv(0x30, oid("1.2.840.113549.1.1.1"), NULL)
RSA_WITH_SHA512 = tlv(0x30, oid("1.2.840.113549.1.1.13"), NULL)
ECDSA = {
    "sha256": tlv(0x30, oid("1.2.840.10045.4.3.2")),
    "sha384": tlv(0x30, oid("1.2.840.10045.4.3.3")),
    "sha512": tlv(0x30, oid("1.2.840.10045.4.3.4")),
    "sha224": tlv(0x30, oid("1.2.840.10045.4.3.1")),
}
ED25519 = tlv(0x30, oid("1.3.101.112"))
DATA = oid("1.2.840.113549.1.7.1")


@cache
def key(kind: str, number: int = 0) -> PrivateKey:
    """Return a key, made once a session; `number` tells several of one kind apart."""
    del number
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, type[ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1 | ec.SECP256K1]]
    curves = {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1, "k1": ec.SECP256K1}
    return ec.generate_private_key(curves[kind]())


@dataclass(frozen=True, kw_only=True)
class Holder:
    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a certificate shall say; the defaults are a good leaf of Alice's."""

    name: str = "Alice"
    addresses: tuple[x509.GeneralName, ...] = (x509.RFC822Name(ALICE),)
    email_in_dn: bool = False
    purposes: tuple[x509.ObjectIdentifier, ...] = (MAIL,)
    signing: bool = True
    ca: bool = False
    path_length: int | None = None
    not_before: datetime = START
    not_after: datetime = END
    more: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    with_key_id: bool = True
    serial: int = 7


LEAF = Wish()
AUTHORITY = Wish(name="Root", addresses=(), purposes=(), ca=True, serial=1)


def issue(wish: Wish, its_key: PrivateKey, issuer: Holder | None = None) -> Holder:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, wish.name)]
    if wish.email_in_dn:
        attributes.append(x509.NameAttribute(NameOID.EMAIL_ADDRESS, ALICE))
    subject = x509.Name(attributes)
    signer = issuer.key if issuer else its_key
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(wish.ca, wish.path_length), True), (usage(wish), True), *wish.more
    ]  # fmt: skip
    if wish.addresses:
        extensions.append((x509.SubjectAlternativeName(wish.addresses), False))
    if wish.purposes:
        extensions.append((x509.ExtendedKeyUsage(wish.purposes), False))
    if wish.with_key_id:
        extensions.append((x509.SubjectKeyIdentifier.from_public_key(its_key.public_key()), False))
    aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    extensions.append((aki, False))
    builder = x509.CertificateBuilder(
        subject_name=subject, issuer_name=issuer.certificate.subject if issuer else subject
    )
    builder = builder.public_key(its_key.public_key()).serial_number(wish.serial)
    builder = builder.not_valid_before(wish.not_before).not_valid_after(wish.not_after)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else HASHES["sha256"]
    return Holder(certificate=builder.sign(signer, digest), key=its_key)  # type: ignore[arg-type]  # one of the hashes


def usage(wish: Wish) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=wish.signing and (not wish.ca or bool(wish.purposes)), content_commitment=False,
        key_encipherment=not wish.signing, data_encipherment=False, key_agreement=False,
        key_cert_sign=wish.ca, crl_sign=wish.ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def attribute(kind: str, *values: bytes) -> bytes:
    return tlv(0x30, oid(kind), tlv(0x31, *values))


def content_type(value: bytes = DATA) -> bytes:
    return attribute("1.2.840.113549.1.9.3", value)


def message_digest(covered: bytes, digest: str = "sha256") -> bytes:
    return attribute("1.2.840.113549.1.9.4", tlv(4, hashlib.new(digest, covered).digest()))


def signing_time(moment: datetime = NOW) -> bytes:
    return attribute("1.2.840.113549.1.9.5", tlv(0x17, f"{moment:%y%m%d%H%M%S}Z".encode()))


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One SignerInfo; the defaults are what a good client writes."""

    holder: Holder
    covered: bytes = ENTITY
    digest: str = "sha256"
    attributes: tuple[bytes, ...] | None = None
    algorithm: bytes | None = None
    pss: str = ""
    by_key_id: bool = False
    no_attributes: bool = False
    unsigned: bytes = b""

    def encode(self) -> bytes:
        attributes = self.attributes
        if attributes is None:
            attributes = (content_type(), signing_time(), message_digest(self.covered, self.digest))
        attributes = tuple(sorted(attributes, key=lambda one: (len(one), one)))
        to_sign = self.covered if self.no_attributes else tlv(0x31, *attributes)
        signature, algorithm = self._sign(to_sign)
        certificate = self.holder.certificate
        if self.by_key_id:
            ski = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
            sid = tlv(0x80, ski.value.digest)
        else:
            serial = certificate.serial_number
            number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
            sid = tlv(0x30, certificate.issuer.public_bytes(), tlv(2, number))
        return tlv(
            0x30, tlv(2, b"\x03" if self.by_key_id else b"\x01"), sid, tlv(0x30, SHA[self.digest]),
            b"" if self.no_attributes else tlv(0xA0, *attributes), self.algorithm or algorithm,
            tlv(4, signature), self.unsigned,
        )  # fmt: skip

    def _sign(self, data: bytes) -> tuple[bytes, bytes]:
        signer, digest = self.holder.key, HASHES[self.digest]
        if isinstance(signer, ed25519.Ed25519PrivateKey):
            return signer.sign(data), ED25519
        if isinstance(signer, ec.EllipticCurvePrivateKey):
            return signer.sign(data, ec.ECDSA(digest)), ECDSA[self.digest]
        if self.pss:
            scheme = padding.PSS(padding.MGF1(HASHES[self.pss]), 32)
            mask = tlv(0x30, oid("1.2.840.113549.1.1.8"), tlv(0x30, SHA[self.pss]))
            parameters = tlv(
                0x30,
                tlv(0xA0, tlv(0x30, SHA[self.digest])),
                tlv(0xA1, mask),
                tlv(0xA2, tlv(2, b" ")),
            )
            algorithm = tlv(0x30, oid("1.2.840.113549.1.1.10"), parameters)
            return signer.sign(data, scheme, digest), algorithm
        return signer.sign(data, padding.PKCS1v15(), digest), RSA


def signed_data(
    *statements: Statement,
    certificates: tuple[Holder, ...] | None = None,
    embedded: bytes | None = None,
    kind: bytes = DATA,
    outer: bytes | None = None,
    announced: str = "",
) -> bytes:
    enclosed = certificates if certificates is not None else tuple(s.holder for s in statements)
    digests = sorted({tlv(0x30, SHA[announced or s.digest]) for s in statements})
    inner = b"" if embedded is None else tlv(0xA0, tlv(4, embedded))
    data = tlv(
        0x30, tlv(2, b"\x01"), tlv(0x31, *digests), tlv(0x30, kind, inner),
        tlv(0xA0, *[holder.der for holder in enclosed]) if enclosed else b"",
        tlv(0x31, *[s.encode() for s in statements]),
    )  # fmt: skip
    return tlv(0x30, outer or oid("1.2.840.113549.1.7.2"), tlv(0xA0, data))


def as_ber(data: bytes, *, depth: int = 0) -> bytes:
    """Return DER with indefinite lengths and strings in pieces, certificates left alone."""
    tag, body, rest = data[0], 2, b""
    if data[1] & 128:
        body = 2 + (data[1] & 127)
        length = int.from_bytes(data[2:body], "big")
    else:
        length = data[1]
    value, rest = data[body : body + length], data[body + length :]
    if tag == 4 and depth == 5 and length > 8:
        pieces = tlv(4, value[:8]) + tlv(4, value[8:])
        done = b"\x24\x80" + pieces + b"\0\0"
    elif not tag & 0x20 or depth > 5:
        done = data[: body + length]
    elif depth == 3 and tag == 0xA0:
        done = b"\xa0\x80" + value + b"\0\0"
    else:
        done = bytes((tag, 0x80)) + (as_ber(value, depth=depth + 1) if value else b"") + b"\0\0"
    return done + (as_ber(rest, depth=depth) if rest else b"")


HEAD = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: Fence\r\n"
    b"MIME-Version: 1.0\r\n"
)


def detached(cms: bytes, entity: bytes = ENTITY, head: bytes = HEAD) -> bytes:
    return (
        head + b'Content-Type: multipart/signed; protocol="application/pkcs7-signature";'
        b" micalg=sha-256; boundary=b\r\n\r\n--b\r\n" + entity + b"\r\n--b\r\n"
        b"Content-Type: application/pkcs7-signature; name=smime.p7s\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(cms).replace(b"\n", b"\r\n") + b"--b--\r\n"
    )  # fmt: skip


def opaque(cms: bytes, head: bytes = HEAD) -> bytes:
    return (
        head + b"Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(cms).replace(b"\n", b"\r\n")
    )  # fmt: skip


# --- the people --------------------------------------------------------------------------------


@cache
def root() -> Holder:
    return issue(AUTHORITY, key("p256", 1))


@cache
def other_root() -> Holder:
    return issue(replace(AUTHORITY, name="Other"), key("p256", 2))


@cache
def alice() -> Holder:
    return issue(LEAF, key("p256", 3), root())


@cache
def mallory() -> Holder:
    own = (x509.RFC822Name("mallory@example.org"),)
    return issue(replace(LEAF, name="Mallory", addresses=own, serial=8), key("p256", 4), root())


def leaf(kind: str = "p256", issuer: Holder | None = None, **wish: object) -> Holder:
    return issue(replace(LEAF, **wish), key(kind, 5), issuer or root())  # type: ignore[arg-type]  # fields of Wish


@cache
def rsa_root() -> Holder:
    return issue(replace(AUTHORITY, name="RSA root"), key("rsa2048", 1))


@cache
def weak_intermediate() -> Holder:
    return issue(replace(AUTHORITY, name="Weak", serial=2), key("rsa1024", 1), root())


@cache
def with_sha1() -> Holder:
    """A leaf whose certificate is signed with SHA-1, which no library writes any more."""
    good, authority = leaf(issuer=rsa_root()), rsa_root().key
    assert isinstance(authority, rsa.RSAPrivateKey)
    new, old = oid("1.2.840.113549.1.1.11"), oid("1.2.840.113549.1.1.5")
    body = good.certificate.tbs_certificate_bytes.replace(new, old)
    signature = authority.sign(body, padding.PKCS1v15(), HASHES["sha1"])
    der = tlv(0x30, body, tlv(0x30, old, NULL), tlv(3, b"\0", signature))
    return Holder(certificate=x509.load_der_x509_certificate(der), key=good.key)


def by(holder: Holder, **statement: object) -> bytes:
    """Return a good mail signed by `holder`, changed as `statement` says."""
    said = replace(Statement(holder=holder), **statement)  # type: ignore[arg-type]  # fields of Statement
    return detached(signed_data(said))


def through(*chain: Holder) -> bytes:
    return detached(signed_data(Statement(holder=chain[0]), certificates=chain))


def intermediate(issuer: Holder | None = None, **wish: object) -> Holder:
    base = replace(AUTHORITY, name="Sub", serial=2, **wish)  # type: ignore[arg-type]  # fields of Wish
    return issue(base, key("p256", 6), issuer or root())


def utf8_mailbox(address: str) -> tuple[x509.GeneralName, ...]:
    return (x509.OtherName(SMTP_UTF8_MAILBOX, tlv(12, address.encode())),)


def below_constraint(names: tuple[x509.GeneralName, ...], permitted: str) -> bytes:
    constraint = x509.NameConstraints([x509.RFC822Name(permitted)], None)
    sub = intermediate(more=((constraint, True),))
    return through(leaf(issuer=sub, addresses=names), sub)


def with_path_break() -> bytes:
    sub = intermediate(path_length=0)
    below = issue(replace(AUTHORITY, name="Deep", serial=3), key("p256", 7), sub)
    return through(leaf(issuer=below), below, sub)


def forged_from_attributes() -> bytes:
    """A signature over attributes, shown as one over content that is those attributes' DER."""
    attributes = tlv(0x31, content_type(), message_digest(ENTITY))
    said = Statement(holder=alice(), covered=attributes, no_attributes=True)
    return opaque(signed_data(said, embedded=attributes))


POLICY = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), None)])
FROM_ZOE = HEAD.replace(b"Alice <alice@", "Zoë <zoë@".encode())

CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    # accepted
    "RSA 2048": (lambda: by(leaf("rsa2048")), "verified"),
    "RSA with algorithm sha512WithRSA": (
        lambda: by(leaf("rsa2048"), digest="sha512", algorithm=RSA_WITH_SHA512), "verified"),
    "RSA-PSS": (lambda: by(leaf("rsa2048"), pss="sha256"), "verified"),
    "ECDSA P-256": (lambda: by(leaf()), "verified"),
    "ECDSA P-384": (lambda: by(leaf("p384"), digest="sha384"), "verified"),
    "ECDSA P-521": (lambda: by(leaf("p521"), digest="sha512"), "verified"),
    "Ed25519": (lambda: by(leaf("ed25519"), digest="sha512"), "verified"),
    "BER": (lambda: detached(as_ber(signed_data(Statement(holder=alice())))), "verified"),
    "signer by key id": (lambda: by(alice(), by_key_id=True), "verified"),
    "SmtpUTF8Mailbox": (
        lambda: by(leaf(addresses=utf8_mailbox("zoë@example.org"))).replace(HEAD, FROM_ZOE),
        "verified"),
    "through an intermediate": (
        lambda: through(leaf(issuer=intermediate()), intermediate()), "verified"),
    "critical certificate policies": (lambda: by(leaf(more=((POLICY, True),))), "verified"),
    "critical policies of the intermediate": (
        lambda: through(
            leaf(issuer=intermediate(more=((POLICY, True),))), intermediate(more=((POLICY, True),))),
        "verified"),
    "signer's certificate twice": (
        lambda: detached(signed_data(Statement(holder=alice()), certificates=(alice(), alice()))),
        "verified"),
    "inside a name constraint": (
        lambda: below_constraint((x509.RFC822Name(ALICE),), "example.org"), "verified"),
    "opaque": (
        lambda: opaque(signed_data(Statement(holder=alice()), embedded=ENTITY)), "verified"),
    "unsigned attributes": (
        lambda: by(alice(), unsigned=tlv(0xA1, attribute("1.2.3.4", NULL))), "verified"),
    # refused: the CMS object
    "no signed attributes": (lambda: by(alice(), no_attributes=True), "cms-attributes"),
    "attributes shown as content": (forged_from_attributes, "cms-attributes"),
    "SHA-1 digest": (lambda: by(leaf("rsa2048"), digest="sha1"), "cms-algorithm"),
    "MD5 digest": (lambda: by(leaf("rsa2048"), digest="md5"), "cms-algorithm"),
    "SHA-224 digest": (lambda: by(alice(), digest="sha224"), "cms-algorithm"),
    "digest and signature algorithm disagree": (
        lambda: by(alice(), algorithm=ECDSA["sha384"]), "cms-algorithm"),
    "RSA and hash disagree": (
        lambda: by(leaf("rsa2048"), algorithm=RSA_WITH_SHA512), "cms-algorithm"),
    "RSA-PSS with another mask hash": (lambda: by(leaf("rsa2048"), pss="sha512"), "cms-algorithm"),
    "Ed25519 with SHA-256": (lambda: by(leaf("ed25519")), "cms-algorithm"),
    "content type missing": (
        lambda: by(alice(), attributes=(message_digest(ENTITY),)), "cms-attributes"),
    "content type of another kind": (
        lambda: by(alice(), attributes=(content_type(oid("1.2.3")), message_digest(ENTITY))),
        "cms-attributes"),
    "message digest missing": (
        lambda: by(alice(), attributes=(content_type(),)), "cms-attributes"),
    "message digest twice": (
        lambda: by(alice(), attributes=(
            content_type(), message_digest(ENTITY), message_digest(b"x"))), "cms-attributes"),
    "message digest with two values": (
        lambda: by(alice(), attributes=(content_type(), attribute(
            "1.2.840.113549.1.9.4", *[tlv(4, hashlib.sha256(e).digest()) for e in (ENTITY, b"x")]))),
        "cms-attributes"),
    "second signer Mallory": (
        lambda: detached(signed_data(Statement(holder=alice()), Statement(holder=mallory()))),
        "cms-signers"),
    "no signer": (lambda: detached(signed_data(certificates=(alice(),))), "cms-signers"),
    "digest not announced": (
        lambda: detached(signed_data(Statement(holder=alice()), announced="sha512")), "cms-algorithm"),
    "two certificates of one name": (
        lambda: through(alice(), issue(LEAF, key("p256", 15), root())), "cms-signer"),
    "no certificate": (
        lambda: detached(signed_data(Statement(holder=alice()), certificates=())), "cms-signer"),
    "detached with content inside": (
        lambda: detached(signed_data(Statement(holder=alice()), embedded=ENTITY)), "cms-embedded"),
    "detached with empty content inside": (
        lambda: detached(signed_data(Statement(holder=alice()), embedded=b"")), "cms-embedded"),
    "content swapped": (
        lambda: detached(signed_data(Statement(holder=alice(), covered=b"good"), embedded=b"good")),
        "cms-embedded"),
    "opaque without content": (lambda: opaque(signed_data(Statement(holder=alice()))), "cms-empty"),
    "opaque tampered": (
        lambda: opaque(signed_data(Statement(holder=alice()), embedded=ENTITY + b"x")), "cms-digest"),
    "tampered": (lambda: by(alice()).replace(b"Paint", b"Burn "), "cms-digest"),
    "signature of another mail": (
        lambda: by(alice(), covered=b"another", attributes=None), "cms-digest"),
    "signed by another key": (
        lambda: by(Holder(certificate=alice().certificate, key=key("p256", 9))), "cms-signature"),
    "trailing bytes": (
        lambda: detached(signed_data(Statement(holder=alice())) + b"\0\0"), "cms-malformed"),
    "not signed data": (
        lambda: detached(signed_data(
            Statement(holder=alice()), outer=oid("1.2.840.113549.1.7.3"))), "cms-kind"),
    "signature over a timestamp token": (
        lambda: detached(signed_data(
            Statement(holder=alice()), kind=oid("1.2.840.113549.1.9.16.1.4"))), "cms-kind"),
    "garbage": (lambda: detached(b"\x30\x03abc"), "cms-malformed"),
    "empty": (lambda: detached(b""), "cms-malformed"),
    # refused: the certificate
    "RSA 1024": (lambda: by(leaf("rsa1024")), "weak-key"),
    "intermediate with RSA 1024": (
        lambda: through(leaf(issuer=weak_intermediate()), weak_intermediate()), "untrusted-chain"),
    "curve secp256k1": (lambda: by(leaf("k1")), "weak-key"),
    "no purpose at all": (lambda: by(leaf(purposes=())), "untrusted-chain"),
    "any purpose": (
        lambda: by(leaf(purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,))), "untrusted-chain"),
    "TLS-only purpose": (
        lambda: by(leaf(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,))), "untrusted-chain"),
    "encrypt-only key usage": (lambda: by(leaf(signing=False)), "untrusted-chain"),
    "address only in the subject": (
        lambda: by(leaf(addresses=(), email_in_dn=True)), "untrusted-chain"),
    "only a DNS name": (
        lambda: by(leaf(addresses=(x509.DNSName("example.org"),), email_in_dn=True)),
        "untrusted-chain"),
    "expired": (lambda: by(leaf(not_after=NOW - timedelta(days=1))), "expired"),
    "not yet valid": (lambda: by(leaf(not_before=NOW + timedelta(days=1))), "not-yet-valid"),
    "signed in time, received after the end": (
        lambda: by(leaf(not_after=NOW - timedelta(days=1)), attributes=(
            content_type(), message_digest(ENTITY), signing_time(NOW - timedelta(days=9)))),
        "expired"),
    "path length": (with_path_break, "untrusted-chain"),
    "name constraint": (
        lambda: below_constraint((x509.RFC822Name(ALICE),), "example.net"), "untrusted-chain"),
    "UTF-8 mailbox around a name constraint": (
        lambda: below_constraint(utf8_mailbox(ALICE), "example.net"), "untrusted-chain"),
    "leaf as authority": (
        lambda: through(leaf(issuer=mallory()), mallory()), "untrusted-chain"),
    "authority signs mail": (lambda: by(leaf(ca=True)), "untrusted-chain"),
    "other root": (lambda: by(leaf(issuer=other_root())), "untrusted-chain"),
    "self-signed": (lambda: by(issue(LEAF, key("p256", 5))), "untrusted-chain"),
    "intermediate for TLS": (
        lambda: through(
            leaf(issuer=intermediate(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,))),
            intermediate(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,))), "untrusted-chain"),
    "intermediate missing": (lambda: by(leaf(issuer=intermediate())), "untrusted-chain"),
    "certificate signed with SHA-1": (lambda: by(with_sha1()), "untrusted-chain"),
    "unknown critical extension": (
        lambda: by(leaf(more=((x509.UnrecognizedExtension(
            x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00"), True),))), "untrusted-chain"),
    # refused: somebody else
    "signed by Mallory": (lambda: by(mallory()), "signer-is-not-author"),
    "Alice spelled otherwise": (
        lambda: by(leaf(addresses=(x509.RFC822Name("Alice@example.org"),))), "signer-is-not-author"),
    "UTF-8 mailbox of another": (
        lambda: by(leaf(addresses=utf8_mailbox("mallory@example.org"))), "signer-is-not-author"),
}  # fmt: skip


@cache
def anchors() -> TrustAnchors:
    return TrustAnchors(root().pem + rsa_root().pem)


def judged(raw: bytes, used: TrustAnchors | None = None, received: datetime = NOW) -> Verdict:
    return verify(read(raw), used or anchors(), received)


# --- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_each_case_of_the_table(name: str) -> None:
    make, code = CASES[name]
    verdict = judged(make())
    assert verdict.code == code
    assert (verdict.level is Proof.PERSON) is (code == "verified")
    assert verdict.reason[:1].islower()
    if verdict.proven:
        assert verdict.content is not None
        assert body_text(verdict.content) == "Paint the fence."
        assert verdict.fingerprint.startswith("sha256:")


DISAGREE = {
    # openssl accepts
    "no signed attributes": "allowed by RFC 5652; lets attributes pass as content (rule 9)",
    "attributes shown as content": "the forgery that rule 9 stops",
    "SHA-1 digest": "openssl's level 2 looks at certificates, not at the message digest",
    "MD5 digest": "as SHA-1",
    "SHA-224 digest": "not broken, but nobody needs a fourth hash",
    "RSA and hash disagree": "openssl takes the hash of the digest algorithm and ignores the other",
    "digest and signature algorithm disagree": "as with RSA",
    "no purpose at all": "RFC 5280 reads a missing purpose as any; we want mail (rule 11)",
    "address only in the subject": "rule 4: a subject is no identity",
    "only a DNS name": "openssl falls back to the subject although a SAN is there",
    "authority signs mail": "openssl does not mind CA:TRUE on a leaf",
    "detached with content inside": "openssl uses the detached text and leaves the inner one",
    "detached with empty content inside": "as above",
    "two certificates of one name": "openssl takes the first one",
    "trailing bytes": "openssl stops reading after the object",
    "content type of another kind": "openssl does not compare it with eContentType when verifying",
    "RSA-PSS with another mask hash": "two hashes are allowed by RFC 4055, not by rule 10",
    "curve secp256k1": "openssl has no list of curves",
    "signature over a timestamp token": "openssl takes every content type",
    # openssl refuses
    "Ed25519": "openssl 3.0 cannot verify RFC 8419",
    "SmtpUTF8Mailbox": "openssl 3.0 cannot be asked for a non-ASCII address",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openssl")
    (path / "roots.pem").write_bytes(root().pem + rsa_root().pem)
    return path


def openssl(*arguments: str | Path) -> int:
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)  # noqa: S603 - fixed program
    return done.returncode


def openssl_accepts(raw: bytes, folder: Path) -> bool:
    mail = folder / "mail.eml"
    # openssl's reader of mail takes the head apart itself: give it the entity only.
    mail.write_bytes(raw[raw.index(b"MIME-Version") :])
    status = openssl(
        "cms", "-verify", "-in", mail, "-CAfile", folder / "roots.pem", "-no-CApath",
        "-auth_level", "2", "-purpose", "smimesign", "-verify_email", ALICE,
        "-attime", str(int(NOW.timestamp())), "-out", "/dev/null",
    )  # fmt: skip
    return status == 0


@pytest.mark.parametrize("name", CASES)
def test_each_case_against_openssl(name: str, folder: Path) -> None:
    make, code = CASES[name]
    agrees = openssl_accepts(make(), folder) is (code == "verified")
    assert agrees is (name not in DISAGREE), DISAGREE.get(name, "an unexplained disagreement")


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [
        ("rsa2048", [], "verified"),
        ("p256", [], "verified"),
        ("p384", ["-md", "sha384"], "verified"),
        ("p521", ["-md", "sha512"], "verified"),
        ("rsa2048", ["-keyopt", "rsa_padding_mode:pss"], "verified"),
        ("rsa2048", ["-keyid"], "verified"),
        ("p256", ["-nodetach"], "verified"),
        ("p256", ["-nodetach", "-stream"], "verified"),
        ("p256", ["-stream"], "verified"),
        ("rsa2048", ["-nosmimecap"], "verified"),
        ("rsa2048", ["-noattr"], "cms-attributes"),
        ("rsa2048", ["-md", "sha1"], "cms-algorithm"),
        ("rsa2048", ["-md", "md5"], "cms-algorithm"),
        ("p256", ["-nocerts"], "cms-signer"),
    ],
)
def test_what_openssl_signs(kind: str, options: list[str], code: str, folder: Path) -> None:
    holder = leaf(kind)
    secret = holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "signer.pem").write_bytes(holder.pem + secret)
    (folder / "entity").write_bytes(ENTITY)
    signed = folder / "signed.eml"
    command = (
        "cms", "-sign", "-in", folder / "entity", "-signer", folder / "signer.pem", "-out", signed,
        "-binary", "-md", "sha256",
    )  # fmt: skip
    assert openssl(*command, *options) == 0
    produced = signed.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    raw = HEAD.replace(b"MIME-Version: 1.0\r\n", b"") + produced
    assert judged(raw).code == code


# --- parameters and structure ------------------------------------------------------------------

SHA256_USED = tlv(0xA0, tlv(0x30, SHA["sha256"]))
MASK = tlv(0xA1, tlv(0x30, oid("1.2.840.113549.1.1.8"), tlv(0x30, SHA["sha256"])))
SALT = tlv(0xA2, tlv(2, b" "))


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ([SHA256_USED, MASK, SALT], "verified"),
        ([SHA256_USED, MASK, SALT, tlv(0xA3, tlv(2, b"\x01"))], "verified"),
        ([SHA256_USED, MASK, SALT, tlv(0xA3, tlv(2, b"\x02"))], "cms-algorithm"),
        ([SHA256_USED, MASK], "cms-signature"),  # a salt of 20 bytes
        ([], "cms-algorithm"),  # SHA-1
        ([SHA256_USED, SALT], "cms-algorithm"),
        ([MASK, SALT], "cms-algorithm"),
        ([SHA256_USED, SHA256_USED, MASK, SALT], "cms-algorithm"),
        ([SHA256_USED, MASK.replace(b"\x01\x01\x08", b"\x01\x01\x09"), SALT], "cms-algorithm"),
        ([SHA256_USED, MASK, tlv(0xA2, tlv(2, b"\x40\0"))], "cms-algorithm"),
        ([SHA256_USED, MASK, tlv(0xA2, tlv(2, b"\xff"))], "cms-algorithm"),
        ([SHA256_USED, MASK, SALT, tlv(0xA4, NULL)], "cms-algorithm"),
        ([SHA256_USED, tlv(0xA1, NULL), SALT], "cms-algorithm"),
    ],
)
def test_pss_parameters_are_read_strictly(parameters: list[bytes], code: str) -> None:
    algorithm = tlv(0x30, oid("1.2.840.113549.1.1.10"), tlv(0x30, *parameters))
    assert judged(by(leaf("rsa2048"), pss="sha256", algorithm=algorithm)).code == code


@pytest.mark.parametrize(
    "algorithm",
    [
        tlv(0x30, oid("1.2.840.113549.1.1.1"), tlv(4, b"x")),
        tlv(0x30, oid("1.2.840.113549.1.1.5"), NULL),
        tlv(0x30, oid("1.2.840.10045.4.3.2")),
    ],
)
def test_an_rsa_key_takes_only_rsa_algorithms(algorithm: bytes) -> None:
    assert judged(by(leaf("rsa2048"), algorithm=algorithm)).code == "cms-algorithm"


@pytest.mark.parametrize(
    "algorithm", [tlv(0x31, oid("1.2.3")), tlv(0x30), tlv(0x30, oid("1.2.3"), NULL, NULL)]
)
def test_a_malformed_algorithm_is_refused(algorithm: bytes) -> None:
    assert judged(by(alice(), algorithm=algorithm)).code == "cms-malformed"


@pytest.mark.parametrize(
    "more",
    [
        tlv(0x30, oid("1.2.3")),
        tlv(0x30, oid("1.2.3"), tlv(0x30, NULL)),
        tlv(0x30, tlv(4, b"x"), tlv(0x31, NULL)),
        tlv(0x31, oid("1.2.3"), tlv(0x31, NULL)),
    ],
)
def test_a_malformed_attribute_is_refused(more: bytes) -> None:
    said = (content_type(), message_digest(ENTITY), more)
    assert judged(by(alice(), attributes=said)).code == "cms-malformed"


def test_an_unknown_attribute_does_no_harm_and_may_have_many_values() -> None:
    said = (content_type(), message_digest(ENTITY), attribute("1.2.3", NULL, tlv(4, b"x")))
    assert judged(by(alice(), attributes=said)).proven


def test_a_key_id_that_no_certificate_carries_is_refused() -> None:
    cms = signed_data(
        Statement(holder=alice(), by_key_id=True), certificates=(leaf(with_key_id=False),)
    )
    assert judged(detached(cms)).code == "cms-signer"


# --- identity, content, time -------------------------------------------------------------------


def test_a_verdict_names_signer_certificate_and_time() -> None:
    verdict = judged(by(alice()))
    assert (verdict.method, verdict.signer, verdict.signed_at) == (Method.SMIME, ALICE, NOW)
    assert verdict.fingerprint == fingerprint_of(alice().pem) == fingerprint_of(alice().der)
    assert verdict.digest == "sha256:" + hashlib.sha256(ENTITY).hexdigest()
    assert verdict.fresh
    assert not verdict.bound


def test_a_good_signature_by_somebody_else_names_them_and_proves_nothing() -> None:
    verdict = judged(by(mallory()))
    assert (verdict.level, verdict.signer) == (Proof.NONE, "mallory@example.org")
    assert verdict.content is None


def test_an_unsigned_mail_and_a_flawed_one_say_so() -> None:
    plain = judged(HEAD + b"\r\nx\r\n")
    assert (plain.method, plain.code) == (Method.NONE, "unsigned")
    flawed = judged(
        by(alice()).replace(b'protocol="application/pkcs7', b'protocol="application/pgp')
    )
    assert (flawed.method, flawed.code) == (Method.NONE, "protocol-mismatch")
    pgp = by(alice()).replace(b"application/pkcs7-signature", b"application/pgp-signature")
    assert judged(pgp).code == "not-smime"


@pytest.mark.parametrize(
    ("age", "fresh"),
    [
        (timedelta(days=14), True),
        (timedelta(days=14, seconds=1), False),
        (timedelta(minutes=-10), True),
        (timedelta(minutes=-10, seconds=-1), False),
    ],
)
def test_freshness_is_a_window_around_receipt(age: timedelta, fresh: bool) -> None:
    said = (content_type(), message_digest(ENTITY), signing_time(NOW - age))
    verdict = judged(by(alice(), attributes=said))
    assert verdict.proven
    assert verdict.fresh is fresh


def test_a_signature_without_time_is_never_fresh() -> None:
    verdict = judged(by(alice(), attributes=(content_type(), message_digest(ENTITY))))
    assert (verdict.proven, verdict.signed_at, verdict.fresh) == (True, None, False)


@pytest.mark.parametrize("value", [b"20261101120000Z", b"261301120000Z", b"2611011200Z", b""])
def test_a_signing_time_that_cannot_be_read_is_refused(value: bytes) -> None:
    said = attribute("1.2.840.113549.1.9.5", tlv(0x17, value))
    raw = by(alice(), attributes=(content_type(), message_digest(ENTITY), said))
    assert judged(raw).code == "cms-attributes"


PROTECTED = (
    b'Content-Type: text/plain; hp="clear"\r\nFrom: alice@example.org\r\n'
    b"To: bob+home@example.net\r\nSubject: inner\r\n\r\nPaint.\r\n"
)


def test_the_recipient_is_bound_by_protected_headers_only() -> None:
    """Surreptitious forwarding: Alice's mail to Bob, sent on to Carol."""
    bob, carol = Address("bob+home@example.net"), Address("carol@example.net")
    raw = detached(signed_data(Statement(holder=alice(), covered=PROTECTED)), PROTECTED)
    message = read(raw)
    verdict = verify(message, anchors(), NOW, recipients=(bob,))
    assert verdict.bound
    assert headline(message, verdict.content).subject == "inner"
    assert not verify(message, anchors(), NOW, recipients=(carol,)).bound
    outer_only = read(by(alice()))
    assert not verify(outer_only, anchors(), NOW, recipients=(Address("bob@example.net"),)).bound


def test_an_inner_from_of_somebody_else_is_no_proof() -> None:
    entity = PROTECTED.replace(b"From: alice", b"From: carol")
    raw = detached(signed_data(Statement(holder=alice(), covered=entity)), entity)
    assert judged(raw).code == "inner-from-differs"


def test_a_text_added_around_the_signed_part_is_not_in_the_content() -> None:
    inner = by(alice())
    nested = inner[inner.index(b"Content-Type") :]
    raw = (
        HEAD + b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nBurn it.\r\n--o\r\n"
        + nested + b"\r\n--o--\r\n"
    )  # fmt: skip
    assert judged(raw).code == "unsigned"


def test_a_preamble_and_an_epilogue_do_no_harm() -> None:
    raw = (
        by(alice()).replace(b"\r\n\r\n--b\r\n", b"\r\n\r\nBurn it.\r\n--b\r\n", 1) + b"Burn it.\r\n"
    )
    verdict = judged(raw)
    assert verdict.content is not None
    assert body_text(verdict.content) == "Paint the fence."


# --- anchors -----------------------------------------------------------------------------------


def test_a_pinned_certificate_needs_no_authority() -> None:
    own = issue(replace(LEAF, ca=True), key("p256", 11))
    pins = TrustAnchors(pins={ALICE: [own.pem]})
    assert judged(by(own), pins).level is Proof.PERSON
    unknown = TrustAnchors()
    assert judged(by(own), unknown).code == "untrusted-chain"
    assert verify(read(by(own)), unknown, NOW, pinned=frozenset((fingerprint_of(own.der),))).proven


def test_a_pinned_certificate_is_no_authority_and_counts_for_its_author_only() -> None:
    own = issue(replace(LEAF, ca=True, purposes=(MAIL,)), key("p256", 11))
    below = leaf(issuer=own, name="Below", serial=9)
    assert (
        judged(through(below, own), TrustAnchors(pins={ALICE: [own.pem]})).code == "untrusted-chain"
    )
    others = TrustAnchors(pins={Address("mallory@example.org"): [own.pem]})
    assert judged(by(own), others).code == "untrusted-chain"


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"purposes": (ExtendedKeyUsageOID.SERVER_AUTH,)}, "untrusted-chain"),
        ({"purposes": ()}, "untrusted-chain"),
        ({"signing": False}, "untrusted-chain"),
        ({"not_after": NOW - timedelta(seconds=1)}, "expired"),
        ({"addresses": (x509.RFC822Name("mallory@example.org"),)}, "signer-is-not-author"),
    ],
)
def test_a_pin_does_not_replace_purpose_validity_or_address(
    wish: dict[str, object], code: str
) -> None:
    own = issue(replace(LEAF, **wish), key("p256", 12))  # type: ignore[arg-type]  # fields of Wish
    assert judged(by(own), TrustAnchors(pins={ALICE: [own.pem]})).code == code


def crl(
    serials: list[int], issuer: Holder | None = None, encoding: Encoding = Encoding.PEM
) -> bytes:
    holder = issuer or root()
    builder = x509.CertificateRevocationListBuilder(holder.certificate.subject)
    builder = builder.last_update(START).next_update(NOW + timedelta(days=1))
    for serial in serials:
        entry = x509.RevokedCertificateBuilder(serial, START).build()
        builder = builder.add_revoked_certificate(entry)
    assert isinstance(holder.key, ec.EllipticCurvePrivateKey)
    return builder.sign(holder.key, hashes.SHA256()).public_bytes(encoding)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_revoked_leaf_or_intermediate_is_refused(encoding: Encoding) -> None:
    used = TrustAnchors(root().pem, revocations=[crl([7], encoding=encoding)])
    assert judged(by(alice()), used).code == "revoked"
    assert judged(by(mallory()), used).code == "signer-is-not-author"
    sub = intermediate()
    chain = through(leaf(issuer=sub), sub)
    assert judged(chain, TrustAnchors(root().pem, revocations=[crl([2])])).code == "revoked"
    # serial 7 of another issuer is another certificate
    assert judged(chain, used).proven


def test_a_list_of_an_unknown_issuer_or_a_broken_file_is_a_configuration_error() -> None:
    with pytest.raises(Misconfigured):
        TrustAnchors(root().pem, revocations=[crl([7], other_root())])
    namesake = issue(replace(AUTHORITY, name="Renamed"), root().key)
    with pytest.raises(Misconfigured):
        TrustAnchors(root().pem, revocations=[crl([7], namesake)])
    impostor = Holder(certificate=root().certificate, key=other_root().key)
    with pytest.raises(Misconfigured):
        TrustAnchors(root().pem, revocations=[crl([7], impostor)])
    for arguments in ({"revocations": [b"x"]}, {"intermediates": b"x"}, {"pins": {ALICE: [b"x"]}}):
        with pytest.raises(Misconfigured):
            TrustAnchors(root().pem, **arguments)
    with pytest.raises(Misconfigured):
        TrustAnchors(b"no certificate")


def test_an_old_list_still_counts_and_is_reported() -> None:
    used = TrustAnchors(root().pem, revocations=[crl([7])])
    later = NOW + timedelta(days=2)
    assert used.stale_revocations(NOW) == 0
    assert used.stale_revocations(later) == 1
    assert judged(by(alice()), used, later).code == "revoked"


def test_configured_intermediates_close_a_gap() -> None:
    used = TrustAnchors(root().pem, intermediates=intermediate().pem)
    assert judged(by(leaf(issuer=intermediate())), used).proven


def test_a_remembered_chain_ends_with_the_certificate() -> None:
    used = TrustAnchors(root().pem)
    short = by(leaf(not_after=NOW + timedelta(days=1)))
    assert judged(short, used).proven
    assert judged(short, used, NOW + timedelta(days=1, seconds=1)).code == "expired"
    assert judged(short, used, START - timedelta(seconds=1)).code == "not-yet-valid"


def test_a_remembered_chain_ends_with_its_intermediate() -> None:
    used = TrustAnchors(root().pem)
    sub = intermediate(not_after=NOW + timedelta(days=1))
    chain = through(leaf(issuer=sub), sub)
    assert judged(chain, used).proven
    assert judged(chain, used, NOW + timedelta(days=2)).code == "untrusted-chain"


def test_the_memo_is_bounded_and_remembers_no_pin_as_a_chain() -> None:
    used = TrustAnchors(root().pem, memo_size=1)
    for number in range(3):
        assert judged(by(leaf(serial=100 + number)), used).proven
        assert len(used._memo) == 1
    own = issue(LEAF, key("p256", 13))
    pin = frozenset((fingerprint_of(own.der),))
    assert verify(read(by(own)), used, NOW, pinned=pin).proven
    assert not verify(read(by(own)), used, NOW).proven


def test_a_bag_of_certificates_that_all_name_each_other_is_refused() -> None:
    ring = [
        issue(replace(AUTHORITY, name="Ring", serial=number), key("p256", 14))
        for number in range(20, 32)
    ]
    assert judged(through(leaf(issuer=ring[0]), *ring)).code == "untrusted-chain"
    few = through(leaf(issuer=ring[0]), *ring[:8])
    assert judged(few).code == "untrusted-chain"
    junk = [leaf(serial=number) for number in range(100, 111)]
    assert judged(through(alice(), *junk[:10])).proven
    assert judged(through(alice(), *junk)).code == "untrusted-chain"
    many = [leaf(serial=number) for number in range(200, 225)]
    assert judged(
        detached(signed_data(Statement(holder=alice()), certificates=(alice(), *many)))
    ).code == ("cms-certificates")


# --- signing and the test authority ------------------------------------------------------------

WINDOW = {"not_before": START, "not_after": END}


def test_what_we_sign_is_verified_by_us_and_by_openssl(folder: Path) -> None:
    authority = make_test_ca("Example test CA", serial=1, **WINDOW)
    mine = issue_certificate(ALICE, authority, serial=2, **WINDOW)
    raw = HEAD + sign(ENTITY.replace(b"\r\n", b"\n"), mine.certificate, mine.key)
    used = TrustAnchors(authority.certificate_pem)
    assert judged(raw, used).code == "verified"
    (folder / "roots.pem").write_bytes(authority.certificate_pem)
    try:
        assert openssl_accepts(raw, folder)
        assert not openssl_accepts(raw.replace(b"Paint", b"Burn "), folder)
    finally:
        (folder / "roots.pem").write_bytes(root().pem + rsa_root().pem)
    revoked = issue_revocations(authority, [2], issued=START, next_update=END)
    assert (
        judged(raw, TrustAnchors(authority.certificate_pem, revocations=[revoked])).code
        == "revoked"
    )


def test_we_sign_with_rsa_and_a_chain_but_not_with_ed25519() -> None:
    sub = intermediate()
    holder = leaf("rsa2048", issuer=sub)
    raw = HEAD + sign(ENTITY, holder.certificate, holder.key, chain=[sub.certificate])
    assert judged(raw).proven
    other = leaf("ed25519")
    with pytest.raises(Misconfigured):
        sign(ENTITY, other.certificate, other.key)


def test_a_test_certificate_can_be_imported_by_mail_programs(folder: Path) -> None:
    authority = make_test_ca("Example test CA", serial=1, **WINDOW)
    mine = issue_certificate(ALICE, authority, serial=2, **WINDOW)
    bundle = folder / "alice.p12"
    bundle.write_bytes(mine.bundle(b"secret", authority.certificate))
    assert (
        openssl("pkcs12", "-in", bundle, "-passin", "pass:secret", "-nodes", "-out", "/dev/null")
        == 0
    )
    assert b"PRIVATE KEY" in mine.key_pem
    assert "secret" not in repr(mine)


# --- any bytes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    name: str
    cms: bytes = field(repr=False)


@cache
def samples() -> list[Sample]:
    good = Statement(holder=alice())
    return [
        Sample("DER", signed_data(good)),
        Sample("BER", as_ber(signed_data(good))),
        Sample("PSS", signed_data(replace(good, holder=leaf("rsa2048"), pss="sha256"))),
        Sample("embedded", signed_data(good, embedded=ENTITY)),
        Sample("by key", signed_data(replace(good, by_key_id=True))),
    ]


@settings(max_examples=400)
@given(st.data())
def test_a_mutated_signature_gives_a_verdict_and_never_a_proof_of_other_text(
    data: st.DataObject,
) -> None:
    cms = bytearray(data.draw(st.sampled_from(samples())).cms)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(cms) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "end"])):
            case "set":
                cms[place] = data.draw(st.integers(0, 255))
            case "cut":
                del cms[place : place + data.draw(st.integers(1, 9))]
            case "insert":
                cms[place:place] = data.draw(st.binary(min_size=1, max_size=9))
            case _:
                del cms[place + 1 :]
        cms = cms or bytearray(b"\x30")
    for raw in (detached(bytes(cms)), opaque(bytes(cms))):
        verdict = judged(raw)
        if verdict.proven:
            # Bytes that nobody signs may change: versions, other lengths of BER.
            assert verdict.content is not None
            assert body_text(verdict.content) == "Paint the fence."
            assert verdict.digest == "sha256:" + hashlib.sha256(ENTITY).hexdigest()


@given(st.binary(max_size=200))
def test_any_bytes_as_signature_give_a_verdict(cms: bytes) -> None:
    assert not judged(detached(cms)).proven
    assert not judged(opaque(cms)).proven


@given(st.integers(0, len(ENTITY) - 1), st.integers(1, 255))
def test_no_byte_of_the_signed_text_can_change(place: int, difference: int) -> None:
    changed = bytearray(ENTITY)
    changed[place] ^= difference
    try:
        verdict = judged(detached(samples()[0].cms, bytes(changed)))
    except BridgeError:
        return
    assert not verdict.proven
