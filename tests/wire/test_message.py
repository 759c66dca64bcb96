"""Rules 1 to 7 of mail-trust section 4, each with the attack it stops."""

from __future__ import annotations

import base64
import email
import email.policy
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.errors import BridgeError, Invalid
from bridge.wire.message import LOOP_HEADER, SignatureKind, read, without_trace

HEAD = b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: Hi\r\n"
PLAIN = HEAD + b"\r\nText\r\n"


def refusal(raw: bytes) -> str:
    with pytest.raises(Invalid) as caught:
        read(raw)
    return caught.value.code


def with_from(value: str | bytes) -> bytes:
    encoded = value if isinstance(value, bytes) else value.encode()
    return b"From: " + encoded + b"\r\nTo: bob@example.net\r\n\r\nText\r\n"


def multipart(boundary: str, body: str, kind: str = "mixed", more: str = "") -> bytes:
    head = f'MIME-Version: 1.0\r\nContent-Type: multipart/{kind}; boundary="{boundary}"{more}\r\n'
    return HEAD + head.encode() + b"\r\n" + body.replace("\n", "\r\n").encode()


# --- what is read -----------------------------------------------------------------------------


def test_a_plain_mail_gives_its_author_headers_and_text() -> None:
    message = read(
        b"Return-Path: <alice@example.org>\r\n"
        b"Delivered-To: bob+home@example.net\r\n"
        b"From: =?utf-8?Q?Al=C3=AFce?= <Alice@EXAMPLE.org>\r\n"
        b'To: "Bob, the builder" <bob@example.net>, carol@example.net\r\n'
        b"Cc: dave@example.net\r\n"
        b"Date: Tue, 17 Nov 2026 11:00:00 +0100\r\n"
        b"Message-ID: <1@example.org>\r\n"
        b"In-Reply-To: <0@example.net>\r\n"
        b"References: <a@example.net>\r\n <0@example.net>\r\n"
        b"Subject: paint the\r\n fence\r\n\r\nText\r\n"
    )
    assert message.author == "alice@example.org"
    assert message.mailbox == "Alice@example.org"
    assert message.to == ("bob@example.net", "carol@example.net")
    assert message.cc == ("dave@example.net",)
    assert message.date == datetime(2026, 11, 17, 10, 0, tzinfo=UTC)
    assert message.message_id == "1@example.org"
    assert message.in_reply_to == ("0@example.net",)
    assert message.references == ("a@example.net", "0@example.net")
    assert message.subject == "paint the fence"
    assert message.return_path == "alice@example.org"
    assert message.delivered_to == "bob+home@example.net"
    assert message.root.media_type == "text/plain"
    assert message.root.body == b"Text\r\n"
    assert message.signature.kind is SignatureKind.NONE
    assert message.automatic() is None


def test_lf_files_are_read_as_their_crlf_form() -> None:
    message = read(PLAIN.replace(b"\r\n", b"\n"))
    assert message.source == PLAIN
    assert message.digest == read(PLAIN).digest


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("=?utf-8?B?SMOpbGxv?= you", "Héllo you"),
        ("=?utf-8?B?SMM=?= =?utf-8?B?qWxsbw==?=", "Héllo"),
        ("=?iso-8859-1?Q?caf=E9_au_lait?=", "café au lait"),
        ("=?utf-8?Q?two=0D=0ABcc:_x@example.org?=", "two Bcc: x@example.org"),
        ("pay \u202e0001\u202c now", "pay 0001 now"),
        ("=?utf-8?Q?e=CC=81?=", "é"),
        ("=?punycode?Q?abc?=", "abc"),
        ("=?utf-8?B?!!!?= rest", "rest"),
        ("=?x-unknown?Q?=C3=A9?=", "é"),
        ("=?utf-8?Q?a?= =?iso-8859-1?Q?=E9?= b =?us-ascii*en?q?c?=", "aé b c"),
        ("=?ks_c_5601-1987?B?sKE=?=", "가"),
        ("=?utf-8?B?SMM?=", "H\ufffd"),
        ("=?iso-8859-99?Q?x?=", "x"),
        ("x" * 900, "x" * 500),
    ],
)
def test_a_subject_is_decoded_and_cleaned(subject: str, expected: str) -> None:
    raw = f"From: a@example.org\r\nSubject: {subject}\r\n\r\n".encode()
    assert read(raw).subject == expected


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("17 Nov 2026 10:00 GMT", datetime(2026, 11, 17, 10, 0, tzinfo=UTC)),
        ("Tue, 17 Nov 2026 10:00:60 -0130 (x)", datetime(2026, 11, 17, 11, 30, 59, tzinfo=UTC)),
        ("Tue, 32 Nov 2026 10:00:00 +0000", None),
        ("yesterday", None),
        ("Tue, 17 Nov 2026 10:00:00 +9959", None),
    ],
)
def test_a_date_is_read_or_left_out(date: str, expected: datetime | None) -> None:
    assert read(f"From: a@example.org\r\nDate: {date}\r\n\r\n".encode()).date == expected


