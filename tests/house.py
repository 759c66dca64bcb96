"""A real worker over stores in memory; the same fixture serves every test of commands."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bridge.model.ids import Address, KeyId, ProjectId, TaskId, task_id
from bridge.model.patch import Role, Via
from bridge.store.directory import open_memory
from bridge.store.directory_records import User
from bridge.store.index import Index
from bridge.store.index_engine import open_index_memory
from bridge.store.memory import MemoryBlobs, MemoryEvents, MemoryLog
from bridge.trust.patchsig import DomainKey
from bridge.worker.command import Actor, CreateProject, CreateTask, Receipt, SetMember
from bridge.worker.commit import Stores
from bridge.worker.loop import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.worker.command import Command, Outcome

ALICE = Address("alice@home.example")
BOB = Address("bob@home.example")
CAROL = Address("carol@home.example")
MALLORY = Address("mallory@evil.example")
HOME = ProjectId(ALICE)
TEAM = ProjectId("aaaaaaaaaaaaaaaaaaaaaaaaaa@home.example")
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def seeded(start: int = 0) -> Iterator[int]:
    return itertools.count(start)


@dataclass
class House:
    """One domain with a worker that runs in the test's own thread."""

    now: datetime = START
    numbers: Iterator[int] = field(default_factory=seeded)
    index: Index | None = None

    def __post_init__(self) -> None:
        if self.index is None:
            engine = open_index_memory()
            engine.prepare_layout()
            self.index = Index(engine)
        self.stores = Stores(
            log=MemoryLog(),
            index=self.index,
            blobs=MemoryBlobs(lambda: self.now),
            directory=open_memory(),
            events=MemoryEvents(),
        )
        self.key = DomainKey.from_seed(KeyId("home.example/k1"), b"k" * 32)
        self.worker = self.new_worker()
        for user in (ALICE, BOB, CAROL):
            self.stores.directory.people.add(User(address=user, name="", created=self.now))

    def new_worker(self) -> Worker:
        return Worker(
            self.stores,
            key=self.key,
            clock=self.tick,
            random_bytes=lambda n: next(self.numbers).to_bytes(n, "big"),
        )

    def tick(self) -> datetime:
        self.now += timedelta(milliseconds=10)
        return self.now

    def do(self, command: Command) -> Outcome:
        return self.worker.run([command])[0]

    def done(self, command: Command) -> Receipt:
        outcome = self.do(command)
        assert isinstance(outcome, Receipt), outcome
        return outcome

    def team(self, **roles: Role) -> None:
        self.done(CreateProject(actor=actor(ALICE), project=TEAM, policy={"name": "Team"}))
        for name, role in roles.items():
            user = Address(f"{name}@home.example")
            self.done(SetMember(actor=actor(ALICE), project=TEAM, user=user, role=role))

    def new_task(
        self, number: int = 1, user: Address = ALICE, project: ProjectId = HOME, **keys: str
    ) -> TaskId:
        task = task_id(uuid.UUID(int=number), project)
        self.done(
            CreateTask(actor=actor(user), task=task, keys={"description": "Buy milk", **keys})
        )
        return task


def actor(user: Address = ALICE, via: Via = Via.CALDAV) -> Actor:
    return Actor(user=user, via=via)
