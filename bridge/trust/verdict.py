"""What a check of origin found: a value, never an exception (mail-trust sections 3 and 4).

A verdict says who and what, not what it may do: policy decides that. Only a verdict of
level `Proof.PERSON` or `Proof.DOMAIN` names a proven author.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bridge.model.ids import Address, Digest
    from bridge.wire.mimepart import Part

_AHEAD_MAX: Final = timedelta(minutes=10)
_AGE_MAX: Final = timedelta(days=14)


class Method(StrEnum):
    """How the origin was checked."""

    SMIME = "smime"
    OPENPGP = "openpgp"
    DKIM = "dkim"
    NONE = "none"


class Proof(StrEnum):
    """Levels of section 3."""

    PERSON = "P"
    """A signature by the author's own key."""
    DOMAIN = "D"
    """The author's domain vouches for the mail."""
    NONE = "N"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one check of one mail."""

    method: Method
    level: Proof
    code: str
    """Stable reason: ``verified``, ``unsigned``, ``signer-is-not-author``, ..."""
    reason: str
    """One sentence for people, no capital and no full stop."""
    signer: Address | None = None
    """Whose key signed, also when that is not the author; None where nobody was proven."""
    fingerprint: str = ""
    """``sha256:`` and hex of the signer's certificate, or the key's own fingerprint."""
    signed_at: datetime | None = None
    """The signer's claim, UTC."""
    bound: bool = False
    """One of our recipients stands in the covered text (rule 15)."""
    fresh: bool = False
    """Signed at most 10 min after and 14 days before receipt (rule 16)."""
    content: Part | None = field(default=None, repr=False)
    """The tree that the signature covers, to be read instead of the mail; None below level P."""
    digest: Digest | None = None
    """SHA-256 of the covered bytes: the key of the replay check (rule 17)."""

    @property
    def proven(self) -> bool:
        """Tell whether the author is proven at any level."""
        return self.level is not Proof.NONE


def refused(method: Method, code: str, reason: str) -> Verdict:
    """Return a verdict of level N."""
    return Verdict(method=method, level=Proof.NONE, code=code, reason=reason)


def is_fresh(signed_at: datetime | None, received: datetime) -> bool:
    """Tell whether `signed_at` lies in the window of rule 16; a missing time does not."""
    if signed_at is None:
        return False
    return received - _AGE_MAX <= signed_at <= received + _AHEAD_MAX
