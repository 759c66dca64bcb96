"""init, user and their passwords."""

from __future__ import annotations

import re
import stat
import time
from typing import TYPE_CHECKING

import pytest

from bridge import app
from bridge.config import load
from bridge.model.ids import Address
from bridge.store.directory_records import User
from bridge.trust.passwords import Passwords, Settings

if TYPE_CHECKING:
    from cli.conftest import Terminal

GIVEN = "k7m2p-x9qrt-5hjwn-c3vbd"
FORM = re.compile(r"([2-9a-hj-km-np-z]{5}-){3}[2-9a-hj-km-np-z]{5}\Z")


def logs_in(terminal: Terminal, user: str, password: str) -> bool:
    with terminal.running() as running:
        gateway = running.gateway
        passwords = Passwords(
            gateway.directory.passwords,
            Settings(),
            random_bytes=gateway.random_bytes,
            monotonic=time.monotonic,
        )
        return passwords.check(user, password, gateway.clock()) is not None


# -- init --------------------------------------------------------------------------------


def test_init_makes_file_spool_and_key(empty: Terminal) -> None:
    said = empty.ok("init", "--spool", "my spool", "--domain", "Home.Example.", "--yes")
    config = load(empty.file, {})
    assert config.domain == "home.example"
    assert config.spool == empty.directory / "my spool"
    key = app.key_file(config)
    assert str(key) in said
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert "\n#threads = 16\n" in empty.file.read_text()


def test_init_again_changes_nothing(bare: Terminal) -> None:
    before = bare.file.read_bytes(), app.key_file(bare.config).read_bytes()
    assert bare.ok("init", "--yes").count("as it was") == 2
    assert (bare.file.read_bytes(), app.key_file(bare.config).read_bytes()) == before


def test_init_refuses_another_domain_or_spool_than_the_file(bare: Terminal) -> None:
    assert "is for home.example" in bare.refused("init", "--domain", "x.example", status=78)
    assert "has its spool in" in bare.refused("init", "--spool", "/elsewhere", status=78)


def test_init_without_a_domain_is_a_usage_error(empty: Terminal) -> None:
    assert "--domain" in empty.refused("init", "--yes", status=2)
    assert "not a domain" in empty.refused("init", "--domain", "a b", "--yes", status=2)
    assert not empty.file.exists()


def test_init_asks_before_it_writes(empty: Terminal) -> None:
    assert empty.refused("init", "--spool", "s", typed="home.example\nn\n", status=130)
    assert not empty.file.exists()
    empty.ok("init", "--spool", "s", typed="home.example\ny\n")
    assert empty.config.domain == "home.example"


def test_commands_before_init_say_what_to_do(empty: Terminal) -> None:
    assert "there is no configuration file" in empty.refused("user", "list", status=78)
    empty.file.write_text('[domain]\nname = "home.example"\n[storage]\nspool = "spool"\n')
    for command in ("project list", "verify", "rebuild", "import x.tar.gz"):
        assert "there is no spool" in empty.refused(*command.split(), status=78)
    assert "there is no key" in empty.refused("key", status=78)


# -- users -------------------------------------------------------------------------------


def test_a_new_user_has_a_personal_project_and_a_password_that_works(bare: Terminal) -> None:
    made = bare.json("user", "add", "Alice@Home.Example", "--name", "Alice")
    assert made["address"] == made["project"] == bare.alice
    assert FORM.match(made["password"])
    assert logs_in(bare, bare.alice, made["password"])
    assert not logs_in(bare, bare.bob, made["password"])
    (project,) = bare.json("project", "list")
    assert (project["project"], project["name"], project["head"]) == (bare.alice, "Alice", 2)


def test_a_new_user_finds_the_project_below_the_own_address(bare: Terminal) -> None:
    bare.ok("user", "add", bare.alice)
    link = bare.home / bare.alice / "projects" / "home.example" / "alice"
    assert (link / "log" / "00000001.jsonl").is_file()
    assert (link / "project.json").is_file()


def test_a_password_in_a_file_is_taken(bare: Terminal) -> None:
    file = bare.directory / "password"
    file.write_text(GIVEN.upper() + "\n")
    said = bare.ok("user", "add", bare.alice, "--password-file", file)
    assert GIVEN not in said
    assert logs_in(bare, bare.alice, GIVEN)
    bare.ok("user", "add", bare.bob, "--password-file", "-", typed=GIVEN)
    assert logs_in(bare, bare.bob, GIVEN)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "has not the form"),
        ("correct horse battery", "has not the form"),
        ("k7m2p-x9qrt-5hjwn-c3vb0", "has not the form"),
        ("aaaaa-aaaaa-aaaaa-aaaaa", "too regular"),
        ("abcde-fghjk-mnpqr-stuvw", "too regular"),
        ("k7m2p-k7m2p-x9qrt-5hjwn", "too regular"),
    ],
)
def test_a_weak_password_is_refused_before_the_user_is_made(
    bare: Terminal, password: str, said: str
) -> None:
    sentence = bare.refused("user", "add", bare.alice, "--password-file", "-", typed=password)
    assert said in sentence
    assert bare.json("user", "list") == []


