"""Settings: documented, checked, and from the strongest place."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, fields
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bridge.config import RANGES, SECTIONS, Config, load
from bridge.errors import Misconfigured
from bridge.mail.listener import Speaks
from bridge.mail.sender import Security
from bridge.settings import FIXED, Section

DOCUMENTED = Path(__file__).parents[2] / "config" / "bridge.toml"
DOMAIN = '[domain]\nname = "home.example"\n'
HUSH = "hush hush"
BOX = '[[mail.mailbox]]\nhost = "localhost"\nuser = "u@home.example"\n'


def written(directory: Path, text: str) -> Path:
    file = directory / "bridge.toml"
    file.write_text(text)
    return file


def loaded(directory: Path, text: str = "", /, **environ: str) -> Config:
    return load(written(directory, DOMAIN + text), environ)


def refused(directory: Path, text: str = "", /, **environ: str) -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        loaded(directory, text, **environ)
    return caught.value


# -- the documented file -----------------------------------------------------------------


def documented() -> dict[str, Any]:
    """Return the file with every setting that is commented out switched on."""
    return tomllib.loads(re.sub(r"(?m)^#(?=[\[a-z])", "", DOCUMENTED.read_text()))


def table_of(section: Section) -> dict[str, Any]:
    found: Any = documented()
    for part in section.name.split("."):
        found = found[part]
    table: dict[str, Any] = found[0] if section.repeated else found
    inner = {one.name.rpartition(".")[2] for one in SECTIONS if one.name.count(".")}
    return {key: value for key, value in table.items() if key not in inner}


def plain(value: object) -> object:
    """Return a default as TOML would write it; a path that is not set is empty text."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Path):
        return str(value)
    return "" if value is None else value


@pytest.mark.parametrize("section", SECTIONS, ids=lambda one: one.name)
def test_every_key_and_no_other_is_documented(section: Section) -> None:
    assert set(table_of(section)) == set(section.types)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda one: one.name)
def test_every_documented_default_is_the_real_one(section: Section) -> None:
    table = table_of(section)
    for field in fields(section.kind):
        if field.name in section.types and field.default is not MISSING:
            said = table[field.name]
            assert said == plain(field.default), f"{section.name}.{field.name}"
            assert type(said) is type(plain(field.default)), f"{section.name}.{field.name}"


def test_every_key_has_a_sentence_above_it() -> None:
    lines = DOCUMENTED.read_text().splitlines()
    for before, line in pairwise(lines):
        if re.match(r"#?[a-z_]+ = ", line):
            assert before.startswith("# "), line


def test_every_number_has_a_range() -> None:
    for section in SECTIONS:
        for key, kind in section.types.items():
            assert (kind in (int, float)) == (key in RANGES), f"{section.name}.{key}"


def test_the_defaults_lie_within_their_ranges(tmp_path: Path) -> None:
    everything = re.sub(r"(?m)^#(?=[\[a-z])", "", DOCUMENTED.read_text())
    config = load(written(tmp_path, everything), {})
    assert config.mail.listener is not None
    assert config.mail.smtp is not None
    assert config.mail.smtp.security is Security.STARTTLS


def test_no_section_hides_a_field_of_the_dataclasses() -> None:
    """A new setting of a part must appear here, be another section, or be named as fixed."""
    names = {section.kind for section in SECTIONS}
    for section in SECTIONS:
        missing = {one.name for one in fields(section.kind)} - set(section.types)
        others = {"mailboxes", "listener", "smtp", "trust", "intake", "caps"}
        assert missing <= others | FIXED, section.name
        assert len(names) == len(SECTIONS)


# -- values ------------------------------------------------------------------------------


