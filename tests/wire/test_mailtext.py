"""Text, attachments and protected headers of a mail (mail-trust rules 14, 20, 21)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError, Invalid, Untrusted
from bridge.wire.cleantext import TEXT_MAX, clean_line, clean_text
from bridge.wire.htmltext import text_of_html
from bridge.wire.mailtext import attachments, body_text, headline, safe_name, without_quotes
from bridge.wire.message import Message, read

FROM = b"From: Alice <alice@example.org>\r\n"


def mail(content_type: str, body: str | bytes, more: str = "") -> Message:
    encoded = body if isinstance(body, bytes) else body.replace("\n", "\r\n").encode()
    return read(FROM + f"{more}Content-Type: {content_type}\r\n\r\n".encode() + encoded)


def mixed(body: str) -> Message:
    return mail("multipart/mixed; boundary=b", body)


# --- text --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "encoding", "body", "expected"),
    [
        ("text/plain; charset=utf-8", "8bit", "Grüße\r\n".encode(), "Grüße"),
        ("text/plain", "7bit", b"a\tb\r\nc", "a\tb\nc"),
        ("text/plain; charset=iso-8859-1", "quoted-printable", b"Gr=FC=DFe =\r\nan alle", "Grüße an alle"),
        ("text/plain; charset=utf-8", "base64", b"R3LDvMOfZQ==\r\n", "Grüße"),
        ("text/plain; charset=utf-8", "base64", b"R3LDvMOfZQ", "Grüß"),
        ("text/plain; charset=utf-8", "x-uuencode", b"raw", "raw"),
        ("text/plain; charset=utf-8", "8bit", b"\xff\xfe ok", "\ufffd\ufffd ok"),
        ("text/plain; charset=zlib", "8bit", "é".encode(), "é"),
        ("text/plain; charset=windows-1252", "8bit", b"\x80 5", "€ 5"),
        ("text/plain; charset=iso-2022-jp", "7bit", "日本".encode("iso-2022-jp"), "日本"),
        ("text/plain", "8bit", b"a\x08b\x1b[31m\x7f", "ab[31m"),
        ("text/plain", "8bit", "a\u202eb\u2066c\u200fd".encode(), "abcd"),
        ("text/html", "7bit", b"<p>Hi <script>x()</script>you</p>", "Hi you"),
        ("image/png", "base64", b"AAAA", ""),
    ],
)  # fmt: skip
def test_text_is_decoded_and_cleaned(
    content_type: str, encoding: str, body: bytes, expected: str
) -> None:
    message = mail(content_type, body, f"Content-Transfer-Encoding: {encoding}\r\n")
    assert body_text(message.root) == expected


def test_plain_text_wins_over_html_and_attached_text_is_no_body() -> None:
    message = mixed(
        "--b\nContent-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\nfile\n"
        "--b\nContent-Type: multipart/alternative; boundary=c\n\n"
        "--c\nContent-Type: text/html\n\n<b>html</b>\n--c\nContent-Type: text/plain\n\nplain\n--c--\n"
        "--b\n\nfooter\n--b--\n"
    )
    assert body_text(message.root) == "plain"
    assert [(one.name, one.content) for one in attachments(message.root)] == [("a.txt", b"file")]


def test_a_body_is_cut_at_64_kib() -> None:
    message = mail("text/plain; charset=utf-8", "é" * 200_000)
    text = body_text(message.root)
    assert len(text.encode()) == TEXT_MAX
    assert set(text) == {"é"}


def test_html_becomes_text_without_hidden_content() -> None:
    markup = (
        "<html><head><title>t</title><style>p{color:red}</style></head><body>"
        "<!-- secret --><p>Please <b>paint</b> the fence &amp; gate,</p><ul><li>red<li>blue</ul>"
        '<div>see <a href="https://example.org/?a=1&amp;b=2" onclick="x()">this</a>'
        ' or <a href="javascript:alert(1)">that</a><img src="https://t.example/pixel"></div>'
        "1 &lt; 2 &lt;script&gt;"
    )
    text = text_of_html(markup)
    assert "Please **paint** the fence & gate," in text
    assert "* red" in text
    assert "* blue" in text
    assert "[this](https://example.org/?a=1&b=2)" in text
    assert "that" in text
    assert "1 < 2 <script>" in text
    for hidden in ("secret", "color", "javascript", "pixel", "onclick"):
        assert hidden not in text


HOSTILE = [
    "<a " * 80_000, "<a/" * 80_000, "<" * 200_000, "<!--" * 60_000, "<!-" * 80_000, "<a href='" * 30_000,
    "<ul><li>" * 40_000, "<blockquote>" * 30_000, "<table><tr><td>" * 20_000, "</" * 100_000,
    "&#" * 100_000, "&lt;a " * 50_000, "<script>" + "</script" * 30_000, "<pre>\n" * 40_000,
    "<a" + " href" * 700 + ">", "<![CDATA[" * 30_000, "<?" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("markup", HOSTILE, ids=lambda markup: repr(markup[:12]))
@pytest.mark.timeout(20)
def test_hostile_html_stays_small_and_cheap(markup: str) -> None:
    """html.parser needs 36 s for 64 KiB of ``<a <a``; html2text makes 67 MB of nested lists."""
    assert len(text_of_html(markup)) <= 3 * 256 * 1024


@given(st.text(alphabet=st.sampled_from("<>/!-?&#;ab \"'=\nuli"), max_size=300))
def test_html_never_fails(markup: str) -> None:
    text_of_html(markup)


# --- cleaning ----------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_cleaned_text_is_stable_and_harmless(text: str) -> None:
    for cleaned in (clean_text(text), clean_line(text)):
        assert not [
            c for c in cleaned if unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t"
        ]
        assert not set(cleaned) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
        assert unicodedata.is_normalized("NFC", cleaned)
    assert "\n" not in clean_line(text)
    assert clean_text(clean_text(text)) == clean_text(text)


def test_long_runs_of_marks_are_cut_before_they_are_sorted() -> None:
    """NFC of 65,000 marks in turn took 3.3 s."""
    assert len(clean_text("a" + "\u0301\u0316" * 30_000)) < 100
    assert clean_text("привет" * 100) == "привет" * 100


def test_a_line_is_capped_in_characters() -> None:
    assert clean_line("  a\r\n\tb\u2028c  ") == "a b c"
    assert len(clean_line("x " * 600)) <= 500


# --- quotes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("done\n\nOn 1 May, Bob wrote:\n> paint\n> it\n", "done"),
        ("done\n\nOn Monday, 1 May 2026, Bob Example\n<bob@example.net> wrote:\n> paint", "done"),
        ("Am 1. Mai schrieb Bob:\n> paint\n\ndone\n-- \nAlice\n", "done"),
        ("done\n-- \nAlice\n> x", "done"),
        ("> why?\n\nbecause\n\n> when?\n\nnow", "because\n\n> when?\n\nnow"),
        ("first\n> why?\nbecause", "first\n> why?\nbecause"),
        ("done\n-----Original Message-----\nFrom: Bob", "done"),
        ("a list:\n- x\n- y", "a list:\n- x\n- y"),
        ("a -- b\n--- \nc", "a -- b\n--- \nc"),
        ("", ""),
        ("> only a quote", ""),
        ("\n\n", ""),
    ],
)
def test_the_quoted_mail_and_the_signature_are_dropped(text: str, expected: str) -> None:
    assert without_quotes(text) == expected


@given(st.text(alphabet=st.sampled_from("> :-@ab\n"), max_size=120))
def test_dropping_quotes_only_drops_lines(text: str) -> None:
    lines = iter(text.split("\n"))
    assert all(line in lines for line in without_quotes(text).split("\n") if line)


# --- attachments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\evil.exe", "evil.exe"),
        ("/", "attachment"),
        ("..", "attachment"),
        (".bashrc", "bashrc"),
        ("", "attachment"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\x00b\r\nc.txt", "ab c.txt"),
        ('a"b<c>|d*e?.txt', "a_b_c__d_e_.txt"),
        ("x" * 300 + ".tar", "x" * 109 + ".tar"),
        ("y" * 300, "y" * 120),
        ("Zeichnung über.pdf", "Zeichnung über.pdf"),
    ],
)
def test_a_name_is_rebuilt(sent: str, safe: str) -> None:
    assert safe_name(sent) == safe


@given(st.text(max_size=200))
def test_no_name_is_a_path(sent: str) -> None:
    name = safe_name(sent)
    assert 1 <= len(name) <= 120
    assert not set(name) & set('/\\\0\r\n"<>|*?:')
    assert not name.startswith(".")


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ("Content-Type: image/png; name=a.png", "a.png"),
        ("Content-Type: image/png\nContent-Disposition: attachment; filename=\"../b.png\"", "b.png"),
        ("Content-Type: image/png\nContent-Disposition: inline; filename*=utf-8''%e2%82%ac%2Fx.png", "x.png"),
        ("Content-Type: image/png\nContent-Disposition: attachment; filename*0*=utf-8''%c3%a9;\n filename*1=t.png", "ét.png"),
        ('Content-Type: image/png; name="=?utf-8?Q?=C3=A9.png?="', "é.png"),
        ("Content-Type: image/png\nContent-Disposition: attachment; filename=my file.png", "attachment"),
        ("Content-Type: image/png", "attachment"),
    ],
)  # fmt: skip
def test_an_attachment_has_name_type_and_bytes(headers: str, name: str) -> None:
    message = mixed(
        f"--b\n\ntext\n--b\n{headers}\nContent-Transfer-Encoding: base64\n\nAAEC\n--b--\n"
    )
    (found,) = attachments(message.root)
    assert (found.name, found.media_type, found.content) == (name, "image/png", b"\x00\x01\x02")


# --- protected headers (RFC 9788) --------------------------------------------------------------


def protected(inner: str, kind: str = 'hp="clear"') -> Message:
    outer = (
        b"To: outer@example.net\r\nSubject: outer\r\nMessage-ID: <outer@example.org>\r\n"
        b"Date: Tue, 17 Nov 2026 10:00:00 +0000\r\n"
    )
    body = (
        f"--b\nContent-Type: text/plain; {kind}\n{inner}\nText\n"
        "--b\nContent-Type: application/pkcs7-signature\n\nx\n--b--\n"
    ).replace("\n", "\r\n")
    head = b'Content-Type: multipart/signed; boundary=b; protocol="application/pkcs7-signature"\r\n\r\n'
    return read(FROM + outer + head + body.encode())


INNER = (
    "From: Alice <alice@example.org>\nTo: bob@example.net\nCc: carol@example.net\nSubject: inner\n"
    "Message-ID: <inner@example.org>\nDate: Mon, 16 Nov 2026 10:00:00 +0000\n"
)


def test_protected_headers_win() -> None:
    message = protected(INNER)
    found = headline(message, message.signature.content)
    assert (found.subject, found.to, found.cc) == (
        "inner",
        ("bob@example.net",),
        ("carol@example.net",),
    )
    assert found.message_id == "inner@example.org"
    assert found.date is not None
    assert found.date.day == 16
    assert found.protected >= {"subject", "to", "cc", "date", "message-id", "from"}


def test_what_hp_leaves_out_is_not_taken_from_outside() -> None:
    """Subject swap: the outer header is in nobody's hand."""
    message = protected("From: alice@example.org\n")
    found = headline(message, message.signature.content)
    assert (found.subject, found.to, found.date, found.message_id) == ("", (), None, "")


