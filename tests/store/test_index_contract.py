"""What every index promises; the rows come from a real worker."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest
from house import ALICE, BOB, CAROL, HOME, TEAM, House, actor

from bridge.model.ids import PatchId, task_id
from bridge.model.patch import Role
from bridge.store import index_statements as statements
from bridge.store.index import Index
from bridge.store.index_contract import Window
from bridge.store.index_engine import (
    IndexEngine,
    open_index_file,
    open_index_memory,
    open_index_url,
)
from bridge.store.index_shown import STATES
from bridge.store.index_tables import metadata
from bridge.worker.command import (
    CompleteTask,
    CreateProject,
    DeleteTask,
    PutTask,
    SetKeys,
    SetMember,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def opened(kind: str, folder: Path) -> IndexEngine:
    if kind == "file":
        return open_index_file(folder / "index.sqlite3")
    if kind == "memory":
        return open_index_memory()
    url = os.environ.get("TX_BRIDGE_TEST_POSTGRES", "")  # noqa: TID251 - names the test's server
    if not url:
        pytest.skip("TX_BRIDGE_TEST_POSTGRES names no PostgreSQL server")
    engine = open_index_url(url)
    metadata.drop_all(engine.engine)
    return engine


@pytest.fixture(params=["file", "memory", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    engine = opened(request.param, tmp_path)
    engine.prepare_layout()
    house = House(index=Index(engine))
    house.done(CreateProject(actor=actor(), project=HOME))
    yield house
    engine.close()


def put(house: House, n: int, *lines: str) -> str:
    text = "\r\n".join(
        ["BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VTODO", f"UID:u{n}", "DTSTAMP:20261120T120000Z",
         f"SUMMARY:Task {n}", *lines, "END:VTODO", "END:VCALENDAR", ""]
    )  # fmt: skip
    house.done(PutTask(actor=actor(), project=HOME, href=f"{n}.ics", text=text))
    return text


def test_a_row_is_found_by_name_uid_and_id(house: House) -> None:
    text = put(house, 1)
    index = house.stores.index
    row = index.row(HOME, "1.ics")
    assert row is not None
    assert row.text == text
    assert index.named(HOME, "u1") == row
    assert index.row_of(row.task) == row
    state = index.task(row.task)
    assert state is not None
    assert index.found(row.task) == (state, row)
    assert index.rows(HOME, ["1.ics", "2.ics", "1.ics"]) == {"1.ics": row}
    assert index.row(HOME, "2.ics") is None
    assert index.found(task_id(uuid.UUID(int=9), HOME)) is None


def test_many_names_are_looked_up_at_once(house: House) -> None:
    for n in range(30):
        put(house, n)
    names = [f"{n}.ics" for n in range(1200)]
    assert len(house.stores.index.rows(HOME, names)) == 30


def test_changes_name_each_member_once_as_it_is_now(house: House) -> None:
    index = house.stores.index
    for n in range(3):
        put(house, n)
    start = index.head(HOME)
    row = index.row(HOME, "1.ics")
    assert row is not None
    house.done(SetKeys(actor=actor(), task=row.task, changes={"due": "2026-12-01"}))
    house.done(CompleteTask(actor=actor(), task=row.task))
    changes = index.changes(HOME, start, 10)
    assert [m.href for m in changes.members] == ["1.ics"]
    assert changes.seq == index.head(HOME)
    assert not changes.more
    house.done(DeleteTask(actor=actor(), task=row.task))
    gone = index.changes(HOME, start, 10).members
    assert [(m.href, m.etag) for m in gone] == [("1.ics", "")]
    assert not index.changes(HOME, index.head(HOME), 10).members


def test_a_limit_cuts_changes_and_the_next_call_goes_on(house: House) -> None:
    index = house.stores.index
    start = index.head(HOME)
    for n in range(7):
        put(house, n)
    seen: list[str] = []
    more = True
    while more:
        page = index.changes(HOME, start, 3)
        seen += [member.href for member in page.members]
        start, more = page.seq, page.more
    assert seen == [f"{n}.ics" for n in range(7)]
    assert start == index.head(HOME)


def test_a_limited_member_sees_what_is_assigned_and_sees_it_go(house: House) -> None:
    index = house.stores.index
    house.team(bob=Role.GUEST)
    mine, other = house.new_task(1, project=TEAM), house.new_task(2, project=TEAM)
    house.done(SetKeys(actor=actor(), task=mine, changes={f"assignee_{BOB}": "requested"}))
    names = [m.href for m in index.listing(TEAM, BOB)]
    assert names == [f"{mine[:32]}.ics"]
    assert index.row(TEAM, f"{other[:32]}.ics", BOB) is None
    assert len(list(index.texts(TEAM, Window(), BOB))) == 1
    assert list(index.rows(TEAM, [m.href for m in index.listing(TEAM)], BOB)) == names
    before = index.head(TEAM)
    house.done(SetKeys(actor=actor(), task=mine, changes={f"assignee_{BOB}": None}))
    gone = index.changes(TEAM, before, 10, BOB).members
    assert [(m.href, m.etag) for m in gone] == [(names[0], "")]


def test_homes_follow_membership_and_policy(house: House) -> None:
    house.team(bob=Role.MEMBER, carol=Role.OWNER)
    index = house.stores.index
    assert [(c.project, c.role, c.name) for c in index.homes(BOB)] == [(TEAM, Role.MEMBER, "Team")]
    house.done(SetMember(actor=actor(), project=TEAM, user=BOB, role=None))
    assert not index.homes(BOB)
    assert [c.role for c in index.homes(CAROL)] == [Role.OWNER]
    assert {c.project for c in index.homes(ALICE)} == {HOME, TEAM}


def test_a_window_leaves_out_what_is_done_or_elsewhere(house: House) -> None:
    put(house, 1, "DUE:20261201T090000Z")
    put(house, 2, "DUE:20270301T090000Z")
    put(house, 3, "STATUS:COMPLETED", "COMPLETED:20261101T090000Z", "DUE:20261201T090000Z")
    put(house, 4, "DTSTART:20200101T090000Z", "DUE:20200101T100000Z", "RRULE:FREQ=DAILY")
    put(house, 5)
    index = house.stores.index
    undone = frozenset(number for number, (_, done) in enumerate(STATES) if not done)
    december = Window(states=undone, start=1796083200, end=1798761600)
    assert {r.href for r in index.texts(HOME, december)} == {"1.ics", "4.ics", "5.ics"}
    found = {m.href: m for m in index.matching(HOME, december, texts=False)}
    assert {href: m.sure for href, m in found.items()} == {
        "1.ics": True,
        "4.ics": False,
        "5.ics": True,
    }
    assert [m.href for m in found.values() if m.text is not None] == ["4.ics"]
    assert all(m.text for m in index.matching(HOME, december, texts=True))
    assert len(list(index.texts(HOME, Window()))) == 5
    assert index.count(HOME) == (5, 4)


def test_history_pages_backwards_and_finds_patches(house: House) -> None:
    index = house.stores.index
    task = house.new_task()
    for n in range(5):
        house.done(SetKeys(actor=actor(), task=task, changes={"due": f"2026-12-0{n + 1}"}))
    newest = index.history(HOME, task, before=None, limit=4)
    oldest = index.history(HOME, task, before=newest[-1].seq, limit=4)
    assert [row.seq for row in newest + oldest] == list(range(8, 2, -1))
    assert all(row.task == task for row in newest)
    row = newest[0]
    assert index.entry(HOME, row.seq) == row
    assert index.position_of(HOME, row.patch) == row.seq
    assert index.position_of(HOME, PatchId("sha256:" + "0" * 64)) is None
    assert index.hash_at(HOME, row.seq) == row.hash
    assert row in index.find_patch(row.patch.removeprefix("sha256:")[:12])
    assert not index.find_patch("zz")


def test_forgetting_a_project_leaves_the_others(house: House) -> None:
    house.team()
    house.new_task(1)
    kept = house.new_task(2, project=TEAM)
    index = house.stores.index
    index.forget(HOME)
    assert index.head(HOME) == 0
    assert index.project(HOME) is None
    assert index.row_of(kept) is not None
    assert list(index.projects()) == [TEAM]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ROW.all", "task_href (pid=? AND href=? AND deleted=?)"),
        ("ROW.own", "task_href (pid=? AND href=? AND deleted=?)"),
        ("NAMED", "task_uid (pid=? AND uid=? AND deleted=?)"),
        ("FOUND", "(pid=? AND hex=?)"),
        ("CHANGES", "COVERING INDEX task_seq (pid=? AND seq>?)"),
        ("LISTING.all", "COVERING INDEX task_shown"),
        ("MATCHING.all", "task_shown (pid=? AND deleted=? AND shown=? AND last>?)"),
        ("WINDOW.own", "task_shown (pid=? AND deleted=? AND shown=? AND last>?)"),
        ("POSITION", "entry_patch (patch=? AND pid=?)"),
        ("HISTORY_OF", "entry_task (pid=? AND hex=? AND seq<?)"),
        ("HEAD", "(project=?)"),
    ],
)
def test_an_everyday_read_uses_an_index_for_its_whole_condition(name: str, path: str) -> None:
    """SQLite once took an index of fewer columns and read the whole project for one row."""
    engine = open_index_memory()
    engine.prepare_layout()
    form, _, part = name.partition(".")
    statement = getattr(statements, form)
    prepared = engine.prepared(getattr(statement, part) if part else statement)
    with engine.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN " + prepared.sql, (None,) * prepared.sql.count("?")
        ).fetchall()
    plan = "; ".join(str(row[3]) for row in rows)
    assert path in plan
    assert "SCAN" not in plan