def test_defaults_need_only_a_domain(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    assert config.domain == "home.example"
    assert config.spool == Path("/var/spool/tasks")
    assert (config.http.host, config.http.port) == ("127.0.0.1", 5232)
    assert config.mail.listener is None
    assert config.mail.mailboxes == ()


def test_the_domain_is_made_lower_case_ascii(tmp_path: Path) -> None:
    config = load(written(tmp_path, '[domain]\nname = "Bücher.Example."\n'), {})
    assert config.domain == "xn--bcher-kva.example"


def test_the_environment_is_stronger_than_the_file(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "[http]\nport = 1\nthreads = 2\n",
        TX_BRIDGE_HTTP__PORT="3",
        TX_BRIDGE_MAIL_INTAKE__ANSWERS="no",
        TX_BRIDGE_CALDAV__WAIT_SECONDS="2.5",
        TX_BRIDGE_MAIL_TRUST__CA_FILES="/a.pem,b.pem",
    )
    assert (config.http.port, config.http.threads) == (3, 2)
    assert config.caldav.wait_seconds == 2.5
    assert config.mail.intake.answers is False
    assert config.mail.trust.ca_files == (Path("/a.pem"), tmp_path / "b.pem")


def test_the_environment_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.config.DEFAULT_FILE", tmp_path / "none.toml")
    config = load(None, {"TX_BRIDGE_DOMAIN__NAME": "home.example"})
    assert config.domain == "home.example"
    with pytest.raises(Misconfigured, match="no configuration file"):
        load(None, {})


def test_an_empty_optional_section_switches_it_on(tmp_path: Path) -> None:
    listener = loaded(tmp_path, "[mail.listener]\n").mail.listener
    assert listener is not None
    assert (listener.port, listener.protocol) == (2525, Speaks.AUTO)


def test_a_variable_switches_an_optional_section_on(tmp_path: Path) -> None:
    listener = loaded(tmp_path, TX_BRIDGE_MAIL_LISTENER__PORT="2600").mail.listener
    assert listener is not None
    assert listener.port == 2600


def test_answers_are_queued_only_where_something_sends_them(tmp_path: Path) -> None:
    assert loaded(tmp_path).mail.intake.answers is False
    config = loaded(tmp_path, '[mail.smtp]\nhost = "mail.home.example"\n')
    assert config.mail.intake.answers is True


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    text = '[storage]\nspool = "spool"\n[mail.smtp]\nhost = "localhost"\nca_file = "ca.pem"\n'
    config = loaded(tmp_path, text)
    assert config.spool == tmp_path / "spool"
    assert config.mail.smtp is not None
    assert config.mail.smtp.ca_file == str(tmp_path / "ca.pem")


def test_several_mailboxes_are_told_apart_by_number(tmp_path: Path) -> None:
    environ = {
        "TX_BRIDGE_MAIL_MAILBOX_2__PASSWORD": "b",
        "TX_BRIDGE_MAIL_MAILBOX_3__HOST": "127.0.0.1",
        "TX_BRIDGE_MAIL_MAILBOX_3__USER": "v",
        "TX_BRIDGE_MAIL_MAILBOX_3__PASSWORD": "c",
    }
    config = loaded(tmp_path, BOX + 'password = "a"\n' + BOX, **environ)
    assert [(box.user, box.password) for box in config.mail.mailboxes] == [
        ("u@home.example", "a"),
        ("u@home.example", "b"),
        ("v", "c"),
    ]


# -- secrets -----------------------------------------------------------------------------


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{HUSH}\n")
    config = loaded(tmp_path, BOX + 'password_file = "secret"\n')
    assert config.mail.mailboxes[0].password == HUSH
    environ = {"TX_BRIDGE_MAIL_MAILBOX_1__PASSWORD_FILE": "secret"}
    config = loaded(tmp_path, BOX, **environ)
    assert config.mail.mailboxes[0].password == HUSH


def test_systemd_credentials_are_taken_by_name(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "mail.mailbox.1.password").write_text(HUSH)
    (credentials / "storage.directory_url").write_text("postgresql+psycopg://u:p@h/n")
    (credentials / "domain.key").write_text("seed")
    config = loaded(tmp_path, BOX, CREDENTIALS_DIRECTORY=str(credentials))
    assert config.mail.mailboxes[0].password == HUSH
    assert config.directory_url == "postgresql+psycopg://u:p@h/n"
    assert config.key_file == credentials / "domain.key"


def test_a_key_in_the_file_is_stronger_than_a_credential(tmp_path: Path) -> None:
    (tmp_path / "mail.mailbox.1.password").write_text("credential")
    config = loaded(tmp_path, BOX + f'password = "{HUSH}"\n', CREDENTIALS_DIRECTORY=str(tmp_path))
    assert config.mail.mailboxes[0].password == HUSH


def test_a_secret_twice_in_one_place_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, BOX + 'password = "a"\npassword_file = "b"\n')
    assert error.code == "bad-secret"


