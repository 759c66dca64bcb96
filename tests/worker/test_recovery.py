"""Crashes and failures between log and index, and threads that write at once."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import pytest
from house import ALICE, HOME, TEAM, House, actor

from bridge.errors import Corrupt, Unavailable
from bridge.model.ids import ProjectId, task_id
from bridge.model.log import replay
from bridge.model.patch import Role
from bridge.store.index import Index
from bridge.store.index_engine import open_index_memory
from bridge.store.memory import MemoryLog
from bridge.store.write import NotDurable
from bridge.trust.patchsig import SignatureChecker
from bridge.worker.command import (
    Annotate,
    CompleteTask,
    CreateProject,
    CreateTask,
    PutTask,
    Receipt,
    Refused,
    SetKeys,
)
from bridge.worker.commit import Stores
from bridge.worker.loop import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.store import Place
    from bridge.store.index_contract import IndexReader

TEXT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VTODO\r\nUID:u{n}\r\nDTSTAMP:20261120T120000Z\r\n"
    'X-KEEP;A="b,c":odd\r\nSUMMARY:Number {n}\r\nEND:VTODO\r\nEND:VCALENDAR\r\n'
)


def fresh_index() -> Index:
    engine = open_index_memory()
    engine.prepare_layout()
    return Index(engine)


def everything(index: IndexReader, project: ProjectId) -> object:
    """All that the index says of a project, for comparing two of them."""
    hrefs = sorted(member.href for member in index.listing(project))
    return (
        index.project(project),
        [index.rows(project, hrefs)[href] for href in hrefs],
        index.changes(project, 0, 1000),
        index.history(project, before=None, limit=1000),
        [index.task(row.task) for row in index.rows(project, hrefs).values()],
        index.count(project),
    )


def busy_house(house: House) -> None:
    house.team(bob=Role.MEMBER)
    for n in range(20):
        text = TEXT.format(n=n)
        house.done(PutTask(actor=actor(), project=HOME, href=f"{n}.ics", text=text))
    for n in range(0, 20, 3):
        row = house.stores.index.row(HOME, f"{n}.ics")
        assert row is not None
        house.done(SetKeys(actor=actor(), task=row.task, changes={"due": "2026-12-01"}))
        house.done(CompleteTask(actor=actor(), task=row.task))
    house.new_task(99, project=TEAM)


def reopened(house: House, index: Index) -> House:
    stores = house.stores
    house.stores = Stores(
        log=stores.log,
        index=index,
        blobs=stores.blobs,
        directory=stores.directory,
        events=stores.events,
    )
    house.worker = house.new_worker()
    return house


def test_a_rebuilt_index_equals_the_old_one_byte_for_byte(house: House) -> None:
    busy_house(house)
    before = [everything(house.stores.index, project) for project in (HOME, TEAM)]
    reopened(house, fresh_index())
    lacked = house.worker.recover()
    assert lacked == sum(house.stores.log.count(project) for project in (HOME, TEAM))
    assert [everything(house.stores.index, project) for project in (HOME, TEAM)] == before
    house.worker.rebuild()
    assert [everything(house.stores.index, project) for project in (HOME, TEAM)] == before


def test_entries_that_the_index_missed_are_read_in_at_the_start(house: House) -> None:
    """A crash between append and index: the log is ahead, the tail is replayed."""
    busy_house(house)
    before = everything(house.stores.index, HOME)
    index = fresh_index()
    reopened(house, index)
    house.worker.recover()
    lines = list(house.stores.log.read(HOME))
    house.new_task(7)
    expected = everything(house.stores.index, HOME)
    assert expected != before
    behind = fresh_index()
    reopened(house, behind)
    house.worker.recover()
    assert everything(behind, HOME) == expected
    assert len(list(house.stores.log.read(HOME))) == len(lines) + 1


def test_an_index_ahead_of_its_log_is_read_in_afresh(house: House) -> None:
    """A restored backup of the log: the index knows entries that are gone."""
    task = house.new_task()
    house.done(CompleteTask(actor=actor(), task=task))
    other = House()
    other.done(CreateProject(actor=actor(), project=HOME))
    other.new_task(5)
    reopened(other, house.stores.index)  # type: ignore[arg-type]  # the same class
    other.worker.recover()
    assert other.stores.index.head(HOME) == other.stores.log.count(HOME)
    assert other.stores.index.row_of(task) is None


def test_a_broken_chain_stops_the_recovery_at_the_last_good_entry(house: House) -> None:
    busy_house(house)
    log = house.stores.log
    lines = [line for _, _, line in log.read(HOME)]
    damaged = House()
    bad = [*lines[:5], lines[6], *lines[7:]]
    damaged.stores.log.append(HOME, 0, bad)
    damaged.stores.log.sync([HOME])
    with pytest.raises(Corrupt) as caught:
        damaged.worker.recover()
    assert caught.value.code == "bad-seq"
    assert damaged.stores.index.head(HOME) == 5


class FailingLog(MemoryLog):
    """The house's log, on a disk that fails when told to."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self.__dict__.update(house.stores.log.__dict__)
        self.fail: set[str] = set()
        self.flushes = 0

    def append(self, project: ProjectId, expected_seq: int, lines: Sequence[bytes]) -> list[Place]:
        if "append" in self.fail:
            raise Unavailable("disk-full", "there is no room left", retry=True)
        return super().append(project, expected_seq, lines)

    def sync(self, projects: Iterable[ProjectId]) -> None:
        self.flushes += 1
        wanted = list(projects)
        bad = [p for p in wanted if str(p) in self.fail]
        super().sync([p for p in wanted if p not in bad])
        for project in bad:
            self.truncate_unsynced(project)
        if bad:
            raise NotDurable({p: Unavailable("disk-error", "broken", retry=True) for p in bad})


