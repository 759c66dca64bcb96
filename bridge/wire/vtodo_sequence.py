"""SEQUENCE: the number of a task's last significant change (RFC 5545 section 3.8.7.4). Pure.

Clients count their own changes; ours of dates, rules or status count one more, so that a
calendar that compares revisions takes them for newer. The number never goes back, not even
when a change is taken back. A task that no client has named needs none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KEY: Final = "ical.SEQUENCE"
_SIGNIFICANT: Final = frozenset({"due", "scheduled", "recur", "status", "ical.DURATION"})
_RULE_LINES: Final = ("ical.EXDATE.", "ical.RDATE.")
_NUMBER = re.compile(r"SEQUENCE(?:;[^:]*)?:(\d{1,9})\Z", re.ASCII | re.IGNORECASE)


def advanced(keys: Mapping[str, str], changed: Iterable[str]) -> str | None:
    """Return the SEQUENCE line after a change of ours, None where it stays as it is.

    Args:
        keys: the task before.
        changed: the keys that get other values.
    """
    if "ical.uid" not in keys and KEY not in keys:
        return None
    if not any(key in _SIGNIFICANT or key.startswith(_RULE_LINES) for key in changed):
        return None
    found = _NUMBER.match(keys.get(KEY, "SEQUENCE:0"))
    return f"SEQUENCE:{int(found[1]) + 1}" if found else None
