"""The spool: paths, modes, members' links, the lock, and views."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import Corrupt, Invalid, Unavailable
from bridge.model.ids import (
    Address,
    Domain,
    ProjectId,
    parse_address,
    parse_domain,
    parse_project,
    parse_task,
)
from bridge.store.spool import Layout, Spool, SpoolLock
from bridge.store.views import PROJECT_VIEW, Box, ViewName, Views, task_view

HOME = parse_domain("a.example")
ALICE = parse_address("alice@a.example")
PROJECT = parse_project("p1@b.example")
TASK = parse_task("0190f5c2a1b27c3d8e4f0123456789ab-p1@b.example")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path / "spool", domain=HOME)


# Paths.


def test_layout_is_that_of_the_specification() -> None:
    layout = Layout(root=Path("/var/spool/tasks"), domain=HOME)
    home = Path("/var/spool/tasks/a.example")
    container = home / "_store/b.example/p1"
    assert layout.container(PROJECT) == container
    assert layout.log(PROJECT) == container / "log"
    assert layout.blobs(PROJECT) == container / "blobs"
    assert layout.snapshots(PROJECT) == container / "snapshots"
    assert layout.requests(PROJECT) == container / "requests"
    assert layout.pending(PROJECT) == container / "pending.jsonl"
    assert layout.member(ALICE, PROJECT) == home / "alice@a.example/projects/b.example/p1"
    assert (layout.keys, layout.events) == (home / "_keys", home / "_events")
    assert (layout.index, layout.lock) == (home / "index.sqlite3", home / "_lock")


@pytest.mark.parametrize(
    "project",
    [
        "",
        "p1",
        "@b.example",
        "..@b.example",
        ".@b.example",
        "../x@b.example",
        "a/b@b.example",
        "p@..",
        "p@../../etc",
        "p@",
        "a\0b@b.example",
        "ä" * 128 + "@b.example",
    ],
)
def test_name_that_is_no_checked_id_makes_no_path(project: str) -> None:
    layout = Layout(root=Path("/spool"), domain=HOME)
    for path in (layout.container, layout.log, layout.blobs, layout.pending):
        with pytest.raises(Invalid):
            path(ProjectId(project))
    with pytest.raises(Invalid):
        layout.member(ALICE, ProjectId(project))


@pytest.mark.parametrize("address", ["_store", "_keys", "..", "../x@y", "a/b@c", ""])
def test_address_cannot_be_one_of_our_own_directories(address: str) -> None:
    with pytest.raises(Invalid):
        Layout(root=Path("/spool"), domain=HOME).member(Address(address), PROJECT)


@pytest.mark.parametrize("domain", ["..", "", ".", "a/b"])
def test_domain_that_leaves_the_spool_is_refused(domain: str) -> None:
    with pytest.raises(Invalid):
        _ = Layout(root=Path("/spool"), domain=Domain(domain)).home


@given(st.text(max_size=40))
def test_no_text_leads_out_of_the_store(text: str) -> None:
    layout = Layout(root=Path("/spool"), domain=HOME)
    try:
        path = layout.container(ProjectId(text))
    except Invalid:
        return
    assert path.parent.parent == layout.store
    assert Path(os.path.normpath(path)) == path


# Directories and links.


def test_directories_have_their_modes_whatever_the_umask(layout: Layout) -> None:
    before = os.umask(0)
    try:
        Spool(layout).create()
    finally:
        os.umask(before)
    assert layout.keys.stat().st_mode & 0o777 == 0o700
    for path in (layout.root, layout.home, layout.store, layout.events):
        assert path.stat().st_mode & 0o777 == 0o750


def test_open_keys_directory_is_closed(layout: Layout) -> None:
    layout.keys.mkdir(parents=True)
    layout.keys.chmod(0o755)
    Spool(layout).create()
    Spool(layout).create()
    assert layout.keys.stat().st_mode & 0o777 == 0o700


def test_member_finds_the_project_by_a_relative_link(layout: Layout, tmp_path: Path) -> None:
    spool = Spool(layout)
    layout.container(PROJECT).mkdir(parents=True)
    (layout.container(PROJECT) / "project.json").write_text("{}")
    assert spool.link_member(ALICE, PROJECT)
    assert not spool.link_member(ALICE, PROJECT)
    link = layout.member(ALICE, PROJECT)
    assert str(link.readlink()) == "../../../_store/b.example/p1"
    moved = layout.root.rename(tmp_path / "elsewhere")
    link = moved / link.relative_to(layout.root)
    assert (link / "project.json").read_text() == "{}"


def test_link_may_come_before_the_container(layout: Layout) -> None:
    assert Spool(layout).link_member(ALICE, PROJECT)
    layout.container(PROJECT).mkdir(parents=True)
    assert layout.member(ALICE, PROJECT).is_dir()


def test_wrong_link_is_replaced(layout: Layout) -> None:
    link = layout.member(ALICE, PROJECT)
    link.parent.mkdir(parents=True)
    link.symlink_to("/etc")
    assert Spool(layout).link_member(ALICE, PROJECT)
    assert link.resolve() == layout.container(PROJECT).resolve()
    assert [path.name for path in link.parent.iterdir()] == ["p1"]


def test_unlinking_keeps_the_container_and_may_be_repeated(layout: Layout) -> None:
    spool = Spool(layout)
    layout.container(PROJECT).mkdir(parents=True)
    spool.link_member(ALICE, PROJECT)
    assert spool.unlink_member(ALICE, PROJECT)
    assert not spool.unlink_member(ALICE, PROJECT)
    assert layout.container(PROJECT).is_dir()


def test_real_directory_in_the_place_of_a_link_is_left_alone(layout: Layout) -> None:
    path = layout.member(ALICE, PROJECT)
    path.mkdir(parents=True)
    (path / "notes").write_text("mine")
    for use in (Spool(layout).link_member, Spool(layout).unlink_member):
        with pytest.raises(Corrupt) as caught:
            use(ALICE, PROJECT)
        assert caught.value.code == "not-a-link"
    assert (path / "notes").read_text() == "mine"


# The lock.

HOLDER = """
import sys, time
from pathlib import Path
from bridge.model.ids import parse_domain
from bridge.store.spool import Layout, SpoolLock
lock = SpoolLock(Layout(root=Path(sys.argv[1]), domain=parse_domain("a.example")))
print("held", flush=True)
time.sleep(60)
"""


def test_second_process_is_told_who_holds_the_lock(layout: Layout) -> None:
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", HOLDER, str(layout.root)], stdout=subprocess.PIPE
    )
    with child:
        try:
            assert child.stdout
            assert child.stdout.readline() == b"held\n"
            with pytest.raises(Unavailable) as caught:
                SpoolLock(layout)
            error = caught.value
            assert error.code == "spool-locked"
            assert error.fields["pid"] == child.pid
            assert f"process {child.pid}" in error.public
            assert f"process {child.pid}" in error.hint
        finally:
            child.send_signal(signal.SIGKILL)
    with SpoolLock(layout) as lock:  # the dead process holds nothing
        assert lock.held
        assert layout.lock.read_text() == f"{os.getpid()}\n"


def test_lock_is_taken_once_and_given_back(layout: Layout) -> None:
    lock = SpoolLock(layout)
    with pytest.raises(Unavailable):
        SpoolLock(layout)
    lock.release()
    lock.release()
    assert not lock.held
    assert layout.lock.read_text() == ""
    SpoolLock(layout).release()


def test_another_domains_lock_is_another_lock(layout: Layout) -> None:
    other = Layout(root=layout.root, domain=parse_domain("b.example"))
    with SpoolLock(layout), SpoolLock(other):
        pass


def test_program_started_by_us_does_not_inherit_the_lock(layout: Layout) -> None:
    lock = SpoolLock(layout)
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        lock.release()
        try:
            SpoolLock(layout).release()
        finally:
            child.kill()


# Views.


def test_view_is_a_readable_json_file(layout: Layout) -> None:
    views = Views(layout)
    name = task_view(Box.INBOUND, TASK)
    assert name == "tasks/inbound/0190f5c2-a1b2-7c3d-8e4f-0123456789ab.json"
    views.write_view(PROJECT, name, {"title": "Käse kaufen", "status": "needs_action"})
    path = layout.container(PROJECT) / name
    assert path.read_text() == ('{\n  "title": "Käse kaufen",\n  "status": "needs_action"\n}\n')
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("flush", [False, True])
def test_view_is_replaced_in_one_step(layout: Layout, flush: bool) -> None:
    views = Views(layout, flush=flush)
    views.write_view(PROJECT, PROJECT_VIEW, {"n": 1})
    path = layout.container(PROJECT) / "project.json"
    with path.open() as reader:
        views.write_view(PROJECT, PROJECT_VIEW, {"n": 2})
        assert json.load(reader) == {"n": 1}  # who had opened the old one reads it whole
    assert json.loads(path.read_text()) == {"n": 2}
    assert [entry.name for entry in path.parent.iterdir()] == ["project.json"]


def test_view_with_text_that_utf8_cannot_hold_is_still_written(layout: Layout) -> None:
    Views(layout).write_view(PROJECT, PROJECT_VIEW, {"title": "a\ud800b"})
    assert json.loads((layout.container(PROJECT) / "project.json").read_text()) == {"title": "a?b"}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../project.json",
        "log/00000001.jsonl",
        "tasks/inbound/../../x.json",
        "/etc/passwd",
        "project.json\n",
        "tasks/inbound/x.json",
    ],
)
def test_only_views_have_names_of_views(layout: Layout, name: str) -> None:
    with pytest.raises(Invalid) as caught:
        Views(layout).write_view(PROJECT, ViewName(name), {})
    assert caught.value.code == "bad-name"
    with pytest.raises(Invalid):
        Views(layout).remove_view(PROJECT, ViewName(name))


def test_views_are_listed_and_removed(layout: Layout) -> None:
    views = Views(layout)
    names = [PROJECT_VIEW, task_view(Box.INBOUND, TASK), task_view(Box.OUTBOUND, TASK)]
    assert views.names(PROJECT) == []
    for name in names:
        views.write_view(PROJECT, name, {})
    (layout.container(PROJECT) / "tasks/inbound/onboarding.json").write_text("{}")
    assert views.names(PROJECT) == names
    assert views.remove_view(PROJECT, names[1])
    assert not views.remove_view(PROJECT, names[1])
    assert views.names(PROJECT) == [names[0], names[2]]


def test_member_with_a_limited_scope_gets_a_directory_of_views(layout: Layout) -> None:
    views, spool, name = Views(layout), Spool(layout), task_view(Box.OUTBOUND, TASK)
    views.write_view(PROJECT, name, {"notes": "for the owner"})
    views.write_view(PROJECT, name, {"notes": ""}, member=ALICE)
    assert json.loads((layout.member(ALICE, PROJECT) / name).read_text()) == {"notes": ""}
    assert json.loads((layout.container(PROJECT) / name).read_text())["notes"] == "for the owner"
    views.remove_member(ALICE, PROJECT)
    assert not layout.member(ALICE, PROJECT).exists()
    assert spool.link_member(ALICE, PROJECT)


def test_filtered_view_is_never_written_through_a_members_link(layout: Layout) -> None:
    views, name = Views(layout), task_view(Box.OUTBOUND, TASK)
    views.write_view(PROJECT, name, {"notes": "full"})
    Spool(layout).link_member(ALICE, PROJECT)
    with pytest.raises(Invalid) as caught:
        views.write_view(PROJECT, name, {"notes": ""}, member=ALICE)
    assert caught.value.code == "linked"
    with pytest.raises(Invalid):
        views.remove_member(ALICE, PROJECT)
    assert views.names(PROJECT) == [name]


def test_removing_a_members_views_keeps_foreign_files(layout: Layout) -> None:
    views = Views(layout)
    views.write_view(PROJECT, PROJECT_VIEW, {}, member=ALICE)
    mine = layout.member(ALICE, PROJECT) / "notes.txt"
    mine.write_text("mine")
    views.remove_member(ALICE, PROJECT)
    assert mine.read_text() == "mine"
    assert views.names(PROJECT, member=ALICE) == []