# --- rule 1: limits ----------------------------------------------------------------------------


def nested(levels: int) -> bytes:
    opened = "".join(
        f'--b{n:04}\nContent-Type: multipart/mixed; boundary="b{n + 1:04}"\n\n'
        for n in range(levels)
    )
    closed = "".join(f"\n--b{n:04}--" for n in range(levels, -1, -1))
    return multipart("b0000", f"{opened}--b{levels:04}\n\nx{closed}\n")


BOMBS = {
    "100,000 parts": (multipart("b", "--b\n\nx\n" * 100_000 + "--b--\n"), "too-many-parts"),
    "101 parts": (multipart("b", "--b\n\nx\n" * 101 + "--b--\n"), "too-many-parts"),
    "20,000 addresses": (
        b"From: a@example.org\r\nTo: " + b"x@y.z,\r\n " * 6_000 + b"x@y.z\r\n\r\n",
        "too-many-addresses",
    ),
    "20,000 addresses beyond the header": (
        b"From: a@example.org\r\nTo: " + b"x@y.z," * 20_000 + b"x@y.z\r\n\r\n",
        "header-too-large",
    ),
    "201 references": (
        b"From: a@example.org\r\nReferences: " + b"<x@y>" * 201 + b"\r\n\r\n",
        "too-many-references",
    ),
    "1,000 levels": (nested(1_000), "too-deep"),
    "13 levels": (nested(13), "too-deep"),
    "3,000 open comments": (with_from("(" * 900 + "<a@example.org>"), "bad-from"),
    "open comments in a long From": (with_from("(" * 3_000 + "a@example.org"), "from-too-long"),
    "401 fields": (b"X: y\r\n" * 401 + PLAIN, "too-many-headers"),
    "64 KiB header": (b"X: " + b"y" * 65_536 + b"\r\n" + PLAIN, "header-too-large"),
    "one long name": (b"x" * 60_000 + b"\r\n" + PLAIN, "bad-header-line"),
    "26 MiB": (PLAIN + b"x" * (26 * 1024 * 1024), "too-large"),
    "LF file that grows too large": (
        PLAIN.replace(b"\r\n", b"\n") + b"\n" * 14_000_000,
        "too-large",
    ),
    "long Content-Type": (
        HEAD + b"Content-Type: text/plain; x=" + b"y" * 2_000 + b"\r\n\r\n",
        "content-type-too-long",
    ),
}


@pytest.mark.parametrize(("raw", "code"), BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused(raw: bytes, code: str) -> None:
    assert refusal(raw) == code


def test_unbalanced_quotes_in_an_address_list_cost_nothing() -> None:
    message = read(b"From: a@example.org\r\nTo: " + b'"\\' * 30_000 + b"\r\n\r\n")
    assert message.to == ()


def test_a_mail_at_the_limits_is_read() -> None:
    assert len(read(nested(11)).root.children) == 1
    parts = multipart("b", "--b\n\nx\n" * 99 + "--b--\n")
    assert len(read(parts).root.children) == 99
    assert (
        len(read(b"From: a@example.org\r\nTo: " + b"x@y.zz," * 199 + b"x@y.zz\r\n\r\n").to) == 200
    )


# --- rule 2: structure of the header -----------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (PLAIN + b"\0", "nul-byte"),
        (PLAIN.replace(b"Hi\r\n", b"Hi\r\rX: y\r\n"), "bare-cr"),
        (PLAIN.replace(b"Hi\r\n", b"Hi\nX: y\r\n"), "bare-lf"),
        (PLAIN + b"bare \r here\r\n", "bare-cr"),
        (b" From: eve@example.org\r\n" + PLAIN, "folded-first-line"),
        (PLAIN.replace(b"Subject:", b"Subject :"), "bad-header-line"),
        (PLAIN.replace(b"Subject:", b"from : eve@example.org\r\nSubject:"), "bad-header-line"),
        (PLAIN.replace(b"Subject: Hi\r\n", b"Subject: Hi\r\n \t\r\n more\r\n"), "bad-header-line"),
        (PLAIN.replace(b"Subject:", b"no colon\r\nSubject:"), "bad-header-line"),
        (PLAIN.replace(b"Subject:", b"S\xc3\xbcbject:"), "bad-header-line"),
        (b"", "no-header"),
        (b"\r\n" + PLAIN, "no-header"),
        (b"From: a@example.org", "bad-part-header"),
        (b"From alice Mon Nov 16 10:00:00 2026\r\n" + PLAIN, "bad-header-line"),
    ],
)
def test_a_header_two_programs_could_read_differently_is_refused(raw: bytes, code: str) -> None:
    assert refusal(raw) == code


