"""Views and links: what other programs find in the spool."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from house import ALICE, BOB, CAROL, HOME, TEAM, House, actor

from bridge.model.ids import Domain, ProjectId, TaskId
from bridge.model.patch import Role
from bridge.store.spool import Layout, Spool
from bridge.store.views import Views
from bridge.worker.command import CompleteTask, DeleteTask, SetKeys, SetMember, SetPolicy
from bridge.worker.gateway import Gateway
from bridge.worker.outlet import ViewOutlet

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(root=tmp_path, domain=Domain("home.example"))
    Spool(layout).create()
    return layout


@pytest.fixture
def outlet(house: House, layout: Layout) -> ViewOutlet:
    stores = house.stores
    gateway = Gateway(
        domain=Domain("home.example"),
        index=stores.index,
        log=stores.log,
        blobs=stores.blobs,
        directory=stores.directory,
        events=stores.events,
        submit=house.worker.submit,
        keep_blob=house.worker.keep_blob,
        clock=house.tick,
        new_id=uuid.uuid1,
        random_bytes=bytes,
    )
    return ViewOutlet(gateway, Spool(layout), Views(layout))


def view(layout: Layout, task: TaskId, project: ProjectId, box: str = "outbound") -> Path:
    name = f"{uuid.UUID(hex=task[:32])}.json"
    return layout.container(project) / "tasks" / box / name


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_a_task_is_a_file_in_the_seeds_schema(
    house: House, outlet: ViewOutlet, layout: Layout
) -> None:
    task = house.new_task(priority="high", due="2026-12-01", mandate="m-7", preferred_ops="")
    outlet.catch_up(HOME)
    document = read(view(layout, task, HOME))
    assert document["task_id"] == task
    assert document["title"] == "Buy milk"
    assert document["status"] == "needs_action"
    assert document["priority_weight"] == 100
    assert document["due_date"] == "2026-12-01"
    assert document["mandate_id"] == "m-7"
    assert document["preferred_responsibilities"] == ["ops"]
    state = house.stores.index.task(task)
    assert state is not None
    assert document["created_at"] == state.created_at
    house.done(CompleteTask(actor=actor(), task=task))
    outlet.catch_up(HOME)
    assert read(view(layout, task, HOME))["status"] == "completed"


def test_what_came_by_request_is_inbound(house: House, outlet: ViewOutlet, layout: Layout) -> None:
    task = house.new_task(rfa="some-request")
    outlet.catch_up(HOME)
    assert view(layout, task, HOME, "inbound").exists()
    assert not view(layout, task, HOME).exists()


def test_a_deleted_task_has_no_view(house: House, outlet: ViewOutlet, layout: Layout) -> None:
    task = house.new_task()
    outlet.catch_up(HOME)
    house.done(DeleteTask(actor=actor(), task=task))
    outlet.catch_up(HOME)
    assert not view(layout, task, HOME).exists()


def test_an_edited_view_changes_no_task_and_is_overwritten(
    house: House, outlet: ViewOutlet, layout: Layout
) -> None:
    task = house.new_task()
    outlet.catch_up(HOME)
    view(layout, task, HOME).write_text('{"status": "completed"}')
    house.done(SetKeys(actor=actor(), task=task, changes={"due": "2026-12-01"}))
    outlet.catch_up(HOME)
    assert read(view(layout, task, HOME))["status"] == "needs_action"


def test_the_project_file_names_members_and_head(
    house: House, outlet: ViewOutlet, layout: Layout
) -> None:
    house.team(bob=Role.MEMBER)
    outlet.catch_up(TEAM)
    document = read(layout.container(TEAM) / "project.json")
    assert document["name"] == "Team"
    assert document["members"] == {ALICE: "creator", BOB: "member"}
    assert document["head"]["seq"] == house.stores.index.head(TEAM)


def test_members_find_the_project_below_their_own_folder(
    house: House, outlet: ViewOutlet, layout: Layout
) -> None:
    house.team(bob=Role.MEMBER)
    outlet.catch_up(TEAM)
    link = layout.member(BOB, TEAM)
    assert link.is_symlink()
    assert link.resolve() == layout.container(TEAM).resolve()
    assert not str(link.readlink()).startswith("/")
    house.done(SetMember(actor=actor(), project=TEAM, user=BOB, role=None))
    outlet.catch_up(TEAM)
    assert not link.exists()
    assert layout.member(ALICE, TEAM).is_symlink()


def test_a_guest_finds_only_the_tasks_assigned_to_him(
    house: House, outlet: ViewOutlet, layout: Layout
) -> None:
    house.team(carol=Role.GUEST)
    mine, other = house.new_task(1, project=TEAM), house.new_task(2, project=TEAM)
    house.done(SetKeys(actor=actor(), task=mine, changes={f"assignee_{CAROL}": "requested"}))
    outlet.catch_up(TEAM)
    top = layout.member(CAROL, TEAM)
    assert not top.is_symlink()
    assert [p.stem for p in top.glob("tasks/*/*.json")] == [str(uuid.UUID(hex=mine[:32]))]
    house.done(SetKeys(actor=actor(), task=mine, changes={f"assignee_{CAROL}": None}))
    outlet.catch_up(TEAM)
    assert not list(top.glob("tasks/*/*.json"))
    house.done(SetMember(actor=actor(), project=TEAM, user=CAROL, role=Role.MEMBER))
    outlet.catch_up(TEAM)
    assert layout.member(CAROL, TEAM).is_symlink()
    assert view(layout, other, TEAM).exists()


def test_only_what_changed_since_is_written_again(house: House, outlet: ViewOutlet) -> None:
    for n in range(10):
        house.new_task(n + 1)
    assert outlet.catch_up(HOME) == 10
    assert outlet.catch_up(HOME) == 0
    house.done(CompleteTask(actor=actor(), task=house.new_task(3)))
    assert outlet.catch_up(HOME) == 1


def test_the_thread_writes_what_a_commit_announces_and_what_a_crash_left(
    house: House, outlet: ViewOutlet, layout: Layout
) -> None:
    left = house.new_task(1)
    house.worker.on_commit.append(outlet.notify)
    outlet.start()
    new = house.new_task(2)
    house.done(SetPolicy(actor=actor(), project=HOME, policy={"name": "Mine"}))
    deadline = time.monotonic() + 20
    while not view(layout, new, HOME).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    outlet.stop()
    assert view(layout, left, HOME).exists()
    assert read(layout.container(HOME) / "project.json")["name"] == "Mine"
