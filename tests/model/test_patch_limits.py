"""What no patch may hold, whoever sends it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from bridge.errors import Invalid
from bridge.model import canonical
from bridge.model.patch import MAX_VALUE, read_patch

GOOD: dict[str, Any] = {
    "tx": 1, "type": "patch", "project": "p1@b.example",
    "subject": "00000000000000000000000000000001-p1@b.example",
    "nonce": "LUQLlRaM77xwLwr76bRNkQ", "replica": "a.example/r7", "n": 2,
    "base": {"seq": 0, "hash": "sha256:" + "0" * 64},
    "author": "alice@a.example", "at": "2026-01-01T00:00:01.500Z", "via": "caldav",
    "ops": [{"op": "set", "key": "description", "value": "Buy"}],
}  # fmt: skip


def changed(**members: object) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **members}


def test_a_plain_patch_is_read() -> None:
    assert read_patch(GOOD).author == "alice@a.example"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (changed(tx=2), "bad-json"),
        (changed(n=0), "bad-json"),
        (changed(n=True), "bad-json"),
        (changed(at="2026-01-01"), "bad-json"),
        (changed(nonce="short"), "bad-json"),
        (changed(via="telepathy"), "bad-json"),
        (changed(author="../../etc/passwd@x"), "bad-address"),
        (changed(project="../p@b.example"), "bad-project"),
        (changed(subject="1-p1@b.example"), "bad-subject"),
        (changed(replica="a/../../r"), "bad-json"),
        (changed(ops=[]), "bad-op"),
        (changed(ops=[{"op": "append", "key": "a", "value": "b"}]), "bad-op:0"),
        (changed(ops=[{"op": "set", "key": "", "value": "b"}]), "bad-op:0"),
        (changed(ops=[{"op": "set", "key": "a\nb", "value": "b"}]), "bad-op:0"),
        (changed(ops=[{"op": "set", "key": "a", "value": "b\0"}]), "bad-op:0"),
        (changed(ops=[{"op": "set", "key": "a", "value": "é" * MAX_VALUE}]), "bad-op:0"),
        (changed(ops=[{"op": "create"}, {"op": "set", "key": "a", "value": 7}]), "bad-op:1"),
        (changed(ops=[{"op": "member", "user": "x@y", "role": "king"}]), "bad-op:0"),
        (changed(ops=[{"op": "create"}] * 1001), "too-many"),
        (changed(base={"seq": -1, "hash": GOOD["base"]["hash"]}), "bad-json"),
        (changed(base={"seq": 1, "hash": "md5:00"}), "bad-digest"),
    ],
)
def test_a_patch_that_breaks_the_form_is_refused(document: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_patch(document)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'{"a":1,"a":2}',
        b'{"a":1.5}',
        b'{"a":NaN}',
        b'{"a":9007199254740992}',
        b'{"a":"\\ud800"}',
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a":' + b"[" * 17 + b"]" * 17 + b"}",
        b"\xff\xfe",
        b"{",
    ],
)
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        canonical.parse(text, limit=1 << 20)
    assert caught.value.code == "bad-json"


def test_a_document_over_its_limit_is_not_even_parsed() -> None:
    with pytest.raises(Invalid) as caught:
        canonical.parse(json.dumps({"a": "x" * 100}).encode(), limit=50)
    assert caught.value.code == "too-large"