@pytest.mark.parametrize(
    "field",
    [
        "From: eve@example.org", "FROM: eve@example.org", "Sender: eve@example.org",
        "Reply-To: eve@example.org", "To: eve@example.org", "Cc: eve@example.org", "Subject: other",
        "Date: Tue, 17 Nov 2026 10:00:00 +0000", "Message-ID: <2@example.org>",
        "References: <2@example.org>", "In-Reply-To: <2@example.org>", "MIME-Version: 1.0",
        "Content-Type: text/html", "Content-Transfer-Encoding: base64", "Content-Disposition: inline",
        "Content-Anything: x",
    ],
)  # fmt: skip
def test_a_second_decisive_field_is_refused(field: str) -> None:
    """espoofer A3, A8 to A13; Johnny I3: a Subject put on top still verifies under DKIM."""
    name = field.partition(":")[0]
    first = "" if name.lower() in {"from", "to", "subject"} else f"{field}\r\n"
    assert refusal(f"{field}\r\n{first}".encode() + PLAIN) == "duplicate-header"


def test_trace_fields_may_repeat() -> None:
    assert read(b"Received: from a\r\nReceived: from b\r\n" + PLAIN).author == "alice@example.org"


# --- rules 3 and 4: From -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "alice@example.org",
        "<alice@example.org>",
        "Alice <alice@example.org>",
        "  Alice Q. Public  <alice@example.org>  ",
        '"Public, Alice" <alice@example.org>',
        '"boss@example.org" <alice@example.org>',
        "=?utf-8?B?Ym9zc0BleGFtcGxlLm9yZw==?= <alice@example.org>",
        "Zoë <alice@example.org>",
        "Alice\r\n <alice@example.org>",
        '"" <alice@example.org>',
    ],
)
def test_a_plain_from_names_its_mailbox_and_never_the_display_name(value: str) -> None:
    assert read(with_from(value)).author == "alice@example.org"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Alice",
        "a@example.org, eve@evil.example",  # A14: a list
        "<a@example.org>, <eve@evil.example>",
        "<a@example.org><eve@evil.example>",  # A15
        "<a@example.org> <eve@evil.example>",
        "a@example.org <eve@evil.example>",  # CVE-2023-27043, parseaddr takes the first
        "<eve@evil.example> a@example.org",  # A17: trailing text
        "<a@example.org>x",
        "<@a.example,@b.example:eve@evil.example>",  # A16: route
        "<@a.example:eve@evil.example>",
        "Team: a@example.org, b@example.org;",  # group
        "Team:;",
        "a@example.org (comment)",  # comments, also nested
        "(a@example.org) eve@evil.example",
        "Eve (x) <eve@evil.example>",
        "<eve@evil.example(x)>",
        '"A\\" <a@example.org>, \\"" <eve@evil.example>',  # quoted pairs
        '"a" b" <eve@evil.example>',
        '"alice <a@example.org>',
        '"al ice"@example.org',
        "a@example.org\\,eve@evil.example",
        "=?utf-8?B?YWRtaW5AZXhhbXBsZS5vcmc=?=",  # A18: an encoded address
        "=?utf-8?B?YWRtaW4=?=@example.org",
        "<=?utf-8?Q?a=40example.org?=@evil.example>",
        "=?utf-8?B?" + "A" * 60 + "?=,<x>",  # a regular expression went exponential on this
        "a@b@example.org",
        "a@[192.0.2.1]",
        "a@example..org",
        "a@example.org.",
        "@example.org",
        "a@",
        "<>",
        "<a@example.org",
        "a@example.org>",
        "a b@example.org",
        "a@exam ple.org",
        "<a@example.org\t>",
        "a@example.org;",
        "x" * 65 + "@example.org",  # local part over 64 bytes
        "é" * 33 + "@example.org",
        "a@example.org\u202e",
        "a/b@example.org",
        b"Al\xff <a@example.org>",
        b"a\xff@example.org",
        b"Al\x01 <a@example.org>",
        b"a@example.org\x01",
    ],
)
def test_an_ambiguous_from_is_refused(value: str | bytes) -> None:
    assert refusal(with_from(value)) == "bad-from"


