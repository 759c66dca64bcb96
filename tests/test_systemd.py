"""The units: accepted by systemd, hardened, and the gateway speaks its protocol."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.config import SECTIONS
from bridge.listener import free_port

UNITS = Path(__file__).parents[1] / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
EXPOSURE_MAX = 2.0
SECONDS = 60

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - systemd's own checker
        ["systemd-analyze", *arguments],  # noqa: S607 - wherever the distribution has it
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_the_service_is_hardened(unit: Path) -> None:
    done = analyze("security", "--no-pager", "--offline=true", unit)
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level, done.stderr
    assert float(level[1]) <= EXPOSURE_MAX


@needs_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """With a program that exists here, so that only the units can be wrong."""
    for unit in UNITS.iterdir():
        text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    done = analyze("verify", "--man=no", *sorted(tmp_path.iterdir()))
    told = [line for line in done.stderr.splitlines() if "tx-bridge" in line]
    assert told == []


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_credentials_are_named_as_the_configuration_reads_them(unit: Path) -> None:
    names = re.findall(r"(?m)^LoadCredential=(.*)$", unit.read_text())
    sections = {section.name: section.types for section in SECTIONS}
    assert names
    for name in names:
        section, _, key = re.sub(r"\.\d+\.", ".", name).rpartition(".")
        assert name == "domain.key" or key in sections[section], name


def test_a_wrong_configuration_is_not_tried_again() -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read(UNITS / "tx-bridge.service")
    assert parser["Service"]["RestartPreventExitStatus"] == "78"
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "serve", "--config", "/nonexistent/bridge.toml"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 78


def test_the_gateway_says_ready_alive_and_stopping(tmp_path: Path) -> None:
    """sd_notify(3): READY=1 once it answers, WATCHDOG=1 in time, STOPPING=1 at the end."""
    config = tmp_path / "bridge.toml"
    program = [sys.executable, "-m", "bridge"]
    init = [*program, "init", "--yes", "--domain", "home.example"]
    where = ["--config", str(config), "--spool", str(tmp_path / "spool")]
    subprocess.run([*init, *where], check=True, capture_output=True, timeout=SECONDS)  # noqa: S603 - the program under test
    port = free_port("127.0.0.1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        given = {
            **os.environ,  # noqa: TID251 - what a child inherits
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "400000",
        }
        with subprocess.Popen(  # noqa: S603 - the program under test
            [*program, "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"],
            env=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                heard = [manager.recv(100)]
                while heard.count(b"WATCHDOG=1") < 2 or b"READY=1" not in heard:
                    heard.append(manager.recv(100))
            finally:
                process.send_signal(signal.SIGTERM)
            while heard[-1] != b"STOPPING=1":
                heard.append(manager.recv(100))
        assert process.returncode == 0
