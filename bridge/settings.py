"""Where settings come from: a TOML file, the environment, files of secrets (design section 9).

Strongest first: the variable ``TX_BRIDGE_<SECTION>__<KEY>`` (dots of the section become
underscores), the file, the default. A secret may also stand in a file of its own, named
by ``<key>_file``, or be a systemd credential called ``<section>.<key>``. Relative paths
count from the directory of the configuration file. Whatever is unknown, of another type or
out of range is refused with the place and what to do; nothing is guessed.

Which sections and keys there are is `bridge.config`'s business.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import BridgeError, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""systemd.exec(5): where it puts the credentials of a service."""
SECRETS: Final = frozenset({"password", "directory_url", "index_url"})
FIXED: Final = frozenset({"prefix"})
"""Fields that are no settings: other programs rely on ``/dav`` (design section 9)."""
PREFIX: Final = "TX_BRIDGE_"
_FILE: Final = "_file"
_SECRET_MAX: Final = 4096
_CONFIG_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table of the file.

    Attributes:
        name: dotted.
        kind: the dataclass that it fills.
        optional: off (None) unless a key of it is given.
        repeated: an array of tables.
        names: types that the dataclass names without importing them at run time.
    """

    name: str
    kind: type
    optional: bool = False
    repeated: bool = False
    names: Mapping[str, type] = field(default_factory=dict)

    @property
    def types(self) -> dict[str, Any]:
        """Return the type of each key, without the fields that other sections fill."""
        hints = typing.get_type_hints(self.kind, localns=dict(self.names))
        own = {key: hints[key] for key in hints if key not in FIXED}
        return {key: hint for key, hint in own.items() if not _is_section(hint)}


def _is_section(hint: object) -> bool:
    parts = (hint, *typing.get_args(hint))
    return any(hasattr(part, "__dataclass_fields__") for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which settings there are.

    Attributes:
        sections: the tables, in the order of the file.
        ranges: least and greatest value of every number, by key.
        default: the file that is read when none is named.
    """

    sections: Sequence[Section]
    ranges: Mapping[str, tuple[float, float]]
    default: Path


class Source:
    """The file and the environment of one `load`, and what of them was read."""

    def __init__(self, plan: Plan, file: Path | None, environ: Mapping[str, str]) -> None:
        """Read the file; its keys are looked at by `fill`.

        Raises:
            Misconfigured: ``no-config`` or ``bad-config``.
        """
        self._plan = plan
        self._environ = environ
        self._unread = {key for key in environ if key.startswith(PREFIX) and "__" in key}
        path = file or plan.default
        self.name = str(path)
        self._directory = path.absolute().parent
        required = file is not None or f"{PREFIX}DOMAIN__NAME" not in environ
        self._tables = _tables(_read(path, required=required), self.name, plan.sections)

    def credential(self, name: str) -> Path | None:
        """Return the path of a systemd credential, if the service was given it."""
        directory = self._environ.get(CREDENTIALS, "")
        path = Path(directory) / name
        return path if directory and path.is_file() else None

    def refuse_unread(self) -> None:
        """Refuse a variable that looks like a setting and is none."""
        if self._unread:
            known = [PREFIX + _variable(one.name) for one in self._plan.sections]
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
        prefix = PREFIX + _variable(section.name)
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
                    hint=f"set it there, or by {PREFIX}{_variable(name)}__{one.name.upper()}",
                )

    def _find(self, name: str, key: str, table: Mapping[str, Any]) -> tuple[Any, str] | None:
        """Return the strongest raw value of a key and where it stands."""
        variable = f"{PREFIX}{_variable(name)}__{key.upper()}"
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
            least, most = self._plan.ranges[key]
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


def _tables(document: dict[str, Any], name: str, sections: Sequence[Section]) -> dict[str, Any]:
    """Return the sections of `document` by dotted name."""
    known = {section.name for section in sections}
    top = {one for one in known if "." not in one}
    _check_keys(document, top, name)
    tables: dict[str, Any] = {}
    for key, table in document.items():
        if not isinstance(table, dict):
            raise Misconfigured("bad-value", f"{name}: {key} must be a table: [{key}]")
        inner = {one: part for one, part in table.items() if f"{key}.{one}" in known}
        tables[key] = {one: part for one, part in table.items() if one not in inner}
        tables |= {f"{key}.{one}": part for one, part in inner.items()}
    for section in sections:
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
