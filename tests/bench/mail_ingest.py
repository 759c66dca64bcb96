"""Mails verified and ingested per second: LMTP and IMAP to a committed task, on a real spool.

``python tests/bench/mail_ingest.py [MAILS] [CLIENTS]``. Every mail is S/MIME-signed, of an
allowed contact, and becomes one task: verified, journalled, committed with fdatasync and
answered into the outbox. IMAP needs Dovecot (see tests/testbed) and includes the MOVE.
"""

from __future__ import annotations

import resource
import smtplib
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from mailkit import ALICE, TASKS, Bed, Post, RunningDoor, missing_parts, running_bed

from bridge import app
from bridge.config import Config
from bridge.mail.case import IntakeSettings
from bridge.mail.door import MailDoor, MailSettings
from bridge.mail.listener import ListenerSettings
from bridge.mail.mailbox import MailboxSettings
from bridge.model.ids import Domain, ProjectId
from bridge.model.patch import Via
from bridge.store.directory_records import Acquaintance, User
from bridge.trust.smime_sign import sign
from bridge.worker.command import Actor, CreateProject

MANY = 10**9
BED_PASSWORD = "secret"  # noqa: S105 - of the test bed


def signed(post: Post, number: int) -> bytes:
    """Return a mail of about 3 KB; signed in this process, since openssl costs 10 ms."""
    key = post.certificate(ALICE)
    text = f"Content-Type: text/plain\r\n\r\nTask number {number}.\r\n{'Words. ' * 100}\r\n"
    head = f"From: {ALICE}\r\nTo: {TASKS}\r\nSubject: Task {number} #bench\r\n"
    head += f"Message-ID: <{number}@bench.example>\r\nMIME-Version: 1.0\r\n"
    return head.encode() + sign(text.encode(), key.certificate, key.key)


def send(port: int, mails: list[bytes]) -> None:
    with smtplib.LMTP("127.0.0.1", port) as client:
        for raw in mails:
            client.sendmail("", [TASKS], b"X-Bench: 1\r\n" + raw)


def lmtp(running: app.Running, post: Post, mails: list[bytes], clients: int) -> float:
    settings = MailSettings(
        listener=ListenerSettings(port=0, parallel=16),
        intake=IntakeSettings(answers_hourly=MANY, answers_daily=MANY),
    )
    with RunningDoor(MailDoor(running.gateway, settings, post.anchors)) as door:
        threads = [
            threading.Thread(target=send, args=(door.port, mails[n::clients]))
            for n in range(clients)
        ]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - begin


def imap(running: app.Running, post: Post, mails: list[bytes], bed: Bed) -> float:
    bed.append([f"Delivered-To: {TASKS}\r\n".encode() + raw for raw in mails])
    box = MailboxSettings(
        host="127.0.0.1", port=bed.imap, tls=False, user=TASKS, password=BED_PASSWORD
    )
    settings = MailSettings(
        mailboxes=(box,), intake=IntakeSettings(answers_hourly=MANY, answers_daily=MANY)
    )
    journal = running.gateway.directory.journal
    begin = time.perf_counter()
    with RunningDoor(MailDoor(running.gateway, settings, post.anchors)):
        while journal.cursor(f"imap:{box.name}") is None:
            time.sleep(0.01)
        return time.perf_counter() - begin


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        post = Post(folder)
        mails = [signed(post, number) for number in range(2 * count)]
        config = Config(domain=Domain("home.example"), spool=folder / "spool")
        app.initialise(config)
        with app.open_writer(config) as running:
            assert running.worker is not None
            running.worker.start()
            directory = running.gateway.directory
            directory.people.add(User(address=TASKS, name="", created=app.clock()))
            directory.contacts.remember(TASKS, ALICE, Acquaintance.ALLOWED, app.clock())
            home = CreateProject(actor=Actor(user=TASKS, via=Via.WORKER), project=ProjectId(TASKS))
            running.worker.submit(home).result()
            for number in (1, clients):
                part = mails[:count:2] if number == 1 else mails[1:count:2]
                taken = lmtp(running, post, part, number)
                _say(f"lmtp, {number} connections: {len(part) / taken:.0f} mails/s")
            if reason := missing_parts(postfix=False):
                _say(f"imap: skipped, {reason}")
            else:
                with running_bed(postfix=False) as bed:
                    taken = imap(running, post, mails[count:], bed)
                    _say(f"imap: {count / taken:.0f} mails/s")
            tasks = running.gateway.index.count(ProjectId(TASKS))[0]
            running.worker.stop()
        _say(f"tasks: {tasks} of {2 * count} mails")
        _say(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
