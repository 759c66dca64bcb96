"""Three-way merge of a PUT: what the client was served, what it sent, what the log holds.

No client returns all it got and most write blindly (caldav-clients section 0), so only what
differs between served and sent is a change, respelling is none, and a missing line is a
deletion only where `bridge.wire.vtodo_lines` believes it. Changes apply to the log's task as
it is now: what others changed meanwhile stays unless the client changed the same thing, and
then the client, being later, wins. Never changed by a client on an existing task: its UID
and the X-TX lines; missing people stay assigned.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bridge.wire import caldate, contentline
from bridge.wire.vtodo_fields import is_claim, is_read_only
from bridge.wire.vtodo_lines import (
    alarm_dropped,
    believed,
    client_of,
    merge_component,
    merge_lines,
)
from bridge.wire.vtodo_sets import (
    PREFIXES,
    SETS,
    entry_second,
    give_lines,
    give_tag,
    is_tag,
    names_of,
    next_free,
    take_lines,
)
from bridge.wire.vtodo_state import OPEN, new_status
from bridge.wire.vtodo_table import REPEATED, ROWS, VALUES, Kind, digest, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.wire.vtodo_lines import Client

_STATE_KEYS = frozenset({"status", "end", "progress", "ical.SUBSTATE"}) | {
    "ical.STATUS", "ical.COMPLETED", "ical.PERCENT-COMPLETE",
}  # fmt: skip
# Families of ``ical.<NAME>`` keys that are merged by their own rule.
_OWN = frozenset(
    {"uid", "UID", "href", "PRODID", "VCALENDAR", "VTIMEZONE", "override", "COMMENT", "DURATION"}
    | {row.name for row in ROWS.values() if row.kind is Kind.STATE}
    | {row.name for row in VALUES}
    | set(SETS)
)


def changes(
    base: Mapping[str, str], sent: Mapping[str, str], current: Mapping[str, str]
) -> dict[str, str | None]:
    """Return what a PUT changes: key -> new value, or None where the key goes.

    Args:
        base: keys of the text this client was last served, by `read`; empty for a new task.
        sent: keys of the body.
        current: keys of the task in the log; keys that already have their new value are
            left out of the answer.
    """
    if not base and not current:
        return {key: value for key, value in sent.items() if not is_claim(key)}
    merge = _Merge(base, sent, current)
    merge.values()
    merge.state()
    merge.priority()
    merge.sets()
    merge.comments()
    merge.lines()
    merge.components()
    merge.calendar()
    return {
        key: value
        for key, value in merge.out.items()
        if current.get(key) != value and not is_read_only(key)
    }


class _Merge:
    """The three maps of one PUT, and the changes found so far."""

    def __init__(
        self, base: Mapping[str, str], sent: Mapping[str, str], current: Mapping[str, str]
    ) -> None:
        self.base, self.sent, self.current = base, sent, current
        self.client: Client = client_of(sent.get("ical.PRODID", ""))
        self.out: dict[str, str | None] = {}
        self.zones: set[str] | None = None
        # Few keys differ in an everyday edit: what holds none of them needs no look.
        self.diff = {key for key, value in base.items() if sent.get(key) != value}
        self.diff.update(sent.keys() - base.keys())

    def take(self, *keys: str) -> None:
        """Let the sent value of each key count, and its absence."""
        for key in keys:
            self.out[key] = self.sent.get(key)

    def _now(self, key: str) -> str | None:
        """Return the value of a key after the changes found so far."""
        return self.out[key] if key in self.out else self.current.get(key)

    def values(self) -> None:
        """Properties with one native key; DURATION goes with ``due``."""
        for row in VALUES:
            before, now = (_effective(keys, row.key, row.name) for keys in (self.base, self.sent))
            if before == now or (now is None and not believed(row.name, self.client)):
                continue
            self.take(row.key, "ical." + row.name)
            if row.name == "DUE":
                self.take("ical.DURATION")
        if "due" not in self.base and "due" not in self.sent:
            self._family("DURATION")

    def state(self) -> None:
        """STATUS, COMPLETED, PERCENT-COMPLETE (caldav-clients section 1.1)."""
        if not self.diff & _STATE_KEYS:
            return
        status = new_status(self.base, self.sent)
        if status is not None:
            self.out["status"] = status
            kept = self.sent.get("ical.STATUS") if self.sent.get("status") == status else None
            self.out["ical.STATUS"] = kept
        after = status or self.current.get("status", "needs_action")
        before, now = (_effective(keys, "end", "COMPLETED") for keys in (self.base, self.sent))
        if status is not None and status in OPEN and before == now:
            # STATUS was reopened and COMPLETED forgotten.
            self.out.update({"end": None, "ical.COMPLETED": None})
        elif before != now and (now is not None or after != "completed"):
            self.take("end", "ical.COMPLETED")
        elif status == "completed":
            self.take("ical.COMPLETED")
        share = self.sent.get("progress")
        if share != self.base.get("progress") or status is not None:
            trusted = status is not None or "PERCENT-COMPLETE" in self.client.deletes
            if share is not None or trusted:
                self.take("progress", "ical.PERCENT-COMPLETE")

    def priority(self) -> None:
        """PRIORITY, whose 0 is the same as no line."""
        before, now = (
            (keys.get("priority"), keys.get("priority.raw")) for keys in (self.base, self.sent)
        )
        if before != now:
            self.take("priority", "priority.raw", "ical.PRIORITY")

    def sets(self) -> None:
        """Tags by name, other sets by line."""
        self._tags()
        for name in SETS:
            if name != "CATEGORIES" and self._touched(name):
                base, sent, current = (_set_lines(k, name) for k in self._all())
                if base != sent:
                    if name == "RELATED-TO":
                        current = self._reparented(current)
                    merged = merge_lines((base, sent, current), name, self.client)
                    self._put_set(name, merged)

    def _reparented(self, current: list[str]) -> list[str]:
        """Return our relations without a parent that somebody else chose meanwhile."""
        new, old = self.sent.get("parent"), self.base.get("parent")
        ours = self.current.get("parent")
        if new is None or new == old or ours in {None, new, old}:
            return current
        take = SETS["RELATED-TO"][0]
        return [raw for raw in current if take(raw).get("parent") != ours]

    def _put_set(self, name: str, lines: list[str]) -> None:
        """Let the lines of a set property become exactly `lines`."""
        keys: dict[str, str] = {}
        take_lines(name, lines, keys)
        old = {key for key in self.current if _of_set(key, name)}
        self.out.update(dict.fromkeys(old - keys.keys()))
        self.out.update(
            (key, value)
            for key, value in keys.items()
            if not (key in old and key.startswith(("tag_", "dep_")))
        )

    def _touched(self, name: str) -> bool:
        return any(_of_set(key, name) for key in self.diff)

    def _tags(self) -> None:
        if not self._touched("CATEGORIES"):
            return
        base, sent, current = (_set_lines(keys, "CATEGORIES") for keys in self._all())
        before, now = _names(base), _names(sent)
        gone = before - now if believed("CATEGORIES", self.client) else set()
        new = now - before
        if not gone and not new:
            return
        if current == base and gone == before - now:
            self._put_set("CATEGORIES", sent)
            return
        lines: list[str] = []
        for raw in current:
            names = names_of(raw)
            left = [name for name in names if name not in gone]
            if left == names:
                lines.append(raw)
            elif left:
                lines.append("CATEGORIES:" + ",".join(map(escape, left)))
        have = _names(lines)
        lines += [
            give_tag("tag_" + name) or "CATEGORIES:" + escape(name) for name in sorted(new - have)
        ]
        self._put_set("CATEGORIES", lines)

    def comments(self) -> None:
        """COMMENT lines: matched by second and text, then by text, then by second."""
        if not any(key.startswith("annotation_") for key in self.diff):
            return
        before, now = (_annotations(keys) for keys in (self.base, self.sent))
        edited = _match_comments(before, now)
        for old, new in edited:
            self._put_comment(old, new)
        taken = {key for key in self.current if self._now(key) is not None}
        taken.update(key for key, value in self.out.items() if value is not None)
        free: dict[int, int] = {}
        for second in sorted(now):
            if self.current.get(f"annotation_{second}") == now[second]:
                continue  # a PUT sent again after its answer was lost
            place = next_free(second, taken, free)
            taken.add(f"annotation_{place}")
            self._put_comment(place, second)
        if "COMMENT" in self.client.deletes:
            for second in before:
                self.out[f"annotation_{second}"] = None
                self.out[f"ical.COMMENT.{second}"] = None

    def _put_comment(self, place: int, second: int) -> None:
        self.out[f"annotation_{place}"] = self.sent[f"annotation_{second}"]
        self.out[f"ical.COMMENT.{place}"] = self.sent.get(f"ical.COMMENT.{second}")

    def lines(self) -> None:
        """Properties without a native key."""
        for name in _families(self.diff):
            self._family(name)
        for row in VALUES:
            mark = f"ical.{row.name}."
            if any(key.startswith(mark) for key in self.diff):
                self._family(row.name, bare=False)

    def _family(self, name: str, *, bare: bool = True) -> None:
        """Merge the lines under ``ical.<NAME>`` and ``ical.<NAME>.<hash>``."""
        base, sent, current = (_family_lines(keys, name, bare=bare) for keys in self._all())
        if base.keys() == sent.keys() and list(base.values()) == list(sent.values()):
            return
        lines = (list(base.values()), list(sent.values()), list(current.values()))
        merged = merge_lines(lines, name, self.client)
        keys = {f"ical.{name}.{digest(raw)}": raw for raw in merged}
        if bare and name not in REPEATED and merged:
            first = current.get("ical." + name, merged[0])
            first = first if first in merged else merged[0]
            keys.pop(f"ical.{name}.{digest(first)}")
            keys["ical." + name] = first
        self.out.update(dict.fromkeys(current.keys() - keys.keys()))
        self.out.update(keys)

    def components(self) -> None:
        """Alarms, participants, places and the like; overrides are only added or changed."""
        for key in sorted(self.diff):
            before, now = self.base.get(key, ""), self.sent.get(key, "")
            if not (before or now).startswith("BEGIN:"):
                continue
            if key.startswith("ical.VTIMEZONE."):
                self._zone(key)
            elif not now:
                if key.startswith("ical.VALARM.") and alarm_dropped(before, self.client):
                    self.out[key] = None
            elif not before or key.startswith("ical.override."):
                self.out[key] = now
            else:
                merged = merge_component(before, now)
                if merged != before:
                    self.out[key] = merged

    def _zone(self, key: str) -> None:
        """Keep a zone while the task names it; a known zone's rules are not the client's news."""
        tzid = key.removeprefix("ical.VTIMEZONE.")
        if key in self.sent:
            if key not in self.current or caldate.timezone(tzid) is None:
                self.take(key)
            return
        if self.zones is None:
            self.zones = _zones_named({**self.current, **self.out})
        if tzid not in self.zones:
            self.out[key] = None

    def calendar(self) -> None:
        """PRODID of the last writer; other lines of VCALENDAR are added or changed, never lost."""
        if "ical.PRODID" in self.diff and "ical.PRODID" in self.sent:
            self.take("ical.PRODID")
        before, now, ours = (k.get("ical.VCALENDAR", "VERSION:2.0") for k in self._all())
        if before != now and set(now.split("\n")) - set(before.split("\n")):
            lines = now.split("\n")
            names = {contentline.name_of(raw) for raw in lines}
            lines += [r for r in ours.split("\n") if contentline.name_of(r) not in names]
            self.out["ical.VCALENDAR"] = "\n".join(lines)

    def _all(self) -> tuple[Mapping[str, str], Mapping[str, str], Mapping[str, str]]:
        return self.base, self.sent, self.current


def _effective(keys: Mapping[str, str], key: str, name: str) -> str | None:
    """Return a value whatever its spelling; for what has no value, the line itself."""
    value = keys.get(key)
    if value is None:
        raw = keys.get("ical." + name)
        return raw if raw is not None and ":" in raw else None
    return caldate.canonical(value) or value if name in {"DUE", "DTSTART", "COMPLETED"} else value


def _set_lines(keys: Mapping[str, str], name: str) -> list[str]:
    """Return the lines of a set property as they are served, foreign ones included."""
    native: dict[str, str] = {}
    kept: list[str] = []
    other: list[str] = []
    for key in sorted(keys):
        if not _of_set(key, name):
            continue
        if not key.startswith("ical."):
            native[key] = "" if key.startswith(("tag_", "dep_")) else keys[key]
        elif key.startswith(f"ical.{name}.other."):
            other.append(keys[key])
        else:
            kept.append(keys[key])
    return give_lines(name, native, kept)[0] + other


def _of_set(key: str, name: str) -> bool:
    if key.startswith("ical."):
        return key.startswith(f"ical.{name}.")
    prefix, mark, _ = key.partition("_")
    return (bool(mark) and PREFIXES.get(prefix) == name) or (
        key == "parent" and name == "RELATED-TO"
    )


def _names(lines: Iterable[str]) -> set[str]:
    return {name for raw in lines for name in names_of(raw) if is_tag(name) or name}


def _families(keys: Iterable[str]) -> list[str]:
    names = {key[5:].partition(".")[0] for key in keys if key.startswith("ical.")}
    return sorted(names - _OWN)


def _family_lines(keys: Mapping[str, str], name: str, *, bare: bool) -> dict[str, str]:
    mark = f"ical.{name}."
    return {
        key: value
        for key, value in sorted(keys.items())
        if (key.startswith(mark) or (bare and key == mark[:-1])) and not value.startswith("BEGIN:")
    }


_ZONE_NAMED = re.compile(r"TZID=\"?([^\":;\n]+)|\[([^\[\]\n]{1,128})\]\Z")


def _zones_named(task: Mapping[str, str | None]) -> set[str]:
    """Return the zones that a task's lines and date texts name."""
    return {
        found[1] or found[2]
        for key, value in task.items()
        if value is not None and not key.startswith("ical.VTIMEZONE.")
        for found in _ZONE_NAMED.finditer(value)
    }


def _annotations(keys: Mapping[str, str]) -> dict[int, str]:
    found = {entry_second(key): text for key, text in keys.items() if key.startswith("annotation_")}
    return {second: text for second, text in found.items() if second is not None}


def _match_comments(before: dict[int, str], now: dict[int, str]) -> list[tuple[int, int]]:
    """Take the same comments out of both; return (old, new second) of edited ones."""
    for second in [s for s in now if before.get(s) == now[s]]:
        del before[second], now[second]
    texts: dict[str, list[int]] = {}
    for old in sorted(before, reverse=True):
        texts.setdefault(before[old], []).append(old)
    for second, text in sorted(now.items()):
        if texts.get(text):
            del before[texts[text].pop()], now[second]
    edited = [(second, second) for second in sorted(before.keys() & now.keys())]
    for second, _ in edited:
        del before[second], now[second]
    if len(before) == len(now) == 1:
        edited.append((before.popitem()[0], now.popitem()[0]))
    return edited