def test_a_missing_password_file_is_named(bare: Terminal) -> None:
    assert "/none" in bare.refused("user", "add", bare.alice, "--password-file", "/none/x")


def test_wrong_users_are_refused(terminal: Terminal) -> None:
    assert "is a user already" in terminal.refused("user", "add", terminal.alice)
    assert "not of this domain" in terminal.refused("user", "add", "x@far.example")
    assert "not an e-mail address" in terminal.refused("user", "add", "alice", status=2)
    assert "not a time zone" in terminal.refused(
        "user", "add", "c@home.example", "--time-zone", "Mars/X", status=2
    )
    assert "there is no user" in terminal.refused("user", "show", "c@home.example")


def test_an_interrupted_addition_can_be_repeated(bare: Terminal) -> None:
    with bare.running() as running:
        alone = User(address=Address(bare.alice), name="", created=running.gateway.clock())
        running.gateway.directory.people.add(alone)
    bare.ok("user", "add", bare.alice)
    assert [one["project"] for one in bare.json("project", "list")] == [bare.alice]


def test_users_can_be_described(terminal: Terminal) -> None:
    project = terminal.team()
    terminal.ok(
        "user", "set", terminal.alice, "--name", "A", "--time-zone", "Europe/Berlin",
        "--default-project", "Team", "--notice", "none", "--say-blocked",
    )  # fmt: skip
    shown = terminal.json("user", "show", terminal.alice)
    assert (shown["name"], shown["time_zone"], shown["notice"]) == ("A", "Europe/Berlin", "none")
    assert (shown["default_project"], shown["say_blocked"]) == (project, True)
    assert shown["language"] == "en"
    assert "Europe/Berlin" in terminal.ok("user", "show", terminal.alice)


def test_a_default_project_must_be_ones_own(terminal: Terminal) -> None:
    terminal.ok("project", "create", "Private", "--as", terminal.alice)
    said = terminal.refused("user", "set", terminal.bob, "--default-project", "Private")
    assert "not a member" in said


def test_a_disabled_user_cannot_log_in(terminal: Terminal) -> None:
    password = terminal.ok("user", "password", terminal.alice)
    terminal.ok("user", "disable", terminal.alice)
    assert not logs_in(terminal, terminal.alice, password)
    assert "disabled" in terminal.ok("user", "list")
    terminal.ok("user", "enable", terminal.alice)
    assert logs_in(terminal, terminal.alice, password)


# -- passwords ---------------------------------------------------------------------------


def test_each_client_has_a_password_and_loses_it_alone(terminal: Terminal) -> None:
    phone = terminal.ok("user", "password", terminal.alice, "--label", "Phone")
    laptop = terminal.ok("user", "password", "new", terminal.alice, "--label", "Laptop")
    terminal.ok("user", "password", "revoke", terminal.alice, "Phone")
    assert not logs_in(terminal, terminal.alice, phone)
    assert logs_in(terminal, terminal.alice, laptop)
    listed = terminal.json("user", "password", "list", terminal.alice)
    assert [(one["label"], bool(one["revoked"])) for one in listed] == [
        ("first password", False),
        ("Phone", True),
        ("Laptop", False),
    ]
    assert laptop[:5] not in terminal.ok("user", "password", "list", terminal.alice)


def test_revoking_what_is_not_there_is_refused(terminal: Terminal) -> None:
    said = terminal.refused("user", "password", "revoke", terminal.alice, "Phone")
    assert "there is no app password Phone" in said
    for _ in range(2):
        terminal.ok("user", "password", terminal.alice, "--label", "Twin")
    assert "2 app passwords" in terminal.refused(
        "user", "password", "revoke", terminal.alice, "Twin"
    )


def test_a_password_for_nobody_is_refused(terminal: Terminal) -> None:
    assert "there is no user" in terminal.refused("user", "password", "carol@home.example")


def test_a_given_password_must_not_begin_like_another(terminal: Terminal) -> None:
    terminal.ok("user", "password", terminal.alice, "--password-file", "-", typed=GIVEN)
    said = terminal.refused("user", "password", terminal.alice, "--password-file", "-", typed=GIVEN)
    assert "begins with the same group" in said
