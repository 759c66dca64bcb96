"""Header fields of a mail or of a MIME part, read strictly and in linear time.

Promises (mail-trust section 4, rules 1 to 4): every byte of a header block belongs to one
well-formed field, a field on which two programs could disagree stands once, and From
names one mailbox or the mail is refused. Display names, comments and encoded words never
become an identity. All regular expressions here use possessive repeats over disjoint
character classes, so none can backtrack.

Refuses with `Invalid`: ``header-too-large``, ``too-many-headers``, ``folded-first-line``,
``bad-header-line``, ``duplicate-header``, ``no-from``, ``from-too-long``, ``bad-from``,
``too-many-addresses``, ``too-many-references``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from bridge.errors import Invalid
from bridge.model.ids import Address, domain_of, parse_address, parse_domain
from bridge.wire.cleantext import TITLE_MAX, clean_line
from bridge.wire.encodedword import decode_words

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_MAX: Final = 64 * 1024
FIELDS_MAX: Final = 400
FROM_MAX: Final = 998
LIST_MAX: Final = 200
_LOCAL_MAX: Final = 64
_DATE_MAX: Final = 100
_ID_MAX: Final = 998

_FIELD: Final = re.compile(r"(?m)^([!-9;-~]{1,76}+):([^\r]*+\r\n(?:[ \t]++[^ \t\r][^\r]*+\r\n)*+)")
_SINGLE: Final = frozenset(
    (
        "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id",
        "references", "in-reply-to", "mime-version",
    )
)  # fmt: skip
# An addr-spec that needs no quoting; UTF-8 letters are RFC 6531. Controls, blanks and
# every RFC 5322 special but "." are out.
_SPEC: Final = re.compile(
    r"([^\x00-\x20\x7f-\xa0\ud800-\udfff\"(),:;<>@\[\\\]]++)"
    r"@([^\x00-\x20\x7f-\xa0\ud800-\udfff\"(),:;<>@\[\\\]]++)\Z"
)
# Words and quoted strings without quoted pairs. "." is only obsolete syntax in a phrase,
# but "John Q. Public" is everywhere.
_PHRASE: Final = re.compile(
    r"(?:[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff\"(),:;<>@\[\\\]]++"
    r"|\"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff\"\\]*+\")*+\Z"
)
_ITEM: Final = re.compile(r"(?:[^\",()]++|\"(?:[^\"\\]++|\\.)*+\")++")
# Matched before the items are searched: a search over unbalanced quotes would be quadratic.
_LIST: Final = re.compile(r"(?:[^\"()]++|\"(?:[^\"\\]++|\\.)*+\")++\Z")
_MESSAGE_ID: Final = re.compile(r"<([!-;=?-~]{1,900}+)>")
_DATE: Final = re.compile(
    r"(?:[A-Za-z]{3},)?[ \t]*+(\d{1,2})[ \t]++([A-Za-z]{3})[ \t]++(\d{4})[ \t]++"
    r"(\d\d):(\d\d)(?::(\d\d))?[ \t]++(?:([+-])(\d\d)([0-5]\d)|GMT|UTC?|Z)(?![!-'*-~])"
)
_MONTHS: Final = dict(
    zip(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
        range(1, 13),
        strict=True,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """The fields of one block in their order; names compare without case."""

    fields: tuple[tuple[str, str], ...]
    """Lower-case name, raw value with its folds and final CRLF; undecodable bytes as surrogates."""
    topmost: dict[str, str]

    def __contains__(self, name: str) -> bool:
        """Tell whether a field `name` (lower case) stands here."""
        return name in self.topmost

    def names(self) -> Iterator[str]:
        """Return the lower-case names, topmost first, repeats included."""
        return (name for name, _ in self.fields)

    def raw(self, name: str) -> str | None:
        """Return the topmost field `name` unfolded, without outer blanks; None without one."""
        value = self.topmost.get(name)
        return None if value is None else value.replace("\r\n", "").strip(" \t")

    def text(self, name: str, limit: int = TITLE_MAX) -> str:
        """Return the field as readable text: RFC 2047 decoded and cleaned; empty without one."""
        value = self.raw(name)
        return clean_line(decode_words(value[: 16 * limit]), limit) if value else ""

    def addresses(self, name: str) -> tuple[Address, ...]:
        """Return the mailboxes of an address list; empty where the list is not plain.

        An entry that the scanner of From would refuse is left out: a list is used to bind a
        recipient, so leaving out is the safe side.
        """
        value = self.raw(name)
        return address_list(value) if value else ()

    def message_ids(self, name: str) -> tuple[str, ...]:
        """Return the ids between angle brackets of Message-ID, References or In-Reply-To."""
        value = self.raw(name)
        return tuple(_MESSAGE_ID.findall(value)[:LIST_MAX]) if value else ()

    def date(self, name: str = "date") -> datetime | None:
        """Return an RFC 5322 date in UTC; None where there is none that can be read."""
        value = self.raw(name)
        return _date(value[:_DATE_MAX]) if value else None


def read_headers(block: bytes) -> Headers:
    """Return the fields of `block`: whole lines that end in CRLF, without the blank line.

    Raises:
        Invalid: see the module's text.
    """
    if len(block) > BLOCK_MAX:
        raise Invalid("header-too-large", "the header of the mail is larger than 64 KiB")
    text = block.decode("utf-8", "surrogateescape")
    found = _FIELD.findall(text)
    if len(found) > FIELDS_MAX:
        raise Invalid("too-many-headers", "the mail has more than 400 header fields")
    if sum([len(name) + len(value) for name, value in found]) + len(found) != len(text):
        raise _broken(text)
    fields = tuple([(name.lower(), value) for name, value in found])
    topmost = dict(reversed(fields))
    if len(topmost) != len(fields):
        _refuse_repeats(fields)
    return Headers(fields=fields, topmost=topmost)


def check_limits(headers: Headers) -> None:
    """Refuse address and reference lists that are too long (rule 1).

    Raises:
        Invalid: ``too-many-addresses`` or ``too-many-references``.
    """
    topmost = headers.topmost
    for name in ("to", "cc", "bcc", "reply-to"):
        value = topmost.get(name)
        if value is not None and value.count(",") + value.count(";") >= LIST_MAX:
            raise Invalid("too-many-addresses", "the mail names more than 200 addresses")
    for name in ("references", "in-reply-to"):
        value = topmost.get(name)
        if value is not None and value.count("<") > LIST_MAX:
            raise Invalid("too-many-references", "the mail names more than 200 other mails")


def read_author(headers: Headers) -> tuple[Address, str]:
    """Return the one mailbox of From: as an address, and with its local part as spelled.

    The second form (domain as lower-case A-label) is what a certificate must name (rule 4).

    Raises:
        Invalid: ``no-from``, ``from-too-long`` or ``bad-from``.
    """
    value = headers.topmost.get("from")
    if value is None:
        raise Invalid("no-from", "the mail has no From field")
    if len(value.encode("utf-8", "surrogateescape")) > FROM_MAX:
        raise Invalid("from-too-long", "the From field is longer than 998 bytes")
    parsed = scan_mailbox(value.replace("\r\n", ""))
    if parsed is None:
        raise Invalid("bad-from", "the From field does not name exactly one plain mailbox")
    return parsed


def scan_mailbox(value: str) -> tuple[Address, str] | None:
    """Return the mailbox that `value` is (``a@b``, ``<a@b>`` or ``name <a@b>``), else None."""
    text = value.strip(" \t")
    spec = text
    if text.endswith(">"):
        phrase, bracket, spec = text[:-1].rpartition("<")
        if not bracket or not _PHRASE.match(phrase):
            return None
    parts = _SPEC.match(spec)
    # An encoded word is made of atext, so it would pass for a local part.
    if parts is None or "=?" in spec or "?=" in spec or spec.endswith("."):
        return None
    local = parts[1]
    if len(local.encode()) > _LOCAL_MAX:
        return None
    try:
        address = parse_address(spec)
        return address, f"{local}@{domain_of(address)}"
    except Invalid:
        return None


def exact_mailbox(local: str, domain: str) -> str:
    """Return the form in which two mailboxes are compared byte by byte (rule 4).

    Raises:
        Invalid: ``bad-domain``.
    """
    # A certificate is not to be read more kindly than a From.
    if domain != domain.strip().rstrip("."):
        raise Invalid("bad-domain", "the domain of a mailbox ends in a dot or has blanks")
    return f"{local}@{parse_domain(domain)}"


def address_list(value: str) -> tuple[Address, ...]:
    """Return the plain mailboxes of a comma-separated list; none at all where it has comments."""
    if not _LIST.match(value):
        return ()
    parsed = [scan_mailbox(item) for item in _ITEM.findall(value)[:LIST_MAX]]
    return tuple([found[0] for found in parsed if found is not None])


def _broken(text: str) -> Invalid:
    if text[:1] in (" ", "\t"):
        return Invalid("folded-first-line", "the mail begins with a continuation line")
    return Invalid("bad-header-line", "a line of the header is not a header field")


def _refuse_repeats(fields: tuple[tuple[str, str], ...]) -> None:
    seen = set()
    for name, _ in fields:
        if name in seen and (name in _SINGLE or name.startswith("content-")):
            raise Invalid("duplicate-header", f"the field {name} stands more than once", name=name)
        seen.add(name)


def _date(value: str) -> datetime | None:
    found = _DATE.match(value)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
    zone: timezone = UTC
    try:
        if sign:
            offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
            zone = timezone(-offset if sign == "-" else offset)
        # A leap second (60) is the second before it.
        moment = datetime(
            int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute),
            min(int(second or 0), 59), tzinfo=zone,
        )  # fmt: skip
        return moment.astimezone(UTC)
    except (ValueError, KeyError, OverflowError):
        return None
