"""What a member wrote and a rule refused is kept, with the reason, in bounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from bridge_radicale import make_application
from davdoor import Door, vtodo
from house import BOB, HOME, TEAM, actor

from bridge.caldav.refusededits import EVENT, HOURLY, OCTETS_MAX, RefusedEdits
from bridge.errors import Unavailable
from bridge.model.ids import ProjectId, parse_digest
from bridge.model.log import read_own_entry
from bridge.model.merge import Skip
from bridge.model.patch import Role
from bridge.worker import report
from bridge.worker.command import Conflict, Refused, SetKeys
from bridge.worker.stage import Made

REKEYED = Skip(op=1, why="rekeyed", key="annotation_1")
NO = Refused(code="forbidden", reason="a guest may not do this")


@pytest.fixture
def dav() -> Door:
    return Door()


def kept(dav: Door) -> list[dict[str, object]]:
    return [dict(event) for event in dav.gateway.events.tail(1000) if event["event"] == EVENT]


def text_of(dav: Door, event: dict[str, object]) -> bytes:
    project = ProjectId(str(event["project"]))
    return dav.gateway.blobs.read(project, parse_digest(str(event["ref"])))


def test_a_put_that_a_role_forbids_is_kept_in_the_projects_container(dav: Door) -> None:
    dav.house.team(bob=Role.GUEST)
    body = vtodo("u1", summary="Mine")
    path = f"/dav/bob%40home.example/{TEAM.partition('@')[0]}/a.ics"
    reply = dav("PUT", path, body, user=BOB, content_type="text/calendar; charset=utf-8")
    assert reply.status == 403
    (event,) = kept(dav)
    assert text_of(dav, event) == body
    assert event["actor"] == BOB
    assert event["project"] == TEAM
    assert event["href"] == "a.ics"
    assert "guest" in str(event["reason"])


def test_a_put_that_met_a_newer_version_is_kept_too(dav: Door) -> None:
    dav.put("u1.ics", vtodo("u1"))
    body = vtodo("u1", summary="Lost?")
    assert dav.put("u1.ics", body, if_match='"old"').status == 412
    (event,) = kept(dav)
    assert event["code"] == "conflict"
    assert text_of(dav, event) == body


def test_neither_rubbish_nor_a_strangers_text_nor_a_wait_is_kept(dav: Door) -> None:
    assert dav.put("u1.ics", b"rubbish").status in {400, 403}
    edits = RefusedEdits(dav.gateway)
    edits.keep(actor(BOB), (HOME, "a.ics"), "text", NO)
    edits.keep(actor(), (HOME, "a.ics"), "text", replace(NO, retry=True))
    edits.keep(actor(), (TEAM, "a.ics"), "text", NO)
    assert kept(dav) == []


def test_what_is_kept_is_bounded_in_size_and_number(dav: Door) -> None:
    edits = RefusedEdits(dav.gateway)
    edits.keep(actor(), (HOME, "a.ics"), "x" * (OCTETS_MAX + 1), NO)
    assert "ref" not in kept(dav)[-1]
    for number in range(HOURLY + 5):
        edits.keep(actor(), (HOME, "a.ics"), f"text {number}", NO)
    assert sum("ref" in event for event in kept(dav)) == HOURLY
    dav.house.now += timedelta(hours=1)
    edits.keep(actor(), (HOME, "a.ics"), "later", Conflict(reason="changed"))
    assert text_of(dav, kept(dav)[-1]) == b"later"


def test_a_full_disk_changes_no_answer(dav: Door) -> None:
    def full(*_: object) -> None:
        raise Unavailable("disk-full", "the disk is full")

    dav.put("u1.ics", vtodo("u1"))
    dav.application = make_application(
        replace(dav.gateway, keep_blob=full),  # type: ignore[arg-type]  # it only raises
        dav.passwords,
        dav.settings,
    )
    assert dav.put("u1.ics", vtodo("u1", summary="x"), if_match='"old"').status == 412
    assert "ref" not in kept(dav)[-1]


def test_an_op_that_lost_is_an_event() -> None:
    dav = Door()
    task = dav.house.new_task()
    outcome = dav.house.done(SetKeys(actor=actor(), task=task, changes={"due": "2026-12-01"}))
    *_, (_, _, line) = dav.house.stores.log.read(HOME)
    entry = replace(read_own_entry(line), skipped=(Skip(op=0, why="older"), REKEYED))
    project, state = dav.gateway.index.project(HOME), dav.gateway.index.task(task)
    assert project is not None
    made = Made(entry=entry, line=line, project=project, task=state, row=None, facts=None)
    command = SetKeys(actor=actor(), task=task, changes={})
    lost = [e for e in report.events(command, outcome, [made]) if e["event"] == "lost-edit"]
    assert [(e["task"], e["seq"], e["skipped"]) for e in lost] == [
        (task, outcome.seq, ["0: older"])
    ]
