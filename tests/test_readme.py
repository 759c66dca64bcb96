"""README is true: its commands, options, files and settings exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

from bridge.cli import root
from bridge.cli.shape import DefaultGroup
from bridge.config import SECTIONS

ROOT = Path(__file__).parents[1]
TEXTS = {name: (ROOT / name).read_text() for name in ("README.md", "CHANGELOG.md")}
README = TEXTS["README.md"]
CODE = re.findall(r"(?s)```\w*\n(.*?)```", README)
QUOTED = re.findall(r"`([^`\n]+)`", re.sub(r"(?s)```.*?```", "", README))


def spoken() -> list[str]:
    """Every use of the program in README, without what stands before it."""
    lines = [line for block in CODE for line in block.splitlines()]
    uses = [
        use.strip()
        for line in [*lines, *QUOTED]
        for use in re.findall(r"(?:^|\s)tx-bridge( [a-z][^#|]*)", line)
        if not line.startswith("sudo systemctl") and "adduser" not in line
    ]
    return sorted({use for use in uses if not use.startswith("tx-bridge")})


@pytest.mark.parametrize("use", spoken())
def test_a_command_in_readme_exists_with_its_options(use: str) -> None:
    command: click.Command = root
    context = click.Context(root)
    options = {name for param in root.params for name in param.opts}
    for word in shlex.split(use):
        if word.startswith("-"):
            assert word in options, f"{word} of tx-bridge {use}"
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None and isinstance(command, DefaultGroup):
                found = command.get_command(context, command.default)
            assert found is not None, f"{word} of tx-bridge {use}"
            command = found
            options |= {name for param in command.params for name in param.opts}
    assert command is not root


def test_every_command_is_in_readme() -> None:
    shown = {name for name in root.list_commands(click.Context(root)) if not hidden(name)}
    named = {use.split()[0] for use in spoken()} | {"quickstart"}
    assert shown <= named


def hidden(name: str) -> bool:
    command = root.get_command(click.Context(root), name)
    return command is None or command.hidden


@pytest.mark.parametrize("name", TEXTS)
def test_every_linked_file_exists(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", TEXTS[name])
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert missing == []


def test_every_script_and_path_of_the_checkout_exists() -> None:
    named = re.findall(r"(?<![\w/-])((?:config|tests|systemd|bridge)/[\w./-]*\w)", README)
    named += re.findall(r"/opt/tx-bridge/(\w[\w./-]*\w)", README)
    assert "config/quickstart" in named
    named = [name for name in named if not name.startswith(".venv")]
    assert [name for name in named if not any(ROOT.glob(f"{name}*"))] == []


def test_the_parts_of_tests_check_exist() -> None:
    help_text = subprocess.run(  # noqa: S603 - our own script
        [ROOT / "tests" / "check", "--help"], capture_output=True, text=True, check=True
    ).stdout
    parts = set(re.findall(r"[a-z]+", help_text.partition("[")[2]))
    assert parts == {"format", "lint", "types", "imports", "core", "caldav", "mail"}
    assert all(f"`{part}`" in README or f"tests/check {part}" in README for part in parts)


def test_every_setting_in_readme_exists() -> None:
    sections = {section.name: section for section in SECTIONS}
    named = re.findall(r"`\[+([a-z.]+)\]+`", README)
    assert {"mail.mailbox", "mail.listener", "mail.smtp", "mail.trust"} <= set(named)
    assert set(named) <= set(sections)
    assert "password" in sections["mail.mailbox"].types


def test_the_version_has_a_section_in_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    source = (ROOT / project["tool"]["hatch"]["version"]["path"]).read_text()
    version = re.search(r'__version__ = "([^"]+)"', source)
    assert version
    assert f"\n## {version[1]}" in TEXTS["CHANGELOG.md"]
