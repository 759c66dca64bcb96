"""One mail, read strictly, byte-exact and in linear time (mail-trust section 4, rules 1-7).

`read` promises a `Message` whose author is beyond doubt and whose parts are slices of the
delivered bytes, or raises `Invalid` with a stable code. Line ends: LMTP and IMAP deliver
CRLF; a mail that holds LF only (a file) is turned into CRLF once, here, before anything
is read, and every offset, digest and signature refers to that form. A bare CR, or LF and
CRLF mixed, is refused, since readers disagree about where such lines end.

What it does not do: decrypt, fetch, render, guess. Codes raised here: ``too-large``,
``nul-byte``, ``bare-cr``, ``bare-lf``, ``no-header``; others come from `headers` and
`mimepart`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from bridge.errors import Invalid
from bridge.model.ids import Address, Digest, digest_of, domain_of, parse_address
from bridge.wire.cleantext import clean_line
from bridge.wire.headers import check_limits, read_author
from bridge.wire.mimepart import Part, read_entity, strict_base64

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from bridge.wire.headers import Headers

SIZE_MAX: Final = 25 * 1024 * 1024
LOOP_HEADER: Final = "x-tx-bridge-loop"
"""Written on every mail that leaves the gateway; seen on one that comes in, it is a loop."""

_PKCS7_SIGNATURE: Final = frozenset(
    ("application/pkcs7-signature", "application/x-pkcs7-signature")
)
_PGP_SIGNATURE: Final = "application/pgp-signature"
_PKCS7_MIME: Final = frozenset(("application/pkcs7-mime", "application/x-pkcs7-mime"))
_SIG: Final = re.compile(
    r"[ \t\r\n]*+t=p[ \t\r\n]*+;[ \t\r\n]*+b=([A-Za-z0-9+/=\r\n \t]++);?\s*+\Z"
)
_TRACE: Final = frozenset(("received", "delivered-to", "return-path", "x-original-to"))
_ROBOTS: Final = frozenset(
    (
        "mailer-daemon", "postmaster", "noreply", "no-reply", "no_reply", "donotreply",
        "do-not-reply", "do_not_reply", "bounce", "bounces",
    )
)  # fmt: skip
_REPORTS: Final = frozenset(
    (
        "multipart/report", "message/delivery-status", "message/disposition-notification",
        "message/feedback-report",
    )
)  # fmt: skip


class SignatureKind(StrEnum):
    """What stands at the top of a mail (rule 6)."""

    NONE = "none"
    SMIME = "smime"
    """multipart/signed with a CMS signature beside the text."""
    OPAQUE = "opaque"
    """application/pkcs7-mime: the text is inside the CMS object."""
    PGP = "pgp"
    """multipart/signed with an OpenPGP signature (RFC 3156)."""
    UNOBTRUSIVE = "unobtrusive"
    """``Sig: t=p`` on the only part (draft-gallagher-email-unobtrusive-signatures)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The signature on top of a mail, unchecked."""

    kind: SignatureKind
    flaw: str = ""
    """With `NONE`: a code why something like a signature does not count; empty without one."""
    content: Part | None = None
    """The tree that is covered; None for `OPAQUE`, whose text only the CMS object holds."""
    signed: bytes = field(default=b"", repr=False)
    """The covered bytes exactly as delivered; empty for `OPAQUE`."""
    value: bytes = field(default=b"", repr=False)
    """The signature, transfer encoding removed: a CMS object or OpenPGP data."""


UNSIGNED: Final = Signature(kind=SignatureKind.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A mail that passed rules 1 to 7. Texts are cleaned; `headers.raw` gives fields as sent."""

    source: bytes = field(repr=False)
    """The whole mail with CRLF line ends."""
    headers: Headers = field(repr=False)
    author: Address
    mailbox: str
    """The author with the local part as spelled: what a certificate must name (rule 4)."""
    root: Part
    signature: Signature

    @property
    def subject(self) -> str:
        """The outer Subject, readable, at most 500 characters; no classic signature covers it."""
        return self.headers.text("subject")

    @property
    def message_id(self) -> str:
        """The id between the angle brackets; empty without a plain one. Chosen by the sender."""
        ids = self.headers.message_ids("message-id")
        return ids[0] if len(ids) == 1 else ""

    @property
    def date(self) -> datetime | None:
        """The outer Date in UTC: the sender's claim."""
        return self.headers.date()

    @property
    def references(self) -> tuple[str, ...]:
        """Ids of References, oldest first, at most 200."""
        return self.headers.message_ids("references")

    @property
    def in_reply_to(self) -> tuple[str, ...]:
        """Ids of In-Reply-To."""
        return self.headers.message_ids("in-reply-to")

    @property
    def to(self) -> tuple[Address, ...]:
        """Plain mailboxes of the outer To."""
        return self.headers.addresses("to")

    @property
    def cc(self) -> tuple[Address, ...]:
        """Plain mailboxes of the outer Cc."""
        return self.headers.addresses("cc")

    @property
    def return_path(self) -> str | None:
        """The envelope sender our own hop wrote on top; empty for ``<>``; None without one."""
        value = self.headers.raw("return-path")
        return None if value is None else clean_line(value.strip("<> \t"))

    @property
    def delivered_to(self) -> Address | None:
        """The topmost Delivered-To: the envelope recipient, ``+extension`` kept."""
        value = self.headers.raw("delivered-to")
        try:
            return None if value is None else parse_address(value.strip("<> \t"))
        except Invalid:
            return None

    @property
    def digest(self) -> Digest:
        """SHA-256 of the whole mail with CRLF line ends."""
        return digest_of(self.source)

    @property
    def content_digest(self) -> Digest:
        """SHA-256 of the mail without trace fields: equal for one mail that came two ways.

        It says nothing about the recipient: mail to two projects in Bcc has one content
        digest, so a journal must keep it together with the envelope recipient.
        """
        return digest_of(without_trace(self.source))

    @property
    def signed_digest(self) -> Digest | None:
        """SHA-256 of the covered bytes (rule 17); for an opaque mail of the CMS object."""
        match self.signature.kind:
            case SignatureKind.NONE:
                return None
            case SignatureKind.OPAQUE:
                return digest_of(self.signature.value)
            case _:
                return digest_of(self.signature.signed)

    def automatic(self, own_domains: Collection[str] = ()) -> str | None:
        """Return why this mail counts as sent by a program, or None (section 6.7).

        Args:
            own_domains: domains of Message-IDs that the gateway itself writes.
        """
        return automatic_reason(self, own_domains)


