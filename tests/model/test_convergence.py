"""Replicas with skewed clocks and offline edits end up equal to the master."""

from __future__ import annotations

import json
import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.model import canonical
from bridge.model.history import of_task, reversal
from bridge.model.ids import Address, ProjectId, ReplicaId, TaskId
from bridge.model.log import Entry, Fold, entry_of, unsigned_head
from bridge.model.merge import Accepted, apply, decide
from bridge.model.patch import (
    Base,
    Create,
    Draft,
    Member,
    Mode,
    Op,
    Patch,
    Role,
    Set,
    Via,
    read_patch,
)
from bridge.model.state import ProjectState, TaskState

PROJECT = ProjectId("p1@b.example")
USERS = [Address(f"u{i}@d{i}.example") for i in range(4)]
CREATOR = Address("carol@b.example")
TASKS = [TaskId(f"{i:032x}-{PROJECT}") for i in range(1, 4)]
KEYS = ["description", "status", "due", "tag_a", "annotation_1767225600", "annotation_1767225601"]
VALUES = [None, "", "one", "two", "needs_action", "completed", "deleted"]
EPOCH = 1767225600


def clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"2026-01-01T{hour:02d}:{minute:02d}:{second:02d}.{rest:03d}Z"


class Master:
    def __init__(self) -> None:
        self.fold = Fold(project=ProjectState(id=PROJECT))
        self.entries: list[Entry] = []
        self.now = 3_600_000
        members: list[Op] = [Member(CREATOR, Role.CREATOR)]
        members += [Member(user, Role.OWNER) for user in USERS]
        self.take(make(PROJECT, CREATOR, 1, self.fold.project, clock(self.now), members))
        for n, task in enumerate(TASKS):
            ops: list[Op] = [Create(), Set("description", "start")]
            self.take(make(task, CREATOR, n + 2, self.fold.project, clock(self.now), ops))

    def take(self, patch: Patch) -> bool:
        self.now += 7
        task = None if patch.on_project else self.fold.tasks.get(TaskId(patch.subject))
        ts = clock(self.now)
        verdict = decide(patch, self.fold.project, task, self.fold, ts)
        if not isinstance(verdict, Accepted):
            return False
        head, body = unsigned_head(patch, verdict.skipped, self.fold.project, ts)
        entry = entry_of({"head": head, "body": body})
        self.fold.add(entry)
        self.entries.append(entry)
        return True


def make(
    subject: TaskId | ProjectId, author: Address, n: int, at: ProjectState, when: str, ops: list[Op]
) -> Patch:
    draft = Draft(project=PROJECT, subject=subject, author=author, via=Via.HTTP, ops=tuple(ops))
    nonce = uuid.uuid5(uuid.NAMESPACE_DNS, f"{author}{n}").hex[:22]
    document = draft.document(
        replica=ReplicaId(f"{author}/r1"), n=n, base=at.base, at=when, nonce=nonce
    )
    return read_patch(document)


class Replica:
    """A store that reads the log, folds its own pending patches on top, and has a wrong clock."""

    def __init__(self, user: Address, skew: int, entries: list[Entry]) -> None:
        self.user, self.skew, self.n = user, skew, 0
        self.fold = Fold(project=ProjectState(id=PROJECT))
        self.pending: list[Patch] = []
        self.pull(entries)

    def pull(self, entries: list[Entry]) -> None:
        for entry in entries[self.fold.project.seq :]:
            self.fold.add(entry)
            self.pending = [p for p in self.pending if p.id != entry.patch.id]

    def edit(self, task: TaskId, ops: list[Op], now: int) -> None:
        self.n += 1
        when = clock(max(0, now + self.skew))
        self.pending.append(make(task, self.user, self.n, self.fold.project, when, ops))

    def push(self, master: Master) -> None:
        for patch in self.pending:
            master.take(patch)
        self.pending = []

    def shown(self) -> dict[TaskId, TaskState]:
        """Log state plus pending patches, folded with the same rules (section 6)."""
        project, tasks = self.fold.project, dict(self.fold.tasks)
        for patch in self.pending:
            task = tasks.get(TaskId(patch.subject))
            ts = max(project.ts, patch.at)
            verdict = decide(patch, project, task, self.fold, ts)
            if isinstance(verdict, Accepted):
                _, after = apply(patch, verdict.skipped, project, task, head=project.hash, ts=ts)
                if after:
                    tasks[after.id] = after
        return tasks