def test_a_mail_without_from_is_refused() -> None:
    assert refusal(b"To: a@example.org\r\n\r\n") == "no-from"
    assert refusal(b"Sender: a@example.org\r\nReply-To: a@example.org\r\n\r\n") == "no-from"


def test_the_author_is_compared_as_a_label() -> None:
    message = read(with_from("müller@Bücher.example"))
    assert message.mailbox == "müller@xn--bcher-kva.example"


def test_only_plain_entries_of_to_count() -> None:
    listed = '"bob@example.net" <eve@evil.example>, Team: x@example.net;, carol@example.net'
    raw = f"From: a@example.org\r\nTo: {listed}\r\n\r\n".encode()
    assert read(raw).to == ("eve@evil.example", "carol@example.net")
    commented = b"From: a@example.org\r\nTo: (x, bob@example.net, y) eve@evil.example\r\n\r\n"
    assert read(commented).to == ()


# --- rule 5: MIME ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("multipart/mixed", "bad-boundary"),
        ('multipart/mixed; boundary=""', "bad-boundary"),
        ('multipart/mixed; boundary="' + "b" * 71 + '"', "bad-boundary"),
        ('multipart/mixed; boundary="b "', "bad-boundary"),
        ("multipart/mixed; boundary=a; boundary=b", "duplicate-parameter"),
        ("multipart/mixed; boundary=a; BOUNDARY=a", "duplicate-parameter"),
        ("multipart/mixed; boundary*=utf-8''a", "bad-content-type"),
        ("multipart/mixed; boundary*0=a; boundary*1=b", "bad-content-type"),
        ("multipart/mixed boundary=a", "bad-content-type"),
        ("multipart/mixed (x); boundary=a", "bad-content-type"),
        ("multipart/mixed; boundary=a b", "bad-content-type"),
        ('multipart/mixed; boundary="a', "bad-content-type"),
        ("text", "bad-content-type"),
        ("", "bad-content-type"),
        ("text/plain,text/html", "bad-content-type"),
        ("text/plain; charset=utf-8; charset=utf-7", "duplicate-parameter"),
    ],
)
def test_a_doubtful_content_type_is_refused(content_type: str, code: str) -> None:
    raw = HEAD + f"Content-Type: {content_type}\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n".encode()
    assert refusal(raw) == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("--b\n\nx\n", "missing-boundary"),
        ("--b\n\nx\n--b", "missing-boundary"),
        ("no boundary at all\n", "missing-boundary"),
        ("--b--\n", "missing-boundary"),
        ("x--b\n\nx\n--b--\n", "missing-boundary"),
        ("--b\n\nx\n--b--\n--b\n\ny\n", "boundary-after-close"),
        ("--b\n\nx\n--b--\n\n--b--\n", "boundary-after-close"),
        ("--b\n\nx\n--bc\n\ny\n--b--\n", "boundary-prefix"),
        ("--b\n\nx\n--b --\n", "boundary-prefix"),
        ("--b\n\nx\n--b-- x\n", "boundary-prefix"),
        ("--b\n--b--\n", "empty-part"),
        ("--b\nContent-Type: text/plain\n--b--\n", "bad-part-header"),
        ("--b\nContent-Type: text/plain\nContent-Type: text/html\n\nx\n--b--\n", "duplicate-header"),
        ('--b\nContent-Type: multipart/mixed; boundary="b"\n\n--b\n\nx\n--b--\n', "missing-boundary"),
        ('--b\nContent-Type: multipart/mixed; boundary="bb"\n\n--bb\n\nx\n--bb--\n--b--\n', "boundary-prefix"),
    ],
)  # fmt: skip
def test_a_multipart_two_programs_could_cut_differently_is_refused(body: str, code: str) -> None:
    assert refusal(multipart("b", body)) == code


