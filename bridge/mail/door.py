"""The mail door, put together: fetchers, listener and sender on one gateway.

`MailDoor.run` is one coroutine for the asyncio thread. Each connector has its own pulse and
its own trouble: a mailbox that cannot be reached stops neither the listener nor another
mailbox. Taking mail in blocks on disk and worker, so it happens in a small pool of threads
that all connectors share; its size is the bound of what is in hand.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - the configuration reads these annotations at run time
from typing import TYPE_CHECKING

from bridge.errors import Misconfigured
from bridge.mail.case import IntakeSettings
from bridge.mail.fetcher import Fetcher
from bridge.mail.health import Health, Pulse
from bridge.mail.intake import Intake
from bridge.mail.listener import Listener, ListenerSettings
from bridge.mail.replies import Replies
from bridge.mail.sender import Sender, SmtpSettings
from bridge.trust.anchors import TrustAnchors

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.mail.mailbox import MailboxSettings
    from bridge.worker.gateway import Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustSettings:
    """Files of the authorities for mail, apart from those for the web; read once at start.

    Attributes:
        ca_files: PEM certificates whose holders may name people.
        intermediate_files: PEM certificates that senders forget to enclose.
        crl_files: PEM or DER revocation lists of those authorities.
    """

    ca_files: tuple[Path, ...] = ()
    intermediate_files: tuple[Path, ...] = ()
    crl_files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """All of the mail door; empty parts are off.

    Attributes:
        threads: mails taken in at once over all connectors.
    """

    mailboxes: tuple[MailboxSettings, ...] = ()
    listener: ListenerSettings | None = None
    smtp: SmtpSettings | None = None
    trust: TrustSettings = field(default_factory=TrustSettings)
    intake: IntakeSettings = field(default_factory=IntakeSettings)
    threads: int = 8


class MailDoor:
    """Runs the connectors of one domain."""

    def __init__(
        self, gateway: Gateway, settings: MailSettings, anchors: TrustAnchors | None = None
    ) -> None:
        """Prepare; `anchors` None reads the files that `settings` name.

        Raises:
            Misconfigured: ``bad-certificate``, ``bad-revocation-list``, ``no-file``.
        """
        self._gateway = gateway
        self._settings = settings
        self._anchors = anchors or load_anchors(settings.trust)
        self._listener_pulse = Pulse("mail-listener", gateway.clock)
        self._sender_pulse = Pulse("mail-sender", gateway.clock)
        self._mailbox_pulses = [
            Pulse(f"mailbox:{one.name}", gateway.clock) for one in settings.mailboxes
        ]
        self.address: tuple[str, int] | None = None

    def health(self) -> tuple[Health, ...]:
        """Return the state of every connector that is configured; any thread may call."""
        settings = self._settings
        pulses = list(self._mailbox_pulses)
        if settings.listener is not None:
            pulses.append(self._listener_pulse)
        if settings.smtp is not None:
            pulses.append(self._sender_pulse)
        return tuple(pulse.read() for pulse in pulses)

    async def run(
        self, stop: asyncio.Event, ready: Callable[[tuple[str, int] | None], None] | None = None
    ) -> None:
        """Run until `stop` is set, then finish what is in hand.

        Args:
            stop: of this event loop.
            ready: called once, with the listener's address, when mail can come in.

        Raises:
            Unavailable: ``listen``.
        """
        settings = self._settings
        with ThreadPoolExecutor(settings.threads, thread_name_prefix="mail") as executor:
            sender = self._sender(executor)
            intake = Intake(
                self._gateway,
                self._anchors,
                settings.intake,
                queued=sender.wake if sender is not None else lambda: None,
            )
            listener = await self._listen(intake, executor)
            if ready is not None:
                ready(self.address)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(stop.wait())
                    if sender is not None:
                        group.create_task(sender.run(stop))
                        replies = Replies(self._gateway, settings.intake, sender.wake)
                        group.create_task(replies.run(stop, executor))
                    for one, pulse in zip(settings.mailboxes, self._mailbox_pulses, strict=True):
                        fetcher = Fetcher(self._gateway, intake, one, executor, pulse)
                        group.create_task(fetcher.run(stop))
            finally:
                if listener is not None:
                    await listener.stop()

    def _sender(self, executor: ThreadPoolExecutor) -> Sender | None:
        if self._settings.smtp is None:
            return None
        return Sender(self._gateway, self._settings.smtp, executor, self._sender_pulse)

    async def _listen(self, intake: Intake, executor: ThreadPoolExecutor) -> Listener | None:
        if self._settings.listener is None:
            return None
        listener = Listener(
            self._gateway, intake, self._settings.listener, executor, self._listener_pulse
        )
        self.address = await listener.start()
        return listener


def load_anchors(settings: TrustSettings) -> TrustAnchors:
    """Return the authorities in the files that are configured.

    Raises:
        Misconfigured: ``bad-certificate``, ``bad-revocation-list``, ``no-file``.
    """
    return TrustAnchors(
        b"\n".join(_bytes_of(path) for path in settings.ca_files),
        intermediates=b"\n".join(_bytes_of(path) for path in settings.intermediate_files),
        revocations=[_bytes_of(path) for path in settings.crl_files],
    )


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured("no-file", f"cannot read {path} ({error.strerror})") from None
