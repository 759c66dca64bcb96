"""A small certificate authority for trying signed mail at home (`tx-bridge quickstart`).

Promises certificates that every mail program accepts once the authority is imported:
ECDSA P-256, one address each, purpose emailProtection only. Not for a public service: the
keys lie in memory and in whatever file the caller writes them to. Times and serial numbers
are passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from bridge.model.ids import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key as unencrypted PKCS #8 PEM: for files with mode 0600 only."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def bundle(self, password: bytes, authority: x509.Certificate) -> bytes:
        """Return PKCS #12 with key and chain: what mail programs import."""
        return pkcs12.serialize_key_and_certificates(
            b"mail", self.key, self.certificate, [authority], BestAvailableEncryption(password)
        )


def make_test_ca(name: str, *, serial: int, not_before: datetime, not_after: datetime) -> Issued:
    """Return a new authority that can issue mail certificates but no authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    certificate = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issued(certificate=certificate, key=key)


def issue_certificate(
    address: Address,
    authority: Issued,
    *,
    serial: int,
    not_before: datetime,
    not_after: datetime,
) -> Issued:
    """Return a new key and a certificate with which `address` can sign mail.

    Raises:
        ValueError: the local part is not ASCII (RFC 9598 names are not issued here).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address[:64])])
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer.subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(address)]), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    return Issued(certificate=builder.sign(authority.key, hashes.SHA256()), key=key)


def issue_revocations(
    authority: Issued, serials: Iterable[int], *, issued: datetime, next_update: datetime
) -> bytes:
    """Return a CRL (PEM) that revokes `serials` from `issued` on."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(issued)
        .next_update(next_update)
    )
    for serial in serials:
        entry = (
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(issued).build()
        )
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
