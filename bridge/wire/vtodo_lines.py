"""Which lines did a client change? Matching lines and components of two texts.

Clients respell: Thunderbird sorts parameters, Evolution drops GAP and FMTTYPE and writes
GEO with six digits (caldav-clients section 0, runs). So two lines are one if they have the
same identity: name, value, and the parameters that change its meaning. Parameters a client
left out stay, those it changed or added count. A line that is missing is a deletion only
where that client can be believed; the table of clients says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.wire import contentline
from bridge.wire.vtodo_sets import take_relation
from bridge.wire.vtodo_table import Kind, Loss, row, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What is known of a client, found by a piece of its PRODID.

    Attributes:
        marker: the piece.
        loses: lines it drops although other clients' users delete them on purpose.
        deletes: lines whose absence is a deletion although other clients drop them.
    """

    marker: str
    loses: frozenset[str] = frozenset()
    deletes: frozenset[str] = frozenset()


_UNKNOWN = Client(marker="")
_CLIENTS = (
    # Keeps one line of each repeated property, shows attachments and the percentage.
    Client(marker="Mozilla Calendar", deletes=frozenset({"ATTACH", "PERCENT-COMPLETE"})),
    # Keeps repeated lines (run); drops LINK, CONCEPT, STYLED-DESCRIPTION.
    Client(
        marker="Ximian",
        deletes=frozenset(
            {"ATTACH", "COMMENT", "CONTACT", "RESOURCES", "PERCENT-COMPLETE", "ESTIMATED-DURATION"}
        ),
    ),
    # nextcloud/tasks#627, #879: no subtasks over CalDAV, RELATED-TO may go on edit.
    Client(marker="Apple Inc.", loses=frozenset({"RELATED-TO", "CATEGORIES"})),
    Client(marker="tasks.org", deletes=frozenset({"PERCENT-COMPLETE"})),
    # Edits in place: what it leaves out is deleted.
    Client(
        marker="todoman",
        deletes=frozenset({"ATTACH", "COMMENT", "CONTACT", "RELATED-TO", "PERCENT-COMPLETE"}),
    ),
)


def client_of(prodid: str) -> Client:
    """Return what is known of the client that wrote `prodid`."""
    return next((client for client in _CLIENTS if client.marker in prodid), _UNKNOWN)


def believed(name: str, client: Client) -> bool:
    """Tell whether a missing line `name` in a PUT of `client` is a deletion."""
    if name in client.deletes:
        return True
    return row(name).loss is Loss.MEANT and name not in client.loses


# Parameters that belong to what the line says; RELTYPE has a default.
_MEANING = ("TZID", "VALUE", "RELTYPE")
_PARENT = {"": "PARENT"}


def identity(raw: str) -> tuple[str, ...]:
    """Return what makes a line the same line in another client's spelling."""
    line = contentline.split(raw)
    if line is None:
        return (raw,)
    value = line.value
    if line.name == "GEO":
        try:
            value = ";".join(str(float(part)) for part in value.split(";"))
        except ValueError:
            return (raw,)
    elif line.name == "REQUEST-STATUS":
        # Evolution rewrites the words behind the code (run).
        value = value.partition(";")[0]
    elif line.name in {"ATTENDEE", "ORGANIZER"}:
        value = value.lower()
    meaning = [line.param(name).upper() for name in _MEANING]
    if line.name == "RELATED-TO":
        meaning[2] = meaning[2] or "PARENT"
    if line.name == "ATTACH":
        meaning[1] = ""
    return (line.name, value, *meaning)


def respelled(ours: str, theirs: str) -> str:
    """Return our line with what their spelling of the same line changes: its parameters."""
    old, new = contentline.split(ours), contentline.split(theirs)
    if old is None or new is None:
        return theirs
    params = dict(old.params)
    if all(
        name in params and contentline.unquote(params[name]) == contentline.unquote(raw)
        for name, raw in new.params
    ):
        return ours
    params.update(new.params)
    return contentline.join(old.name, tuple(params.items()), old.value)


