"""The program as a whole: help, usage, failures, key, dns, doctor."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
import dns.zone
import pytest
from click.testing import CliRunner

from bridge import app
from bridge.cli import root, user
from bridge.cli.shape import LISTEN
from bridge.cli.speech import plain
from bridge.store.spool import SpoolLock
from bridge.trust.patchsig import unb64
from bridge.trust.testca import make_test_ca

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.conftest import Terminal


def commands(group: click.Group = root, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, *names, name)
        else:
            yield (*names, name)


WRITES = frozenset(
    [
        "apple-profile",
        "add",
        "set",
        "rename",
        "archive",
        "remove",
        "disable",
        "enable",
        "revoke",
        "complete",
        "delete",
        "annotate",
        "attach",
        "accept",
        "decline",
        "ignore",
        "block",
        "unblock",
        "init",
        "serve",
        "serve-http",
        "quickstart",
        "import",
    ]
)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_has_help_and_the_common_options(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(root, [*words, "--help"])
    assert result.exit_code == 0
    assert "--config FILE" in result.stdout
    assert "Usage: tx-bridge" in result.stdout
    if words[-1] not in WRITES:
        assert "--json" in result.stdout
    text = result.stdout.split("\n\n")[1].strip()
    assert text[0].isupper()
    assert "." in text


def test_every_command_of_the_design_is_there() -> None:
    promised = (
        "quickstart init serve doctor user project task request contact log revert verify "
        "rebuild export import key dns"
    )
    result = CliRunner().invoke(root, ["--help"])
    for name in promised.split():
        assert f"\n  {name} " in result.stdout, name
    assert "serve-http" not in result.stdout


# -- usage and failures ------------------------------------------------------------------


def test_no_command_shows_help_as_a_usage_error() -> None:
    result = CliRunner().invoke(root, [])
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_an_unknown_command_or_option_is_a_usage_error(empty: Terminal) -> None:
    assert "no such command 'sevre'" in empty.refused("sevre", status=2)
    assert "no such option" in empty.refused("user", "list", "--jason", status=2).lower()
    assert "missing argument" in empty.refused("user", "add", status=2)


@pytest.mark.parametrize("text", ["5232", "host", "host:", ":x", "h:70000", "h:²"])
def test_what_is_no_address_to_listen_on_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="HOST:PORT"):
        LISTEN.convert(text, None, None)


def test_addresses_to_listen_on_may_be_ipv6() -> None:
    assert LISTEN.convert("[::1]:5232", None, None) == ("::1", 5232)
    assert LISTEN.convert(":80", None, None) == ("127.0.0.1", 80)


def test_the_configuration_may_be_named_anywhere(terminal: Terminal) -> None:
    config = ["--config", str(terminal.file)]
    for words in (
        [*config, "user", "list"],
        ["user", *config, "list"],
        ["user", "list", *config],
        ["user", "password", *config, terminal.alice],
    ):
        assert CliRunner().invoke(root, words).exit_code == 0


def test_a_wrong_configuration_ends_with_78(terminal: Terminal) -> None:
    terminal.file.write_text('[domain]\nname = "home.example"\nhots = "x"\n')
    said = terminal.refused("user", "list", status=78)
    assert said == f"{terminal.file}: domain: there is no key hots"


def test_what_should_not_happen_is_one_line(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(user, "session", broken)
    said = terminal.refused("user", "list")
    assert said == "this should not have happened: KeyError: 'surprise'"
    result = CliRunner().invoke(root, ["--config", str(terminal.file), "user", "list", "--debug"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_two_commands_at_once_take_turns(terminal: Terminal) -> None:
    command = [sys.executable, "-m", "bridge", "--config", str(terminal.file)]
    add = [*command, "task", "add", terminal.alice]
    several = [
        subprocess.Popen([*add, f"task {i}"], stdout=subprocess.PIPE)  # noqa: S603 - our own program
        for i in range(3)
    ]
    for one in several:
        one.communicate(timeout=60)
    assert [one.returncode for one in several] == [0, 0, 0]
    assert len(terminal.json("task", "list")) == 3


def test_a_locked_spool_without_a_gateway_is_refused(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.cli.session._TURNS", 2)
    with SpoolLock(app.layout_of(terminal.config)):
        said = terminal.refused("user", "list")
    assert said == f"the spool of home.example is in use by process {os.getpid()}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\x1b[31mb", "a\ufffd[31mb"), ("a\nb\tc", "a b c"), ("\u202eé", "\ufffdé"), ("ok", "ok")],
)
def test_nothing_that_a_terminal_obeys_is_written(text: str, shown: str) -> None:
    assert plain(text) == shown


def on_a_terminal(terminal: Terminal, *words: str) -> str:
    """Return what a person sees: standard output and error are a terminal of 120 columns."""
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb") as screen:
        process = subprocess.Popen(  # noqa: S603 - the program under test
            [sys.executable, "-m", "bridge", "--config", str(terminal.file), *words],
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "COLUMNS": "120", "TERM": "xterm"},  # noqa: TID251 - a child's
        )
        os.close(theirs)
        seen = b""
        try:
            while part := os.read(screen.fileno(), 65536):
                seen += part
        except OSError:
            pass  # the other end was closed: that is how a terminal ends
        assert process.wait(30) == 0
    return seen.decode()


def test_a_person_sees_a_table_and_progress(terminal: Terminal, project: str) -> None:
    seen = on_a_terminal(terminal, "project", "list")
    assert "\t" not in seen
    (line,) = (one for one in seen.splitlines() if one.startswith("Team"))
    assert line.split()[:3] == ["Team", project, terminal.alice]
    assert f"verifying {terminal.alice}" in on_a_terminal(terminal, "verify")


def test_a_title_is_no_markup(terminal: Terminal) -> None:
    terminal.ok("task", "add", terminal.alice, "[bold]x[/bold] \x1b[31mred")
    seen = on_a_terminal(terminal, "task", "list")
    assert "[bold]x[/bold] \ufffd[31mred" in seen


# -- key and dns -------------------------------------------------------------------------


def test_the_key_is_shown_with_the_records_to_publish(terminal: Terminal) -> None:
    shown = terminal.json("key")
    key = app.load_key(terminal.config)
    assert (shown["key"], shown["public"]) == ("home.example/k1", key.public)
    said = terminal.ok("key")
    assert all(line in said for line in shown["records"])
    assert app.key_file(terminal.config).read_text().strip() not in said


def test_the_records_are_a_zone(terminal: Terminal) -> None:
    lines = terminal.ok("dns", "--host", "tx1.home.example", "--port", "8443")
    zone = dns.zone.from_text(
        f"@ 300 IN SOA ns. root. 1 1 1 1 1\n@ 300 IN NS ns.\n{lines}\n",
        origin="home.example.",
        relativize=False,
    )

    def record(name: str, kind: str) -> Any:
        return zone.find_rdataset(name, kind)[0]

    for service in ("_tx._tcp", "_caldavs._tcp"):
        found = record(f"{service}.home.example.", "SRV")
        assert (str(found.target), found.port) == ("tx1.home.example.", 8443)
    assert record("_tx._tcp.home.example.", "TXT").strings[0].startswith(b"v=TX1; path=/tx; ")
    assert record("_caldavs._tcp.home.example.", "TXT").strings == (b"path=/dav/",)
    text = record("k1._txkey.home.example.", "TXT").strings[0].decode()
    tags = dict(tag.split("=", 1) for tag in text.split("; "))
    assert tags["v"] == "TXKEY1"
    assert len(tags["p"]) == 44
    assert base64.b64decode(tags["p"]) == unb64(app.load_key(terminal.config).public)


def test_a_host_that_is_none_is_refused(terminal: Terminal) -> None:
    assert "not a domain name" in terminal.refused("dns", "--host", "a b", status=2)


# -- doctor ------------------------------------------------------------------------------


def checks(terminal: Terminal, status: int = 0) -> dict[str, str]:
    result = terminal.run("doctor", "--offline", "--json")
    assert result.exit_code == status, result.stdout

    return {one["check"]: one["state"] for one in json.loads(result.stdout)}


def test_a_healthy_spool_passes(terminal: Terminal) -> None:
    found = checks(terminal)
    assert found.pop("gateway") == "warn"
    assert set(found.values()) == {"ok"}
    assert {"configuration", "spool", "key", "index", "disk", "clock"} <= set(found)
    assert "ok    key" in terminal.ok("doctor")


def test_a_key_that_others_can_read_fails(terminal: Terminal) -> None:
    app.key_file(terminal.config).chmod(0o644)
    assert checks(terminal, 1)["key"] == "fail"
    result = terminal.run("doctor")
    assert "fail  key" in result.stdout
    assert "chmod 600" in result.stderr


def test_a_missing_key_spool_or_configuration_fails(terminal: Terminal) -> None:
    app.key_file(terminal.config).unlink()
    assert checks(terminal, 1)["key"] == "fail"
    terminal.home.rename(terminal.directory / "away")
    assert checks(terminal, 1)["spool"] == "fail"
    terminal.file.write_text("x = 1\n")
    assert checks(terminal, 1) == {"configuration": "fail"}


def test_a_shortened_log_fails_and_one_ahead_of_the_index_warns(
    terminal: Terminal, project: str
) -> None:
    log = terminal.log_of(project)
    whole = log.read_bytes()
    index = app.layout_of(terminal.config).index
    saved = index.read_bytes()
    terminal.ok("task", "add", "Team", "one more")
    index.write_bytes(saved)
    assert checks(terminal)["index"] == "warn"
    log.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert checks(terminal, 1)["index"] == "fail"
    index.write_bytes(b"not a database at all")
    assert checks(terminal, 1)["index"] == "fail"


def test_a_clock_that_went_back_fails(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    then = app.clock().replace(year=2020, day=1)
    monkeypatch.setattr(app, "clock", lambda: then)
    assert checks(terminal, 1)["clock"] == "fail"


def test_a_low_disk_fails(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TX_BRIDGE_STORAGE__RESERVE", str(1 << 49))
    assert checks(terminal, 1)["disk"] == "fail"


def test_a_password_that_everybody_can_read_warns(terminal: Terminal) -> None:
    with terminal.file.open("a") as file:
        file.write('[mail.smtp]\nhost = "localhost"\npassword = "hush"\n')
    terminal.file.chmod(0o644)
    assert checks(terminal)["configuration"] == "warn"
    terminal.file.chmod(0o640)
    assert checks(terminal)["configuration"] == "ok"


def test_a_certificate_that_cannot_be_read_fails(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TX_BRIDGE_MAIL_TRUST__CA_FILES", "none.pem")
    assert checks(terminal, 1)["certificates"] == "fail"


@pytest.mark.parametrize(("days", "state"), [(-1, "fail"), (10, "warn"), (90, "ok")])
def test_authorities_are_checked_for_their_end(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, days: int, state: str
) -> None:
    now = app.clock()
    start, end = now - timedelta(days=30), now + timedelta(days=days, hours=1)
    authority = make_test_ca("Test", serial=1, not_before=start, not_after=end)
    (terminal.directory / "ca.pem").write_bytes(authority.certificate_pem)
    monkeypatch.setenv("TX_BRIDGE_MAIL_TRUST__CA_FILES", "ca.pem")
    said = terminal.run("doctor", "--offline").stdout
    assert f"{state:<4}  certificates" in said


def test_mail_servers_that_do_not_answer_fail(terminal: Terminal) -> None:
    with terminal.file.open("a") as file:
        file.write(
            '[mail.smtp]\nhost = "127.0.0.1"\nport = 9\nsecurity = "none"\n'
            '[[mail.mailbox]]\nhost = "127.0.0.1"\nport = 9\ntls = false\n'
            'user = "u"\npassword = "p"\n'
        )
    result = terminal.run("doctor")
    assert result.exit_code == 1
    assert "fail  mailbox" in result.stdout
    assert "fail  mail server" in result.stdout