def test_a_batch_is_made_durable_by_one_flush_before_any_answer(house: House) -> None:
    """Group commit: what waits together shares the disk's flush (design section 4)."""
    log = failing(house)
    commands = [
        CreateTask(
            actor=actor(), task=task_id(uuid.UUID(int=n + 1), HOME), keys={"description": "x"}
        )
        for n in range(10)
    ]
    before = house.stores.log.count(HOME)
    outcomes = house.worker.run(commands)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    assert log.flushes == 1
    assert house.stores.log.count(HOME) == before + 10


def failing(house: House) -> FailingLog:
    log = FailingLog(house)
    stores = house.stores
    house.stores = Stores(
        log=log,
        index=stores.index,
        blobs=stores.blobs,
        directory=stores.directory,
        events=stores.events,
    )
    house.worker = house.new_worker()
    return log


@pytest.mark.parametrize("fault", ["append", str(HOME)])
def test_what_cannot_be_made_durable_is_refused_for_now_and_leaves_nothing(
    house: House, fault: str
) -> None:
    task = house.new_task()
    before = everything(house.stores.index, HOME)
    log = failing(house)
    log.fail = {fault}
    outcome = house.do(CompleteTask(actor=actor(), task=task))
    assert isinstance(outcome, Refused)
    assert outcome.retry
    assert everything(house.stores.index, HOME) == before
    log.fail = set()
    house.done(CompleteTask(actor=actor(), task=task))
    lines = [line for _, _, line in house.stores.log.read(HOME)]
    checker = SignatureChecker(first_keys={house.key.id: house.key.public})
    assert replay(HOME, lines, checker).tasks[task].value("status") == "completed"


def test_a_log_that_fails_does_not_hurt_another_projects_writes(house: House) -> None:
    house.team()
    home, team = house.new_task(1), house.new_task(2, project=TEAM)
    log = failing(house)
    log.fail = {str(TEAM)}
    outcomes = house.worker.run(
        [CompleteTask(actor=actor(), task=home), CompleteTask(actor=actor(), task=team)]
    )
    assert isinstance(outcomes[0], Receipt)
    assert isinstance(outcomes[1], Refused)
    state = house.stores.index.task(team)
    assert state is not None
    assert state.value("status") == "needs_action"


class FailingIndex(Index):
    """An index that cannot write once."""

    failures = 0

    def apply(self, batch: object) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the index is broken")
        super().apply(batch)  # type: ignore[arg-type]  # handed through


def test_a_failing_index_loses_no_acknowledged_write(house: House) -> None:
    engine = open_index_memory()
    engine.prepare_layout()
    index = FailingIndex(engine)
    reopened(house, index)
    house.worker.recover()
    index.failures = 1
    task = house.new_task()
    state = index.task(task)
    assert state is not None
    assert index.head(HOME) == house.stores.log.count(HOME)


def test_threads_that_write_at_once_make_one_unbroken_chain(house: House) -> None:
    task = house.new_task()
    house.worker.start()
    outcomes: list[object] = []

    def write(thread: int) -> None:
        for n in range(50):
            new = task_id(uuid.UUID(int=1000 + thread * 100 + n), HOME)
            create = CreateTask(actor=actor(), task=new, keys={"description": f"{thread}.{n}"})
            outcomes.append(house.worker.submit(create).result(30))
            note = Annotate(actor=actor(), task=task, text=f"{thread}.{n}")
            outcomes.append(house.worker.submit(note).result(30))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    house.worker.stop()
    assert len(outcomes) == 400
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    lines = [line for _, _, line in house.stores.log.read(HOME)]
    checker = SignatureChecker(first_keys={house.key.id: house.key.public})
    fold = replay(HOME, lines, checker)
    assert fold.project == house.stores.index.project(HOME)
    notes = [v for k, v in fold.tasks[task].keys.items() if k.startswith("annotation_")]
    assert sorted(notes) == sorted(f"{t}.{n}" for t in range(4) for n in range(50))
    assert house.stores.index.count(HOME)[0] == 201


def test_a_stopped_worker_finishes_what_is_queued_and_takes_no_more(house: House) -> None:
    house.worker.start()
    futures = [
        house.worker.submit(
            CreateTask(
                actor=actor(), task=task_id(uuid.UUID(int=n + 1), HOME), keys={"description": "x"}
            )
        )
        for n in range(300)
    ]
    house.worker.stop()
    assert all(isinstance(future.result(1), Receipt) for future in futures)
    late = house.worker.submit(
        CreateTask(actor=actor(ALICE), task=task_id(uuid.UUID(int=1), HOME), keys={})
    )
    with pytest.raises(Unavailable):
        late.result(1)


def test_a_worker_needs_no_thread_to_run(house: House) -> None:
    assert isinstance(house.worker, Worker)
    assert not house.worker.alive
    house.new_task()
