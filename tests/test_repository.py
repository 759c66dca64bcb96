"""What holds for every file of the repository."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LINES_MAX = 450
LOCKS = {"requirements.lock": ("build",), "requirements-dev.lock": ("build", "dev")}

# Written so that this file does not match itself.
FOREIGN = re.compile(
    r"\bpypi[.](?:org|python)|python[h]osted|index[-]url|find[-]links|/wor[k]/|/opt/(?:pypi|wheels)"
)
NAMES_AN_OPTION = {"config/environment.sh": "--no-emit-index" + "-url"}


def tracked(*patterns: str) -> list[Path]:
    try:
        listed = subprocess.run(  # noqa: S603 - no shell
            ["git", "ls-files", "-z", "--", *patterns],  # noqa: S607 - git of whoever tests
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout, or git is not installed")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def program() -> list[Path]:
    return tracked("bridge/*.py", "plugins/*.py")


def test_no_file_names_a_package_registry_or_a_place_where_it_was_made() -> None:
    found = []
    for path in tracked():
        name = str(path.relative_to(ROOT))
        text = (
            path.read_bytes().decode(errors="replace").replace(NAMES_AN_OPTION.get(name, "\0"), "")
        )
        found += [f"{name}: {match[0]}" for match in FOREIGN.finditer(text)]
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    files = program()
    assert len(files) > 50
    silent = [
        str(p.relative_to(ROOT)) for p in files if not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert silent == []


def test_no_module_grows_beyond_what_is_read_in_one_go() -> None:
    sizes = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in program()}
    assert {name: size for name, size in sizes.items() if size > LINES_MAX} == {}


def pins_of(lock: str) -> dict[str, str]:
    """Name to version; each block of the file is one pin and its hashes."""
    pins: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip()):
        pin = re.match(r"([A-Za-z0-9._-]+)==(\S+) \\\n", block)
        assert pin, block
        hashes = block.split("\n")[1:]
        assert hashes, block
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}(?: \\)?", line) for line in hashes)
        pins[canonicalize_name(pin[1])] = pin[2]
    return pins


def test_what_is_tested_is_what_is_installed() -> None:
    runtime, dev = pins_of("requirements.lock"), pins_of("requirements-dev.lock")
    assert {name: version for name, version in runtime.items() if dev.get(name) != version} == {}


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_file_is_complete_and_hashed(name: str) -> None:
    """Each dependency of the project is in it, at a version that the project allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [Requirement(line) for line in project["project"]["dependencies"]]
    for group in LOCKS[name]:
        wanted += [Requirement(line) for line in project["dependency-groups"][group]]
    pins = pins_of(name)
    for requirement in wanted:
        pinned = pins.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement.name} is not in {name}"
        assert requirement.specifier.contains(pinned), f"{requirement} is {pinned} in {name}"


@pytest.mark.parametrize(
    "script", ["tests/check", ".ci/run", "config/quickstart", "config/install"]
)
def test_scripts_can_be_run(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111, f"{script} is not executable"
    subprocess.run(["bash", "-n", path], check=True)  # noqa: S603, S607 - our own script


def test_ci_runs_what_everybody_runs() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert len(commands) == 1
    assert commands[0].endswith('/../tests/check"')


def test_a_part_that_does_not_exist_is_a_usage_error() -> None:
    check = ROOT / "tests" / "check"
    done = subprocess.run(  # noqa: S603 - our own script
        [check, "everything"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("check: error: there is no part called everything\nusage: ")
