"""`tx-bridge quickstart` as a person runs it: a process, real sockets, a directory."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.app import clock
from bridge.cli.example import ALICE, DOMAIN, Example
from bridge.listener import free_port
from bridge.model.ids import Domain, ProjectId
from bridge.model.log import read_entry
from bridge.store.logreader import FileLogReader
from bridge.store.spool import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "bridge"]
SECONDS = 90


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(  # noqa: S603 - the program under test
        command, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def once(directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    free = ("--listen", "127.0.0.1:0", "--smtp", "127.0.0.1:0")
    return run("quickstart", "--once", "--directory", directory, *(more or free))


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name: the path of a Unix socket has 104 bytes at most."""
    return tmp_path_factory.mktemp("q")


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory and the output of one quickstart that worked."""
    directory = tmp_path_factory.mktemp("q") / "start"
    done = once(directory)
    assert done.returncode == 0, done.stderr + done.stdout
    return directory, done.stdout


def titles(directory: Path) -> list[str]:
    """The titles set by the log of Alice's project, oldest first."""
    log = FileLogReader(Layout(root=directory / "spool", domain=Domain(DOMAIN)))
    try:
        entries = [read_entry(line) for _, _, line in log.read(ProjectId(ALICE))]
    finally:
        log.close()
    found = [
        op["value"]
        for entry in entries
        for op in entry.patch.document["ops"]
        if op.get("key") == "description"
    ]
    return [str(value) for value in found]


def test_each_step_shows_what_it_checked(tried: tuple[Path, str]) -> None:
    directory, output = tried
    assert re.search(r"method +smime\n +level +P\n +fingerprint +sha256:[0-9a-f]{64}", output)
    assert re.search(r"author +alice@home\.example via mail", output)
    assert re.search(r"proof +kind=smime .*signer=bob@partner\.example", output)
    assert "chain and signatures hold" in output
    assert "SUMMARY:Review the contract" in output
    assert re.search(r'ETag "[0-9a-f]+"', output)
    password = Example(directory).stored_password()
    assert re.search(rf"app password +{re.escape(password)} ", output)
    assert output.endswith("every step worked\n")
    assert titles(directory) == ["Review the contract"]


def test_secrets_are_for_their_owner_only(tried: tuple[Path, str]) -> None:
    directory, _ = tried
    for name in ("alice.password", "bob.key"):
        assert (directory / name).stat().st_mode & 0o777 == 0o600, name


def test_a_second_run_continues_with_the_same_domain(tried: tuple[Path, str], place: Path) -> None:
    directory = place / "again"
    shutil.copytree(tried[0], directory, symlinks=True)
    password = Example(directory).stored_password()
    done = once(directory)
    assert done.returncode == 0, done.stderr
    assert f"app password  {password}" in done.stdout
    assert titles(directory) == ["Review the contract"] * 2


def test_a_backup_without_the_index_is_restored_and_verified(
    tried: tuple[Path, str], place: Path
) -> None:
    restored = place / "restored"
    without = shutil.ignore_patterns("index.sqlite3*", "_control")
    shutil.copytree(tried[0], restored, symlinks=True, ignore=without)
    config = ("--config", restored / "bridge.toml")
    for command in (["rebuild"], ["verify"]):
        done = run(*command, *config)
        assert done.returncode == 0, done.stderr
    listed = run("task", "list", ALICE, "--json", *config)
    assert "Review the contract" in listed.stdout


@pytest.fixture
def taken() -> Iterator[str]:
    """An address at which somebody else listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"127.0.0.1:{other.getsockname()[1]}"


@pytest.mark.parametrize("option", ["--listen", "--smtp"])
def test_a_busy_port_is_one_sentence_and_a_hint(taken: str, option: str, place: Path) -> None:
    free = {"--listen": "127.0.0.1:0", "--smtp": "127.0.0.1:0", option: taken}
    done = once(place / "none", *(word for pair in free.items() for word in pair))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"tx-bridge: error: cannot listen on {taken}: address already in use\n"
        "tx-bridge: hint: stop the other program, or choose another port with"
        f" {option} HOST:PORT\n"
    )
    assert not (place / "none").exists()


def test_a_damaged_directory_ends_with_a_sentence(tried: tuple[Path, str], place: Path) -> None:
    directory = place / "damaged"
    shutil.copytree(tried[0], directory, symlinks=True)
    (directory / "bob.pem").write_text("no certificate")
    done = once(directory)
    assert done.returncode == 1
    assert "tx-bridge: error: the example certificate" in done.stderr
    assert "Traceback" not in done.stderr


def test_mail_that_is_not_believed_fails_the_check(tried: tuple[Path, str], place: Path) -> None:
    """Another authority than the one in the configuration: Bob's mail is a request only."""
    directory = place / "distrusted"
    shutil.copytree(tried[0], directory, symlinks=True)
    other = Example(place / "other")
    other.prepare(clock())
    shutil.copy(other.authority, directory / "ca.pem")
    done = once(directory)
    assert done.returncode == 1
    assert "was not accepted as a signed assignment" in done.stderr
    assert titles(directory) == ["Review the contract"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped_and_leaves_nothing_running(
    how: signal.Signals, tried: tuple[Path, str], place: Path
) -> None:
    directory = place / "serving"
    shutil.copytree(tried[0], directory, symlinks=True)
    web, mail = free_port("127.0.0.1"), free_port("127.0.0.1")
    where = ["--listen", f"127.0.0.1:{web}", "--smtp", f"127.0.0.1:{mail}"]
    command = [*PROGRAM, "quickstart", "--directory", str(directory), *where]
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}  # noqa: TID251 - what a child inherits
    with subprocess.Popen(  # noqa: S603 - the program under test
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=unbuffered
    ) as process:
        assert process.stdout is not None
        try:
            assert any("Serving until Ctrl-C" in line for line in process.stdout)
            with socket.create_connection(("127.0.0.1", web), 5):
                pass
        finally:
            process.send_signal(how)
        rest, told = process.communicate(timeout=SECONDS)
    assert (process.returncode, told) == (0, "")
    assert rest.endswith("stopped\n")
    for port in (web, mail):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


# -- the shell around it -----------------------------------------------------------------


def without_python(path: Path) -> dict[str, str]:
    """An environment in which every Python is too old."""
    path.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        script = path / name
        script.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2\nexit 1\n')
        script.chmod(0o755)
    return {"PATH": f"{path}:/usr/bin:/bin"}


@pytest.mark.parametrize("script", ["config/quickstart", "config/install", "tests/check"])
def test_an_old_python_is_one_sentence(script: str, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    for name in ("config", "tests"):
        (copy / name).mkdir(parents=True)
    for name in ("config/environment.sh", script):
        shutil.copy(ROOT / name, copy / name)
    done = subprocess.run(  # noqa: S603 - our own script
        [copy / script],
        env=without_python(tmp_path / "bin"),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"{Path(script).name}: error: Python 3.11, 3.12 or 3.13 is needed (found: Python 3.9.2);"
        " name one with PYTHON=/path/to/python\n"
    )
