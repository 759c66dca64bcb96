"""What a client was last served decides what its PUT changes, also after a restart."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
from bridge_radicale import make_application
from davdoor import Door, vtodo
from house import HOME as PROJECT

from bridge.caldav.call import Door as Process
from bridge.caldav.served import Client, Served
from bridge.store.known import KEPT, Knowledge, Place
from bridge.store.rows import etag_of

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/dav/alice%40home.example/personal/u1.ics"
EDS = "Evolution/3.46"
OTHER = "Other/1.0"


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Collect the door of each application that is made."""
    made: list[Process] = []
    first = Process.__init__

    def init(self: Process, *args: object, **named: object) -> None:
        first(self, *args, **named)  # type: ignore[arg-type]  # passed on as they are
        made.append(self)

    monkeypatch.setattr(Process, "__init__", init)
    return made


@pytest.fixture
def dav(processes: list[Process]) -> Door:
    assert not processes
    return Door()


def restart(dav: Door, processes: list[Process]) -> None:
    """Start the door's process anew: what was in memory is gone."""
    processes[-1].served.flush()
    dav.application = make_application(dav.gateway, dav.passwords, dav.settings)


def get(dav: Door, agent: str) -> str:
    return dav("GET", PATH, user_agent=agent).body.decode()


def put(dav: Door, text: str, agent: str) -> int:
    kind = "text/calendar; charset=utf-8"
    return dav("PUT", PATH, text, content_type=kind, user_agent=agent).status


@pytest.mark.parametrize("again", [False, True])
def test_a_blind_put_of_an_old_version_changes_only_its_own_lines(
    dav: Door, processes: list[Process], again: bool
) -> None:
    put(dav, vtodo("u1", "PRIORITY:5", "LOCATION:Home").decode(), OTHER)
    old = get(dav, EDS)
    put(dav, get(dav, OTHER).replace("PRIORITY:5", "PRIORITY:1").replace("Home", "Shop"), OTHER)
    put(dav, get(dav, OTHER).replace("Buy milk", "Buy bread"), OTHER)
    if again:
        restart(dav, processes)
    assert put(dav, old.replace("END:VTODO", "DUE;VALUE=DATE:20261201\r\nEND:VTODO"), EDS) == 204
    now = get(dav, OTHER)
    for line in ("PRIORITY:1", "LOCATION:Shop", "SUMMARY:Buy bread", "DUE;VALUE=DATE:20261201"):
        assert line in now


def test_what_a_client_sent_and_was_not_stored_so_is_its_base_after_a_restart(
    dav: Door, processes: list[Process]
) -> None:
    put(dav, vtodo("u1", "GEO:52.5;13.4", "X-A:1", summary="One").decode(), OTHER)
    get(dav, EDS)
    # Evolution leaves lines out and does not read again before its next edit.
    put(dav, vtodo("u1", summary="Two").decode(), EDS)
    put(dav, get(dav, OTHER).replace("Two", "Three").replace("X-A:1", "X-A:2"), OTHER)
    restart(dav, processes)
    put(dav, vtodo("u1", "PRIORITY:1", summary="Two").decode(), EDS)
    now = get(dav, OTHER)
    for line in ("SUMMARY:Three", "PRIORITY:1", "GEO:52.5;13.4", "X-A:2"):
        assert line in now


def test_another_process_knows_what_was_served_here(dav: Door, processes: list[Process]) -> None:
    put(dav, vtodo("u1", "PRIORITY:5").decode(), OTHER)
    here = dav.application
    old = get(dav, EDS)
    restart(dav, processes)
    there = dav.application
    put(dav, get(dav, OTHER).replace("PRIORITY:5", "PRIORITY:1"), OTHER)
    # Served the new version there, it goes on here.
    new = get(dav, EDS)
    processes[-1].served.flush()
    dav.application = here
    put(dav, new.replace("PRIORITY:1", "PRIORITY:5"), EDS)
    assert "PRIORITY:5" in get(dav, OTHER)
    assert "PRIORITY:5" in old
    dav.application = there


def test_reading_the_same_again_writes_nothing(dav: Door, processes: list[Process]) -> None:
    put(dav, vtodo("u1").decode(), OTHER)
    get(dav, EDS)
    served = processes[-1].served
    served.flush()
    written: list[object] = []
    known = dav.gateway.directory.known
    original = known.put
    known.put = lambda *args: written.append(args)  # type: ignore[method-assign]  # counted here
    for _ in range(3):
        get(dav, EDS)
    served.flush()
    known.put = original  # type: ignore[method-assign]  # as it was
    assert not written


def test_a_long_absence_is_forgotten(dav: Door) -> None:
    known, now = dav.gateway.directory.known, dav.house.now
    place = Place("c", PROJECT, "a.ics")
    known.put({place: Knowledge('"1"')}, now)
    known.put({place: Knowledge('"2"', "text")}, now)
    assert known.get(place) == Knowledge('"2"', "text")
    assert known.prune(now + KEPT) == 0
    assert known.prune(now + KEPT * 2) == 1
    assert known.get(place) is None


