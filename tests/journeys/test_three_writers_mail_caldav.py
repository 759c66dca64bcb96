"""CalDAV clients, mail and the command line write into one project at the same time.

Afterwards the chain holds, the index is what the logs make of it, and every write that was
acknowledged is there exactly once.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from davdoor import vtodo
from journeys.gatewaykit import ALICE, BOB, Gateway, Shell, together
from mailkit import BOB as HOME_BOB

if TYPE_CHECKING:
    from mailkit import Post

pytestmark = pytest.mark.journey

EACH = 20
"""Tasks of each of two clients and of each of two senders: 60 and 40 writes."""
COMMANDS = 14
"""Tasks of each of two people at a command line: 42 writes."""

PAUSE_SECONDS = 0.1
"""Between writes of clients and senders, which would be done before the commands have begun."""


def dav_writer(gateway: Gateway, number: int, titles: list[str]) -> None:
    """Make tasks, and edit every second one against its ETag."""
    with gateway.dav() as dav:
        for count in range(EACH):
            uid = f"dav-{number}-{count}"
            made = dav.put(f"{uid}.ics", vtodo(uid, summary=uid), if_none_match="*")
            assert made.status == 201, made.body
            titles.append(uid)
            time.sleep(PAUSE_SECONDS)
            if count % 2:
                edited = vtodo(uid, "PRIORITY:1", summary=f"{uid} edited")
                reply = dav.put(f"{uid}.ics", edited, if_match=made.headers["etag"])
                assert reply.status == 204, reply.body
                titles.append(f"{uid} edited")


def mail_writer(gateway: Gateway, mails: dict[str, bytes], titles: list[str]) -> None:
    """Deliver signed mails by LMTP, the first of each ten over a connection of its own."""
    waiting = iter(mails.items())
    while batch := list(itertools.islice(waiting, 10)):
        with gateway.lmtp() as client:
            for title, raw in batch:
                assert client.sendmail(ALICE, [BOB], raw) == {}
                titles.append(title)
                time.sleep(PAUSE_SECONDS)


def command_writer(gateway: Gateway, number: int, titles: list[str]) -> None:
    """Make tasks by command and complete every second one."""
    shell = Shell(gateway.folder, gateway.config)
    for count in range(COMMANDS):
        title = f"cli-{number}-{count}"
        task = shell.run("task", "add", BOB, title).strip()
        titles.append(title)
        if count % 2:
            shell.run("task", "complete", task)
            titles.append(f"{title} completed")
    shell.close()


def test_three_kinds_of_writers_lose_and_double_nothing(gateway: Gateway, post: Post) -> None:
    assert BOB == HOME_BOB
    gateway.trust(post)
    gateway.run("contact", "add", BOB, ALICE)
    boxes = [{f"mail-{number}-{count}": b"" for count in range(EACH)} for number in range(2)]
    for box in boxes:
        for title in box:
            box[title] = post.signed(f"{title}\n", subject=title)
    titles: list[list[str]] = [[] for _ in range(6)]
    gateway.start()
    together(
        lambda: dav_writer(gateway, 0, titles[0]),
        lambda: dav_writer(gateway, 1, titles[1]),
        lambda: mail_writer(gateway, boxes[0], titles[2]),
        lambda: mail_writer(gateway, boxes[1], titles[3]),
        lambda: command_writer(gateway, 0, titles[4]),
        lambda: command_writer(gateway, 1, titles[5]),
    )
    acknowledged = Counter(itertools.chain.from_iterable(titles))
    assert set(acknowledged.values()) == {1}

    told = [entry for entry in gateway.told() if entry["task"] is not None]
    assert Counter(describe(entry) for entry in told) == acknowledged
    assert {entry["via"] for entry in told} == {"caldav", "mail", "worker"}
    doors = [entry["via"] for entry in told]
    # They really wrote at the same time: the doors alternate in the log.
    assert sum(one != other for one, other in itertools.pairwise(doors)) > EACH
    gateway.check()

    with gateway.dav() as dav:
        before = dav.texts(), dav.etags(), dav.sync()
    made = [entry["title"] for entry in told if entry["created"]]
    assert len(before[0]) == len(made) == len(before[1])
    gateway.stop()
    gateway.run("rebuild")
    with gateway.serving(), gateway.dav() as dav:
        assert (dav.texts(), dav.etags(), dav.sync()) == before
    # The index may also simply be thrown away.
    gateway.layout.index.unlink()
    with gateway.serving(), gateway.dav() as dav:
        assert (dav.texts(), dav.etags(), dav.sync()) == before
    gateway.check()


def describe(entry: dict[str, object]) -> str:
    """Return the name under which the writers count what an entry did."""
    changes = entry["changes"]
    assert isinstance(changes, list)
    done = any(one["key"] == "status" and one["new"] == "completed" for one in changes)
    return f"{entry['title']} completed" if done else str(entry["title"])
