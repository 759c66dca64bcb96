"""What each command does, and who may not."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import pytest
from house import ALICE, BOB, CAROL, HOME, MALLORY, TEAM, House, actor

from bridge.model.ids import PatchId, ProjectId, digest_of, task_id
from bridge.model.log import replay
from bridge.model.patch import Role, Via
from bridge.model.request import Direction, Side, State
from bridge.store.directory_records import Acquaintance
from bridge.trust.patchsig import SignatureChecker
from bridge.wire import vtodo as vtodo_wire
from bridge.worker.command import (
    AcceptRequest,
    Annotate,
    ArchiveProject,
    Attach,
    CompleteTask,
    Conflict,
    CreateProject,
    CreateTask,
    DeclineRequest,
    DeleteTask,
    Expect,
    IgnoreRequest,
    MoveTask,
    PutTask,
    Receipt,
    ReceiveRequest,
    Refused,
    Revert,
    SetKeys,
    SetMember,
    SetPolicy,
)


def vtodo(uid: str = "u1", summary: str = "Buy milk", extra: str = "") -> str:
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Test//EN",
        "BEGIN:VTODO",
        f"UID:{uid}",
        "DTSTAMP:20261120T120000Z",
        f"SUMMARY:{summary}",
        *(line for line in extra.split("\n") if line),
        "END:VTODO",
        "END:VCALENDAR",
    ]
    return "\r\n".join(lines) + "\r\n"


def put(
    text: str, href: str = "a.ics", expect: Expect | None = None, base: str | None = None
) -> PutTask:
    return PutTask(
        actor=actor(), project=HOME, href=href, text=text, expect=expect or Expect(), base=base
    )


def value(house: House, task: object, key: str) -> str | None:
    state = house.stores.index.task(task)  # type: ignore[arg-type]  # a TaskId from a receipt
    assert state is not None
    return state.value(key)


def test_the_log_of_all_this_verifies_offline(house: House) -> None:
    task = house.new_task()
    house.done(CompleteTask(actor=actor(), task=task))
    lines = [line for _, _, line in house.stores.log.read(HOME)]
    checker = SignatureChecker(first_keys={house.key.id: house.key.public})
    fold = replay(HOME, lines, checker)
    assert fold.tasks[task].value("status") == "completed"
    assert fold.project == house.stores.index.project(HOME)


def test_the_second_entry_of_a_project_records_the_domains_key(house: House) -> None:
    state = house.stores.index.project(HOME)
    assert state is not None
    assert state.keys == {house.key.id: house.key.public}
    assert state.seq == 2


def test_a_created_task_needs_action_and_is_served(house: House) -> None:
    task = house.new_task(due="2026-12-01")
    row = house.stores.index.row_of(task)
    assert row is not None
    assert "SUMMARY:Buy milk" in row.text
    assert "DUE;VALUE=DATE:20261201" in row.text
    assert value(house, task, "status") == "needs_action"


def test_creating_the_same_task_again_is_the_same_task(house: House) -> None:
    task = house.new_task()
    again = house.done(CreateTask(actor=actor(), task=task, keys={"description": "Other"}))
    assert not again.created
    assert value(house, task, "description") == "Buy milk"


def test_complete_sets_status_end_and_progress(house: House) -> None:
    task = house.new_task()
    house.done(CompleteTask(actor=actor(), task=task))
    assert value(house, task, "status") == "completed"
    assert value(house, task, "end") == "2026-11-20T12:00:00Z"
    assert value(house, task, "progress") == "100"


def test_an_atomic_set_is_refused_when_the_value_moved_on(house: House) -> None:
    task = house.new_task()
    outcome = house.do(
        SetKeys(actor=actor(), task=task, changes={"due": "2026-12-01"}, was={"due": "2026-01-01"})
    )
    assert isinstance(outcome, Conflict)
    assert value(house, task, "due") is None


def test_two_comments_in_one_second_are_both_kept(house: House) -> None:
    task = house.new_task()
    house.done(Annotate(actor=actor(), task=task, text="one"))
    house.done(Annotate(actor=actor(), task=task, text="two"))
    state = house.stores.index.task(task)
    assert state is not None
    assert sorted(v for k, v in state.keys.items() if k.startswith("annotation_")) == ["one", "two"]


def test_an_attachment_is_a_key_that_names_its_blob(house: House) -> None:
    task = house.new_task()
    digest = house.worker.keep_blob(HOME, b"contents")
    assert digest == digest_of(b"contents")
    house.done(
        Attach(
            actor=actor(),
            task=task,
            digest=digest_of(b"contents"),
            name="a.pdf",
            media_type="application/pdf",
            size=8,
        )
    )
    facts = value(house, task, "attach_" + digest.removeprefix("sha256:"))
    assert json.loads(facts or "") == {"name": "a.pdf", "type": "application/pdf", "size": 8}
    row = house.stores.index.row_of(task)
    assert row is not None
    assert vtodo_wire.read(row.text, task=task).keys == house.stores.index.task(task).keys  # type: ignore[union-attr]  # it exists


def test_a_deleted_task_is_hidden_and_can_be_restored(house: House) -> None:
    task = house.new_task()
    deletion = house.done(DeleteTask(actor=actor(), task=task))
    assert not list(house.stores.index.listing(HOME))
    assert isinstance(house.do(DeleteTask(actor=actor(), task=task)), Refused)
    assert deletion.patch
    house.done(Revert(actor=actor(), project=HOME, patch=deletion.patch))
    assert len(list(house.stores.index.listing(HOME))) == 1


def test_any_change_can_be_reverted_and_the_revert_too(house: House) -> None:
    task = house.new_task()
    change = house.done(SetKeys(actor=actor(), task=task, changes={"due": "2026-12-01"}))
    assert change.patch
    back = house.done(Revert(actor=actor(), project=HOME, patch=change.patch))
    assert value(house, task, "due") is None
    assert back.patch
    house.done(Revert(actor=actor(), project=HOME, patch=back.patch))
    assert value(house, task, "due") == "2026-12-01"


def test_a_revert_names_what_was_written_since(house: House) -> None:
    task = house.new_task()
    change = house.done(
        SetKeys(actor=actor(), task=task, changes={"due": "2026-12-01", "priority": "high"})
    )
    house.done(SetKeys(actor=actor(), task=task, changes={"due": "2026-12-02"}))
    assert change.patch
    back = house.done(Revert(actor=actor(), project=HOME, patch=change.patch))
    assert back.conflicts == ("due",)
    assert value(house, task, "due") == "2026-12-02"
    assert value(house, task, "priority") is None


def test_a_change_of_settings_or_members_can_be_reverted_too(house: House) -> None:
    house.team(bob=Role.MEMBER)
    renamed = house.done(SetPolicy(actor=actor(), project=TEAM, policy={"name": "New"}))
    removed = house.done(SetMember(actor=actor(), project=TEAM, user=BOB, role=None))
    assert renamed.patch
    assert removed.patch
    house.done(Revert(actor=actor(), project=TEAM, patch=renamed.patch))
    back = house.done(Revert(actor=actor(), project=TEAM, patch=removed.patch))
    state = house.stores.index.project(TEAM)
    assert state is not None
    assert state.name == "Team"
    assert state.role_of(BOB) is Role.MEMBER
    house.done(SetMember(actor=actor(), project=TEAM, user=BOB, role=Role.OWNER))
    assert back.patch
    outcome = house.do(Revert(actor=actor(), project=TEAM, patch=back.patch))
    assert isinstance(outcome, Conflict)
    assert "bob" in outcome.reason
    house.done(Revert(actor=actor(), project=TEAM, patch=back.patch, force=True))
    assert not house.stores.index.homes(BOB)


def test_an_unknown_patch_cannot_be_reverted(house: House) -> None:
    outcome = house.do(Revert(actor=actor(), project=HOME, patch=PatchId("sha256:" + "0" * 64)))
    assert isinstance(outcome, Refused)
    assert outcome.code == "no-task"


# -- projects and roles ------------------------------------------------------------------


def test_a_guest_may_comment_but_not_edit(house: House) -> None:
    house.team(bob=Role.GUEST)
    task = house.new_task(project=TEAM)
    house.done(Annotate(actor=actor(BOB), task=task, text="hello"))
    outcome = house.do(SetKeys(actor=actor(BOB), task=task, changes={"due": "2026-12-01"}))
    assert isinstance(outcome, Refused)
    assert outcome.code == "forbidden"
    assert "guest" in outcome.reason


def test_a_member_deletes_only_own_tasks(house: House) -> None:
    house.team(bob=Role.MEMBER)
    of_alice = house.new_task(1, project=TEAM)
    own = house.new_task(2, user=BOB, project=TEAM)
    refused = house.do(DeleteTask(actor=actor(BOB), task=of_alice))
    assert isinstance(refused, Refused)
    assert "only tasks that you made" in refused.reason
    house.done(DeleteTask(actor=actor(BOB), task=own))


def test_only_owners_change_settings_and_members(house: House) -> None:
    house.team(bob=Role.MEMBER, carol=Role.OWNER)
    for command in (
        SetPolicy(actor=actor(BOB), project=TEAM, policy={"name": "Mine"}),
        SetMember(actor=actor(BOB), project=TEAM, user=MALLORY, role=Role.MEMBER),
        SetMember(actor=actor(CAROL), project=TEAM, user=BOB, role=Role.OWNER),
        ArchiveProject(actor=actor(CAROL), project=TEAM),
    ):
        outcome = house.do(command)
        assert isinstance(outcome, Refused)
        assert outcome.code == "forbidden"
    house.done(SetPolicy(actor=actor(CAROL), project=TEAM, policy={"name": "Ours"}))
    card = next(c for c in house.stores.index.homes(BOB) if c.project == TEAM)
    assert card.name == "Ours"
    house.done(SetMember(actor=actor(BOB), project=TEAM, user=BOB, role=None))
    assert TEAM not in [c.project for c in house.stores.index.homes(BOB)]


def test_a_stranger_may_do_nothing(house: House) -> None:
    task = house.new_task()
    outcome = house.do(SetKeys(actor=actor(MALLORY), task=task, changes={"due": "2026-12-01"}))
    assert isinstance(outcome, Refused)
    assert outcome.code == "not-a-member"


def test_a_project_is_removed_by_its_creator_only_and_comes_back(house: House) -> None:
    house.team()
    house.done(ArchiveProject(actor=actor(), project=TEAM))
    assert [c.archived for c in house.stores.index.homes(ALICE) if c.project == TEAM] == [True]
    house.done(SetPolicy(actor=actor(), project=TEAM, policy={"archived": None}))
    assert [c.archived for c in house.stores.index.homes(ALICE) if c.project == TEAM] == [False]
    outcome = house.do(ArchiveProject(actor=actor(), project=HOME))
    assert isinstance(outcome, Refused)


def test_nobody_takes_an_address_or_another_domain_as_project_id(house: House) -> None:
    for project in ("bob@home.example", "team@home.example", "a" * 26 + "@other.example"):
        outcome = house.do(CreateProject(actor=actor(), project=ProjectId(project)))
        assert isinstance(outcome, Refused), project


# -- PUT ---------------------------------------------------------------------------------


def test_what_is_put_is_served_byte_for_byte_with_a_strong_etag(house: House) -> None:
    text = vtodo(extra='X-ODD;X-P="a:b":v\\,w\nDUE;TZID=Europe/Berlin:20261201T090000')
    receipt = house.done(put(text))
    assert receipt.created
    assert receipt.exact
    row = house.stores.index.row(HOME, "a.ics")
    assert row is not None
    assert row.text == text
    assert row.etag == receipt.etag


def test_a_comment_sent_again_with_another_time_is_the_same_comment(house: House) -> None:
    """DAVx5 sends LAST-MODIFIED anew with each upload (trace davx5/09)."""
    first = vtodo(extra="LAST-MODIFIED:20261120T120000Z\nCOMMENT:hello")
    house.done(put(first))
    second = vtodo(summary="Two", extra="LAST-MODIFIED:20261120T130000Z\nCOMMENT:hello")
    receipt = house.done(put(second))
    assert receipt.exact
    state = house.stores.index.task(receipt.task)  # type: ignore[arg-type]  # a task's receipt
    assert state is not None
    assert [k for k in state.keys if k.startswith("annotation_")] == ["annotation_1795176000"]


def test_put_with_stale_etag_is_refused(house: House) -> None:
    first = house.done(put(vtodo()))
    house.done(put(vtodo(summary="Two"), expect=Expect(etags=(first.etag,))))
    outcome = house.do(put(vtodo(summary="Three"), expect=Expect(etags=(first.etag,))))
    assert isinstance(outcome, Conflict)
    assert outcome.etag


def test_put_for_a_new_name_is_refused_where_the_name_is_taken(house: House) -> None:
    house.done(put(vtodo()))
    assert isinstance(house.do(put(vtodo(), expect=Expect(absent=True))), Conflict)
    assert isinstance(house.do(put(vtodo("u2"), "b.ics", Expect(etags=("*",)))), Conflict)


def test_a_uid_is_used_once_in_a_project(house: House) -> None:
    house.done(put(vtodo()))
    outcome = house.do(put(vtodo(), "b.ics"))
    assert isinstance(outcome, Refused)
    assert outcome.code == "no-uid-conflict"
    assert outcome.href == "a.ics"
    other = house.do(put(vtodo("u2")))
    assert isinstance(other, Refused)
    assert other.code == "no-uid-conflict"


def test_a_client_edit_keeps_what_others_wrote_since_it_last_read(house: House) -> None:
    served = vtodo()
    task = house.done(put(served)).task
    assert task
    house.done(SetKeys(actor=actor(), task=task, changes={"due": "2026-12-01"}))
    house.done(put(vtodo(summary="Buy bread"), base=served))
    assert value(house, task, "due") == "2026-12-01"
    assert value(house, task, "description") == "Buy bread"


def test_a_change_by_others_changes_the_text_and_the_etag(house: House) -> None:
    receipt = house.done(put(vtodo(extra="X-ODD:kept")))
    assert receipt.task
    house.done(SetKeys(actor=actor(), task=receipt.task, changes={"description": "Changed"}))
    row = house.stores.index.row_of(receipt.task)
    assert row is not None
    assert row.etag != receipt.etag
    assert "SUMMARY:Changed" in row.text
    assert "X-ODD:kept" in row.text


def test_a_deleted_task_can_be_put_again_under_another_name(house: House) -> None:
    task = house.done(put(vtodo(extra="PRIORITY:1"))).task
    assert task
    house.done(DeleteTask(actor=actor(), task=task))
    again = house.done(put(vtodo(), "b.ics", Expect(absent=True)))
    assert again.task == task
    assert again.exact
    assert [m.href for m in house.stores.index.listing(HOME)] == ["b.ics"]
    assert value(house, task, "priority") is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("rubbish", "valid-calendar-data"),
        (vtodo().replace("VTODO", "VEVENT"), "supported-calendar-component"),
        (vtodo().replace("UID:u1\r\n", ""), "valid-calendar-object-resource"),
        (
            vtodo().replace("VERSION:2.0", "VERSION:2.0\r\nMETHOD:REQUEST"),
            "valid-calendar-object-resource",
        ),
    ],
)
def test_what_is_no_task_is_refused_with_the_rfcs_precondition(
    house: House, text: str, code: str
) -> None:
    outcome = house.do(put(text))
    assert isinstance(outcome, Refused)
    assert outcome.code == code


def test_a_long_text_travels_as_a_blob_and_is_served_whole(house: House) -> None:
    inline = "ATTACH;ENCODING=BASE64;VALUE=BINARY:" + "QUJD" * 30_000
    text = vtodo(extra=inline)
    receipt = house.done(put(text))
    row = house.stores.index.row(HOME, "a.ics")
    assert row is not None
    assert receipt.exact
    assert row.text == text
    assert receipt.task
    house.done(SetKeys(actor=actor(), task=receipt.task, changes={"due": "2026-12-01"}))
    row = house.stores.index.row(HOME, "a.ics")
    assert row is not None
    assert "QUJD" * 10 in row.text.replace("\r\n ", "")
    assert len(row.text) > 120_000
    _, _, line = list(house.stores.log.read(HOME))[-2]
    assert len(line) < 20_000


def test_related_tasks_are_named_by_id_in_the_log_and_by_uid_in_the_text(house: House) -> None:
    parent = house.done(put(vtodo("p1"), "p.ics")).task
    child = house.done(put(vtodo("c1", extra="RELATED-TO:p1"), "c.ics")).task
    assert child
    assert value(house, child, "parent") == parent
    house.done(SetKeys(actor=actor(), task=child, changes={"due": "2026-12-01"}))
    row = house.stores.index.row_of(child)
    assert row is not None
    assert "p1" in row.text


def test_a_move_takes_the_task_with_its_uid_and_links_both(house: House) -> None:
    house.team()
    text = vtodo()
    task = house.done(put(text)).task
    assert task
    moved = house.done(MoveTask(actor=actor(), task=task, project=TEAM, href="z.ics"))
    assert not list(house.stores.index.listing(HOME))
    row = house.stores.index.row(TEAM, "z.ics")
    assert row is not None
    assert row.uid == "u1"
    assert row.text == text
    assert value(house, moved.task, "tx.moved-from") == task


def test_a_move_into_a_project_without_right_leaves_both_as_they_were(house: House) -> None:
    house.team(bob=Role.GUEST)
    house.done(CreateProject(actor=actor(BOB), project=ProjectId(BOB)))
    task = house.new_task(5, user=BOB, project=ProjectId(BOB))
    outcome = house.do(MoveTask(actor=actor(BOB), task=task, project=TEAM, href="z.ics"))
    assert isinstance(outcome, Refused)
    assert len(list(house.stores.index.listing(ProjectId(BOB)))) == 1
    assert not list(house.stores.index.listing(TEAM))


def test_the_second_write_of_a_batch_sees_the_first(house: House) -> None:
    outcomes = house.worker.run(
        [
            put(vtodo("a1"), "x.ics", Expect(absent=True)),
            put(vtodo("a2"), "x.ics", Expect(absent=True)),
            put(vtodo("a1"), "y.ics"),
        ]
    )
    assert isinstance(outcomes[0], Receipt)
    assert isinstance(outcomes[1], Conflict)
    assert isinstance(outcomes[2], Refused)
    assert [m.href for m in house.stores.index.listing(HOME)] == ["x.ics"]


# -- requests ----------------------------------------------------------------------------

ASKED = uuid.UUID(int=77)


def ask(level: str = "P", method: str = "smime") -> ReceiveRequest:
    return ReceiveRequest(
        id=ASKED,
        recipient=ALICE,
        sender=MALLORY,
        level=level,
        method=method,
        fingerprint="ab" * 32,
        message=digest_of(b"mail"),
        keys={"description": "Review", "notes": "please", "source": "mail"},
    )


def state_of(house: House) -> State:
    request = house.stores.directory.requests.get(Side(ALICE, Direction.RECEIVED, ASKED))
    assert request is not None
    return request.state


def test_a_request_waits_in_quarantine_and_the_same_one_is_kept_once(house: House) -> None:
    assert house.done(ask()).created
    assert not house.done(ask()).created
    assert [r.preview.title for r in house.stores.directory.requests.waiting(ALICE)] == ["Review"]
    assert not list(house.stores.index.listing(HOME))


def test_a_strangers_request_is_quarantined_and_a_friends_is_not(house: House) -> None:
    house.done(ask())
    contacts = house.stores.directory.contacts
    assert house.stores.directory.requests.waiting(ALICE)[0].quarantined
    contacts.remember(ALICE, CAROL, Acquaintance.KNOWN, house.now)
    house.done(
        ReceiveRequest(
            id=uuid.UUID(int=78),
            recipient=ALICE,
            sender=CAROL,
            level="P",
            method="smime",
            keys={"description": "From a friend"},
        )
    )
    friend = next(r for r in house.stores.directory.requests.waiting(ALICE) if r.sender == CAROL)
    assert not friend.quarantined


def test_an_accepted_request_becomes_a_task_with_its_origin(house: House) -> None:
    house.done(ask())
    accepted = house.done(AcceptRequest(actor=actor(), request=ASKED))
    assert accepted.task == task_id(ASKED, HOME)
    assert value(house, accepted.task, "requester") == MALLORY
    assert value(house, accepted.task, f"assignee_{ALICE}") == "accepted"
    assert state_of(house) is State.ACCEPTED
    entry = replay(HOME, [line for _, _, line in house.stores.log.read(HOME)])
    document = [e for e in entry.patches][-1]
    assert document == accepted.patch
    again = house.done(AcceptRequest(actor=actor(), request=ASKED))
    assert again.task == accepted.task
    assert len(list(house.stores.index.listing(HOME))) == 1


def test_an_acceptance_that_broke_off_is_finished_by_repeating_it(house: House) -> None:
    """The log has the task, the directory still says requested: one task in the end."""
    house.done(ask())
    house.done(CreateTask(actor=actor(), task=task_id(ASKED, HOME), keys={"description": "Review"}))
    house.done(AcceptRequest(actor=actor(), request=ASKED))
    assert state_of(house) is State.ACCEPTED
    assert len(list(house.stores.index.listing(HOME))) == 1


def test_a_declined_request_leaves_no_task(house: House) -> None:
    house.done(ask())
    house.done(DeclineRequest(actor=actor(), request=ASKED, reason="no time"))
    assert state_of(house) is State.DECLINED
    assert isinstance(house.do(AcceptRequest(actor=actor(), request=ASKED)), Refused)


def test_blocking_a_sender_ends_all_that_waits_from_it(house: House) -> None:
    house.done(ask())
    house.done(IgnoreRequest(actor=actor(), request=ASKED, block="domain"))
    assert not house.stores.directory.requests.waiting(ALICE)


def test_requests_beyond_the_cap_are_put_off(house: House) -> None:
    outcomes = []
    for number in range(25):
        command = ask()
        command = ReceiveRequest(
            id=uuid.UUID(int=number + 1),
            recipient=ALICE,
            sender=MALLORY,
            level="N",
            method="none",
            keys=command.keys,
        )
        outcomes.append(house.do(command))
    refused = [o for o in outcomes if isinstance(o, Refused)]
    assert len(refused) == 5
    assert all(o.retry and o.code == "too-many" for o in refused)


def test_a_request_of_somebody_else_cannot_be_accepted(house: House) -> None:
    house.done(ask())
    outcome = house.do(AcceptRequest(actor=actor(BOB), request=ASKED))
    assert isinstance(outcome, Refused)
    assert outcome.code == "no-request"


def test_events_tell_what_was_issued_and_what_was_refused(house: House) -> None:
    task = house.new_task()
    house.done(CompleteTask(actor=actor(via=Via.MAIL), task=task))
    house.do(SetKeys(actor=actor(MALLORY), task=task, changes={"due": "2026-12-01"}))
    kinds = [e["event"] for e in house.stores.events.tail(10)]
    assert kinds[-3:] == ["issued", "completed", "refused"]
    assert house.stores.events.tail(1)[0]["code"] == "not-a-member"
    house.now += timedelta(days=1)
