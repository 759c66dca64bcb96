"""Prints what a durable append costs here: ``python tests/bench/log_append.py [directory]``.

Compare with tx-protocol section 20: 58 µs for one line, 109 µs for 20 lines of 500 bytes.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.model.ids import parse_domain, parse_project
from bridge.store.durable import Reserve
from bridge.store.logfile import FileLog
from bridge.store.spool import Layout, SpoolLock

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 2000
LINE = b"x" * 500


def measured(title: str, work: Callable[[int], int], rounds: int = ROUNDS) -> None:
    """Run `work` and print its latency in µs and the lines a second it gave."""
    times = []
    lines = 0
    for number in range(rounds):
        start = time.perf_counter()
        lines += work(number)
        times.append(time.perf_counter() - start)
    times.sort()
    p50, p99 = statistics.median(times) * 1e6, times[int(len(times) * 0.99)] * 1e6
    print(f"{title:46} p50 {p50:8.1f}  p99 {p99:8.1f} µs  {lines / sum(times):10.0f} lines/s")


def main(directory: str | None) -> None:
    """Measure in a new spool below `directory`."""
    with tempfile.TemporaryDirectory(dir=directory) as root:
        layout = Layout(root=Path(root), domain=parse_domain("a.example"))
        with SpoolLock(layout) as lock:
            log = FileLog(layout, lock, Reserve(layout.root))
            projects = [parse_project(f"p{number}@a.example") for number in range(1000)]
            heads = dict.fromkeys(projects, 0)

            def append(count: int, targets: int) -> int:
                for project in projects[:targets]:
                    log.append(project, heads[project], [LINE] * count)
                    heads[project] += count
                return count * targets

            def durable(count: int, targets: int = 1) -> int:
                append(count, targets)
                log.sync(projects[:targets])
                return count * targets

            def opened(number: int) -> int:
                log.reopen(projects[number])
                return min(log.count(projects[number]), 1)

            with (layout.root / "bare").open("ab", buffering=0) as bare:

                def bare_append(_number: int) -> int:
                    os.write(bare.fileno(), LINE)
                    os.fdatasync(bare.fileno())
                    return 1

                measured("bare os.write + os.fdatasync, to compare", bare_append)
            durable(1)
            measured("append 1 line, not synced", lambda _: append(1, 1))
            measured("append 1 line + sync", lambda _: durable(1))
            measured("append 20 lines + sync", lambda _: durable(20))
            measured("append 1 line to 8 projects + one sync call", lambda _: durable(1, 8))
            measured("create 1,000 logs: append to all, one sync", lambda _: durable(1, 1000), 1)
            measured("open a log of one line (repair check, flush)", opened, 1000)
            place = next(iter(log.read(projects[0])))[1]
            measured(
                "read one line by place", lambda _: len(log.read_at(projects[0], place)) // 500
            )
            head = heads[projects[0]]
            measured("read the newest line", lambda _: len(list(log.read(projects[0], head - 1))))
            measured(f"read all {head} lines", lambda _: len(list(log.read(projects[0]))), 5)
            log.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