actions = st.lists(
    st.one_of(
        st.tuples(
            st.just("edit"),
            st.integers(0, 3),
            st.sampled_from(TASKS),
            st.lists(
                st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), min_size=1, max_size=3
            ),
        ),
        st.tuples(st.just("push"), st.integers(0, 3)),
        st.tuples(st.just("pull"), st.integers(0, 3)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(actions, st.lists(st.integers(-3_600_000, 3_600_000), min_size=4, max_size=4))
def test_replicas_converge_whatever_their_clocks_say(
    script: list[tuple[object, ...]], skews: list[int]
) -> None:
    master = Master()
    replicas = [Replica(u, s, master.entries) for u, s in zip(USERS, skews, strict=True)]
    for step in script:
        replica = replicas[step[1]]  # type: ignore[call-overload]  # an index by construction
        if step[0] == "edit":
            ops = [Set(key, value) for key, value in step[3]]  # type: ignore[attr-defined]  # list
            replica.edit(step[2], ops, master.now)
            replica.shown()
        elif step[0] == "push":
            replica.push(master)
        else:
            replica.pull(master.entries)
    for replica in replicas:
        replica.push(master)
    for replica in replicas:
        replica.pull(master.entries)
        assert replica.fold.project == master.fold.project
        assert replica.shown() == master.fold.tasks
    again = Fold(project=ProjectState(id=PROJECT))
    for entry in master.entries:
        again.add(entry_of(json.loads(entry.line)))
    assert again.tasks == master.fold.tasks
    for task in TASKS:
        mine = [entry for entry in master.entries if entry.patch.subject == task]
        assert list(of_task(mine))[-1].task == master.fold.tasks[task]


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(4)), st.lists(st.integers(0, 3000), min_size=4, max_size=4))
def test_concurrent_writes_to_one_key_give_one_result_in_every_order(
    order: list[int], times: list[int]
) -> None:
    def run(sequence: list[int]) -> str | None:
        master = Master()
        base = master.fold.project
        start = master.now
        patches = [
            make(TASKS[0], USERS[i], 1, base, clock(start - 4000 + times[i]), [Set("due", str(i))])
            for i in range(4)
        ]
        for i in sequence:
            assert master.take(patches[i])
        return master.fold.tasks[TASKS[0]].value("due")

    assert run(list(order)) == run([0, 1, 2, 3])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), min_size=1, max_size=4))
def test_revert_restores_what_a_patch_changed_and_revert_of_revert_brings_it_back(
    changes: list[tuple[str, str | None]],
) -> None:
    master = Master()
    task = TASKS[0]
    before = master.fold.tasks[task].keys

    def history() -> list[Entry]:
        return [entry for entry in master.entries if entry.patch.subject == task]

    def revert(n: int) -> Patch | None:
        last = history()[-1].patch
        taken_back = reversal(of_task(history()), last.id, master.fold.tasks[task])
        assert taken_back is not None
        assert not taken_back.conflicts
        if not taken_back.ops:
            return None
        draft = Draft(
            project=PROJECT,
            subject=task,
            author=CREATOR,
            via=Via.WORKER,
            ops=taken_back.ops,
            mode=Mode.ATOMIC,
            reverts=last.id,
        )
        document = draft.document(
            replica=ReplicaId("b.example/main"),
            n=n,
            at=clock(master.now),
            nonce="A" * 22,
            base=Base(seq=master.fold.project.seq, hash=master.fold.project.hash),
        )
        return read_patch(document)

    edit = make(
        task, USERS[0], 1, master.fold.project, clock(master.now), [Set(k, v) for k, v in changes]
    )
    assert master.take(edit)
    after = master.fold.tasks[task].keys
    back = revert(1)
    if back is None:
        assert before == after
        return
    assert master.take(back)
    assert master.fold.tasks[task].keys == before
    again = revert(2)
    assert again is not None
    assert master.take(again)
    assert master.fold.tasks[task].keys == after


def test_keys_written_since_are_conflicts_and_stay_unless_forced() -> None:
    master = Master()
    task = TASKS[0]
    master.take(
        make(
            task,
            USERS[0],
            1,
            master.fold.project,
            clock(master.now),
            [Set("due", "2026-05-01"), Set("priority", "high")],
        )
    )
    first = master.entries[-1].patch.id
    master.take(
        make(task, USERS[1], 1, master.fold.project, clock(master.now), [Set("due", "2026-06-01")])
    )
    history = [entry for entry in master.entries if entry.patch.subject == task]
    state = master.fold.tasks[task]
    gentle = reversal(of_task(history), first, state)
    forced = reversal(of_task(history), first, state, force=True)
    assert gentle is not None
    assert forced is not None
    assert gentle.conflicts == ("due",)
    assert gentle.ops == (Set("priority", None, "high"),)
    assert Set("due", None, "2026-06-01") in forced.ops


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_canonical_bytes_round_trip_and_are_a_fixed_point(document: dict[str, object]) -> None:
    data = canonical.canonical(document)
    assert data == canonical.rfc8785(document)
    again = canonical.parse(data, limit=1 << 20)
    assert again == document
    assert canonical.canonical(again) == data
