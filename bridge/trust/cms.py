"""CMS SignedData (RFC 5652), read strictly, and its signature checked.

Promises (mail-trust section 4, rules 8 to 10): exactly one signer, signed attributes with
contentType and messageDigest once each, SHA-2 that agrees in digest and signature
algorithm, keys of the allowed kinds and sizes, no byte left over. Who the signer is and
whether anybody should believe it is the business of `bridge.trust.smime`.

Refuses with `Untrusted`; the codes begin with ``cms-``, or are ``weak-key``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from bridge.errors import Invalid, Untrusted
from bridge.trust import der

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

CERTIFICATES_MAX: Final = 20
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 8192
_SALT_MAX: Final = 512


def _oid(text: str) -> bytes:
    """Return the content octets of an object identifier, so that comparing is cheap."""
    first, second, *rest = [int(arc) for arc in text.split(".")]
    out = bytearray((first * 40 + second,))
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | (arc & 0x7F))
        out.extend(reversed(groups))
    return bytes(out)


SIGNED_DATA: Final = _oid("1.2.840.113549.1.7.2")
DATA: Final = _oid("1.2.840.113549.1.7.1")
_CONTENT_TYPE: Final = _oid("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST: Final = _oid("1.2.840.113549.1.9.4")
_SIGNING_TIME: Final = _oid("1.2.840.113549.1.9.5")
_HASHES: Final[dict[bytes, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]]] = {
    _oid("2.16.840.1.101.3.4.2.1"): hashes.SHA256,
    _oid("2.16.840.1.101.3.4.2.2"): hashes.SHA384,
    _oid("2.16.840.1.101.3.4.2.3"): hashes.SHA512,
}
_RSA: Final = _oid("1.2.840.113549.1.1.1")
_RSA_WITH: Final = {
    _oid("1.2.840.113549.1.1.11"): "sha256",
    _oid("1.2.840.113549.1.1.12"): "sha384",
    _oid("1.2.840.113549.1.1.13"): "sha512",
}
_RSA_PSS: Final = _oid("1.2.840.113549.1.1.10")
_MGF1: Final = _oid("1.2.840.113549.1.1.8")
_ECDSA_WITH: Final = {
    _oid("1.2.840.10045.4.3.2"): "sha256",
    _oid("1.2.840.10045.4.3.3"): "sha384",
    _oid("1.2.840.10045.4.3.4"): "sha512",
}
_ED25519: Final = _oid("1.3.101.112")
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_NULL: Final = (b"", b"\x05\x00")
_TIME: Final = re.compile(rb"(\d{2}|\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z\Z")
# UTCTime: 50 to 99 are the last century (RFC 5652 section 11.3).
_PIVOT: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """An AlgorithmIdentifier: the identifier's octets and the parameters as they came."""

    oid: bytes
    parameters: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedData:
    """The one signer's statement about one content."""

    content: bytes | None = field(repr=False)
    """What was embedded; None for a detached signature."""
    certificates: tuple[bytes, ...] = field(repr=False)
    """DER, each once, in their order."""
    issuer_serial: tuple[bytes, bytes] | None
    """DER of the issuer's name and content octets of the serial number."""
    key_id: bytes | None
    """Subject key identifier, where the signer is named by it."""
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512
    message_digest: bytes
    signing_time: datetime | None
    signature_algorithm: Algorithm
    attributes: bytes = field(repr=False)
    """The signed attributes as a SET: what the signature covers."""
    signature: bytes = field(repr=False)


def parse(data: bytes) -> SignedData:
    """Return the SignedData in `data` (BER or DER).

    Raises:
        Untrusted: a ``cms-`` code.
    """
    try:
        try:
            return _parse(data)
        except Invalid:
            # BER from a real client: convert once, then the same strict reading.
            return _parse(der.to_der(data))
    except Invalid as error:
        raise Untrusted("cms-malformed", error.public) from None


def check_digest(signed: SignedData, covered: bytes) -> None:
    """Compare the messageDigest attribute with the bytes that are meant to be covered.

    Raises:
        Untrusted: ``cms-digest``.
    """
    computed = hashlib.new(signed.digest.name, covered).digest()
    if not hmac.compare_digest(computed, signed.message_digest):
        raise Untrusted("cms-digest", "the mail was changed after it was signed")


