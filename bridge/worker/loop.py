"""The worker: the only writer of a spool (design section 4).

One thread takes what waits in the queue, up to `BATCH` commands; plans, signs and judges
them one after the other, each on top of those before; appends all entries and makes them
durable with one flush a log; takes them into the index in one transaction; then answers.
A command that is refused changes nothing. When a log cannot be written, every command of
the batch that concerns it is answered "not now", and nothing of it is kept.
"""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError, Corrupt, Invalid, Unavailable
from bridge.model.ids import ReplicaId
from bridge.model.request import Caps
from bridge.worker import plan, report, requests
from bridge.worker.command import (
    AcceptRequest,
    Command,
    Conflict,
    DeclineRequest,
    IgnoreRequest,
    Outcome,
    Receipt,
    ReceiveRequest,
    Refused,
)
from bridge.worker.commit import Commit, Stores
from bridge.worker.stage import Layer, Made, Stage
from bridge.worker.view import House, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from bridge.model.ids import Digest, ProjectId
    from bridge.trust.patchsig import DomainKey

log = logging.getLogger(__name__)

BATCH: Final = 64
QUEUE: Final = 4096
REPLICA: Final = "main"
_RequestCommand = ReceiveRequest | AcceptRequest | DeclineRequest | IgnoreRequest


class _Job:
    """A command on its way, and what came of it so far."""

    __slots__ = ("command", "future", "layer", "outcome", "then")

    def __init__(self, command: Command, future: Future[Outcome]) -> None:
        self.command = command
        self.future = future
        self.outcome: Outcome | BridgeError | None = None
        self.layer: Layer | None = None
        self.then: Callable[[], Outcome] | None = None
        """What the directory must learn once the log has it."""