def test_an_encoded_multipart_is_refused() -> None:
    body = "Content-Transfer-Encoding: base64\n"
    raw = multipart("b", "--b\n\nx\n--b--\n").replace(
        b"MIME-Version", body.encode().strip() + b"\r\nMIME-Version"
    )
    assert refusal(raw) == "encoded-multipart"


def test_parts_are_exact_slices_and_preamble_and_epilogue_are_not_read() -> None:
    body = (
        "This is a preamble\n--b  \nContent-Type: text/plain\n\n one \n\n--b\n\ntwo\n--b\n"
        "Content-Type: text/html\n\n--b--\t\nepilogue From: x\n"
    )
    root = read(multipart("b", body)).root
    assert [child.entity for child in root.children] == [
        b"Content-Type: text/plain\r\n\r\n one \r\n",
        b"\r\ntwo",
        b"Content-Type: text/html\r\n",
    ]
    assert [child.body for child in root.children] == [b" one \r\n", b"two", b""]
    assert [leaf.media_type for leaf in root.leaves()] == ["text/plain", "text/plain", "text/html"]


def test_an_attached_mail_is_not_opened() -> None:
    inner = "From: eve@evil.example\nFrom: two@evil.example\n\nx"
    root = read(multipart("b", f"--b\nContent-Type: message/rfc822\n\n{inner}\n--b--\n")).root
    assert [part.media_type for part in root.walk()] == ["multipart/mixed", "message/rfc822"]


# --- rules 6 and 7: where a signature counts ---------------------------------------------------

SIGNED = (
    "This is a cryptographically signed message in MIME format.\n"
    "--b\nContent-Type: text/plain\n\nTask \n\n"
    "--b\nContent-Type: application/pkcs7-signature; name=smime.p7s\n"
    "Content-Transfer-Encoding: base64\n\nMIAG\n--b--\nfooter\n"
)
PROTOCOL = '; protocol="application/pkcs7-signature"; micalg=sha-256'


def test_the_signed_bytes_are_those_between_the_boundaries() -> None:
    message = read(multipart("b", SIGNED, "signed", PROTOCOL))
    signature = message.signature
    assert signature.kind is SignatureKind.SMIME
    assert signature.signed == b"Content-Type: text/plain\r\n\r\nTask \r\n"
    assert signature.value == base64.b64decode("MIAG")
    assert signature.content is message.root.children[0]
    assert message.signed_digest is not None


def test_an_openpgp_signature_is_found() -> None:
    body = SIGNED.replace(
        "application/pkcs7-signature; name=smime.p7s", "application/pgp-signature"
    )
    armor = body.replace(
        "Content-Transfer-Encoding: base64\n\nMIAG", "\n-----BEGIN PGP SIGNATURE-----"
    )
    message = read(multipart("b", armor, "signed", '; protocol="application/pgp-signature"'))
    assert message.signature.kind is SignatureKind.PGP
    assert message.signature.value == b"-----BEGIN PGP SIGNATURE-----"


def test_an_opaque_signature_is_found_and_an_encrypted_mail_is_not_opened() -> None:
    head = (
        HEAD
        + b"Content-Transfer-Encoding: base64\r\nContent-Type: application/pkcs7-mime; smime-type="
    )
    opaque = read(head + b"signed-data; name=smime.p7m\r\n\r\nMIAG\r\n")
    assert opaque.signature.kind is SignatureKind.OPAQUE
    assert opaque.signature.value == base64.b64decode("MIAG")
    sealed = read(head + b"enveloped-data\r\n\r\nMIAG\r\n")
    assert (sealed.signature.kind, sealed.signature.flaw) == (SignatureKind.NONE, "encrypted")


def test_an_unobtrusive_signature_is_found() -> None:
    body = "--b\nSig: t=p;\n b=MIAG\nContent-Type: text/plain\n\nTask\n--b--\n"
    signature = read(multipart("b", body)).signature
    assert signature.kind is SignatureKind.UNOBTRUSIVE
    assert signature.signed == b"Content-Type: text/plain\r\n\r\nTask"
    assert signature.value == base64.b64decode("MIAG")


