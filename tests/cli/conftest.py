"""A terminal in a folder of its own: the real program over a real spool."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from bridge import app
from bridge.cli import root
from bridge.config import Config, load

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = "home.example"
ALICE = "alice@home.example"
BOB = "bob@home.example"


@dataclass
class Terminal:
    """Types commands; `ok`, `json` and `refused` say what is expected of them."""

    directory: Path
    alice: str = ALICE
    bob: str = BOB

    @property
    def file(self) -> Path:
        return self.directory / "bridge.toml"

    @property
    def home(self) -> Path:
        return self.directory / "spool" / DOMAIN

    @property
    def config(self) -> Config:
        return load(self.file, {})

    def run(self, *words: object, typed: str = "") -> Result:
        given = [str(word) for word in words]
        # Left out by tests that name no file, or another one.
        if "--config" not in given:
            given = ["--config", str(self.file), *given]
        result = CliRunner().invoke(root, given, input=typed)
        assert "Traceback" not in result.stderr, result.stderr
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def ok(self, *words: object, typed: str = "") -> str:
        result = self.run(*words, typed=typed)
        assert result.exit_code == 0, result.stderr
        assert "error:" not in result.stderr
        return result.stdout.strip()

    def json(self, *words: object) -> Any:
        return json.loads(self.ok(*words, "--json"))

    def refused(self, *words: object, status: int = 1, typed: str = "") -> str:
        """Return the one sentence that says why."""
        result = self.run(*words, typed=typed)
        assert result.exit_code == status, (result.exit_code, result.stdout, result.stderr)
        lines = [line for line in result.stderr.splitlines() if ": error: " in line]
        assert len(lines) == 1, result.stderr
        sentence = lines[0].removeprefix("tx-bridge: error: ")
        assert not sentence.endswith(".")
        return sentence

    def init(self) -> Terminal:
        self.ok("init", "--spool", self.directory / "spool", "--domain", DOMAIN, "--yes")
        return self

    def team(self) -> str:
        """Make a project of Alice's with Bob as a member; return its id."""
        project = self.ok("project", "create", "Team", "--as", self.alice)
        self.ok("project", "member", "add", "Team", self.bob)
        return project

    def log_of(self, project: str) -> Path:
        unique, _, domain = project.partition("@")
        return self.home / "_store" / domain / unique / "log" / "00000001.jsonl"

    def running(self) -> app.Running:
        return app.connect(self.config)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal where nothing was set up yet."""
    monkeypatch.chdir(tmp_path)
    return Terminal(tmp_path)


@pytest.fixture
def bare(empty: Terminal) -> Terminal:
    """A spool without users."""
    return empty.init()


@pytest.fixture
def terminal(bare: Terminal) -> Terminal:
    """A spool with Alice and Bob."""
    for user in (bare.alice, bare.bob):
        bare.ok("user", "add", user)
    return bare
