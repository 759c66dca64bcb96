"""Prints what the worker alone does: commits a second with fdatasync, rebuild, memory.

    python tests/bench/worker_commits.py [--patches 100000] [--folder DIR]

`--folder` chooses the disk; a temporary folder is used without it. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
import uuid
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import app
from bridge.config import Config
from bridge.model.ids import Address, Domain, ProjectId, task_id
from bridge.model.patch import Via
from bridge.worker.command import Actor, CreateProject, CreateTask, Receipt, SetKeys

if TYPE_CHECKING:
    from concurrent.futures import Future

    from bridge.worker.command import Command, Outcome

ALICE = Address("alice@home.example")
HOME = ProjectId(ALICE)
WHO = Actor(user=ALICE, via=Via.WORKER)
NOTES = "The quick brown fox jumps over the lazy dog. " * 12
LATENCIES = 1_000
IN_FLIGHT = 64


def create(n: int) -> CreateTask:
    """Return a task of about 850 bytes as calendar text."""
    keys = {"description": f"Task {n}", "notes": NOTES, "due": "2026-12-01", "tag_bench": ""}
    return CreateTask(actor=WHO, task=task_id(uuid.UUID(int=n + 1), HOME), keys=keys)


def change(n: int, tasks: int) -> SetKeys:
    """Return an edit of one of the tasks."""
    task = task_id(uuid.UUID(int=n % tasks + 1), HOME)
    return SetKeys(actor=WHO, task=task, changes={"description": f"Changed {n}"})


def one_by_one(running: app.Running, count: int) -> None:
    times = []
    for n in range(count):
        start = time.perf_counter()
        outcome = running.gateway.submit(create(n)).result()
        times.append(time.perf_counter() - start)
        assert isinstance(outcome, Receipt), outcome
    times.sort()
    print(
        f"one writer            {count / sum(times):>10,.0f} commits/s   "
        f"p50 {times[count // 2] * 1000:.2f} ms   p99 {times[count * 99 // 100] * 1000:.2f} ms"
    )


def many(running: app.Running, commands: list[Command], what: str) -> None:
    waiting: deque[Future[Outcome]] = deque()
    start = time.perf_counter()
    for command in commands:
        waiting.append(running.gateway.submit(command))
        if len(waiting) >= IN_FLIGHT:
            assert isinstance(waiting.popleft().result(), Receipt)
    for future in waiting:
        assert isinstance(future.result(), Receipt)
    took = time.perf_counter() - start
    print(f"{what:<22}{len(commands) / took:>10,.0f} commits/s")


def memory() -> float:
    """Return the resident memory now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def bench(folder: Path, patches: int) -> None:
    config = Config(domain=Domain("home.example"), spool=folder)
    app.initialise(config)
    with app.connect(config) as running:
        running.gateway.submit(CreateProject(actor=WHO, project=HOME)).result()
        one_by_one(running, LATENCIES)
        tasks = max(patches // 2, LATENCIES)
        creations: list[Command] = [create(n) for n in range(LATENCIES, tasks)]
        many(running, creations, f"{IN_FLIGHT} in flight, new")
        del creations
        edits: list[Command] = [change(n, tasks) for n in range(patches - tasks)]
        many(running, edits, f"{IN_FLIGHT} in flight, edits")
        del edits
        print(f"memory after {patches:,} patches  {memory():.0f} MiB")
        if running.worker is None:
            raise SystemExit("another process holds the spool")
        start = time.perf_counter()
        count = running.worker.rebuild()
        took = time.perf_counter() - start
        print(f"rebuild of {count:,} patches  {took:.1f} s   {count / took:,.0f}/s")
        size = sum(f.stat().st_size for f in folder.rglob("*.jsonl"))
        print(f"log {size / count:,.0f} bytes a patch; memory at the end {memory():.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        bench(folder, arguments.patches)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