class Worker:
    """The writer's thread and the queue in front of it."""

    def __init__(
        self,
        stores: Stores,
        *,
        key: DomainKey,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
        caps: Caps | None = None,
    ) -> None:
        """Use the stores of one spool, whose lock the caller holds.

        `caps` bound how much strangers and acquaintances may ask.
        """
        self._caps = caps or Caps()
        self._key = key
        self._house = House(domain=key.domain, key=key.id, public=key.public)
        self._log = stores.log
        self._index = stores.index
        self._blobs = stores.blobs
        self._directory = stores.directory
        self._events = stores.events
        self._clock = clock
        self._random = random_bytes
        self._replica = ReplicaId(f"{key.domain}/{REPLICA}")
        self._commit = Commit(stores)
        # Bounded: a burst beyond it is answered "not now" at once instead of growing.
        self._queue: queue.Queue[_Job | None] = queue.Queue(QUEUE)
        self._thread: threading.Thread | None = None
        self._closed = False
        # Held while a batch is worked on: `run` and `rebuild` may come from another thread.
        self._working = threading.Lock()
        self.on_commit: list[Callable[[frozenset[ProjectId]], None]] = []
        """Called after each batch with the projects that moved; must return at once."""
        self.entries = 0
        """Entries committed since the start."""
        self.refused = 0
        """Commands refused since the start."""

    # -- life ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread. Call `recover` before."""
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued, then stop."""
        self._closed = True
        if self._thread:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    @property
    def waiting(self) -> int:
        """How many commands wait."""
        return self._queue.qsize()

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    # -- the one way in ------------------------------------------------------------------

    def submit(self, command: Command) -> Future[Outcome]:
        """Queue `command` (`bridge.worker.gateway.Submit`)."""
        future: Future[Outcome] = Future()
        if self._closed:
            future.set_exception(_busy("the server is stopping"))
            return future
        try:
            self._queue.put_nowait(_Job(command, future))
        except queue.Full:
            future.set_exception(_busy("too many changes are waiting"))
        return future

    def keep_blob(self, project: ProjectId, data: bytes) -> Digest:
        """Store bytes in a project's container; durable on return."""
        return self._blobs.put(project, data)

    def run(self, commands: Sequence[Command]) -> list[Outcome]:
        """Work on `commands` in this thread as one batch: a worker without its thread.

        Raises:
            Unavailable: the log cannot be written.
        """
        jobs = [_Job(command, Future()) for command in commands]
        self._work(jobs)
        return [job.future.result() for job in jobs]

    # -- the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            jobs, last = [first], False
            while len(jobs) < BATCH:
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    last = True
                    break
                jobs.append(job)
            self._work(jobs)
            if last:
                return

    def _work(self, waiting: list[_Job]) -> None:
        jobs = [job for job in waiting if job.future.set_running_or_notify_cancel()]
        now = self._clock()
        with self._working:
            batch = Layer()
            moved: frozenset[ProjectId] = frozenset()
            try:
                for job in jobs:
                    self._stage(job, batch, now)
                failed = self._commit.commit(batch.made)
                self._fail(jobs, failed)
                moved = frozenset(made.entry.project for made in batch.made) - failed.keys()
            except Exception as error:
                # Nothing of this batch was acknowledged; what did reach a log is read in again.
                log.exception("a batch failed")
                self._commit.resume(made.entry.project for made in batch.made)
                trouble = _busy("the change could not be saved", cause=str(error))
                for job in jobs:
                    job.outcome, job.then = trouble, None
            for job in jobs:
                _conclude(job)
            self._report(jobs, now)
        for job in jobs:
            _answer(job)
        if moved:
            for call in self.on_commit:
                call(moved)

    def _stage(self, job: _Job, batch: Layer, now: datetime) -> None:
        stage = Stage(
            index=self._index,
            log=self._log,
            blobs=self._blobs,
            key=self._key,
            replica=self._replica,
            random_bytes=self._random,
            batch=batch,
            cached=self._commit.cached,
        )
        try:
            job.outcome = self._outcome(job, stage, now)
        except Invalid as error:
            job.outcome = Refused(code=error.code, reason=error.public)
        except BridgeError as error:
            job.outcome = error
        if stage.mine.made and isinstance(job.outcome, Receipt):
            job.layer = stage.mine
            batch.take(stage.mine)

    def _outcome(self, job: _Job, stage: Stage, now: datetime) -> Outcome:
        command = job.command
        if isinstance(command, _RequestCommand):
            office = requests.Office(
                directory=self._directory,
                blobs=self._blobs,
                keep=self.keep_blob,
                house=self._house,
                caps=self._caps,
                now=now,
            )
            step = requests.prepare(command, office, stage)
            job.then = step.then
            if step.command is None:
                return step.outcome or Receipt(project=requests.home_of(command))
            command = step.command
        answer = plan.plan(command, stage, self._house, self.keep_blob, now)
        if not isinstance(answer, Plan):
            return answer
        return self._carry_out(answer, stage, now)

    def _carry_out(self, planned: Plan, stage: Stage, now: datetime) -> Outcome:
        first: Made | None = None
        for draft in planned.drafts:
            made = stage.commit(draft, now)
            if isinstance(made, Refused):
                if made.code == "conflict":
                    return Conflict(reason=made.reason)
                return made
            first = first or made
        if first is None:
            raise Corrupt("empty-plan", "a plan without patches")
        row = stage.row(planned.task) if planned.task else None
        return Receipt(
            project=first.entry.project,
            seq=first.entry.seq,
            patch=first.entry.patch.id,
            task=planned.task,
            created=_created(first),
            etag=row.etag if row else "",
            exact=row is not None and planned.sent is not None and row.text == planned.sent,
            href=row.href if row else "",
            skipped=tuple(f"{skip.op}: {skip.why}" for skip in first.entry.skipped),
            conflicts=planned.conflicts,
        )

    # -- answering -----------------------------------------------------------------------

    def _fail(self, jobs: list[_Job], failed: Mapping[ProjectId, BridgeError]) -> None:
        """Answer "not now" to every command with an entry in a log that failed."""
        for job in jobs:
            for made in job.layer.made if job.layer else ():
                error = failed.get(made.entry.project)
                if error is not None:
                    job.outcome, job.then = error, None

    # -- recovery ------------------------------------------------------------------------

    def recover(self, progress: Callable[[ProjectId, int], None] | None = None) -> int:
        """Bring the index up to the logs; return how many entries it lacked."""
        return sum(self._commit.catch_up(project, progress) for project in self._log.projects())

    def rebuild(self, progress: Callable[[ProjectId, int], None] | None = None) -> int:
        """Read every log in afresh; return how many entries there were."""
        with self._working:
            self._commit.forget_states()
            known = set(self._index.projects()) | set(self._log.projects())
            for project in known:
                self._index.forget(project)
        return self.recover(progress)

    # -- what happened -------------------------------------------------------------------

    def _report(self, jobs: Sequence[_Job], now: datetime) -> None:
        self.entries += sum(len(job.layer.made) for job in jobs if job.layer)
        self.refused += sum(isinstance(job.outcome, Refused) for job in jobs)
        events: list[dict[str, object]] = [
            event
            for job in jobs
            for event in report.events(
                job.command, job.outcome, job.layer.made if job.layer else ()
            )
        ]
        if events:
            self._events.append(now, events)


def _conclude(job: _Job) -> None:
    """Let the directory know what the log has; the log is the truth, so only then."""
    if job.then is None or not isinstance(job.outcome, Receipt):
        return
    try:
        outcome = job.then()
    except BridgeError as error:
        job.outcome = error
        return
    except Exception as error:
        log.exception("the directory could not be told of a command")
        job.outcome = _busy("the request could not be changed", cause=str(error))
        return
    if not (isinstance(outcome, Receipt) and job.outcome.task):
        job.outcome = outcome


def _busy(reason: str, cause: str = "") -> Unavailable:
    return Unavailable("unavailable", reason, retry=True, cause=cause)


def _answer(job: _Job) -> None:
    if isinstance(job.outcome, BridgeError):
        if isinstance(job.outcome, Unavailable):
            job.future.set_result(
                Refused(code=job.outcome.code, reason=job.outcome.public, retry=True)
            )
        else:
            job.future.set_exception(job.outcome)
    elif job.outcome is None:
        job.future.set_exception(_busy("the change was not made"))
    else:
        job.future.set_result(job.outcome)


def _created(made: Made) -> bool:
    if made.entry.patch.on_project:
        return made.entry.seq == 1
    return made.task is not None and made.task.created_seq == made.entry.seq