def test_memory_is_bounded_and_what_falls_out_is_still_known(dav: Door) -> None:
    texts = {f"{i}.ics": f"text {i}" * 50 for i in range(100)}
    asked: list[str] = []

    def past(project: object, href: str, etag: str) -> str:
        assert (project, etag) == (PROJECT, etag_of(texts[href]))
        asked.append(href)
        return texts[href]

    served = Served(dav.gateway.directory.known, past, dav.house.tick, octets_max=20_000)
    client = Client("c", EDS)
    for href, text in texts.items():
        served.note(client, PROJECT, href, text)
    assert served.held(client, PROJECT, "0.ics") is None
    served.flush()
    assert served.known(client, PROJECT, "0.ics") == texts["0.ics"]
    assert asked == ["0.ics"]
    served.forget(client, PROJECT, "0.ics")
    served.flush()
    assert served.known(client, PROJECT, "0.ics") is None


# -- two clients with different losses, in turn (caldav-clients section 0, runs) -----------

_REPEATED = ("COMMENT", "CONTACT", "RESOURCES", "CONCEPT", "REQUEST-STATUS", "X-FOO")


def thunderbird(text: str) -> str:
    """Keep the last of each repeated property, drop PARTICIPANT and VLOCATION."""
    text = re.sub(r"BEGIN:(PARTICIPANT|VLOCATION)\r\n.*?END:\1\r\n", "", text, flags=re.DOTALL)
    lines = text.split("\r\n")
    last = {re.split("[:;]", raw)[0]: i for i, raw in enumerate(lines)}
    kept = [
        raw
        for i, raw in enumerate(lines)
        if (name := re.split("[:;]", raw)[0]) not in _REPEATED or last[name] == i
    ]
    return _prodid("\r\n".join(kept), "-//Mozilla.org/NONSGML Mozilla Calendar V1.1//EN")


def evolution(text: str) -> str:
    """Drop LINK, CONCEPT, STYLED-DESCRIPTION, PARTICIPANT, VLOCATION and GAP; respell GEO."""
    text = re.sub(r"BEGIN:(PARTICIPANT|VLOCATION)\r\n.*?END:\1\r\n", "", text, flags=re.DOTALL)
    lines = [
        raw
        for raw in text.split("\r\n")
        if not raw.startswith(("LINK", "CONCEPT", "STYLED-DESCRIPTION"))
    ]
    text = "\r\n".join(lines).replace(";GAP=PT1H", "").replace("GEO:52.5;13.4", GEO)
    return _prodid(text, "-//Ximian//NONSGML Evolution Calendar//EN")


def _prodid(text: str, name: str) -> str:
    return re.sub("PRODID:[^\r]*", "PRODID:" + name, text)


GEO = "GEO:52.500000;13.400000"
RICH = (
    "COMMENT:one", "COMMENT:two", "CONTACT:Ann", "CONTACT:Ben", "RESOURCES:Beamer",
    "RESOURCES:Chair", "CONCEPT:http://example.org/a", "CONCEPT:http://example.org/b",
    "REQUEST-STATUS:2.0;Success", "REQUEST-STATUS:3.1;Bad;DUE", "X-FOO:1", "X-FOO:2",
    "LINK;VALUE=URI;LINKREL=x:http://example.org/l", "STYLED-DESCRIPTION;VALUE=TEXT:<b>x</b>",
    "GEO:52.5;13.4", "RELATED-TO;RELTYPE=DEPENDS-ON;GAP=PT1H:other",
    "BEGIN:PARTICIPANT", "UID:p1", "PARTICIPANT-TYPE:CONTACT", "END:PARTICIPANT",
    "BEGIN:VLOCATION", "UID:l1", "NAME:Here", "END:VLOCATION",
)  # fmt: skip


def set_line(text: str, name: str, value: str) -> str:
    """Edit one property as a person does."""
    text = re.sub(f"{name}(;[^\r]*)?:[^\r]*\r\n", "", text)
    return text.replace("BEGIN:VTODO\r\n", f"BEGIN:VTODO\r\n{name}:{value}\r\n", 1)


def test_two_clients_with_different_losses_lose_nothing_in_200_rounds(
    dav: Door, processes: list[Process]
) -> None:
    chance = random.Random(20261120)  # noqa: S311 - edits, no secrets
    clients: list[tuple[str, Callable[[str], str]]] = [
        ("Thunderbird/153.7", thunderbird),
        ("Evolution/3.46", evolution),
    ]
    put(dav, vtodo("u1", *RICH).decode(), OTHER)
    copies = {agent: get(dav, agent) for agent, _ in clients}
    expected: dict[str, str] = {}
    for number in range(200):
        agent, losing = clients[number % 2]
        if chance.random() < 0.5:
            copies[agent] = get(dav, agent)
        name = chance.choice(("SUMMARY", "LOCATION", "PRIORITY", "URL"))
        value = {"PRIORITY": str(chance.randint(1, 9)), "URL": f"http://x.example/{number}"}.get(
            name, f"{name.title()} {number}"
        )
        sent = set_line(losing(copies[agent]), name, value)
        assert put(dav, sent, agent) == 204
        copies[agent], expected[name] = sent, value
        if chance.random() < 0.05:
            restart(dav, processes)
        now = re.sub("\r\n ", "", get(dav, OTHER)).split("\r\n")
        lost = [raw for raw in RICH if raw not in now and not raw.startswith("GEO")]
        assert not lost, (number, agent, lost)
        assert {"GEO:52.5;13.4", GEO} & set(now)
        assert all(f"{key}:{text}" in now for key, text in expected.items()), (number, expected)
