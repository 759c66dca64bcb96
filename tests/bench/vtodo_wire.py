"""Time of reading, writing and merging one everyday task of about 850 octets.

Run: ``python tests/bench/vtodo_wire.py``. Prints microseconds, the best of five rounds.
"""

from __future__ import annotations

import timeit

from bridge.model.ids import TaskId
from bridge.wire import vtodo

TASK = TaskId("0" * 32 + "-p@example.com")
LINES = (
    "BEGIN:VCALENDAR",
    "VERSION:2.0",
    "PRODID:-//Mozilla.org/NONSGML Mozilla Calendar V1.1//EN",
    "BEGIN:VTODO",
    "CREATED:20261120T165900Z",
    "LAST-MODIFIED:20261120T170000Z",
    "DTSTAMP:20261120T170000Z",
    "UID:6f1e1b7a-0c0b-4c57-9e0f-3b6d1a2c9d10",
    "SUMMARY:Write the quarterly report\\, with figures of all teams",
    "DESCRIPTION:First line of the notes\\nsecond line: see the shared folder for",
    "  the numbers\\nthird line\\, the last one of this description of a task",
    "PRIORITY:5",
    "STATUS:IN-PROCESS",
    "PERCENT-COMPLETE:40",
    "CATEGORIES:Office",
    "CATEGORIES:Report",
    "DTSTART;TZID=Europe/Berlin:20261123T090000",
    "DUE;TZID=Europe/Berlin:20261127T170000",
    "CLASS:PRIVATE",
    "SEQUENCE:2",
    "X-MOZ-GENERATION:3",
    "RELATED-TO;RELTYPE=PARENT:2b6d1a2c-9d10-4c57-9e0f-6f1e1b7a0c0b",
    "BEGIN:VALARM",
    "ACTION:DISPLAY",
    "TRIGGER;VALUE=DURATION:-PT15M",
    "DESCRIPTION:Default description",
    "END:VALARM",
    "END:VTODO",
    "END:VCALENDAR",
    "",
)
BODY = "\r\n".join(LINES)


def main() -> None:
    """Print the figures."""
    keys = vtodo.read(BODY).keys
    sent = vtodo.read(BODY.replace("quarterly", "yearly")).keys
    made, changed = "2026-11-20T16:59:00.000Z", "2026-11-20T17:00:00.000Z"
    rounds = {
        "read": lambda: vtodo.read(BODY),
        "render": lambda: vtodo.render(keys, task=TASK, created=made, modified=changed),
        "changes": lambda: vtodo.changes(keys, sent, keys),
        "facts": lambda: vtodo.facts(keys),
    }
    print(f"{len(BODY.encode())} octets, {len(keys)} keys")
    for name, run in rounds.items():
        best = min(timeit.repeat(run, number=2000, repeat=5)) / 2000 * 1e6
        print(f"{name:8} {best:6.1f} µs")


if __name__ == "__main__":
    main()
