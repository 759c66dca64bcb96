"""Settings: one TOML file, environment, credentials -> frozen values (design section 9).

`config/bridge.toml` describes every key; a test compares it with the dataclasses here.
Strongest first: the variable ``TX_BRIDGE_<SECTION>__<KEY>`` (dots of the section become
underscores), the file, the default. A secret may also stand in a file of its own, named
by ``<key>_file``, or be a systemd credential called ``<section>.<key>``. Relative paths
count from the directory of the configuration file. Optional sections are off until one
of their keys is given. Whatever is unknown, of another type or out of range is refused
with the place and what to do; nothing is guessed. Nobody else reads the environment.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import typing
from dataclasses import MISSING, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_FILE: Final = Path("/etc/tx-bridge/bridge.toml")
DEFAULT_SPOOL: Final = Path("/var/spool/tasks")
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""systemd.exec(5): where it puts the credentials of a service."""
SECRETS: Final = frozenset({"password", "directory_url", "index_url"})
FIXED: Final = frozenset({"prefix"})
"""Fields that are no settings: other programs rely on ``/dav`` (design section 9)."""
_PREFIX: Final = "TX_BRIDGE_"
_FILE: Final = "_file"
_SECRET_MAX: Final = 4096
_CONFIG_MAX: Final = 1 << 20
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table of the file.

    Attributes:
        name: dotted.
        kind: the dataclass that it fills.
        optional: off (None) unless a key of it is given.
        repeated: an array of tables.
    """

    name: str
    kind: type
    optional: bool = False
    repeated: bool = False

    @property
    def types(self) -> dict[str, Any]:
        """Return the type of each key, without the fields that other sections fill."""
        names = {"MailboxSettings": MailboxSettings}
        hints = typing.get_type_hints(self.kind, localns=names)
        own = {key: hints[key] for key in hints if key not in FIXED}
        return {key: hint for key, hint in own.items() if not _is_section(hint)}


def _is_section(hint: object) -> bool:
    parts = (hint, *typing.get_args(hint))
    return any(hasattr(part, "__dataclass_fields__") for part in parts)


SECTIONS: Final = tuple(
    Section(name=name, kind=kind, optional=optional, repeated=name == "mail.mailbox")
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
    source = _Source(file, os.environ if environ is None else environ)
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


class _Source:
    """The file and the environment of one `load`, and what of them was read."""

    def __init__(self, file: Path | None, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._unread = {key for key in environ if key.startswith(_PREFIX) and "__" in key}
        path = file or DEFAULT_FILE
        self.name = str(path)
        self._directory = path.absolute().parent
        required = file is not None or f"{_PREFIX}DOMAIN__NAME" not in environ
        self._tables = _tables(_read(path, required=required), self.name)

    def credential(self, name: str) -> Path | None:
        """Return the path of a systemd credential, if the service was given it."""
        directory = self._environ.get(CREDENTIALS, "")
        path = Path(directory) / name
        return path if directory and path.is_file() else None

    def refuse_unread(self) -> None:
        """Refuse a variable that looks like a setting and is none."""
        if self._unread:
            known = [_PREFIX + _variable(one.name) for one in SECTIONS]
            raise Misconfigured(
                "unknown-key",
                f"the variable {min(self._unread)} is no setting",
                hint=f"a section and a key, for example {known[2]}__PORT",
            )

    def fill(self, section: Section) -> Any:  # one of the settings dataclasses, or None
        """Return the settings of `section`; a tuple of them for a repeated one."""
        given = self._tables.get(section.name)
        if not section.repeated:
            return self._fill(section, section.name, given)
        table = given or []
        prefix = _PREFIX + _variable(section.name)
        found = (re.match(rf"{prefix}_(\d{{1,2}})__", key) for key in self._environ)
        count = max([len(table), *(int(one[1]) for one in found if one)])
        filled = [
            self._fill(section, f"{section.name}.{i}", table[i - 1] if i <= len(table) else None)
            for i in range(1, count + 1)
        ]
        return tuple(one for one in filled if one is not None)

    def _fill(self, section: Section, name: str, given: object) -> Any:  # as `fill`
        table = {} if given is None else given
        if not isinstance(table, dict):
            raise Misconfigured("bad-value", f"{self.name}: {name} must be a table")
        types = section.types
        secrets = [key for key in types if key in SECRETS]
        _check_keys(table, {*types, *(key + _FILE for key in secrets)}, f"{self.name}: {name}")
        values: dict[str, Any] = {}
        for key, kind in types.items():
            found = self._find(name, key, table)
            if found is not None:
                values[key] = self._value(kind, key, *found)
        if not values and given is None and section.optional:
            return None
        for key in secrets:
            held = self.credential(f"{name}.{key}")
            if held is not None:
                values.setdefault(key, _secret(held, name))
        self._check_complete(section, name, values)
        try:
            return section.kind(**values)
        except BridgeError as error:
            raise Misconfigured(
                error.code, f"{self.name}: {name}: {error.public}", hint=error.hint
            ) from None

    def _check_complete(self, section: Section, name: str, values: Mapping[str, Any]) -> None:
        for one in fields(section.kind):
            needed = one.default is MISSING and one.default_factory is MISSING
            if needed and one.name not in values:
                raise Misconfigured(
                    "missing-key",
                    f"{self.name}: {name}.{one.name} is missing",
                    hint=f"set it there, or by {_PREFIX}{_variable(name)}__{one.name.upper()}",
                )

    def _find(self, name: str, key: str, table: Mapping[str, Any]) -> tuple[Any, str] | None:
        """Return the strongest raw value of a key and where it stands."""
        variable = f"{_PREFIX}{_variable(name)}__{key.upper()}"
        for origin, values, plain in (
            ("the environment", self._environ, variable),
            (self.name, table, key),
        ):
            beside = plain + (_FILE.upper() if plain == variable else _FILE)
            self._unread.discard(plain)
            place = f"{origin}: {plain if plain == variable else f'{name}.{key}'}"
            if key in SECRETS and beside in values:
                self._unread.discard(beside)
                if plain in values:
                    raise Misconfigured(
                        "bad-secret", f"{place} stands there and in a file", hint="remove one"
                    )
                return _secret(self._path(str(values[beside])), place), place
            if plain in values:
                value = values[plain]
                return (_Text(value) if plain == variable else value), place
        return None

    def _path(self, text: str) -> Path:
        return self._directory / text

    def _value(self, kind: Any, key: str, raw: Any, place: str) -> Any:
        """Return `raw` as `kind`, checked.

        Raises:
            Misconfigured: ``bad-value``.
        """
        try:
            value = _converted(kind, raw)
        except (ValueError, TypeError) as error:
            shown = "" if key in SECRETS else f", not {raw!r}"
            raise Misconfigured("bad-value", f"{place} must be {error}{shown}") from None
        if isinstance(value, int | float) and not isinstance(value, bool):
            least, most = RANGES[key]
            if not least <= value <= most:
                raise Misconfigured(
                    "bad-value", f"{place} must be from {least} to {most}, not {value}"
                )
        if kind == tuple[Path, ...]:
            return tuple(self._path(one) for one in value)
        if kind in (Path, Path | None):
            return self._path(value) if value else None
        # The mail door takes names of files as text.
        return str(self._path(value)) if value and key.endswith(_FILE) else value


class _Text(str):
    """A value from the environment: text whatever it means."""

    __slots__ = ()


def _converted(kind: Any, raw: Any) -> Any:
    """Return `raw` as `kind`; a path is still text.

    Raises:
        ValueError: says what it must be.
    """
    if kind is bool:
        return _boolean(raw)
    if kind in (int, float):
        return _number(kind, raw)
    if kind == tuple[Path, ...]:
        items = [one for one in raw.split(",") if one] if isinstance(raw, _Text) else raw
        if not isinstance(items, list) or not all(isinstance(one, str) for one in items):
            raise ValueError("a list of file names")
        return items
    if not isinstance(raw, str):
        raise ValueError("text in quotes")  # noqa: TRY004 - caught as the one kind of fault
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        choices = [one.value for one in kind]
        if raw not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return kind(raw)
    return str(raw)


def _boolean(raw: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, _Text) and raw.lower() in words:
        return words[raw.lower()]
    raise ValueError("true or false")


def _number(kind: type, raw: Any) -> float:
    allowed = (int, _Text) if kind is int else (int, float, _Text)
    try:
        if isinstance(raw, allowed) and not isinstance(raw, bool):
            return int(raw) if kind is int else float(raw)
    except ValueError:
        pass  # said below
    raise ValueError("a whole number" if kind is int else "a number")


def _read(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as opened:
            text = opened.read(_CONFIG_MAX + 1)
    except FileNotFoundError:
        if not required:
            return {}
        raise Misconfigured(
            "no-config",
            f"there is no configuration file {path}",
            hint=f"make one: tx-bridge init --config {path} --domain YOUR-DOMAIN",
        ) from None
    except OSError as error:
        raise Misconfigured("no-config", f"cannot read {path}: {error.strerror}") from None
    if len(text) > _CONFIG_MAX:
        raise Misconfigured("bad-config", f"{path} is too long to be a configuration")
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured("bad-config", f"{path} is not TOML: {error}") from None


def _tables(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the sections of `document` by dotted name."""
    known = {section.name for section in SECTIONS}
    top = {one for one in known if "." not in one}
    _check_keys(document, top, name)
    tables: dict[str, Any] = {}
    for key, table in document.items():
        if not isinstance(table, dict):
            raise Misconfigured("bad-value", f"{name}: {key} must be a table: [{key}]")
        inner = {one: part for one, part in table.items() if f"{key}.{one}" in known}
        tables[key] = {one: part for one, part in table.items() if one not in inner}
        tables |= {f"{key}.{one}": part for one, part in inner.items()}
    for section in SECTIONS:
        held = tables.get(section.name)
        if section.repeated and held is not None and not isinstance(held, list):
            raise Misconfigured(
                "bad-value", f"{name}: {section.name} must be [[{section.name}]], in two brackets"
            )
    return tables


def _check_keys(table: Iterable[str], known: Iterable[str], place: str) -> None:
    for key in sorted(set(table) - set(known)):
        close = difflib.get_close_matches(key, known, 1)
        raise Misconfigured(
            "unknown-key",
            f"{place}: there is no key {key}",
            hint=f"did you mean {close[0]}?" if close else f"keys: {', '.join(sorted(known))}",
        )


def _secret(path: Path, place: str) -> str:
    try:
        with path.open(encoding="utf-8") as opened:
            text = opened.read(_SECRET_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise Misconfigured("bad-secret", f"{place}: cannot read {path}: {reason}") from None
    secret = text.rstrip("\r\n")
    if not secret or len(text) > _SECRET_MAX or "\n" in secret:
        raise Misconfigured("bad-secret", f"{place}: {path} must hold one line")
    return secret


def _variable(section: str) -> str:
    return section.upper().replace(".", "_")