def test_the_old_form_protects_only_what_it_repeats() -> None:
    message = protected("Subject: inner\n", 'protected-headers="v1"')
    found = headline(message, message.signature.content)
    assert (found.subject, found.to) == ("inner", ("outer@example.net",))
    assert found.protected == {"subject"}


@pytest.mark.parametrize("kind", ['hp="clear"', "hp=cipher", 'protected-headers="v1"'])
def test_another_from_inside_is_refused(kind: str) -> None:
    message = protected(INNER.replace("alice@", "eve@"), kind)
    with pytest.raises(Untrusted) as caught:
        headline(message, message.signature.content)
    assert caught.value.code == "inner-from-differs"


@pytest.mark.parametrize("inner", ["Subject: inner\n", "From: alice@example.org (x)\n"])
def test_hp_without_a_plain_from_inside_is_refused(inner: str) -> None:
    message = protected(inner)
    with pytest.raises(Untrusted):
        headline(message, message.signature.content)


def test_headers_inside_count_only_with_the_mark() -> None:
    message = protected(INNER, "charset=utf-8")
    found = headline(message, message.signature.content)
    assert (found.subject, found.protected) == ("outer", frozenset())
    unsigned = headline(protected(INNER), None)
    assert (unsigned.subject, unsigned.protected) == ("outer", frozenset())


