"""Whom to believe for mail: authorities, pinned certificates, revoked serials.

Promises (mail-trust section 4, rule 11): the leaf has a mail address in its SAN, the
purpose emailProtection itself (not "any"), a key usage for signing, a chain to an authority
configured for mail, and nothing in the chain is revoked at the time of receipt. A
certificate pinned for an author needs no authority, but the rest of the rules hold, and
it vouches for itself only, never for another certificate.

`cryptography.x509.verification` is marked unstable: it is used in this file alone.
Raises `Misconfigured` while loading and `Untrusted` while judging, with the codes
``expired``, ``not-yet-valid``, ``untrusted-chain``, ``revoked``.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from bridge.errors import Invalid, Misconfigured, Untrusted
from bridge.trust import der
from bridge.wire.headers import exact_mailbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from bridge.model.ids import Address

MEMO_MAX: Final = 1024
INTERMEDIATES_MAX: Final = 10
"""Certificates of a mail that are tried as links; the library stops a long search after 10 ms."""
SMTP_UTF8_MAILBOX: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")
LIBRARY_ERRORS: Final = (
    ValueError, TypeError, OverflowError, UnsupportedAlgorithm, verification.VerificationError,
    x509.DuplicateExtension, x509.ExtensionNotFound, x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What `cryptography` raises for certificates that are broken or of an unknown kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A certificate that may sign mail, as judged from `not_before` to `not_after`."""

    fingerprint: str
    """``sha256:`` and hex of the DER."""
    key: CertificatePublicKeyTypes = field(repr=False)
    mailboxes: tuple[str, ...]
    """SAN addresses: local part as spelled, domain as lower-case A-label."""
    not_before: datetime
    not_after: datetime
    """The window in which every certificate of the chain is valid."""
    serials: frozenset[tuple[bytes, int]] = field(repr=False)
    """Issuer and serial of every link but the authority itself."""