def check_signature(signed: SignedData, key: CertificatePublicKeyTypes) -> None:
    """Check the signature over the signed attributes with `key`.

    Raises:
        Untrusted: ``cms-signature``, ``cms-algorithm`` or ``weak-key``.
    """
    try:
        if isinstance(key, rsa.RSAPublicKey):
            _check_rsa(signed, key)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            _check_ecdsa(signed, key)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            _check_ed25519(signed, key)
        else:
            raise Untrusted("weak-key", "the signer's key is of a kind that is not accepted")
    except InvalidSignature:
        raise Untrusted("cms-signature", "the signature does not fit the mail") from None


def issuer_serial_of(certificate: bytes) -> tuple[bytes, bytes]:
    """Return the issuer's DER and the serial's content octets of a DER certificate.

    Raises:
        Invalid: ``der``.
    """
    outer = der.whole(certificate, der.SEQUENCE)
    body = der.element(certificate, outer.body, outer.end)
    position = body.body
    members: list[der.Element] = []
    while len(members) < 3:  # noqa: PLR2004 - serial, algorithm, issuer
        member = der.element(certificate, position, body.end)
        position = member.end
        if member.tag != der.CONTEXT_0:  # the version
            members.append(member)
    return der.encoded(certificate, members[2]), der.content(certificate, members[0])


def _parse(data: bytes) -> SignedData:
    info = der.children(data, der.whole(data, der.SEQUENCE))
    if len(info) != 2 or der.content(data, info[0]) != SIGNED_DATA:  # noqa: PLR2004 - RFC 5652 3
        raise Untrusted("cms-kind", "the signature object is not signed data")
    (body,) = _members(data, info[1], (der.CONTEXT_0, 1))
    fields = der.children(data, body)
    tags = [item.tag for item in fields]
    # version, digest algorithms, content, [0] certificates, [1] CRLs, signers
    middle = tags[3:-1]
    if tags[:3] != [der.INTEGER, der.SET, der.SEQUENCE] or tags[-1] != der.SET:
        raise Invalid("der", "the signature object has members in a wrong order")
    if middle not in ([], [der.CONTEXT_0], [der.CONTEXT_1], [der.CONTEXT_0, der.CONTEXT_1]):
        raise Invalid("der", "the signature object has members in a wrong order")
    signers = der.children(data, fields[-1])
    if len(signers) != 1:
        raise Untrusted("cms-signers", "the mail does not have exactly one signer")
    certificates = der.children(data, fields[3]) if der.CONTEXT_0 in middle else []
    if len(certificates) > CERTIFICATES_MAX:
        raise Untrusted("cms-certificates", "the signature carries more than 20 certificates")
    digests = {_algorithm(data, item).oid for item in der.children(data, fields[1])}
    return _signer(
        data,
        signers[0],
        content=_content(data, fields[2]),
        # Real clients send the signer's certificate twice.
        certificates=tuple(dict.fromkeys([der.encoded(data, item) for item in certificates])),
        digests=digests,
    )


def _content(data: bytes, item: der.Element) -> bytes | None:
    parts = der.children(data, item)
    if not parts or parts[0].tag != der.OID or der.content(data, parts[0]) != DATA:
        raise Untrusted("cms-kind", "the signature covers no plain data")
    if len(parts) == 1:
        return None
    (octets,) = _members(data, parts[1], (der.CONTEXT_0, 1))
    if len(parts) > 2 or octets.tag != der.OCTETS:  # noqa: PLR2004 - type and content
        raise Invalid("der", "the content of the signature object is malformed")
    return der.content(data, octets)


