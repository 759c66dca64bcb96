"""The example domain of ``tx-bridge quickstart``: its directory, its people, its mail.

One directory holds all of it and may be removed whole: ``bridge.toml``, the spool, a test
authority with the certificate of a sender on another domain, and Alice's app password.
What exists is kept, so that running quickstart again continues with the same domain. The
keys lie there unencrypted (mode 0600): this is for trying out, never for a public service.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bridge.errors import Corrupt
from bridge.model.ids import Address, Domain
from bridge.store.durable import make_directory
from bridge.trust.smime_sign import sign
from bridge.trust.testca import issue_certificate, make_test_ca

if TYPE_CHECKING:
    import uuid
    from datetime import datetime
    from pathlib import Path

DOMAIN: Final = Domain("home.example")
ALICE: Final = Address("alice@home.example")
BOB: Final = Address("bob@partner.example")
TITLE: Final = "Review the contract"

_SECRET_MODE: Final = 0o600
_OPEN_MODE: Final = 0o644
_VALID: Final = timedelta(days=5 * 365)
_EARLIER: Final = timedelta(hours=1)
_SERIAL_BITS: Final = 64
_CONFIG: Final = f"""\
# The example domain of "tx-bridge quickstart"; config/bridge.toml explains every key.

[domain]
name = "{DOMAIN}"

[storage]
spool = "spool"

[mail.listener]
# Quickstart gives the addresses on its command line: --listen and --smtp.
protocol = "auto"

[mail.trust]
# The test authority that signed Bob's certificate. For real mail: the authorities that
# your partners' certificates come from.
ca_files = ["ca.pem"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The mail that is sent: `raw` as it goes over SMTP, lines ended by CRLF."""

    message_id: str
    raw: bytes


class Example:
    """The example domain in one directory."""

    def __init__(self, directory: Path) -> None:
        """Use `directory`; nothing is made yet."""
        self.directory = directory.absolute()
        self.config = self.directory / "bridge.toml"
        self.password_file = self.directory / "alice.password"
        self.authority = self.directory / "ca.pem"
        self.certificate = self.directory / "bob.pem"
        self.log = self.directory / "serve.log"
        self._key = self.directory / "bob.key"

    def prepare(self, now: datetime) -> None:
        """Make the directory, the configuration and the certificates, if they are missing.

        Raises:
            Unavailable: ``disk-full`` or ``disk-error``.
            OSError: the directory cannot be written.
        """
        make_directory(self.directory, flush=False)
        if not self.config.exists():
            _write(self.config, _CONFIG.encode(), _OPEN_MODE)
        # The certificate comes last: with it, all three files are there.
        if not self.certificate.exists():
            self._issue(now)

    def _issue(self, now: datetime) -> None:
        begins, ends = now - _EARLIER, now + _VALID
        authority = make_test_ca(
            "TX Bridge quickstart test CA",
            serial=_serial(),
            not_before=begins,
            not_after=ends,
        )
        bob = issue_certificate(BOB, authority, serial=_serial(), not_before=begins, not_after=ends)
        _write(self.authority, authority.certificate_pem, _OPEN_MODE)
        _write(self._key, bob.key_pem, _SECRET_MODE)
        _write(self.certificate, bob.certificate_pem, _OPEN_MODE)

    def stored_password(self) -> str:
        """Return Alice's app password of an earlier run; empty on the first."""
        if not self.password_file.exists():
            return ""
        return self.password_file.read_text(encoding="ascii", errors="replace").strip()

    def keep_password(self, password: str) -> None:
        """Keep Alice's app password for the next run, readable by this user only."""
        _write(self.password_file, f"{password}\n".encode(), _SECRET_MODE)

    def assignment(self, now: datetime, identity: uuid.UUID) -> Assignment:
        """Return a mail in which Bob asks Alice for something, signed with his key.

        Subject, date and addresses are repeated inside the signed part (RFC 9788), so the
        signature covers them too.

        Raises:
            Corrupt: ``bad-example``: the certificate or key on disk cannot be read.
        """
        message_id = f"<{identity}@partner.example>"
        due = (now + timedelta(days=7)).date().isoformat()
        fields = (
            f"From: Bob <{BOB}>\r\nTo: Alice <{ALICE}>\r\nSubject: {TITLE}\r\n"
            f"Date: {format_datetime(now)}\r\nMessage-ID: {message_id}\r\n"
        )
        entity = (
            'Content-Type: text/plain; charset="utf-8"; hp="clear"\r\n'
            f"{fields}\r\n"
            f"Due: {due}\r\nPriority: high\r\n\r\n"
            "Hello Alice,\r\n\r\n"
            "please read sections 3 and 4 before we sign.\r\n\r\nBob\r\n"
        )
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            key = load_pem_private_key(self._key.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise Corrupt(
                "bad-example",
                f"the example certificate in {self.directory} cannot be read: {error}",
                hint="remove this directory and start again",
            ) from None
        signed = sign(entity.encode(), certificate, key)
        return Assignment(
            message_id=message_id, raw=f"{fields}MIME-Version: 1.0\r\n".encode() + signed
        )


def _serial() -> int:
    return secrets.randbits(_SERIAL_BITS) | 1


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file that nobody sees half-written or, where it is secret, with another mode."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    temporary.replace(path)