class TrustAnchors:
    """The mail authorities of this domain and what is known about single certificates.

    Args:
        authorities: PEM certificates, apart from those for the web; may be empty.
        intermediates: PEM certificates that senders forget to enclose.
        revocations: CRLs (PEM or DER) of those authorities and intermediates.
        pins: for each author certificates (PEM or DER) that are believed by themselves.
        memo_size: verified chains kept; 0 verifies every time.

    Raises:
        Misconfigured: ``bad-certificate``, ``bad-revocation-list``.
    """

    def __init__(
        self,
        authorities: bytes = b"",
        *,
        intermediates: bytes = b"",
        revocations: Iterable[bytes] = (),
        pins: Mapping[Address, Iterable[bytes]] | None = None,
        memo_size: int = MEMO_MAX,
    ) -> None:
        """Load everything; nothing is read from disk later."""
        roots = _load_bundle(authorities)
        self._store = verification.Store(roots) if roots else None
        self._intermediates = _load_bundle(intermediates)
        self._revoked: set[tuple[bytes, int]] = set()
        self._next_updates: list[datetime] = []
        for listed in revocations:
            self._add_revocations(listed, [*roots, *self._intermediates])
        self._pins = {
            author: frozenset([fingerprint_of(one) for one in listed])
            for author, listed in (pins or {}).items()
        }
        self._memo: OrderedDict[bytes, Leaf] = OrderedDict()
        self._memo_size = memo_size
        # Mail is judged in the asyncio thread and in its executor; both touch the memo.
        self._lock = threading.Lock()

    def pinned(self, author: Address) -> frozenset[str]:
        """Return the fingerprints that are pinned for `author`."""
        return self._pins.get(author, frozenset())

    def stale_revocations(self, now: datetime) -> int:
        """Return how many CRLs should have been replaced by `now`; their entries still count."""
        return sum(1 for moment in self._next_updates if moment < now)

    def judge(
        self,
        leaf: bytes,
        others: tuple[bytes, ...],
        received: datetime,
        pinned: frozenset[str] = frozenset(),
    ) -> Leaf:
        """Return what the DER certificate `leaf` proves for mail received at that time.

        Args:
            leaf: the signer's certificate.
            others: certificates that came with it.
            received: our own clock at receipt, aware.
            pinned: fingerprints that are believed for the author of this mail.

        Raises:
            Untrusted: see the module's text.
        """
        fingerprint = fingerprint_of_der(leaf)
        by_pin = fingerprint in pinned
        name = hashlib.sha256(b"\0".join((bytes((by_pin,)), leaf, *others))).digest()
        with self._lock:
            known = self._memo.get(name)
        if known is None or not known.not_before <= received <= known.not_after:
            known = self._verify(leaf, others, received, by_pin=by_pin)
            self._remember(name, known)
        if not self._revoked.isdisjoint(known.serials):
            raise Untrusted("revoked", "the signer's certificate was revoked")
        return known

    def _remember(self, name: bytes, leaf: Leaf) -> None:
        with self._lock:
            self._memo[name] = leaf
            while len(self._memo) > self._memo_size:
                self._memo.popitem(last=False)

    def _verify(
        self, encoded: bytes, others: tuple[bytes, ...], received: datetime, *, by_pin: bool
    ) -> Leaf:
        try:
            leaf = x509.load_der_x509_certificate(encoded)
            _check_window(leaf, received)
            chain, names = self._chain(leaf, encoded, others, received, by_pin=by_pin)
            # Key sizes: the library checks those of authorities, `cms` that of the leaf.
            return Leaf(
                fingerprint=fingerprint_of_der(encoded),
                key=leaf.public_key(),
                mailboxes=_mailboxes(names, chain[1:]),
                not_before=max(link.not_valid_before_utc for link in chain),
                not_after=min(link.not_valid_after_utc for link in chain),
                serials=frozenset(
                    [(one.issuer.public_bytes(), one.serial_number) for one in chain]
                ),
            )
        except LIBRARY_ERRORS:
            raise Untrusted(
                "untrusted-chain",
                "the signer's certificate is not for mail or comes from no authority known here",
            ) from None

    def _chain(
        self,
        leaf: x509.Certificate,
        encoded: bytes,
        others: tuple[bytes, ...],
        received: datetime,
        *,
        by_pin: bool,
    ) -> tuple[list[x509.Certificate], list[x509.GeneralName]]:
        """Return the verified chain, leaf first, and the leaf's alternative names."""
        # A pin makes a store of its own: it must not become an authority for others.
        store = verification.Store([leaf]) if by_pin else self._store
        if store is None:
            raise Untrusted("untrusted-chain", "no authority for mail is configured")
        links = [] if by_pin else _links(encoded, others) + self._intermediates
        verifier = (
            verification.PolicyBuilder()
            .store(store)
            .time(received.astimezone(UTC))
            .extension_policies(ca_policy=_AUTHORITY, ee_policy=_PINNED_LEAF if by_pin else _LEAF)
            .build_client_verifier()
        )
        verified = verifier.verify(leaf, links)
        return list(verified.chain), list(verified.subjects or [])

    def _add_revocations(self, listed: bytes, issuers: list[x509.Certificate]) -> None:
        try:
            pem = b"-----BEGIN" in listed
            crl = x509.load_pem_x509_crl(listed) if pem else x509.load_der_x509_crl(listed)
            signed = any(_signed_by(crl, issuer) for issuer in issuers)
        except LIBRARY_ERRORS as error:
            raise Misconfigured(
                "bad-revocation-list", "a revocation list cannot be read", detail=str(error)
            ) from None
        if not signed:
            raise Misconfigured(
                "bad-revocation-list",
                "a revocation list is not signed by a configured authority",
                hint="add the issuing certificate to the authorities or intermediates",
            )
        issuer_name = crl.issuer.public_bytes()
        self._revoked.update([(issuer_name, entry.serial_number) for entry in crl])
        if crl.next_update_utc is not None:
            self._next_updates.append(crl.next_update_utc)


def fingerprint_of(certificate: bytes) -> str:
    """Return ``sha256:`` and hex of a certificate in PEM or DER.

    Raises:
        Misconfigured: ``bad-certificate``.
    """
    try:
        if b"-----BEGIN" in certificate:
            loaded = x509.load_pem_x509_certificate(certificate)
        else:
            loaded = x509.load_der_x509_certificate(certificate)
    except LIBRARY_ERRORS:
        raise Misconfigured("bad-certificate", "a certificate cannot be read") from None
    return fingerprint_of_der(loaded.public_bytes(Encoding.DER))