def _signer(
    data: bytes,
    item: der.Element,
    *,
    content: bytes | None,
    certificates: tuple[bytes, ...],
    digests: set[bytes],
) -> SignedData:
    parts = der.children(data, item)
    tags = [part.tag for part in parts]
    if tags[-1:] == [der.CONTEXT_1]:  # unsigned attributes say nothing
        tags.pop()
    if tags[3:4] != [der.CONTEXT_0]:
        raise Untrusted("cms-attributes", "the signature has no signed attributes")
    by_key = tags[1:2] == [0x80]
    expected = [der.INTEGER, 0x80 if by_key else der.SEQUENCE, der.SEQUENCE]
    if tags != [*expected, der.CONTEXT_0, der.SEQUENCE, der.OCTETS]:
        raise Invalid("der", "the signer's statement is malformed")
    hash_oid = _algorithm(data, parts[2]).oid
    digest = _HASHES.get(hash_oid)
    if digest is None or hash_oid not in digests:
        raise Untrusted("cms-algorithm", "the signature does not use SHA-256, SHA-384 or SHA-512")
    attributes = _attributes(data, parts[3])
    named = None if by_key else der.children(data, parts[1])
    if named is not None and [part.tag for part in named] != [der.SEQUENCE, der.INTEGER]:
        raise Invalid("der", "the name of the signer is malformed")
    return SignedData(
        content=content,
        certificates=certificates,
        issuer_serial=(der.encoded(data, named[0]), der.content(data, named[1])) if named else None,
        key_id=der.content(data, parts[1]) if by_key else None,
        digest=digest(),
        message_digest=_message_digest(data, attributes),
        signing_time=_signing_time(data, attributes),
        signature_algorithm=_algorithm(data, parts[4]),
        # RFC 5652 section 5.4: covered is the SET, not the [0] it travels as.
        attributes=b"\x31" + data[parts[3].start + 1 : parts[3].end],
        signature=der.content(data, parts[5]),
    )


def _attributes(data: bytes, item: der.Element) -> dict[bytes, der.Element]:
    """Return the one value of each signed attribute."""
    found: dict[bytes, der.Element] = {}
    for attribute in der.children(data, item):
        kind, values = _pair(data, attribute, (der.OID, der.SET))
        name = der.content(data, kind)
        if name in found:
            raise Untrusted("cms-attributes", "a signed attribute stands twice")
        inside = der.children(data, values)
        if len(inside) == 1:
            found[name] = inside[0]
        elif name in {_CONTENT_TYPE, _MESSAGE_DIGEST, _SIGNING_TIME}:
            raise Untrusted("cms-attributes", "a signed attribute does not have one value")
    kind_value = found.get(_CONTENT_TYPE)
    if kind_value is None or der.encoded(data, kind_value) != der.wrap(der.OID, DATA):
        raise Untrusted("cms-attributes", "the signed content type is missing or another")
    return found


def _message_digest(data: bytes, attributes: dict[bytes, der.Element]) -> bytes:
    value = attributes.get(_MESSAGE_DIGEST)
    if value is None or value.tag != der.OCTETS:
        raise Untrusted("cms-attributes", "the signed digest is missing")
    return der.content(data, value)


def _signing_time(data: bytes, attributes: dict[bytes, der.Element]) -> datetime | None:
    value = attributes.get(_SIGNING_TIME)
    if value is None:
        return None
    found = _TIME.match(der.content(data, value))
    short = value.tag == der.UTC_TIME
    if found is None or (not short and value.tag != der.GENERALIZED_TIME):
        raise Untrusted("cms-attributes", "the signing time cannot be read")
    year = int(found[1])
    if short != (len(found[1]) == 2):  # noqa: PLR2004 - digits of a year in UTCTime
        raise Untrusted("cms-attributes", "the signing time cannot be read")
    if short:
        year += 1900 if year >= _PIVOT else 2000
    try:
        month, day, hour, minute, second = [int(part) for part in found.groups()[1:]]
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise Untrusted("cms-attributes", "the signing time cannot be read") from None


def _members(data: bytes, item: der.Element, expected: tuple[int, int]) -> list[der.Element]:
    tag, count = expected
    inside = der.children(data, item)
    if item.tag != tag or len(inside) != count:
        raise Invalid("der", "the signature object is malformed")
    return inside


def _pair(data: bytes, item: der.Element, tags: tuple[int, int]) -> tuple[der.Element, der.Element]:
    first, second = _members(data, item, (der.SEQUENCE, 2))
    if (first.tag, second.tag) != tags:
        raise Invalid("der", "the signature object is malformed")
    return first, second