def read(raw: bytes) -> Message:
    """Return the mail in `raw`.

    Raises:
        Invalid: the mail breaks a rule; the code names which (module texts list them).
    """
    source = canonical(raw)
    root = read_entity(source)
    headers = root.headers
    check_limits(headers)
    author, mailbox = read_author(headers)
    return Message(
        source=source,
        headers=headers,
        author=author,
        mailbox=mailbox,
        root=root,
        signature=find_signature(root),
    )


def canonical(raw: bytes) -> bytes:
    """Return `raw` with CRLF line ends.

    Raises:
        Invalid: ``too-large``, ``nul-byte``, ``bare-cr``, ``bare-lf`` or ``no-header``.
    """
    if len(raw) > SIZE_MAX:
        raise Invalid("too-large", "the mail is larger than 25 MiB")
    if b"\0" in raw:
        raise Invalid("nul-byte", "the mail holds a NUL byte")
    feeds, returns = raw.count(b"\n"), raw.count(b"\r")
    if returns == 0 and feeds:
        raw = raw.replace(b"\n", b"\r\n")
        if len(raw) > SIZE_MAX:
            raise Invalid("too-large", "the mail is larger than 25 MiB")
    else:
        pairs = raw.count(b"\r\n")
        if returns != pairs:
            raise Invalid("bare-cr", "the mail holds a CR that ends no line")
        if feeds != pairs:
            raise Invalid("bare-lf", "the mail mixes LF and CRLF line ends")
    if not raw or raw.startswith(b"\r\n"):
        raise Invalid("no-header", "the mail has no header")
    return raw


