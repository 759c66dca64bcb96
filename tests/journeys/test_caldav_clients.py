"""Real CalDAV clients against the door over HTTP: python-caldav, vdirsyncer with todoman."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from caldav.davclient import DAVClient
from davdoor import Door, serving, vtodo
from house import ALICE, actor
from house import HOME as PROJECT

from bridge.worker.command import Receipt, SetKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent


@dataclass
class Server:
    """The door on a port."""

    door: Door
    url: str

    @property
    def password(self) -> str:
        return self.door.logins[ALICE]


@pytest.fixture
def server() -> Iterator[Server]:
    door = Door()
    with serving(door.application) as url:
        yield Server(door, url)


# -- python-caldav -----------------------------------------------------------------------


def principal_of(server: Server) -> Any:
    client: Any = DAVClient(url=server.url, username=ALICE, password=server.password)
    return client.principal()


def lists(server: Server) -> dict[str, Any]:
    principal = principal_of(server)
    return {str(calendar.get_display_name()): calendar for calendar in principal.calendars()}


def test_python_caldav_finds_the_lists_from_the_bare_address(server: Server) -> None:
    assert set(lists(server)) == {"Tasks", "Requests"}


def test_python_caldav_makes_edits_completes_and_deletes(server: Server) -> None:
    personal = lists(server)["Tasks"]
    todo = personal.save_todo(summary="Buy milk", uid="journey-1", priority=5)
    assert [str(t.icalendar_component["SUMMARY"]) for t in personal.todos()] == ["Buy milk"]
    todo.icalendar_component["SUMMARY"] = "Buy oat milk"
    todo.save()
    row = server.door.gateway.index.named(PROJECT, "journey-1")
    assert row is not None
    assert "Buy oat milk" in row.text
    todo.complete()
    state = server.door.gateway.index.task(row.task)
    assert state is not None
    assert state.value("status") == "completed"
    assert personal.todos() == []
    assert len(personal.todos(include_completed=True)) == 1
    todo.delete()
    assert personal.todos(include_completed=True) == []


def test_python_caldav_syncs_what_others_change(server: Server) -> None:
    personal = lists(server)["Tasks"]
    personal.save_todo(summary="Mine", uid="journey-2")
    objects = personal.objects_by_sync_token(load_objects=True)
    row = server.door.gateway.index.named(PROJECT, "journey-2")
    assert row is not None
    done = server.door.house.do(
        SetKeys(actor=actor(), task=row.task, changes={"description": "Theirs"})
    )
    assert isinstance(done, Receipt)
    changed = personal.objects_by_sync_token(objects.sync_token, load_objects=True)
    assert [str(t.icalendar_component["SUMMARY"]) for t in changed] == ["Theirs"]


def test_python_caldav_makes_a_list_of_its_own(server: Server) -> None:
    made = principal_of(server).make_calendar(
        name="Errands", cal_id="errands", supported_calendar_component_set=["VTODO"]
    )
    made.save_todo(summary="Stamps", uid="journey-3")
    assert "Errands" in lists(server)
    assert len(lists(server)["Errands"].todos()) == 1


# -- vdirsyncer and todoman --------------------------------------------------------------


@dataclass
class Desk:
    """A folder of tasks that vdirsyncer keeps in step, and todoman edits."""

    server: Server
    home: Path

    def __post_init__(self) -> None:
        self.tasks = self.home / "tasks"
        self.config = self.home / "vdirsyncer.conf"
        self.config.write_text(
            f"""[general]
status_path = "{self.home}/status"
[pair p]
a = "local"
b = "remote"
collections = ["personal"]
conflict_resolution = "b wins"
[storage local]
type = "filesystem"
path = "{self.tasks}"
fileext = ".ics"
[storage remote]
type = "caldav"
url = "{self.server.url}"
username = "{ALICE}"
password = "{self.server.password}"
item_types = ["VTODO"]
"""
        )
        self.todoman = self.home / "todoman.py"
        self.todoman.write_text(
            f'path = "{self.tasks}/*"\ndefault_list = "personal"\n'
            f'cache_path = "{self.home}/cache.sqlite3"\n'
        )
        (self.tasks / "personal").mkdir(parents=True)

    def run(self, *command: str) -> str:
        done = subprocess.run(  # noqa: S603 - clients of the test's own environment
            command,
            input="y\n" * 20,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def sync(self) -> None:
        self.run(str(BIN / "vdirsyncer"), "-c", str(self.config), "sync")

    def todo(self, *arguments: str) -> str:
        return self.run(str(BIN / "todo"), "--config", str(self.todoman), *arguments)


def test_vdirsyncer_and_todoman_in_both_directions(server: Server, tmp_path: Path) -> None:
    desk = Desk(server, tmp_path)
    for number in range(20):
        server.door.put(f"t{number}.ics", vtodo(f"t{number}", summary=f"Remote {number}"))
    desk.run(str(BIN / "vdirsyncer"), "-c", str(desk.config), "discover")
    desk.sync()
    assert len(list((desk.tasks / "personal").glob("*.ics"))) == 20

    desk.todo("new", "--list", "personal", "Local task")
    listed = desk.todo("list")
    assert "Local task" in listed
    assert "Remote 7" in listed
    chosen = next(
        word
        for line in listed.splitlines()
        if line.endswith("Remote 7 @personal") or "Remote 7" in line
        for word in line.replace("[ ]", " ").split()
        if word.isdigit()
    )
    desk.todo("done", chosen)
    desk.sync()
    index = server.door.gateway.index
    texts = [index.named(PROJECT, uid) for uid in ("t7",)]
    assert texts[0] is not None
    assert "STATUS:COMPLETED" in texts[0].text
    names = {listed.href for listed in index.listing(PROJECT)}
    assert len(names) == 21

    server.door("DELETE", f"/dav/{ALICE}/personal/t3.ics")
    server.door.put("t4.ics", vtodo("t4", summary="Changed there"))
    desk.sync()
    files = {path.read_text() for path in (desk.tasks / "personal").glob("*.ics")}
    assert len(files) == 20
    assert any("Changed there" in text for text in files)


def test_nothing_moves_when_nothing_changed(server: Server, tmp_path: Path) -> None:
    desk = Desk(server, tmp_path)
    server.door.put("a.ics", vtodo("a", "X-KEEP;X-P=1:a\\,b"))
    desk.run(str(BIN / "vdirsyncer"), "-c", str(desk.config), "discover")
    desk.sync()
    head = server.door.gateway.index.head(PROJECT)
    desk.sync()
    assert server.door.gateway.index.head(PROJECT) == head