def test_bombs_inside_are_refused() -> None:
    message = protected("From: alice@example.org\nTo: " + "x@y.example, " * 300 + "\n")
    with pytest.raises(Invalid) as caught:
        headline(message, message.signature.content)
    assert caught.value.code == "too-many-addresses"


# --- any mail ----------------------------------------------------------------------------------

_FIELDS = st.sampled_from(
    [
        "Content-Type: text/plain; charset=utf-16", "Content-Type: text/html; charset=x; hp=clear",
        "Content-Type: image/png; name*=x'y'%zz%41", "Content-Type: text/calendar; name*0=a; name*1*=%0a",
        "Content-Disposition: attachment; filename*=utf-8''%00%2e%2e%2f", "Content-Disposition: ;;;",
        'Content-Disposition: inline; filename="=?utf-8?b?Ly4u?="', "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable", "From: alice@example.org", "To: x@y.example",
        "Subject: =?utf-16?q?=00?=", "Date: 1 Jan 0001 00:00 +2359", "X: y",
    ]
)  # fmt: skip


@given(st.lists(_FIELDS, max_size=5, unique=True), st.binary(max_size=60))
def test_any_part_gives_text_and_safe_names(fields: list[str], body: bytes) -> None:
    part = "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n" + body
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    try:
        message = read(FROM + head + part + b"\r\n--b--\r\n")
        found = headline(message, message.root.children[0])
    except BridgeError:
        return
    without_quotes(body_text(message.root)).encode()
    found.subject.encode()
    for one in attachments(message.root):
        assert not set(one.name) & set("/\\\0\r\n")
