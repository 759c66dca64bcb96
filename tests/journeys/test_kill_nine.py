"""Kill -9 of a serving process under writes: what was acknowledged is there, exactly once."""

from __future__ import annotations

import http.client
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from davdoor import vtodo
from journeys.gatewaykit import Gateway, together

if TYPE_CHECKING:
    from davdoor import Reply

pytestmark = pytest.mark.journey

ROUNDS = 5
WRITERS = 4


@dataclass
class Name:
    """What one writer knows of one task.

    Attributes:
        acknowledged: (text, ETag) of every write that was answered, in order.
        unanswered: the text of the write during which the connection broke.
    """

    acknowledged: list[tuple[bytes, str]] = field(default_factory=list)
    unanswered: bytes | None = None


@dataclass
class Writer:
    """Makes tasks and overwrites every third one, until its connection breaks."""

    gateway: Gateway
    number: int
    names: dict[str, Name] = field(default_factory=dict)
    _made: int = 0

    def write(self) -> None:
        with self.gateway.dav() as dav:
            while True:
                self._made += 1
                name = f"w{self.number}-{self._made}.ics"
                uid = name.removesuffix(".ics")
                known = self.names[name] = Name()
                for version in range(1 + (self._made % 3 == 0)):
                    text = vtodo(uid, "X-FILL:" + "x" * 500, summary=f"Version {version}")
                    try:
                        reply = dav.put(name, text)
                    except (OSError, http.client.HTTPException):
                        known.unanswered = text
                        return
                    assert reply.status in (201, 204), reply.body
                    known.acknowledged.append((text, reply.headers["etag"]))


def check_name(name: str, known: Name, reply: Reply, listed: str | None) -> None:
    """A name holds its last acknowledged write, or wholly the one that was not answered."""
    if reply.status == 404:
        assert not known.acknowledged, f"{name} was acknowledged and is gone"
        assert listed is None
        return
    assert reply.status == 200
    assert listed == reply.headers["etag"]
    if reply.body == known.unanswered:
        return
    assert known.acknowledged, f"half a write is in {name}"
    text, etag = known.acknowledged[-1]
    assert reply.body == text
    assert reply.headers["etag"] == etag


def written_again(known: Name, body: bytes) -> bool:
    """Tell whether the write that was not answered is there all the same."""
    return known.unanswered is not None and body == known.unanswered


def test_writes_survive_kill_nine_exactly_once(gateway: Gateway) -> None:
    chance = random.Random(20261120)  # noqa: S311 - the moments of the kills
    writers = [Writer(gateway, number) for number in range(WRITERS)]
    expected = 0
    gateway.start()
    for _ in range(ROUNDS):
        with gateway.dav() as dav:
            before, _ = dav.sync()
        old = {name for writer in writers for name in writer.names}

        def killer() -> None:
            time.sleep(chance.uniform(0.15, 0.6))
            gateway.kill()

        together(killer, *(writer.write for writer in writers))
        gateway.start()
        new = {
            name: known
            for writer in writers
            for name, known in writer.names.items()
            if name not in old
        }
        with gateway.dav() as dav:
            listed = dav.etags()
            bodies = {name: dav.get(name) for name in new}
            for name, known in new.items():
                check_name(name, known, bodies[name], listed.get(name))
                expected += len(known.acknowledged) + written_again(known, bodies[name].body)
            # The token of before the kill names exactly what came since, as it is now.
            _, changes = dav.sync(before)
            present = {name: listed[name] for name in new if name in listed}
            assert changes == present
    gateway.stop()
    everything = {name: known for writer in writers for name, known in writer.names.items()}
    assert sum(len(known.acknowledged) for known in everything.values()) > ROUNDS * WRITERS
    gateway.check()
    writes = [entry for entry in gateway.told() if entry["task"] is not None]
    assert len(writes) == expected, "an entry for each write that is there, and no other"
