"""How many mails a second are read, and how many S/MIME signatures verified, on one core.

Run: ``python tests/bench/mail_verify.py``. Each figure is the best of several rounds, since
other work on the machine only ever adds time. Aims (mail-trust section 10): 2,500 verified
mails a second with the chain memo, 40,000 unsigned ones.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from bridge.model.ids import Address
from bridge.trust.anchors import TrustAnchors
from bridge.trust.smime import verify
from bridge.trust.smime_sign import sign
from bridge.trust.testca import Issued, issue_certificate, make_test_ca
from bridge.wire.mailtext import body_text
from bridge.wire.message import read

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9
RECEIVED = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
ALICE = Address("alice@example.org")
HEAD = b"""\
Return-Path: <alice@example.org>
Delivered-To: bob+home@example.net
Received: from mx.example.org (mx.example.org [192.0.2.1])
\tby mail.example.net (Postfix) with ESMTPS id 4T1
\tfor <bob+home@example.net>; Sun,  1 Nov 2026 12:00:01 +0000 (UTC)
Received: from [192.0.2.7] (unknown [198.51.100.7])
\tby mx.example.org (Postfix) with ESMTPSA id 4T0
\tfor <bob+home@example.net>; Sun,  1 Nov 2026 12:00:00 +0000 (UTC)
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail;
\tt=1793534400; h=from:to:subject:date:message-id; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
\tb=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR
Message-ID: <1a2b3c@example.org>
Date: Sun, 1 Nov 2026 12:00:00 +0000
MIME-Version: 1.0
User-Agent: Mozilla Thunderbird
Content-Language: en-US
To: Bob <bob+home@example.net>
From: Alice Example <alice@example.org>
Subject: Please paint the fence
""".replace(b"\n", b"\r\n")
ENTITY = b"Content-Type: text/plain; charset=UTF-8; format=flowed\r\n\r\nBy Friday, please.\r\n"


def microseconds(work: Callable[[], object], count: int) -> float:
    """Return the cost of one call in the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(count):
            work()
        best = min(best, time.perf_counter() - begun)
    return best / count * 1e6


def report(name: str, cost: float) -> None:
    sys.stdout.write(f"{name:<52}{cost:9.1f} µs{1e6 / cost:10,.0f} /s\n")


def rsa_certificate(authority: Issued) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    key = rsa.generate_private_key(65537, 2048)
    names = x509.SubjectAlternativeName([x509.RFC822Name(ALICE)])
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    issuer = authority.certificate
    builder = x509.CertificateBuilder(issuer.subject, x509.Name([]), key.public_key(), 3)
    builder = builder.not_valid_before(START).not_valid_after(END)
    builder = builder.add_extension(names, critical=True).add_extension(purpose, critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return builder.sign(authority.key, hashes.SHA256()), key


def main() -> None:
    """Print the figures."""
    authority = make_test_ca("Bench CA", serial=1, not_before=START, not_after=END)
    mine = issue_certificate(ALICE, authority, serial=2, not_before=START, not_after=END)
    remembering = TrustAnchors(authority.certificate_pem)
    forgetful = TrustAnchors(authority.certificate_pem, memo_size=0)
    plain = HEAD + ENTITY
    report("unsigned: read", microseconds(lambda: read(plain), 2000))
    report("unsigned: read and text", microseconds(lambda: body_text(read(plain).root), 2000))
    pairs = (
        ("ECDSA P-256", (mine.certificate, mine.key)),
        ("RSA 2048", rsa_certificate(authority)),
    )
    for name, (certificate, key) in pairs:
        raw = HEAD + sign(ENTITY, certificate, key)
        if not verify(read(raw), remembering, RECEIVED).proven:
            sys.exit("error: the bench mail is not verified")
        for label, anchors in (("memo", remembering), ("no memo", forgetful)):
            cost = microseconds(partial(_read_and_verify, raw, anchors), 400)
            report(f"S/MIME {name}: read and verify, {label}", cost)
        report(f"S/MIME {name}: sign", microseconds(partial(sign, ENTITY, certificate, key), 100))


def _read_and_verify(raw: bytes, anchors: TrustAnchors) -> None:
    verify(read(raw), anchors, RECEIVED)


if __name__ == "__main__":
    main()
