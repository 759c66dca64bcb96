"""Identifiers: what is one, what is not, and that none can name a path."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import Invalid
from bridge.model import ids

HEX = "0" * 31 + "1"


def test_addresses_and_domains_are_lower_case_a_labels() -> None:
    assert ids.parse_address("Alice.B+x@BÜCHER.Example") == "alice.b+x@xn--bcher-kva.example"
    assert ids.parse_domain("Tasks.Example.COM.") == "tasks.example.com"


@pytest.mark.parametrize(
    "text",
    ["", "alice", "@b", "a@", "a b@c.d", "a/b@c.d", "../x@c.d", "a@b/c", "a@..", "a@-b.c", "a%2f@c.d",
     "a\x00@c.d", "a@c.d\n", '"a/b"@c.d', "a" * 65 + "@c.d", "a@" + "b" * 64 + ".c"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        ids.parse_address(text)


@pytest.mark.parametrize("text", ["p1", "a/b@c.d", "..@c.d", ".a@c.d", f"{HEX}-p1@b.example"])
def test_what_is_no_project_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        ids.parse_project(text)


@pytest.mark.parametrize(
    "text", ["", HEX, f"{HEX}-", f"{HEX.upper()[:31]}G-p@b", f"{HEX}_p1@b.example"]
)
def test_what_is_no_task_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        ids.parse_task(text)


def test_a_task_id_splits_one_way_only() -> None:
    task = ids.parse_task(f"{HEX}-p1@b.example")
    assert ids.project_of(task) == "p1@b.example"
    assert ids.task_hex(task) == HEX
    project = ids.parse_project("p1@b.example")
    assert ids.project_of(project) == project
    assert ids.task_id(uuid.UUID(int=1), project) == task


def test_importing_a_foreign_uid_twice_is_one_task() -> None:
    project = ids.parse_project("p1@b.example")
    assert ids.imported_task(project, "x") == ids.imported_task(project, "x")
    assert ids.imported_task(project, "x") != ids.imported_task(project, "y")
    other = ids.parse_project("p2@b.example")
    assert ids.task_hex(ids.imported_task(project, "x")) != ids.task_hex(
        ids.imported_task(other, "x")
    )


@given(st.text(max_size=80))
def test_nothing_that_passes_can_leave_its_folder(text: str) -> None:
    for parse in (ids.parse_address, ids.parse_project, ids.parse_domain, ids.parse_task):
        try:
            name = parse(text)
        except Invalid:
            continue
        assert not set(name) & set("/\\\0%")
        assert name not in (".", "..")
        assert name.isprintable()


@given(st.text(max_size=60))
def test_parsing_is_idempotent(text: str) -> None:
    try:
        once = ids.parse_address(text)
    except Invalid:
        return
    assert ids.parse_address(once) == once
    assert str(ids.parse_project(once)) == once
