"""What an SMTP or LMTP client is told of its mail: reply and enhanced codes (RFC 3463)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.mail.case import Disposition, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.mail.case import Taken

_REFUSED: Final = {
    "too-large": "552 5.3.4",
    "loop": "554 5.4.6",
    "line-too-long": "500 5.5.2",
    "unknown-recipient": "550 5.1.1",
}
NOBODY: Final = "550 5.1.1 there is no such user here"
LATER: Final = "451 4.3.2 try again later"


def code_of(status: str) -> str:
    """Return our reason code of a reply's two codes; ``busy`` where it has none."""
    return next((code for code, said in _REFUSED.items() if said == status), "busy")


def to_recipient(taken: Taken, source: Source) -> str:
    """Return what is said of one recipient."""
    if taken.disposition is Disposition.LATER:
        return f"451 4.3.2 {_plain(taken.reason)}"
    if taken.disposition is Disposition.UNKNOWN_RECIPIENT:
        return f"550 5.1.1 {_plain(taken.reason)}"
    if taken.disposition is Disposition.REJECTED and taken.tell and source is Source.SMTP:
        return f"{_REFUSED.get(taken.code, '554 5.7.1')} {_plain(taken.reason)} ({taken.code})"
    return "250 2.0.0 OK"


def to_all(answers: Sequence[str]) -> str:
    """Return the one answer that SMTP gives for all recipients.

    250 only if no recipient must wait; a refusal only if every recipient is refused.
    """
    for first in ("4", "2"):
        for one in answers:
            if one.startswith(first):
                return one
    return answers[0]


def _plain(reason: str) -> str:
    return reason.encode("ascii", "replace").decode("ascii").replace("\r", " ").replace("\n", " ")
