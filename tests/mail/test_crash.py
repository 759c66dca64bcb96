"""Killed at any moment, the gateway loses no mail and doubles none (mail-trust section 8)."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mail.crash_child import mail_settings
from mailkit import ALICE, TASKS, Bed, Post, RunningDoor, plain

from bridge import app
from bridge.config import Config
from bridge.mail.door import MailDoor
from bridge.model.ids import Domain, ProjectId
from bridge.model.patch import Via
from bridge.store.directory_records import Acquaintance, User
from bridge.worker.command import Actor, CreateProject

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.journey

KILLS = 10
CHILD = Path(__file__).with_name("crash_child.py")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A spool with the user of the mailbox, who allows Alice."""
    config = Config(domain=Domain("home.example"), spool=tmp_path / "spool")
    app.initialise(config)
    with app.open_writer(config) as running:
        assert running.worker is not None
        directory = running.gateway.directory
        directory.people.add(User(address=TASKS, name="", created=app.clock()))
        directory.contacts.remember(TASKS, ALICE, Acquaintance.ALLOWED, app.clock())
        actor = Actor(user=TASKS, via=Via.WORKER)
        running.worker.run([CreateProject(actor=actor, project=ProjectId(TASKS))])
    return config


def delivered(raw: bytes) -> bytes:
    return f"Delivered-To: {TASKS}\r\n".encode() + raw


@contextlib.contextmanager
def child(config: Config, bed: Bed, authority: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(CHILD), str(config.spool), str(bed.imap), str(authority)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own program
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_no_mail_is_lost_or_doubled_by_kills(
    bed: Bed, post: Post, config: Config, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(post.authority.certificate_pem)
    chance = random.Random(20261120)  # noqa: S311 - where to kill, the same in each run
    signed = interrupted = 0
    for number in range(KILLS):
        good = [delivered(post.signed(f"{number} {n}\n", to=TASKS)) for n in range(3)]
        forged = post.signed("Pay Alice.\n", to=TASKS).replace(b"Alice.", b"Mally.")
        # One of the good ones comes twice, as from a server that had no answer.
        bed.append([*good, good[0], delivered(forged), delivered(plain(f"{number}\n", to=TASKS))])
        signed += len(good)
        with child(config, bed, authority):
            time.sleep(chance.uniform(0.05, 0.6))
        with app.open_reader(config) as look:
            interrupted += bool(look.gateway.directory.journal.pending())
    assert interrupted >= KILLS // 4, "the kills came too early or too late to mean anything"
    with app.open_writer(config) as running:
        assert running.worker is not None
        running.worker.start()
        gateway = running.gateway
        door = MailDoor(gateway, mail_settings(bed.imap, authority))
        with RunningDoor(door):
            end = time.monotonic() + 20
            while bed.mails("INBOX"):
                assert time.monotonic() < end
                time.sleep(0.1)
        running.worker.stop()
        titles = [row.href for row in gateway.index.listing(ProjectId(TASKS))]
        asked = gateway.directory.requests.waiting(TASKS)
        pending = gateway.directory.journal.pending()
        answers = 0
        while letter := gateway.directory.outbox.claim(app.clock(), timedelta(minutes=1)):
            gateway.directory.outbox.sent(letter.id, app.clock())
            answers += 1
    assert len(titles) == signed
    assert len(asked) == KILLS
    assert answers == signed
    assert pending == ()
    assert len(bed.mails("Processed")) == signed + 2 * KILLS
    assert len(bed.mails("Rejected")) == KILLS