@pytest.mark.parametrize("content", ["", "\n", "two\nlines\n", "x" * 5000])
def test_a_file_that_holds_no_one_line_is_no_secret(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_text(content)
    error = refused(tmp_path, BOX + 'password_file = "secret"\n')
    assert error.code == "bad-secret"
    assert "mail.mailbox.1.password" in error.public


def test_no_secret_is_shown_in_errors_or_settings(tmp_path: Path) -> None:
    error = refused(tmp_path, BOX + "password = 123456\n")
    assert "123456" not in f"{error.public} {error.hint}"
    url = '[storage]\ndirectory_url = "postgresql+psycopg://u:hush hush@h/n"\n'
    assert HUSH not in repr(loaded(tmp_path, url + BOX + f'password = "{HUSH}"\n'))


# -- refusals ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[htpp]\nport = 1\n", "there is no key htpp"),
        ("[http]\nprot = 1\n", "http: there is no key prot"),
        ("[http]\nport = 'x'\n", "http.port must be a whole number, not 'x'"),
        ("[http]\nport = true\n", "http.port must be a whole number"),
        ("[http]\nport = 1.5\n", "http.port must be a whole number"),
        ("[http]\nport = 70000\n", "http.port must be from 0 to 65535, not 70000"),
        ("[http]\nhost = 1\n", "http.host must be text in quotes"),
        ("[caldav]\nwait_seconds = nan\n", "caldav.wait_seconds must be from"),
        ("[mail.intake]\nanswers = 1\n", "mail.intake.answers must be true or false"),
        ("[mail.trust]\nca_files = 'x.pem'\n", "mail.trust.ca_files must be a list"),
        ("[mail.listener]\nprotocol = 'x'\n", "one of auto, lmtp, smtp"),
        ("[mail.mailbox]\nhost = 'x'\n", "must be [[mail.mailbox]]"),
        ("[mail.smtp]\nport = 25\n", "mail.smtp.host is missing"),
        ("http = 1\n", "domain: there is no key http"),
        ("[caldav]\nprefix = '/x'\n", "there is no key prefix"),
        (BOX, "mail.mailbox.1.password is missing"),
        (
            BOX.replace("localhost", "far.example") + "password = 'x'\ntls = false\n",
            "mail.mailbox.1: the mailbox on far.example is to be read without TLS",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    error = refused(tmp_path, text)
    assert said in error.public
    assert str(tmp_path / "bridge.toml") in error.public


def test_a_misspelled_key_gets_the_likely_one(tmp_path: Path) -> None:
    assert refused(tmp_path, "[http]\nthread = 4\n").hint == "did you mean threads?"


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path, TX_BRIDGE_HTTP__PORT="http")
    assert "TX_BRIDGE_HTTP__PORT must be a whole number" in error.public
    error = refused(tmp_path, TX_BRIDGE_HTTP__PROT="1")
    assert "TX_BRIDGE_HTTP__PROT is no setting" in error.public


@pytest.mark.parametrize("name", ["", "no domain", "-x.example", "a" * 300])
def test_a_wrong_domain_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match="domain.name"):
        load(written(tmp_path, f'[domain]\nname = "{name}"\n'), {})


def test_a_file_that_is_not_toml_is_named_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"is not TOML: .*line 1"):
        load(written(tmp_path, "domain = \n"), {})
    (tmp_path / "bridge.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Misconfigured, match="is not TOML"):
        load(tmp_path / "bridge.toml", {})


def test_a_missing_file_gets_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        load(tmp_path / "none.toml", {})
    assert "tx-bridge init" in caught.value.hint
