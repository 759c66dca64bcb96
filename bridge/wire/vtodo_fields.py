"""Task keys that iCalendar has no property for: the X-TX-* lines.

They show a client what it cannot edit: on an existing task a changed or missing X-TX line
changes nothing (caldav-clients 1.1). Custom fields travel as ``X-TX-FIELD;X-KEY=app.name:text``;
such a line that names a native key is kept as a foreign line and shadows nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.wire import contentline
from bridge.wire.vtodo_sets import PREFIXES
from bridge.wire.vtodo_table import (
    ELEMENT_MAX,
    VALUES,
    digest,
    escape,
    give_date,
    take_date,
    unescape,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATES = {"wait": "X-TX-WAIT", "until": "X-TX-UNTIL", "start": "X-TX-START"}
_TEXTS = {
    "requester": "X-TX-REQUESTER",
    "mandate": "X-TX-MANDATE",
    "rfa": "X-TX-RFA",
    "source": "X-TX-SOURCE",
    "order": "X-TX-ORDER",
}
_NAMED = {"external_": ("X-TX-REF", "X-SYSTEM"), "preferred_": ("X-TX-PREFERRED", "X-ID")}
_FIELD = ("X-TX-FIELD", "X-KEY")
_KEY_OF = {name: key for key, name in (_DATES | _TEXTS).items()}
_PREFIX_OF = {name: (prefix, param) for prefix, (name, param) in _NAMED.items()}

NAMES = frozenset(_KEY_OF) | frozenset(_PREFIX_OF) | {"X-TX-FIELD"}
"""Properties of this file."""
_NATIVE = frozenset({"status", "end", "progress", "priority", "priority.raw", "parent", "created"})
_VALUES = {row.key: row for row in VALUES}


def is_native(key: str) -> bool:
    """Tell whether `key` belongs to a property of its own, so that no field may set it."""
    prefix, mark, _ = key.partition("_")
    return (
        key in _NATIVE
        or key in _VALUES
        or key in _DATES
        or key in _TEXTS
        or key.startswith("ical.")
        or (
            bool(mark) and (prefix in PREFIXES or prefix in {"annotation", "external", "preferred"})
        )
    )


def is_read_only(key: str) -> bool:
    """Tell whether a client cannot change `key` of an existing task."""
    return (
        key in _DATES
        or key in _TEXTS
        or key.startswith(("external_", "preferred_"))
        or not is_native(key)
    )


def is_claim(key: str) -> bool:
    """Tell whether `key` says something about origin or authority: never a client's to set."""
    return key in {"requester", "mandate", "rfa", "source"} or key.startswith(
        ("external_", "preferred_")
    )


def take_fields(
    raws: list[tuple[str, str]], lines: Mapping[str, str], keys: dict[str, str]
) -> None:
    """Put the keys of X-TX lines into `keys`, and those that mean none as foreign lines.

    Args:
        raws: property name and line of each.
        lines: the other properties of the task by name; their keys are theirs.
        keys: gets the keys.
    """
    for name, raw in raws:
        if not _take_field(name, raw, lines, keys):
            keys[f"ical.{name}.{digest(raw)}"] = raw


def _take_field(name: str, raw: str, lines: Mapping[str, str], keys: dict[str, str]) -> bool:
    key = _KEY_OF.get(name)
    if key is None:
        return _take_named(name, raw, lines, keys)
    value = take_date(raw) if key in _DATES else unescape(value_of(raw))
    if value is None or key in keys:
        return False
    keys[key] = value
    return True


def _take_named(name: str, raw: str, lines: Mapping[str, str], keys: dict[str, str]) -> bool:
    line = contentline.split(raw)
    prefix, param = _PREFIX_OF.get(name, ("", "X-KEY"))
    text = line.param(param) if line else ""
    key = prefix + text
    if not line or not text or len(key) > ELEMENT_MAX or key in keys:
        return False
    value = unescape(line.value)
    if not prefix and is_native(key):
        # A native key whose value its own property cannot say, such as recur=weekly.
        row = _VALUES.get(key)
        if row is None or row.name in lines or row.give(value) is not None:
            return False
    keys[key] = value
    return True


def give_field(key: str, value: str) -> str | None:
    """Return the X-TX line of `key`, or None where the key cannot stand in a line."""
    if key in _DATES and (line := give_date(_DATES[key], value)):
        return line
    if key in _TEXTS:
        return f"{_TEXTS[key]}:{escape(value)}"
    for prefix, (name, param) in _NAMED.items():
        if key.startswith(prefix):
            return _named(name, param, key[len(prefix) :], value)
    return _named(*_FIELD, key, value)


def _named(name: str, param: str, text: str, value: str) -> str | None:
    if not text or any(c < " " and c != "\n" for c in text):
        return None
    return contentline.join(name, ((param, contentline.quote(text)),), escape(value))


def fields(keys: Mapping[str, str]) -> list[str]:
    """Return the X-TX lines of `keys`, in the order of the keys."""
    return [line for key in sorted(keys) if (line := give_field(key, keys[key]))]
