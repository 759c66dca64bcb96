"""A terminal in a folder of its own: the real program over a real spool."""

from __future__ import annotations

import json
import shutil
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


def copied(template: Terminal, directory: Path) -> Terminal:
    """Return a terminal over a copy of another's spool; making one anew takes a second."""
    shutil.copytree(template.directory, directory, symlinks=True, dirs_exist_ok=True)
    copy = Terminal(directory)
    moved = copy.file.read_text().replace(str(template.directory), str(directory))
    copy.file.write_text(moved)
    return copy


@pytest.fixture(scope="session")
def two_users(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A spool with Alice and Bob, to be copied."""
    made = Terminal(tmp_path_factory.mktemp("users")).init()
    for user in (made.alice, made.bob):
        made.ok("user", "add", user)
    return made


@pytest.fixture(scope="session")
def one_team(two_users: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """The same with a project of six entries and one attachment, to be copied."""
    made = copied(two_users, tmp_path_factory.mktemp("team"))
    made.team()
    task = made.ok("task", "add", "Team", "Buy milk")
    made.ok("task", "set", task, "due=2026-12-01")
    file = made.directory / "plan.txt"
    file.write_bytes(b"the plan\n")
    made.ok("task", "attach", task, file)
    return made


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
def terminal(empty: Terminal, request: pytest.FixtureRequest) -> Terminal:
    """A spool with Alice and Bob; with the team where the test asks for `project` too."""
    template = "one_team" if "project" in request.fixturenames else "two_users"
    return copied(request.getfixturevalue(template), empty.directory)


@pytest.fixture
def project(terminal: Terminal) -> str:
    """The id of a project of six entries and one attachment."""
    found: str = terminal.json("project", "show", "Team")["project"]
    return found
