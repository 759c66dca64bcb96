"""Random walks over appending, syncing, failing, crashing and reopening a log in files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.model.ids import parse_domain, parse_project
from bridge.store.durable import Reserve
from bridge.store.logfile import FileLog
from bridge.store.logreader import FileLogReader, LogSettings
from bridge.store.spool import Layout, SpoolLock

PROJECT = parse_project("one@a.example")
LINES = st.lists(
    st.binary(min_size=1, max_size=60).filter(lambda line: b"\n" not in line), max_size=6
)
SETTINGS = LogSettings(segment_bytes=120, open_files=2)


class LogMachine(RuleBasedStateMachine):
    """`durable` and `waiting` are what the log must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.layout = Layout(root=self.root, domain=parse_domain("a.example"))
        self.durable: list[bytes] = []
        self.waiting: list[bytes] = []
        self.reader = FileLogReader(self.layout, SETTINGS)
        self.open()

    def open(self) -> None:
        self.lock = SpoolLock(self.layout)
        self.log = FileLog(self.layout, self.lock, Reserve(self.root, reserve=0), SETTINGS)

    @rule(lines=LINES)
    def append(self, lines: list[bytes]) -> None:
        places = self.log.append(PROJECT, len(self.durable) + len(self.waiting), lines)
        assert [self.log.read_at(PROJECT, place) for place in places] == lines
        self.waiting += lines

    @rule()
    def sync(self) -> None:
        self.log.sync([PROJECT])
        self.durable += self.waiting
        self.waiting = []

    @rule()
    def truncate(self) -> None:
        self.log.truncate_unsynced(PROJECT)
        self.waiting = []

    @rule()
    def reopen(self) -> None:
        self.log.reopen(PROJECT)
        self.waiting = []

    @rule()
    def restart(self) -> None:
        self.log.close()
        self.lock.release()
        self.waiting = []
        self.open()

    @rule(cut=st.integers(min_value=0, max_value=200))
    def crash(self, cut: int) -> None:
        """The process dies; of what waited, the last `cut` bytes never reached the disk."""
        self.lock.release()
        self.log._files.close()
        segments = sorted(self.layout.log(PROJECT).glob("*.jsonl"))
        if segments:
            whole = sum(len(line) + 1 for line in self.durable + self.waiting)
            last = segments[-1].stat().st_size
            waiting = sum(len(line) + 1 for line in self.waiting)
            lost = min(cut, waiting, last)
            with segments[-1].open("r+b") as file:
                file.truncate(last - lost)
            assert sum(path.stat().st_size for path in segments) == whole - lost
        self.open()
        found = [line for _, _, line in self.log.read(PROJECT)]
        everything = self.durable + self.waiting
        assert found == everything[: len(found)]
        assert len(found) >= len(self.durable)
        self.durable, self.waiting = found, []

    @precondition(lambda self: self.durable)
    @rule(data=st.data())
    def read_from(self, data: st.DataObject) -> None:
        after = data.draw(st.integers(min_value=0, max_value=len(self.durable)))
        found = list(self.log.read(PROJECT, after))
        assert [line for _, _, line in found] == self.durable[after:]
        assert [seq for seq, _, _ in found] == list(range(after + 1, len(self.durable) + 1))

    @invariant()
    def writer_shows_what_is_durable(self) -> None:
        assert self.log.count(PROJECT) == len(self.durable)
        assert [line for _, _, line in self.log.read(PROJECT)] == self.durable

    @invariant()
    def reader_beside_it_shows_the_files(self) -> None:
        found = [line for _, _, line in self.reader.read(PROJECT)]
        assert found == self.durable + self.waiting

    def teardown(self) -> None:
        self.log.close()
        self.reader.close()
        self.lock.release()
        shutil.rmtree(self.root)


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
