"""VTODO <-> task: the front of the mapping between iCalendar text and task keys.

``read(render(keys)).keys == keys`` for every map that `read` can return, and every line a
client sent is in the text again, apart from DTSTAMP and LAST-MODIFIED. The parts:
`vtodo_table` (one row per property), `vtodo_sets`, `vtodo_state`, `vtodo_fields` (what the
rows do), `vtodo_read`, `vtodo_render`, `vtodo_merge` (three-way merge of a PUT) and
`vtodo_facts` (what queries ask).
"""

from __future__ import annotations

from bridge.wire.vtodo_facts import Facts, facts, matches_time_range
from bridge.wire.vtodo_merge import changes
from bridge.wire.vtodo_read import Upload, read
from bridge.wire.vtodo_render import references, rename, render
from bridge.wire.vtodo_table import PRODID

__all__ = [
    "PRODID",
    "Facts",
    "Upload",
    "changes",
    "facts",
    "matches_time_range",
    "read",
    "references",
    "rename",
    "render",
]
