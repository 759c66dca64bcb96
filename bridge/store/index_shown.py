"""What a task's text shows to filters, as numbers that an index can search.

Most filters of clients ask about STATUS, COMPLETED and a time-range (RFC 4791 sections 9.7
and 9.9). Promise: `Shown` answers them exactly as a reader of the text would, or says that
only the text can tell: unusual spelling, several components, recurrence, values in blobs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.store.index_contract import UNBOUNDED, UNTOLD
from bridge.store.rows import BLOB
from bridge.wire import caldate, contentline
from bridge.wire.ownlines import own_lines
from bridge.wire.vtodo_read import zones
from bridge.wire.vtodo_table import take_date

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.wire.contentline import Line
    from bridge.wire.vtodo import Facts

WORDS: Final = (None, "NEEDS-ACTION", "IN-PROCESS", "COMPLETED", "CANCELLED")
"""The STATUS lines that have a number; None stands for a task without one."""
STATES: Final = tuple(itertools.product(WORDS, (False, True)))
"""By number: the word of STATUS, and whether there is a COMPLETED line."""
_NUMBERS: Final = {state: number for number, state in enumerate(STATES)}
_NAMES: Final = frozenset({"STATUS", "COMPLETED", "CREATED", "DUE", "X-TX-END"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A task to the filters.

    Attributes:
        state: its number in `STATES`, or `UNTOLD`.
        vague: only the text tells whether a time-range matches.
        first, last: a time-range matches if and only if it does not end before `first` and
            does not start after `last` (UTC seconds); unbounded where `vague`.
    """

    state: int
    vague: bool
    first: int
    last: int


def shown(text: str, keys: Mapping[str, str], facts: Facts) -> Shown:
    """Return what filters need to know of a task that is served as `text`."""
    lines = own_lines(text, _NAMES)
    if lines is None:
        return Shown(state=UNTOLD, vague=True, first=-UNBOUNDED, last=UNBOUNDED)
    vague = facts.recurring or any(value.startswith(BLOB) for value in keys.values())
    first, last = (-UNBOUNDED, UNBOUNDED) if vague else _bounds(lines, keys, facts)
    return Shown(state=_state(lines), vague=vague, first=first, last=last)


def _state(lines: Mapping[str, list[Line]]) -> int:
    found = lines.get("STATUS", [])
    if len(found) > 1 or (found and found[0].params):
        return UNTOLD
    word = found[0].value if found else None
    return _NUMBERS.get((word, "COMPLETED" in lines), UNTOLD)


def _bounds(
    lines: Mapping[str, list[Line]], keys: Mapping[str, str], facts: Facts
) -> tuple[int, int]:
    """Return the table of RFC 4791 section 9.9 as (first, last), whole seconds."""
    # By the lines where they matter: keys stay that a later change has overruled.
    start, due = facts.start, facts.due
    if start is not None and due is not None:
        by_duration = facts.by_duration and "DUE" not in lines
        last = due if by_duration else max(due - 1, start)
        return min(start + 1, due), last
    if start is not None:
        return start + 1, start
    if due is not None:
        return due, due - 1
    ended = _moment(lines, "COMPLETED" if "COMPLETED" in lines else "X-TX-END", keys)
    created = _moment(lines, "CREATED", keys)
    both = [moment for moment in (ended, created) if moment is not None]
    if ended is not None:
        return min(both), max(both)
    return (-UNBOUNDED if created is None else created + 1), UNBOUNDED


def _moment(lines: Mapping[str, list[Line]], name: str, keys: Mapping[str, str]) -> int | None:
    found = lines.get(name)
    if not found:
        return None
    line = found[0]
    text = take_date(contentline.join(name, line.params, line.value))
    return caldate.epoch(text, zones(keys)) if text else None
