"""Native sets: tags, relations, people, comments and attachments, line by line.

One line can hold several elements (CATEGORIES) and several lines can hold one (DEPENDS-ON
with different gaps). A line that is not the one we would write for its only element is kept
as ``ical.<NAME>.<hash>`` and goes out while its elements are in the task; a line that
contradicts an element already read is kept as ``ical.<NAME>.other.<hash>``. Comments carry
their second in X-TX-ENTRY; those that came without one keep their line unchanged, and one
line X-TX-ENTRIES remembers their seconds.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
from collections.abc import Callable, Container, Mapping

from bridge.wire import caldate, contentline
from bridge.wire.vtodo_table import ELEMENT_MAX, digest, escape, unescape, value_of

Elements = Mapping[str, str]

# TaskChampion src/task/tag.rs: what it would refuse stays in its line only.
_TAG = re.compile(r"[^\s\x00-\x1f\x7f0-9+\-*/()<>^!%=~:,][^\s\x00-\x1f\x7f:]*\Z")
_COMMA = re.compile(r"((?:\\.|[^\\,])*)(?:,|\Z)", re.DOTALL)


def is_tag(name: str) -> bool:
    """Tell whether TaskChampion would take `name` as a tag."""
    return len(name) <= ELEMENT_MAX and _is_tag(name)


@functools.lru_cache(maxsize=2048)  # a project has few tags, each on many tasks
def _is_tag(name: str) -> bool:
    shouted = name.isupper() and name.isalpha() and name.isascii()
    return not shouted and _TAG.match(name) is not None


def names_of(raw: str) -> list[str]:
    """Return the names in a CATEGORIES line."""
    value = value_of(raw)
    if "," not in value:
        return [unescape(value)]
    if "\\" not in value:
        return value.split(",")
    parts = [found[1] for found in _COMMA.finditer(value + ",")]
    return [unescape(part) for part in parts[:-1]]


def take_tags(raw: str) -> Elements:
    """Return the ``tag_`` keys of a CATEGORIES line."""
    return {"tag_" + name: "" for name in names_of(raw) if is_tag(name)}


def give_tag(key: str, _value: str = "") -> str | None:
    """Return the CATEGORIES line of one tag."""
    name = key.removeprefix("tag_")
    return "CATEGORIES:" + escape(name) if is_tag(name) else None


def take_relation(raw: str) -> Elements:
    """Return ``parent`` or a ``dep_`` key of a RELATED-TO line; both name UIDs."""
    line = contentline.split(raw)
    uid = unescape(line.value) if line else ""
    if not line or not _is_target(uid):
        return {}
    kind = line.param("RELTYPE").upper()
    if kind in {"", "PARENT"}:
        return {"parent": uid}
    return {"dep_" + uid: ""} if kind == "DEPENDS-ON" else {}


def give_relation(key: str, value: str) -> str | None:
    """Return the RELATED-TO line of ``parent`` or of a ``dep_`` key."""
    kind, uid = ("PARENT", value) if key == "parent" else ("DEPENDS-ON", key.removeprefix("dep_"))
    return f"RELATED-TO;RELTYPE={kind}:{escape(uid)}" if _is_target(uid) else None


def _is_target(uid: str) -> bool:
    return 0 < len(uid) <= ELEMENT_MAX and uid.isprintable()


_ADDRESS = re.compile(r"[^\s@\x00-\x20\x7f\"<>(),;:\\/%]{1,64}@[^\s@\x00-\x20\x7f\"<>(),;:\\/%]+\Z")
_STATE_IN = {
    "": "requested",
    "NEEDS-ACTION": "requested",
    "TENTATIVE": "requested",
    "ACCEPTED": "accepted",
    "IN-PROCESS": "accepted",
    "COMPLETED": "accepted",
}
_STATE_OUT = {"requested": "NEEDS-ACTION", "accepted": "ACCEPTED"}
_STATE = re.compile(r"[a-z][a-z-]{0,30}\Z")


def take_attendee(raw: str) -> Elements:
    """Return the ``assignee_`` key of an ATTENDEE line with a mailto address."""
    line = contentline.split(raw)
    if not line or line.value[:7].lower() != "mailto:":
        return {}
    address = line.value[7:].lower()
    if len(address) > ELEMENT_MAX - 1 or not _ADDRESS.match(address):
        return {}
    state = line.param("PARTSTAT").upper()
    word = _STATE_IN.get(state) or state.lower()
    return {"assignee_" + address: word} if _STATE.match(word) else {}


def give_attendee(key: str, value: str) -> str | None:
    """Return the ATTENDEE line of an ``assignee_`` key."""
    state = _STATE_OUT.get(value, value.upper())
    line = f"ATTENDEE;PARTSTAT={state}:mailto:{key.removeprefix('assignee_')}"
    return line if _STATE.match(value) and take_attendee(line) == {key: value} else None


_NI = "ni:///sha-256;"
"""RFC 6920 name of a native attachment: the digest itself, no address of any host."""
_MANAGED = re.compile(r"[0-9a-f]{64}\Z")
_ATTACH = re.compile(r"attach_[0-9a-f]{64}\Z")
_SIZE = re.compile(r"\d{1,15}\Z", re.ASCII)


def take_attachment(raw: str) -> Elements:
    """Return the ``attach_`` key of a line that names a native or managed attachment.

    Managed ones (RFC 8607) have an address that ends in their id, the blob's SHA-256.
    """
    line = contentline.split(raw)
    name = _blob_of(line) if line else ""
    if not line or not name:
        return {}
    facts: dict[str, str | int] = {}
    for fact, param in (("name", "FILENAME"), ("type", "FMTTYPE"), ("size", "SIZE")):
        if text := line.param(param):
            facts[fact] = int(text) if fact == "size" and _SIZE.match(text) else text
    key = "attach_" + name
    return {key: _json(facts)} if _ATTACH.match(key) else {}


def _blob_of(line: contentline.Line) -> str:
    """Return the SHA-256 in hex that an ATTACH line names, or ""."""
    managed = line.param("MANAGED-ID")
    if _MANAGED.match(managed) and line.value.endswith("/" + managed):
        return managed
    if not line.value.startswith(_NI):
        return ""
    try:
        octets = base64.b64decode(line.value[len(_NI) :] + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return ""
    return octets.hex()


def give_attachment(key: str, value: str) -> str | None:
    """Return the ATTACH line of an ``attach_`` key."""
    try:
        facts = json.loads(value)
        name = base64.urlsafe_b64encode(bytes.fromhex(key.removeprefix("attach_")))
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict):
        return None
    params = tuple(
        (param, contentline.quote(str(facts[fact])))
        for fact, param in (("type", "FMTTYPE"), ("name", "FILENAME"), ("size", "SIZE"))
        if fact in facts
    )
    line = contentline.join("ATTACH", params, _NI + name.decode().rstrip("="))
    return line if take_attachment(line) == {key: value} else None


def _json(facts: Mapping[str, str | int]) -> str:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


Take = Callable[[str], Elements]
Give = Callable[[str, str], str | None]
SETS: Mapping[str, tuple[Take, Give]] = {
    "CATEGORIES": (take_tags, give_tag),
    "RELATED-TO": (take_relation, give_relation),
    "ATTENDEE": (take_attendee, give_attendee),
    "ATTACH": (take_attachment, give_attachment),
}
"""Property -> reader and writer of its elements."""
PREFIXES: Mapping[str, str] = {
    "tag": "CATEGORIES",
    "dep": "RELATED-TO",
    "assignee": "ATTENDEE",
    "attach": "ATTACH",
}
"""Prefix of a key before its first "_" -> property."""


def take_lines(name: str, raws: list[str], keys: dict[str, str]) -> None:
    """Put the elements of all lines of one property into `keys`, and the lines it must keep."""
    take, give = SETS[name]
    holders: dict[str, int] = {}
    read = [(raw, take(raw)) for raw in dict.fromkeys(raws)]
    for _, elements in read:
        for key in elements:
            holders[key] = holders.get(key, 0) + 1
    for raw, elements in read:
        if any(keys.get(key, value) != value for key, value in elements.items()):
            keys[f"ical.{name}.other.{digest(raw)}"] = raw
            continue
        keys.update(elements)
        plain = len(elements) == 1 and all(
            holders[key] == 1 and give(key, value) == raw for key, value in elements.items()
        )
        if not plain:
            keys[f"ical.{name}.{digest(raw)}"] = raw


def give_lines(name: str, native: Mapping[str, str], kept: list[str]) -> tuple[list[str], set[str]]:
    """Return the lines of one property, and the keys of `native` that no line can hold.

    Args:
        name: the property.
        native: the set's keys in the task.
        kept: its raw lines from ``ical.<NAME>.<hash>``, checked to be sound.
    """
    take, give = SETS[name]
    lines: list[str] = []
    covered: set[str] = set()
    for raw in kept:
        elements = take(raw)
        if all(native.get(key) == value for key, value in elements.items()):
            lines.append(raw)
            covered.update(elements)
        elif name == "CATEGORIES":
            rest = [n for n in names_of(raw) if not is_tag(n) or "tag_" + n in native]
            foreign = [n for n in rest if not is_tag(n)]
            if foreign:
                lines.append("CATEGORIES:" + ",".join(escape(n) for n in foreign))
    homeless: set[str] = set()
    for key in sorted(native.keys() - covered):
        line = give(key, native[key])
        if line is None:
            homeless.add(key)
        else:
            lines.append(line)
    return lines, homeless


# --- comments

_ENTRY_KEY = re.compile(r"annotation_(0|[1-9]\d{0,11})\Z", re.ASCII)
_ENTRIES = re.compile(r"(\d{1,12})=([0-9a-f]{12})")
_LAST_ENTRY = 253_402_300_799


def entry_second(key: str) -> int | None:
    """Return the second of an ``annotation_`` key, or None where it names none."""
    found = _ENTRY_KEY.match(key)
    return int(found[1]) if found and int(found[1]) <= _LAST_ENTRY else None


def take_comments(raws: list[str], entries: str, moment: int, keys: dict[str, str]) -> None:
    """Put COMMENT lines into `keys` as annotations.

    Args:
        raws: the lines.
        entries: value of X-TX-ENTRIES, or "".
        moment: UTC second for lines that tell none.
        keys: gets ``annotation_<second>`` and ``ical.COMMENT.<second>`` for lines not ours.
    """
    known = {found[2]: int(found[1]) for found in _ENTRIES.finditer(entries)} if entries else {}
    untold: list[str] = []
    free: dict[int, int] = {}
    for raw in dict.fromkeys(raws):
        second = known.get(digest(raw)) if known else None
        if second is None:
            second = own_second(raw)
        if second is None:
            untold.append(raw)
        else:
            _place(raw, next_free(second, keys, free), keys)
    for raw in untold:
        _place(raw, next_free(max(0, moment), keys, free), keys)


def next_free(second: int, keys: Container[str], free: dict[int, int]) -> int:
    """Return the first second from `second` on without an annotation in `keys`.

    `free` remembers the ends of earlier searches, so that thousands of comments of one
    second, or of seconds in a row, are placed in one go.
    """
    found = second
    passed: list[int] = []
    while (jump := free.get(found)) is not None or f"annotation_{found}" in keys:
        passed.append(found)
        found = found + 1 if jump is None else jump
    free.update(dict.fromkeys(passed, found))
    return found


def own_second(raw: str) -> int | None:
    """Return the second that a COMMENT line itself tells in X-TX-ENTRY."""
    if ";" not in raw.partition(":")[0]:
        return None
    line = contentline.split(raw)
    text = caldate.from_ical(line.param("X-TX-ENTRY")) if line else None
    second = caldate.epoch(text) if text and text.endswith("Z") else None
    return second if second is not None and second >= 0 else None


def _place(raw: str, second: int, keys: dict[str, str]) -> None:
    text = unescape(value_of(raw))
    keys[f"annotation_{second}"] = text
    if give_comment(second, text) != raw:
        keys[f"ical.COMMENT.{second}"] = raw


def give_comment(second: int, text: str) -> str:
    """Return the COMMENT line of an annotation."""
    _, moment = caldate.to_ical(caldate.from_epoch(second)) or ("", "")
    return f"COMMENT;X-TX-ENTRY={moment}:{escape(text)}"


def give_comments(native: Mapping[int, str], kept: Mapping[int, str]) -> list[str]:
    """Return the COMMENT lines of all annotations, X-TX-ENTRIES last where one needs it."""
    lines: list[str] = []
    entries: list[str] = []
    for second in sorted(native):
        raw = kept.get(second)
        if raw is None or unescape(value_of(raw)) != native[second]:
            lines.append(give_comment(second, native[second]))
            continue
        lines.append(raw)
        if own_second(raw) != second:
            entries.append(f"{second}={digest(raw)}")
    return [*lines, "X-TX-ENTRIES:" + ",".join(entries)] if entries else lines
