"""Settings: one TOML file, environment, credentials -> frozen values (design section 9).

`config/bridge.toml` describes every key; a test compares it with the dataclasses here. How
a value is found is in `bridge.settings`; nobody else reads the environment. Optional
sections are off until one of their keys is given.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge import listener
from bridge.caldav import call
from bridge.errors import BridgeError, Misconfigured
from bridge.mail.case import IntakeSettings
from bridge.mail.door import MailSettings, TrustSettings
from bridge.mail.listener import ListenerSettings
from bridge.mail.mailbox import MailboxSettings
from bridge.mail.sender import SmtpSettings
from bridge.model.ids import Domain, parse_domain
from bridge.model.request import Caps
from bridge.settings import Plan, Section, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_FILE: Final = Path("/etc/tx-bridge/bridge.toml")
DEFAULT_SPOOL: Final = Path("/var/spool/tasks")
_MIB: Final = 1 << 20
_COUNT: Final = (1, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSettings:
    """Section ``domain``; see `Config`."""

    name: str
    host: str = ""
    key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Section ``storage``; see `Config`."""

    spool: Path = DEFAULT_SPOOL
    directory_url: str = ""
    index_url: str = ""
    reserve: int = 64 * _MIB
    max_attachment: int = 25 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a gateway.

    Attributes:
        domain: whose users and projects these are.
        host: name under which clients and other servers reach this one; empty is `domain`.
        key_file: of the domain's private key; None is the one that ``init`` makes.
        directory_url, index_url: databases; empty is SQLite in the spool.
        reserve: bytes of disk that stay free: writes are refused before.
        max_attachment: bytes of one attachment.
    """

    domain: Domain
    host: str = ""
    spool: Path = DEFAULT_SPOOL
    key_file: Path | None = None
    directory_url: str = field(default="", repr=False)
    index_url: str = field(default="", repr=False)
    reserve: int = 64 * _MIB
    max_attachment: int = 25 * _MIB
    http: listener.Settings = field(default_factory=listener.Settings)
    caldav: call.Settings = field(default_factory=call.Settings)
    mail: MailSettings = field(default_factory=MailSettings)


SECTIONS: Final = tuple(
    Section(
        name=name,
        kind=kind,
        optional=optional,
        repeated=name == "mail.mailbox",
        names={"MailboxSettings": MailboxSettings},
    )
    for name, kind, optional in (
        ("domain", DomainSettings, False),
        ("storage", StorageSettings, False),
        ("http", listener.Settings, False),
        ("caldav", call.Settings, False),
        ("mail", MailSettings, False),
        ("mail.intake", IntakeSettings, False),
        ("mail.caps", Caps, False),
        ("mail.trust", TrustSettings, False),
        ("mail.listener", ListenerSettings, True),
        ("mail.smtp", SmtpSettings, True),
        ("mail.mailbox", MailboxSettings, True),
    )
)

RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "answers_daily": (0, 10_000),
    "answers_hourly": (0, 10_000),
    "bytes_held": (_MIB, 1 << 36),
    "commit_seconds": (1, 600),
    "connections": (1, 10_000),
    "daily_each": _COUNT,
    "failures_a_minute": (1, 10_000),
    "gzip_from": (0, 1 << 30),
    "known_hourly": _COUNT,
    # The worker's socket carries one in a frame of 48 MiB, in base64.
    "max_attachment": (1024, 32 * _MIB),
    "max_body_octets": (1024, 1 << 30),
    "max_resource_octets": (1024, 1 << 30),
    "open_each": _COUNT,
    "parallel": (1, 256),
    "poll_seconds": (1, 86_400),
    "port": (0, 65_535),
    "recipients": (1, 10_000),
    "reserve": (0, 1 << 50),
    "size_max": (1024, 1 << 30),
    "stranger_hourly": _COUNT,
    "stranger_waiting": _COUNT,
    "threads": (1, 256),
    "timeout_seconds": (1, 3600),
    "wait_seconds": (0.1, 600),
    "workers": (0, 64),
}
"""Least and greatest value of every number, by key."""


def load(file: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Return the settings of `file`, or of `DEFAULT_FILE`, and of the environment.

    Without a `file` the default one need not exist, so that a container can be configured
    by its environment alone.

    Raises:
        Misconfigured: ``no-config``, ``bad-config``, ``unknown-key``, ``bad-value``,
            ``missing-key``, ``bad-secret`` or what the settings themselves refuse.
    """
    plan = Plan(sections=SECTIONS, ranges=RANGES, default=DEFAULT_FILE)
    source = Source(plan, file, os.environ if environ is None else environ)
    parts = {section.name: source.fill(section) for section in SECTIONS}
    source.refuse_unread()
    domain, storage = parts["domain"], parts["storage"]
    try:
        name = parse_domain(domain.name)
    except BridgeError as error:
        raise Misconfigured("bad-value", f"{source.name}: domain.name: {error}") from None
    smtp, intake = parts["mail.smtp"], parts["mail.intake"]
    return Config(
        domain=name,
        host=domain.host,
        key_file=domain.key_file or source.credential("domain.key"),
        **{one.name: getattr(storage, one.name) for one in fields(StorageSettings)},
        http=parts["http"],
        caldav=parts["caldav"],
        mail=replace(
            parts["mail"],
            mailboxes=parts["mail.mailbox"],
            listener=parts["mail.listener"],
            smtp=smtp,
            trust=parts["mail.trust"],
            # Answers that nothing sends would only pile up.
            intake=replace(
                intake, caps=parts["mail.caps"], answers=intake.answers and smtp is not None
            ),
        ),
    )
