"""A gateway that only fetches mail, to be killed: ``crash_child.py SPOOL PORT CA``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bridge import app
from bridge.config import Config
from bridge.mail.case import IntakeSettings
from bridge.mail.door import MailDoor, MailSettings, TrustSettings
from bridge.mail.mailbox import MailboxSettings
from bridge.model.ids import Domain
from bridge.model.request import Caps

MANY = 100_000


def mail_settings(port: int, authority: Path) -> MailSettings:
    """Return settings for the account ``tasks`` of the test bed, without caps."""
    caps = Caps(stranger_hourly=MANY, stranger_waiting=MANY, open_each=MANY, daily_each=MANY)
    return MailSettings(
        mailboxes=(
            MailboxSettings(
                host="127.0.0.1",
                port=port,
                tls=False,
                user="tasks@home.example",
                password="secret",  # noqa: S106 - of the test bed
            ),
        ),
        trust=TrustSettings(ca_files=(authority,)),
        intake=IntakeSettings(caps=caps, answers_hourly=MANY, answers_daily=MANY),
        threads=4,
    )


def main() -> None:
    """Fetch until killed."""
    spool, port, authority = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    config = Config(domain=Domain("home.example"), spool=spool)
    with app.open_writer(config) as running:
        assert running.worker is not None
        running.worker.start()
        door = MailDoor(running.gateway, mail_settings(port, authority))
        print("ready", flush=True)  # noqa: T201 - what the parent waits for
        asyncio.run(door.run(asyncio.Event()))


if __name__ == "__main__":
    main()
