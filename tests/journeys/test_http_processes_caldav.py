"""`serve --workers 2`: several processes answer on one port and are one server to clients."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from davdoor import vtodo
from journeys.gatewaykit import BOB, Dav, Gateway, together, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.journey

WORKERS = 2
CONNECTIONS = 24
"""That all of them reach the same of three processes has a chance of 1 in 10^11."""


def processes(gateway: Gateway) -> list[int]:
    """Return the gateway's own process and those that it started."""
    assert gateway.process is not None
    pid = gateway.process.pid
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(one) for path in children for one in path.read_text().split())]


def inodes(pid: int) -> set[str]:
    """Return the sockets that a process holds."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(path.readlink()))
        except FileNotFoundError:
            continue
    return found


def answering(gateway: Gateway, pids: list[int]) -> set[int]:
    """Return which processes hold an open connection of a client (proc(5), net/tcp)."""
    here = f"0100007F:{gateway.port:04X}"
    held = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == here and fields[3] == "01":
            held.add(f"socket:[{fields[9]}]")
    return {pid for pid in pids if inodes(pid) & held}


def alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def port_is_free(gateway: Gateway) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", gateway.port)) != 0


@pytest.fixture
def served(gateway: Gateway) -> Iterator[Gateway]:
    with gateway.serving("--workers", str(WORKERS)):
        until(lambda: len(processes(gateway)) == 1 + WORKERS, "the processes are there")
        yield gateway


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("shared"))
    gateway.add_user(BOB)
    with gateway.serving("--workers", str(WORKERS)):
        until(lambda: len(processes(gateway)) == 1 + WORKERS, "the processes are there")
        yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def clients(shared: Gateway) -> Iterator[list[Dav]]:
    """Return clients on open connections to every process of the gateway."""
    served = shared
    pids = processes(served)
    with ExitStack() as stack:
        found: list[Dav] = []

        def spread() -> bool:
            # An HTTP process takes connections a moment after the first one.
            if found:
                found.append(stack.enter_context(served.dav()))
            while len(found) < CONNECTIONS:
                found.append(stack.enter_context(served.dav()))
            for one in found[-CONNECTIONS:]:
                assert one("GET", "/healthz").status == 200
            return answering(served, pids) == set(pids)

        until(spread, "every process holds a connection")
        yield found


def test_what_is_written_through_one_process_is_read_at_once_through_all(
    clients: list[Dav], shared: Gateway
) -> None:
    for number, writer in enumerate(clients[:12]):
        name = f"t{number}.ics"
        text = vtodo(f"t{number}", summary=f"Task {number}")
        made = writer.put(name, text, if_none_match="*")
        assert made.status == 201, made.body
        for reader in clients:
            read = reader.get(name)
            assert (read.status, read.body) == (200, text)
            assert read.headers["etag"] == made.headers["etag"]
    # An ETag of one process holds in every other, and only the last one does.
    etag = clients[0].get("t0.ics").headers["etag"]
    for number, writer in enumerate(clients):
        text = vtodo("t0", summary=f"Edit {number}")
        reply = writer.put("t0.ics", text, if_match=etag)
        assert reply.status == 204, reply.body
        if number:
            assert writer.put("t0.ics", vtodo("t0", summary="Late"), if_match=etag).status == 412
        etag = reply.headers["etag"]
    assert {client.get("t0.ics").headers["etag"] for client in clients} == {etag}
    assert {client.sync()[0] for client in clients} == {clients[0].sync()[0]}
    shared.check()


def test_writers_in_all_processes_at_once_lose_nothing(clients: list[Dav], shared: Gateway) -> None:
    def write(number: int) -> None:
        for count in range(5):
            uid = f"w{number}-{count}"
            assert clients[number].put(f"{uid}.ics", vtodo(uid), if_none_match="*").status == 201

    together(*(lambda number=number: write(number) for number in range(CONNECTIONS)))
    wanted = {f"w{number}-{count}.ics" for number in range(CONNECTIONS) for count in range(5)}
    assert all(wanted <= set(client.etags()) for client in clients)
    # All have the same title: one entry for each, and no more.
    made = [entry for entry in shared.told() if entry["title"] == "Buy milk" and entry["created"]]
    assert len(made) == len(wanted)
    shared.check()


def test_sigterm_ends_all_processes(served: Gateway) -> None:
    pids = processes(served)
    began = time.monotonic()
    served.stop()
    assert not any(alive(pid) for pid in pids)
    assert port_is_free(served)
    assert time.monotonic() - began < 15
    assert "Traceback" not in served.said()


def test_http_processes_do_not_outlive_a_killed_gateway(served: Gateway) -> None:
    pids = processes(served)
    served.kill()
    try:
        until(lambda: not any(alive(pid) for pid in pids), "all processes have ended", 10)
        served.start("--workers", str(WORKERS))
    finally:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
    with served.dav() as dav:
        assert dav.put("a.ics", vtodo("a")).status == 201
