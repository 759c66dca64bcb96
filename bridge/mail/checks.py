"""What may become of a mail: pure steps, each with a name and a reason code.

Mail-trust section 6, step 3 as one table, with the rules of section 4 that lead to it. A
step looks at `Facts` and returns a `Decision` or leaves the mail to the next; the first
that decides wins. No step knows mail servers, storage or clocks.

The decisions: *task* (as its sender, or as the recipient), *request* (in quarantine unless
the sender is known), *hide* (blocked or ignored: kept, never shown, never answered) and
*reject* (kept aside with the reason in the event log, never answered: rule 25).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from bridge.model.request import Level
from bridge.store.directory_records import Standing

if TYPE_CHECKING:
    from collections.abc import Callable


class Kind(StrEnum):
    """What becomes of a mail."""

    TASK_OF_SENDER = "task-of-sender"
    TASK_OF_RECIPIENT = "task-of-recipient"
    REQUEST = "request"
    HIDE = "hide"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a mail when it is judged.

    Attributes:
        level: proof of origin; `code` and `reason` are those of the verdict.
        standing: the sender's row of the recipient's policy.
        auto_accept: levels at which a known sender's tasks need no click.
        bound: our recipient stands in the signed text, or in To or Cc.
        fresh: signed within the window of rule 16.
        automatic: why the mail counts as sent by a program; empty for a person.
        key_changed: a contact signed with a key that is not among its pins.
        member: the sender may create tasks in the project that the address names.
        message_id_reused: other bytes came under this Message-ID (rule 17).
    """

    level: Level
    code: str
    reason: str
    standing: Standing
    auto_accept: frozenset[Level] = frozenset()
    bound: bool = False
    fresh: bool = False
    automatic: str = ""
    key_changed: bool = False
    member: bool = False
    message_id_reused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is done with a mail, decided by `step` for `reason`.

    Attributes:
        code: stable, for the event log and the journal.
        answer: the sender may hear of it (the caps of the outbox still apply).
        quarantined: for a request: the recipient does not know the sender.
    """

    kind: Kind
    code: str
    reason: str
    step: str = ""
    answer: bool = False
    quarantined: bool = False


FORGERY: Final = frozenset(
    (
        "cms-digest", "cms-signature", "signer-is-not-author", "inner-from-differs",
        "expired", "not-yet-valid", "revoked",
    )
)  # fmt: skip
"""Verdicts of a signature that was made to deceive or no longer counts: the mail is rejected.

Other flaws (an authority nobody configured, a weak algorithm) make it unverified only.
"""
LOOPS: Final = frozenset(("loop", "own-message-id"))
_SHUT_OUT: Final = frozenset((Standing.BLOCKED, Standing.IGNORED))


def check_forgery(facts: Facts) -> Decision | None:
    """Reject a signature that does not hold (rules 9, 11, 13, 14)."""
    if facts.code in FORGERY:
        return Decision(kind=Kind.REJECT, code=facts.code, reason=facts.reason)
    return None


def check_loop(facts: Facts) -> Decision | None:
    """Reject what the gateway itself has sent (section 6.7)."""
    if facts.automatic in LOOPS:
        return Decision(kind=Kind.REJECT, code="loop", reason="the mail was sent by this gateway")
    return None


def check_lists(facts: Facts) -> Decision | None:
    """Hide mail of senders that the recipient blocked or ignores; forged names too."""
    if facts.standing in _SHUT_OUT:
        reason = f"the recipient has {facts.standing} the sender"
        return Decision(kind=Kind.HIDE, code=facts.standing, reason=reason)
    return None


def check_automatic(facts: Facts) -> Decision | None:
    """Reject mail of programs unless its proven author is allowed (rule 24: login codes)."""
    if not facts.automatic:
        return None
    if facts.standing is Standing.ALLOWED and facts.level is not Level.NONE:
        return None
    return Decision(
        kind=Kind.REJECT,
        code="automatic",
        reason=f"the mail was sent by a program ({facts.automatic})",
    )


def check_proof(facts: Facts) -> Decision | None:
    """Make a request of mail without proof of origin, whoever it claims to be from."""
    if facts.level is not Level.NONE:
        return None
    return _request(facts, facts.code, f"unverified: {facts.reason}", known=False)


def check_key(facts: Facts) -> Decision | None:
    """Make a request where a contact signs with a key that nobody has confirmed."""
    if not facts.key_changed:
        return None
    return _request(facts, "key-changed", "the sender signs with another key", known=False)


def check_reuse(facts: Facts) -> Decision | None:
    """Make a request of other bytes under a Message-ID that came before (rule 17)."""
    if not facts.message_id_reused:
        return None
    return _request(facts, "message-id-reused", "another mail came under the same Message-ID")


def check_binding(facts: Facts) -> Decision | None:
    """Make a request of mail that was not written to this recipient (rule 15)."""
    if facts.bound:
        return None
    return _request(facts, "unbound", "the mail does not name this recipient")


def check_freshness(facts: Facts) -> Decision | None:
    """Make a request of mail that was signed long ago, or in the future (rule 16)."""
    if facts.fresh:
        return None
    return _request(facts, "stale", "the mail was not signed within the last 14 days")


def check_member(facts: Facts) -> Decision | None:
    """Let a member write into the project that the address names, by the member's own role."""
    if not facts.member or facts.level is not Level.PERSON:
        return None
    return Decision(
        kind=Kind.TASK_OF_SENDER,
        code="member",
        reason="the sender may create tasks in the project",
        answer=True,
    )


def check_standing(facts: Facts) -> Decision:
    """Accept for the recipient what the recipient lets happen without a click."""
    allowed = facts.standing is Standing.ALLOWED
    if allowed or (facts.standing is Standing.KNOWN and facts.level in facts.auto_accept):
        return Decision(
            kind=Kind.TASK_OF_RECIPIENT,
            code=facts.standing,
            reason=f"the recipient has this sender among the {facts.standing} contacts",
            answer=True,
        )
    return _request(facts, facts.standing, f"the sender is {facts.standing} to the recipient")


STEPS: Final[tuple[Callable[[Facts], Decision | None], ...]] = (
    check_loop,
    check_lists,
    check_forgery,
    check_automatic,
    check_proof,
    check_key,
    check_reuse,
    check_binding,
    check_freshness,
    check_member,
    check_standing,
)
"""In their order: a blocked sender is hidden whatever the signature, before any work for it."""


def decide(facts: Facts) -> Decision:
    """Return what becomes of a mail, with the name of the step that said so."""
    for step in STEPS:
        decision = step(facts)
        if decision is not None:
            answer = decision.answer and not facts.automatic
            return replace(decision, step=step.__name__, answer=answer)
    raise AssertionError("the last step decides")


def _request(facts: Facts, code: str, reason: str, *, known: bool | None = None) -> Decision:
    if known is None:
        known = facts.standing in (Standing.ALLOWED, Standing.KNOWN)
    return Decision(
        kind=Kind.REQUEST,
        code=code,
        reason=reason,
        answer=facts.level is not Level.NONE,
        quarantined=not known,
    )