def _algorithm(data: bytes, item: der.Element) -> Algorithm:
    parts = der.children(data, item)
    if item.tag != der.SEQUENCE or len(parts) not in (1, 2) or parts[0].tag != der.OID:
        raise Invalid("der", "an algorithm is malformed")
    return Algorithm(oid=der.content(data, parts[0]), parameters=data[parts[0].end : item.end])


def _wrong_algorithm() -> Untrusted:
    return Untrusted("cms-algorithm", "the signature algorithm is not accepted or does not agree")


def _check_rsa(signed: SignedData, key: rsa.RSAPublicKey) -> None:
    if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        raise Untrusted("weak-key", "the signer's RSA key is not between 2048 and 8192 bits long")
    algorithm = signed.signature_algorithm
    scheme: padding.AsymmetricPadding
    if algorithm.oid == _RSA_PSS:
        scheme = _pss(signed)
    elif algorithm.parameters not in _NULL:
        raise _wrong_algorithm()
    elif algorithm.oid == _RSA or _RSA_WITH.get(algorithm.oid) == signed.digest.name:
        scheme = padding.PKCS1v15()
    else:
        raise _wrong_algorithm()
    key.verify(signed.signature, signed.attributes, scheme, signed.digest)


def _pss(signed: SignedData) -> padding.PSS:
    """Return the padding of RSASSA-PSS-params (RFC 4055 section 3.1) with one hash throughout."""
    data = signed.signature_algorithm.parameters
    try:
        parts = der.children(data, der.whole(data, der.SEQUENCE))
        fields = {item.tag: item for item in parts}
        if len(fields) != len(parts):
            raise _wrong_algorithm()
        if not fields.keys() <= {0xA0, 0xA1, 0xA2, 0xA3} or not {0xA0, 0xA1} <= fields.keys():
            raise _wrong_algorithm()  # the defaults are SHA-1
        (used,) = _members(data, fields[0xA0], (0xA0, 1))
        (generator,) = _members(data, fields[0xA1], (0xA1, 1))
        mask = _algorithm(data, generator)
        inner = _algorithm(mask.parameters, der.whole(mask.parameters, der.SEQUENCE))
        salt = _small(data, fields.get(0xA2), 20)
        trailer = _small(data, fields.get(0xA3), 1)
        kinds = {_HASHES.get(_algorithm(data, used).oid), _HASHES.get(inner.oid)}
    except Invalid:
        raise _wrong_algorithm() from None
    if mask.oid != _MGF1 or kinds != {type(signed.digest)} or trailer != 1 or salt > _SALT_MAX:
        raise _wrong_algorithm()
    return padding.PSS(mgf=padding.MGF1(signed.digest), salt_length=salt)


def _small(data: bytes, item: der.Element | None, default: int) -> int:
    if item is None:
        return default
    (number,) = _members(data, item, (item.tag, 1))
    octets = der.content(data, number)
    if number.tag != der.INTEGER or not 1 <= len(octets) <= 2 or octets[0] & 0x80:  # noqa: PLR2004 - two bytes hold every salt
        raise Invalid("der", "a number of an algorithm is malformed")
    return int.from_bytes(octets, "big")


def _check_ecdsa(signed: SignedData, key: ec.EllipticCurvePublicKey) -> None:
    if not isinstance(key.curve, _CURVES):
        raise Untrusted("weak-key", "the signer's key is on a curve that is not accepted")
    algorithm = signed.signature_algorithm
    if algorithm.parameters or _ECDSA_WITH.get(algorithm.oid) != signed.digest.name:
        raise _wrong_algorithm()
    key.verify(signed.signature, signed.attributes, ec.ECDSA(signed.digest))


def _check_ed25519(signed: SignedData, key: ed25519.Ed25519PublicKey) -> None:
    algorithm = signed.signature_algorithm
    # RFC 8419 section 3: with signed attributes the digest is SHA-512.
    if algorithm.oid != _ED25519 or algorithm.parameters or signed.digest.name != "sha512":
        raise _wrong_algorithm()
    key.verify(signed.signature, signed.attributes)
