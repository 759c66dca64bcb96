"""The configuration profile for Apple's devices, plain and signed."""

from __future__ import annotations

import plistlib
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cli.apple_profile import profile, signed
from bridge.errors import Invalid
from bridge.model.ids import Address, Domain
from bridge.trust.testca import make_test_ca

if TYPE_CHECKING:
    from pathlib import Path

ALICE = "alice@home.example"
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)


def issued(name: str = "Test", serial: int = 1) -> Any:
    return make_test_ca(name, serial=serial, not_before=BEGIN, not_after=BEGIN + timedelta(9000))


def test_a_profile_sets_up_the_account_without_a_secret(terminal: Any) -> None:
    file = terminal.directory / "alice.mobileconfig"
    terminal.ok(
        "apple-profile", ALICE, "--host", "tasks.home.example", "--port", 8443, "--output", file
    )
    whole = plistlib.loads(file.read_bytes())
    (account,) = whole["PayloadContent"]
    assert account["PayloadType"] == "com.apple.caldav.account"
    assert account["CalDAVHostName"] == "tasks.home.example"
    assert (account["CalDAVPort"], account["CalDAVUseSSL"]) == (8443, True)
    assert account["CalDAVUsername"] == ALICE
    assert account["CalDAVPrincipalURL"] == "/dav/alice%40home.example/"
    assert "CalDAVPassword" not in account
    assert whole["PayloadType"] == "Configuration"
    assert whole["PayloadUUID"] != account["PayloadUUID"]


def test_the_same_account_is_the_same_profile_and_another_is_another() -> None:
    one = profile(Address(ALICE), Domain("home.example"), 443, "/dav")
    assert one == profile(Address(ALICE), Domain("home.example"), 443, "/dav")
    other = profile(Address("bob@home.example"), Domain("home.example"), 443, "/dav")
    for key in ("PayloadUUID", "PayloadIdentifier"):
        assert plistlib.loads(one)[key] != plistlib.loads(other)[key]


def test_without_a_file_it_goes_to_standard_output(terminal: Any) -> None:
    result = terminal.run("apple-profile", ALICE)
    assert result.exit_code == 0
    assert plistlib.loads(result.stdout_bytes)["PayloadVersion"] == 1
    assert "not signed" in result.stderr


def test_a_signed_profile_verifies_and_encloses_its_content(terminal: Any, tmp_path: Path) -> None:
    authority = issued()
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(authority.certificate_pem)
    key.write_bytes(authority.key_pem)
    file = tmp_path / "alice.mobileconfig"
    terminal.ok(
        "apple-profile", ALICE, "--certificate", certificate, "--key", key, "--output", file
    )
    command = ["openssl", "cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any",
               "-in", str(file), "-CAfile", str(certificate)]  # fmt: skip
    run = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own words
    assert run.returncode == 0, run.stderr
    assert plistlib.loads(run.stdout)["PayloadContent"][0]["CalDAVUsername"] == ALICE


def test_a_key_of_somebody_else_does_not_sign() -> None:
    one, other = issued(), issued("Other", 2)
    for certificate, key, code in (
        (one.certificate_pem, other.key_pem, "bad-key"),
        (one.certificate_pem, b"none", "bad-key"),
        (b"none", one.key_pem, "bad-certificate"),
    ):
        with pytest.raises(Invalid) as caught:
            signed(b"content", certificate, key)
        assert caught.value.code == code


def test_a_profile_is_refused_for_nobody_and_for_half_a_signature(
    terminal: Any, tmp_path: Path
) -> None:
    assert "no user" in terminal.refused("apple-profile", "nobody@home.example")
    some = tmp_path / "some.pem"
    some.write_bytes(b"x")
    terminal.refused("apple-profile", ALICE, "--key", some, status=2)
    terminal.refused("apple-profile", ALICE, "--host", "a b", status=2)
    assert "no certificate" in terminal.refused(
        "apple-profile", ALICE, "--certificate", some, "--key", some
    )
