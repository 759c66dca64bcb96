"""S/MIME signatures of mail (RFC 8551), judged strictly and offline.

Promises (mail-trust section 4, rules 8 to 11, 13 to 16): a verdict of level P means that the
holder of a certificate for exactly the From address signed exactly the delivered bytes of
the tree in `Verdict.content`. Everything else is level N with a code. Never raises for
what a mail contains, never decrypts, never asks anybody (no OCSP, no AIA).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509

from bridge.errors import Invalid, Untrusted
from bridge.model.ids import digest_of, parse_address
from bridge.trust import cms
from bridge.trust.anchors import LIBRARY_ERRORS
from bridge.trust.verdict import Method, Proof, Verdict, is_fresh, refused
from bridge.wire.mailtext import headline
from bridge.wire.message import Signature, SignatureKind, canonical
from bridge.wire.mimepart import Part, read_entity

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from bridge.model.ids import Address
    from bridge.trust.anchors import Leaf, TrustAnchors
    from bridge.wire.message import Message

_FLAWS: Final = {
    "signed-parts": "the signed mail does not have exactly a text and a signature",
    "protocol-mismatch": "the signature is of another kind than the mail says",
    "signature-encoding": "the signature cannot be decoded",
    "unknown-protocol": "the signature is of an unknown kind",
    "encrypted": "the mail is encrypted, which is never opened here",
}


def verify(
    message: Message,
    anchors: TrustAnchors,
    received: datetime,
    *,
    recipients: Collection[Address] = (),
    pinned: frozenset[str] = frozenset(),
) -> Verdict:
    """Return who signed `message` with S/MIME.

    Args:
        message: the mail as read.
        anchors: the authorities and pins of this domain.
        received: when we received the mail (LMTP clock or INTERNALDATE), aware.
        recipients: our addresses it was delivered to, for `Verdict.bound`.
        pinned: more fingerprints believed for the author, for example from the directory.
    """
    signature = message.signature
    if signature.kind not in {SignatureKind.SMIME, SignatureKind.OPAQUE}:
        return _not_smime(signature)
    try:
        return _verify(message, anchors, received, recipients, pinned)
    except (Untrusted, Invalid) as error:
        return refused(Method.SMIME, error.code, error.public)
    except LIBRARY_ERRORS:
        return refused(Method.SMIME, "cms-malformed", "the signature object cannot be read")


def _not_smime(signature: Signature) -> Verdict:
    if signature.flaw:
        return refused(Method.NONE, signature.flaw, _FLAWS[signature.flaw])
    if signature.kind is SignatureKind.NONE:
        return refused(Method.NONE, "unsigned", "the mail is not signed")
    return refused(Method.NONE, "not-smime", "the mail is not signed with S/MIME")


def _verify(
    message: Message,
    anchors: TrustAnchors,
    received: datetime,
    recipients: Collection[Address],
    pinned: frozenset[str],
) -> Verdict:
    signed = cms.parse(message.signature.value)
    covered = _covered(message.signature, signed)
    cms.check_digest(signed, covered)
    certificate = _signer_certificate(signed)
    leaf = anchors.judge(
        certificate, signed.certificates, received, pinned | anchors.pinned(message.author)
    )
    cms.check_signature(signed, leaf.key)
    if message.mailbox not in leaf.mailboxes:
        return _other_signer(leaf)
    content = message.signature.content or _embedded(covered)
    inner = headline(message, content)
    named = (
        *(inner.to if "to" in inner.protected else ()),
        *(inner.cc if "cc" in inner.protected else ()),
    )
    return Verdict(
        method=Method.SMIME,
        level=Proof.PERSON,
        code="verified",
        reason="the author signed the mail",
        signer=message.author,
        fingerprint=leaf.fingerprint,
        signed_at=signed.signing_time,
        bound=not set(recipients).isdisjoint(named),
        fresh=is_fresh(signed.signing_time, received),
        content=content,
        digest=digest_of(covered),
    )


def _covered(signature: Signature, signed: cms.SignedData) -> bytes:
    """Return the bytes that the signature must cover."""
    if signature.kind is SignatureKind.SMIME:
        if signed.content is not None:
            raise Untrusted("cms-embedded", "the signature carries a text of its own")
        return signature.signed
    if signed.content is None:
        raise Untrusted("cms-empty", "the signature object holds no text")
    return signed.content


def _embedded(covered: bytes) -> Part:
    return read_entity(canonical(covered))


def _signer_certificate(signed: cms.SignedData) -> bytes:
    if signed.issuer_serial is not None:
        found = [
            one for one in signed.certificates if cms.issuer_serial_of(one) == signed.issuer_serial
        ]
    else:
        found = [one for one in signed.certificates if _key_id(one) == signed.key_id]
    if len(found) != 1:
        raise Untrusted("cms-signer", "the signer's certificate is missing or not the only one")
    return found[0]


def _key_id(certificate: bytes) -> bytes | None:
    loaded = x509.load_der_x509_certificate(certificate)
    try:
        found = loaded.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    return found.value.digest


def _other_signer(leaf: Leaf) -> Verdict:
    """Return that the signature is good but somebody else's: a sign of forgery (rule 13)."""
    try:
        signer = parse_address(leaf.mailboxes[0])
    except Invalid:
        signer = None
    return Verdict(
        method=Method.SMIME,
        level=Proof.NONE,
        code="signer-is-not-author",
        reason="the mail is signed by somebody else than its author",
        signer=signer,
        fingerprint=leaf.fingerprint,
    )
