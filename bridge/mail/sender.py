"""The outbox emptied over SMTP: the only file that knows aiosmtplib.

A letter is claimed with a lease, handed to the configured mail server and then noted as
sent. A crash between the server's 250 and the note sends it again, with the same
Message-ID: at least once, and once as far as mail programs count. 4xx and lost connections
are tried again with growing pauses for about three days; 5xx ends a letter at once, with a
line in the event log, and never makes other mail.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

import aiosmtplib

from bridge.errors import Misconfigured, Unavailable
from bridge.mail.mailbox import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from bridge.mail.health import Pulse
    from bridge.store.directory_records import Letter
    from bridge.worker.gateway import Gateway

PAUSES: Final = (1, 2, 5, 15, 30, 60, 120, 240, 480, 720, 720, 720, 720)
"""Minutes before each further attempt; after the last one the letter has failed."""
LEASE: Final = timedelta(minutes=10)
PARALLEL: Final = 4
_LOOK_SECONDS: Final = 60.0
_PERMANENT: Final = 500
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Security(StrEnum):
    """How the way to the mail server is protected."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """The mail server that takes our mail.

    Attributes:
        security: TLS from the first byte, after STARTTLS, or none (loopback only).
        user, password: empty where the server asks for none.
        timeout_seconds: for the whole of one delivery.
    """

    host: str
    port: int = 587
    security: Security = Security.STARTTLS
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse to send over a network in the clear.

        Raises:
            Misconfigured: ``plain-smtp``.
        """
        if self.security is Security.NONE and not is_loopback(self.host):
            raise Misconfigured(
                "plain-smtp",
                f"mail is to be sent to {self.host} without TLS",
                hint='set security = "starttls"',
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """A delivery that did not happen; `permanent` where trying again is of no use."""

    error: str
    permanent: bool


class Sender:
    """Sends what the outbox holds."""

    def __init__(
        self, gateway: Gateway, settings: SmtpSettings, executor: Executor, pulse: Pulse
    ) -> None:
        """Send over the server of `settings`; the directory is read in threads."""
        self._gateway = gateway
        self._settings = settings
        self._executor = executor
        self._pulse = pulse
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """Look into the outbox now; any thread may call."""
        self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set."""
        while not stop.is_set():
            self._wake.clear()
            try:
                await self.send_due()
                seconds = await self._in_thread(self._seconds_to_next)
            except Unavailable as error:
                self._pulse.fail(error.public)
                seconds = _LOOK_SECONDS
            waits = [asyncio.ensure_future(one.wait()) for one in (stop, self._wake)]
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()

    async def send_due(self) -> int:
        """Send every letter that is due, a few at a time; return how many were tried."""
        return sum(await asyncio.gather(*(self._drain() for _ in range(PARALLEL))))

    async def _drain(self) -> int:
        tried = 0
        while (letter := await self._in_thread(self._claim)) is not None:
            tried += 1
            failure = await self._deliver(letter)
            await self._in_thread(self._note, letter, failure)
        return tried

    async def _deliver(self, letter: Letter) -> _Failure | None:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds), self._client() as client:
                # The null sender is why `aiosmtplib.send` cannot be used: it wants one.
                await client.sendmail(letter.sender, [letter.recipient], letter.raw)
        except aiosmtplib.SMTPRecipientsRefused as error:
            first = error.recipients[0]
            return _failure(first.code, first.message)
        except aiosmtplib.SMTPAuthenticationError:
            # Ours to mend: the letter waits for the right password.
            return _Failure(error="the mail server refuses our password", permanent=False)
        except aiosmtplib.SMTPResponseException as error:
            return _failure(error.code, error.message)
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ssl.SSLError) as error:
            text = f"the mail server cannot be reached ({type(error).__name__})"
            return _Failure(error=text, permanent=False)
        except Exception:  # noqa: BLE001 - one letter must not keep the others from leaving
            _log.exception("mail to %s", letter.recipient)
            return _Failure(error="internal error", permanent=False)
        return None

    def _client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        context = None
        if settings.security is not Security.NONE:
            context = ssl.create_default_context(cafile=settings.ca_file or None)
        return aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.user or None,
            password=settings.password or None,
            use_tls=settings.security is Security.TLS,
            start_tls=settings.security is Security.STARTTLS,
            tls_context=context,
            local_hostname=str(self._gateway.domain),
            timeout=settings.timeout_seconds,
        )

    # -- in threads ----------------------------------------------------------------------

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await self._loop.run_in_executor(self._executor, call, *args)

    def _claim(self) -> Letter | None:
        return self._gateway.directory.outbox.claim(self._gateway.clock(), LEASE)

    def _seconds_to_next(self) -> float:
        due = self._gateway.directory.outbox.next_due()
        if due is None:
            return _LOOK_SECONDS
        ahead = (due - self._gateway.clock()).total_seconds()
        return min(max(ahead, 0.05), _LOOK_SECONDS)

    def _note(self, letter: Letter, failure: _Failure | None) -> None:
        outbox, now = self._gateway.directory.outbox, self._gateway.clock()
        if failure is None:
            outbox.sent(letter.id, now)
            self._pulse.beat()
            return
        if failure.permanent or letter.attempts > len(PAUSES):
            outbox.failed(letter.id, failure.error, now)
            event = {"event": "letter-failed", "recipient": letter.recipient, "key": letter.key}
            self._gateway.events.append(now, [{**event, "reason": failure.error}])
        else:
            pause = timedelta(minutes=PAUSES[max(letter.attempts, 1) - 1])
            outbox.retry(letter.id, failure.error, now + pause)
        if not failure.permanent:
            self._pulse.fail(failure.error)
        _log.warning("mail to %s: %s", letter.recipient, failure.error)


def _failure(code: int, message: str) -> _Failure:
    return _Failure(error=f"{code} {message}"[:500], permanent=code >= _PERMANENT)
