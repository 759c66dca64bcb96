"""Signing what the gateway sends: multipart/signed with a detached CMS (RFC 8551 3.5.3).

Promises that `bridge.trust.smime` and other mail programs verify the result as long as
no relay changes it: the signed entity keeps its bytes, lines end in CRLF. The signing time
is the library's clock (`PKCS7SignatureBuilder` takes none). Keys: RSA and ECDSA.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from bridge.errors import Misconfigured
from bridge.wire.message import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


def sign(
    entity: bytes,
    certificate: x509.Certificate,
    key: PrivateKeyTypes,
    *,
    chain: Iterable[x509.Certificate] = (),
) -> bytes:
    r"""Return `entity` signed: the fields from Content-Type on, a blank line and the body.

    Put the fields of the mail (From, To, Subject, MIME-Version, ...) before it. For a signed
    title repeat them at the top of `entity` and add ``hp="clear"`` to its Content-Type
    (RFC 9788).

    Args:
        entity: a MIME entity, its own Content-Type first; LF line ends become CRLF.
        certificate: the signer's.
        key: belongs to `certificate`; RSA or ECDSA.
        chain: intermediates to enclose.

    Raises:
        Misconfigured: ``unsupported-key``.
        Invalid: see `canonical`.
    """
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise Misconfigured("unsupported-key", "mail is signed with RSA or ECDSA keys only")
    covered = canonical(entity)
    builder = pkcs7.PKCS7SignatureBuilder().set_data(covered)
    builder = builder.add_signer(certificate, key, hashes.SHA256())
    for link in chain:
        builder = builder.add_certificate(link)
    options = (pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary)
    signature = builder.sign(Encoding.DER, options)
    # Taken from the content, so it cannot stand in it: that would be a hash within its own input.
    boundary = "tx-" + hashlib.sha256(covered).hexdigest()
    lines = base64.encodebytes(signature).replace(b"\n", b"\r\n")
    head = (
        'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n'
        f' micalg=sha-256; boundary="{boundary}"\r\n'
        "\r\n"
        "This is a signed message in MIME format.\r\n"
        f"--{boundary}\r\n"
    )
    middle = (
        f"\r\n--{boundary}\r\n"
        'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\n'
        "Content-Transfer-Encoding: base64\r\n"
        'Content-Disposition: attachment; filename="smime.p7s"\r\n'
        "\r\n"
    )
    return head.encode() + covered + middle.encode() + lines + f"--{boundary}--\r\n".encode()