def pairs(
    base: list[str], sent: list[str], *, edits: bool = True
) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Return (same line before and now, only before, only now).

    With `edits`, one line left on each side is one line edited; elements of a set are not.
    """
    same = set(base) & set(sent)
    found = [(raw, raw) for raw in sent if raw in same]
    before = [raw for raw in base if raw not in same]
    now: list[str] = []
    # By identity, so that ten thousand respelled lines cost no more than reading them.
    waiting: dict[tuple[str, ...], list[str]] = {}
    for raw in reversed(before):
        waiting.setdefault(identity(raw), []).append(raw)
    for raw in (raw for raw in sent if raw not in same):
        if old := waiting.get(identity(raw)):
            found.append((old.pop(), raw))
        else:
            now.append(raw)
    left = {raw for each in waiting.values() for raw in each}
    before = [raw for raw in before if raw in left]
    if edits and len(before) == len(now) == 1:
        found.append((before.pop(), now.pop()))
    return found, before, now


def _edited(old: str, new: str) -> str:
    return respelled(old, new) if identity(old) == identity(new) else new


def merge_lines(
    lines: tuple[list[str], list[str], list[str]], name: str, client: Client
) -> list[str]:
    """Return the lines of one property after a PUT.

    Args:
        lines: its lines as the client was served them, as it sent them, and in the log.
        name: the property.
        client: who sent them.
    """
    base, sent, current = lines
    ours = set(current)
    found, before, now = pairs(base, sent, edits=row(name).kind is not Kind.SET)
    replaced: dict[str, str] = {}
    added: list[str] = []
    for old, new in found:
        line = _edited(old, new)
        if line == old:
            continue
        if name == "SEQUENCE" and _number(line) < max(map(_number, current), default=0):
            continue
        # Somebody else's edit of a property's only line gives way: the client is later.
        place = old if old in ours else current[0] if _single(name, current) else None
        if place is None:
            added.append(line)
        else:
            replaced[place] = line
    drops = _drops(name, before, sent, client)
    merged = [replaced.get(raw, raw) for raw in current if raw not in drops]
    known = {identity(raw) for raw in merged}
    return list(dict.fromkeys(merged + [r for r in added + now if identity(r) not in known]))


def _single(name: str, current: list[str]) -> bool:
    return len(current) == 1 and row(name).kind is Kind.LINE


def _drops(name: str, before: list[str], sent: list[str], client: Client) -> set[str]:
    """Return the lines in `before` whose absence from `sent` is a deletion."""
    if believed(name, client):
        return set(before)
    if name != "RELATED-TO":
        return set()
    # Another parent in its place is a move; none at all is one unless the client has none.
    moved = any("parent" in take_relation(raw) for raw in sent)
    if not moved and name in client.loses:
        return set()
    return {raw for raw in before if "parent" in take_relation(raw)}


def _number(raw: str) -> int:
    value = value_of(raw)
    return int(value) if value.isdigit() and len(value) < 10 else 0  # noqa: PLR2004 - RFC 5545 3.3.8


_ALARM_SHOWN = frozenset({"DURATION", "REPEAT", "ATTACH", "SUMMARY", "DESCRIPTION", "ATTENDEE"})


def merge_component(base: str, sent: str) -> str:
    """Return a component after a PUT: what the client sent, and the lines it cannot hold."""
    old, new = base.split("\n"), sent.split("\n")
    if sum(line.upper().startswith("BEGIN:") for line in (*old, *new)) != 2:  # noqa: PLR2004
        return sent
    found, before, now = pairs(old[1:-1], new[1:-1], edits=False)
    lines = [_edited(ours, theirs) for ours, theirs in found]
    names = {contentline.name_of(raw) for raw in new}
    moved = any(contentline.name_of(raw) == "TRIGGER" for raw in now)
    kept = [
        raw
        for raw in before
        if (name := contentline.name_of(raw)) not in _ALARM_SHOWN
        and name not in names
        # An alarm set anew has not been acknowledged.
        and not (moved and name == "ACKNOWLEDGED")
    ]
    if not now and len(kept) == len(before) and set(lines) | set(before) == set(old[1:-1]):
        return base
    place = {raw: index for index, raw in enumerate(old)}
    body = sorted((*lines, *kept, *now), key=lambda raw: place.get(raw, len(place)))
    return "\n".join((old[0], *body, old[-1]))


def alarm_dropped(text: str, client: Client) -> bool:
    """Tell whether an alarm that a PUT lacks was deleted: clients drop kinds they cannot show."""
    if "VALARM" in client.deletes:
        return True
    upper = text.upper()
    shown = "\nACTION:DISPLAY" in upper or "\nACTION:AUDIO" in upper
    return shown and "PROXIMITY" not in upper
