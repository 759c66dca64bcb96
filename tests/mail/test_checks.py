"""The table of mail-trust section 6, step 3: every row, in its order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mail.checks import FORGERY, STEPS, Facts, Kind, decide
from bridge.model.request import Level
from bridge.store.directory_records import Standing

GOOD = Facts(
    level=Level.PERSON,
    code="verified",
    reason="the author signed the mail",
    standing=Standing.ALLOWED,
    bound=True,
    fresh=True,
)
UNPROVED = {"level": Level.NONE, "code": "unsigned", "reason": "the mail is not signed"}
ROWS = [
    ({}, Kind.TASK_OF_RECIPIENT, "allowed"),
    ({"level": Level.DOMAIN}, Kind.TASK_OF_RECIPIENT, "allowed"),
    ({"standing": Standing.KNOWN}, Kind.REQUEST, "known"),
    (
        {"standing": Standing.KNOWN, "auto_accept": frozenset({Level.PERSON})},
        Kind.TASK_OF_RECIPIENT,
        "known",
    ),
    (
        {
            "standing": Standing.KNOWN,
            "auto_accept": frozenset({Level.PERSON}),
            "level": Level.DOMAIN,
        },
        Kind.REQUEST,
        "known",
    ),
    ({"standing": Standing.UNKNOWN}, Kind.REQUEST, "unknown"),
    ({"standing": Standing.BLOCKED}, Kind.HIDE, "blocked"),
    ({"standing": Standing.IGNORED}, Kind.HIDE, "ignored"),
    ({"standing": Standing.BLOCKED, "code": "cms-digest"}, Kind.HIDE, "blocked"),
    (UNPROVED, Kind.REQUEST, "unsigned"),
    ({**UNPROVED, "standing": Standing.UNKNOWN}, Kind.REQUEST, "unsigned"),
    ({**UNPROVED, "standing": Standing.BLOCKED}, Kind.HIDE, "blocked"),
    ({**UNPROVED, "code": "expired"}, Kind.REJECT, "expired"),
    ({"automatic": "list"}, Kind.TASK_OF_RECIPIENT, "allowed"),
    ({"automatic": "list", "standing": Standing.KNOWN}, Kind.REJECT, "automatic"),
    ({**UNPROVED, "automatic": "list"}, Kind.REJECT, "automatic"),
    ({"automatic": "loop"}, Kind.REJECT, "loop"),
    ({"bound": False}, Kind.REQUEST, "unbound"),
    ({"fresh": False}, Kind.REQUEST, "stale"),
    ({"key_changed": True}, Kind.REQUEST, "key-changed"),
    ({"message_id_reused": True}, Kind.REQUEST, "message-id-reused"),
    ({"member": True, "standing": Standing.UNKNOWN}, Kind.TASK_OF_SENDER, "member"),
    ({"member": True, "standing": Standing.BLOCKED}, Kind.HIDE, "blocked"),
    ({"member": True, "bound": False}, Kind.REQUEST, "unbound"),
    (
        {"member": True, "level": Level.DOMAIN, "standing": Standing.UNKNOWN},
        Kind.REQUEST,
        "unknown",
    ),
    ({**UNPROVED, "member": True}, Kind.REQUEST, "unsigned"),
]


@pytest.mark.parametrize(("changes", "kind", "code"), ROWS)
def test_row_of_the_accept_policy(changes: dict[str, object], kind: Kind, code: str) -> None:
    decision = decide(replace(GOOD, **changes))  # type: ignore[arg-type]  # mixed keyword values
    assert (decision.kind, decision.code) == (kind, code)
    assert decision.step in {step.__name__ for step in STEPS}
    assert decision.reason


def facts() -> st.SearchStrategy[Facts]:
    return st.builds(
        Facts,
        level=st.sampled_from(list(Level)),
        code=st.sampled_from(["verified", "unsigned", "untrusted-chain", *sorted(FORGERY)]),
        reason=st.just("because"),
        standing=st.sampled_from(list(Standing)),
        auto_accept=st.sets(st.sampled_from([Level.PERSON, Level.DOMAIN])).map(frozenset),
        automatic=st.sampled_from(["", "list", "loop"]),
        bound=st.booleans(),
        fresh=st.booleans(),
        key_changed=st.booleans(),
        member=st.booleans(),
        message_id_reused=st.booleans(),
    )


@given(facts())
def test_no_combination_lets_the_unproved_in_or_answers_them(case: Facts) -> None:
    decision = decide(case)
    made = decision.kind in (Kind.TASK_OF_SENDER, Kind.TASK_OF_RECIPIENT)
    if made:
        assert case.level is not Level.NONE
        assert case.bound
        assert case.fresh
        assert not case.key_changed
        assert case.standing not in (Standing.BLOCKED, Standing.IGNORED)
        assert case.code not in FORGERY
    if decision.answer:
        assert case.level is not Level.NONE
        assert not case.automatic
        assert case.code not in FORGERY
        assert decision.kind not in (Kind.HIDE, Kind.REJECT)


@given(facts())
def test_strangers_are_quarantined(case: Facts) -> None:
    decision = decide(case)
    if decision.kind is Kind.REQUEST and case.standing is Standing.UNKNOWN:
        assert decision.quarantined