@pytest.mark.parametrize(
    ("raw", "flaw"),
    [
        (multipart("b", "--b\n\nextra\n" + SIGNED, "signed", PROTOCOL), "signed-parts"),
        (multipart("b", SIGNED, "signed", '; protocol="application/pgp-signature"'), "protocol-mismatch"),
        (multipart("b", SIGNED, "signed"), "protocol-mismatch"),
        (
            HEAD + b"Content-Type: application/pkcs7-mime\r\n\r\n".replace(
                b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n!!"
            ),
            "signature-encoding",
        ),
        (
            multipart("b", "--b\nSig: t=p; b=!!\n\nx\n--b--\n"),
            "signature-encoding",
        ),
        (
            multipart("b", "--b\nSig: t=p; b=MIAG\nSig: t=p; b=MIAG\n\nx\n--b--\n"),
            "signature-encoding",
        ),
        (multipart("b", SIGNED.replace("MIAG", "MI!AG"), "signed", PROTOCOL), "signature-encoding"),
        (multipart("b", SIGNED.replace("MIAG", "MIA=AG"), "signed", PROTOCOL), "signature-encoding"),
        (multipart("b", SIGNED.replace(": base64", ": quoted-printable"), "signed", PROTOCOL), "signature-encoding"),
        (multipart("b", SIGNED.replace("pkcs7", "x-foo"), "signed", '; protocol="application/x-foo-signature"'), "unknown-protocol"),
    ],
)  # fmt: skip
def test_a_flawed_signature_makes_an_unsigned_mail(raw: bytes, flaw: str) -> None:
    signature = read(raw).signature
    assert (signature.kind, signature.flaw) == (SignatureKind.NONE, flaw)


def test_a_signature_below_the_top_makes_an_unsigned_mail() -> None:
    """Johnny M1 to M4, and every list that adds a footer."""
    inner = f'--o\nContent-Type: multipart/signed; boundary="b"{PROTOCOL}\n\n{SIGNED}\n'
    signature = read(multipart("o", inner + "--o\n\nlist footer\n--o--\n")).signature
    assert (signature.kind, signature.flaw) == (SignatureKind.NONE, "")
    assert read(multipart("o", inner + "--o--\n")).signature.kind is SignatureKind.NONE


def test_inline_pgp_counts_as_unsigned() -> None:
    text = b"-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\nx\r\n"
    assert read(HEAD + b"\r\n" + text).signature.kind is SignatureKind.NONE


# --- digests and automatic mail ----------------------------------------------------------------


def test_a_covered_digest_exists_for_signed_mail_only() -> None:
    head = (
        HEAD + b"Content-Transfer-Encoding: base64\r\nContent-Type: application/pkcs7-mime\r\n\r\n"
    )
    first, second = read(head + b"MIAG\r\n"), read(head + b"MI\r\nAG")
    assert first.signed_digest == second.signed_digest is not None
    assert read(PLAIN).signed_digest is None
    assert read(b"Delivered-To: nobody\r\n" + PLAIN).delivered_to is None


def test_one_mail_by_two_ways_has_one_content_digest() -> None:
    body = b"\r\nReceived: in the body stays\r\n"
    by_lmtp = b"Return-Path: <a@example.org>\r\nReceived: from x\r\n\tby y\r\n" + HEAD + body
    by_imap = (
        b"Delivered-To: bob@example.net\r\nX-Original-To: b@example.net\r\nRECEIVED: from z\r\n"
        + HEAD
        + body
    )
    assert read(by_lmtp).digest != read(by_imap).digest
    assert read(by_lmtp).content_digest == read(by_imap).content_digest == read(HEAD + body).digest
    assert without_trace(by_lmtp) == HEAD + body
    assert read(HEAD + b"\r\nother").content_digest != read(HEAD + body).content_digest


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("Auto-Submitted: auto-replied; x", "auto-submitted"),
        ("Precedence: Bulk", "precedence"),
        ("List-Unsubscribe: <mailto:x@example.org>", "list"),
        ("Return-Path: <>", "null-return-path"),
        (f"{LOOP_HEADER}: 1", "loop"),
        ("Message-ID: <t.1@TX.example.net>", "own-message-id"),
        ("Content-Type: multipart/report; report-type=delivery-status; boundary=b", "report"),
        ("Auto-Submitted: no", None),
        ("Precedence: normal", None),
        ("X-Auto-Response-Suppress: All", None),
        ("Message-ID: <t.1@example.org>", None),
    ],
)
def test_automatic_mail_is_known_by_its_headers(field: str, reason: str | None) -> None:
    raw = f"{field}\r\n".encode() + HEAD + b"\r\n--b\r\n\r\nx\r\n--b--\r\n"
    assert read(raw).automatic(own_domains={"tx.example.net"}) == reason


