"""The conformance vectors of the protocol, run against the model."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import Corrupt, Invalid
from bridge.model import canonical
from bridge.model.ids import KeyId, ProjectId, TaskId
from bridge.model.log import Entry, Fold, entry_of, replay, unsigned_head
from bridge.model.merge import Accepted, Duplicate, Refusal, decide
from bridge.model.patch import read_patch
from bridge.model.state import ProjectState
from bridge.trust.patchsig import ENTRY, DomainKey, SignatureChecker, good_signers

VECTORS = Path(__file__).parent.parent / "vectors"
JCS = json.loads((VECTORS / "jcs.json").read_text())["cases"]
LOG = json.loads((VECTORS / "tx-log.json").read_text())
MERGE = json.loads((VECTORS / "tx-merge.json").read_text())["cases"]
P1 = ProjectId("p1@b.example")
KEYS = {KeyId(kid): key["public"] for kid, key in LOG["keys"].items()}
MERGE_TS = "2026-01-01T00:00:10.000Z"  # the time that the vectors' own master used
LINES = [step["line"] for step in LOG["steps"] if "line" in step]


def as_line(document: dict[str, Any]) -> bytes:
    return canonical.canonical(document)


@pytest.mark.parametrize("case", JCS, ids=lambda case: case["name"])
def test_canonical_form_is_that_of_rfc_8785(case: dict[str, str]) -> None:
    value = json.loads(base64.b64decode(case["input_base64"]))
    assert canonical.rfc8785(value) == base64.b64decode(case["canonical_base64"])


def test_documents_have_the_same_canonical_bytes_as_rfc_8785() -> None:
    example = LOG["canonical_example"]
    assert canonical.canonical(example["patch"]).decode() == example["canonical"]
    assert canonical.rfc8785(example["patch"]).decode() == example["canonical"]
    assert read_patch(example["patch"]).id == example["patch_id"]


def submit(fold: Fold, document: dict[str, Any], ts: str) -> Accepted | Duplicate | Refusal:
    """Do what a master does with an unsigned patch."""
    try:
        patch = read_patch(document)
    except Invalid as error:
        code, _, op = error.code.partition(":")
        return Refusal(code, int(op) if op else None)
    task = None if patch.on_project else fold.tasks.get(TaskId(patch.subject))
    verdict = decide(patch, fold.project, task, fold, ts)
    if isinstance(verdict, Accepted):
        head, body = unsigned_head(patch, verdict.skipped, fold.project, ts)
        fold.add(entry_of({"head": head, "body": body}))
    return verdict


def shown(fold: Fold) -> dict[str, Any]:
    return {
        "tasks": {task: state.keys for task, state in fold.tasks.items()},
        "members": {user: m.role.value for user, m in fold.project.members.items()},
        "policy": dict(fold.project.policy),
    }


@pytest.mark.parametrize("case", MERGE, ids=lambda case: case["name"])
def test_merge_case(case: dict[str, Any]) -> None:
    fold = Fold(project=ProjectState(id=P1))
    for document in case["setup"]:
        assert isinstance(submit(fold, document, document["at"]), Accepted)
    for step in case["submit"]:
        verdict = submit(fold, step["patch"], MERGE_TS)
        if step["result"] == "committed":
            assert isinstance(verdict, Accepted), verdict
            assert [skip.document() for skip in verdict.skipped] == step["skipped"]
            assert fold.project.seq == step["seq"]
        elif step["result"] == "duplicate":
            assert isinstance(verdict, Duplicate)
        else:
            assert isinstance(verdict, Refusal)
            assert str(verdict) == step["error"]
    assert shown(fold) == case["state"]


def test_every_step_of_the_log_is_reproduced() -> None:
    checker = SignatureChecker(first_keys={KeyId("b.example/k1"): KEYS[KeyId("b.example/k1")]})
    fold = Fold(project=ProjectState(id=P1), checker=checker)
    for step in LOG["steps"]:
        if "line" not in step:
            ts = max(fold.project.ts, step["refused"]["at"])
            assert str(submit(fold, step["refused"], ts)) == step["error"]
            continue
        entry = entry_of(step["line"])
        fold.add(entry)
        assert fold.project.seq == step["head"]["seq"]
        assert fold.project.hash == step["head"]["hash"]
        assert shown(fold) == step["state"]
        assert json.loads(entry.line) == step["line"]


def test_the_master_writes_the_very_bytes_of_the_log() -> None:
    """Signing is deterministic, so our master's log of the same patches is the same log."""
    key = DomainKey.from_seed(
        KeyId("b.example/k1"), bytes.fromhex(LOG["keys"]["b.example/k1"]["seed_hex"])
    )
    fold = Fold(project=ProjectState(id=P1))
    for line in LINES:
        patch = read_patch(line["body"]["patch"])
        task = None if patch.on_project else fold.tasks.get(TaskId(patch.subject))
        verdict = decide(patch, fold.project, task, fold, line["head"]["ts"])
        assert isinstance(verdict, Accepted)
        head, body = unsigned_head(patch, verdict.skipped, fold.project, line["head"]["ts"])
        document = {"head": key.sign(ENTRY, head), "body": body}
        assert as_line(document) == as_line(line)
        fold.add(entry_of(document))


@pytest.mark.parametrize("case", LOG["invalid_logs"], ids=lambda case: case["name"])
def test_a_damaged_log_is_found_and_the_damage_named(case: dict[str, Any]) -> None:
    checker = SignatureChecker(first_keys={KeyId("b.example/k1"): KEYS[KeyId("b.example/k1")]})
    with pytest.raises(Corrupt) as caught:
        replay(P1, map(as_line, case["lines"]), checker)
    assert caught.value.code == case["expect"]


def test_two_signed_heads_at_one_position_prove_a_fork() -> None:
    one, two = LOG["fork"]
    assert one["seq"] == two["seq"]
    assert canonical.hash_of(one) != canonical.hash_of(two)
    for head in (one, two):
        assert good_signers(ENTRY, head, KEYS) == ({KeyId("b.example/k1")}, False)


def test_no_entry_of_the_log_can_be_changed_unseen() -> None:
    """Each byte of meaning in a line is covered by some check."""
    checker = SignatureChecker(first_keys={KeyId("b.example/k1"): KEYS[KeyId("b.example/k1")]})
    for position in range(len(LINES)):
        for path in (("head", "ts"), ("head", "prev"), ("body", "patch", "at")):
            lines = json.loads(json.dumps(LINES))
            place: Any = lines[position]
            for name in path[:-1]:
                place = place[name]
            old = place[path[-1]]
            place[path[-1]] = old[:-2] + ("1" if old[-2] != "1" else "2") + old[-1]
            with pytest.raises(Corrupt) as caught:
                replay(P1, map(as_line, lines), checker)
            assert caught.value.fields["seq"] == position + 1


def test_entry_round_trips_through_its_line() -> None:
    for line in LINES:
        entry: Entry = entry_of(line)
        assert entry.line == as_line(line)