def without_trace(source: bytes) -> bytes:
    """Return the mail without Received, Delivered-To, Return-Path and X-Original-To.

    All of them go, not only those of our own hop: two ways to us may part earlier.
    """
    end = source.find(b"\r\n\r\n")
    head, rest = (source, b"") if end < 0 else (source[: end + 2], source[end + 2 :])
    kept: list[bytes] = []
    keep = True
    for line in head.split(b"\r\n")[:-1]:
        if line[:1] not in (b" ", b"\t"):
            name = line.partition(b":")[0].lower().decode("ascii", "replace")
            keep = name not in _TRACE
        if keep:
            kept.append(line + b"\r\n")
    return b"".join(kept) + rest


def find_signature(root: Part) -> Signature:
    """Return what signature stands at the top of the tree (rules 6 and 7)."""
    kind = root.media_type
    if kind == "multipart/signed":
        return _detached(root)
    if kind in _PKCS7_MIME:
        return _opaque(root)
    if kind == "multipart/mixed" and len(root.children) == 1:
        return _unobtrusive(root.children[0])
    return UNSIGNED


def automatic_reason(message: Message, own_domains: Collection[str] = ()) -> str | None:
    """Return why `message` was sent by a program: a stable code, or None (section 6.7)."""
    headers = message.headers
    sent_by = (headers.raw("auto-submitted") or "no").partition(";")[0].strip(" \t").lower()
    sent_id = message.message_id
    checks = (
        ("loop", LOOP_HEADER in headers),
        ("auto-submitted", sent_by != "no"),
        ("precedence", (headers.raw("precedence") or "").lower() in {"bulk", "junk", "list"}),
        ("list", any(name.startswith("list-") for name in headers.topmost)),
        ("null-return-path", message.return_path == ""),
        ("robot-address", message.author.partition("@")[0] in _ROBOTS),
        ("report", message.root.media_type in _REPORTS),
        ("own-message-id", bool(sent_id) and domain_of(sent_id.lower()) in own_domains),
    )
    return next((code for code, applies in checks if applies), None)


def _flawed(flaw: str) -> Signature:
    return Signature(kind=SignatureKind.NONE, flaw=flaw)


def _detached(root: Part) -> Signature:
    if len(root.children) != 2:  # noqa: PLR2004 - RFC 1847 section 2.1: exactly two
        return _flawed("signed-parts")
    content, holder = root.children
    protocol = root.content_type.parameters.get("protocol", "").lower()
    if protocol != holder.media_type:
        return _flawed("protocol-mismatch")
    value = _leaf_bytes(holder)
    if value is None:
        return _flawed("signature-encoding")
    if protocol in _PKCS7_SIGNATURE:
        kind = SignatureKind.SMIME
    elif protocol == _PGP_SIGNATURE:
        kind = SignatureKind.PGP
    else:
        return _flawed("unknown-protocol")
    return Signature(kind=kind, content=content, signed=content.entity, value=value)


def _opaque(root: Part) -> Signature:
    kind = root.content_type.parameters.get("smime-type", "signed-data").lower()
    if kind != "signed-data":
        return _flawed("encrypted")
    value = _leaf_bytes(root)
    if value is None:
        return _flawed("signature-encoding")
    return Signature(kind=SignatureKind.OPAQUE, value=value)


def _unobtrusive(part: Part) -> Signature:
    name, raw = part.headers.fields[0] if part.headers.fields else ("", "")
    if name != "sig":
        return UNSIGNED
    found = _SIG.match(raw)
    value = strict_base64(found[1].encode("ascii")) if found else None
    if value is None or sum(1 for other in part.headers.names() if other == "sig") != 1:
        return _flawed("signature-encoding")
    # What is signed begins after the Sig field, folds included.
    skipped = len("sig:") + len(raw.encode("utf-8", "surrogateescape"))
    return Signature(
        kind=SignatureKind.UNOBTRUSIVE,
        content=part,
        signed=part.source[part.start + skipped : part.end],
        value=value,
    )


def _leaf_bytes(part: Part) -> bytes | None:
    if part.children:
        return None
    match part.encoding:
        case "base64":
            return strict_base64(part.body)
        case "" | "7bit" | "8bit" | "binary":
            return part.body
        case _:
            return None