@pytest.mark.parametrize("local", ["MAILER-DAEMON", "postmaster", "noreply", "no-reply"])
def test_mail_of_robots_is_automatic(local: str) -> None:
    assert read(with_from(f"{local}@example.org")).automatic() == "robot-address"


# --- any bytes ---------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [
        b"From: a@b.example\r\n", b"From: ", b"To: ", b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0",
        b"Content-Type: multipart/mixed; boundary=b\r\n", b"--b\r\n", b"--b--\r\n", b"--b", b";",
        b"Content-Type: multipart/signed; boundary=b; protocol=application/pkcs7-signature\r\n",
        b"Content-Type: application/pkcs7-signature\r\n", b"Content-Transfer-Encoding: base64\r\n",
        b"Sig: t=p; b=AAAA\r\n", b"Subject: =?utf-8?B?w6k=?= =?x?q?", b"=?=", b'"', b"\\", b"<", b">",
        b"(", b",", b"\xff", "é\u202e".encode(), b"Message-ID: <a@b>\r\n", b"Date: 1 Jan 2026 00:00 +0000\r\n",
        b"Return-Path: <>\r\n", b"Delivered-To: x@y.example\r\n",
    ]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=400), st.lists(_PIECES, max_size=40).map(b"".join)))
@example(b"From: a@b.example\r\nMessage-ID: <\xff@b>\r\nDelivered-To: \xff\r\n\r\n")
def test_the_reader_raises_nothing_but_its_own_errors(raw: bytes) -> None:
    try:
        message = read(raw)
    except BridgeError:
        return
    assert message.author.count("@") == 1
    assert message.author.isprintable()
    message.subject.encode()
    for value in (message.to, message.cc, message.date, message.references, message.automatic()):
        repr(value).encode()
    repr((message.return_path, message.delivered_to, message.message_id, message.content_digest))
    for part in message.root.walk():
        assert part.start <= part.body_start <= part.end <= len(message.source)
        assert part.entity == message.source[part.start : part.end]


@given(st.text(max_size=200))
def test_a_from_is_one_mailbox_or_refused(value: str) -> None:
    raw = with_from(value.encode("utf-8", "replace"))
    try:
        message = read(raw)
    except BridgeError:
        return
    local, _, domain = message.mailbox.rpartition("@")
    assert local in value
    assert not set(local + domain) & set('",:;()<>[]\\ \t')


# --- what others read --------------------------------------------------------------------------

_FROM_PIECES = st.sampled_from(
    ["alice", "@", "example.org", "<", ">", " ", '"', ",", ";", ":", "(", ")", "\\", ".", "eve",
     "=?utf-8?q?x?=", "[", "]", "Al Ice", "\t", "'", "evil.example", "\r\n "]
)  # fmt: skip


@given(st.lists(_FROM_PIECES, min_size=3, max_size=12).map("".join))
@example("Alice Q. Public <alice@example.org>")
@example('"eve@evil.example, <x" <alice@example.org>')
def test_the_standard_library_never_reads_another_author(value: str) -> None:
    raw = with_from(value)
    try:
        message = read(raw)
    except BridgeError:
        return
    field = email.message_from_bytes(raw, policy=email.policy.default)["from"]
    (other,) = field.addresses
    assert f"{other.username}@{other.domain.lower()}" == message.mailbox


_BODY_PIECES = st.sampled_from(
    ["--b\n", "--b--\n", "--c\n", "--c--\n", "\n", "text\n", "Content-Type: text/html\n", "X: y\n",
     "Content-Type: multipart/mixed; boundary=c\n\n", "--b \n", "-- b\n", "--bc\n", "--b--", "--b"]
)  # fmt: skip


@given(st.lists(_BODY_PIECES, min_size=2, max_size=14).map("".join))
@example("--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n--b\n\ny\n--b--\n")
def test_the_standard_library_cuts_the_same_parts(body: str) -> None:
    raw = multipart("b", body)
    try:
        message = read(raw)
    except BridgeError:
        return
    leaves = [leaf.body for leaf in message.root.leaves()]
    parsed = email.message_from_bytes(raw, policy=email.policy.compat32)
    others = [part.get_payload() for part in parsed.walk() if not part.is_multipart()]
    assert leaves == [str(payload).encode() for payload in others]
