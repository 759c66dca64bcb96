"""Mail about mail: the acknowledgement to an author, the notice to a recipient.

Promises (mail-trust sections 4 and 6, rule 23): plain text, the null envelope sender, every
header that keeps programs from answering, nothing quoted back from the body, and To is the
From of the mail, nobody else. Texts are in English for now; the user's language comes with
the mail issue. Header values come from cleaned texts, so none can hold a line end.

The notice is text only: its iTIP part comes with the mail issue.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from email.header import Header
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from bridge.mail.checks import Kind
from bridge.model.request import Level
from bridge.store.directory_records import Letter, LetterKind
from bridge.wire.cleantext import clean_line
from bridge.wire.message import LOOP_HEADER

if TYPE_CHECKING:
    import uuid

    from bridge.mail.case import Case, Result
    from bridge.mail.draft import Draft
    from bridge.wire.message import Message

_REFERENCES_MAX: Final = 20
_SUPPRESS: Final = frozenset(("all", "autoreply"))
_PROOF: Final = {
    Level.PERSON: "signed by the sender",
    Level.DOMAIN: "vouched for by the sender's domain",
    Level.NONE: "not proven to be from the sender",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The mail that is written about, and what came of it.

    Attributes:
        id_host: host of Message-IDs that only this gateway writes.
    """

    case: Case
    result: Result
    draft: Draft
    id_host: str


def may_be_answered(case: Case) -> bool:
    """Tell whether the author's own headers allow an answer, and one can be addressed."""
    message = case.message
    asked = (message.headers.raw("x-auto-response-suppress") or "").lower()
    if _SUPPRESS & {word.strip() for word in asked.split(",")}:
        return False
    return message.mailbox.isascii() and case.recipient.address.isascii()


def acknowledgement(about: About, identity: uuid.UUID) -> Letter:
    """Return what the author hears: what was understood, what was not, and where it is."""
    case, result, draft = about.case, about.result, about.draft
    lines = [_opening(about), "", *_task_lines(draft)]
    if result.task is not None:
        lines += ["", f"Task: {result.task}"]
    if draft.unread:
        lines += ["", "Not understood, kept as text:"]
        lines += [f"  {clean_line(line, 200)}" for line in draft.unread]
    lines += ["", "You need not answer this mail.", ""]
    return _letter(about, identity, case.message.mailbox, f"Re: {draft.title}", lines)


def notice(about: About, identity: uuid.UUID) -> Letter:
    """Return what the recipient hears of a request by somebody known."""
    case, draft = about.case, about.draft
    lines = [
        f"{case.message.author} asks you to take a task ({_PROOF[case.level]}).",
        "",
        *_task_lines(draft),
        "",
        "It waits in your Requests list: complete or move it to accept, delete it to decline.",
        f"To hear no more of this sender, block {case.message.author} there.",
        "",
    ]
    user = case.recipient.user.address
    return _letter(about, identity, user, f"Request: {draft.title}", lines, notice=True)


def _opening(about: About) -> str:
    who = about.case.recipient.user
    name = clean_line(who.name, 100) or who.address
    if about.result.decision.kind is Kind.TASK_OF_SENDER:
        return f"Your task was added to the project {about.result.project}."
    if about.result.task is not None:
        return f"Your task was added to the list of {name}."
    return f"Your request has arrived. {name} will see it and may accept or decline it."


def _task_lines(draft: Draft) -> list[str]:
    lines = [f"  Title: {draft.title}"]
    for key, label in (
        ("due", "Due"),
        ("start", "Start"),
        ("wait", "Wait"),
        ("priority", "Priority"),
        ("status", "Status"),
    ):
        if key in draft.keys:
            lines.append(f"  {label}: {draft.keys[key]}")
    tags = [key.removeprefix("tag_") for key in draft.keys if key.startswith("tag_")]
    if tags:
        lines.append(f"  Tags: {', '.join(tags)}")
    if draft.files:
        lines.append(f"  Files: {', '.join(one.name for one in draft.files)}")
    return lines


def _letter(
    about: About,
    identity: uuid.UUID,
    to: str,
    subject: str,
    lines: list[str],
    *,
    notice: bool = False,
) -> Letter:
    case = about.case
    kind = "notice" if notice else "answer"
    headers = [
        ("From", case.recipient.address),
        ("To", to),
        ("Subject", encoded(clean_line(subject, 200))),
        ("Date", format_datetime(case.now)),
        ("Message-ID", f"<{case.origin.hex}.{kind}@{about.id_host}>"),
        *([] if notice else threading_of(case.message)),
        ("Auto-Submitted", "auto-generated" if notice else "auto-replied"),
        ("X-Auto-Response-Suppress", "All"),
        (LOOP_HEADER.title(), str(case.origin)),
        ("MIME-Version", "1.0"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "quoted-printable"),
    ]
    head = "".join([f"{name}: {value}\r\n" for name, value in headers])
    body = binascii.b2a_qp("\n".join(lines).encode(), istext=True).replace(b"\n", b"\r\n")
    return Letter(
        id=identity,
        key=f"mail:{case.origin}:{kind}",
        recipient=case.recipient.user.address if notice else case.message.author,
        sender="",
        kind=LetterKind.NOTICE if notice else LetterKind.ANSWER,
        raw=head.encode() + b"\r\n" + body,
        not_before=case.now,
    )


def threading_of(message: Message) -> list[tuple[str, str]]:
    """Return In-Reply-To and References; written by hand, since `email` breaks long ids."""
    if not message.message_id:
        return []
    replied = f"<{message.message_id}>"
    references = [f"<{one}>" for one in message.references[-_REFERENCES_MAX:]]
    return [("In-Reply-To", replied), ("References", "\r\n ".join([*references, replied]))]


def encoded(subject: str) -> str:
    """Return a Subject in ASCII (RFC 2047)."""
    if subject.isascii():
        return subject
    return Header(subject, "utf-8", header_name="Subject").encode(linesep="\r\n")
