"""`tx-bridge serve` as a process, and the other commands beside it."""

from __future__ import annotations

import http.client
import json
import re
import select
import signal
import smtplib
import socket
import subprocess
import sys
from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bridge import app
from bridge.listener import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.conftest import Terminal

HOST = "127.0.0.1"
SECONDS = 30
READY = re.compile(r"ready on http://127\.0\.0\.1:(\d+)/dav/, mail on 127\.0\.0\.1:(\d+)\n")


def spawn(terminal: Terminal, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bridge", "serve", "--config", str(terminal.file), *words]
    return subprocess.Popen(  # noqa: S603 - the program under test
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@contextmanager
def serving(terminal: Terminal, *words: str) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """Run a gateway; yields its process and the ports of HTTP and mail."""
    dav, mail = free_port(HOST), free_port(HOST)
    process = spawn(terminal, "--listen", f"{HOST}:{dav}", "--lmtp", f"{HOST}:{mail}", *words)
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        assert ready, "no line within time"
        line = process.stdout.readline()
        found = READY.fullmatch(line)
        assert found, line or process.communicate()[1]
        assert (int(found[1]), int(found[2])) == (dav, mail)
        yield process, dav, mail
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def status_of(port: int, user: str, password: str) -> int:
    """Return the status of a PROPFIND of the user's home."""
    login = b64encode(f"{user}:{password}".encode()).decode()
    call = http.client.HTTPConnection(HOST, port, timeout=SECONDS)
    try:
        headers = {"Authorization": f"Basic {login}", "Depth": "0"}
        call.request("PROPFIND", f"/dav/{user}/", headers=headers)
        return call.getresponse().status
    finally:
        call.close()


def test_commands_go_through_a_running_gateway(terminal: Terminal, project: str) -> None:
    with serving(terminal) as (process, dav, mail):
        task = terminal.ok("task", "add", "Team", "through the socket")
        file = terminal.directory / "plan.txt"
        terminal.ok("task", "attach", task, file)
        assert task in {one["task"] for one in terminal.json("task", "list", project)}
        assert terminal.json("log", task)[-1]["author"] == terminal.alice
        terminal.ok("revert", terminal.json("log", task)[0]["patch"])
        assert terminal.json("verify")["ok"]
        terminal.ok("export", project, terminal.directory / "team.tar.gz")
        terminal.ok("verify", "--archive", terminal.directory / "team.tar.gz")

        carol = "carol@home.example"
        password = terminal.json("user", "add", carol)["password"]
        assert status_of(dav, carol, password) == 207
        assert status_of(dav, carol, "wrong") == 401
        terminal.ok("user", "password", "revoke", carol, "first password")

        for words in (["rebuild"], ["import", terminal.directory / "team.tar.gz"]):
            said = terminal.refused(*words)
            assert said == f"the spool of home.example is in use by process {process.pid}"
        assert "in use by" in terminal.refused("init", "--yes")

        config = terminal.file.read_text()
        config = config.replace("#port = 5232", f"port = {dav}")
        terminal.file.write_text(
            config.replace("#[mail.listener]", f"[mail.listener]\nport = {mail}")
        )
        checks = {one["check"]: one["state"] for one in terminal.json("doctor")}
        assert [checks[name] for name in ("gateway", "http", "mail listener")] == ["ok"] * 3
        with smtplib.LMTP(HOST, mail, timeout=SECONDS) as lmtp:
            assert lmtp.ehlo()[0] == 250
    assert process.returncode == 0
    assert terminal.json("verify")["ok"]


def test_http_processes_serve_beside_the_first(terminal: Terminal) -> None:
    password = terminal.ok("user", "password", terminal.alice)
    with serving(terminal, "--workers", "1") as (_, dav, _):
        for _ in range(10):
            assert status_of(dav, terminal.alice, password) == 207


def test_a_killed_gateway_leaves_a_spool_that_works(terminal: Terminal) -> None:
    with serving(terminal) as (process, _, _):
        task = terminal.ok("task", "add", terminal.alice, "acknowledged")
        process.kill()
        process.wait(SECONDS)
    assert app.socket_of(terminal.config).is_socket()
    assert [one["task"] for one in terminal.json("task", "list")] == [task]
    terminal.ok("task", "complete", task)
    assert terminal.json("verify")["ok"]
    with serving(terminal):
        assert terminal.json("task", "show", task)["status"] == "completed"


def test_port_0_takes_a_free_one_and_says_which(terminal: Terminal) -> None:
    process = spawn(terminal, "--listen", f"{HOST}:0", "--lmtp", f"{HOST}:0")
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        found = READY.fullmatch(process.stdout.readline()) if ready else None
        assert found
        assert status_of(int(found[1]), terminal.alice, "wrong") == 401
        with smtplib.LMTP(HOST, int(found[2]), timeout=SECONDS) as lmtp:
            assert lmtp.noop()[0] == 250
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


@pytest.mark.parametrize("option", ["--listen", "--lmtp"])
def test_a_port_in_use_is_one_sentence(terminal: Terminal, option: str) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        more = [] if option == "--listen" else ["--listen", f"{HOST}:{free_port(HOST)}"]
        process = spawn(terminal, option, f"{HOST}:{port}", *more)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert errors.count("tx-bridge: error: ") == 1
    assert str(port) in errors
    assert "Traceback" not in errors


def test_a_second_gateway_is_refused(terminal: Terminal) -> None:
    with serving(terminal) as (first, _, _):
        second = spawn(terminal, "--listen", f"{HOST}:{free_port(HOST)}")
        _, errors = second.communicate(timeout=SECONDS)
    assert second.returncode == 1
    assert f"is in use by process {first.pid}" in errors


def test_a_wrong_configuration_ends_serve_with_78(terminal: Terminal) -> None:
    terminal.file.write_text(terminal.file.read_text().replace("#port = 5232", "port = 'x'"))
    process = spawn(terminal)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 78
    assert "http.port must be a whole number" in errors


def test_json_of_a_running_gateway_is_one_document(terminal: Terminal) -> None:
    command = [sys.executable, "-m", "bridge", "project", "list", "--json"]
    with serving(terminal):
        found = subprocess.run(  # noqa: S603 - the program under test
            [*command, "--config", str(terminal.file)], capture_output=True, check=True
        )
    assert len(json.loads(found.stdout)) == 2