def fingerprint_of_der(certificate: bytes) -> str:
    """Return ``sha256:`` and hex of `certificate`, which is DER already."""
    return "sha256:" + hashlib.sha256(certificate).hexdigest()


def _load_bundle(pem: bytes) -> list[x509.Certificate]:
    if not pem.strip():
        return []
    try:
        return x509.load_pem_x509_certificates(pem)
    except LIBRARY_ERRORS:
        raise Misconfigured("bad-certificate", "a certificate file cannot be read") from None


def _links(leaf: bytes, others: tuple[bytes, ...]) -> list[x509.Certificate]:
    kept = [one for one in others if one != leaf]
    if len(kept) > INTERMEDIATES_MAX:
        raise Untrusted("untrusted-chain", "the signature carries too many certificates")
    return [x509.load_der_x509_certificate(one) for one in kept]


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    if crl.issuer != issuer.subject:
        return False
    key = issuer.public_key()
    # The type of the key decides whether it can sign at all; X25519 and DH cannot.
    return hasattr(key, "verify") and crl.is_signature_valid(key)  # type: ignore[arg-type]  # narrowed by verify


def _check_window(leaf: x509.Certificate, received: datetime) -> None:
    if received < leaf.not_valid_before_utc:
        raise Untrusted("not-yet-valid", "the signer's certificate is not valid yet")
    if received > leaf.not_valid_after_utc:
        raise Untrusted("expired", "the signer's certificate has expired")


def _mailboxes(
    names: list[x509.GeneralName], authorities: list[x509.Certificate]
) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        if isinstance(name, x509.RFC822Name):
            text = name.value
        elif isinstance(name, x509.OtherName) and name.type_id == SMTP_UTF8_MAILBOX:
            # RFC 9598 section 6 extends name constraints to these; the library does not.
            if any(_is_constrained(one) for one in authorities):
                continue
            text = _utf8(name.value)
        else:
            continue
        local, at, domain = text.rpartition("@")
        try:
            if at and local:
                found.append(exact_mailbox(local, domain))
        except Invalid:
            continue
    if not found:
        raise ValueError("no mail address among the alternative names")
    return tuple(found)


def _utf8(value: bytes) -> str:
    try:
        return der.content(value, der.whole(value, der.UTF8)).decode("utf-8")
    except (Invalid, UnicodeDecodeError):
        return ""


def _is_constrained(authority: x509.Certificate) -> bool:
    try:
        authority.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return False
    return True


def _leaf_purpose(
    _policy: verification.Policy, _leaf: x509.Certificate, usage: x509.ExtendedKeyUsage
) -> None:
    if ExtendedKeyUsageOID.EMAIL_PROTECTION not in usage:
        raise ValueError("the certificate is not for mail")


def _leaf_usage(
    _policy: verification.Policy, _leaf: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise ValueError("the key is not for signing")


def _no_authority(
    _policy: verification.Policy, _leaf: x509.Certificate, basic: x509.BasicConstraints | None
) -> None:
    if basic is not None and basic.ca:
        raise ValueError("an authority's certificate does not sign mail")


def _authority_purpose(
    _policy: verification.Policy, _ca: x509.Certificate, usage: x509.ExtendedKeyUsage | None
) -> None:
    allowed = (ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if usage is not None and not any(purpose in usage for purpose in allowed):
        raise ValueError("the authority is not for mail")


_ANY = verification.Criticality.AGNOSTIC
_PINNED_LEAF: Final = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.SubjectAlternativeName, _ANY, None)
    .require_present(x509.ExtendedKeyUsage, _ANY, _leaf_purpose)
    .may_be_present(x509.KeyUsage, _ANY, _leaf_usage)
    # Public authorities mark it critical; without this line the library refuses them.
    .may_be_present(x509.CertificatePolicies, _ANY, None)
)
# Self-made certificates, the usual case for a pin, often say CA:TRUE.
_LEAF: Final = _PINNED_LEAF.may_be_present(x509.BasicConstraints, _ANY, _no_authority)
_AUTHORITY: Final = (
    verification.ExtensionPolicy.webpki_defaults_ca()
    .may_be_present(x509.ExtendedKeyUsage, _ANY, _authority_purpose)
    .may_be_present(x509.CertificatePolicies, _ANY, None)
)
