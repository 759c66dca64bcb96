"""The loop over one mailbox: what arrives is taken in once and moved (mail-trust section 8).

Exactly once rests on three records, not on timing: the journal knows a mail by its place
(mailbox, UIDVALIDITY, UID) and by its content; the outcome is recorded before the move; and
a mail that still lies in the folder is looked up first, so a crash between the two leads to
a move and to nothing else. A new UIDVALIDITY means that places say nothing any more: every
mail is read again and the journal keeps it quiet. Nothing is ever deleted.

The cursor (the highest UID below which nothing is left to do) lives in the directory; the
whole folder is looked at on each connection, above the cursor after each push. Lost
connections are tried again with exponential back-off and jitter, for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from bridge.errors import BridgeError, Misconfigured, Unavailable
from bridge.mail.case import Disposition, Incoming, Source, Taken
from bridge.mail.mailbox import FETCH_MAX, Mailbox, MailboxSettings, Stub
from bridge.store.directory_records import MailPlace, MailState
from bridge.wire.headers import read_headers
from bridge.wire.message import SIZE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from concurrent.futures import Executor

    from bridge.mail.health import Pulse
    from bridge.mail.intake import Intake
    from bridge.store.directory_contract import Journal
    from bridge.worker.gateway import Gateway

BATCH_BYTES: Final = 32 * 1024 * 1024
"""Bytes fetched at once; a single mail may be as large as `SIZE_MAX`."""
STUMBLES_MAX: Final = 5
"""Times that one mail may break the program before it is set aside."""
_BACKOFF_FIRST: Final = 1.0
_BACKOFF_MAX: Final = 300.0
_HEAD_MAX: Final = 64 * 1024
_RETRY_SECONDS: Final = 15.0
"""How soon mail is looked at again that could not be taken in now; doubled each time."""
_log = logging.getLogger(__name__)
T = TypeVar("T")


class _Settled(NamedTuple):
    """A mail that has its outcome and now leaves the folder."""

    uid: int
    rejected: bool


class Fetcher:
    """Empties one mailbox into the intake."""

    def __init__(
        self,
        gateway: Gateway,
        intake: Intake,
        settings: MailboxSettings,
        executor: Executor,
        pulse: Pulse,
    ) -> None:
        """Fetch what `settings` name; mail is taken in by threads of `executor`."""
        self._gateway = gateway
        self._intake = intake
        self._settings = settings
        self._executor = executor
        self._pulse = pulse
        self._stumbles: Counter[int] = Counter()
        self._put_off = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch until `stop` is set."""
        while not stop.is_set():
            try:
                await self._session(stop)
            except (Unavailable, Misconfigured) as error:
                failures = self._pulse.fail(error.public)
                _log.warning("mailbox %s: %s", self._settings.name, error.public)
                await _sleep(self._backoff(failures), stop)
            except Exception:  # noqa: BLE001 - one connector's bug must not end the others
                failures = self._pulse.fail("internal error")
                _log.exception("mailbox %s", self._settings.name)
                await _sleep(self._backoff(failures), stop)

    async def _session(self, stop: asyncio.Event) -> None:
        mailbox = await Mailbox.open(self._settings)
        try:
            await self.sweep(mailbox, after=0, whole=True)
            while not stop.is_set():
                self._pulse.beat()
                await _until(stop, mailbox.wait(self._pause()))
                if stop.is_set():
                    return
                after = await self._in_thread(self._cursor, mailbox.uidvalidity)
                await self.sweep(mailbox, after=after)
        finally:
            await mailbox.close()

    async def sweep(self, mailbox: Mailbox, *, after: int, whole: bool = False) -> None:
        """Take in and move everything above the UID `after`; until nothing new is there.

        With `whole`, also note which recorded copies have left the folder meanwhile.
        """
        left: set[int] = set()
        top = after
        while uids := [uid for uid in await mailbox.search(after) if uid > top]:
            if whole:
                await self._in_thread(self._reconcile, mailbox.uidvalidity, frozenset(uids))
                whole = False
            for at in range(0, len(uids), FETCH_MAX):
                left |= await self._batch(mailbox, uids[at : at + FETCH_MAX])
            top = uids[-1]
        if whole:
            await self._in_thread(self._reconcile, mailbox.uidvalidity, frozenset())
        self._put_off = self._put_off + 1 if left else 0
        done = min(left) - 1 if left else top
        if done > after:
            await self._in_thread(self._set_cursor, mailbox.uidvalidity, done)

    async def _batch(self, mailbox: Mailbox, uids: Sequence[int]) -> set[int]:
        """Take in some mails and move them; return those that must wait."""
        settled = await self._in_thread(self._known, mailbox.uidvalidity, uids)
        await self._leave(mailbox, settled)
        known = {one.uid for one in settled}
        fresh = await mailbox.describe([uid for uid in uids if uid not in known])
        waiting: set[int] = set()
        for part in _parts(fresh):
            # Over the limit: only its place names it; it is moved without being fetched.
            wanted = [stub.uid for stub in part if stub.size <= SIZE_MAX]
            mails = await mailbox.fetch(wanted)
            jobs = [
                self._in_thread(self._take, mailbox.uidvalidity, stub, mails.get(stub.uid))
                for stub in part
                if stub.uid in mails or stub.size > SIZE_MAX
            ]
            outcomes = await asyncio.gather(*jobs)
            await self._leave(mailbox, [one for one in outcomes if isinstance(one, _Settled)])
            waiting |= {one for one in outcomes if isinstance(one, int)}
        return waiting

    async def _leave(self, mailbox: Mailbox, settled: Sequence[_Settled]) -> None:
        """Move mails that have an outcome, then note that they have left."""
        settings = self._settings
        for folder, rejected in ((settings.processed, False), (settings.rejected, True)):
            uids = [one.uid for one in settled if one.rejected is rejected]
            if uids:
                await mailbox.move(uids, folder)
                await self._in_thread(self._moved, mailbox.uidvalidity, uids)

    # -- in threads ----------------------------------------------------------------------

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)

    def _take(self, uidvalidity: int, stub: Stub, raw: bytes | None) -> _Settled | int:
        """Take one mail in; return its UID where it has to wait."""
        incoming = Incoming(
            raw=raw if raw is not None else self._name_of(uidvalidity, stub),
            recipients=self._candidates(raw),
            received=stub.received,
            source=Source.IMAP,
            place=self._place(uidvalidity, stub.uid),
        )
        try:
            taken = self._taken(incoming, stub, fetched=raw is not None)
        except BridgeError as error:
            taken = self._intake.reject(incoming, error.code, error.public)
        except Exception:  # noqa: BLE001 - a mail that breaks us is counted, then set aside
            _log.exception("mailbox %s: mail %d", self._settings.name, stub.uid)
            self._stumbles[stub.uid] += 1
            if self._stumbles[stub.uid] < STUMBLES_MAX:
                return stub.uid
            taken = self._intake.reject(incoming, "internal-error", "the mail cannot be handled")
        if taken.disposition is Disposition.LATER:
            return stub.uid
        return _Settled(uid=stub.uid, rejected=taken.disposition is not Disposition.DONE)

    def _taken(self, incoming: Incoming, stub: Stub, *, fetched: bool) -> Taken:
        if fetched:
            return self._intake.take(incoming)
        reason = f"the mail of {stub.size} bytes is larger than 25 MiB"
        return self._intake.reject(incoming, "too-large", reason)

    def _candidates(self, raw: bytes | None) -> tuple[str | None, ...]:
        """Return who may be the recipient: what our own hop wrote, then whose mailbox it is.

        An address of ours that our own hop wrote, and that is nobody's, stays nobody's.
        """
        settings = self._settings
        delivered = _delivered_to(raw or b"")
        if settings.recipient or delivered.endswith(f"@{self._gateway.domain}"):
            return (delivered, settings.recipient or None)
        return (delivered, settings.user)

    def _name_of(self, uidvalidity: int, stub: Stub) -> bytes:
        return f"{self._settings.name} {uidvalidity} {stub.uid} {stub.size}".encode()

    def _place(self, uidvalidity: int, uid: int) -> MailPlace:
        return MailPlace(mailbox=self._settings.name, uidvalidity=uidvalidity, uid=uid)

    def _known(self, uidvalidity: int, uids: Sequence[int]) -> list[_Settled]:
        """Return the mails among `uids` that only need to be moved."""
        settled = []
        for uid in uids:
            entry = self._journal.at(self._place(uidvalidity, uid))
            if entry is not None and entry.state is not MailState.RECEIVED:
                settled.append(_Settled(uid=uid, rejected=entry.state is MailState.REJECTED))
        return settled

    def _moved(self, uidvalidity: int, uids: Sequence[int]) -> None:
        now = self._gateway.clock()
        with self._gateway.directory.transaction():
            for uid in uids:
                self._journal.moved(self._place(uidvalidity, uid), now)

    def _reconcile(self, uidvalidity: int, present: frozenset[int]) -> None:
        """Note copies that left the folder without us, or just before a crash."""
        now = self._gateway.clock()
        gone = [
            place
            for entry in self._journal.pending()
            for place in entry.unmoved
            if place.mailbox == self._settings.name
            and (place.uidvalidity != uidvalidity or place.uid not in present)
        ]
        with self._gateway.directory.transaction():
            for place in gone:
                self._journal.moved(place, now)

    def _cursor(self, uidvalidity: int) -> int:
        stored = self._journal.cursor(self._outlet) or ""
        validity, _, uid = stored.partition(":")
        return int(uid) if validity == str(uidvalidity) and uid.isdecimal() else 0

    def _set_cursor(self, uidvalidity: int, uid: int) -> None:
        self._journal.set_cursor(self._outlet, f"{uidvalidity}:{uid}", self._gateway.clock())

    @property
    def _journal(self) -> Journal:
        return self._gateway.directory.journal

    @property
    def _outlet(self) -> str:
        return f"imap:{self._settings.name}"

    def _pause(self) -> float:
        """Return seconds until the folder is looked at without a push."""
        if not self._put_off:
            return self._settings.poll_seconds
        return min(self._settings.poll_seconds, _RETRY_SECONDS * (1 << min(self._put_off - 1, 8)))

    def _backoff(self, failures: int) -> float:
        """Return seconds to wait: doubled each time, from half to the whole of it at random."""
        longest = min(_BACKOFF_FIRST * float(1 << min(failures - 1, 16)), _BACKOFF_MAX)
        return longest * (0.5 + self._gateway.random_bytes(1)[0] / 512)


def _delivered_to(raw: bytes) -> str:
    """Return the topmost Delivered-To: our own hop's; one below may be anybody's."""
    end = raw.find(b"\r\n\r\n", 0, _HEAD_MAX)
    try:
        headers = read_headers(raw[: end + 2])
    except BridgeError:
        return ""
    return (headers.raw("delivered-to") or "").strip("<> \t").lower()


def _parts(stubs: Sequence[Stub]) -> Iterator[list[Stub]]:
    """Cut a batch so that no fetch asks for more than `BATCH_BYTES`, but for one large mail."""
    part: list[Stub] = []
    held = 0
    for stub in stubs:
        size = min(stub.size, SIZE_MAX)
        if part and held + size > BATCH_BYTES:
            yield part
            part, held = [], 0
        part.append(stub)
        held += size
    if part:
        yield part


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    """Wait for `seconds` or for `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def _until(stop: asyncio.Event, waiting: Coroutine[None, None, None]) -> None:
    """Await `waiting`; once `stop` is set, give it up."""
    tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
